//! Reader threads: started on demand, up to a limit.
//!
//! Short reads that wait at the same time share one snapshot, taken after the last of them arrived.
//! Each sees everything that was committed before it was requested, and none needs a transaction
//! of its own.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::create::{Access, connect};
use super::failure::explain;
use super::writer::no_thread;
use super::{Options, SqlResult};
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::{Error, ErrorKind, Result};

/// How many reads may wait.
const QUEUE: usize = 4_096;

/// How many short reads share a snapshot at most.
const BATCH: usize = 64;

type Work = Box<dyn FnOnce(&Path, Result<&Connection>) + Send>;

struct Job {
    short: bool,
    work: Work,
}

/// How long a read takes, and so whether it may share a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// Some rows by their key.
    Short,
    /// Anything.
    Any,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    closed: bool,
}

struct State {
    path: PathBuf,
    options: Options,
    queue: Mutex<Queue>,
    ready: Condvar,
}

impl State {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }
}

/// The submitting end. Dropping it lets the threads finish what waits, and end.
pub(super) struct Readers(Arc<State>);

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").field("path", &self.0.path).finish_non_exhaustive()
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.0.queue().closed = true;
        self.0.ready.notify_all();
    }
}

impl Readers {
    pub(super) fn new(path: &Path, options: &Options) -> Self {
        Self(Arc::new(State {
            path: path.to_owned(),
            options: options.clone(),
            queue: Mutex::default(),
            ready: Condvar::new(),
        }))
    }

    pub(super) fn submit<T, F, R>(&self, length: Length, work: F, reply: R) -> Result<()>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> SqlResult<T> + Send + 'static,
        R: FnOnce(Result<T>) + Send + 'static,
    {
        let work: Work = Box::new(move |path, connection| {
            reply(connection.and_then(|connection| run(path, connection, work)));
        });
        let mut queue = self.0.queue();
        if queue.jobs.len() >= QUEUE {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "{QUEUE} reads are already waiting for {}; the disk is too slow",
                    self.0.path.display()
                ),
            ));
        }
        if queue.idle <= queue.jobs.len() && queue.threads < self.0.options.readers.clamp(1, 16) {
            match self.spawn() {
                Ok(()) => queue.threads += 1,
                Err(error) if queue.threads == 0 => return Err(error),
                Err(_) => {}
            }
        }
        queue.jobs.push_back(Job { short: length == Length::Short, work });
        let idle = queue.idle > 0;
        drop(queue);
        // Waking is a system call; a thread that is busy looks at the queue anyway.
        if idle {
            self.0.ready.notify_one();
        }
        Ok(())
    }

    fn spawn(&self) -> Result<()> {
        let state = Arc::clone(&self.0);
        std::thread::Builder::new()
            .name("jarvis-sqlite-r".to_owned())
            .spawn(move || serve(&state))
            .map(|_| ())
            .map_err(|error| no_thread(&self.0.path, error))
    }
}

fn run<T>(
    path: &Path,
    connection: &Connection,
    work: impl FnOnce(&Connection) -> SqlResult<T>,
) -> Result<T> {
    let outcome = catch_unwind(AssertUnwindSafe(|| work(connection)));
    outcome.map_or_else(
        |_| {
            Err(Error::new(
                ErrorKind::Internal,
                format!("a read of {} panicked; this is a bug", path.display()),
            ))
        },
        |result| result.map_err(|failure| failure.into_error(path)),
    )
}

fn serve(state: &State) {
    let mut connection: Option<Connection> = None;
    let mut jobs = Vec::with_capacity(BATCH);
    while next(state, &mut jobs) {
        if connection.is_none() {
            match connect(&state.path, &state.options, Access::Read) {
                Ok(fresh) => connection = Some(fresh),
                Err(error) => {
                    refuse(&state.path, jobs.drain(..), &error);
                    continue;
                }
            }
        }
        if let Some(connection) = &connection {
            in_snapshot(&state.path, connection, jobs.drain(..));
        }
    }
}

fn refuse(path: &Path, jobs: impl Iterator<Item = Job>, error: &Error) {
    for job in jobs {
        (job.work)(path, Err(error.clone()));
    }
}

fn in_snapshot(path: &Path, connection: &Connection, jobs: impl Iterator<Item = Job>) {
    match Transaction::new_unchecked(connection, TransactionBehavior::Deferred) {
        Ok(snapshot) => {
            for job in jobs {
                (job.work)(path, Ok(&snapshot));
            }
        }
        Err(error) => refuse(path, jobs, &explain(path, error)),
    }
}

/// Takes the next read, and the short ones that wait behind a short one. `false` at the end.
fn next(state: &State, jobs: &mut Vec<Job>) -> bool {
    let mut queue = state.queue();
    loop {
        if let Some(job) = queue.jobs.pop_front() {
            let short = job.short;
            jobs.push(job);
            while short && jobs.len() < BATCH {
                let Some(job) = queue.jobs.pop_front_if(|job| job.short) else { break };
                jobs.push(job);
            }
            return true;
        }
        if queue.closed {
            return false;
        }
        queue.idle += 1;
        queue = state.ready.wait(queue);
        queue.idle -= 1;
    }
}
