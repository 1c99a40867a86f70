//! How far an exchange with a target got: the time of each part, and why it ended early.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{Monotonic, SharedClock};
use crate::units;
use crate::vocabulary::FailureKind;
use crate::{Error, ErrorKind};

/// Why a probe ended before its judgement.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The target is at fault.
    #[error("{message}")]
    Failed {
        /// Which fault.
        kind: FailureKind,
        /// One line, without secrets.
        message: Cow<'static, str>,
    },
    /// We could not measure.
    #[error(transparent)]
    NotMeasured(#[from] Error),
}

/// One step of a probe.
pub type Step<T> = std::result::Result<T, ProbeError>;

impl ProbeError {
    /// The target is at fault.
    pub fn failed(kind: FailureKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self::Failed { kind, message: message.into() }
    }

    /// As [`io`](Self::io), for an error that another one holds.
    #[cfg(any(feature = "http", feature = "postgres"))]
    pub fn io_of(error: &io::Error, target: &str) -> Self {
        let kind = || error.kind().into();
        Self::io(error.raw_os_error().map_or_else(kind, io::Error::from_raw_os_error), target)
    }

    /// Sorts an error of a connection: the target's fault, or our own lack of something.
    pub fn io(error: io::Error, target: &str) -> Self {
        use io::ErrorKind as Io;
        let (kind, what) = match error.kind() {
            Io::ConnectionRefused => (FailureKind::Refused, "refuses connections"),
            Io::NotFound => (FailureKind::Refused, "has no socket there"),
            Io::ConnectionReset | Io::ConnectionAborted | Io::BrokenPipe | Io::NotConnected => {
                (FailureKind::Reset, "broke the connection")
            }
            Io::UnexpectedEof => (FailureKind::Reset, "closed the connection too early"),
            Io::TimedOut => (FailureKind::Timeout, "does not answer"),
            Io::HostUnreachable | Io::NetworkUnreachable | Io::NetworkDown => {
                (FailureKind::Unreachable, "can't be reached from here")
            }
            Io::InvalidData => (FailureKind::Protocol, "answers something else than expected"),
            Io::AddrNotAvailable => {
                return Self::NotMeasured(
                    Error::new(
                        ErrorKind::Exhausted,
                        "no local port is free for a connection; look for leaked connections or widen net.ipv4.ip_local_port_range",
                    )
                    .with_source(error),
                );
            }
            _ => return Self::NotMeasured(Error::from(error).with_context("target", target)),
        };
        Self::failed(kind, format!("{target} {what}"))
    }
}

/// The error of the connection itself among an error's causes.
#[cfg(any(feature = "http", feature = "postgres"))]
pub fn io_cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a io::Error> {
    std::iter::successors(error.source(), |cause| cause.source())
        .find_map(|cause| cause.downcast_ref())
}

/// How long each part of an exchange took, as far as it got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Phases {
    /// Name resolution.
    #[serde(
        rename = "dns_ms",
        with = "units::optional_millis",
        skip_serializing_if = "Option::is_none"
    )]
    pub dns: Option<Duration>,
    /// TCP connect.
    #[serde(
        rename = "connect_ms",
        with = "units::optional_millis",
        skip_serializing_if = "Option::is_none"
    )]
    pub connect: Option<Duration>,
    /// TLS handshake.
    #[serde(
        rename = "tls_ms",
        with = "units::optional_millis",
        skip_serializing_if = "Option::is_none"
    )]
    pub tls: Option<Duration>,
    /// From the request sent to the first byte of the answer (or the first token of a model).
    #[serde(
        rename = "first_byte_ms",
        with = "units::optional_millis",
        skip_serializing_if = "Option::is_none"
    )]
    pub first_byte: Option<Duration>,
}

/// What an exchange waits for, for the message when its time is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Waiting for a free place among the name lookups.
    Queue,
    /// Waiting for the name.
    Dns,
    /// Waiting for the connection.
    Connect,
    /// Waiting for the handshake.
    Tls,
    /// Waiting for the first byte of an answer.
    Answer,
    /// Waiting for the rest of it.
    Rest,
    /// Waiting for what follows the first token of a model.
    #[cfg(feature = "http")]
    Stream,
}

/// Watches the time of one exchange.
#[derive(Debug)]
pub struct Meter {
    clock: SharedClock,
    started: Monotonic,
    allowed: Duration,
    /// When the question was sent.
    #[cfg(feature = "http")]
    pub asked: Monotonic,
    /// What is waited for now.
    pub stage: Stage,
    /// The parts so far.
    pub phases: Phases,
}

impl Meter {
    /// Starts now, with that much time.
    pub fn start(clock: SharedClock, allowed: Duration) -> Self {
        let started = clock.monotonic();
        Self {
            clock,
            started,
            allowed,
            #[cfg(feature = "http")]
            asked: started,
            stage: Stage::Connect,
            phases: Phases::default(),
        }
    }

    /// The clock of the exchange.
    pub fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// The time now.
    pub fn now(&self) -> Monotonic {
        self.clock.monotonic()
    }

    /// Since that point.
    pub fn since(&self, point: Monotonic) -> Duration {
        self.now().saturating_since(point)
    }

    /// The time that was allowed, as a person set it.
    pub fn allowed(&self) -> Duration {
        round(self.allowed)
    }

    /// Since the start.
    pub fn elapsed(&self) -> Duration {
        self.since(self.started)
    }
}

/// What a person set, from what was left of it.
fn round(allowed: Duration) -> Duration {
    let millis = allowed.as_micros().div_ceil(1_000);
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}
