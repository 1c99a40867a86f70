//! Python functions that the core calls back: [`Callback`].
//!
//! A thread of the runtime never runs Python, nor waits for the interpreter's lock. What was given
//! to the awaitable face is called on its event loop; what was given to the blocking face is called
//! on the thread that waits, or on threads of Python's own when nobody does. Those are daemons
//! whose frames are all Python's, so that the interpreter may end them wherever they are.

mod threads;

use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::{Either, select};
use jarvis_core::clock::{Clock, ClockExt, SystemClock};
use jarvis_core::sync::{Mutex, MutexGuard};
use jarvis_core::{Error, ErrorKind, Result};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::bridge::{Bridge, Message};
use crate::call::Face;
use crate::error::Raised;
use crate::runtime::{self, Runtime};

pub(crate) use threads::Threads;
use threads::Told;

/// Where functions are called.
#[derive(Clone)]
pub(crate) enum Home {
    /// On this loop.
    Loop(Arc<Bridge>),
    /// On the thread that waits, where it may: a daemon's frames must be Python's alone while a
    /// function runs that may outlive the interpreter. Else on threads of this runtime's.
    Threads { runtime: &'static Runtime, here: bool },
    /// A method of an object that is called at any time: what is awaited on the loop that the
    /// handle was last used from, what may block, and what has no loop, on threads.
    Method { awaited: bool, ground: Arc<Ground> },
}

/// Where the methods of a handle's objects are called: set when the handle is used in a way that
/// may call them.
#[derive(Default)]
pub(crate) struct Ground(Mutex<(Weak<Bridge>, Option<&'static Runtime>)>);

impl Ground {
    /// Here and now.
    pub(crate) fn set(&self, py: Python<'_>, face: Face) -> PyResult<()> {
        let runtime = runtime::get(py)?;
        threads::ready(py, runtime)?;
        let bridge = match face {
            Face::Awaitable => Arc::downgrade(&Bridge::running(py)?.0),
            Face::Blocking => Weak::new(),
        };
        *self.0.lock() = (bridge, Some(runtime));
        Ok(())
    }

    fn get(&self) -> (Option<Arc<Bridge>>, Option<&'static Runtime>) {
        let ground = self.0.lock();
        (ground.0.upgrade(), ground.1)
    }
}

impl Home {
    /// Of a method that is called at any time.
    pub(crate) fn of_method(method: &Bound<'_, PyAny>, ground: &Arc<Ground>) -> PyResult<Self> {
        let awaited = is_coroutine_function(method)?;
        Ok(Self::Method { awaited, ground: Arc::clone(ground) })
    }

    /// As it is now.
    fn resolved(&self) -> Self {
        let Self::Method { awaited, ground } = self else { return self.clone() };
        match ground.get() {
            (Some(bridge), _) if *awaited && !bridge.is_closed() => Self::Loop(bridge),
            (_, Some(runtime)) => Self::Threads { runtime, here: false },
            (_, None) => self.clone(),
        }
    }

    /// Of whoever calls now.
    pub(crate) fn of(py: Python<'_>, face: Face) -> PyResult<Self> {
        Ok(match face {
            Face::Awaitable => Self::Loop(Bridge::running(py)?.0),
            Face::Blocking => {
                let runtime = runtime::get(py)?;
                threads::ready(py, runtime)?;
                Self::Threads { runtime, here: !is_daemon(py)? }
            }
        })
    }
}

/// Makes the arguments, with the interpreter's lock.
pub(crate) type Arguments = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyTuple>> + Send>;

/// No arguments.
pub(crate) fn no_arguments() -> Arguments {
    Box::new(|py| Ok(PyTuple::empty(py).unbind()))
}

/// What a function answered.
type Answer<'py> = PyResult<Bound<'py, PyAny>>;

/// Whoever waits for the answer.
trait Asker: Send {
    /// Does it still wait?
    fn waits(&self) -> bool;

    /// Converts the answer, with the interpreter's lock, and hands it over.
    fn tell(self: Box<Self>, py: Python<'_>, answer: Answer<'_>);
}

struct Converted<T, C> {
    sender: oneshot::Sender<Result<T>>,
    convert: C,
}

impl<T, C> Asker for Converted<T, C>
where
    T: Send,
    C: FnOnce(Bound<'_, PyAny>) -> PyResult<T> + Send,
{
    fn waits(&self) -> bool {
        !self.sender.is_closed()
    }

    fn tell(self: Box<Self>, py: Python<'_>, answer: Answer<'_>) {
        let Self { sender, convert } = *self;
        // Nobody waits any more: nothing is lost.
        let _ = sender.send(answer.and_then(convert).map_err(|raised| Raised::error(py, raised)));
    }
}

/// A Python function and where it is called.
pub(crate) struct Callback {
    function: Py<PyAny>,
    home: Home,
    /// The caller's context variables, of what is called for a caller.
    context: Option<Py<PyAny>>,
}

/// Are we on a thread of the runtime, and not on the caller's own?
fn on_the_runtime() -> bool {
    tokio::task::try_id().is_some()
}

fn is_daemon(py: Python<'_>) -> PyResult<bool> {
    static CURRENT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let thread = CURRENT.import(py, "threading", "current_thread")?.call0()?;
    thread.getattr(intern!(py, "daemon"))?.is_truthy()
}

impl Callback {
    /// Something that is called for whoever calls now: it sees their context variables.
    pub(crate) fn of_caller(
        py: Python<'_>,
        function: Py<PyAny>,
        face: Face,
    ) -> PyResult<Arc<Self>> {
        static COPY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let context = COPY.import(py, "contextvars", "copy_context")?.call0()?;
        let home = Home::of(py, face)?;
        Ok(Arc::new(Self { function, home, context: Some(context.unbind()) }))
    }

    /// A method that is called at any time, for nobody.
    pub(crate) fn of_method(method: Py<PyAny>, home: Home) -> Arc<Self> {
        Arc::new(Self { function: method, home, context: None })
    }

    /// What it sees when it is called later, or elsewhere. It is not entered twice at a time, and
    /// what one call sets is not seen by the next.
    fn context<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let copy = |context: &Py<PyAny>| context.bind(py).call_method0(intern!(py, "copy"));
        self.context.as_ref().map(copy).transpose()
    }

    /// Calls it and waits, also for what it awaits. What it raises is the error, as it is.
    pub(crate) async fn call<T: Send + 'static>(
        self: Arc<Self>,
        arguments: Arguments,
        convert: impl FnOnce(Bound<'_, PyAny>) -> PyResult<T> + Send + 'static,
    ) -> Result<T> {
        let (sender, told) = oneshot::channel();
        let asker = Box::new(Converted { sender, convert });
        let running = Running::default();
        let home = self.home.resolved();
        let _cancel = Cancel { home: home.clone(), running: Arc::clone(&running) };
        if on_the_runtime() || matches!(home, Home::Threads { here: false, .. }) {
            self.send(home.clone(), arguments, asker, Arc::clone(&running));
        } else {
            runtime::attached(|py| self.begin(py, &home, None, arguments, asker, &running));
        }
        let told = match &home {
            Home::Loop(bridge) => match select(told, pin!(bridge.closed())).await {
                Either::Left((told, _)) => told.ok(),
                Either::Right(_) => None,
            },
            Home::Threads { .. } | Home::Method { .. } => told.await.ok(),
        };
        lock(&running).task = None;
        told.ok_or_else(gone)?
    }

    /// Calls it and blocks: on the runtime for at most so long, as a loop that is gone never
    /// answers. What it awaits is awaited on a thread's own loop only.
    pub(crate) fn call_now<T: Send + 'static>(
        self: &Arc<Self>,
        within: Duration,
        arguments: Arguments,
        convert: impl FnOnce(Bound<'_, PyAny>) -> PyResult<T> + Send + 'static,
    ) -> Result<T> {
        let (sender, mut told) = oneshot::channel();
        let asker = Box::new(Converted { sender, convert });
        let home = self.home.resolved();
        if !on_the_runtime() {
            runtime::attached(|py| {
                self.begin(py, &home, None, arguments, asker, &Running::default());
            });
            return told.try_recv().map_err(|_| gone())?;
        }
        Arc::clone(self).send(home, arguments, asker, Running::default());
        let clock = SystemClock::new();
        let told = clock.until(clock.monotonic() + within, told);
        let told = tokio::task::block_in_place(|| Handle::current().block_on(told));
        told.and_then(std::result::Result::ok).ok_or_else(gone)?
    }

    fn send(
        self: Arc<Self>,
        home: Home,
        arguments: Arguments,
        asker: Box<dyn Asker>,
        running: Running,
    ) {
        match &home {
            Home::Loop(bridge) => {
                let bridge = Arc::clone(bridge);
                bridge.tell(Message::Run(Box::new(move |py| match self.context(py) {
                    Ok(context) => {
                        let context = context.as_ref();
                        self.begin(py, &home, context, arguments, asker, &running);
                    }
                    Err(error) => asker.tell(py, Err(error)),
                })));
            }
            Home::Threads { runtime, .. } => {
                runtime.threads.submit(threads::Call { callback: self, arguments, asker });
            }
            // Nothing that calls methods was asked yet: there is nobody to answer to.
            Home::Method { .. } => drop(asker),
        }
    }

    /// On the thread that is to call it; in the caller's own context, or in this one.
    fn begin(
        &self,
        py: Python<'_>,
        home: &Home,
        context: Option<&Bound<'_, PyAny>>,
        arguments: Arguments,
        asker: Box<dyn Asker>,
        running: &Running,
    ) {
        if !asker.waits() {
            return;
        }
        let function = self.function.bind(py);
        let called = arguments(py)
            .and_then(|arguments| call_in(context, function, arguments.into_bound(py)));
        let (value, awaitable) = match called.and_then(|value| Ok((is_awaitable(&value)?, value))) {
            Ok((awaitable, value)) => (value, awaitable),
            Err(error) => return asker.tell(py, Err(error)),
        };
        if !awaitable {
            return asker.tell(py, Ok(value));
        }
        match home {
            Home::Loop(_) => {
                let followed = follow(&value, context, asker).and_then(|task| keep(running, &task));
                if let Err(error) = followed {
                    error.write_unraisable(py, Some(&value));
                }
            }
            Home::Threads { .. } | Home::Method { .. } => asker.tell(py, run_to_the_end(&value)),
        }
    }
}

/// Python's loop went away, or the interpreter ends.
fn gone() -> Error {
    Error::new(
        ErrorKind::Cancelled,
        "the Python function was not called to its end: its event loop is gone, or does not turn",
    )
}

/// Does calling it give something to await?
pub(crate) fn is_coroutine_function(function: &Bound<'_, PyAny>) -> PyResult<bool> {
    static IS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let is = IS.import(function.py(), "inspect", "iscoroutinefunction")?;
    is.call1((function,))?.is_truthy()
}

fn is_awaitable(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    static IS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = value.py();
    IS.import(py, "inspect", "isawaitable")?.call1((value,))?.is_truthy()
}

/// Calls it in this context, or in the one that we are in.
fn call_in<'py>(
    context: Option<&Bound<'py, PyAny>>,
    function: &Bound<'py, PyAny>,
    arguments: Bound<'py, PyTuple>,
) -> Answer<'py> {
    let Some(context) = context else { return function.call1(arguments) };
    let py = function.py();
    let run = context.getattr(intern!(py, "run"))?;
    run.call1(PyTuple::new(
        py,
        std::iter::once(function.clone()).chain(arguments).collect::<Vec<_>>(),
    )?)
}

/// Awaits it as a task of the running loop.
fn follow<'py>(
    awaitable: &Bound<'py, PyAny>,
    context: Option<&Bound<'py, PyAny>>,
    asker: Box<dyn Asker>,
) -> Answer<'py> {
    static ENSURE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = awaitable.py();
    let ensure = ENSURE.import(py, "asyncio", "ensure_future")?;
    let task = call_in(context, ensure, PyTuple::new(py, [awaitable])?)?;
    task.call_method1(intern!(py, "add_done_callback"), (Told::new(asker),))?;
    Ok(task)
}

