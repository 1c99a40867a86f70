//! Conversion of SQLite's result codes to errors.

use std::path::Path;

use rusqlite::{ErrorCode, ffi};

use crate::{Error, ErrorKind, Retry};

/// Why a closure that ran on a connection failed: SQLite said so, or the closure itself.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum Failure {
    Sqlite(#[from] rusqlite::Error),
    Other(#[from] Error),
}

/// The result of a closure that runs on a connection.
pub type SqlResult<T> = Result<T, Failure>;

impl Failure {
    pub(super) fn into_error(self, path: &Path) -> Error {
        match self {
            Self::Sqlite(error) => explain(path, error),
            Self::Other(error) => error,
        }
    }
}

pub(super) fn explain(path: &Path, error: rusqlite::Error) -> Error {
    let (kind, what) = match &error {
        rusqlite::Error::SqliteFailure(failure, _) => classify(*failure),
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..) => (ErrorKind::Corrupt, DAMAGED),
        _ => (ErrorKind::Internal, "could not be used"),
    };
    let retry = retry_of(kind, &error);
    Error::new(kind, format!("{} {what}: {error}", path.display()))
        .with_retry(retry)
        .with_source(error)
}

const DAMAGED: &str =
    "is damaged; restore a backup, or move it and its -wal and -shm files away to start empty";
const FULL: &str = "could not be written: the disk is full, over its quota or failing";

fn classify(failure: ffi::Error) -> (ErrorKind, &'static str) {
    match failure.code {
        ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked
        | ErrorCode::FileLockingProtocolFailed => (
            ErrorKind::Unavailable,
            "was locked by another process for too long; nothing was changed, find the process that has it open",
        ),
        ErrorCode::DiskFull => (ErrorKind::Exhausted, FULL),
        ErrorCode::OutOfMemory => (ErrorKind::Exhausted, "could not be used: no memory is left"),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => (ErrorKind::Corrupt, DAMAGED),
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => {
            (ErrorKind::Forbidden, "or its folder is not writable by this user")
        }
        ErrorCode::CannotOpen => (
            ErrorKind::Unavailable,
            "could not be opened; check its folder, its owner and the limit of open files",
        ),
        ErrorCode::ConstraintViolation => (ErrorKind::Conflict, "rejected the row"),
        ErrorCode::TooBig => (ErrorKind::TooLarge, "rejected a value of this size"),
        ErrorCode::SystemIoFailure => classify_io(failure.extended_code),
        _ => (ErrorKind::Internal, "could not be used"),
    }
}

/// SQLite reports only `ENOSPC` as "full"; a quota or a file size limit is a failed write.
fn classify_io(extended_code: i32) -> (ErrorKind, &'static str) {
    match extended_code {
        ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_TRUNCATE | ffi::SQLITE_IOERR_SHMSIZE => {
            (ErrorKind::Exhausted, FULL)
        }
        ffi::SQLITE_IOERR_SHORT_READ | ffi::SQLITE_IOERR_CORRUPTFS => (ErrorKind::Corrupt, DAMAGED),
        _ => (ErrorKind::Unavailable, "could not be read or written: the disk reports an error"),
    }
}

/// After a failed sync nobody knows what is on the disk.
fn retry_of(kind: ErrorKind, error: &rusqlite::Error) -> Retry {
    let synced = !matches!(
        error.sqlite_extended_error_code(),
        Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC)
    );
    match kind {
        ErrorKind::Unavailable if synced => Retry::Safe { after: None },
        ErrorKind::Unavailable => Retry::Indeterminate,
        _ => Retry::Never,
    }
}
