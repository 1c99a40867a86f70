//! [`DockerRestarter`]: containers, by name or by docker compose's labels.
//!
//! # Who stopped it?
//! A container that does not run was either stopped by a person, which is respected, or it
//! crashed, which is healed. Docker has no field for it; this is how we tell, in this order:
//! - We ended this life ourselves, or a rollback of ours was begun and never ended: not a person.
//! - It is paused, was removed while we watched, or lost its name to a rename: a person.
//! - Its restart policy is `always` or `unless-stopped`, the engine could start it, and yet it is
//!   down: a person. Docker restarts every exit of such a container unless it was stopped.
//! - The event connection, or the engine's own memory (its last 256 events), shows a stop, or a
//!   kill with a signal that ends programs, through Docker's API: a person.
//! - Otherwise it exited. `kill -9` of its process from outside is such an exit. So is a
//!   person's stop that happened while JARVIS was not running and that the engine has forgotten:
//!   the service has a restart section, and bringing it back is what that asks for.

mod container;
mod discover;
mod engine;
mod events;
mod host;
mod hub;
mod interrupted;
mod life;
mod log;
mod recreate;
mod rollback;
mod target;
mod watch;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use discover::{Discovered, PublishedPort, discover};
pub use engine::DockerHosts;
pub use host::DockerTls;
pub use target::ComposeTarget;

use self::container::{Action, Inner};
use self::target::Target;
use super::{ActionRequest, InstanceEvents, Receipt, Running, ServiceRestarter};
use base::subprocess::Program;
use base::units;
use base::vocabulary::VersionId;
use base::{Error, ErrorKind, Result};

/// The configuration of a [`DockerRestarter`] (`via = "docker"`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct DockerConfig {
    /// The container's name. Either this or `compose`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The service of docker compose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compose: Option<ComposeTarget>,
    /// The engine: a URL (`unix:///…`, `tcp://host:2376`) or the name of a Docker context.
    /// Default: `DOCKER_HOST`, `DOCKER_CONTEXT`, the current context, this machine's socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Certificates for `tcp://`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<DockerTls>,
    /// How long a stop may take before the engine kills. Default: the container's own, else 10 s.
    #[serde(with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<Duration>,
    /// Goes back to the version that `{version}` stands for, an image's id. It replaces the way
    /// of this restarter, which makes the container again from that image; preferred where
    /// something else owns the container, such as docker compose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Vec<String>>,
}

impl DockerConfig {
    /// A container by its name.
    #[must_use]
    pub fn container(name: impl Into<String>) -> Self {
        Self { container: Some(name.into()), ..Self::default() }
    }

    /// A service of docker compose.
    #[must_use]
    pub fn compose(target: ComposeTarget) -> Self {
        Self { compose: Some(target), ..Self::default() }
    }

    /// Names the engine.
    #[must_use]
    pub fn with_host(mut self, host: Option<String>) -> Self {
        self.host = host;
        self
    }

    /// Names the certificates.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<DockerTls>) -> Self {
        self.tls = tls;
        self
    }

    /// Names the command that rolls back.
    #[must_use]
    pub fn with_rollback(mut self, command: Option<Vec<String>>) -> Self {
        self.rollback = command;
        self
    }

    /// Sets the stop timeout.
    #[must_use]
    pub fn with_stop_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.stop_timeout = timeout;
        self
    }
}

/// Restarts one container, found by its name or by docker compose's labels.
///
/// An [`InstanceId`](base::vocabulary::InstanceId) is the container's id with its start; a [`VersionId`] is the image's id.
#[derive(Debug, Clone)]
pub struct DockerRestarter(Arc<Inner>);

impl DockerRestarter {
    /// A restarter of one container. Connects nothing.
    ///
    /// # Errors
    /// `ConfigInvalid`: neither or both of `container` and `compose`, an unknown context, a wrong
    /// URL, a certificate that can't be read, a rollback without `{version}`.
    pub fn new(config: DockerConfig, hosts: &DockerHosts) -> Result<Self> {
        let DockerConfig { container, compose, host, tls, stop_timeout, rollback } = config;
        let target = Target::of(container.as_deref(), compose)?;
        let rollback = rollback.as_deref().map(rollback_command).transpose()?;
        let engine = hosts.engine(host.as_deref(), tls)?;
        Ok(Self(Arc::new(Inner::new(target, engine, stop_timeout, rollback))))
    }

