//! Errors cross to JavaScript as JSON, and become a `JarvisError` there.

use std::error::Error as _;

use jarvis_core::session::Session;
use jarvis_core::{Error, ErrorKind, Retry};
use serde::{Deserialize, Serialize};

use crate::convert::millis;
use crate::packed::packed;

/// Marks an error of the library, for `lib/failure.js`.
const MARK: &str = "JARVIS";

/// What a function of this addon throws.
pub type Thrown = napi::Error<&'static str>;

/// Why a call failed.
#[derive(Debug)]
pub(crate) struct Failure {
    error: Error,
    /// With a conflict: what is stored now.
    current: Option<Box<Session>>,
}

impl Failure {
    pub(crate) fn conflict(error: Error, current: Box<Session>) -> Self {
        Self { error, current: Some(current) }
    }

    /// As `lib/failure.js` reads it.
    pub(crate) fn to_json(&self) -> String {
        let error = &self.error;
        let mut causes = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        let crossing = Crossing {
            kind: error.kind(),
            message: error.to_string(),
            retry: match error.retry() {
                Retry::Never => "never",
                Retry::Safe { .. } => "safe",
                Retry::Indeterminate => "indeterminate",
            },
            retry_after: error.retry_after().map(|after| after.as_secs_f64() * 1_000.0),
            operation: error.operation(),
            context: error.context().collect(),
            causes,
            current: self.current.as_deref().map(packed),
        };
        // Texts and numbers always have a JSON form.
        serde_json::to_string(&crossing).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Crossing<'a> {
    kind: ErrorKind,
    message: String,
    retry: &'static str,
    retry_after: Option<f64>,
    operation: Option<&'a str>,
    context: Vec<(&'a str, &'a str)>,
    causes: Vec<String>,
    current: Option<String>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, current: None }
    }
}

impl From<Failure> for Thrown {
    fn from(failure: Failure) -> Self {
        Self::new(MARK, failure.to_json())
    }
}

/// Throws an error of the library at once.
pub(crate) fn thrown(error: Error) -> Thrown {
    Failure::from(error).into()
}

/// What a JavaScript function threw, as `lib/failure.js` writes it.
#[derive(Debug, Deserialize)]
pub(crate) struct Caught {
    kind: ErrorKind,
    message: String,
    #[serde(default)]
    retry: Option<String>,
    /// In milliseconds.
    #[serde(default)]
    retry_after: Option<f64>,
    #[serde(default)]
    stack: Option<String>,
}

impl Caught {
    /// An error of the library.
    pub(crate) fn read(json: &str) -> Error {
        let Ok(Self { kind, message, retry, retry_after, stack }) = serde_json::from_str(json)
        else {
            return Error::new(
                ErrorKind::Internal,
                "the error of a JavaScript function is unreadable",
            );
        };
        let mut error = Error::new(kind, message);
        match retry.as_deref() {
            Some("safe") => {
                let after = retry_after.and_then(|after| millis(after).ok());
                error = error.with_retry(Retry::Safe { after });
            }
            Some("indeterminate") => error = error.with_retry(Retry::Indeterminate),
            Some("never") => error = error.with_retry(Retry::Never),
            _ => {}
        }
        match stack {
            Some(stack) => error.with_source(stack),
            None => error,
        }
    }
}
