//! What a check says and what a service is.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::CheckName;

/// What one probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Well.
    Pass,
    /// Works, but something is not as it should be.
    Warn,
    /// Does not work.
    Fail,
    /// We could not measure. Never a reason to act, never uptime.
    Unknown,
}

/// Why a probe did not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureKind {
    /// The process or container is gone. Proof.
    Exited,
    /// Nobody listens there.
    Refused,
    /// No answer within the time allowed.
    Timeout,
    /// The connection broke in the middle.
    Reset,
    /// It answered something that is not the protocol.
    Protocol,
    /// HTTP 5xx.
    ServerError,
    /// The answer says that it is down, or is not what was expected of it.
    Body,
    /// A check command said so by its exit code.
    Check,
    /// The name does not resolve.
    Dns,
    /// No route to the host or network.
    Unreachable,
    /// Handshake or certificate.
    Tls,
    /// Credentials are missing or wrong.
    Auth,
    /// HTTP 4xx, or a redirect that was not expected.
    ClientError,
    /// It asks to be called less often (HTTP 429), or its connections are used up.
    RateLimited,
    /// Right, but slower than allowed.
    Slow,
    /// Disk, memory, CPU or descriptors over their limit, or a read-only replica.
    Resource,
    /// It is still starting (Redis LOADING, `PostgreSQL` starting up, a model being loaded).
    NotReady,
    /// The program to run, or the model, container or unit to look at, does not exist.
    Missing,
    /// The probe itself could not run: descriptors, memory, a panic, a deadline of our own.
    Internal,
}

impl FailureKind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::Exited,
        Self::Refused,
        Self::Timeout,
        Self::Reset,
        Self::Protocol,
        Self::ServerError,
        Self::Body,
        Self::Check,
        Self::Dns,
        Self::Unreachable,
        Self::Tls,
        Self::Auth,
        Self::ClientError,
        Self::RateLimited,
        Self::Slow,
        Self::Resource,
        Self::NotReady,
        Self::Missing,
        Self::Internal,
    ];

    /// May this failure lead to a restart? A restart can't mend a name, a certificate, a
    /// password, a full disk or our own trouble.
    #[must_use]
    pub const fn may_restart(self) -> bool {
        matches!(
            self,
            Self::Exited
                | Self::Refused
                | Self::Timeout
                | Self::Reset
                | Self::Protocol
                | Self::ServerError
                | Self::Body
                | Self::Check
        )
    }

    /// Could the cause be on our side of the wire? Only such failures count for self-suspicion.
    #[must_use]
    pub const fn suspects_self(self) -> bool {
        matches!(self, Self::Timeout | Self::Dns | Self::Unreachable)
    }

    /// Is one sighting enough? Then no threshold applies.
    #[must_use]
    pub const fn is_certain(self) -> bool {
        matches!(self, Self::Exited | Self::Refused)
    }

    /// The stable word, as it is serialised.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Protocol => "protocol",
            Self::ServerError => "server_error",
            Self::Body => "body",
            Self::Check => "check",
            Self::Dns => "dns",
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::Auth => "auth",
            Self::ClientError => "client_error",
            Self::RateLimited => "rate_limited",
            Self::Slow => "slow",
            Self::Resource => "resource",
            Self::NotReady => "not_ready",
            Self::Missing => "missing",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a service, or the platform, is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    /// Every check passes.
    Healthy,
    /// It works, not as it should.
    Degraded,
    /// It does not work.
    Down,
    /// Not observed, or not observable.
    #[default]
    Unknown,
}

impl ServiceState {
    /// The stable word, as it is serialised.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for ServiceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The services as one: the answer to "is AI DAWG up?".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// Down when a critical service is down or when all are; degraded on any other down or
    /// degraded; unknown when nothing is known.
    pub state: ServiceState,
    /// How many services are healthy.
    pub healthy: usize,
    /// How many are degraded.
    pub degraded: usize,
    /// How many are down.
    pub down: usize,
    /// How many are unknown.
    pub unknown: usize,
}

/// Which check made a service what it is, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The check.
    pub check: CheckName,
    /// Why it did not pass; absent when it passes again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<FailureKind>,
    /// One line for a person, without secrets.
    pub message: String,
}

/// How much a person should care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Degraded, or held: look at it today.
    Warning,
    /// Down, or given up: look at it now.
    Critical,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_serialised_word_is_the_displayed_word() {
        for kind in FailureKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }

    #[test]
    fn what_a_restart_cannot_mend_never_restarts() {
        use FailureKind as Kind;
        for kind in [
            Kind::Dns,
            Kind::Tls,
            Kind::Auth,
            Kind::ClientError,
            Kind::RateLimited,
            Kind::Slow,
            Kind::Resource,
            Kind::Missing,
            Kind::NotReady,
            Kind::Internal,
        ] {
            assert!(!kind.may_restart(), "{kind}");
        }
        assert!(
            FailureKind::ALL
                .iter()
                .filter(|kind| kind.is_certain())
                .all(|kind| kind.may_restart() && !kind.suspects_self())
        );
    }
}