    async fn perform(
        &self,
        request: ActionRequest,
        operation: &'static str,
        action: Action,
    ) -> Result<Receipt> {
        let inner = Arc::clone(&self.0);
        let asked = request.clone();
        let work = async move { Box::pin(inner.act(action, &asked)).await };
        self.carry_out(&request, operation, work).await
    }

    async fn carry_out(
        &self,
        request: &ActionRequest,
        operation: &'static str,
        work: impl Future<Output = Result<Receipt>> + Send + 'static,
    ) -> Result<Receipt> {
        self.0.intents.carry_out(&self.0.engine.clock, request, operation, work).await
    }
}

/// What stands for the version in [`DockerConfig::rollback`].
const VERSION: &str = "{version}";

fn rollback_command(argv: &[String]) -> Result<Program> {
    if !argv.iter().any(|arg| arg.contains(VERSION)) {
        return Err(Error::new(
            ErrorKind::ConfigInvalid,
            "rollback must say where the version goes: write {version} in one of its arguments",
        ));
    }
    Program::new("rollback", argv)
}

#[async_trait]
impl ServiceRestarter for DockerRestarter {
    async fn observe(&self) -> Result<Running> {
        self.0.observe().await.map_err(|error| error.with_operation("docker.observe"))
    }

    async fn restart(&self, request: ActionRequest) -> Result<Receipt> {
        self.perform(request, "docker.restart", Action::Restart).await
    }

    async fn start(&self, request: ActionRequest) -> Result<Receipt> {
        self.perform(request, "docker.start", Action::Start).await
    }

    async fn stop(&self, request: ActionRequest) -> Result<Receipt> {
        self.perform(request, "docker.stop", Action::Stop).await
    }

    async fn roll_back(&self, request: ActionRequest, to: VersionId) -> Result<Receipt> {
        let inner = Arc::clone(&self.0);
        let asked = request.clone();
        let work = async move { Box::pin(rollback::roll_back(&inner, &asked, &to)).await };
        self.carry_out(&request, "docker.roll_back", work).await
    }

    async fn settle_roll_back(&self, keep: bool) -> Result<()> {
        let inner = Arc::clone(&self.0);
        let task = tokio::spawn(async move { Box::pin(rollback::settle(&inner, keep)).await });
        task.await.unwrap_or_else(|error| {
            Err(Error::new(ErrorKind::Internal, "settling a rollback was aborted")
                .with_source(error))
        })
    }

    async fn watch(&self) -> Result<InstanceEvents> {
        watch::watch(&self.0).await
    }

    async fn last_log_lines(&self, lines: usize) -> Result<Vec<String>> {
        self.0.log(lines).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_read_and_a_wrong_one_refused() {
        let hosts = DockerHosts::new(Arc::new(base::clock::ManualClock::new()));
        let config: DockerConfig = toml::from_str(
            "compose = { project = \"ai-dawg\", service = \"coach\" }\nhost = \"unix:///d.sock\"\nstop_timeout = \"20s\"",
        )
        .unwrap();
        assert_eq!(config.stop_timeout, Some(Duration::from_secs(20)));
        let first = DockerRestarter::new(config.clone(), &hosts).unwrap();
        let second = DockerRestarter::new(config, &hosts).unwrap();
        assert!(Arc::ptr_eq(&first.0.engine, &second.0.engine), "one engine, one connection");
        assert!(toml::from_str::<DockerConfig>("contaner = \"x\"").is_err());
        for config in [DockerConfig::default(), DockerConfig::container("../x")] {
            assert_eq!(
                DockerRestarter::new(config, &hosts).unwrap_err().kind(),
                ErrorKind::ConfigInvalid
            );
        }
    }
}
