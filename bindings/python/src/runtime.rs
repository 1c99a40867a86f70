//! The one runtime of the process: started at the first call that needs it, replaced after a fork.
//!
//! A fork copies the memory of a process and none of its threads, so that a runtime, and whatever
//! lives on it, is dead in the child. Each fork begins a new *generation*; what belongs to an older
//! one is left behind as it is (its locks may be held by threads that do not exist) and made anew
//! at its next use.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, ThreadId};
use std::time::Duration;

use jarvis_core::sync::Mutex;

use pyo3::intern;
use pyo3::prelude::*;
use tokio::runtime::Builder;

use crate::error;
use crate::host::Threads;

/// More workers than this gain nothing: they only move bytes.
const MOST_WORKERS: usize = 4;

/// How long threads are let out at the end: pauses of so many milliseconds, each as long as it
/// needs to be for a thread on a busy machine to come to its turn.
const LET_OUT: [u64; 9] = [1, 5, 10, 20, 50, 100, 200, 500, 1_000];

static GENERATION: AtomicU64 = AtomicU64::new(0);
static RUNTIME: Mutex<Option<&'static Runtime>> = Mutex::new(None);
/// The thread that ends the interpreter, once it does.
static ENDING: OnceLock<ThreadId> = OnceLock::new();
/// How many threads are in our code and may come to Python's: frames that can't be unwound by force.
static INSIDE: AtomicUsize = AtomicUsize::new(0);

/// The tokio runtime of one generation. Never dropped: it ends with the process.
pub(crate) struct Runtime {
    generation: u64,
    tokio: tokio::runtime::Runtime,
    /// Where functions of the blocking face are called in the background.
    pub(crate) threads: Threads,
}

impl std::ops::Deref for Runtime {
    type Target = tokio::runtime::Runtime;

    fn deref(&self) -> &Self::Target {
        &self.tokio
    }
}

/// How often this process's memory was forked on its way here.
pub(crate) fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// The runtime, started if there is none. The lock is only taken with the interpreter's, which a
/// fork waits for, and Python is not called under it: it is never held in a child, and never by a
/// thread that waits for the interpreter.
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
        .worker_threads(cores.min(MOST_WORKERS))
        .thread_name("jarvis-rt")
        .enable_all()
        .build()?;
    let runtime: &'static Runtime =
        Box::leak(Box::new(Runtime { generation, tokio, threads: Threads::default() }));
    *current = Some(runtime);
    Ok(runtime)
}

/// A child of a fork: a new generation.
#[pyfunction]
fn forked() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    // The threads that were inside are not there any more.
    INSIDE.store(usize::try_from(DEPTH.get()).unwrap_or(0), Ordering::SeqCst);
}

/// The interpreter is about to end. Threads that still run are daemons by now, and Python unwinds
/// them by force where they next want its lock, which frames of Rust don't survive. So they are let
/// out of our code first, and nobody comes in any more.
#[pyfunction]
fn ending(py: Python<'_>) {
    let _ = ENDING.set(thread::current().id());
    for pause in LET_OUT {
        if INSIDE.load(Ordering::SeqCst) == 0 {
            return;
        }
        py.detach(|| thread::park_timeout(Duration::from_millis(pause)));
    }
}

/// Asks Python to tell of forks, and of its end. Starts nothing.
pub(crate) fn watch_forks(py: Python<'_>) -> PyResult<()> {
    let told = [("after_in_child", wrap_pyfunction!(forked, py)?)];
    let told = pyo3::types::IntoPyDict::into_py_dict(told, py)?;
    py.import(intern!(py, "os"))?.call_method("register_at_fork", (), Some(&told))?;
    let ending = wrap_pyfunction!(ending, py)?;
    py.import(intern!(py, "atexit"))?.call_method1(intern!(py, "register"), (ending,))?;
    Ok(())
}

/// A thread in our code, with the interpreter's lock.
pub(crate) struct Inside(());

impl Inside {
    /// Comes in. When the interpreter is ending, a daemon waits here for its end instead.
    pub(crate) fn enter(py: Python<'_>) -> Self {
        // Who is inside already is let out.
        if DEPTH.get() == 0 && is_ended_for_us() {
            py.detach(wait_for_the_end);
        }
        DEPTH.set(DEPTH.get() + 1);
        INSIDE.fetch_add(1, Ordering::SeqCst);
        Self(())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
        INSIDE.fetch_sub(1, Ordering::SeqCst);
    }
}

fn is_ended_for_us() -> bool {
    ENDING.get().is_some_and(|ender| *ender != thread::current().id())
}

fn wait_for_the_end() {
    loop {
        thread::park();
    }
}

thread_local! {
    /// How often this thread is [`Inside`].
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Is this thread in [`detached`]?
    static DETACHED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` without the interpreter's lock. The caller is [`Inside`], and is not meanwhile.
pub(crate) fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> T {
    py.detach(|| {
        INSIDE.fetch_sub(1, Ordering::SeqCst);
        let before = DETACHED.replace(true);
        let done = work();
        DETACHED.set(before);
        come_back();
        done
    })
}

/// Runs `work` with the interpreter's lock, on a thread of Python's, also within [`detached`].
pub(crate) fn attached<T>(work: impl FnOnce(Python<'_>) -> T) -> T {
    if !DETACHED.replace(false) {
        return Python::attach(work);
    }
    come_back();
    let done = Python::attach(work);
    INSIDE.fetch_sub(1, Ordering::SeqCst);
    DETACHED.set(true);
    done
}

/// On the way back to the interpreter's lock. Who comes back after its end never arrives.
fn come_back() {
    INSIDE.fetch_add(1, Ordering::SeqCst);
    if is_ended_for_us() {
        INSIDE.fetch_sub(1, Ordering::SeqCst);
        wait_for_the_end();
    }
}
