//! Python functions that the core calls: [`Callback`].
//!
//! A thread of the runtime never runs Python and never waits for the interpreter's lock. A function
//! that was given to the awaitable face is called on its event loop. One that was given to the
//! blocking face is called on the waiting thread, or on Python threads of our own when none waits.
//! Those are daemons whose frames are all Python's, so that the interpreter may end at any time.

mod executor;
mod function;
mod threads;

use std::sync::Arc;
use std::time::Duration;

use jarvis_core::clock::{Clock, ClockExt, SystemClock};
use jarvis_core::sync::Mutex;
use jarvis_core::{Error, ErrorKind, Result};
use pyo3::intern;
use pyo3::prelude::*;
use tokio::runtime::Handle;

use crate::bridge::Message;
use crate::call::Face;
use crate::interpreter;

pub(crate) use executor::LastUse;
pub(crate) use function::{Arguments, no_arguments};

use executor::Executor;
use function::{Function, Receiver};
use threads::Call;

/// A Python function and where it is called.
pub(crate) struct Callback {
    function: Arc<Function>,
    executor: Executor,
}

/// Whether this is a thread of the runtime.
fn on_the_runtime() -> bool {
    tokio::task::try_id().is_some()
}

impl Callback {
    /// A function that is called for the current caller and sees its context variables.
    pub(crate) fn of_caller(
        py: Python<'_>,
        function: Py<PyAny>,
        face: Face,
    ) -> PyResult<Arc<Self>> {
        let executor = Executor::of_caller(py, face)?;
        let function = Arc::new(Function::of_caller(py, function)?);
        Ok(Arc::new(Self { function, executor }))
    }

    /// A method that is called at any time, for no caller.
    pub(crate) fn of_method(
        method: &Bound<'_, PyAny>,
        last_use: &Arc<LastUse>,
    ) -> PyResult<Arc<Self>> {
        let executor = Executor::of_method(method, last_use)?;
        let function = Arc::new(Function::of_nobody(method.clone().unbind()));
        Ok(Arc::new(Self { function, executor }))
    }

    /// Calls it and waits for the answer, also for what it awaits. An exception becomes the error
    /// and is raised again unchanged.
    pub(crate) async fn call<T: Send + 'static>(
        self: Arc<Self>,
        arguments: Arguments,
        convert: impl FnOnce(Bound<'_, PyAny>) -> PyResult<T> + Send + 'static,
    ) -> Result<T> {
        let (receiver, answered) = function::channel(convert);
        let task = SharedTask::default();
        let executor = self.executor.resolved();
        let _cancel = Cancel { executor: executor.clone(), task: Arc::clone(&task) };
        if on_the_runtime() || matches!(executor, Executor::Threads { here: false, .. }) {
            self.send(executor.clone(), arguments, receiver, Arc::clone(&task));
        } else {
            interpreter::attached(|py| {
                self.begin(py, &executor, None, arguments, receiver, &task);
            });
        }
        let answer = match &executor {
            Executor::Loop(bridge) => tokio::select! {
                biased;
                answer = answered => answer.ok(),
                () = bridge.closed() => None,
            },
            Executor::Threads { .. } | Executor::Method { .. } => answered.await.ok(),
        };
        task.lock().task = None;
        answer.ok_or_else(not_completed)?
    }

    /// Calls it and blocks. On a thread of the runtime it gives up after `within`, since a closed
    /// loop never answers. An awaitable is only awaited on a callback thread's own loop.
    pub(crate) fn call_now<T: Send + 'static>(
        self: &Arc<Self>,
        within: Duration,
        arguments: Arguments,
        convert: impl FnOnce(Bound<'_, PyAny>) -> PyResult<T> + Send + 'static,
    ) -> Result<T> {
        let (receiver, mut answered) = function::channel(convert);
        let executor = self.executor.resolved();
        if !on_the_runtime() {
            interpreter::attached(|py| {
                self.begin(py, &executor, None, arguments, receiver, &SharedTask::default());
            });
            return answered.try_recv().map_err(|_| not_completed())?;
        }
        Arc::clone(self).send(executor, arguments, receiver, SharedTask::default());
        let clock = SystemClock::new();
        let answered = clock.until(clock.monotonic() + within, answered);
        let answered = tokio::task::block_in_place(|| Handle::current().block_on(answered));
        answered.and_then(std::result::Result::ok).ok_or_else(not_completed)?
    }

