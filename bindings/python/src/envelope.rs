//! `Envelope`: an event with its origin and time.

use std::sync::Arc;

use jarvis_core::events::{self as core, Event};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;

use crate::convert;

/// An event with its origin and time.
#[pyclass(frozen, module = "jarvis")]
pub(crate) struct Envelope(Arc<core::Envelope>);

impl Envelope {
    pub(crate) fn object(py: Python<'_>, envelope: Arc<core::Envelope>) -> PyResult<Py<PyAny>> {
        Self(envelope).into_py_any(py)
    }
}

#[pymethods]
impl Envelope {
    /// The topic.
    #[getter]
    fn topic(&self) -> &str {
        self.0.topic.as_str()
    }

    /// Counts up by one within one `instance`, over all topics.
    #[getter]
    fn sequence(&self) -> u64 {
        self.0.sequence
    }

    /// The process that published it.
    #[getter]
    fn instance(&self) -> &str {
        &self.0.instance
    }

    /// When it was published, in UTC, by that process's clock.
    #[getter]
    fn at<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::datetime(py, self.0.at)
    }

    /// The event: its `type` and its fields.
    #[getter]
    fn event(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        convert::plain(py, &self.0.event)
    }

    /// The payload of an application's message; None for JARVIS's own events.
    #[getter]
    fn payload(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match &self.0.event {
            Event::Message(message) => convert::plain(py, message.payload()),
            _ => Ok(py.None()),
        }
    }

    /// Its position in the order of all instances: an epoch, and a number within it.
    #[getter]
    fn stream(&self) -> Option<(&str, u64)> {
        self.0.stream.as_ref().map(|place| (&*place.epoch, place.sequence))
    }

    fn __repr__(&self) -> String {
        format!("<jarvis.Envelope {} {}>", self.0.topic, self.0.sequence)
    }
}
