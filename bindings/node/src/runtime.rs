//! The runtime that everything shares which can't be answered at once.
//!
//! Made at its first use, never at `require`. All threads of the process share it, worker threads
//! of Node too; it ends with the process.

use std::num::NonZero;
use std::sync::OnceLock;
use std::thread::available_parallelism;

use jarvis_core::{Error, Result};
use tokio::runtime::{Builder, Runtime};

/// More threads than this only take turns: what we wait for is the network.
const MOST_THREADS: usize = 4;

/// One thread for so many cores: JavaScript's thread, and what it talks to, want some too.
const CORES_A_THREAD: usize = 2;

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// The runtime.
///
/// # Errors
/// `Exhausted` when the system gives no threads.
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
    // Of two that came at once, one's is dropped unused.
    Ok(RUNTIME.get_or_init(|| made))
}
