//! The one error of the crate: kind × retry × operation × context × source.
//!
//! [`Display`](fmt::Display) is one line that a person can act on; [`Debug`] is the report with
//! the context and the chain of sources. Nothing here logs: a caller decides what is worth a line.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::secret::{mask, mask_owned};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The cause of an error, shared by its clones.
#[derive(Clone)]
struct Source(Arc<dyn StdError + Send + Sync>);

/// `source()` gives the cause itself, not the `Arc`, so that a caller can downcast it.
impl Deref for Source {
    type Target = dyn StdError + Send + Sync;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

/// What went wrong, as a closed vocabulary that every language shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The thing asked for does not exist.
    NotFound,
    /// Somebody else changed it first, or it exists already.
    Conflict,
    /// An argument is wrong; calling again with the same one fails the same way.
    InvalidInput,
    /// A configuration is wrong; the message names file, line and key.
    ConfigInvalid,
    /// No credentials, or wrong ones.
    Unauthorized,
    /// The credentials are fine, the act is not allowed. A gate's refusal is this kind.
    Forbidden,
    /// Too many calls; wait for [`Error::retry_after`].
    RateLimited,
    /// A budget (money, or restarts) is used up.
    BudgetExceeded,
    /// A body, a key or a document is over its limit.
    TooLarge,
    /// The machine ran out of disk, descriptors, memory or threads.
    Exhausted,
    /// A dependency can't be reached, or is not ready.
    Unavailable,
    /// A deadline passed.
    Timeout,
    /// The caller gave up, or the handle is closed.
    Cancelled,
    /// This backend can't do that.
    Unsupported,
    /// Stored data is damaged, or newer than this program.
    Corrupt,
    /// A bug in this crate or in a plug-in.
    Internal,
}

impl ErrorKind {
    /// Every kind, in the order of the enum. The bindings' tests walk it.
    pub const ALL: &'static [Self] = &[
        Self::NotFound,
        Self::Conflict,
        Self::InvalidInput,
        Self::ConfigInvalid,
        Self::Unauthorized,
        Self::Forbidden,
        Self::RateLimited,
        Self::BudgetExceeded,
        Self::TooLarge,
        Self::Exhausted,
        Self::Unavailable,
        Self::Timeout,
        Self::Cancelled,
        Self::Unsupported,
        Self::Corrupt,
        Self::Internal,
    ];

    /// The stable code, the same in every language: `ERR_JARVIS_NOT_FOUND`, …
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotFound => "ERR_JARVIS_NOT_FOUND",
            Self::Conflict => "ERR_JARVIS_CONFLICT",
            Self::InvalidInput => "ERR_JARVIS_INVALID_INPUT",
            Self::ConfigInvalid => "ERR_JARVIS_CONFIG_INVALID",
            Self::Unauthorized => "ERR_JARVIS_UNAUTHORIZED",
            Self::Forbidden => "ERR_JARVIS_FORBIDDEN",
            Self::RateLimited => "ERR_JARVIS_RATE_LIMITED",
            Self::BudgetExceeded => "ERR_JARVIS_BUDGET_EXCEEDED",
            Self::TooLarge => "ERR_JARVIS_TOO_LARGE",
            Self::Exhausted => "ERR_JARVIS_EXHAUSTED",
            Self::Unavailable => "ERR_JARVIS_UNAVAILABLE",
            Self::Timeout => "ERR_JARVIS_TIMEOUT",
            Self::Cancelled => "ERR_JARVIS_CANCELLED",
            Self::Unsupported => "ERR_JARVIS_UNSUPPORTED",
            Self::Corrupt => "ERR_JARVIS_CORRUPT",
            Self::Internal => "ERR_JARVIS_INTERNAL",
        }
    }

    /// The HTTP status of the kind, the same for every server that answers with these errors.
    ///
    /// A spent budget is 402 and not 429: clients repeat a 429. Input that can't be parsed at all
    /// is 400, which the server says itself before anything here is called. 499 is nginx's status
    /// for a client that went away.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Unauthorized => 401,
            Self::BudgetExceeded => 402,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::InvalidInput => 422,
            Self::RateLimited => 429,
            Self::Cancelled => 499,
            Self::ConfigInvalid | Self::Corrupt | Self::Internal => 500,
            Self::Unsupported => 501,
            Self::Exhausted | Self::Unavailable => 503,
            Self::Timeout => 504,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "not found",
            Self::Conflict => "conflict",
            Self::InvalidInput => "invalid input",
            Self::ConfigInvalid => "invalid configuration",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::RateLimited => "rate limited",
            Self::BudgetExceeded => "budget exceeded",
            Self::TooLarge => "too large",
            Self::Exhausted => "resource exhausted",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timed out",
            Self::Cancelled => "cancelled",
            Self::Unsupported => "unsupported",
            Self::Corrupt => "corrupt",
            Self::Internal => "internal error",
        })
    }
}

