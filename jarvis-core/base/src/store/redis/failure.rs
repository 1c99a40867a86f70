//! Conversion of Redis errors and timeouts to [`Error`].

use std::fmt::Display;
use std::time::Duration;

use redis::{RedisError, ServerError};

use super::command::Effect;
use crate::{Error, ErrorKind, Result, Retry};

/// A refusal by a server: it was not applied.
pub(super) fn refused(server: &dyn Display, error: &ServerError) -> Error {
    let detail = error.details().unwrap_or_default();
    // The arguments of an unknown command would follow, and they may be secrets.
    let detail = detail.split(", with args").next().unwrap_or_default();
    let (kind, advice) = meaning(error.code(), detail);
    let safe = match kind {
        ErrorKind::Unavailable | ErrorKind::Exhausted => Retry::Safe { after: None },
        _ => Retry::Never,
    };
    let colon = if detail.is_empty() { "" } else { ": " };
    Error::new(
        kind,
        format!("Redis at {server} returned {}{colon}{detail}; {advice}", error.code()),
    )
    .with_retry(safe)
}

fn meaning(code: &str, detail: &str) -> (ErrorKind, &'static str) {
    match code {
        "LOADING" => (ErrorKind::Unavailable, "it is loading its data, try again soon"),
        "READONLY" => (ErrorKind::Unavailable, "it is a replica, JARVIS looks up the master again"),
        "CLUSTERDOWN" => (ErrorKind::Unavailable, "the cluster lacks a master, see CLUSTER INFO"),
        "TRYAGAIN" => (ErrorKind::Unavailable, "its slot is being moved, try again"),
        "MASTERDOWN" => (ErrorKind::Unavailable, "its master is gone, see INFO replication"),
        "NOREPLICAS" => (ErrorKind::Unavailable, "it has too few replicas to take writes"),
        "BUSY" => (ErrorKind::Unavailable, "a script is running too long, see SCRIPT KILL"),
        "MOVED" | "ASK" => (
            ErrorKind::Unavailable,
            "the slot moved again and again; if it is a cluster, open it as redis+cluster://",
        ),
        "NOAUTH" | "WRONGPASS" => (ErrorKind::Unauthorized, "check user and password in its URL"),
        "NOPERM" => (ErrorKind::Forbidden, "allow it to this user with ACL SETUSER"),
        "OOM" => (ErrorKind::Exhausted, "raise its maxmemory, or let it evict"),
        "MISCONF" => (ErrorKind::Exhausted, "it cannot save to disk, see its log"),
        "WRONGTYPE" => {
            (ErrorKind::Corrupt, "something else wrote under this key, choose another prefix")
        }
        "ERR" if detail.contains("max number of clients") => (
            ErrorKind::Exhausted,
            "raise maxclients, or find the client that leaves connections open",
        ),
        "ERR" if detail.contains("unknown") => {
            (ErrorKind::Unsupported, "Redis 7.0 or newer is needed")
        }
        "ERR" if detail.contains("not an integer") || detail.contains("would overflow") => {
            (ErrorKind::InvalidInput, "the stored value is not an integer")
        }
        "ERR" if detail.contains("not a valid float") || detail.contains("out of range") => {
            (ErrorKind::InvalidInput, "the value is not a number in the valid range")
        }
        "ERR" if detail.contains("DB index") => {
            (ErrorKind::InvalidInput, "choose an existing database (the number after the last /)")
        }
        _ => (ErrorKind::Internal, "this is a bug, please report it"),
    }
}

/// The connection broke before the answer came.
pub(super) fn lost(server: &dyn Display, effect: Effect, error: &RedisError) -> Error {
    let (retry, applied) = match effect {
        Effect::Read => (Retry::Safe { after: None }, ""),
        Effect::Write | Effect::Idempotent => {
            (Retry::Indeterminate, "; the command may or may not have been applied")
        }
    };
    Error::new(
        ErrorKind::Unavailable,
        format!("the connection to Redis at {server} was lost before its answer{applied}"),
    )
    .with_retry(retry)
    .with_source(error.clone())
}

/// The deadline came before the answer.
pub(super) fn late(server: &dyn Display, effect: Effect, deadline: Duration) -> Error {
    let (retry, applied) = match effect {
        Effect::Read => (Retry::Safe { after: None }, ""),
        Effect::Write | Effect::Idempotent => {
            (Retry::Indeterminate, "; the command may or may not have been applied")
        }
    };
    Error::new(
        ErrorKind::Timeout,
        format!("Redis at {server} gave no answer within {deadline:?}{applied}"),
    )
    .with_retry(retry)
}

/// No connection could be made.
pub(super) fn unreachable(server: &dyn Display, error: &RedisError) -> Error {
    if let Some(code) = error.code().filter(|code| *code != "ERR") {
        return named(server, error, code);
    }
    let text = error.to_string();
    for code in ["NOAUTH", "WRONGPASS", "NOPERM", "LOADING"] {
        if text.contains(code) {
            return named(server, error, code);
        }
    }
    if error.kind() == redis::ErrorKind::AuthenticationFailed {
        return named(server, error, "WRONGPASS");
    }
    let (kind, hint) = match &text {
        text if text.contains("DB index") => {
            (ErrorKind::InvalidInput, "; choose an existing database")
        }
        text if text.contains("max number of clients") => {
            (ErrorKind::Exhausted, "; raise maxclients")
        }
        _ if error.kind() == redis::ErrorKind::RESP3NotSupported => {
            (ErrorKind::Unsupported, "; Redis 7.0 or newer is needed")
        }
        _ => (ErrorKind::Unavailable, ""),
    };
    Error::new(kind, format!("Redis at {server} can't be reached: {text}{hint}"))
        .with_retry(Retry::Safe { after: None })
        .with_source(error.clone())
}

fn named(server: &dyn Display, error: &RedisError, code: &str) -> Error {
    let (kind, advice) = meaning(code, "");
    Error::new(kind, format!("Redis at {server} refused the login ({code}); {advice}"))
        .with_retry(if kind == ErrorKind::Unavailable {
            Retry::Safe { after: None }
        } else {
            Retry::Never
        })
        .with_source(error.clone())
}

/// A value of the shape that the command promises.
pub(super) fn read<T: redis::FromRedisValue>(
    server: &dyn Display,
    value: redis::Value,
) -> Result<T> {
    redis::from_redis_value(value).map_err(|error| {
        Error::new(
            ErrorKind::Corrupt,
            format!("Redis at {server} returned a value of an unexpected type"),
        )
        .with_source(error)
    })
}