/// Awaits it in a loop of its own.
fn run_to_the_end<'py>(awaitable: &Bound<'py, PyAny>) -> Answer<'py> {
    static RUN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let run = RUN.import(awaitable.py(), "jarvis._threads", "run")?;
    run.call1((awaitable,))
}

/// What a call became on a loop.
#[derive(Default)]
struct Progress {
    task: Option<Py<PyAny>>,
    /// Nobody waits for it any more.
    left: bool,
}

type Running = Arc<Mutex<Progress>>;

fn lock(running: &Running) -> MutexGuard<'_, Progress> {
    running.lock()
}

/// Keeps the task, so that it can be cancelled; at once where nobody waits any more.
fn keep(running: &Running, task: &Bound<'_, PyAny>) -> PyResult<()> {
    let left = {
        let mut progress = lock(running);
        progress.task = (!progress.left).then(|| task.clone().unbind());
        progress.left
    };
    if left {
        task.call_method0(intern!(task.py(), "cancel"))?;
    }
    Ok(())
}

/// Cancels the task when nobody waits for it any more.
struct Cancel {
    home: Home,
    running: Running,
}

impl Drop for Cancel {
    fn drop(&mut self) {
        let task = {
            let mut progress = lock(&self.running);
            progress.left = true;
            progress.task.take()
        };
        let (Home::Loop(bridge), Some(task)) = (&self.home, task) else { return };
        bridge.tell(Message::Run(Box::new(move |py| {
            if let Err(error) = task.call_method0(py, intern!(py, "cancel")) {
                error.write_unraisable(py, None);
            }
        })));
    }
}