/// May the same call be made again?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// It would fail the same way.
    Never,
    /// It was not applied; calling again is safe, after this wait where one is named.
    Safe {
        /// How long the other side asked us to wait.
        after: Option<Duration>,
    },
    /// It may have been applied. No layer repeats it without an idempotency key.
    Indeterminate,
}

type Operation = Option<Cow<'static, str>>;
type Context = Vec<(Cow<'static, str>, String)>;

#[derive(Clone, thiserror::Error)]
#[error("{message}{}", Facts(operation, context))]
struct Inner {
    kind: ErrorKind,
    retry: Retry,
    message: Cow<'static, str>,
    operation: Operation,
    context: Context,
    source: Option<Source>,
}

/// What every fallible function of this crate returns.
///
/// A clone is the same error for another caller: everything is copied, and the cause is shared.
///
/// ```
/// use jarvis_core::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::NotFound, "no service is called \"coach\"")
///     .with_operation("operator.restart")
///     .with_context("did_you_mean", "vocal-coach");
/// assert_eq!(error.code(), "ERR_JARVIS_NOT_FOUND");
/// assert_eq!(
///     error.to_string(),
///     "no service is called \"coach\" (operator.restart; did_you_mean: vocal-coach)"
/// );
/// ```
#[derive(Clone, thiserror::Error)]
#[error(transparent)]
pub struct Error(Box<Inner>);

impl Error {
    /// An error of this kind. The message says what happened and what to do, without a final stop.
    /// Known secrets in it are masked.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        let retry = match kind {
            ErrorKind::Unavailable | ErrorKind::RateLimited => Retry::Safe { after: None },
            ErrorKind::Timeout => Retry::Indeterminate,
            _ => Retry::Never,
        };
        Self(Box::new(Inner {
            kind,
            retry,
            message: mask_owned(message.into()),
            operation: None,
            context: Vec::new(),
            source: None,
        }))
    }

    /// Says whether the call may be repeated. [`Error::new`] picks the usual answer of the kind.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    /// Names the operation (`health.http.probe`). The first name given stays: the innermost
    /// caller knows best.
    #[must_use]
    pub fn with_operation(mut self, operation: impl Into<Cow<'static, str>>) -> Self {
        self.0.operation.get_or_insert_with(|| operation.into());
        self
    }

    /// Adds a fact, such as the service or the path. Known secrets in it are masked.
    #[must_use]
    pub fn with_context(
        mut self,
        key: impl Into<Cow<'static, str>>,
        value: impl fmt::Display,
    ) -> Self {
        let value = mask_owned(Cow::Owned(value.to_string())).into_owned();
        self.0.context.push((key.into(), value));
        self
    }

    /// Keeps the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(Source(source.into().into()));
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The stable code of the kind.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.kind.code()
    }

    /// The HTTP status of the kind: [`ErrorKind::http_status`].
    #[must_use]
    pub fn http_status(&self) -> u16 {
        self.0.kind.http_status()
    }

    /// May the call be repeated?
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// Is it certain that nothing was applied, so that the call may be repeated?
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.retry, Retry::Safe { .. })
    }

    /// How long the other side asked us to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self.0.retry {
            Retry::Safe { after } => after,
            Retry::Never | Retry::Indeterminate => None,
        }
    }

    /// The message alone, without operation and context.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The operation that failed.
    #[must_use]
    pub fn operation(&self) -> Option<&str> {
        self.0.operation.as_deref()
    }

    /// The facts, in the order they were added.
    pub fn context(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.context.iter().map(|(key, value)| (key.as_ref(), value.as_str()))
    }
}

