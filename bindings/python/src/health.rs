//! `Health`: the state of the services.

use std::sync::Arc;
use std::time::Duration;

use jarvis_core::jarvis::DEFAULT_WINDOW;
use jarvis_core::vocabulary::ServiceId;
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::PyString;
use serde::Serialize;

use crate::call::{Begin, Face};
use crate::convert::{self, Span};
use crate::error;
use crate::handle::Handle;
use crate::stream::{Source, Stream};
use crate::web;

/// The state of the services.
#[pyclass(frozen, module = "jarvis._core")]
pub(crate) struct Health {
    handle: Arc<Handle>,
    face: Face,
}

impl Health {
    pub(crate) fn new(handle: Arc<Handle>, face: Face) -> Self {
        Self { handle, face }
    }

    /// Asks, and answers with plain data.
    fn ask<T: Serialize + Send + 'static>(
        &self,
        py: Python<'_>,
        question: impl Future<Output = jarvis_core::Result<T>> + Send + 'static,
    ) -> PyResult<Py<PyAny>> {
        self.face.call(py, Begin::Away, question, |py, answer| convert::plain(py, &answer))
    }
}

fn services(names: Vec<String>) -> PyResult<Vec<ServiceId>> {
    names.into_iter().map(|name| ServiceId::new(&name).map_err(error::raise)).collect()
}

#[pymethods]
impl Health {
    /// Probes services once. See `jarvis.Health.check`.
    #[pyo3(signature = (services=Vec::new()))]
    fn check(&self, py: Python<'_>, services: Vec<String>) -> PyResult<Py<PyAny>> {
        let services = self::services(services)?;
        let jarvis = self.handle.open_for_methods(py, self.face)?;
        self.ask(py, async move { jarvis.check(&services).await })
    }

    /// The state of the services, as the supervising process knows it. See `jarvis.Health.status`.
    fn status(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let (jarvis, _) = self.handle.open(py)?;
        self.ask(py, async move { jarvis.attach().await.status().await })
    }

    /// How much of the time services were up. See `jarvis.Health.uptime`.
    #[pyo3(signature = (services=Vec::new(), *, window=None))]
    fn uptime(
        &self,
        py: Python<'_>,
        services: Vec<String>,
        window: Option<Span>,
    ) -> PyResult<Py<PyAny>> {
        let services = self::services(services)?;
        let window: Duration = window.map_or(DEFAULT_WINDOW, |window| window.0);
        let (jarvis, _) = self.handle.open(py)?;
        self.ask(py, async move { jarvis.attach().await.uptime(&services, window).await })
    }

    /// The results of this process's checks. See `jarvis.Health.snapshot`.
    fn snapshot(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        convert::plain(py, &self.handle.open(py)?.0.health().snapshot())
    }

    /// Whether the loop of this process is alive. See `jarvis.Health.healthz`.
    fn healthz(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        convert::plain(py, &self.handle.open(py)?.0.healthz())
    }

    /// The metrics of this process as OpenMetrics text. See `jarvis.Health.metrics`.
    fn metrics(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let (jarvis, _) = self.handle.open(py)?;
        self.face.call(py, Begin::Away, async move { jarvis.metrics().await }, |py, text| {
            Ok(PyString::new(py, &text).into_any().unbind())
        })
    }

    /// Yields state changes. See `jarvis.Health.watch`.
    #[pyo3(signature = (services=Vec::new()))]
    fn watch(&self, py: Python<'_>, services: Vec<String>) -> PyResult<Stream> {
        let services = self::services(services)?;
        let (jarvis, _) = self.handle.open(py)?;
        let watch = jarvis.watch(&services).map_err(error::raise)?;
        Ok(Stream::new(Source::Health(Box::new(watch)), self.face))
    }

    /// The answer to `GET /health`.
    #[pyo3(name = "_answer", signature = (services=Vec::new(), *, max_age=Span(Duration::ZERO)))]
    fn answer(&self, py: Python<'_>, services: Vec<String>, max_age: Span) -> PyResult<Py<PyAny>> {
        let services = self::services(services)?;
        let jarvis = self.handle.open_for_methods(py, self.face)?;
        self.face.call(
            py,
            Begin::Away,
            async move { jarvis.health_answer(&services, max_age.0).await },
            |py, answer| web::answer(answer).into_py_any(py),
        )
    }

    /// The answer to `GET /healthz`.
    #[pyo3(name = "_liveness_answer")]
    fn liveness_answer(&self, py: Python<'_>) -> PyResult<web::Answer> {
        Ok(web::answer(self.handle.open(py)?.0.liveness_answer()))
    }
}
