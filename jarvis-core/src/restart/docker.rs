//! [`DockerRestarter`]: containers, by name or by docker compose's labels.
//!
//! # Who stopped it?
//! A container that does not run was either stopped by a person, which is respected, or it
//! crashed, which is healed. Docker has no field for it; this is how we tell, in this order:
//! - We ended this life ourselves: not a person.
//! - It is paused, was removed while we watched, or lost its name to a rename: a person.
//! - Its restart policy is `always` or `unless-stopped`, the engine could start it, and yet it is
//!   down: a person. Docker restarts every exit of such a container unless it was stopped.
//! - The event connection, or the engine's own memory (its last 256 events), shows a stop, or a
//!   kill with a signal that ends programs, through Docker's API: a person.
//! - Otherwise it exited. `kill -9` of its process from outside is such an exit. So is a
//!   person's stop that happened while JARVIS was not running and that the engine has forgotten:
//!   the service has a restart section, and bringing it back is what that asks for.

mod discover;
mod engine;
mod host;
mod hub;
mod intents;
mod life;
mod recreate;
mod rollback;
mod target;
mod watch;
mod wire;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bollard::query_parameters as query;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};

pub use discover::{Discovered, PublishedPort, discover};
pub use engine::DockerHosts;
pub use host::DockerTls;
pub use target::ComposeTarget;

use self::engine::{Engine, MARGIN};
use self::hub::stopped_in;
use self::intents::{Begun, Intents};
use self::life::{Life, Phase};
use self::target::Target;
use super::{ActionRequest, Exit, InstanceEvents, Receipt, RunState, Running, ServiceRestarter};
use crate::clock::{ClockExt, Monotonic};
use crate::units;
use crate::vocabulary::{InstanceId, VersionId};
use crate::{Error, ErrorKind, Result, Retry};

/// The engine's own stop timeout, in seconds, where neither we nor the container name one.
const ENGINE_STOP_TIMEOUT: i64 = 10;
const MILLISECOND: i128 = 1_000_000;
/// A `stop` event follows its `die` within this time.
const STOP_FOLLOWS: i128 = 250 * MILLISECOND;
const LOG_BYTES: usize = 4_096;
const LOG_LINES: usize = 200;

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

    /// Sets the stop timeout.
    #[must_use]
    pub fn with_stop_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.stop_timeout = timeout;
        self
    }
}

/// Restarts one container, found by its name or by docker compose's labels.
///
/// An [`InstanceId`] is the container's id with its start; a [`VersionId`] is the image's id.
#[derive(Debug, Clone)]
pub struct DockerRestarter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    target: Target,
    stop_timeout: Option<Duration>,
    engine: Arc<Engine>,
    intents: Intents,
    /// The container as it was last seen, to tell removed from never there.
    seen: Mutex<Option<Seen>>,
}

#[derive(Debug, Clone)]
struct Seen {
    id: String,
    name: String,
    auto_remove: bool,
}

#[derive(Debug, Clone)]
enum Action {
    Restart,
    Start,
    Stop,
    RollBack(VersionId),
}

impl DockerRestarter {
    /// A restarter of one container. Connects nothing.
    ///
    /// # Errors
    /// `ConfigInvalid`: neither or both of `container` and `compose`, an unknown context, a wrong
    /// URL, a certificate that can't be read.
    #[expect(clippy::needless_pass_by_value, reason = "a config is consumed by what it makes")]
    pub fn new(config: DockerConfig, hosts: &DockerHosts) -> Result<Self> {
        let target = Target::of(config.container.as_deref(), config.compose.as_ref())?;
        let engine = hosts.engine(config.host.as_deref(), config.tls.as_ref())?;
        Ok(Self(Arc::new(Inner {
            target,
            stop_timeout: config.stop_timeout,
            engine,
            intents: Intents::default(),
            seen: Mutex::new(None),
        })))
    }

