//! `Health`: what is well, and how long it was.

use std::sync::Arc;
use std::time::Duration;

use jarvis_core::events::{Delivery, Topic};
use jarvis_core::jarvis::{DEFAULT_WINDOW, EventStream, EventsQuery};
use jarvis_core::vocabulary::ServiceId;
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::call::{Begin, Face};
use crate::convert::{self, Span};
use crate::error;
use crate::events::{Failure, Subscription};
use crate::jarvis::Handle;

/// What is well, and how long it was.
#[pyclass(frozen, module = "jarvis._core")]
pub(crate) struct Health {
    handle: Arc<Handle>,
    face: Face,
}

impl Health {
    pub(crate) fn new(handle: Arc<Handle>, face: Face) -> Self {
        Self { handle, face }
    }
}

/// Names of services.
pub(crate) fn services(names: Vec<String>) -> PyResult<Vec<ServiceId>> {
    names.into_iter().map(|name| ServiceId::new(&name).map_err(error::raise)).collect()
}

#[pymethods]
impl Health {
    /// One round of real probes, now. See `jarvis.Health.check`.
    #[pyo3(signature = (services=Vec::new()))]
    fn check(&self, py: Python<'_>, services: Vec<String>) -> PyResult<Py<PyAny>> {
        let services = self::services(services)?;
        let jarvis = self.handle.open_for_methods(py, self.face)?;
        self.face.call(
            py,
            Begin::Away,
            async move { jarvis.check(&services).await },
            |py, answer| convert::plain(py, &answer),
        )
    }

    /// What the services are, for whoever supervises them. See `jarvis.Health.status`.
    fn status(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let (jarvis, _) = self.handle.open(py)?;
        self.face.call(
            py,
            Begin::Away,
            async move { jarvis.attach().await.status().await },
            |py, answer| convert::plain(py, &answer),
        )
    }

    /// How much of the time they were up. See `jarvis.Health.uptime`.
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
        self.face.call(
            py,
            Begin::Away,
            async move { jarvis.attach().await.uptime(&services, window).await },
            |py, answer| convert::plain(py, &answer),
        )
    }

    /// What the checks of this process say. See `jarvis.Health.snapshot`.
    fn snapshot(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        convert::plain(py, &self.handle.open(py)?.0.health().snapshot())
    }

    /// Does the loop of this process go round? See `jarvis.Health.healthz`.
    fn healthz(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        convert::plain(py, &self.handle.open(py)?.0.healthz())
    }

    /// The OpenMetrics text of this process. See `jarvis.Health.metrics`.
    fn metrics(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let (jarvis, _) = self.handle.open(py)?;
        self.face.call(py, Begin::Away, async move { jarvis.metrics().await }, |py, text| {
            Ok(PyString::new(py, &text).into_any().unbind())
        })
    }

    /// Tells what happens to the services as it happens. See `jarvis.Health.watch`.
    #[pyo3(signature = (service=None))]
    fn watch(&self, py: Python<'_>, service: Option<String>) -> PyResult<Py<PyAny>> {
        let service = services(service.into_iter().collect())?.pop();
        let query = EventsQuery {
            topics: [Topic::Health, Topic::Incident].map(Into::into).to_vec(),
            service,
            follow: true,
            ..EventsQuery::default()
        };
        let (jarvis, _) = self.handle.open(py)?;
        let face = self.face;
        self.face.call(
            py,
            Begin::Away,
            async move { jarvis.attach().await.events(query).await },
            move |py, stream| subscription(stream, face).into_py_any(py),
        )
    }
}

/// A stream of events as a subscription.
fn subscription(stream: EventStream, face: Face) -> Subscription {
    let failure = Failure::default();
    let source = Stream { stream, failure: failure.clone() };
    Subscription::new(Box::new(source), face, failure)
}

#[derive(Debug)]
struct Stream {
    stream: EventStream,
    failure: Failure,
}

#[async_trait::async_trait]
impl jarvis_core::events::Subscription for Stream {
    async fn next(&mut self) -> Option<Delivery> {
        match self.stream.next().await? {
            Ok(delivery) => Some(delivery),
            Err(error) => {
                self.failure.set(error);
                None
            }
        }
    }
}
