//! What crosses to JavaScript: `Value` on the Rust side, [`Answer`] on the other.

use std::time::Duration;

use jarvis_core::cache::CacheValue;
use jarvis_core::clock::WallTime;
use jarvis_core::{Error, ErrorKind, Result};
use napi::bindgen_prelude::{Buffer, Either, Either4, Either6, Latin1String, Null};
use serde::Serialize;

/// The answer of a call. Whole numbers of 64 bits cross as text: a JavaScript number holds 53.
#[derive(Debug)]
pub(crate) enum Value {
    Nothing,
    Truth(bool),
    Text(String),
    Bytes(CacheValue),
    List(Vec<Value>),
}

/// Text for JavaScript. ASCII is Latin-1 too and is copied; other text has to be decoded.
pub type Text = Either<Latin1String, String>;

/// A `Value` without a list.
pub type Part = Either4<Null, bool, Text, Buffer>;

/// What JavaScript gets: a value, or, as a number, the ticket of a call that goes on.
pub type Answer = Either6<Null, bool, Text, Buffer, Vec<Part>, u32>;

/// The quickest form of a text.
pub(crate) fn text(text: String) -> Text {
    if text.is_ascii() { Either::A(text.into()) } else { Either::B(text) }
}

impl From<Value> for Answer {
    fn from(value: Value) -> Self {
        match value {
            Value::Nothing => Self::A(Null),
            Value::Truth(truth) => Self::B(truth),
            Value::Text(given) => Self::C(text(given)),
            Value::Bytes(bytes) => Self::D(bytes.to_vec().into()),
            Value::List(values) => Self::E(values.into_iter().map(Part::from).collect()),
        }
    }
}

impl From<Value> for Part {
    fn from(value: Value) -> Self {
        match value {
            Value::Truth(truth) => Self::B(truth),
            Value::Text(given) => Self::C(text(given)),
            Value::Bytes(bytes) => Self::D(bytes.to_vec().into()),
            Value::Nothing | Value::List(_) => Self::A(Null),
        }
    }
}

impl From<()> for Value {
    fn from((): ()) -> Self {
        Self::Nothing
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Truth(truth)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Text(number.to_string())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Text(number.to_string())
    }
}

impl From<WallTime> for Value {
    fn from(time: WallTime) -> Self {
        Self::from(time.millis())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Nothing, Into::into)
    }
}

/// As JSON.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> Result<Value> {
    json_text(value).map(Value::Text)
}

/// As the text of JSON.
pub(crate) fn json_text<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| {
        Error::new(ErrorKind::Internal, "an answer has no JSON form").with_source(error)
    })
}

/// A duration from JavaScript's milliseconds.
pub(crate) fn millis(millis: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(millis / 1_000.0).map_err(|_| {
        Error::new(
            ErrorKind::InvalidInput,
            format!("invalid duration {millis}: give milliseconds, 0 or more"),
        )
    })
}
