//! What is watched, and how: [`ServiceSpec`], [`CheckSpec`], [`CheckPolicy`].

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::schedule::fingerprint;
use crate::health::HealthProbe;
use base::net::address::normalized_host;
use base::units;
use base::vocabulary::{CheckName, ServiceId};
use base::{Error, ErrorKind, Result};

/// How often a check is made and how many results make a judgement.
///
/// ```
/// use std::time::Duration;
/// use jarvis_core::health::aggregator::CheckPolicy;
///
/// let policy: CheckPolicy = toml::from_str("interval = \"10s\"\ndegraded_above = \"500ms\"")?;
/// assert_eq!(policy.interval, Duration::from_secs(10));
/// assert_eq!(policy.failure_threshold, 3);
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckPolicy {
    /// From one probe to the next.
    #[serde(with = "units::duration")]
    pub interval: Duration,
    /// The same while the check fails or is down, so that a failure is confirmed, and a recovery
    /// seen, sooner. Never longer than `interval`.
    #[serde(with = "units::duration")]
    pub interval_down: Duration,
    /// How long one probe may take. Enforced from outside too.
    #[serde(with = "units::duration")]
    pub timeout: Duration,
    /// So many failures in a row make a check down. What is certain by itself (an exit, a refused
    /// connection) needs one.
    pub failure_threshold: u32,
    /// So many passes in a row end down or degraded.
    pub success_threshold: u32,
    /// Slower than this is degraded: when the 95th percentile of the last 20 answers is, or three
    /// in a row are.
    #[serde(with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    pub degraded_above: Option<Duration>,
    /// Does the service need it? When a check that is not critical fails, the service is degraded
    /// at most.
    pub critical: bool,
}

impl Default for CheckPolicy {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30),
            interval_down: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            failure_threshold: 3,
            success_threshold: 2,
            degraded_above: None,
            critical: true,
        }
    }
}

/// The shortest interval and timeout.
const SHORTEST: Duration = Duration::from_millis(1);

impl CheckPolicy {
    /// Refuses what can't work.
    ///
    /// # Errors
    /// `ConfigInvalid`, naming the key and what it has to be.
    pub fn validate(&self) -> Result<()> {
        let durations = [
            ("interval", self.interval),
            ("interval_down", self.interval_down),
            ("timeout", self.timeout),
        ];
        if let Some((key, _)) = durations.into_iter().find(|(_, duration)| *duration < SHORTEST) {
            return Err(Error::new(
                ErrorKind::ConfigInvalid,
                format!("{key} must be at least 1ms"),
            ));
        }
        let thresholds = [
            ("failure_threshold", self.failure_threshold),
            ("success_threshold", self.success_threshold),
        ];
        if let Some((key, _)) = thresholds.into_iter().find(|(_, threshold)| *threshold == 0) {
            return Err(Error::new(ErrorKind::ConfigInvalid, format!("{key} must be at least 1")));
        }
        Ok(())
    }

    /// The interval while the check is not well.
    #[must_use]
    pub(super) fn interval_failing(&self) -> Duration {
        self.interval_down.min(self.interval)
    }
}

/// One check of a service.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CheckSpec {
    /// Unique within the service.
    pub name: CheckName,
    /// What measures.
    pub probe: Arc<dyn HealthProbe>,
    /// How often, and what counts.
    pub policy: CheckPolicy,
    /// The host that the probe talks to, for self-suspicion: failures on one host are that host's.
    /// Absent for what stays on this machine's own kernel (a process, a disk).
    pub host: Option<Arc<str>>,
    /// Tells whether a reload changed the target; see [`CheckSpec::with_fingerprint`].
    pub fingerprint: u64,
}

impl CheckSpec {
    /// A check with the default policy.
    #[must_use]
    pub fn new(name: CheckName, probe: Arc<dyn HealthProbe>) -> Self {
        Self { name, probe, policy: CheckPolicy::default(), host: None, fingerprint: 0 }
    }

    /// Sets how often, and what counts.
    #[must_use]
    pub fn with_policy(mut self, policy: CheckPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Names the host that the probe talks to. All names and addresses of this machine are one
    /// host, `localhost`.
    #[must_use]
    pub fn with_host(mut self, host: impl Into<Arc<str>>) -> Self {
        self.host = Some(normalized_host(&host.into()).into());
        self
    }

    /// Identifies what is probed, by any text that changes when the target does, such as the
    /// check's section of the configuration. A check whose fingerprint stays keeps its state over
    /// a reload and its "has ever passed" over a restart of JARVIS. Without this call only name
    /// and policy tell.
    #[must_use]
    pub fn with_fingerprint(mut self, target: &str) -> Self {
        self.fingerprint = fingerprint(&[target]);
        self
    }
}

/// A service and its checks.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServiceSpec {
    /// Unique.
    pub id: ServiceId,
    /// Is the platform down without it?
    pub critical: bool,
    /// For so long after its actual start, failing does not count (an exit does). Each check's
    /// first pass ends it for that check. Where the start is unknown it counts from when JARVIS
    /// began to watch.
    pub start_grace: Duration,
    /// Without a check the service stays unknown.
    pub checks: Vec<CheckSpec>,
}

impl ServiceSpec {
    /// A service that is not critical and has no start grace.
    #[must_use]
    pub fn new(id: ServiceId, checks: Vec<CheckSpec>) -> Self {
        Self { id, critical: false, start_grace: Duration::ZERO, checks }
    }

    /// The platform is down without it.
    #[must_use]
    pub fn with_critical(mut self, critical: bool) -> Self {
        self.critical = critical;
        self
    }

    /// Sets the start grace.
    #[must_use]
    pub fn with_start_grace(mut self, grace: Duration) -> Self {
        self.start_grace = grace;
        self
    }

    /// Adds a check.
    #[must_use]
    pub fn with_check(mut self, check: CheckSpec) -> Self {
        self.checks.push(check);
        self
    }
}

/// Refuses a set of services that can't be watched together.
pub fn validate_services(services: &[ServiceSpec]) -> Result<()> {
    let mut ids = std::collections::HashSet::new();
    for service in services {
        if !ids.insert(&service.id) {
            return Err(Error::new(
                ErrorKind::ConfigInvalid,
                format!("the service {} is defined twice; rename one", service.id),
            ));
        }
        let mut names = std::collections::HashSet::new();
        for check in &service.checks {
            let context = |error: Error| {
                error.with_context("service", &service.id).with_context("check", &check.name)
            };
            check.policy.validate().map_err(context)?;
            if !names.insert(&check.name) {
                return Err(context(Error::new(
                    ErrorKind::ConfigInvalid,
                    "two checks of one service have the same name; rename one",
                )));
            }
        }
    }
    Ok(())
}
