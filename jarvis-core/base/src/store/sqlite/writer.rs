//! Writer thread: commits all waiting writes together, then answers them.

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::SqlResult;
use super::failure::explain;
use crate::{Error, ErrorKind, Result};

/// How many writes go into one commit at most, so that the first of them is not kept waiting.
const BATCH: usize = 512;

/// How often the writer lets others run while it has fewer writes than the last commit had: the
/// callers it has just answered are about to come back. Costs a microsecond each.
const YIELDS: usize = 16;

/// How many writes may wait. More means that the disk stands still, and memory is not a queue.
const QUEUE: usize = 16_384;

/// A write on its way: run in a savepoint, answered once its commit is known.
trait Job: Send {
    /// Runs it. `false` means that its savepoint is to be undone.
    fn run(&mut self, tx: &Transaction<'_>, path: &Path) -> bool;
    /// Answers the caller: with what `run` gave, or with why the commit was lost.
    fn settle(self: Box<Self>, lost: Option<Error>);
}

struct Call<T, F, R> {
    work: Option<F>,
    outcome: Option<Result<T>>,
    reply: R,
}

impl<T, F, R> Job for Call<T, F, R>
where
    T: Send,
    F: FnOnce(&Transaction<'_>) -> SqlResult<T> + Send,
    R: FnOnce(Result<T>) + Send,
{
    fn run(&mut self, tx: &Transaction<'_>, path: &Path) -> bool {
        let Some(work) = self.work.take() else { return false };
        let outcome = catch_unwind(AssertUnwindSafe(|| work(tx)))
            .map_or_else(|_| Err(panicked(path)), |result| result.map_err(|e| e.into_error(path)));
        let keep = outcome.is_ok();
        self.outcome = Some(outcome);
        keep
    }

    fn settle(self: Box<Self>, lost: Option<Error>) {
        let result = match (self.outcome, lost) {
            (Some(Ok(_)) | None, Some(lost)) => Err(lost),
            (Some(outcome), _) => outcome,
            (None, None) => Err(Error::new(ErrorKind::Internal, "a write was never run")),
        };
        (self.reply)(result);
    }
}

fn panicked(path: &Path) -> Error {
    Error::new(
        ErrorKind::Internal,
        format!("a write to {} panicked and was undone; this is a bug", path.display()),
    )
}

/// The sending end. Dropping it lets the thread finish what waits, and end.
pub(super) struct Writer {
    path: PathBuf,
    jobs: Sender<Box<dyn Job>>,
    waiting: Arc<AtomicUsize>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Writer {
    pub(super) fn start(path: &Path, connection: Connection) -> Result<Self> {
        let (jobs, receiver) = mpsc::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let thread = Thread {
            path: path.to_owned(),
            connection,
            jobs: receiver,
            last: Cell::new(1),
            waiting: Arc::clone(&waiting),
        };
        std::thread::Builder::new()
            .name("jarvis-sqlite-w".to_owned())
            .spawn(move || thread.run())
            .map_err(|error| no_thread(path, error))?;
        Ok(Self { path: path.to_owned(), jobs, waiting })
    }

    pub(super) fn submit<T, F, R>(&self, work: F, reply: R) -> Result<()>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> SqlResult<T> + Send + 'static,
        R: FnOnce(Result<T>) + Send + 'static,
    {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= QUEUE {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "{QUEUE} writes are already waiting for {}; the disk is too slow",
                    self.path.display()
                ),
            ));
        }
        let call = Call { work: Some(work), outcome: None, reply };
        self.jobs.send(Box::new(call)).map_err(|_| {
            Error::new(
                ErrorKind::Internal,
                format!(
                    "the worker thread of {} has ended; open the file again",
                    self.path.display()
                ),
            )
        })
    }
}

pub(super) fn no_thread(path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Exhausted, format!("no thread could be started for {}", path.display()))
        .with_source(error)
}

struct Thread {
    path: PathBuf,
    connection: Connection,
    jobs: Receiver<Box<dyn Job>>,
    waiting: Arc<AtomicUsize>,
    /// How many writes the last commit had.
    last: Cell<usize>,
}

impl Thread {
    fn run(self) {
        while let Ok(first) = self.jobs.recv() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.commit(first);
        }
        if let Err((_, error)) = self.connection.close() {
            tracing::warn!(path = %self.path.display(), %error, "the database was not closed cleanly");
        }
    }

    /// Commits a write together with all that arrive until then, and answers them.
    fn commit(&self, first: Box<dyn Job>) {
        let mut ran = Vec::with_capacity(self.last.get());
        let lost = self.transaction(first, &mut ran).err();
        self.last.set(ran.len());
        for job in ran {
            job.settle(lost.clone());
        }
    }

    fn transaction(&self, first: Box<dyn Job>, ran: &mut Vec<Box<dyn Job>>) -> Result<()> {
        let begun = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate);
        let mut next = Some(first);
        let tx = match begun {
            Ok(tx) => tx,
            Err(error) => {
                // Whoever waits now would wait for the same lock, and as long again.
                while let Some(job) = next {
                    ran.push(job);
                    next = self.arrived(ran.len());
                }
                return Err(explain(&self.path, error));
            }
        };
        while let Some(mut job) = next {
            let kept = self.savepoint(&tx, job.as_mut());
            ran.push(job);
            kept.map_err(|error| explain(&self.path, error))?;
            // A full disk, for one, ends the whole transaction.
            if self.connection.is_autocommit() {
                return Err(self.broken());
            }
            next = self.gather(ran.len());
        }
        tx.commit().map_err(|error| explain(&self.path, error))
    }

    fn arrived(&self, ran: usize) -> Option<Box<dyn Job>> {
        if ran >= BATCH {
            return None;
        }
        let job = self.jobs.try_recv().ok()?;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        Some(job)
    }

    /// The next write for this commit. Waits a moment when fewer came than the last time.
    fn gather(&self, ran: usize) -> Option<Box<dyn Job>> {
        let yields = if ran < self.last.get() { YIELDS } else { 0 };
        for _ in 0..yields {
            if let Some(job) = self.arrived(ran) {
                return Some(job);
            }
            std::thread::yield_now();
        }
        self.arrived(ran)
    }

    fn savepoint(&self, tx: &Transaction<'_>, job: &mut dyn Job) -> rusqlite::Result<()> {
        tx.prepare_cached("SAVEPOINT job")?.execute([])?;
        let keep = job.run(tx, &self.path);
        if self.connection.is_autocommit() {
            return Ok(());
        }
        if !keep {
            tx.prepare_cached("ROLLBACK TO job")?.execute([])?;
        }
        tx.prepare_cached("RELEASE job")?.execute([]).map(|_| ())
    }

    fn broken(&self) -> Error {
        Error::new(
            ErrorKind::Unavailable,
            format!(
                "{} undid a whole commit because another write in it failed; nothing was changed",
                self.path.display()
            ),
        )
    }
}