    fn send(
        self: Arc<Self>,
        executor: Executor,
        arguments: Arguments,
        receiver: Box<dyn Receiver>,
        task: SharedTask,
    ) {
        match &executor {
            Executor::Loop(bridge) => {
                let bridge = Arc::clone(bridge);
                bridge.send(Message::Run(Box::new(move |py| match self.function.context(py) {
                    Ok(context) => {
                        let context = context.as_ref();
                        self.begin(py, &executor, context, arguments, receiver, &task);
                    }
                    Err(error) => receiver.receive(py, Err(error)),
                })));
            }
            Executor::Threads { threads, .. } => {
                threads.submit(Call { function: Arc::clone(&self.function), arguments, receiver });
            }
            // The handle was not used so far, so nobody waits for this answer.
            Executor::Method { .. } => drop(receiver),
        }
    }

    /// Runs on the thread that calls it, in `context` or in the current one.
    fn begin(
        &self,
        py: Python<'_>,
        executor: &Executor,
        context: Option<&Bound<'_, PyAny>>,
        arguments: Arguments,
        receiver: Box<dyn Receiver>,
        task: &SharedTask,
    ) {
        if !receiver.is_waiting() {
            return;
        }
        let function = self.function.function.bind(py);
        let called = arguments(py)
            .and_then(|arguments| function::call_in(context, function, arguments.into_bound(py)));
        let called = called.and_then(|value| Ok((function::is_awaitable(&value)?, value)));
        let (value, awaitable) = match called {
            Ok((awaitable, value)) => (value, awaitable),
            Err(error) => return receiver.receive(py, Err(error)),
        };
        if !awaitable {
            return receiver.receive(py, Ok(value));
        }
        match executor {
            Executor::Loop(_) => {
                let followed = function::follow(&value, context, receiver);
                if let Err(error) = followed.and_then(|followed| keep(task, &followed)) {
                    error.write_unraisable(py, Some(&value));
                }
            }
            Executor::Threads { .. } | Executor::Method { .. } => {
                receiver.receive(py, function::run_to_completion(&value));
            }
        }
    }
}

fn not_completed() -> Error {
    Error::new(
        ErrorKind::Cancelled,
        "the Python function did not complete: its event loop was closed or does not run, or the call failed (see the log)",
    )
}

/// The task that awaits a call on a loop.
#[derive(Default)]
struct Awaiting {
    task: Option<Py<PyAny>>,
    /// Nobody waits for it any more.
    abandoned: bool,
}

type SharedTask = Arc<Mutex<Awaiting>>;

/// Keeps the task so that it can be cancelled, or cancels it when nobody waits any more.
fn keep(shared: &SharedTask, task: &Bound<'_, PyAny>) -> PyResult<()> {
    let abandoned = {
        let mut awaiting = shared.lock();
        awaiting.task = (!awaiting.abandoned).then(|| task.clone().unbind());
        awaiting.abandoned
    };
    if abandoned {
        task.call_method0(intern!(task.py(), "cancel"))?;
    }
    Ok(())
}

/// Cancels the task when nobody waits for it any more.
struct Cancel {
    executor: Executor,
    task: SharedTask,
}

impl Drop for Cancel {
    fn drop(&mut self) {
        let task = {
            let mut awaiting = self.task.lock();
            awaiting.abandoned = true;
            awaiting.task.take()
        };
        let (Executor::Loop(bridge), Some(task)) = (&self.executor, task) else { return };
        bridge.send(Message::Run(Box::new(move |py| {
            if let Err(error) = task.call_method0(py, intern!(py, "cancel")) {
                error.write_unraisable(py, None);
            }
        })));
    }
}
