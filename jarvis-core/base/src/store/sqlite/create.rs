//! Creation of a database file, and of connections to it.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use rustix::fs::Access as Permission;

use super::failure::explain;
use super::{Options, schema};
use crate::clock::{Clock, SystemClock};
use crate::{Error, ErrorKind, Result};

/// "JRVS" in the file's header: a file of another program is never touched.
const APPLICATION_ID: i32 = 0x4A52_5653;

/// Files up to this size are checked in full when they are opened; that takes milliseconds.
const CHECKED_UP_TO: u64 = 32 << 20;

/// The write-ahead log is cut back to this size after a checkpoint.
const JOURNAL_LIMIT: i64 = 16 << 20;

/// After so many pages the log is copied into the file: as many as its limit holds, so that a page
/// that changes often is copied once. SQLite finds a page among up to 4,062 at one look.
const CHECKPOINT_PAGES: i64 = 4_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// Makes sure that there is a file that may be opened.
pub(super) fn prepare(path: &Path, options: &Options) -> Result<()> {
    if !exists(path)? {
        if !options.create {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("{} does not exist yet", path.display()),
            ));
        }
        refuse_orphaned_log(path)?;
        create(path)?;
    }
    check_folder(path)
}

/// A database that exists has a header: it is born complete (see [`create`]). One without was
/// emptied by somebody, and taking it for a new one would forget what was counted.
fn exists(path: &Path) -> Result<bool> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() == 0 => Err(Error::new(
            ErrorKind::Corrupt,
            format!(
                "{} is empty, so its content was lost; restore a backup, or delete it to start empty",
                path.display()
            ),
        )),
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(describe(path, error)),
    }
}

/// SQLite would play a left-over log into a new file.
fn refuse_orphaned_log(path: &Path) -> Result<()> {
    let log = beside(path, "", "-wal");
    // Another process may be creating the file now: its log appears after the file.
    if log.exists() && !exists(path)? {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!(
                "{} is missing but its log {} is there; put the file back, or delete the log to start empty",
                path.display(),
                log.display()
            ),
        ));
    }
    Ok(())
}

fn beside(path: &Path, before: &str, after: &str) -> PathBuf {
    let mut name = OsString::from(before);
    name.push(path.file_name().unwrap_or_default());
    name.push(after);
    path.with_file_name(name)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a complete, empty database under another name and links it into place, so that no crash
/// leaves half a file and of several processes one wins.
fn create(path: &Path) -> Result<()> {
    let folder = folder(path);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| describe(folder, error))?;
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).map_err(|error| {
        Error::new(ErrorKind::Internal, "the operating system provided no random numbers")
            .with_source(error)
    })?;
    let draft = beside(path, ".", &format!(".new-{:016x}", u64::from_ne_bytes(random)));
    let made = write_draft(&draft).and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(describe(path, error)),
        _ => Ok(()),
    });
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(beside(&draft, "", suffix));
    }
    made?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| describe(folder, error))
}

fn write_draft(draft: &Path) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(draft)
        .map_err(|error| describe(draft, error))?;
    let write = || -> rusqlite::Result<()> {
        let connection = Connection::open(draft)?;
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.execute_batch(schema::TABLE)?;
        connection.close().map_err(|(_, error)| error)
    };
    write().map_err(|error| explain(draft, error))
}

/// SQLite needs to make files beside the database, and its own message for that is a riddle.
fn check_folder(path: &Path) -> Result<()> {
    let folder = folder(path);
    let denied = |what: &Path, error: rustix::io::Errno| {
        let error = io::Error::from(error);
        Error::new(
            ErrorKind::Forbidden,
            format!(
                "{} is not writable by this user ({error}); change its owner or mode, or the place",
                what.display()
            ),
        )
        .with_source(error)
    };
    rustix::fs::access(folder, Permission::WRITE_OK | Permission::EXEC_OK)
        .map_err(|error| denied(folder, error))?;
    rustix::fs::access(path, Permission::READ_OK | Permission::WRITE_OK)
        .map_err(|error| denied(path, error))
}

pub(super) fn describe(path: &Path, error: io::Error) -> Error {
    let text = format!("cannot use {}: {error}", path.display());
    let kind = match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Forbidden,
        _ => Error::from(io::Error::from(error.kind())).kind(),
    };
    let kind = match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::EFBIG) => ErrorKind::Exhausted,
        _ => kind,
    };
    Error::new(kind, text).with_source(error)
}

/// Opens one connection.
pub(super) fn connect(path: &Path, options: &Options, access: Access) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection =
        Connection::open_with_flags(path, flags).map_err(|error| explain(path, error))?;
    configure(&mut connection, options, access).map_err(|error| explain(path, error))?;
    if access == Access::Write {
        check_owner(path, &connection)?;
        check_journal(path, &connection)?;
        check_pages(path, &connection)?;
    }
    Ok(connection)
}

fn configure(
    connection: &mut Connection,
    options: &Options,
    access: Access,
) -> rusqlite::Result<()> {
    connection.busy_handler(Some(patience(options.busy_timeout)))?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -1_024)?;
    match access {
        Access::Read => connection.pragma_update(None, "query_only", true),
        Access::Write => {
            for (pragma, value) in
                [("journal_size_limit", JOURNAL_LIMIT), ("wal_autocheckpoint", CHECKPOINT_PAGES)]
            {
                connection.pragma_update_and_check(None, pragma, value, |_| Ok(()))?;
            }
            Ok(())
        }
    }
}

/// Waits for another process in short, uneven steps: SQLite's own handler sleeps up to 100 ms
/// between two tries and so starves beside a busy writer.
fn patience(timeout: Duration) -> impl FnMut(i32) -> bool + Send + 'static {
    let clock = SystemClock::new();
    let mut started = clock.monotonic();
    let mut uneven = u64::from(std::process::id());
    move |tries| {
        let now = clock.monotonic();
        if tries == 0 {
            started = now;
        }
        if now.saturating_since(started) >= timeout {
            return false;
        }
        uneven =
            uneven.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        pause(Duration::from_micros(500 + (uneven >> 33) % 2_000));
        true
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a lock of another process tells nobody when it is free"
)]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

fn check_owner(path: &Path, connection: &Connection) -> Result<()> {
    let id: i32 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(|error| explain(path, error))?;
    if id == APPLICATION_ID {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Corrupt,
        format!("{} is a database of another program; name another file", path.display()),
    ))
}

fn check_journal(path: &Path, connection: &Connection) -> Result<()> {
    let mode: String = connection
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .map_err(|error| explain(path, error))?;
    if mode.eq_ignore_ascii_case("wal") {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        format!(
            "{} does not support a write-ahead log (mode {mode}); put it on a local file system",
            path.display()
        ),
    ))
}

fn check_pages(path: &Path, connection: &Connection) -> Result<()> {
    let size = fs::metadata(path).map_err(|error| describe(path, error))?.len();
    if size > CHECKED_UP_TO {
        return Ok(());
    }
    let verdict: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| explain(path, error))?;
    if verdict == "ok" {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Corrupt,
        format!(
            "{} is damaged ({verdict}); restore a backup, or move it and its -wal and -shm files away to start empty",
            path.display()
        ),
    ))
}
