//! `Jarvis`: the handle.

use std::path::PathBuf;
use std::sync::Arc;

use jarvis_core::config::Source;
use jarvis_core::hosted::LeftBehind;
use jarvis_core::restart::Leaving;
use jarvis_core::vocabulary::Mode;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::cache::Cache;
use crate::call::{Begin, Face};
use crate::convert;
use crate::error;
use crate::events::EventBus;
use crate::handle::{Handle, Recipe};
use crate::health::Health;
use crate::hosted::Kinds;
use crate::interpreter::Inside;
use crate::operator::Operator;
use crate::session::SessionStore;
use crate::web::RequestMeter;

/// The handle on everything that a configuration describes.
#[pyclass(frozen, module = "jarvis._core")]
pub(crate) struct Jarvis {
    handle: Arc<Handle>,
    face: Face,
}

/// A file, a mapping, or the file that is found. Without any of them the configuration is empty.
fn source(config: Option<&Bound<'_, PyAny>>) -> PyResult<Source> {
    let source = Source::from_environment().with_fallback("");
    match config {
        None => Ok(source),
        Some(values) if values.is_instance_of::<PyDict>() => {
            source.with_json(&convert::to_json(values)?).map_err(error::raise)
        }
        Some(file) => Ok(source.with_file(file.extract::<PathBuf>()?)),
    }
}

fn factories(given: Option<&Bound<'_, PyDict>>) -> PyResult<Vec<(String, Py<PyAny>)>> {
    let Some(given) = given else { return Ok(Vec::new()) };
    given.iter().map(|(kind, factory)| Ok((kind.extract()?, factory.unbind()))).collect()
}

fn mode(word: &str) -> PyResult<Mode> {
    serde_json::from_value(serde_json::Value::from(word)).map_err(|_| {
        error::invalid(format!(
            "unknown mode {word:?}. Valid modes: \"act\", \"dry-run\", \"observe\""
        ))
    })
}

#[pymethods]
impl Jarvis {
    /// Reads the configuration and creates the handle. Connects to nothing.
    #[new]
    #[pyo3(signature = (blocking, config=None, *, store=None, sessions=None, cache=None, bus=None, state_dir=None, mode=None, more=None, probes=None, restarters=None, sinks=None))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn new(
        py: Python<'_>,
        blocking: bool,
        config: Option<&Bound<'_, PyAny>>,
        store: Option<&str>,
        sessions: Option<&str>,
        cache: Option<&str>,
        bus: Option<&str>,
        state_dir: Option<PathBuf>,
        mode: Option<&str>,
        more: Option<&Bound<'_, PyDict>>,
        probes: Option<&Bound<'_, PyDict>>,
        restarters: Option<&Bound<'_, PyDict>>,
        sinks: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let more = match more {
            None => None,
            Some(more) => {
                let values = convert::to_json(more)?;
                Some(Source::empty().with_json(&values).map_err(error::raise)?)
            }
        };
        let mut source = self::source(config)?;
        if let Some(store) = store {
            source = source.with_store(store);
        }
        let state_dir = state_dir.map(|folder| folder.display().to_string());
        for (key, value, argument) in [
            ("store.session", sessions, "the argument sessions"),
            ("store.cache", cache, "the argument cache"),
            ("store.bus", bus, "the argument bus"),
            ("jarvis.state_dir", state_dir.as_deref(), "the argument state_dir"),
        ] {
            if let Some(value) = value {
                source = source.with_setting(key, value, argument);
            }
        }
        let recipe = Recipe {
            source,
            more,
            mode: mode.map(self::mode).transpose()?,
            kinds: Kinds {
                probes: factories(probes)?,
                restarters: factories(restarters)?,
                sinks: factories(sinks)?,
            },
            last_use: Arc::default(),
            left_behind: LeftBehind::new(),
        };
        let handle = Arc::new(Handle::new(py, recipe)?);
        let face = if blocking { Face::Blocking } else { Face::Awaitable };
        Ok(Self { handle, face })
    }

    /// The sessions. See `jarvis.SessionStore`.
    #[getter]
    fn sessions(&self) -> SessionStore {
        SessionStore::new(Arc::clone(&self.handle), self.face)
    }

    /// The cache. See `jarvis.Cache`.
    #[getter]
    fn cache(&self) -> Cache {
        Cache::new(Arc::clone(&self.handle), self.face)
    }

    /// The event bus. See `jarvis.EventBus`.
    #[getter]
    fn events(&self) -> EventBus {
        EventBus::new(Arc::clone(&self.handle), self.face)
    }

    /// The health of the services. See `jarvis.Health`.
    #[getter]
    fn health(&self) -> Health {
        Health::new(Arc::clone(&self.handle), self.face)
    }

    /// Manual control of the services. See `jarvis.Operator`.
    #[getter]
    fn operator(&self) -> Operator {
        Operator::new(Arc::clone(&self.handle), self.face)
    }

    /// How many calls of the program's own objects hang past their deadline.
    #[getter]
    fn left_behind(&self) -> usize {
        self.handle.recipe.left_behind.count()
    }

    /// Starts the supervision loop.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        let _inside = Inside::enter(py);
        let jarvis = self.handle.open_for_methods(py, self.face)?;
        self.handle.supervision.start(py, jarvis)
    }

    /// Asks the loop to end in good order.
    #[pyo3(signature = (interrupted=false))]
    fn stop(&self, interrupted: bool) {
        let leaving = if interrupted { Leaving::Interrupted } else { Leaving::Terminated };
        self.handle.supervision.stop(leaving);
    }

    /// Waits until the loop has ended. Returns at once if it was not started.
    fn ended(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let begin = if self.handle.supervision.is_started() { Begin::Away } else { Begin::Here };
        self.face.call(py, begin, self.handle.supervision.ended(), |py, ()| Ok(py.None()))
    }

    /// The state directory.
    #[getter]
    fn state_dir(&self, py: Python<'_>) -> PyResult<PathBuf> {
        Ok(self.handle.open(py)?.0.state_dir())
    }

    /// Publishes the events of a request meter. Returns whether there were any.
    #[pyo3(name = "_publish_requests")]
    fn publish_requests(
        &self,
        py: Python<'_>,
        meter: &Bound<'_, RequestMeter>,
    ) -> PyResult<Py<PyAny>> {
        let meter = Arc::clone(&meter.get().0);
        let (jarvis, places) = self.handle.open(py)?;
        self.face.call(
            py,
            places.bus,
            async move { jarvis.publish_requests(&meter).await },
            convert::object,
        )
    }

    /// Closes the stores and their connections. Safe to repeat. See `jarvis.Jarvis.close`.
    fn close(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let Some(jarvis) = self.handle.close() else {
            return self.face.call(py, Begin::Here, async { Ok(()) }, |py, ()| Ok(py.None()));
        };
        let close = async move { jarvis.close().await };
        self.face.call(py, Begin::HereWithRuntime, close, |py, ()| Ok(py.None()))
    }
}
