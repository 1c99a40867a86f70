//! `Jarvis`: the handle, and what it is made of.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::FutureExt;
use jarvis_core::cache::Cache;
use jarvis_core::config::Source;
use jarvis_core::hosted::LeftBehind;
use jarvis_core::restart::Leaving;
use jarvis_core::session::SessionStore;
use jarvis_core::sync::{Mutex, MutexGuard};
use jarvis_core::vocabulary::Mode;
use jarvis_core::{Error, ErrorKind, Jarvis as Core};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tokio::sync::{oneshot, watch};

use crate::cache::Cache as PyCache;
use crate::call::{Begin, Face, Opened};
use crate::convert;
use crate::error;
use crate::events::EventBus;
use crate::health::Health;
use crate::host::Ground;
use crate::hosted::Kinds;
use crate::operator::Operator;
use crate::runtime::{self, Inside};
use crate::session::SessionStore as PySessionStore;

/// Everything that a handle is made of, so that a fork's child can make it again.
struct Recipe {
    source: Source,
    /// Services and sinks that are arguments.
    more: Option<Source>,
    mode: Option<Mode>,
    kinds: Kinds,
    ground: Arc<Ground>,
    left_behind: LeftBehind,
}

impl Recipe {
    fn open(&self, py: Python<'_>) -> PyResult<Core> {
        let mut builder = Core::builder().with_source(self.source.clone());
        if !self.kinds.is_empty() {
            let registry = self.kinds.registry(py, &self.ground, &self.left_behind)?;
            builder = builder.with_registry(registry);
        }
        if let Some(more) = &self.more {
            builder = builder.with_more(more.clone());
        }
        if let Some(mode) = self.mode {
            builder = builder.with_mode(mode);
        }
        builder.open().map_err(error::raise)
    }
}

/// A loop that supervises.
struct Supervision {
    generation: u64,
    stop: Option<oneshot::Sender<Leaving>>,
    ended: watch::Receiver<Option<Ended>>,
}

type Ended = Arc<jarvis_core::Result<()>>;

/// Where the stores of a handle are: how its calls begin.
#[derive(Clone, Copy)]
pub(crate) struct Places {
    pub(crate) sessions: Begin,
    pub(crate) cache: Begin,
    pub(crate) bus: Begin,
}

impl Places {
    fn of(jarvis: &Core) -> Self {
        let config = jarvis.config();
        let near = config.cache.near;
        let begin = |scheme: &str, near: bool| match (scheme, near) {
            ("memory", _) => Begin::Here,
            (_, true) => Begin::HereWithRuntime,
            _ => Begin::Away,
        };
        Self {
            sessions: begin(config.store.session.scheme(), false),
            cache: begin(config.store.cache.scheme(), near),
            bus: begin(config.store.bus.scheme(), false),
        }
    }
}

/// What a handle has opened in one generation of the process.
struct Live {
    generation: u64,
    jarvis: Core,
    places: Places,
    /// Those in memory, once they were used.
    sessions: Option<Arc<dyn SessionStore>>,
    cache: Option<Arc<dyn Cache>>,
}

enum State {
    Idle,
    Live(Live),
    Closed,
}

/// What all natives of one handle share. The lock is only taken with the interpreter's.
pub(crate) struct Handle {
    recipe: Recipe,
    state: Mutex<State>,
    supervision: Mutex<Option<Supervision>>,
}

impl Handle {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The core's handle, made anew after a fork.
    pub(crate) fn open(&self, py: Python<'_>) -> PyResult<(Core, Places)> {
        if let Some(live) = self.live()? {
            return Ok(live);
        }
        // Not under the lock: it may call Python, and so let another thread come first.
        let jarvis = self.recipe.open(py)?;
        if let Some(live) = self.live()? {
            return Ok(live);
        }
        let places = Places::of(&jarvis);
        let live = Live {
            generation: runtime::generation(),
            jarvis: jarvis.clone(),
            places,
            sessions: None,
            cache: None,
        };
        let before = std::mem::replace(&mut *self.state(), State::Live(live));
        leave(before);
        Ok((jarvis, places))
    }

    /// What is open in this generation. An error once it is closed.
    fn live(&self) -> PyResult<Option<(Core, Places)>> {
        match &*self.state() {
            State::Live(live) if live.generation == runtime::generation() => {
                return Ok(Some((live.jarvis.clone(), live.places)));
            }
            State::Closed => {}
            _ => return Ok(None),
        }
        // Not under the lock either.
        let message = "this handle is closed; open another";
        Err(error::raise(Error::new(ErrorKind::Cancelled, message)))
    }

