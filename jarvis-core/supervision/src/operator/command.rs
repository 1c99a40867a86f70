//! What a person can ask of the operator, and where its events go.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::status::MaintenanceStatus;
use base::Result;
use base::events::Event;
use base::units;
use base::vocabulary::{IntentId, ServiceId};

/// What a person, or a program on behalf of one, asks of the operator.
///
/// A manual action overrides budgets, cooldown, backoff, flapping and maintenance, and uses up no
/// budget. It never overrides the kill switch, the lease, the mode or the allow-list.
///
/// ```
/// use jarvis_core::operator::{Action, Command};
/// use jarvis_core::vocabulary::ServiceId;
///
/// let service = ServiceId::new("vocal-coach")?;
/// let command = Command::new(Action::Restart { service }, "ann").with_reason("new model");
/// assert_eq!(command.asked_by(), "ann: new model");
/// # Ok::<(), jarvis_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Command {
    /// What to do.
    #[serde(flatten)]
    pub action: Action,
    /// Who asks, for the record.
    #[serde(default)]
    pub by: String,
    /// Why, for the record; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// What a [`Command`] does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Action {
    /// Restart a service now.
    Restart {
        /// Which.
        service: ServiceId,
    },
    /// Stop a service; it is left stopped.
    Stop {
        /// Which.
        service: ServiceId,
    },
    /// Start a service.
    Start {
        /// Which.
        service: ServiceId,
    },
    /// Clear the budgets, the breaker and the backoff of a service.
    Reset {
        /// Which.
        service: ServiceId,
    },
    /// Begin no action until `resume`; what is under way is finished. Watching and alerting go on.
    Pause {
        /// End it after this time, which goes on while JARVIS restarts; absent: at `resume`.
        #[serde(
            default,
            rename = "for_ms",
            with = "units::optional_millis",
            skip_serializing_if = "Option::is_none"
        )]
        lasting: Option<Duration>,
    },
    /// Act again.
    Resume,
    /// Open a maintenance window now.
    Maintain {
        /// Names or globs of services.
        services: Vec<String>,
        /// How long it stays open.
        #[serde(rename = "for_ms", with = "units::millis")]
        lasting: Duration,
    },
    /// Close a window that was opened by [`Action::Maintain`], or all of them.
    EndMaintenance {
        /// Its number; absent: each.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        window: Option<u64>,
    },
}

impl Command {
    /// A command without a reason.
    #[must_use]
    pub fn new(action: Action, by: impl Into<String>) -> Self {
        Self { action, by: by.into(), reason: String::new() }
    }

    /// Says why.
    #[must_use]
    pub fn with_reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }

    /// The service that it is about, where it is about one.
    #[must_use]
    pub const fn service(&self) -> Option<&ServiceId> {
        match &self.action {
            Action::Restart { service }
            | Action::Stop { service }
            | Action::Start { service }
            | Action::Reset { service } => Some(service),
            Action::Pause { .. }
            | Action::Resume
            | Action::Maintain { .. }
            | Action::EndMaintenance { .. } => None,
        }
    }

    /// Who asks, and why: `ann`, or `ann: new model`.
    #[must_use]
    pub fn asked_by(&self) -> String {
        asked_by(&self.by, &self.reason)
    }
}

/// `ann`, or with a reason `ann: new model`.
pub(super) fn asked_by(by: &str, reason: &str) -> String {
    if reason.is_empty() { by.to_owned() } else { format!("{by}: {reason}") }
}

/// The answer to a [`Command`]. A refusal is an error of kind `Forbidden` that names the gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// The intent is on disk and the restarter is called. Events and status tell the rest.
    Accepted {
        /// The service.
        service: ServiceId,
        /// Names the action in the events.
        intent: IntentId,
    },
    /// A maintenance window is open.
    Opened {
        /// It, with its number.
        window: MaintenanceStatus,
    },
    /// It is done.
    Done {
        /// One line for a person.
        message: String,
    },
}

/// Takes the operator's events: to the bus, the log, the alerts.
#[async_trait]
pub trait Outlet: Debug + Send + Sync + 'static {
    /// Takes one event.
    ///
    /// # Behavior
    /// - `Ok` means durably taken: it isn't announced again.
    /// - After an error, or a crash before the answer was recorded, it is announced again: at
    ///   least once, in order.
    async fn announce(&self, event: &Event) -> Result<()>;
}
