//! Threads of Python's own, for functions that nobody waits for on a thread of his.

use std::collections::VecDeque;
use std::sync::Arc;

use jarvis_core::sync::{Condvar, Mutex, MutexGuard};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::{Answer, Arguments, Asker, Callback};
use crate::runtime::{self, Inside, Runtime};

/// So many may be inside of a call at once.
const MOST: usize = 16;

/// One call that waits for a thread.
pub(super) struct Call {
    pub(super) callback: Arc<Callback>,
    pub(super) arguments: Arguments,
    pub(super) asker: Box<dyn Asker>,
}

#[derive(Default)]
struct Queue {
    calls: VecDeque<Call>,
    threads: usize,
    idle: usize,
}

/// The threads of one runtime. They are started as they are needed, and stay.
#[derive(Default)]
pub(crate) struct Threads {
    queue: Mutex<Queue>,
    arrived: Condvar,
}

impl Threads {
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

    /// May, and should, another thread be started?
    fn wants_another(&self) -> bool {
        let mut queue = self.queue();
        let wanted = queue.idle == 0 && queue.threads < MOST;
        queue.threads += usize::from(wanted);
        wanted
    }
}

/// Sees to it that a thread is there. Only a thread of Python's can start one.
pub(crate) fn ready(py: Python<'_>, runtime: &'static Runtime) -> PyResult<()> {
    // Python code runs in here, and waits.
    let _inside = Inside::enter(py);
    if runtime.threads.wants_another() {
        let start = py.import(intern!(py, "jarvis._threads"))?.getattr(intern!(py, "start"))?;
        start.call1((Take { runtime },))?;
    }
    Ok(())
}

/// What a thread asks for its next call: the function, its arguments, the context to call it in if
/// there is one, and whom to tell.
#[pyclass(frozen, module = "jarvis._core")]
struct Take {
    runtime: &'static Runtime,
}

#[pymethods]
impl Take {
    fn __call__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let _inside = Inside::enter(py);
        loop {
            let call = runtime::detached(py, || self.runtime.threads.next());
            ready(py, self.runtime)?;
            // Else nobody waits any more.
            if !call.asker.waits() {
                continue;
            }
            let context = call.callback.context(py);
            match (call.arguments)(py).and_then(|arguments| Ok((arguments, context?))) {
                Ok((arguments, context)) => {
                    let function = call.callback.function.bind(py);
                    return (function, arguments, context, Told::new(call.asker)).into_pyobject(py);
                }
                Err(error) => call.asker.tell(py, Err(error)),
            }
        }
    }
}

/// Takes what a function answered: from a thread as a value and an exception, from a task that is
/// done as the task.
#[pyclass(frozen, module = "jarvis._core")]
pub(super) struct Told(Mutex<Option<Box<dyn Asker>>>);

impl Told {
    pub(super) fn new(asker: Box<dyn Asker>) -> Self {
        Self(Mutex::new(Some(asker)))
    }

    fn tell(&self, py: Python<'_>, answer: Answer<'_>) {
        let asker = self.0.lock().take();
        if let Some(asker) = asker {
            asker.tell(py, answer);
        }
    }
}

#[pymethods]
impl Told {
    #[pyo3(signature = (value, error=None))]
    fn answer(&self, value: Bound<'_, PyAny>, error: Option<Bound<'_, PyAny>>) {
        let _inside = Inside::enter(value.py());
        self.tell(value.py(), error.map_or(Ok(value), |error| Err(PyErr::from_value(error))));
    }

    fn __call__(&self, task: &Bound<'_, PyAny>) {
        let _inside = Inside::enter(task.py());
        self.tell(task.py(), task.call_method0(intern!(task.py(), "result")));
    }
}
