//! What holds over all services: limits, the allow-list, self-suspicion, and the rest of what an
//! operator is told beside its services.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::maintenance::MaintenanceWindow;
use super::policy::{positive, secs};
use base::units;
use base::vocabulary::{ActionKind, Mode, ServiceId};
use base::{Error, ErrorKind, Result};

/// What holds over all services: `[limits]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Limits {
    /// How many services may be restarted and verified at once.
    pub max_concurrent_restarts: u32,
    /// At most that many attempts over all services in any `window`.
    pub max_restarts: u32,
    /// The window. It slides.
    #[serde(with = "units::duration")]
    pub window: Duration,
    /// JARVIS suspects itself when more than this share of all services (0.0 to 1.0) stops
    /// answering at once, beside the two numbers below. 1.0 turns that off; a failing canary
    /// still holds.
    pub suspect_self_above: f64,
    /// That many services must have stopped answering, …
    pub suspect_self_services: usize,
    /// … on that many hosts.
    pub suspect_self_hosts: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let SelfSuspicion { share, targets, hosts, .. } = SelfSuspicion::default();
        Self {
            max_concurrent_restarts: 2,
            max_restarts: 10,
            window: secs(300),
            suspect_self_above: share,
            suspect_self_services: targets,
            suspect_self_hosts: hosts,
        }
    }
}

impl Limits {
    /// When an operator with these limits suspects itself.
    #[must_use]
    pub fn suspicion(&self) -> SelfSuspicion {
        SelfSuspicion {
            share: self.suspect_self_above,
            targets: self.suspect_self_services,
            hosts: self.suspect_self_hosts,
            ..SelfSuspicion::default()
        }
    }

    /// Checks what no type can.
    ///
    /// # Errors
    /// `ConfigInvalid`, naming the key: a limit of zero, which would forbid every restart, or a
    /// share outside 0.0 to 1.0.
    pub fn validate(&self) -> Result<()> {
        positive([
            ("max_concurrent_restarts", self.max_concurrent_restarts),
            ("max_restarts", self.max_restarts),
            ("suspect_self_services", count(self.suspect_self_services)),
            ("suspect_self_hosts", count(self.suspect_self_hosts)),
        ])?;
        if self.window.is_zero() {
            return Err(Error::new(ErrorKind::ConfigInvalid, "window must be longer than 0s"));
        }
        if !(0.0..=1.0).contains(&self.suspect_self_above) {
            let message = "suspect_self_above is a share of all services, from 0.0 to 1.0";
            return Err(Error::new(ErrorKind::ConfigInvalid, message));
        }
        Ok(())
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// An action that `[allow]` can leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AllowedAction {
    /// Restarts and starts.
    Restart,
    /// Rollbacks.
    Rollback,
}

/// Narrows what is acted on: `[allow]`. A restart section is the consent; this only takes away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Allow {
    /// Only services that match one of these names or globs; absent means all.
    pub services: Option<Vec<String>>,
    /// Only these actions; absent means all.
    pub actions: Option<Vec<AllowedAction>>,
}

impl Allow {
    /// May this be done to that service?
    #[must_use]
    pub fn permits(&self, service: &ServiceId, action: &ActionKind) -> bool {
        let wanted = match action {
            ActionKind::RollBack { .. } => AllowedAction::Rollback,
            _ => AllowedAction::Restart,
        };
        self.services.as_ref().is_none_or(|names| matches_any(names, service))
            && self.actions.as_ref().is_none_or(|actions| actions.contains(&wanted))
    }
}

/// Does one of the names or globs match? A glob that can't be read matches nothing.
pub(crate) fn matches_any(patterns: &[String], service: &ServiceId) -> bool {
    patterns.iter().any(|pattern| {
        pattern == service.as_str()
            || globset::Glob::new(pattern)
                .is_ok_and(|glob| glob.compile_matcher().is_match(service.as_str()))
    })
}

/// When so much fails at once that the trouble is more likely on our side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct SelfSuspicion {
    /// More than this share of all services (0.0 to 1.0), and at least …
    pub share: f64,
    /// … that many of them, …
    pub targets: usize,
    /// … on that many hosts, time out or can't be found or reached within `hold`.
    pub hosts: usize,
    /// With a healthy canary the suspicion ends after this time.
    #[serde(with = "units::duration")]
    pub hold: Duration,
}

impl Default for SelfSuspicion {
    fn default() -> Self {
        Self { share: 0.0, targets: 5, hosts: 2, hold: secs(60) }
    }
}

/// Everything that is not about one service.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct OperatorSettings {
    /// How much may be done.
    pub mode: Mode,
    /// Acts on nothing but commands: for one gated action without the loop.
    pub commands_only: bool,
    /// Limits over all services.
    pub limits: Limits,
    /// What is left out.
    pub allow: Allow,
    /// When we suspect ourselves.
    pub suspicion: SelfSuspicion,
    /// The calendar of planned work.
    pub maintenance: Vec<MaintenanceWindow>,
    /// While this file exists, nothing is begun.
    pub kill_switch: Option<PathBuf>,
    /// How long the lease lasts without being renewed; it is renewed three times as often.
    pub lease_ttl: Duration,
    /// How long dependents may come back by themselves after what they depend on did.
    pub dependency_grace: Duration,
    /// Between the restarts of two dependents of the same service.
    pub stagger: Duration,
    /// How often a service that is left alone is looked at.
    pub observe_every: Duration,
    /// How often this process checks that it can still connect, spawn and open files; absent:
    /// never.
    pub canary_every: Option<Duration>,
    /// How long an action in flight may take after the end was asked for.
    pub shutdown_deadline: Duration,
}

impl Default for OperatorSettings {
    fn default() -> Self {
        Self {
            mode: Mode::Act,
            commands_only: false,
            limits: Limits::default(),
            allow: Allow::default(),
            suspicion: SelfSuspicion::default(),
            maintenance: Vec::new(),
            kill_switch: None,
            lease_ttl: secs(15),
            dependency_grace: secs(15),
            stagger: secs(2),
            observe_every: secs(60),
            canary_every: Some(secs(10)),
            shutdown_deadline: secs(25),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_forbid_everything_are_refused() {
        assert!(Limits::default().validate().is_ok());
        for (limits, key) in [
            (Limits { max_restarts: 0, ..Limits::default() }, "max_restarts"),
            (Limits { window: Duration::ZERO, ..Limits::default() }, "window"),
            (Limits { suspect_self_above: 1.5, ..Limits::default() }, "suspect_self_above"),
            (Limits { suspect_self_above: f64::NAN, ..Limits::default() }, "suspect_self_above"),
            (Limits { suspect_self_hosts: 0, ..Limits::default() }, "suspect_self_hosts"),
        ] {
            let error = limits.validate().unwrap_err();
            assert!(error.message().contains(key), "{error}");
        }
    }

    #[test]
    fn the_allow_list_only_narrows() {
        let id = ServiceId::new("model-a").unwrap();
        let rollback = ActionKind::RollBack { to: base::vocabulary::VersionId::new("1").unwrap() };
        assert!(Allow::default().permits(&id, &rollback));
        let allow = Allow {
            services: Some(vec!["api".into(), "model-*".into()]),
            actions: Some(vec![AllowedAction::Restart]),
        };
        assert!(allow.permits(&id, &ActionKind::Restart) && !allow.permits(&id, &rollback));
        assert!(!allow.permits(&ServiceId::new("db").unwrap(), &ActionKind::Restart));
    }
}
