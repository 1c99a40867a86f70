//! The exit codes, and which error has which.

use std::process::ExitCode;

use jarvis_core::vocabulary::ServiceState;
use jarvis_core::{Error, ErrorKind};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExitStatus {
    /// Done, or healthy.
    Done,
    /// A check failed.
    Failed,
    /// Invalid usage or configuration.
    Usage,
    /// The answer is not known.
    Unknown,
    /// Ctrl-C (SIGINT) cut it short.
    Interrupted,
    /// SIGTERM cut it short.
    Terminated,
}

impl ExitStatus {
    /// The status for the state of a service or of the platform.
    pub(crate) const fn of_state(state: ServiceState) -> Self {
        match state {
            ServiceState::Healthy => Self::Done,
            ServiceState::Degraded | ServiceState::Down => Self::Failed,
            ServiceState::Unknown => Self::Unknown,
        }
    }

    /// The status for an error.
    pub(crate) fn of_error(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidInput | ErrorKind::ConfigInvalid | ErrorKind::Unsupported => {
                Self::Usage
            }
            ErrorKind::NotFound
            | ErrorKind::Conflict
            | ErrorKind::Forbidden
            | ErrorKind::BudgetExceeded
            | ErrorKind::RateLimited
            | ErrorKind::TooLarge => Self::Failed,
            _ => Self::Unknown,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(match status {
            ExitStatus::Done => 0,
            ExitStatus::Failed => 1,
            ExitStatus::Usage => 2,
            ExitStatus::Unknown => 3,
            // What a shell reports for a process that a signal ended: 128 and its number.
            ExitStatus::Interrupted => 130,
            ExitStatus::Terminated => 143,
        })
    }
}
