//! The one Tokio runtime of the process. The first call that needs it starts it, and each
//! [generation](crate::interpreter) has its own.

use std::thread;

use jarvis_core::sync::Mutex;
use pyo3::prelude::*;
use tokio::runtime::Builder;

use crate::error;
use crate::interpreter::generation;

/// More worker threads gain nothing: they only move bytes.
const MAX_WORKERS: usize = 4;

static RUNTIME: Mutex<Option<&'static Runtime>> = Mutex::new(None);

/// A runtime. It is never dropped and ends with the process.
pub(crate) struct Runtime {
    generation: u64,
    tokio: tokio::runtime::Runtime,
}

impl std::ops::Deref for Runtime {
    type Target = tokio::runtime::Runtime;

    fn deref(&self) -> &Self::Target {
        &self.tokio
    }
}

/// The runtime of this generation, started if necessary.
///
/// Its lock is only taken together with the interpreter's, which a fork waits for, and Python is
/// not called under it. So the child of a fork never finds it locked, and a thread that holds it
/// never waits for the interpreter.
pub(crate) fn get(_py: Python<'_>) -> PyResult<&'static Runtime> {
    current().map_err(|error| error::raise(error.into()))
}

fn current() -> std::io::Result<&'static Runtime> {
    let mut current = RUNTIME.lock();
    let generation = generation();
    if let Some(runtime) = current.filter(|runtime| runtime.generation == generation) {
        return Ok(runtime);
    }
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let tokio = Builder::new_multi_thread()
        .worker_threads(cores.min(MAX_WORKERS))
        .thread_name("jarvis-rt")
        .enable_all()
        .build()?;
    let runtime: &'static Runtime = Box::leak(Box::new(Runtime { generation, tokio }));
    *current = Some(runtime);
    Ok(runtime)
}
