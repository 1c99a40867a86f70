//! The interpreter's lock, its forks and its end.
//!
//! A fork copies the memory of a process but none of its threads. Each fork therefore begins a new
//! *generation*: everything that belongs to threads of an older one is leaked as it is, because its
//! locks may be held by threads that no longer exist, and is created again at its next use.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, ThreadId};
use std::time::Duration;

use pyo3::intern;
use pyo3::prelude::*;

/// The pauses in which other threads may leave our code when the interpreter ends, in
/// milliseconds. They grow so that a thread on a busy machine gets scheduled too.
const LEAVE_PAUSES: [u64; 9] = [1, 5, 10, 20, 50, 100, 200, 500, 1_000];

static GENERATION: AtomicU64 = AtomicU64::new(0);
/// The thread that ends the interpreter, once one does.
static ENDING: OnceLock<ThreadId> = OnceLock::new();
/// How many threads are in our code with the interpreter's lock, or wait for it on their way back.
static INSIDE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// How many [`Inside`] guards this thread holds.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Whether this thread is in [`detached`].
    static DETACHED: Cell<bool> = const { Cell::new(false) };
}

/// How many forks this process is away from the one that loaded the module.
pub(crate) fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// Runs in the child of a fork: begins a new generation.
#[pyfunction]
fn forked() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    // Other threads that were inside do not exist in the child.
    INSIDE.store(usize::try_from(DEPTH.get()).unwrap_or(0), Ordering::SeqCst);
}

/// Runs when the interpreter is about to end. Threads that still run are daemons by now. Python
/// unwinds them by force at their next request for its lock, which Rust frames do not survive. So
/// they leave our code first, and no thread enters it again.
#[pyfunction]
fn ending(py: Python<'_>) {
    let _ = ENDING.set(thread::current().id());
    for pause in LEAVE_PAUSES {
        if INSIDE.load(Ordering::SeqCst) == 0 {
            return;
        }
        py.detach(|| thread::park_timeout(Duration::from_millis(pause)));
    }
}

/// Registers for forks and for the interpreter's end.
pub(crate) fn watch(py: Python<'_>) -> PyResult<()> {
    let hooks = [("after_in_child", wrap_pyfunction!(forked, py)?)];
    let hooks = pyo3::types::IntoPyDict::into_py_dict(hooks, py)?;
    py.import(intern!(py, "os"))?.call_method("register_at_fork", (), Some(&hooks))?;
    let ending = wrap_pyfunction!(ending, py)?;
    py.import(intern!(py, "atexit"))?.call_method1(intern!(py, "register"), (ending,))?;
    Ok(())
}

/// Marks a thread that is in our code with the interpreter's lock.
pub(crate) struct Inside(());

impl Inside {
    /// Enters. While the interpreter ends, a daemon thread waits here for the end instead.
    pub(crate) fn enter(py: Python<'_>) -> Self {
        // A thread that is inside already must be able to leave.
        if DEPTH.get() == 0 && is_daemon_at_the_end() {
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

fn is_daemon_at_the_end() -> bool {
    ENDING.get().is_some_and(|ender| *ender != thread::current().id())
}

fn wait_for_the_end() {
    loop {
        thread::park();
    }
}

/// A thread that is [`Inside`] and has released the interpreter's lock. Dropping it comes back,
/// also when the work panicked.
struct Outside {
    before: bool,
}

impl Outside {
    fn leave() -> Self {
        INSIDE.fetch_sub(1, Ordering::SeqCst);
        Self { before: DETACHED.replace(true) }
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        DETACHED.set(self.before);
        come_back();
    }
}

/// A visit to the interpreter from within [`detached`].
struct Visit;

impl Visit {
    fn begin() -> Self {
        come_back();
        Self
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        INSIDE.fetch_sub(1, Ordering::SeqCst);
        DETACHED.set(true);
    }
}

/// Runs `work` without the interpreter's lock. The caller is [`Inside`], except during `work`.
pub(crate) fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> T {
    py.detach(|| {
        let _outside = Outside::leave();
        work()
    })
}

/// Runs `work` with the interpreter's lock on one of Python's threads, also within [`detached`].
pub(crate) fn attached<T>(work: impl FnOnce(Python<'_>) -> T) -> T {
    let _visit = DETACHED.replace(false).then(Visit::begin);
    Python::attach(work)
}

/// On the way back to the interpreter's lock. Once the interpreter has ended, a thread that comes
/// back never arrives.
fn come_back() {
    INSIDE.fetch_add(1, Ordering::SeqCst);
    if is_daemon_at_the_end() {
        INSIDE.fetch_sub(1, Ordering::SeqCst);
        wait_for_the_end();
    }
}
