//! A Python function, its arguments, and the receiver of its answer.

use jarvis_core::Result;
use jarvis_core::sync::Mutex;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;
use tokio::sync::oneshot;

use crate::error::Raised;
use crate::interpreter::Inside;

/// Creates the arguments, with the interpreter's lock.
pub(crate) type Arguments = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyTuple>> + Send>;

/// No arguments.
pub(crate) fn no_arguments() -> Arguments {
    Box::new(|py| Ok(PyTuple::empty(py).unbind()))
}

/// What a function returned or raised.
pub(super) type Answer<'py> = PyResult<Bound<'py, PyAny>>;

/// A function and the context variables that it sees.
pub(super) struct Function {
    pub(super) function: Py<PyAny>,
    /// The caller's context variables; absent for a method that is called for no caller.
    context: Option<Py<PyAny>>,
}

impl Function {
    /// A function that sees the context variables of the current caller.
    pub(super) fn of_caller(py: Python<'_>, function: Py<PyAny>) -> PyResult<Self> {
        static COPY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let context = COPY.import(py, "contextvars", "copy_context")?.call0()?;
        Ok(Self { function, context: Some(context.unbind()) })
    }

    /// A function that sees no caller's context variables.
    pub(super) fn of_nobody(function: Py<PyAny>) -> Self {
        Self { function, context: None }
    }

    /// The context for a call that runs later or on another thread. Each call gets a copy: a
    /// context can't be entered twice at a time, and one call must not see what another one set.
    pub(super) fn context<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let copy = |context: &Py<PyAny>| context.bind(py).call_method0(intern!(py, "copy"));
        self.context.as_ref().map(copy).transpose()
    }
}

/// Whether calling it gives something to await.
pub(super) fn is_coroutine_function(function: &Bound<'_, PyAny>) -> PyResult<bool> {
    static IS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let is = IS.import(function.py(), "inspect", "iscoroutinefunction")?;
    is.call1((function,))?.is_truthy()
}

pub(super) fn is_awaitable(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    static IS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = value.py();
    IS.import(py, "inspect", "isawaitable")?.call1((value,))?.is_truthy()
}

/// Calls the function in `context`, or in the current one.
pub(super) fn call_in<'py>(
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

/// Awaits as a task of the running loop, which is returned.
pub(super) fn follow<'py>(
    awaitable: &Bound<'py, PyAny>,
    context: Option<&Bound<'py, PyAny>>,
    receiver: Box<dyn Receiver>,
) -> Answer<'py> {
    static ENSURE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = awaitable.py();
    let ensure = ENSURE.import(py, "asyncio", "ensure_future")?;
    let task = call_in(context, ensure, PyTuple::new(py, [awaitable])?)?;
    task.call_method1(intern!(py, "add_done_callback"), (Reply::new(receiver),))?;
    Ok(task)
}

/// Awaits in a new loop on this thread.
pub(super) fn run_to_completion<'py>(awaitable: &Bound<'py, PyAny>) -> Answer<'py> {
    static RUN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let run = RUN.import(awaitable.py(), "jarvis._threads", "run")?;
    run.call1((awaitable,))
}

/// Receives the answer of one call.
pub(super) trait Receiver: Send {
    /// Whether anyone still waits for the answer.
    fn is_waiting(&self) -> bool;

    /// Converts the answer, with the interpreter's lock, and hands it over.
    fn receive(self: Box<Self>, py: Python<'_>, answer: Answer<'_>);
}

struct Converted<T, C> {
    sender: oneshot::Sender<Result<T>>,
    convert: C,
}

/// A receiver that converts the answer, and the channel that gets it.
pub(super) fn channel<T: Send + 'static>(
    convert: impl FnOnce(Bound<'_, PyAny>) -> PyResult<T> + Send + 'static,
) -> (Box<dyn Receiver>, oneshot::Receiver<Result<T>>) {
    let (sender, answered) = oneshot::channel();
    (Box::new(Converted { sender, convert }), answered)
}

impl<T, C> Receiver for Converted<T, C>
where
    T: Send,
    C: FnOnce(Bound<'_, PyAny>) -> PyResult<T> + Send,
{
    fn is_waiting(&self) -> bool {
        !self.sender.is_closed()
    }

    fn receive(self: Box<Self>, py: Python<'_>, answer: Answer<'_>) {
        let Self { sender, convert } = *self;
        // It fails when nobody waits any more; nothing is lost then.
        let _ = sender.send(answer.and_then(convert).map_err(|raised| Raised::error(py, raised)));
    }
}

/// Passes an answer on: of a thread as a value or an exception, of a finished task as the task.
#[pyclass(frozen, module = "jarvis._core")]
pub(super) struct Reply(Mutex<Option<Box<dyn Receiver>>>);

impl Reply {
    pub(super) fn new(receiver: Box<dyn Receiver>) -> Self {
        Self(Mutex::new(Some(receiver)))
    }

    fn pass_on(&self, py: Python<'_>, answer: Answer<'_>) {
        let receiver = self.0.lock().take();
        if let Some(receiver) = receiver {
            receiver.receive(py, answer);
        }
    }
}

#[pymethods]
impl Reply {
    #[pyo3(signature = (value, error=None))]
    fn answer(&self, value: Bound<'_, PyAny>, error: Option<Bound<'_, PyAny>>) {
        let _inside = Inside::enter(value.py());
        self.pass_on(value.py(), error.map_or(Ok(value), |error| Err(PyErr::from_value(error))));
    }

    fn __call__(&self, task: &Bound<'_, PyAny>) {
        let _inside = Inside::enter(task.py());
        self.pass_on(task.py(), task.call_method0(intern!(task.py(), "result")));
    }
}
