//! What Redis answers, as what it means.

use std::time::Duration;

use redis::Value;

use super::super::front::damaged;
use super::super::record::{Kept, Listed, Record, Stored};
use super::super::{SessionData, SessionHandle, SessionMeta};
use crate::Result;
use crate::clock::WallTime;
use crate::vocabulary::UserId;

/// The fields of a [`Record`], in the order in which [`record`] reads them.
pub(super) const RECORD: [&str; 8] = ["v", "d", "u", "c", "w", "e", "t", "m"];
/// Those of a [`Listed`].
pub(super) const LISTED: [&str; 6] = ["v", "u", "c", "w", "e", "m"];

/// What a script answers.
pub(super) enum Answer {
    Stored(Stored),
    Conflict(Box<Record>),
    Missing,
    /// The session is of another user than was assumed; with its time to live.
    User(Option<UserId>, Duration),
    Removed,
    Extended(WallTime),
    Taken,
    Changed,
    Done,
}

/// Values one after another.
struct Fields(std::vec::IntoIter<Value>);

impl Fields {
    fn of(value: Value) -> Result<Self> {
        match value {
            Value::Array(values) => Ok(Self(values.into_iter())),
            _ => Err(damaged()),
        }
    }

    fn next(&mut self) -> Result<Value> {
        self.0.next().ok_or_else(damaged)
    }

    fn bytes(&mut self) -> Result<Vec<u8>> {
        match self.next()? {
            Value::BulkString(bytes) => Ok(bytes),
            Value::SimpleString(text) => Ok(text.into_bytes()),
            _ => Err(damaged()),
        }
    }

    fn number<T: std::str::FromStr>(&mut self) -> Result<T> {
        let bytes = self.bytes()?;
        std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok()).ok_or_else(damaged)
    }

    fn time(&mut self) -> Result<WallTime> {
        self.number().map(WallTime::from_millis)
    }

    fn ttl(&mut self) -> Result<Duration> {
        self.number().map(Duration::from_millis)
    }

    fn user(&mut self) -> Result<Option<UserId>> {
        let bytes = self.bytes()?;
        let text = std::str::from_utf8(&bytes).map_err(|_| damaged())?;
        let user = Some(text).filter(|text| !text.is_empty()).map(UserId::new);
        user.transpose().map_err(|_| damaged())
    }
}

impl Answer {
    pub(super) fn read(value: Value) -> Result<Self> {
        let mut fields = Fields::of(value)?;
        Ok(match fields.bytes()?.as_slice() {
            b"stored" => Self::Stored(Stored {
                version: fields.number()?,
                created_at: fields.time()?,
                updated_at: fields.time()?,
                expires_at: fields.time()?,
            }),
            b"conflict" => {
                let record = record(fields.next()?)?;
                Self::Conflict(Box::new(record.ok_or_else(damaged)?))
            }
            b"user" => Self::User(fields.user()?, fields.ttl()?),
            b"extended" => Self::Extended(fields.time()?),
            b"missing" => Self::Missing,
            b"removed" => Self::Removed,
            b"taken" => Self::Taken,
            b"changed" => Self::Changed,
            b"entered" | b"dropped" => Self::Done,
            _ => return Err(damaged()),
        })
    }
}

/// The answer to `HMGET` of [`RECORD`]; `None` without a version.
pub(super) fn record(value: Value) -> Result<Option<Record>> {
    let Some(mut fields) = versioned(value)? else { return Ok(None) };
    let version = fields.number()?;
    let data = Kept::<SessionData>::read(&fields.bytes()?)?;
    Ok(Some(Record {
        version,
        data,
        user: fields.user()?,
        created_at: fields.time()?,
        updated_at: fields.time()?,
        expires_at: fields.time()?,
        ttl: fields.ttl()?,
        meta: Kept::<SessionMeta>::read(&fields.bytes()?)?,
    }))
}

/// The answer to `HMGET` of [`LISTED`].
pub(super) fn listed(handle: SessionHandle, value: Value) -> Result<Option<Listed>> {
    let Some(mut fields) = versioned(value)? else { return Ok(None) };
    Ok(Some(Listed {
        handle,
        version: fields.number()?,
        user: fields.user()?,
        created_at: fields.time()?,
        updated_at: fields.time()?,
        expires_at: fields.time()?,
        meta: Kept::<SessionMeta>::read(&fields.bytes()?)?,
    }))
}

fn versioned(value: Value) -> Result<Option<Fields>> {
    let fields = Fields::of(value)?;
    let none = matches!(fields.0.as_slice().first(), Some(Value::Nil));
    Ok(Some(fields).filter(|_| !none))
}
