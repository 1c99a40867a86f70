//! The runtime for everything that can't be answered at once.
//!
//! It starts at its first use, never at `require`. All threads of the process share it, worker threads
//! of Node too; it ends with the process.

use std::num::NonZero;
use std::sync::OnceLock;
use std::thread::available_parallelism;

use jarvis_core::{Error, Result};
use tokio::runtime::{Builder, Runtime};

/// More threads would gain nothing: most of the time is spent waiting for the network.
const MOST_THREADS: usize = 4;

/// Cores for each thread: JavaScript's thread and the servers need some too.
const CORES_A_THREAD: usize = 2;

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// The runtime.
///
/// # Errors
/// `Exhausted` when the system can't start a thread.
pub(crate) fn get() -> Result<&'static Runtime> {
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let cores = available_parallelism().map_or(1, NonZero::get);
    let made = Builder::new_multi_thread()
        .worker_threads((cores / CORES_A_THREAD).clamp(1, MOST_THREADS))
        .thread_name("jarvis-rt")
        .enable_all()
        .build()
        .map_err(|error| Error::from(error).with_operation("node.runtime"))?;
    // Of two threads that made one at the same time, one drops its own unused.
    Ok(RUNTIME.get_or_init(|| made))
}
