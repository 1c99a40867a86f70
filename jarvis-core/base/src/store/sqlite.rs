//! SQLite file shared by many callers and many processes.
//!
//! [`Sqlite`] is the handle that every SQLite backend of this crate builds on:
//!
//! - **Acknowledged writes are on disk.** The journal is a write-ahead log with `synchronous = FULL`; a
//!   write is answered after its commit was synced.
//! - **Group commit.** One writer thread for each process and file commits all waiting writes together,
//!   so that concurrent callers share one sync. Each write runs in its own savepoint: a write that
//!   fails or panics is rolled back alone.
//! - **Many processes.** A write takes the file's write lock at once (`BEGIN IMMEDIATE`) and waits
//!   for it until a deadline, then fails with `Unavailable`.
//! - **Reads never wait for writes.** A few reader threads see the last commit, each read in a
//!   snapshot.
//! - **No silent loss.** A file that was emptied, is damaged, or has a newer schema is
//!   refused with `Corrupt`; the message says what to do.
//!
//! This module needs no async runtime: it uses plain threads, and its futures complete under any
//! executor.

mod create;
mod failure;
mod readers;
mod schema;
mod writer;

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rusqlite::{Connection, Transaction};
use tokio::sync::{OnceCell, oneshot};

#[doc(hidden)]
pub use failure::SqlResult;
#[doc(hidden)]
pub use schema::Schema;

use crate::sync::Mutex;
use crate::{Error, ErrorKind, Result};
use readers::{Length, Readers};
use writer::Writer;

/// How a file is opened. The first opening of a file in a process decides for all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// How long a write waits for another process to let go of the file. Default: 5 s.
    pub busy_timeout: Duration,
    /// How many reads run at once, 1 to 16. Default: 2.
    pub readers: usize,
    /// Whether a missing file is created, with the directories above it. Default: yes.
    pub create: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { busy_timeout: Duration::from_secs(5), readers: 2, create: true }
    }
}

impl Options {
    /// The usual ones.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How long a write waits for another process.
    #[must_use]
    pub fn with_busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// How many reads run at once.
    #[must_use]
    pub fn with_readers(mut self, readers: usize) -> Self {
        self.readers = readers;
        self
    }

    /// A missing file is `NotFound` instead of made.
    #[must_use]
    pub fn existing(mut self) -> Self {
        self.create = false;
        self
    }
}

type FileId = (u64, u64);

struct Shared {
    path: PathBuf,
    process: u32,
    writer: Writer,
    readers: Readers,
}

/// A file that is open, in this process or in the one that it was forked from.
struct Opened {
    id: FileId,
    process: u32,
    shared: Weak<Shared>,
}

/// The files open in this process, so that each has one writer thread. In a forked child also
/// those that were open at the fork.
static OPEN: Mutex<Vec<Opened>> = Mutex::new(Vec::new());

impl Drop for Shared {
    fn drop(&mut self) {
        let process = std::process::id();
        if self.process == process {
            let mut open = OPEN.lock();
            open.retain(|it| it.process != process || it.shared.strong_count() > 0);
        }
    }
}

/// A handle to one SQLite file. Clones share the threads; the last one to go closes the file.
#[derive(Clone)]
pub struct Sqlite {
    shared: Arc<Shared>,
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

impl Sqlite {
    /// Opens a file, or makes it with mode 0600. Blocks for a few milliseconds of disk time.
    ///
    /// A file that this process has open already gives a handle to the same threads.
    ///
    /// # Errors
    /// - `NotFound`: it is missing and [`Options::create`] is off.
    /// - `Corrupt`: it is damaged, was emptied, or belongs to another program.
    /// - `Forbidden`: it, or its folder, can't be written by this user.
    /// - `Exhausted`: no space, descriptors or threads are left.
    /// - `Unsupported`: this process was forked while the file was open. SQLite's locks belong to
    ///   the process that took them, and what it remembers of them is copied by a fork: in the
    ///   child it would write without any.
    pub fn open(path: impl AsRef<Path>, options: &Options) -> Result<Self> {
        let path = path.as_ref();
        Self::open_shared(path, options)
            .map(|shared| Self { shared })
            .map_err(|error| error.with_operation("store.sqlite.open"))
    }

