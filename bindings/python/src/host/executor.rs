//! Where a Python function is called: [`Executor`].

use std::sync::{Arc, Weak};

use jarvis_core::sync::Mutex;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::function::is_coroutine_function;
use super::threads::Threads;
use crate::bridge::Bridge;
use crate::call::Face;

/// Where a function is called.
#[derive(Clone)]
pub(super) enum Executor {
    /// On this event loop.
    Loop(Arc<Bridge>),
    /// With `here`, on the thread that waits; else on the callback threads. A daemon thread may not
    /// call it itself: the function may outlive the interpreter, and then all frames of the thread
    /// have to be Python's.
    Threads { threads: &'static Threads, here: bool },
    /// The method of an object, which is called at any time: a coroutine function on the event loop
    /// that last used the handle, anything else, and everything without a loop, on the callback
    /// threads.
    Method { awaited: bool, last_use: Arc<LastUse> },
}

/// Where a handle was last used in a way that may call methods of the program's objects.
#[derive(Default)]
pub(crate) struct LastUse(Mutex<(Weak<Bridge>, Option<&'static Threads>)>);

impl LastUse {
    /// Records the current caller.
    pub(crate) fn record(&self, py: Python<'_>, face: Face) -> PyResult<()> {
        let threads = Threads::ready(py)?;
        let bridge = match face {
            Face::Awaitable => Arc::downgrade(&Bridge::running(py)?.0),
            Face::Blocking => Weak::new(),
        };
        *self.0.lock() = (bridge, Some(threads));
        Ok(())
    }

    fn get(&self) -> (Option<Arc<Bridge>>, Option<&'static Threads>) {
        let last = self.0.lock();
        (last.0.upgrade(), last.1)
    }
}

impl Executor {
    /// For a function of the current caller.
    pub(super) fn of_caller(py: Python<'_>, face: Face) -> PyResult<Self> {
        Ok(match face {
            Face::Awaitable => Self::Loop(Bridge::running(py)?.0),
            Face::Blocking => Self::Threads { threads: Threads::ready(py)?, here: !is_daemon(py)? },
        })
    }

    /// For a method that is called at any time.
    pub(super) fn of_method(method: &Bound<'_, PyAny>, last_use: &Arc<LastUse>) -> PyResult<Self> {
        let awaited = is_coroutine_function(method)?;
        Ok(Self::Method { awaited, last_use: Arc::clone(last_use) })
    }

    /// A loop or threads, unless the handle was not used so far.
    pub(super) fn resolved(&self) -> Self {
        let Self::Method { awaited, last_use } = self else { return self.clone() };
        match last_use.get() {
            (Some(bridge), _) if *awaited && !bridge.is_closed() => Self::Loop(bridge),
            (_, Some(threads)) => Self::Threads { threads, here: false },
            (_, None) => self.clone(),
        }
    }
}

fn is_daemon(py: Python<'_>) -> PyResult<bool> {
    static CURRENT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let thread = CURRENT.import(py, "threading", "current_thread")?.call0()?;
    thread.getattr(intern!(py, "daemon"))?.is_truthy()
}