    /// Runs the action to its end, also when the caller goes away meanwhile.
    async fn perform(&self, request: ActionRequest, action: Action) -> Result<Receipt> {
        let before = match self.0.intents.begin(&request.intent)? {
            Begun::Done(receipt) => return Ok(receipt),
            Begun::New => None,
            Begun::Unclear(before) => before,
        };
        let inner = Arc::clone(&self.0);
        let task = tokio::spawn(async move {
            let guard = inner.intents.running(&request.intent);
            let result = Box::pin(inner.act(action, request.deadline, before, &guard)).await;
            guard.end(&result);
            result
        });
        task.await.unwrap_or_else(|error| {
            Err(Error::new(ErrorKind::Internal, "an action on a container broke off")
                .with_retry(Retry::Indeterminate)
                .with_source(error))
        })
    }
}

impl Inner {
    fn seen(&self) -> Option<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn locate(&self) -> Result<Option<Life>> {
        let Some(inspect) = self.target.locate(&self.engine).await? else { return Ok(None) };
        let life = Life::of(&inspect)?;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Seen {
            id: life.id.clone(),
            name: life.name.clone(),
            auto_remove: life.auto_remove,
        });
        Ok(Some(life))
    }

    async fn observe(&self) -> Result<Running> {
        let Some(life) = self.locate().await? else { return self.absent().await };
        let person = match life.phase {
            Phase::Exited(_) => self.person(&life).await,
            _ => None,
        };
        Ok(life.running(person))
    }

    /// How a person ended this life, where one did. See the top of this module.
    async fn person(&self, life: &Life) -> Option<String> {
        if self.engine.ended(&life.instance) {
            return None;
        }
        let started = life.started.unwrap_or(0);
        if let Some(evidence) = self.engine.hub.stopped(&life.id, started) {
            return Some(evidence);
        }
        if life.held_down() {
            return Some(
                "it is stopped although its restart policy would restart any exit".to_owned(),
            );
        }
        let finished = life.finished?;
        let history = self.engine.history(&life.id, started, finished + STOP_FOLLOWS).await;
        stopped_in(&history, finished)
    }

    /// There is no such container: did it go, was it renamed, or did we leave it half replaced?
    async fn absent(&self) -> Result<Running> {
        if let Some(kept) = rollback::interrupted(&self.engine, &self.target).await? {
            let life = Life::of(&kept)?;
            let exit = match life.phase {
                Phase::Exited(exit) => exit,
                _ => Exit::Unknown,
            };
            let mut running = life.running(None);
            running.state = RunState::Exited { exit };
            return Ok(running);
        }
        let missing = Running::new(RunState::Missing);
        let Some(seen) = self.seen() else { return Ok(missing) };
        if let Some(found) = self.engine.find(&seen.id).await? {
            let life = Life::of(&found)?;
            let evidence = format!(
                "the container {:?} was renamed to {:?}; rename it back, or change the configuration",
                seen.name, life.name
            );
            return Ok(life.running(Some(evidence)));
        }
        if self.engine.hub.removed(&seen.id) && !seen.auto_remove {
            let evidence = format!("the container {:?} was removed", seen.name);
            return Ok(Running::new(RunState::StoppedByPerson { evidence }));
        }
        Ok(missing)
    }

    /// In seconds, and how long the whole may take.
    fn stop_timeout(&self, life: &Life) -> (Option<i32>, Duration) {
        let ours = self.stop_timeout.map(|timeout| timeout.as_secs().max(1));
        let seconds = ours.map(|seconds| i32::try_from(seconds).unwrap_or(i32::MAX));
        let whole = seconds
            .map_or_else(|| life.stop_timeout.unwrap_or(ENGINE_STOP_TIMEOUT).max(0), i64::from);
        (seconds, Duration::from_secs(whole.unsigned_abs()) + MARGIN)
    }

    async fn act(
        &self,
        action: Action,
        deadline: Monotonic,
        before: Option<InstanceId>,
        guard: &intents::Guard<'_>,
    ) -> Result<Receipt> {
        let found = self.engine.clock.until(deadline, self.locate()).await;
        let found = found.unwrap_or_else(|| {
            // Nothing was done yet.
            Err(Error::new(ErrorKind::Timeout, "the Docker Engine did not answer in time")
                .with_retry(Retry::Safe { after: None }))
        })?;
        let life = match found {
            Some(life) => life,
            None => self.put_back(&action, deadline).await?,
        };
        let now = self.engine.clock.monotonic();
        let deadline = deadline.min(now + self.stop_timeout(&life).1);
        // The answer to the first try was lost, and it was done: not again.
        let running = matches!(life.phase, Phase::Running | Phase::Starting);
        let done = before.is_some_and(|before| before != life.instance) && running;
        if done && matches!(action, Action::Restart) {
            return Ok(Receipt::new(format!("{} was restarted", life.name))
                .with_after(Some(life.instance)));
        }
        guard.before(&life.instance);
        match action {
            Action::Restart => self.restart(&life, deadline).await,
            Action::Start => self.start(life, deadline).await,
            Action::Stop => self.stop(&life, deadline).await,
            Action::RollBack(to) => Box::pin(rollback::roll_back(self, &life, deadline, &to)).await,
        }
    }

    /// A rollback of ours broke off between two renames: its container gets its name again.
    async fn put_back(&self, action: &Action, deadline: Monotonic) -> Result<Life> {
        if matches!(action, Action::RollBack(_) | Action::Stop) {
            return Err(self.target.not_found());
        }
        if rollback::interrupted(&self.engine, &self.target).await?.is_none() {
            return Err(self.target.not_found());
        }
        rollback::restore_interrupted(&self.engine, &self.target, deadline).await?;
        self.locate().await?.ok_or_else(|| self.target.not_found())
    }

    async fn restart(&self, life: &Life, deadline: Monotonic) -> Result<Receipt> {
        let mut options = query::RestartContainerOptionsBuilder::default();
        if let Some(seconds) = self.stop_timeout(life).0 {
            options = options.t(seconds);
        }
        let _ours = self.engine.acting(&life.id);
        self.engine.ends(&life.instance);
        let restart = self.engine.docker.restart_container(&life.id, Some(options.build()));
        self.engine.act("docker.restart", deadline, restart).await?;
        Ok(self.receipt("restarted", life).await)
    }

    async fn start(&self, life: Life, deadline: Monotonic) -> Result<Receipt> {
        let engine = &self.engine;
        match life.phase {
            Phase::Running | Phase::Starting => {
                return Ok(Receipt::new(format!("{} runs already", life.name))
                    .with_before(Some(life.instance.clone()))
                    .with_after(Some(life.instance)));
            }
            Phase::Paused => {
                let unpause = engine.docker.unpause_container(&life.id);
                engine.act("docker.unpause", deadline, unpause).await?;
                return Ok(self.receipt("unpaused", &life).await);
            }
            Phase::Created | Phase::Exited(_) | Phase::Removing => {}
        }
        let _ours = engine.acting(&life.id);
        let options = None::<query::StartContainerOptions>;
        let start = engine.docker.start_container(&life.id, options);
        engine.act("docker.start", deadline, start).await?;
        Ok(self.receipt("started", &life).await)
    }

    async fn stop(&self, life: &Life, deadline: Monotonic) -> Result<Receipt> {
        let before = Some(life.instance.clone());
        if matches!(life.phase, Phase::Created | Phase::Exited(_) | Phase::Removing) {
            return Ok(Receipt::new(format!("{} does not run", life.name)).with_before(before));
        }
        self.stop_life(life, deadline).await?;
        Ok(Receipt::new(format!("{} is stopped", life.name)).with_before(before))
    }

    async fn stop_life(&self, life: &Life, deadline: Monotonic) -> Result<()> {
        let mut options = query::StopContainerOptionsBuilder::default();
        if let Some(seconds) = self.stop_timeout(life).0 {
            options = options.t(seconds);
        }
        let _ours = self.engine.acting(&life.id);
        self.engine.ends(&life.instance);
        let stop = self.engine.docker.stop_container(&life.id, Some(options.build()));
        self.engine.act("docker.stop", deadline, stop).await
    }

    /// What the engine says after it did as it was asked. That it can't be asked now undoes
    /// nothing.
    async fn receipt(&self, done: &str, before: &Life) -> Receipt {
        let after = self.locate().await.ok().flatten();
        let image = after.as_ref().map_or("", |life| life.image_name.as_str());
        Receipt::new(format!("{} is {done} (image {image})", before.name))
            .with_before(Some(before.instance.clone()))
            .with_after(after.map(|life| life.instance))
    }

    async fn log(&self, lines: usize) -> Result<Vec<String>> {
        let Some(life) = self.locate().await? else { return Ok(Vec::new()) };
        let lines = lines.min(LOG_LINES);
        if lines == 0 {
            return Ok(Vec::new());
        }
        let options = query::LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .tail(&lines.to_string())
            .build();
        let stream = self.engine.docker.logs(&life.id, Some(options));
        let read = async {
            let mut stream = stream;
            let mut text: Vec<u8> = Vec::new();
            while let Some(chunk) = stream.next().await {
                text.extend_from_slice(&chunk?.into_bytes());
                // A line may have no end; only the last bytes are shown anyway.
                if text.len() > 16 * LOG_BYTES {
                    text.drain(..text.len() - LOG_BYTES);
                }
            }
            Ok(text)
        };
        let text = match self.engine.read("docker.logs", read).await {
            // A log driver that can't be read (syslog, none) is no log.
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::NotFound) => {
                return Ok(Vec::new());
            }
            other => other?,
        };
        Ok(last_lines(&text, lines))
    }
}

