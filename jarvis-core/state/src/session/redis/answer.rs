//! What Redis answers, as what it means.

use redis::Value;

use super::super::front::damaged;
use base::clock::WallTime;
use base::{Error, ErrorKind, Result};

/// What a script answers.
pub(super) enum Answer {
    /// It did what it was told.
    Done(i64),
    /// It stored a session, of another version or creation than it was told.
    Stored { version: u64, created_at: WallTime },
    /// It prolonged a session: what that was, and until when it lives now.
    Prolonged { found: Vec<u8>, until: WallTime },
    /// It found something else than it was told to expect: this.
    Found(Vec<u8>),
    /// There is none.
    Missing,
}

impl Answer {
    pub(super) fn read(value: Value) -> Result<Self> {
        match value {
            Value::Int(number) => Ok(Self::Done(number)),
            Value::Array(values) => Self::pair(values),
            Value::BulkString(bytes) => Ok(Self::Found(bytes)),
            Value::Nil => Ok(Self::Missing),
            _ => Err(damaged()),
        }
    }

    fn pair(values: Vec<Value>) -> Result<Self> {
        match <[Value; 2]>::try_from(values) {
            Ok([Value::Int(version), Value::Int(created)]) => Ok(Self::Stored {
                version: u64::try_from(version).map_err(|_| damaged())?,
                created_at: WallTime::from_millis(created),
            }),
            Ok([Value::BulkString(found), Value::Int(until)]) => {
                Ok(Self::Prolonged { found, until: WallTime::from_millis(until) })
            }
            _ => Err(damaged()),
        }
    }

    /// What is stored, where nothing was done about it; empty where nothing is.
    pub(super) fn found(self) -> Result<Vec<u8>> {
        match self {
            Self::Found(found) => Ok(found),
            Self::Missing => Ok(Vec::new()),
            Self::Done(_) | Self::Stored { .. } | Self::Prolonged { .. } => Err(unexpected()),
        }
    }
}

fn unexpected() -> Error {
    Error::new(ErrorKind::Internal, "a script returned an unexpected answer; this is a bug")
}