/// `EMFILE`, `ENFILE`, `ENOSPC`, `ENOMEM`, `EDQUOT`: the machine ran out of something.
fn is_exhaustion(error: &std::io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOSPC | libc::ENOMEM | libc::EDQUOT)
    )
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match error.kind() {
            _ if is_exhaustion(&error) => ErrorKind::Exhausted,
            Io::NotFound => ErrorKind::NotFound,
            Io::AlreadyExists => ErrorKind::Conflict,
            Io::PermissionDenied => ErrorKind::Forbidden,
            Io::TimedOut => ErrorKind::Timeout,
            Io::InvalidInput | Io::InvalidData => ErrorKind::InvalidInput,
            Io::Unsupported => ErrorKind::Unsupported,
            Io::ConnectionRefused
            | Io::ConnectionReset
            | Io::ConnectionAborted
            | Io::NotConnected
            | Io::BrokenPipe
            | Io::AddrNotAvailable
            | Io::HostUnreachable
            | Io::NetworkUnreachable
            | Io::UnexpectedEof => ErrorKind::Unavailable,
            _ => ErrorKind::Internal,
        };
        Self::new(kind, error.to_string()).with_source(error)
    }
}

/// ` (operation; key: value; …)`, or nothing.
struct Facts<'a>(&'a Operation, &'a Context);

impl fmt::Display for Facts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = " (";
        if let Some(operation) = self.0 {
            write!(f, "{separator}{operation}")?;
            separator = "; ";
        }
        for (key, value) in self.1 {
            write!(f, "{separator}{key}: {value}")?;
            separator = "; ";
        }
        if separator == "; " { f.write_str(")") } else { Ok(()) }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}, retry {:?}]", self.message, self.kind.code(), self.retry)?;
        if let Some(operation) = &self.operation {
            write!(f, "\n  operation: {operation}")?;
        }
        for (key, value) in &self.context {
            write!(f, "\n  {key}: {value}")?;
        }
        let mut source = self.source();
        while let Some(cause) = source {
            write!(f, "\n  caused by: {}", mask(&cause.to_string()))?;
            source = cause.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_prefixed() {
        let mut codes: Vec<_> = ErrorKind::ALL.iter().map(|kind| kind.code()).collect();
        assert!(codes.iter().all(|code| code.starts_with("ERR_JARVIS_")));
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), 16);
    }

    #[test]
    fn the_innermost_operation_stays() {
        let error = Error::new(ErrorKind::Timeout, "no answer")
            .with_operation("redis.ping")
            .with_operation("health.probe");
        assert_eq!(error.operation(), Some("redis.ping"));
        assert_eq!(error.to_string(), "no answer (redis.ping)");
    }

    #[test]
    fn debug_is_a_report_with_the_chain() {
        let io = std::io::Error::from_raw_os_error(libc::ENOSPC);
        let error = Error::from(io).with_context("path", "/var/lib/jarvis");
        assert_eq!(error.kind(), ErrorKind::Exhausted);
        let report = format!("{error:?}");
        assert!(report.contains("ERR_JARVIS_EXHAUSTED"), "{report}");
        assert!(report.contains("caused by: No space left"), "{report}");
    }

    #[test]
    fn a_timeout_is_never_repeated_blindly() {
        assert!(!Error::new(ErrorKind::Timeout, "late").is_retryable());
        assert!(Error::new(ErrorKind::Unavailable, "down").is_retryable());
    }

    #[test]
    fn a_clone_says_the_same_and_has_the_same_source() {
        let io = std::io::Error::from_raw_os_error(libc::ENOSPC);
        let error = Error::new(ErrorKind::RateLimited, "slow down")
            .with_operation("model.complete")
            .with_context("model", "small")
            .with_source(io);
        let copy = error.clone();
        assert_eq!(copy.to_string(), "slow down (model.complete; model: small)");
        assert_eq!((copy.kind(), copy.is_retryable()), (ErrorKind::RateLimited, true));
        assert_eq!(format!("{copy:?}"), format!("{error:?}"));
        let cause = copy.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
        assert_eq!(cause.and_then(std::io::Error::raw_os_error), Some(libc::ENOSPC));
        assert_eq!(copy.with_context("attempt", 2).context().count(), 2);
        assert_eq!(error.context().count(), 1, "a clone is changed alone");
    }
}
