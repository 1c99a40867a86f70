//! What runs on an engine, for somebody who writes a configuration.

use serde::{Deserialize, Serialize};

use super::engine::DockerHosts;
use super::target::{KEPT, NEW, PROJECT, SERVICE};
use base::clock::SharedClock;
use base::{ErrorKind, Result};

/// A port of a container that its machine publishes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PublishedPort {
    /// The address that it is published on; `0.0.0.0` and `::` are all.
    pub host_ip: String,
    /// The port of the machine.
    pub host_port: u16,
    /// The port in the container.
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

impl PublishedPort {
    /// A TCP port published on all addresses.
    #[must_use]
    pub fn tcp(host_port: u16, container_port: u16) -> Self {
        let (host_ip, protocol) = ("0.0.0.0".to_owned(), "tcp".to_owned());
        Self { host_ip, host_port, container_port, protocol }
    }
}

/// A running container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Discovered {
    /// Its name.
    pub name: String,
    /// Its image as it was asked for.
    pub image: String,
    /// The compose project and service, where compose made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compose: Option<(String, String)>,
    /// Its published ports, sorted; IPv4 first.
    pub ports: Vec<PublishedPort>,
    /// Its network: `bridge`, `host`, `none`, `container:ID` or a network's name.
    pub network_mode: String,
    /// Does it have a health check of its own?
    pub has_healthcheck: bool,
    /// Docker's own restart policy: `no`, `on-failure`, `always`, `unless-stopped`.
    pub restart_policy: String,
}

impl Discovered {
    /// A container without ports, labels, health check and restart policy.
    #[must_use]
    pub fn new(name: impl Into<String>, image: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            image: image.into(),
            compose: None,
            ports: Vec::new(),
            network_mode: "bridge".to_owned(),
            has_healthcheck: false,
            restart_policy: "no".to_owned(),
        }
    }

    /// Names its compose project and service.
    #[must_use]
    pub fn with_compose(mut self, compose: Option<(String, String)>) -> Self {
        self.compose = compose;
        self
    }

    /// Names its published ports.
    #[must_use]
    pub fn with_ports(mut self, ports: Vec<PublishedPort>) -> Self {
        self.ports = ports;
        self
    }
}

/// The running containers of an engine (a URL, a context, or that of the environment), sorted by
/// name.
///
/// # Errors
/// Those of the connection, and `ConfigInvalid` for a host that can't be used.
pub async fn discover(host: Option<&str>, clock: SharedClock) -> Result<Vec<Discovered>> {
    let engine = DockerHosts::new(clock).engine(host, None)?;
    let mut found = Vec::new();
    for summary in engine.list(&[], false).await? {
        let Some(id) = summary.id else { continue };
        // One that ended meanwhile does not run.
        let inspect = match engine.inspect(&id).await {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other?,
        };
        let name = inspect.name.unwrap_or_default().trim_start_matches('/').to_owned();
        if name.ends_with(KEPT) || name.ends_with(NEW) {
            continue;
        }
        let config = inspect.config.unwrap_or_default();
        let labels = config.labels.unwrap_or_default();
        let host = inspect.host_config.unwrap_or_default();
        // `NONE` switches off the image's own.
        let tests = config.healthcheck.and_then(|check| check.test).unwrap_or_default();
        let policy = host.restart_policy.and_then(|policy| policy.name);
        let mut ports: Vec<PublishedPort> =
            summary.ports.unwrap_or_default().into_iter().filter_map(published).collect();
        ports.sort();
        ports.dedup();
        found.push(Discovered {
            name,
            image: config.image.or(summary.image).unwrap_or_default(),
            compose: labels.get(PROJECT).cloned().zip(labels.get(SERVICE).cloned()),
            ports,
            network_mode: host.network_mode.unwrap_or_default(),
            has_healthcheck: tests.first().is_some_and(|first| first != "NONE"),
            restart_policy: policy
                .map(|policy| policy.to_string())
                .filter(|policy| !policy.is_empty())
                .unwrap_or_else(|| "no".to_owned()),
        });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn published(port: bollard::models::PortSummary) -> Option<PublishedPort> {
    Some(PublishedPort {
        host_ip: port.ip.unwrap_or_default(),
        host_port: port.public_port?,
        container_port: port.private_port,
        protocol: port.typ.map(|protocol| protocol.to_string()).unwrap_or_default(),
    })
}
