//! What the operator may do to a service, and how often.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lease::Limit;
use crate::restart::ServiceRestarter;
use base::net::address::normalized_host;
use base::resilience::BackoffPolicy;
use base::units;
use base::vocabulary::ServiceId;
use base::{Error, ErrorKind, Result};

pub(super) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Refuses the first of these keys that is zero.
pub(super) fn positive<const N: usize>(keys: [(&str, u32); N]) -> Result<()> {
    match keys.into_iter().find(|(_, value)| *value == 0) {
        None => Ok(()),
        Some((key, _)) => {
            Err(Error::new(ErrorKind::ConfigInvalid, format!("{key} must be at least 1")))
        }
    }
}

/// How a service is restarted: the keys of `[service.NAME.restart]` that are not the restarter's
/// own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct RestartPolicy {
    /// At most that many attempts in any `window`, and in one incident however long it lasts.
    pub max_restarts: u32,
    /// The short window. It slides.
    #[serde(with = "units::duration")]
    pub window: Duration,
    /// At most that many attempts in any `long_window`.
    pub long_max: u32,
    /// The long window, which stops crash loops that are slower than the short one.
    #[serde(with = "units::duration")]
    pub long_window: Duration,
    /// From the end of the action to the first verification.
    #[serde(with = "units::duration")]
    pub wait: Duration,
    /// How many verifications in a row must pass.
    pub verify_passes: u32,
    /// Between two verifications.
    #[serde(with = "units::duration")]
    pub verify_interval: Duration,
    /// A crash within this time after the verification belongs to the same incident.
    #[serde(with = "units::duration")]
    pub stabilise: Duration,
    /// Between two attempts of one incident.
    pub backoff: BackoffPolicy,
    /// From the escalation to the one trial after it. Doubles with each trial that fails.
    #[serde(with = "units::duration")]
    pub cooldown: Duration,
    /// The longest cooldown.
    #[serde(with = "units::duration")]
    pub max_cooldown: Duration,
    /// How long the restarter may take for one action.
    #[serde(with = "units::duration")]
    pub command_timeout: Duration,
    /// How long a platform that restarts the service by itself goes first.
    #[serde(with = "units::duration")]
    pub native_grace: Duration,
    /// Restart although the service flaps.
    pub restart_when_flapping: bool,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            max_restarts: 3,
            window: secs(300),
            long_max: 10,
            long_window: secs(24 * 3_600),
            wait: secs(10),
            verify_passes: 2,
            verify_interval: secs(1),
            stabilise: secs(60),
            backoff: BackoffPolicy::default(),
            cooldown: secs(15 * 60),
            max_cooldown: secs(2 * 3_600),
            command_timeout: secs(60),
            native_grace: secs(30),
            restart_when_flapping: false,
        }
    }
}

impl RestartPolicy {
    /// The service's limits, as the ledger wants them.
    #[must_use]
    pub fn limits(&self) -> Vec<Limit> {
        vec![
            Limit { max: self.max_restarts, window: self.window },
            Limit { max: self.long_max, window: self.long_window },
        ]
    }

    /// The shortest time from one attempt to the next when every verification fails at once.
    #[must_use]
    pub fn shortest_cycle(&self) -> Duration {
        if self.backoff.jitter { self.wait } else { self.wait + self.backoff.initial }
    }

    /// Checks what no type can.
    ///
    /// # Errors
    /// `ConfigInvalid`, naming the key: a limit or a number of passes that is zero, or a window
    /// that all attempts can't fall into, so that its limit would never be reached.
    pub fn validate(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::new(ErrorKind::ConfigInvalid, message));
        positive([
            ("max_restarts", self.max_restarts),
            ("long_max", self.long_max),
            ("verify_passes", self.verify_passes),
        ])?;
        if self.command_timeout.is_zero() || self.window.is_zero() || self.long_window.is_zero() {
            return refuse("command_timeout, window and long_window must be longer than 0s".into());
        }
        let cycles = self.shortest_cycle().saturating_mul(self.max_restarts);
        if cycles >= self.window {
            return refuse(format!(
                "window = {} is too short: {} attempts take at least {}, so that the limit would never be reached; make the window longer than that",
                units::format_duration(self.window),
                self.max_restarts,
                units::format_duration(cycles)
            ));
        }
        Ok(())
    }
}

/// When an earlier version is brought back: the keys of `[service.NAME.rollback]` that are not
/// the restarter's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct RollbackPolicy {
    /// After that many failed verifications of the new version.
    pub after_failed_verifies: u32,
    /// Only when the first of them came within this time after the version was first seen.
    #[serde(with = "units::duration")]
    pub within: Duration,
    /// A version is good once it was healthy for that long.
    #[serde(with = "units::duration")]
    pub healthy_for: Duration,
}

