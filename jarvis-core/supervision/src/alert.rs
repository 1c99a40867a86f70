//! Calling a person: [`AlertSink`] delivers, the outbox makes sure.

mod alerter;
mod command;
#[cfg(feature = "http")]
mod heartbeat;
mod hosted;
mod journal;
mod log;
mod memory;
mod outbox;
mod policy;
mod record;
mod route;
#[cfg(feature = "http")]
mod webhook;

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use alerter::{Alerter, SinkEntry};
pub use command::{CommandConfig, CommandSink};
#[cfg(feature = "http")]
pub use heartbeat::{Heartbeat, HeartbeatConfig};
pub use hosted::HostedSink;
#[cfg(feature = "sqlite")]
pub use journal::SqliteJournal;
pub use journal::{AlertJournal, MemoryJournal, Row};
pub use log::{LogConfig, LogSink};
pub use memory::MemorySink;
pub use outbox::SinkStats;
pub use route::{AlertKind, MIN_REMINDER, Route};
#[cfg(feature = "http")]
pub use webhook::{Preset, SIGNATURE_HEADER, WebhookConfig, WebhookSink};

use base::Result;
use base::clock::WallTime;
use base::units;
use base::vocabulary::{ServiceId, Severity};

/// Where an alert is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AlertStatus {
    /// It begins.
    Triggered,
    /// It got better or worse; the same incident.
    Updated,
    /// It still holds.
    Reminder,
    /// The service passed its verification.
    Recovered,
    /// It is over.
    Resolved,
    /// `jarvis alert test`.
    Test,
}

/// One message to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Alert {
    /// Names this message; a sink that is asked twice may use it to deliver once.
    pub id: String,
    /// Stable over the whole incident (at most 255 bytes): what receivers deduplicate by.
    pub key: String,
    /// Where the alert is in its life.
    pub status: AlertStatus,
    /// How much a person should care.
    pub severity: Severity,
    /// The service, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceId>,
    /// One line.
    pub title: String,
    /// The details, a few lines.
    pub body: String,
    /// When what it tells happened.
    pub at: WallTime,
    /// How long the incident lasted, once it is over.
    #[serde(
        default,
        rename = "lasted_ms",
        with = "units::optional_millis",
        skip_serializing_if = "Option::is_none"
    )]
    pub lasted: Option<Duration>,
}

impl Alert {
    /// A message about everything, without details.
    #[must_use]
    pub fn new(
        id: impl Into<String>,
        key: impl Into<String>,
        status: AlertStatus,
        severity: Severity,
        title: impl Into<String>,
        at: WallTime,
    ) -> Self {
        Self {
            id: id.into(),
            key: key.into(),
            status,
            severity,
            service: None,
            title: title.into(),
            body: String::new(),
            at,
            lasted: None,
        }
    }

    /// Names the service.
    #[must_use]
    pub fn with_service(mut self, service: ServiceId) -> Self {
        self.service = Some(service);
        self
    }

    /// Adds the details.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<String>) -> Self {
        self.body = body.into();
        self
    }

    /// Says how long it lasted.
    #[must_use]
    pub fn with_lasted(mut self, lasted: Duration) -> Self {
        self.lasted = Some(lasted);
        self
    }
}

/// Delivers messages to people. One object is one receiver.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait AlertSink: Debug + Send + Sync + 'static {
    /// Delivers one message.
    ///
    /// # Behavior
    /// - `Ok` means that the receiver has taken it.
    /// - An error that [`is_retryable`](base::Error::is_retryable), or
    ///   [`Retry::Indeterminate`](base::Retry::Indeterminate), is tried again by the outbox, not
    ///   before [`retry_after`](base::Error::retry_after); any other is final.
    /// - Errors name no secret: no URL with a token, no header.
    async fn deliver(&self, alert: &Alert) -> Result<()>;
}
