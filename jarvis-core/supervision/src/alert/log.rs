//! [`LogSink`]: a line in the log.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Alert, AlertSink, AlertStatus};
use base::Result;
use base::vocabulary::Severity;

/// The keys of a sink with `type = "log"`: none of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LogConfig {}

/// Writes each alert to the log, as an error, a warning or an information by its severity. What
/// ends is an information.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogSink;

impl LogSink {
    /// The sink.
    ///
    /// # Errors
    /// None; the signature is that of every sink.
    pub fn new(_config: LogConfig) -> Result<Self> {
        Ok(Self)
    }
}

macro_rules! line {
    ($level:ident, $alert:ident) => {
        tracing::$level!(
            target: "jarvis::alert",
            key = %$alert.key,
            status = ?$alert.status,
            service = $alert.service.as_ref().map_or("", |service| service.as_str()),
            details = %$alert.body.replace('\n', " | "),
            "{}",
            $alert.title
        )
    };
}

#[async_trait]
impl AlertSink for LogSink {
    async fn deliver(&self, alert: &Alert) -> Result<()> {
        match (alert.status, alert.severity) {
            (AlertStatus::Recovered | AlertStatus::Resolved, _) | (_, Severity::Info) => {
                line!(info, alert);
            }
            (_, Severity::Warning) => line!(warn, alert),
            (_, Severity::Critical) => line!(error, alert),
        }
        Ok(())
    }
}
