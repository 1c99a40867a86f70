//! What all native objects of one handle share: [`Handle`].

use std::sync::Arc;

use futures_util::FutureExt;
use jarvis_core::cache::Cache;
use jarvis_core::config::Source;
use jarvis_core::hosted::LeftBehind;
use jarvis_core::session::SessionStore;
use jarvis_core::sync::{Mutex, MutexGuard};
use jarvis_core::vocabulary::{Locality, Mode};
use jarvis_core::{Error, ErrorKind, Jarvis as Core};
use pyo3::prelude::*;

use crate::call::{Begin, Face, Opened};
use crate::error;
use crate::host::LastUse;
use crate::hosted::Kinds;
use crate::interpreter::{self, Inside, generation};
use crate::supervision::Supervision;

/// Everything that opens a handle, so that the child of a fork can open it again.
pub(crate) struct Recipe {
    pub(crate) source: Source,
    /// Services and sinks that were given as arguments.
    pub(crate) more: Option<Source>,
    pub(crate) mode: Option<Mode>,
    pub(crate) kinds: Kinds,
    pub(crate) last_use: Arc<LastUse>,
    pub(crate) left_behind: LeftBehind,
}

impl Recipe {
    fn open(&self, py: Python<'_>) -> PyResult<Core> {
        let mut builder = Core::builder().with_source(self.source.clone());
        if !self.kinds.is_empty() {
            let registry = self.kinds.registry(py, &self.last_use, &self.left_behind)?;
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

/// How calls to the stores of a handle begin.
#[derive(Clone, Copy)]
pub(crate) struct Places {
    pub(crate) sessions: Begin,
    pub(crate) cache: Begin,
    pub(crate) bus: Begin,
}

impl Places {
    fn of(jarvis: &Core) -> Self {
        let begin = |locality| match locality {
            Locality::InMemory => Begin::Here,
            Locality::Near => Begin::HereWithRuntime,
            _ => Begin::Away,
        };
        let stores = jarvis.localities();
        Self {
            sessions: begin(stores.sessions),
            cache: begin(stores.cache),
            bus: begin(stores.bus),
        }
    }
}

/// What a handle has opened in one generation of the process.
struct Live {
    generation: u64,
    jarvis: Core,
    places: Places,
    /// The stores that are in memory, once they were used.
    sessions: Option<Arc<dyn SessionStore>>,
    cache: Option<Arc<dyn Cache>>,
}

enum State {
    Idle,
    Live(Live),
    Closed,
}

/// What all native objects of one handle share. The lock is only taken with the interpreter's.
pub(crate) struct Handle {
    pub(crate) recipe: Recipe,
    pub(crate) supervision: Supervision,
    state: Mutex<State>,
}

impl Handle {
    /// Opens the configuration, and nothing else.
    pub(crate) fn new(py: Python<'_>, recipe: Recipe) -> PyResult<Self> {
        let state = Mutex::new(State::Idle);
        let handle = Self { recipe, supervision: Supervision::default(), state };
        handle.open(py)?;
        Ok(handle)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The core's handle, opened again after a fork.
    pub(crate) fn open(&self, py: Python<'_>) -> PyResult<(Core, Places)> {
        if let Some(live) = self.live()? {
            return Ok(live);
        }
        // Not under the lock: this may call Python, and another thread may come first.
        let jarvis = self.recipe.open(py)?;
        if let Some(live) = self.live()? {
            return Ok(live);
        }
        let places = Places::of(&jarvis);
        let live = Live {
            generation: generation(),
            jarvis: jarvis.clone(),
            places,
            sessions: None,
            cache: None,
        };
        let before = std::mem::replace(&mut *self.state(), State::Live(live));
        leak_if_older(before);
        Ok((jarvis, places))
    }

    /// What is open in this generation. An error once the handle is closed.
    fn live(&self) -> PyResult<Option<(Core, Places)>> {
        match &*self.state() {
            State::Live(live) if live.generation == generation() => {
                return Ok(Some((live.jarvis.clone(), live.places)));
            }
            State::Closed => {}
            _ => return Ok(None),
        }
        // Not under the lock, since it calls Python.
        let message = "this handle is closed; open another one";
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

    /// Asks sessions that are in memory and were used before. They answer without waiting. They are
    /// asked under the lock, since they call no one.
    pub(crate) fn sessions_now<T>(
        &self,
        ask: impl FnOnce(&dyn SessionStore) -> Option<T>,
    ) -> Option<T> {
        self.known(|live| live.sessions.as_deref().and_then(ask))
    }

    /// As [`sessions_now`](Self::sessions_now), for the cache.
    pub(crate) fn cache_now<T>(&self, ask: impl FnOnce(&dyn Cache) -> Option<T>) -> Option<T> {
        self.known(|live| live.cache.as_deref().and_then(ask))
    }

    fn known<T>(&self, what: impl FnOnce(&Live) -> Option<T>) -> Option<T> {
        match &*self.state() {
            State::Live(live) if live.generation == generation() => what(live),
            _ => None,
        }
    }

    fn keep(&self, what: impl FnOnce(&mut Live)) {
        if let State::Live(live) = &mut *self.state() {
            what(live);
        }
    }

    /// As [`open`](Self::open), for calls that may call methods of the program's objects: coroutine
    /// functions are awaited on the running loop.
    pub(crate) fn open_for_methods(&self, py: Python<'_>, face: Face) -> PyResult<Core> {
        if !self.recipe.kinds.is_empty() {
            self.recipe.last_use.record(py, face)?;
        }
        Ok(self.open(py)?.0)
    }

    /// Closes the handle, and returns the core's handle that has to be closed.
    pub(crate) fn close(&self) -> Option<Core> {
        let before = std::mem::replace(&mut *self.state(), State::Closed);
        match before {
            State::Live(live) if live.generation == generation() => Some(live.jarvis),
            older => {
                leak_if_older(older);
                None
            }
        }
    }
}

/// What was opened before a fork is not dropped: its threads do not exist in this process.
fn leak_if_older(state: State) {
    if matches!(&state, State::Live(live) if live.generation != generation()) {
        std::mem::forget(state);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(jarvis) = self.close() {
            // Not under the interpreter's lock: this ends threads and connections.
            Python::attach(|py| {
                let _inside = Inside::enter(py);
                interpreter::detached(py, || drop(jarvis));
            });
        }
    }
}
