//! The supervision loop of a handle.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use jarvis_core::restart::Leaving;
use jarvis_core::sync::{Mutex, MutexGuard};
use jarvis_core::{Error, ErrorKind, Jarvis as Core, Result};
use pyo3::prelude::*;
use tokio::sync::{oneshot, watch};

use crate::error;
use crate::interpreter::generation;
use crate::runtime;

/// How the loop ended; absent while it runs.
type Ended = Option<Result<()>>;

struct Running {
    generation: u64,
    stop: Option<oneshot::Sender<Leaving>>,
    ended: watch::Receiver<Ended>,
}

/// The loop of a handle, which runs at most once in a process.
#[derive(Default)]
pub(crate) struct Supervision(Mutex<Option<Running>>);

impl Supervision {
    /// The loop of this process. One that a parent ran does not exist in the child of a fork.
    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        let mut running = self.0.lock();
        if running.as_ref().is_some_and(|running| running.generation != generation()) {
            std::mem::forget(running.take());
        }
        running
    }

    /// Whether the loop was started.
    pub(crate) fn is_started(&self) -> bool {
        self.lock().is_some()
    }

    /// Starts the loop.
    pub(crate) fn start(&self, py: Python<'_>, jarvis: Core) -> PyResult<()> {
        if self.is_started() {
            let message = "this handle supervises already, or did so before; open another one";
            return Err(error::raise(Error::new(ErrorKind::Conflict, message)));
        }
        let ((stop, stopped), (end, ended)) = (oneshot::channel(), watch::channel(None));
        runtime::get(py)?.spawn(async move {
            let until = async { stopped.await.unwrap_or(Leaving::Terminated) };
            let result = AssertUnwindSafe(jarvis.run(until)).catch_unwind().await;
            let result = result.unwrap_or_else(|panic| Err(error::panicked(&*panic)));
            end.send_replace(Some(result));
        });
        *self.lock() = Some(Running { generation: generation(), stop: Some(stop), ended });
        Ok(())
    }

    /// Asks the loop to end in good order.
    pub(crate) fn stop(&self, leaving: Leaving) {
        if let Some(stop) = self.lock().as_mut().and_then(|running| running.stop.take()) {
            // It fails when the loop ended by itself.
            let _ = stop.send(leaving);
        }
    }

    /// Completes when the loop has ended; at once if it was not started.
    pub(crate) fn ended(&self) -> impl Future<Output = Result<()>> + use<> {
        let ended = self.lock().as_ref().map(|running| running.ended.clone());
        async move {
            let Some(mut ended) = ended else { return Ok(()) };
            let ended = ended.wait_for(Option::is_some).await.ok().and_then(|ended| ended.clone());
            ended.unwrap_or(Ok(()))
        }
    }
}