    /// The sessions.
    pub(crate) fn sessions(&self, py: Python<'_>) -> PyResult<Opened<dyn SessionStore>> {
        if let Some(store) = self.known(|live| live.sessions.clone()) {
            return Ok(Opened::Here(store));
        }
        let (jarvis, places) = self.open(py)?;
        if places.sessions == Begin::Here
            && let Some(Ok(store)) = jarvis.sessions().now_or_never()
        {
            self.keep(|live| live.sessions = Some(Arc::clone(&store)));
            return Ok(Opened::Here(store));
        }
        Ok(Opened::Away(jarvis, places.sessions))
    }

    /// The cache.
    pub(crate) fn cache(&self, py: Python<'_>) -> PyResult<Opened<dyn Cache>> {
        if let Some(cache) = self.known(|live| live.cache.clone()) {
            return Ok(Opened::Here(cache));
        }
        let (jarvis, places) = self.open(py)?;
        if places.cache == Begin::Here
            && let Some(Ok(cache)) = jarvis.cache().now_or_never()
        {
            self.keep(|live| live.cache = Some(Arc::clone(&cache)));
            return Ok(Opened::Here(cache));
        }
        Ok(Opened::Away(jarvis, places.cache))
    }

    /// What the sessions know without waiting, where they are in memory and were used before. They
    /// are asked under the lock, as they call nobody.
    pub(crate) fn sessions_now<T>(
        &self,
        ask: impl FnOnce(&dyn SessionStore) -> Option<T>,
    ) -> Option<T> {
        self.known(|live| live.sessions.as_deref().and_then(ask))
    }

    /// As [`sessions_now`](Self::sessions_now), of the cache.
    pub(crate) fn cache_now<T>(&self, ask: impl FnOnce(&dyn Cache) -> Option<T>) -> Option<T> {
        self.known(|live| live.cache.as_deref().and_then(ask))
    }

    fn known<T>(&self, what: impl FnOnce(&Live) -> Option<T>) -> Option<T> {
        match &*self.state() {
            State::Live(live) if live.generation == runtime::generation() => what(live),
            _ => None,
        }
    }

    fn keep(&self, what: impl FnOnce(&mut Live)) {
        if let State::Live(live) = &mut *self.state() {
            what(live);
        }
    }

    /// As [`open`](Self::open), for calls that may call methods of the program's own objects: what
    /// has to be awaited is awaited on the running loop.
    pub(crate) fn open_for_methods(&self, py: Python<'_>, face: Face) -> PyResult<Core> {
        if !self.recipe.kinds.is_empty() {
            self.recipe.ground.set(py, face)?;
        }
        Ok(self.open(py)?.0)
    }

    /// The loop of this process: one that a parent ran is not there in the child of a fork.
    fn supervision(&self) -> MutexGuard<'_, Option<Supervision>> {
        let mut supervision = self.supervision.lock();
        let here = |it: &Supervision| it.generation == runtime::generation();
        if !supervision.as_ref().is_none_or(here) {
            std::mem::forget(supervision.take());
        }
        supervision
    }

    /// Takes it out of use, and gives what has to be closed.
    fn close(&self) -> Option<Core> {
        let before = std::mem::replace(&mut *self.state(), State::Closed);
        match before {
            State::Live(live) if live.generation == runtime::generation() => Some(live.jarvis),
            older => {
                leave(older);
                None
            }
        }
    }
}

/// What belongs to a process before the fork is not dropped: its threads are not here to help.
fn leave(state: State) {
    if matches!(&state, State::Live(live) if live.generation != runtime::generation()) {
        std::mem::forget(state);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(jarvis) = self.close() {
            // Ends threads and connections: not under the interpreter's lock.
            Python::attach(|py| {
                let _inside = Inside::enter(py);
                runtime::detached(py, || drop(jarvis));
            });
        }
    }
}

/// The handle on everything that a configuration describes.
#[pyclass(frozen, module = "jarvis._core")]
pub(crate) struct Jarvis {
    handle: Arc<Handle>,
    face: Face,
}

/// A file, a mapping, or what is found; nothing at all is an empty configuration.
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
        error::invalid(format!("mode is \"act\", \"dry-run\" or \"observe\", not {word:?}"))
    })
}

