//! Python threads for functions that no waiting Python thread can call.

use std::collections::VecDeque;
use std::sync::Arc;

use jarvis_core::sync::{Condvar, Mutex, MutexGuard};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::function::{Arguments, Function, Receiver, Reply};
use crate::interpreter::{self, Inside, generation};

/// How many threads call functions at most.
const MAX_THREADS: usize = 16;

static CURRENT: Mutex<Option<&'static Threads>> = Mutex::new(None);

/// One call that waits for a thread.
pub(super) struct Call {
    pub(super) function: Arc<Function>,
    pub(super) arguments: Arguments,
    pub(super) receiver: Box<dyn Receiver>,
}

#[derive(Default)]
struct Queue {
    calls: VecDeque<Call>,
    threads: usize,
    idle: usize,
}

/// The threads of one generation. They start when they are needed, and stay.
#[derive(Default)]
pub(super) struct Threads {
    generation: u64,
    queue: Mutex<Queue>,
    arrived: Condvar,
}

impl Threads {
    /// The threads of this generation, with at least one that is idle or about to be. Only a Python
    /// thread can start another one. The lock is held as that of [`runtime`](crate::runtime::get).
    pub(super) fn ready(py: Python<'_>) -> PyResult<&'static Self> {
        let threads = Self::current();
        threads.grow(py)?;
        Ok(threads)
    }

    fn current() -> &'static Self {
        let mut current = CURRENT.lock();
        let generation = generation();
        if let Some(threads) = current.filter(|threads| threads.generation == generation) {
            return threads;
        }
        let threads: &'static Self = Box::leak(Box::new(Self { generation, ..Self::default() }));
        *current = Some(threads);
        threads
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }

    pub(super) fn submit(&self, call: Call) {
        self.queue().calls.push_back(call);
        self.arrived.notify_one();
    }

    fn next(&self) -> Call {
        let mut queue = self.queue();
        queue.idle += 1;
        loop {
            if let Some(call) = queue.calls.pop_front() {
                queue.idle -= 1;
                return call;
            }
            queue = self.arrived.wait(queue);
        }
    }

    /// Whether another thread should be started. Counts it already.
    fn wants_another(&self) -> bool {
        let mut queue = self.queue();
        let wanted = queue.idle == 0 && queue.threads < MAX_THREADS;
        queue.threads += usize::from(wanted);
        wanted
    }

    fn grow(&'static self, py: Python<'_>) -> PyResult<()> {
        // Python code runs in here, and waits.
        let _inside = Inside::enter(py);
        if self.wants_another() {
            let start = py.import(intern!(py, "jarvis._threads"))?.getattr(intern!(py, "start"))?;
            start.call1((Take(self),))?;
        }
        Ok(())
    }
}

/// Gives a thread its next call: the function, its arguments, the context to call it in if there is
/// one, and the [`Reply`].
#[pyclass(frozen, module = "jarvis._core")]
struct Take(&'static Threads);

#[pymethods]
impl Take {
    fn __call__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let _inside = Inside::enter(py);
        loop {
            let call = interpreter::detached(py, || self.0.next());
            self.0.grow(py)?;
            if !call.receiver.is_waiting() {
                continue;
            }
            let context = call.function.context(py);
            match (call.arguments)(py).and_then(|arguments| Ok((arguments, context?))) {
                Ok((arguments, context)) => {
                    let function = call.function.function.bind(py);
                    let reply = Reply::new(call.receiver);
                    return (function, arguments, context, reply).into_pyobject(py);
                }
                Err(error) => call.receiver.receive(py, Err(error)),
            }
        }
    }
}
