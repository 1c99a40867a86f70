//! Is it well? [`HealthProbe`] measures one target once; the aggregator decides over time.

pub mod aggregator;
pub mod command;
pub mod dns;
#[cfg(feature = "host")]
pub mod host;
mod hosted;
#[cfg(feature = "http")]
pub mod http;
pub mod memory;
mod meter;
#[cfg(feature = "http")]
pub mod model;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "process")]
pub mod process;
#[cfg(feature = "redis")]
pub mod redis;
pub mod tcp;
#[cfg(any(feature = "http", feature = "redis", feature = "postgres"))]
pub mod tls;
pub mod uptime;

use std::borrow::Cow;
use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use hosted::HostedProbe;

pub use base::net::timing::Phases;

use base::Result;
use base::clock::{ClockExt, Monotonic, SharedClock};
use base::vocabulary::{FailureKind, InstanceId, Verdict};
use base::{text, units};

/// How one probe is to be made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ProbeContext {
    /// Waits and deadlines go through it.
    pub clock: SharedClock,
    /// When the answer must be there.
    pub deadline: Monotonic,
    /// Must the connection be a new one? Always so for a verification.
    pub fresh: bool,
}

impl ProbeContext {
    /// A probe that has `timeout` from now, on a fresh connection.
    #[must_use]
    pub fn new(clock: SharedClock, timeout: Duration) -> Self {
        let deadline = clock.monotonic() + timeout;
        Self { clock, deadline, fresh: true }
    }

    /// Allows a connection to be used again, where the probe keeps one.
    #[must_use]
    pub fn with_reuse(mut self) -> Self {
        self.fresh = false;
        self
    }

    /// How long there is left.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_since(self.clock.monotonic())
    }

    /// The future's output, or `None` when the deadline came first.
    pub async fn until_deadline<F: Future + Send>(&self, future: F) -> Option<F::Output> {
        self.clock.until(self.deadline, future).await
    }
}

/// What one probe saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Observation {
    /// The judgement.
    pub verdict: Verdict,
    /// Why it did not pass. Always present with `Fail`, never with `Pass`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<FailureKind>,
    /// One line for a person, bounded, without secrets and control characters.
    pub message: Cow<'static, str>,
    /// From the start of the probe to its judgement.
    #[serde(rename = "latency_ms", with = "units::millis")]
    pub latency: Duration,
    /// The parts of the latency.
    #[serde(default)]
    pub phases: Phases,
    /// The life that was seen, where the probe can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// Facts such as `status`, `role`, `disk_percent`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<(Cow<'static, str>, serde_json::Value)>,
}

/// The longest [`Observation::message`], in bytes.
pub const MAX_MESSAGE: usize = 512;

impl Observation {
    fn new(
        verdict: Verdict,
        kind: Option<FailureKind>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            verdict,
            kind,
            message: one_line(message.into()),
            latency: Duration::ZERO,
            phases: Phases::default(),
            instance: None,
            facts: Vec::new(),
        }
    }

    /// It is well.
    #[must_use]
    pub fn pass(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Verdict::Pass, None, message)
    }

    /// It works, but not as it should.
    #[must_use]
    pub fn warn(kind: FailureKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Verdict::Warn, Some(kind), message)
    }

    /// It does not work.
    #[must_use]
    pub fn fail(kind: FailureKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Verdict::Fail, Some(kind), message)
    }

    /// We could not measure.
    #[must_use]
    pub fn unknown(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Verdict::Unknown, Some(FailureKind::Internal), message)
    }

    /// Sets how long it took.
    #[must_use]
    pub fn with_latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// Sets the parts of the latency.
    #[must_use]
    pub fn with_phases(mut self, phases: Phases) -> Self {
        self.phases = phases;
        self
    }

    /// Names the life that was seen.
    #[must_use]
    pub fn with_instance(mut self, instance: Option<InstanceId>) -> Self {
        self.instance = instance;
        self
    }

    /// Adds a fact.
    #[must_use]
    pub fn with_fact(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<serde_json::Value>,
    ) -> Self {
        self.facts.push((name.into(), value.into()));
        self
    }
}

/// One bounded line, whatever a target sent.
fn one_line(message: Cow<'static, str>) -> Cow<'static, str> {
    if message.len() <= MAX_MESSAGE && !message.chars().any(char::is_control) {
        return message;
    }
    Cow::Owned(text::one_line(&message, MAX_MESSAGE))
}

/// Measures one target. One object is one target.
///
/// # Implementing
/// A probe holds its configuration, keeps no state that a caller must reset, and may be called
/// again while an earlier call was dropped in the middle. The aggregator catches a panic and
/// enforces the deadline from outside too; a probe that keeps the deadline itself can say more
/// about where the time went.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait HealthProbe: Debug + Send + Sync + 'static {
    /// Measures once.
    ///
    /// # Behavior
    /// - A sick target is an [`Observation`]; `Err` means that we could not measure.
    /// - Answers by `context.deadline`: a target that does not answer in time is
    ///   `Fail` with [`FailureKind::Timeout`].
    /// - `Fail` and `Warn` carry a kind, `Pass` does not.
    /// - With `context.fresh`, no connection of an earlier call is used.
    /// - Reads a bounded amount, whatever the target sends.
    /// - Dropping the call leaves nothing behind: no process, no connection, no task.
    /// - The message is one line, holds no secret of the configuration, and names what was seen.
    async fn probe(&self, context: ProbeContext) -> Result<Observation>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_bounded_line() {
        let observation = Observation::pass(format!("a\nb\u{1b}[31m{}", "ä".repeat(600)));
        assert!(observation.message.starts_with("a b [31mä") && observation.message.ends_with('…'));
        assert!(observation.message.len() <= MAX_MESSAGE);
    }
}