#[pymethods]
impl Jarvis {
    /// Reads the configuration and makes the handle; opens and connects nothing.
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
        for (name, value) in [
            ("JARVIS_STORE__SESSION", sessions),
            ("JARVIS_STORE__CACHE", cache),
            ("JARVIS_STORE__BUS", bus),
            ("JARVIS_JARVIS__STATE_DIR", state_dir.as_deref()),
        ] {
            if let Some(value) = value {
                source = source.with_variable(name, value);
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
            ground: Arc::default(),
            left_behind: LeftBehind::new(),
        };
        let state = Mutex::new(State::Idle);
        let handle = Handle { recipe, state, supervision: Mutex::default() };
        handle.open(py)?;
        let face = if blocking { Face::Blocking } else { Face::Awaitable };
        Ok(Self { handle: Arc::new(handle), face })
    }

    /// The sessions. See `jarvis.SessionStore`.
    #[getter]
    fn sessions(&self) -> PySessionStore {
        PySessionStore::new(Arc::clone(&self.handle), self.face)
    }

    /// The cache. See `jarvis.Cache`.
    #[getter]
    fn cache(&self) -> PyCache {
        PyCache::new(Arc::clone(&self.handle), self.face)
    }

    /// The bus. See `jarvis.EventBus`.
    #[getter]
    fn events(&self) -> EventBus {
        EventBus::new(Arc::clone(&self.handle), self.face)
    }

    /// What is well. See `jarvis.Health`.
    #[getter]
    fn health(&self) -> Health {
        Health::new(Arc::clone(&self.handle), self.face)
    }

    /// What a person asks. See `jarvis.Operator`.
    #[getter]
    fn operator(&self) -> Operator {
        Operator::new(Arc::clone(&self.handle), self.face)
    }

    /// How many calls of the program's own objects hang, and nobody waits for them any more.
    #[getter]
    fn left_behind(&self) -> usize {
        self.handle.recipe.left_behind.count()
    }

    /// Begins to supervise.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        let _inside = Inside::enter(py);
        let jarvis = self.handle.open_for_methods(py, self.face)?;
        if self.handle.supervision().is_some() {
            let message = "this handle supervises already, or did before; open another";
            return Err(error::raise(Error::new(ErrorKind::Conflict, message)));
        }
        let ((stop, stopped), (end, ended)) = (oneshot::channel(), watch::channel(None));
        runtime::get(py)?.spawn(async move {
            let until = async { stopped.await.unwrap_or(Leaving::Terminated) };
            let result = AssertUnwindSafe(jarvis.run(until)).catch_unwind().await;
            let result = result.unwrap_or_else(|panic| Err(error::panicked(&*panic)));
            end.send_replace(Some(Arc::new(result)));
        });
        let generation = runtime::generation();
        *self.handle.supervision() = Some(Supervision { generation, stop: Some(stop), ended });
        Ok(())
    }

    /// Tells the loop to end, in good order.
    #[pyo3(signature = (interrupted=false))]
    fn stop(&self, interrupted: bool) {
        let mut supervision = self.handle.supervision();
        if let Some(stop) = supervision.as_mut().and_then(|running| running.stop.take()) {
            // It ended by itself.
            let _ = stop.send(if interrupted { Leaving::Interrupted } else { Leaving::Terminated });
        }
    }

    /// Waits until the loop ended. At once where none was begun.
    fn ended(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let ended = self.handle.supervision().as_ref().map(|running| running.ended.clone());
        let begin = if ended.is_some() { Begin::Away } else { Begin::Here };
        let wait = async move {
            let Some(mut ended) = ended else { return Ok(()) };
            let ended = match ended.wait_for(Option::is_some).await {
                Ok(ended) => ended.clone(),
                Err(_) => None,
            };
            match ended.as_deref() {
                Some(Err(error)) => Err(error.clone()),
                _ => Ok(()),
            }
        };
        self.face.call(py, begin, wait, |py, ()| Ok(py.None()))
    }

    /// The folder of everything that is remembered.
    #[getter]
    fn state_dir(&self, py: Python<'_>) -> PyResult<PathBuf> {
        Ok(self.handle.open(py)?.0.state_dir())
    }

    /// Ends what goes on behind the stores. Safe to repeat. See `jarvis.Jarvis.close`.
    fn close(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let Some(jarvis) = self.handle.close() else {
            return self.face.call(py, Begin::Here, async { Ok(()) }, |py, ()| Ok(py.None()));
        };
        let close = async move { jarvis.close().await };
        self.face.call(py, Begin::HereWithRuntime, close, |py, ()| Ok(py.None()))
    }
}
