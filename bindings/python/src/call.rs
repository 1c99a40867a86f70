//! How every method of the core is called, for both faces of the package: [`Face`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use jarvis_core::{Jarvis, Result};
use pyo3::intern;
use pyo3::prelude::*;

use crate::bridge::{Bridge, Finish, Message};
use crate::error;
use crate::interpreter::{self, Inside};
use crate::runtime::{self, Runtime};

/// How long a blocking call may leave Ctrl-C unnoticed.
const CHECK_SIGNALS_EVERY: Duration = Duration::from_millis(50);

/// Which face of the package a native object belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Face {
    /// `jarvis`: an answer that is not ready at once is a future of the running loop.
    Awaitable,
    /// `jarvis.sync`: the calling thread waits, without the interpreter's lock.
    Blocking,
}

/// How a call begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    /// The calling thread polls it once. Memory answers then, and no runtime is needed.
    Here,
    /// As `Here`, without the interpreter's lock.
    HereReleased,
    /// As `Here`, with a runtime: it may start something in the background.
    HereWithRuntime,
    /// On the runtime: it talks to a file or a server.
    Away,
}

/// How much a call touches.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// One entry. In memory it is complete on its first poll.
    One,
    /// One entry, and it may have to wait for its turn.
    InTurn,
    /// Many entries: it may take long.
    Many,
}

impl Begin {
    /// For a call of this size.
    pub(crate) fn of(self, size: Size) -> Self {
        match (self, size) {
            (Self::Here, Size::Many) => Self::HereReleased,
            // Its turn has a deadline, which needs the runtime's timer.
            (Self::Here, Size::InTurn) => Self::HereWithRuntime,
            _ => self,
        }
    }
}

/// A store, or how to open it.
pub(crate) enum Opened<S: ?Sized> {
    /// Open, and in memory.
    Here(Arc<S>),
    /// Of this handle; the call opens it.
    Away(Jarvis, Begin),
}

impl<S: ?Sized + Send + Sync + 'static> Opened<S> {
    /// Runs `work` with the store, which `open` opens if necessary.
    pub(crate) fn call<T, O, F, C>(
        self,
        (py, face, size): (Python<'_>, Face, Size),
        open: impl FnOnce(Jarvis) -> O + Send + 'static,
        work: impl FnOnce(Arc<S>) -> F + Send + 'static,
        convert: C,
    ) -> PyResult<Py<PyAny>>
    where
        T: Send + 'static,
        O: Future<Output = Result<Arc<S>>> + Send,
        F: Future<Output = Result<T>> + Send,
        C: FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    {
        match self {
            Self::Here(store) if size == Size::One => Face::call_here(py, work(store), convert),
            Self::Here(store) => {
                let work = async move { work(store).await };
                face.call(py, Begin::Here.of(size), work, convert)
            }
            Self::Away(jarvis, begin) => {
                let work = async move { work(open(jarvis).await?).await };
                face.call(py, begin.of(size), work, convert)
            }
        }
    }
}

type Boxed<T> = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

impl Face {
    /// Asks for an answer that needs no waiting. Nothing is allocated for the call.
    pub(crate) fn now<T>(
        py: Python<'_>,
        ask: impl FnOnce() -> Option<Result<T>>,
        convert: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>>,
    ) -> Option<PyResult<Py<PyAny>>> {
        let _inside = Inside::enter(py);
        let answer = match catch_unwind(AssertUnwindSafe(ask)) {
            Ok(answer) => answer?,
            Err(panic) => Err(error::panicked(&*panic)),
        };
        Some(answer.map_err(error::raise).and_then(|answer| convert(py, answer)))
    }