    fn open_shared(path: &Path, options: &Options) -> Result<Arc<Shared>> {
        let mut open = OPEN.lock();
        create::prepare(path, options)?;
        let metadata = std::fs::metadata(path).map_err(|error| create::describe(path, error))?;
        let id = (metadata.dev(), metadata.ino());
        let process = std::process::id();
        let mut known = open.iter().filter(|it| it.id == id);
        if known.any(|it| it.process != process) {
            return Err(forked(path));
        }
        if let Some(shared) =
            open.iter().filter(|it| it.id == id).find_map(|it| it.shared.upgrade())
        {
            return Ok(shared);
        }
        let connection = create::connect(path, options, create::Access::Write)?;
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            process,
            writer: Writer::start(path, connection)?,
            readers: Readers::new(path, options),
        });
        open.push(Opened { id, process, shared: Arc::downgrade(&shared) });
        Ok(shared)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Brings the tables of one component to the version that this program knows.
    #[doc(hidden)]
    pub async fn migrate(&self, schema: &'static Schema) -> Result<()> {
        self.write("store.sqlite.migrate", |tx| schema.apply(tx)).await
    }

    /// Runs `work` in the writer's next transaction and answers when that is on disk.
    ///
    /// An `Err` or a panic of `work` undoes what it wrote, and nothing else. Once polled it is
    /// carried out, whether the caller stays or not. `work` must not take long: others wait.
    #[doc(hidden)]
    pub async fn write<T, F>(&self, operation: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> SqlResult<T> + Send + 'static,
    {
        let (sender, answer) = oneshot::channel();
        self.check_process()
            .and_then(|()| self.shared.writer.submit(work, move |result| drop(sender.send(result))))
            .map_err(|error| error.with_operation(operation))?;
        answer.await.unwrap_or_else(|_| Err(self.gone())).map_err(|e| e.with_operation(operation))
    }

    /// Runs `work` on a snapshot of the last commit, on a reader thread.
    #[doc(hidden)]
    pub async fn read<T, F>(&self, operation: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> SqlResult<T> + Send + 'static,
    {
        self.ask(operation, Length::Any, work).await
    }

    async fn ask<T, F>(&self, operation: &'static str, length: Length, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> SqlResult<T> + Send + 'static,
    {
        let (sender, answer) = oneshot::channel();
        self.check_process()
            .and_then(|()| {
                self.shared.readers.submit(length, work, move |result| drop(sender.send(result)))
            })
            .map_err(|error| error.with_operation(operation))?;
        answer.await.unwrap_or_else(|_| Err(self.gone())).map_err(|e| e.with_operation(operation))
    }

    /// The part of the file that one component owns. Its tables are made at the first use.
    #[doc(hidden)]
    pub fn tables(&self, schema: &'static Schema) -> Tables {
        Tables { sqlite: self.clone(), schema, ready: Arc::new(OnceCell::new()) }
    }

    /// Threads don't survive a fork, and SQLite forbids a connection to be used across one.
    fn check_process(&self) -> Result<()> {
        if self.shared.process == std::process::id() {
            return Ok(());
        }
        Err(forked(&self.shared.path))
    }

    fn gone(&self) -> Error {
        Error::new(
            ErrorKind::Internal,
            format!(
                "the worker thread of {} has ended; open the file again",
                self.shared.path.display()
            ),
        )
        .with_retry(crate::Retry::Indeterminate)
    }
}

fn forked(path: &Path) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "this process was forked while {} was open, and SQLite's locks do not survive that; \
             open it after the fork, or close it before",
            path.display()
        ),
    )
}

/// One component's tables in a file: [`Sqlite::write`] and [`Sqlite::read`] once they are there.
#[derive(Debug, Clone)]
#[doc(hidden)]
pub struct Tables {
    sqlite: Sqlite,
    schema: &'static Schema,
    ready: Arc<OnceCell<()>>,
}

impl Tables {
    async fn ready(&self) -> Result<()> {
        self.ready.get_or_try_init(|| self.sqlite.migrate(self.schema)).await.copied()
    }

    /// See [`Sqlite::write`].
    pub async fn write<T, F>(&self, operation: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> SqlResult<T> + Send + 'static,
    {
        self.ready().await?;
        self.sqlite.write(operation, work).await
    }

    /// See [`Sqlite::read`].
    pub async fn read<T, F>(&self, operation: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> SqlResult<T> + Send + 'static,
    {
        self.ready().await?;
        self.sqlite.read(operation, work).await
    }

    /// A read of some rows by their key. Those that wait together share a snapshot, which makes
    /// them several times cheaper.
    pub async fn look_up<T, F>(&self, operation: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> SqlResult<T> + Send + 'static,
    {
        self.ready().await?;
        self.sqlite.ask(operation, Length::Short, work).await
    }
}

#[cfg(test)]
mod tests;
