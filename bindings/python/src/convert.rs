//! Conversions between Python and Rust: durations, times and JSON.

use std::time::Duration;

use jarvis_core::clock::{Clock, SystemClock, WallTime};
use pyo3::IntoPyObjectExt;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyString};
use serde::Serialize;

use crate::error;
use crate::interpreter::Inside;

/// A duration: a `timedelta`, or a number of seconds.
#[derive(Clone, Copy)]
pub(crate) struct Span(pub(crate) Duration);

impl<'a, 'py> FromPyObject<'a, 'py> for Span {
    type Error = PyErr;

    fn extract(value: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let number = value.is_instance_of::<PyFloat>() || value.is_instance_of::<PyInt>();
        let seconds: f64 = if number && !value.is_instance_of::<PyBool>() {
            value.extract()?
        } else if value.hasattr(intern!(value.py(), "total_seconds"))? {
            value.call_method0(intern!(value.py(), "total_seconds"))?.extract()?
        } else {
            let kind = value.get_type().name()?;
            let message = format!("expected seconds or a timedelta, not {kind}");
            return Err(pyo3::exceptions::PyTypeError::new_err(message));
        };
        Duration::try_from_secs_f64(seconds)
            .map(Self)
            .map_err(|_| error::invalid(format!("{seconds} s is not a valid duration")))
    }
}

/// The duration, if one is given.
pub(crate) fn duration(span: Option<Span>) -> Option<Duration> {
    span.map(|span| span.0)
}

/// A point in the past: a `datetime`, RFC 3339 text, or a `timedelta` back from now.
pub(crate) struct Since(pub(crate) WallTime);

impl<'a, 'py> FromPyObject<'a, 'py> for Since {
    type Error = PyErr;

    fn extract(value: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let py = value.py();
        if value.is_instance_of::<PyString>() {
            let text: String = value.extract()?;
            return text.parse().map(Self).map_err(error::raise);
        }
        if value.hasattr(intern!(py, "total_seconds"))? {
            let span = value.extract::<Span>()?;
            return Ok(Self(SystemClock::new().wall() - span.0));
        }
        if !value.hasattr(intern!(py, "timestamp"))? {
            let kind = value.get_type().name()?;
            let message = format!("expected a datetime, a timedelta or RFC 3339 text, not {kind}");
            return Err(pyo3::exceptions::PyTypeError::new_err(message));
        }
        let seconds: f64 = value.call_method0(intern!(py, "timestamp"))?.extract()?;
        // Milliseconds of any `datetime` are far below 2^53.
        #[expect(clippy::cast_possible_truncation, reason = "a cast of a float saturates")]
        Ok(Self(WallTime::from_millis((seconds * 1_000.0).round() as i64)))
    }
}

/// A `datetime` in UTC.
pub(crate) fn datetime(py: Python<'_>, time: WallTime) -> PyResult<Bound<'_, PyAny>> {
    static EPOCH: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    static DELTA: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let epoch = EPOCH.get_or_try_init(py, || {
        let module = py.import("datetime")?;
        let utc = module.getattr("timezone")?.getattr("utc")?;
        let epoch = module.getattr("datetime")?.call1((1970, 1, 1, 0, 0, 0, 0, utc))?;
        PyResult::Ok(epoch.unbind())
    })?;
    let delta = DELTA.import(py, "datetime", "timedelta")?.call1((0, 0, 0, time.millis()))?;
    epoch.bind(py).call_method1(intern!(py, "__add__"), (delta,))
}

/// The JSON text of a Python value: a Pydantic model writes itself, anything else `json` writes.
pub(crate) fn to_json(value: &Bound<'_, PyAny>) -> PyResult<String> {
    static ENCODE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = value.py();
    let _inside = Inside::enter(py);
    let dump = intern!(py, "model_dump_json");
    if !value.is_instance_of::<PyDict>() && value.hasattr(dump)? {
        return value.call_method0(dump)?.extract();
    }
    let encode = ENCODE.get_or_try_init(py, || {
        let options = PyDict::new(py);
        options.set_item("ensure_ascii", false)?;
        options.set_item("allow_nan", false)?;
        options.set_item("separators", (",", ":"))?;
        let encoder = py.import("json")?.getattr("JSONEncoder")?.call((), Some(&options))?;
        PyResult::Ok(encoder.getattr("encode")?.unbind())
    })?;
    let text = encode
        .bind(py)
        .call1((value,))
        .map_err(|error| error::invalid_because("the value can't be written as JSON", error))?;
    text.extract()
        .map_err(|error| error::invalid_because("the value can't be written as JSON", error))
}

/// The Python value of JSON text.
pub(crate) fn from_json<'py>(text: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let _inside = Inside::enter(text.py());
    LOADS.import(text.py(), "json", "loads")?.call1((text,))
}

/// The Python value of JSON text that Rust holds.
pub(crate) fn parsed<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyAny>> {
    from_json(PyString::new(py, text).as_any())
}

/// Plain data of the core as the Python value of its JSON.
pub(crate) fn plain(py: Python<'_>, value: &impl Serialize) -> PyResult<Py<PyAny>> {
    let text = serde_json::to_string(value).map_err(|error| error::invalid(error.to_string()))?;
    parsed(py, &text).map(Bound::unbind)
}

/// A bool, a number or a string.
pub(crate) fn object<T>(py: Python<'_>, value: T) -> PyResult<Py<PyAny>>
where
    T: for<'py> IntoPyObject<'py>,
{
    value.into_py_any(py)
}

/// Bytes unchanged, anything else as JSON.
pub(crate) fn to_bytes(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(bytes.as_bytes().to_vec());
    }
    if let Ok(bytes) = value.extract::<pyo3::pybacked::PyBackedBytes>() {
        return Ok(bytes.to_vec());
    }
    to_json(value).map(String::into_bytes)
}