    /// Polls a future in place that completes on its first poll, as everything in memory does.
    /// Nothing is allocated for it.
    pub(crate) fn call_here<T: Send>(
        py: Python<'_>,
        future: impl Future<Output = Result<T>> + Send,
        convert: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let _inside = Inside::enter(py);
        let mut future = pin!(guarded(future));
        let answer = match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => answer,
            Poll::Pending => wait(py, runtime::get(py)?, future)?,
        };
        convert(py, answer.map_err(error::raise)?)
    }

    /// Calls the core and converts its answer.
    pub(crate) fn call<T, F, C>(
        self,
        py: Python<'_>,
        begin: Begin,
        future: F,
        convert: C,
    ) -> PyResult<Py<PyAny>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
        C: FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    {
        let _inside = Inside::enter(py);
        let mut future: Boxed<T> = Box::pin(guarded(future));
        if begin != Begin::Away {
            let runtime =
                (begin == Begin::HereWithRuntime).then(|| runtime::get(py)).transpose()?;
            let _entered = runtime.map(|runtime| runtime.enter());
            let polled = match begin {
                Begin::HereReleased => interpreter::detached(py, || poll_once(&mut future)),
                _ => poll_once(&mut future),
            };
            if let Poll::Ready(answer) = polled {
                return convert(py, answer.map_err(error::raise)?);
            }
        }
        match self {
            Self::Awaitable => later(py, future, convert),
            Self::Blocking => {
                let answer = wait(py, runtime::get(py)?, future.as_mut())?;
                convert(py, answer.map_err(error::raise)?)
            }
        }
    }
}

fn poll_once<T>(future: &mut Boxed<T>) -> Poll<Result<T>> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// A panic becomes an error of this call.
async fn guarded<T>(future: impl Future<Output = Result<T>> + Send) -> Result<T> {
    match AssertUnwindSafe(future).catch_unwind().await {
        Ok(answer) => answer,
        Err(panic) => Err(error::panicked(&*panic)),
    }
}

/// A future of the running loop, settled when the core is done.
fn later<T, C>(py: Python<'_>, future: Boxed<T>, convert: C) -> PyResult<Py<PyAny>>
where
    T: Send + 'static,
    C: FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
{
    let (bridge, event_loop) = Bridge::running(py)?;
    let awaited = event_loop.call_method0(intern!(py, "create_future"))?;
    let settled = awaited.clone().unbind();
    let task = runtime::get(py)?.spawn(async move {
        let answer = future.await;
        let finish: Finish = Box::new(move |py| convert(py, answer.map_err(error::raise)?));
        bridge.send(Message::Done(settled, finish));
    });
    let abort = Abort { task: task.abort_handle() };
    awaited.call_method1(intern!(py, "add_done_callback"), (abort,))?;
    Ok(awaited.unbind())
}

/// Aborts the call when its future was cancelled.
#[pyclass(frozen, module = "jarvis._core")]
struct Abort {
    task: tokio::task::AbortHandle,
}

#[pymethods]
impl Abort {
    fn __call__(&self, future: &Bound<'_, PyAny>) -> PyResult<()> {
        let _inside = Inside::enter(future.py());
        if future.call_method0(intern!(future.py(), "cancelled"))?.is_truthy()? {
            self.task.abort();
        }
        Ok(())
    }
}

/// Wakes a thread that is in [`wait`].
struct Unpark {
    thread: std::thread::Thread,
    woken: AtomicBool,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Waits on the calling thread without the interpreter's lock, and checks for signals. Calls may be
/// nested: a function that the core calls may call the core.
pub(crate) fn wait<T: Send>(
    py: Python<'_>,
    runtime: &'static Runtime,
    mut future: Pin<&mut (impl Future<Output = Result<T>> + Send + ?Sized)>,
) -> PyResult<Result<T>> {
    let unpark = Arc::new(Unpark { thread: std::thread::current(), woken: AtomicBool::new(true) });
    let waker = Waker::from(Arc::clone(&unpark));
    loop {
        let answer = interpreter::detached(py, || {
            let _entered = runtime.enter();
            loop {
                if unpark.woken.swap(false, Ordering::AcqRel) {
                    let mut context = Context::from_waker(&waker);
                    if let Poll::Ready(answer) = future.as_mut().poll(&mut context) {
                        return Some(answer);
                    }
                } else {
                    std::thread::park_timeout(CHECK_SIGNALS_EVERY);
                    if !unpark.woken.load(Ordering::Acquire) {
                        return None;
                    }
                }
            }
        });
        match answer {
            Some(answer) => return Ok(answer),
            None => py.check_signals()?,
        }
    }
}