/// The last lines, whole characters, at most [`LOG_BYTES`] with a byte for each line's end.
fn last_lines(text: &[u8], lines: usize) -> Vec<String> {
    let mut budget = LOG_BYTES;
    let mut kept = Vec::new();
    let text = String::from_utf8_lossy(text);
    for line in text.trim_end_matches(['\n', '\r']).rsplit('\n').take(lines) {
        let line = line.trim_end_matches('\r');
        if line.len() < budget {
            budget -= line.len() + 1;
            kept.push(line.to_owned());
            continue;
        }
        if kept.is_empty() {
            let from = line.ceil_char_boundary(line.len() - (budget - 1));
            kept.push(line[from..].to_owned());
        }
        break;
    }
    kept.reverse();
    if kept == [""] { Vec::new() } else { kept }
}

#[async_trait]
impl ServiceRestarter for DockerRestarter {
    async fn observe(&self) -> Result<Running> {
        self.0.observe().await.map_err(|error| error.with_operation("docker.observe"))
    }

    async fn restart(&self, request: ActionRequest) -> Result<Receipt> {
        self.perform(request, Action::Restart).await
    }

    async fn start(&self, request: ActionRequest) -> Result<Receipt> {
        self.perform(request, Action::Start).await
    }

    async fn stop(&self, request: ActionRequest) -> Result<Receipt> {
        self.perform(request, Action::Stop).await
    }

