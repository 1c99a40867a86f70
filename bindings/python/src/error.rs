//! Errors of the core as exceptions of `jarvis.errors`.

use std::any::Any;
use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use jarvis_core::{Error, ErrorKind, Retry};
use pyo3::exceptions::{
    PyMemoryError, PyNotImplementedError, PyOSError, PyPermissionError, PyTimeoutError,
};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::interpreter::Inside;

/// The exception of an error. Python code creates it, since the classes are written there.
#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
pub(crate) fn raise(error: Error) -> PyErr {
    Python::attach(|py| {
        let _inside = Inside::enter(py);
        exception(py, &error, None).unwrap_or_else(|failure| failure)
    })
}

/// The exception of a conflict, with the session that is stored now.
pub(crate) fn conflict(py: Python<'_>, error: &Error, current: Py<PyAny>) -> PyErr {
    exception(py, error, Some(current)).unwrap_or_else(|failure| failure)
}

/// An exception of a Python function that the core called. Wherever it leaves the core, it is raised
/// again unchanged.
#[derive(Debug)]
pub(crate) struct Raised {
    raised: PyErr,
    /// Written when it was raised: whoever logs it has no interpreter.
    text: String,
}

impl Raised {
    /// The error that carries it, with the kind that fits best.
    pub(crate) fn error(py: Python<'_>, raised: PyErr) -> Error {
        let text = one_line(py, &raised);
        let error = Error::new(kind_of(py, &raised), text.clone());
        let error = match retry_of(py, &raised) {
            Some(retry) => error.with_retry(retry),
            None => error,
        };
        error.with_source(Self { raised, text })
    }

    fn of(error: &Error) -> Option<&PyErr> {
        let mut source = error.source();
        while let Some(error) = source {
            if let Some(Self { raised, .. }) = error.downcast_ref() {
                return Some(raised);
            }
            source = error.source();
        }
        None
    }
}

/// `KeyError: 'x'`, or the message of one of our own exceptions.
fn one_line(py: Python<'_>, raised: &PyErr) -> String {
    let said = raised.value(py).str().map(|text| text.to_string()).unwrap_or_default();
    if code_of(py, raised).is_some() {
        return said;
    }
    let kind = raised.get_type(py).name().map(|name| name.to_string()).unwrap_or_default();
    if said.is_empty() { kind } else { format!("{kind}: {said}") }
}

/// The code of one of our own exceptions.
fn code_of(py: Python<'_>, raised: &PyErr) -> Option<String> {
    static OURS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let ours = OURS.import(py, "jarvis.errors", "JarvisError").ok()?;
    let raised = raised.value(py);
    if !raised.is_instance(ours).unwrap_or(false) {
        return None;
    }
    raised.getattr(intern!(py, "code")).ok()?.extract().ok()
}

fn kind_of(py: Python<'_>, raised: &PyErr) -> ErrorKind {
    if let Some(code) = code_of(py, raised) {
        let mut kinds = ErrorKind::ALL.iter().copied();
        return kinds.find(|kind| kind.code() == code).unwrap_or(ErrorKind::Internal);
    }
    // asyncio's own classes are not the built-in ones in every version of Python.
    let is_called = |wanted: &str| {
        let name = raised.get_type(py).name();
        name.is_ok_and(|name| name.to_cow().is_ok_and(|name| name == wanted))
    };
    match () {
        () if raised.is_instance_of::<PyTimeoutError>(py) => ErrorKind::Timeout,
        () if raised.is_instance_of::<PyPermissionError>(py) => ErrorKind::Forbidden,
        () if raised.is_instance_of::<PyNotImplementedError>(py) => ErrorKind::Unsupported,
        () if raised.is_instance_of::<PyMemoryError>(py) => ErrorKind::Exhausted,
        () if raised.is_instance_of::<PyOSError>(py) => ErrorKind::Unavailable,
        () if is_called("TimeoutError") => ErrorKind::Timeout,
        () if is_called("CancelledError") => ErrorKind::Cancelled,
        () => ErrorKind::Internal,
    }
}

/// Whether one of our own exceptions may be retried.
fn retry_of(py: Python<'_>, raised: &PyErr) -> Option<Retry> {
    code_of(py, raised)?;
    let raised = raised.value(py);
    if !raised.getattr(intern!(py, "retryable")).ok()?.is_truthy().ok()? {
        return None;
    }
    let after = raised.getattr(intern!(py, "retry_after")).ok()?.extract::<Option<f64>>().ok()?;
    let after = after.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    Some(Retry::Safe { after })
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Raised {}

fn exception(py: Python<'_>, error: &Error, current: Option<Py<PyAny>>) -> PyResult<PyErr> {
    if let Some(raised) = Raised::of(error) {
        return Ok(raised.clone_ref(py));
    }
    static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let make = MAKE.import(py, "jarvis.errors", "_from_core")?;
    let context = PyDict::new(py);
    for (key, value) in error.context() {
        context.set_item(key, value)?;
    }
    let retry_after = error.retry_after().map(|after| after.as_secs_f64());
    let made = make.call1((
        error.code(),
        error.message(),
        error.is_retryable(),
        retry_after,
        error.operation(),
        context,
        error.to_string(),
    ))?;
    if let Some(current) = current {
        made.setattr(intern!(py, "current"), current)?;
    }
    let raised = PyErr::from_value(made);
    raised.set_cause(py, cause(py, error)?);
    Ok(raised)
}

/// The chain of sources: a Python exception as it is, anything else as its message.
fn cause(py: Python<'_>, error: &Error) -> PyResult<Option<PyErr>> {
    let mut lines = Vec::new();
    let mut source = error.source();
    let mut innermost = None;
    while let Some(error) = source {
        if let Some(raised) = error.downcast_ref::<PyErr>() {
            innermost = Some(raised.clone_ref(py));
            break;
        }
        lines.push(error.to_string());
        source = error.source();
    }
    static CAUSE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let kind = CAUSE.import(py, "jarvis.errors", "Cause")?;
    lines.into_iter().rev().try_fold(innermost, |inner, line| {
        let outer = PyErr::from_value(kind.call1((line,))?);
        outer.set_cause(py, inner);
        Ok(Some(outer))
    })
}

/// A Rust panic as the error of the call in which it happened.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Error {
    let message = panic.downcast_ref::<&str>().copied().map(str::to_owned);
    let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
    let message = message.unwrap_or_else(|| "no message".to_owned());
    Error::new(ErrorKind::Internal, format!("jarvis-core panicked, please report this: {message}"))
}

/// `InvalidInput`, as an exception.
pub(crate) fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> PyErr {
    raise(Error::new(ErrorKind::InvalidInput, message))
}

/// `InvalidInput` because of an exception.
pub(crate) fn invalid_because(
    message: impl Into<std::borrow::Cow<'static, str>>,
    cause: PyErr,
) -> PyErr {
    raise(Error::new(ErrorKind::InvalidInput, message).with_source(cause))
}

/// `Corrupt` because of an exception.
pub(crate) fn corrupt_because(message: &'static str, cause: PyErr) -> PyErr {
    raise(Error::new(ErrorKind::Corrupt, message).with_source(cause))
}
