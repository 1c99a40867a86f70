//! The writer thread: takes what waits, commits it together, then answers.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::SqlResult;
use super::failure::{duplicate, explain};
use crate::{Error, ErrorKind, Result};

/// How many writes go into one commit at most, so that the first of them is not kept waiting.
const BATCH: usize = 512;

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
                format!("{QUEUE} writes wait for {}; the disk is too slow", self.path.display()),
            ));
        }
        let call = Call { work: Some(work), outcome: None, reply };
        self.jobs.send(Box::new(call)).map_err(|_| {
            Error::new(
                ErrorKind::Internal,
                format!("the thread of {} ended; open it again", self.path.display()),
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
}

impl Thread {
    fn run(self) {
        while let Ok(first) = self.jobs.recv() {
            let mut batch = vec![first];
            batch.extend(self.jobs.try_iter().take(BATCH - 1));
            self.waiting.fetch_sub(batch.len(), Ordering::Relaxed);
            self.commit(batch);
        }
        if let Err((_, error)) = self.connection.close() {
            tracing::warn!(path = %self.path.display(), %error, "the database was not closed cleanly");
        }
    }

    /// Runs a batch in one transaction. What comes after a job that broke the transaction (a full
    /// disk can) gets one of its own.
    fn commit(&self, batch: Vec<Box<dyn Job>>) {
        let mut rest = batch.into_iter();
        while rest.len() > 0 {
            let mut ran = Vec::with_capacity(rest.len());
            let lost = self.transaction(&mut rest, &mut ran).err();
            for job in ran {
                job.settle(lost.as_ref().map(duplicate));
            }
        }
    }

    fn transaction(
        &self,
        jobs: &mut std::vec::IntoIter<Box<dyn Job>>,
        ran: &mut Vec<Box<dyn Job>>,
    ) -> Result<()> {
        let begun = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate);
        let tx = match begun {
            Ok(tx) => tx,
            Err(error) => {
                ran.extend(jobs);
                return Err(explain(&self.path, error));
            }
        };
        for mut job in jobs.by_ref() {
            let kept = self.savepoint(&tx, job.as_mut());
            ran.push(job);
            kept.map_err(|error| explain(&self.path, error))?;
            if self.connection.is_autocommit() {
                return Err(self.broken());
            }
        }
        tx.commit().map_err(|error| explain(&self.path, error))
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
