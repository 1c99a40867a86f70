//! From the runtime's threads to an event loop: [`Bridge`].
//!
//! A thread of the runtime never waits for the interpreter's lock. Its messages go into a queue.
//! The first message in an empty queue wakes the loop through an eventfd, which the loop watches
//! like a socket. The loop then takes everything that has arrived: one wake-up for a batch.

use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use jarvis_core::sync::{Mutex, MutexGuard};
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyWeakrefReference;
use rustix::event::{EventfdFlags, eventfd};
use tokio_util::sync::CancellationToken;

use crate::error;
use crate::interpreter::{Inside, generation};

/// Creates the answer, on the loop's thread.
pub(crate) type Finish = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// A message to a loop.
pub(crate) enum Message {
    /// A call is done: settle this future of the loop.
    Done(Py<PyAny>, Finish),
    /// Run this on the loop's thread.
    Run(Box<dyn FnOnce(Python<'_>) + Send>),
}

/// The way to one event loop. Lives as long as the loop, or as a call that is under way.
pub(crate) struct Bridge {
    generation: u64,
    event_loop: Py<PyWeakrefReference>,
    wake: OwnedFd,
    queue: Mutex<Vec<Message>>,
    /// Cancelled when the loop was closed.
    closed: CancellationToken,
}

impl Bridge {
    /// The bridge to this thread's running loop, and that loop.
    pub(crate) fn running<'py>(py: Python<'py>) -> PyResult<(Arc<Self>, Bound<'py, PyAny>)> {
        static RUNNING: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let running = RUNNING.import(py, "asyncio", "get_running_loop")?;
        let event_loop = running.call0()?;
        Ok((Self::to(py, &event_loop)?, event_loop))
    }

    /// The bridge to this loop, built at the first call.
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
            .map_err(|error| error::raise(std::io::Error::from(error).into()))?;
        let bridge = Arc::new(Self {
            generation: generation(),
            event_loop: PyWeakrefReference::new(event_loop)?.unbind(),
            wake,
            queue: Mutex::default(),
            closed: CancellationToken::new(),
        });
        // A loop calls a reader in the context in which it was added. That must not be the context
        // of the request that happens to be the first.
        static CONTEXT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let empty = CONTEXT.import(py, "contextvars", "Context")?.call0()?;
        let add = event_loop.getattr(intern!(py, "add_reader"))?;
        let drain = Drain(Arc::clone(&bridge));
        empty.call_method1(intern!(py, "run"), (add, bridge.wake.as_raw_fd(), drain))?;
        Ok(bridge)
    }

    fn leads_to(&self, event_loop: &Bound<'_, PyAny>) -> bool {
        let known = self.event_loop.bind(event_loop.py()).upgrade();
        self.generation == generation() && known.is_some_and(|known| known.is(event_loop))
    }

    fn queue(&self) -> MutexGuard<'_, Vec<Message>> {
        self.queue.lock()
    }

    /// Sends a message to the loop. Called from any thread, and never waits. A message to a closed
    /// loop is dropped.
    pub(crate) fn send(&self, message: Message) {
        let mut queue = self.queue();
        if self.is_closed() {
            drop(queue);
            return drop(message);
        }
        let first = queue.is_empty();
        queue.push(message);
        drop(queue);
        if first {
            // It only fails when the counter is full, and then the loop wakes up anyway.
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Completes when the loop is closed.
    pub(crate) fn closed(&self) -> impl Future<Output = ()> {
        self.closed.clone().cancelled_owned()
    }

    /// The loop is closed: drops the queued messages, so that nobody waits for their answers. In
    /// the child of a fork there is nobody who waits.
    fn close(&self) {
        if self.generation != generation() {
            return;
        }
        let queued = {
            let mut queue = self.queue();
            self.closed.cancel();
            std::mem::take(&mut *queue)
        };
        drop(queued);
    }

    fn take(&self) -> Vec<Message> {
        // Before the queue is taken, so that a message in between wakes the loop once more.
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        std::mem::take(&mut *self.queue())
    }
}

/// The bridge to a loop, as the dictionary of bridges holds it.
#[pyclass(frozen, module = "jarvis._core")]
struct Known(Arc<Bridge>);

/// What the loop calls when it is woken. Only the loop holds it, and drops it when it is closed.
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
                Message::Run(work) => {
                    // A panic must not take the other messages with it.
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(py))) {
                        error::raise(error::panicked(&*panic)).write_unraisable(py, None);
                    }
                }
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
    // It may have been cancelled meanwhile.
    if future.call_method0(intern!(py, "done"))?.is_truthy()? {
        return Ok(());
    }
    let finished = catch_unwind(AssertUnwindSafe(|| finish(py)))
        .unwrap_or_else(|panic| Err(error::raise(error::panicked(&*panic))));
    match finished {
        Ok(value) => future.call_method1(intern!(py, "set_result"), (value,))?,
        Err(error) => fail(future, error)?,
    };
    Ok(())
}

/// A future takes every exception except `StopIteration`, which becomes a `RuntimeError`, as Python
/// does with one that leaves a coroutine.
fn fail<'py>(future: &Bound<'py, PyAny>, error: PyErr) -> PyResult<Bound<'py, PyAny>> {
    let (py, set) = (future.py(), intern!(future.py(), "set_exception"));
    let raised = error.clone_ref(py).into_value(py);
    future.call_method1(set, (raised,)).or_else(|_| {
        let replaced = PyRuntimeError::new_err("a function raised StopIteration");
        replaced.set_cause(py, Some(error));
        future.call_method1(set, (replaced.into_value(py),))
    })
}
