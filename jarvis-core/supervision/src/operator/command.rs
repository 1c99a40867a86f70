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

/// What a person asks for.
///
/// A manual action overrides budgets, cooldown, backoff, flapping and maintenance, and eats no
/// budget. It never overrides the kill switch, the lease, the mode or the allow-list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Restart a service now.
    Restart {
        /// Which.
        service: ServiceId,
        /// Who asks, for the record.
        by: String,
    },
    /// Stop a service; it is left stopped.
    Stop {
        /// Which.
        service: ServiceId,
        /// Who asks.
        by: String,
    },
    /// Start a service.
    Start {
        /// Which.
        service: ServiceId,
        /// Who asks.
        by: String,
    },
    /// Clear the budgets, the breaker and the backoff of a service.
    Reset {
        /// Which.
        service: ServiceId,
        /// Who asks.
        by: String,
    },
    /// Begin nothing until `resume`; what is under way is finished.
    Pause {
        /// Who asks.
        by: String,
        /// End it after this time; it survives a crash and a restart of JARVIS with the rest.
        #[serde(
            default,
            rename = "for_ms",
            with = "units::optional_millis",
            skip_serializing_if = "Option::is_none"
        )]
        lasting: Option<Duration>,
    },
    /// Act again.
    Resume {
        /// Who asks.
        by: String,
    },
    /// Open a maintenance window now.
    Maintain {
        /// Names or globs of services.
        services: Vec<String>,
        /// For how long.
        #[serde(rename = "duration_ms", with = "units::millis")]
        duration: Duration,
        /// Who asks.
        by: String,
        /// Why; may be empty.
        #[serde(default)]
        reason: String,
    },
    /// Close a window that was opened by [`Command::Maintain`], or all of them.
    EndMaintenance {
        /// Its number; absent: each.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        window: Option<u64>,
        /// Who asks.
        by: String,
    },
}

impl Command {
    /// The service that it is about, where it is about one.
    #[must_use]
    pub const fn service(&self) -> Option<&ServiceId> {
        match self {
            Self::Restart { service, .. }
            | Self::Stop { service, .. }
            | Self::Start { service, .. }
            | Self::Reset { service, .. } => Some(service),
            Self::Pause { .. }
            | Self::Resume { .. }
            | Self::Maintain { .. }
            | Self::EndMaintenance { .. } => None,
        }
    }
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