impl Default for RollbackPolicy {
    fn default() -> Self {
        Self { after_failed_verifies: 2, within: secs(30 * 60), healthy_for: secs(10 * 60) }
    }
}

/// A service as the operator knows it. Its checks are the aggregator's.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ManagedService {
    /// Its name.
    pub id: ServiceId,
    /// Brings it back; absent for a service that is only watched.
    pub restarter: Option<Arc<dyn ServiceRestarter>>,
    /// How and how often.
    pub policy: RestartPolicy,
    /// Whether an earlier version may be brought back.
    pub rollback: Option<RollbackPolicy>,
    /// What must be well before it is acted on.
    pub depends_on: Vec<ServiceId>,
    /// Restart it, once, after something it depends on was restarted.
    pub restart_with_dependency: bool,
    /// How long it may need to become well after a start.
    pub start_grace: Duration,
    /// Down with it means that the platform is down.
    pub critical: bool,
    /// The host that its checks talk to, for self-suspicion.
    pub host: Option<String>,
    /// Names what the restarter acts on (`docker:api`), so that a service that only got a new
    /// name keeps its budget.
    pub target: Option<String>,
    /// The name it had before, where also what the restarter acts on is called differently now.
    pub renamed_from: Option<ServiceId>,
    /// Changes when its checks do: "never passed" begins anew then.
    pub fingerprint: Option<String>,
}

impl ManagedService {
    /// A service that is only watched.
    #[must_use]
    pub fn new(id: ServiceId) -> Self {
        Self {
            id,
            restarter: None,
            policy: RestartPolicy::default(),
            rollback: None,
            depends_on: Vec::new(),
            restart_with_dependency: false,
            start_grace: Duration::ZERO,
            critical: false,
            host: None,
            target: None,
            renamed_from: None,
            fingerprint: None,
        }
    }

    /// Consents to restarts.
    #[must_use]
    pub fn with_restarter(
        mut self,
        restarter: Arc<dyn ServiceRestarter>,
        policy: RestartPolicy,
    ) -> Self {
        self.restarter = Some(restarter);
        self.policy = policy;
        self
    }

    /// Consents to rollbacks.
    #[must_use]
    pub fn with_rollback(mut self, rollback: RollbackPolicy) -> Self {
        self.rollback = Some(rollback);
        self
    }

    /// Names what must be well before it is acted on.
    #[must_use]
    pub fn with_dependencies(mut self, on: impl IntoIterator<Item = ServiceId>) -> Self {
        self.depends_on.extend(on);
        self
    }

    /// Asks to be restarted after something it depends on was.
    #[must_use]
    pub fn with_dependency_restart(mut self) -> Self {
        self.restart_with_dependency = true;
        self
    }

    /// Says how long it may need to become well.
    #[must_use]
    pub fn with_start_grace(mut self, grace: Duration) -> Self {
        self.start_grace = grace;
        self
    }

    /// Marks it as critical for the platform.
    #[must_use]
    pub fn with_critical(mut self, critical: bool) -> Self {
        self.critical = critical;
        self
    }

    /// Names the host of its checks. All names and addresses of this machine are one host,
    /// `localhost`.
    #[must_use]
    pub fn with_host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(normalized_host(&host.into()));
        self
    }

    /// Names what the restarter acts on.
    #[must_use]
    pub fn with_target(mut self, target: impl Into<String>) -> Self {
        self.target = Some(target.into());
        self
    }

    /// Says what it was called before: its history and its budget move along.
    #[must_use]
    pub fn with_renamed_from(mut self, old: ServiceId) -> Self {
        self.renamed_from = Some(old);
        self
    }

    /// Names the state of its checks' configuration.
    #[must_use]
    pub fn with_fingerprint(mut self, fingerprint: impl Into<String>) -> Self {
        self.fingerprint = Some(fingerprint.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_that_can_never_be_used_up_is_refused() {
        assert!(RestartPolicy::default().validate().is_ok());
        let policy = RestartPolicy { wait: secs(100), ..RestartPolicy::default() };
        let error = policy.validate().unwrap_err();
        assert!(error.message().contains("window = 5m is too short"), "{error}");
        let policy = RestartPolicy { verify_passes: 0, ..RestartPolicy::default() };
        assert!(policy.validate().unwrap_err().message().contains("verify_passes"));
    }
}
