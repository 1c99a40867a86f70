//! From the runtime's threads to an event loop: [`Bridge`].
//!
//! A thread of the runtime never waits for the interpreter's lock. What it has to tell goes into a
//! queue, and the first to find the queue empty wakes the loop through an eventfd, which the loop
//! watches as it watches its sockets. The loop then takes all that came meanwhile: one wake-up for
//! a batch of answers.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Weak};

use jarvis_core::sync::Mutex;

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyWeakrefReference;
use rustix::event::{EventfdFlags, eventfd};
use tokio_util::sync::CancellationToken;

use crate::runtime::{self, Inside};

/// Makes the answer, on the loop's thread.
pub(crate) type Finish = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// What a loop is told.
pub(crate) enum Message {
    /// A call is done: settle this future of the loop.
    Done(Py<PyAny>, Finish),
    /// Do this on the loop's thread.
    Run(Box<dyn FnOnce(Python<'_>) + Send>),
}

/// The way to one event loop. Lives as long as the loop, or a call that is under way.
pub(crate) struct Bridge {
    generation: u64,
    event_loop: Py<PyWeakrefReference>,
    wake: OwnedFd,
    waiting: Mutex<Vec<Message>>,
    /// Told when the loop was closed: it turns no more.
    closed: CancellationToken,
}

impl Bridge {
    /// The bridge to this thread's running loop, which is given too.
    pub(crate) fn running<'py>(py: Python<'py>) -> PyResult<(Arc<Self>, Bound<'py, PyAny>)> {
        static RUNNING: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let running = RUNNING.import(py, "asyncio", "get_running_loop")?;
        let event_loop = running.call0()?;
        Ok((Self::to(py, &event_loop)?, event_loop))
    }

    /// The bridge to this loop, which is built at the first call.
    fn to(py: Python<'_>, event_loop: &Bound<'_, PyAny>) -> PyResult<Arc<Self>> {
        static BRIDGES: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        thread_local! {
            static LAST: std::cell::RefCell<Weak<Bridge>> = const { std::cell::RefCell::new(Weak::new()) };
        }
        if let Some(last) = LAST.with_borrow(Weak::upgrade).filter(|last| last.leads_to(event_loop))
        {
            return Ok(last);
        }
        let bridges = BRIDGES
            .get_or_try_init(py, || {
                let kind = py.import("weakref")?.getattr("WeakKeyDictionary")?;
                kind.call0().map(Bound::unbind)
            })?
            .bind(py);
        let known = bridges.call_method1(intern!(py, "get"), (event_loop,))?;
        let known = known.cast::<Known>().ok().map(|known| Arc::clone(&known.get().0));
        let bridge = match known.filter(|bridge| bridge.leads_to(event_loop)) {
            Some(bridge) => bridge,
            None => {
                let bridge = Self::build(event_loop)?;
                bridges.set_item(event_loop, Known(Arc::clone(&bridge)))?;
                bridge
            }
        };
        LAST.replace(Arc::downgrade(&bridge));
        Ok(bridge)
    }

    fn build(event_loop: &Bound<'_, PyAny>) -> PyResult<Arc<Self>> {
        let py = event_loop.py();
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
            .map_err(|error| crate::error::raise(std::io::Error::from(error).into()))?;
        let bridge = Arc::new(Self {
            generation: runtime::generation(),
            event_loop: PyWeakrefReference::new(event_loop)?.unbind(),
            wake,
            waiting: Mutex::default(),
            closed: CancellationToken::new(),
        });
        // What the loop calls is called in the context that it was added in: not in that of the
        // request that happens to be the first.
        static CONTEXT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let nothing = CONTEXT.import(py, "contextvars", "Context")?.call0()?;
        let add = event_loop.getattr(intern!(py, "add_reader"))?;
        let drain = Drain(Arc::clone(&bridge));
        nothing.call_method1(intern!(py, "run"), (add, bridge.wake.as_raw_fd(), drain))?;
        Ok(bridge)
    }

    fn leads_to(&self, event_loop: &Bound<'_, PyAny>) -> bool {
        let known = self.event_loop.bind(event_loop.py()).upgrade();
        self.generation == runtime::generation() && known.is_some_and(|known| known.is(event_loop))
    }

    /// Tells the loop. From any thread; waits for nothing. A loop that is closed hears nothing, and
    /// what it was told is dropped.
    pub(crate) fn tell(&self, message: Message) {
        let mut waiting = self.waiting.lock();
        if self.is_closed() {
            drop(waiting);
            return drop(message);
        }
        let first = waiting.is_empty();
        waiting.push(message);
        drop(waiting);
        if first {
            // It only fails when it is full of wake-ups.
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Complete when the loop is closed.
    pub(crate) fn closed(&self) -> impl Future<Output = ()> {
        self.closed.clone().cancelled_owned()
    }

    /// The loop is closed: what waits for it is dropped, so that nobody waits for the answer. In the
    /// child of a fork nobody does: who waited did not come along.
    fn close(&self) {
        if self.generation != runtime::generation() {
            return;
        }
        let waiting = {
            let mut waiting = self.waiting.lock();
            self.closed.cancel();
            std::mem::take(&mut *waiting)
        };
        drop(waiting);
    }

    fn take(&self) -> Vec<Message> {
        // Before the queue, so that what comes in between wakes the loop once more.
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        std::mem::take(&mut *self.waiting.lock())
    }
}

/// The bridge to a loop, where bridges are looked up.
#[pyclass(frozen, module = "jarvis._core")]
struct Known(Arc<Bridge>);

/// What the loop calls when it is woken. The loop alone has it, and drops it when it is closed.
#[pyclass(frozen, module = "jarvis._core")]
struct Drain(Arc<Bridge>);

impl Drop for Drain {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[pymethods]
impl Drain {
    fn __call__(&self, py: Python<'_>) {
        let _inside = Inside::enter(py);
        for message in self.0.take() {
            match message {
                Message::Run(work) => work(py),
                Message::Done(future, finish) => {
                    if let Err(error) = settle(future.bind(py), finish) {
                        error.write_unraisable(py, Some(future.bind(py)));
                    }
                }
            }
        }
    }
}

fn settle(future: &Bound<'_, PyAny>, finish: Finish) -> PyResult<()> {
    let py = future.py();
    // Cancelled meanwhile.
    if future.call_method0(intern!(py, "done"))?.is_truthy()? {
        return Ok(());
    }
    match finish(py) {
        Ok(value) => future.call_method1(intern!(py, "set_result"), (value,))?,
        Err(error) => fail(future, error)?,
    };
    Ok(())
}

/// A future takes every exception but `StopIteration`, which is told as Python tells one that leaves
/// a coroutine.
fn fail<'py>(future: &Bound<'py, PyAny>, error: PyErr) -> PyResult<Bound<'py, PyAny>> {
    let (py, set) = (future.py(), intern!(future.py(), "set_exception"));
    let raised = error.clone_ref(py).into_value(py);
    future.call_method1(set, (raised,)).or_else(|_| {
        let told = PyRuntimeError::new_err("a function raised StopIteration");
        told.set_cause(py, Some(error));
        future.call_method1(set, (told.into_value(py),))
    })
}