    async fn roll_back(&self, request: ActionRequest, to: VersionId) -> Result<Receipt> {
        self.perform(request, Action::RollBack(to)).await
    }

    async fn settle_roll_back(&self, keep: bool) -> Result<()> {
        let inner = Arc::clone(&self.0);
        let task = tokio::spawn(async move { Box::pin(rollback::settle(&inner, keep)).await });
        task.await.unwrap_or_else(|error| {
            Err(Error::new(ErrorKind::Internal, "settling a rollback broke off").with_source(error))
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
    fn the_last_lines_fit_and_are_whole_characters() {
        assert_eq!(last_lines(b"a\nb\r\nc\n", 2), ["b", "c"]);
        assert!(last_lines(b"", 5).is_empty());
        let long = "é".repeat(LOG_BYTES);
        let lines = last_lines(format!("first\n{long}\n").as_bytes(), 5);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].len() < LOG_BYTES && lines[0].len() >= LOG_BYTES - 3);
        let many = "0123456789\n".repeat(1_000);
        let lines = last_lines(many.as_bytes(), 1_000);
        assert_eq!(lines.len(), LOG_BYTES / 11);
    }

    #[test]
    fn the_configuration_is_read_and_a_wrong_one_refused() {
        let hosts = DockerHosts::new(Arc::new(crate::clock::ManualClock::new()));
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
