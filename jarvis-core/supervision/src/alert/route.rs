//! [`Route`]: which alerts a sink is sent, and when.

use std::time::Duration;

use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};

use base::units;
use base::vocabulary::{ServiceId, Severity};
use base::{Error, ErrorKind, Result};

/// The shortest allowed time between two reminders.
pub const MIN_REMINDER: Duration = Duration::from_secs(300);

/// What an alert is about, as `on = […]` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AlertKind {
    /// A service does not work (critical).
    Down,
    /// JARVIS gave up on it for now (critical).
    Escalated,
    /// It works, not as it should (warning).
    Degraded,
    /// A gate keeps JARVIS from mending it, and a person may have to (warning).
    Held,
    /// It changes its state too often to be believed (warning).
    Flapping,
    /// A bad version was replaced (warning).
    RolledBack,
    /// A person stopped it (info).
    Stopped,
    /// JARVIS itself: paused, suspects its own network, a refused configuration, a sink that does
    /// not work.
    Operator,
    /// It passed its verification.
    Recovered,
    /// It is over. A sink that was notified of the beginning is always notified of the end.
    Resolved,
}

/// Which alerts a sink is sent: the keys of `[alert.NAME]` that every sink has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Route {
    /// Only these kinds; empty means all. A sink that was told the beginning is always told the
    /// end, so that no page stays open.
    pub on: Vec<AlertKind>,
    /// Nothing that is less severe.
    pub min_severity: Severity,
    /// Only services that match one of these patterns (`model-*`); empty means all. What is about
    /// JARVIS itself goes to every sink.
    pub services: Vec<String>,
    /// Only what still holds after this long: the second tier.
    #[serde(with = "units::duration")]
    pub after: Duration,
    /// How often to say again what still holds; `"0s"` for never, else at least 5 minutes.
    #[serde(with = "units::duration")]
    pub reminder: Duration,
    /// How long to wait before a new alert goes out, so that what belongs together is told
    /// together: a dependency with its dependents, a mass failure as one digest. The first
    /// critical alert of a service that depends on no other goes at once; what follows it within
    /// this time is grouped.
    #[serde(with = "units::duration")]
    pub group_wait: Duration,
    /// From how many new alerts at once on they are told as one digest.
    pub digest_from: usize,
    /// How long one delivery may take.
    #[serde(with = "units::duration")]
    pub timeout: Duration,
}

impl Default for Route {
    fn default() -> Self {
        Self {
            on: Vec::new(),
            min_severity: Severity::Info,
            services: Vec::new(),
            after: Duration::ZERO,
            reminder: Duration::from_secs(1_800),
            group_wait: Duration::from_secs(10),
            digest_from: 5,
            timeout: Duration::from_secs(30),
        }
    }
}

impl Route {
    /// Checks what serde can't.
    ///
    /// # Errors
    /// `ConfigInvalid`, naming the key.
    pub fn validate(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::new(ErrorKind::ConfigInvalid, message));
        if !self.reminder.is_zero() && self.reminder < MIN_REMINDER {
            return refuse("reminder must be at least 5m, or 0s for none".to_owned());
        }
        if self.timeout.is_zero() {
            return refuse("timeout must be longer than 0s".to_owned());
        }
        if self.digest_from < 2 {
            return refuse("digest_from must be at least 2".to_owned());
        }
        let ends_only =
            |kind: &AlertKind| matches!(kind, AlertKind::Recovered | AlertKind::Resolved);
        if !self.on.is_empty() && self.on.iter().all(ends_only) {
            return refuse(
                "on contains only events that end an incident; add one that begins it, such as \"down\" or \"escalated\""
                    .to_owned(),
            );
        }
        self.globs().map(|_| ())
    }

    fn globs(&self) -> Result<GlobSet> {
        let mut set = GlobSetBuilder::new();
        for pattern in &self.services {
            set.add(Glob::new(pattern).map_err(|error| {
                Error::new(
                    ErrorKind::ConfigInvalid,
                    format!("{pattern:?} in services is not a valid pattern such as \"model-*\""),
                )
                .with_source(error)
            })?);
        }
        set.build().map_err(|error| {
            Error::new(ErrorKind::ConfigInvalid, "services has too many patterns")
                .with_source(error)
        })
    }

    /// Does it want alerts of that kind?
    #[must_use]
    pub fn wants(&self, kind: AlertKind) -> bool {
        self.on.is_empty() || self.on.contains(&kind)
    }
}

/// A route with its patterns compiled.
#[derive(Debug, Clone)]
pub(super) struct Matcher {
    pub(super) route: Route,
    globs: GlobSet,
}

impl Matcher {
    pub(super) fn new(route: Route) -> Result<Self> {
        route.validate()?;
        let globs = route.globs()?;
        Ok(Self { route, globs })
    }

    pub(super) fn covers(&self, service: Option<&ServiceId>) -> bool {
        self.route.services.is_empty()
            || service.is_none_or(|service| self.globs.is_match(service.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_checked_where_it_is_read() {
        let read = |text: &str| toml::from_str::<Route>(text);
        assert!(read("nope = 1").is_err());
        assert!(read("reminder = \"1m\"").unwrap().validate().is_err());
        assert!(read("on = [\"resolved\"]").unwrap().validate().is_err());
        assert!(read("services = [\"a[\"]").unwrap().validate().is_err());
        let route = read(
            "on = [\"escalated\"]\nafter = \"5m\"\nmin_severity = \"critical\"\nservices = [\"model-*\"]\nreminder = \"0s\"",
        )
        .unwrap();
        let matcher = Matcher::new(route).unwrap();
        let id = |text| ServiceId::new(text).unwrap();
        assert!(matcher.covers(Some(&id("model-a"))) && !matcher.covers(Some(&id("api"))));
        assert!(matcher.covers(None));
        assert!(matcher.route.wants(AlertKind::Escalated) && !matcher.route.wants(AlertKind::Down));
    }
}
