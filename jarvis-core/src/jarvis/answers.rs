//! What the handle answers, as plain data with the same JSON in every language.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::web::WebAnswer;
use base::clock::WallTime;
use base::vocabulary::{IntentId, Platform, ServiceId, ServiceState};
use base::{Error, ErrorKind, Result, names, units};
use supervision::health::aggregator::{CheckResult, LoopStats, PlatformSnapshot, ServiceSnapshot};
use supervision::health::uptime::UptimeReport;
use supervision::operator::{MaintenanceStatus, OperatorStatus, Reply, ServiceStatus};

/// Where an answer comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
#[non_exhaustive]
pub enum Source {
    /// A supervision loop that runs now.
    Live,
    /// What the last loop left behind.
    LastSeen {
        /// When it wrote this.
        at: WallTime,
        /// How long ago that is.
        #[serde(rename = "age_ms", with = "units::millis")]
        age: Duration,
    },
    /// There never was a loop with this state directory.
    Nothing,
}

/// The answer to `status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StatusAnswer {
    /// How fresh it is.
    pub source: Source,
    /// The services as one.
    pub platform: Platform,
    /// What the checks say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<PlatformSnapshot>,
    /// Where each service stands in the loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<OperatorStatus>,
}

impl StatusAnswer {
    pub(super) fn new(
        source: Source,
        health: Option<PlatformSnapshot>,
        operator: Option<OperatorStatus>,
    ) -> Self {
        let platform = health.as_ref().map(|health| health.platform.clone()).unwrap_or_default();
        Self { source, platform, health, operator }
    }

    /// One service: what its checks say, and where it stands in the loop.
    ///
    /// # Errors
    /// `Unavailable` when no loop has run yet; `NotFound` with the nearest name.
    pub fn service(
        &self,
        service: &ServiceId,
    ) -> Result<(&ServiceSnapshot, Option<&ServiceStatus>)> {
        let Some(health) = &self.health else {
            let message = "nothing is known yet: `jarvis up` has not run with this state directory";
            return Err(Error::new(ErrorKind::Unavailable, message));
        };
        let found = health.services.iter().find(|found| found.service == *service);
        let Some(found) = found else {
            let valid: Vec<&str> =
                health.services.iter().map(|known| known.service.as_str()).collect();
            return Err(names::not_found("service", service.as_str(), &valid));
        };
        let operator = self.operator.as_ref().and_then(|operator| {
            operator.services.iter().find(|status| status.service == *service)
        });
        Ok((found, operator))
    }
}

/// The answer to `uptime`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UptimeAnswer {
    /// How fresh it is.
    pub source: Source,
    /// The window, the whole and each service.
    #[serde(flatten)]
    pub report: UptimeReport,
}

impl UptimeAnswer {
    pub(super) fn new(source: Source, mut report: UptimeReport, services: &[ServiceId]) -> Self {
        if !services.is_empty() {
            report.services.retain(|service| services.contains(&service.service));
        }
        Self { source, report }
    }
}

/// The answer to `check`: one round of real probes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CheckAnswer {
    /// When the round began.
    pub at: WallTime,
    /// How long it took.
    #[serde(rename = "took_ms", with = "units::millis")]
    pub took: Duration,
    /// The services as one, by this round alone.
    pub platform: Platform,
    /// Each service that was asked for, in the order of the configuration.
    pub services: Vec<ServiceCheck>,
}

/// One service in a round of probes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServiceCheck {
    /// Which.
    pub service: ServiceId,
    /// What this round alone says: no threshold applies.
    pub state: ServiceState,
    /// Is the platform down without it?
    pub critical: bool,
    /// Each check.
    pub checks: Vec<CheckResult>,
}

impl ServiceCheck {
    pub(super) fn new(
        service: ServiceId,
        state: ServiceState,
        critical: bool,
        checks: Vec<CheckResult>,
    ) -> Self {
        Self { service, state, critical, checks }
    }
}

impl CheckAnswer {
    pub(super) fn new(
        at: WallTime,
        took: Duration,
        platform: Platform,
        services: Vec<ServiceCheck>,
    ) -> Self {
        Self { at, took, platform, services }
    }
}

/// The answer to an action by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ActionAnswer {
    /// One line for a person.
    pub message: String,
    /// Names the action in the events, where one was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<IntentId>,
    /// The maintenance window that was opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<MaintenanceStatus>,
}

impl ActionAnswer {
    pub(super) fn new(message: impl Into<String>, intent: Option<IntentId>) -> Self {
        Self { message: message.into(), intent, maintenance: None }
    }
}

impl From<Reply> for ActionAnswer {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Accepted { service, intent } => {
                Self::new(format!("{service}: begun"), Some(intent))
            }
            Reply::Opened { window } => {
                let message = format!(
                    "maintenance window {} is open for {} until {}",
                    window.window,
                    window.services.join(", "),
                    window.until
                );
                Self { maintenance: Some(window), ..Self::new(message, None) }
            }
            Reply::Done { message } => Self::new(message, None),
        }
    }
}

/// How one sink took a test alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AlertTestAnswer {
    /// The sink.
    pub sink: String,
    /// Why it was not delivered; absent when it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl AlertTestAnswer {
    pub(super) fn new(sink: String, error: Option<String>) -> Self {
        Self { sink, error }
    }
}

/// The answer of `/healthz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Healthz {
    /// Does the loop go round?
    pub alive: bool,
    /// What is wrong with it; empty when nothing is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The loop in numbers.
    pub loop_stats: LoopStats,
}

impl Healthz {
    pub(super) fn new(reason: String, loop_stats: LoopStats) -> Self {
        Self { alive: reason.is_empty(), reason, loop_stats }
    }

    /// As an HTTP answer: 200, or 503 where the loop is not alive.
    #[must_use]
    pub fn answer(&self) -> WebAnswer {
        WebAnswer::json(if self.alive { 200 } else { 503 }, self)
    }
}
