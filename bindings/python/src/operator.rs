//! `Operator`: manual control of the services.

use std::sync::Arc;

use jarvis_core::Jarvis as Core;
use jarvis_core::jarvis::EventsQuery;
use jarvis_core::operator::{Action, Command};
use jarvis_core::vocabulary::ServiceId;
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;

use crate::call::{Begin, Face};
use crate::convert::{self, Since, Span, duration};
use crate::error;
use crate::events::patterns;
use crate::handle::Handle;
use crate::stream::{Source, Stream};

/// Manual control of the services through the supervision loop, in this process or in another.
#[pyclass(frozen, module = "jarvis._core")]
pub(crate) struct Operator {
    handle: Arc<Handle>,
    face: Face,
}

impl Operator {
    pub(crate) fn new(handle: Arc<Handle>, face: Face) -> Self {
        Self { handle, face }
    }

    /// Asks the loop, and answers with plain data.
    fn ask<T, F>(
        &self,
        py: Python<'_>,
        ask: impl FnOnce(Core) -> F + Send + 'static,
    ) -> PyResult<Py<PyAny>>
    where
        T: serde::Serialize + Send + 'static,
        F: Future<Output = jarvis_core::Result<T>> + Send + 'static,
    {
        let jarvis = self.handle.open_for_methods(py, self.face)?;
        self.face.call(py, Begin::Away, ask(jarvis), |py, answer| convert::plain(py, &answer))
    }

    /// Carries out a command.
    fn act(&self, py: Python<'_>, command: Command, wait: bool) -> PyResult<Py<PyAny>> {
        self.ask(py, move |jarvis| async move { jarvis.attach().await.act(command, wait).await })
    }
}

fn service(name: &str) -> PyResult<ServiceId> {
    ServiceId::new(name).map_err(error::raise)
}

#[pymethods]
impl Operator {
    /// The state of each service in the loop. See `jarvis.Operator.status`.
    fn status(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.ask(py, |jarvis| async move { jarvis.attach().await.status().await })
    }

    /// Restarts a service. See `jarvis.Operator.restart`.
    #[pyo3(signature = (service, *, by="python", wait=true))]
    fn restart(&self, py: Python<'_>, service: &str, by: &str, wait: bool) -> PyResult<Py<PyAny>> {
        let service = self::service(service)?;
        self.act(py, Command::new(Action::Restart { service }, by), wait)
    }

    /// Starts a service. See `jarvis.Operator.start`.
    #[pyo3(signature = (service, *, by="python", wait=true))]
    fn start(&self, py: Python<'_>, service: &str, by: &str, wait: bool) -> PyResult<Py<PyAny>> {
        let service = self::service(service)?;
        self.act(py, Command::new(Action::Start { service }, by), wait)
    }

    /// Stops a service and leaves it stopped. See `jarvis.Operator.stop`.
    #[pyo3(signature = (service, *, by="python", wait=true))]
    fn stop(&self, py: Python<'_>, service: &str, by: &str, wait: bool) -> PyResult<Py<PyAny>> {
        let service = self::service(service)?;
        self.act(py, Command::new(Action::Stop { service }, by), wait)
    }

    /// Clears the budgets, the breaker and the backoff of a service. See `jarvis.Operator.reset`.
    #[pyo3(signature = (service, *, by="python"))]
    fn reset(&self, py: Python<'_>, service: &str, by: &str) -> PyResult<Py<PyAny>> {
        let service = self::service(service)?;
        self.act(py, Command::new(Action::Reset { service }, by), false)
    }

    /// Starts no action until `resume`. See `jarvis.Operator.pause`.
    #[pyo3(signature = (reason="", *, lasting=None, by="python"))]
    fn pause(
        &self,
        py: Python<'_>,
        reason: &str,
        lasting: Option<Span>,
        by: &str,
    ) -> PyResult<Py<PyAny>> {
        let pause = Action::Pause { lasting: duration(lasting) };
        self.act(py, Command::new(pause, by).with_reason(reason), false)
    }

    /// Ends a pause. See `jarvis.Operator.resume`.
    #[pyo3(signature = (*, by="python"))]
    fn resume(&self, py: Python<'_>, by: &str) -> PyResult<Py<PyAny>> {
        self.act(py, Command::new(Action::Resume, by), false)
    }

    /// Opens a maintenance window. See `jarvis.Operator.maintain`.
    #[pyo3(signature = (services, duration, *, reason="", by="python"))]
    fn maintain(
        &self,
        py: Python<'_>,
        services: Vec<String>,
        duration: Span,
        reason: &str,
        by: &str,
    ) -> PyResult<Py<PyAny>> {
        let action = Action::Maintain { services, lasting: duration.0 };
        self.act(py, Command::new(action, by).with_reason(reason), false)
    }

    /// Closes one maintenance window, or all. See `jarvis.Operator.end_maintenance`.
    #[pyo3(signature = (window=None, *, by="python"))]
    fn end_maintenance(
        &self,
        py: Python<'_>,
        window: Option<u64>,
        by: &str,
    ) -> PyResult<Py<PyAny>> {
        self.act(py, Command::new(Action::EndMaintenance { window }, by), false)
    }

    /// Sends a test alert. See `jarvis.Operator.test_alert`.
    #[pyo3(signature = (sink=None))]
    fn test_alert(&self, py: Python<'_>, sink: Option<String>) -> PyResult<Py<PyAny>> {
        self.ask(py, |jarvis| async move { jarvis.attach().await.alert_test(sink).await })
    }

    /// Reloads the configuration. See `jarvis.Operator.reload`.
    fn reload(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.ask(py, |jarvis| async move { jarvis.attach().await.reload().await })
    }

    /// Reads the retained events, and follows new ones. See `jarvis.Operator.events`.
    #[pyo3(signature = (topics=Vec::new(), *, service=None, since=None, limit=None, follow=false, everywhere=false))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn events(
        &self,
        py: Python<'_>,
        topics: Vec<String>,
        service: Option<&str>,
        since: Option<Since>,
        limit: Option<usize>,
        follow: bool,
        everywhere: bool,
    ) -> PyResult<Py<PyAny>> {
        let mut query = EventsQuery::retained();
        query.topics = patterns(topics)?;
        query.service = service.map(self::service).transpose()?;
        query.since = since.map(|since| since.0).or(query.since);
        query.limit = limit.or(query.limit);
        query.follow = follow;
        query.everywhere = everywhere;
        let (jarvis, _) = self.handle.open(py)?;
        let face = self.face;
        self.face.call(
            py,
            Begin::Away,
            async move { jarvis.attach().await.events(query).await },
            move |py, events| Stream::new(Source::Events(events), face).into_py_any(py),
        )
    }
}
