//! [`SessionData`]: a JSON object as text.

use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use base::{Error, ErrorKind, Result};

/// What a session holds: one JSON object, kept as text and parsed by whoever reads it, so that
/// it crosses a language's border unread. Cheap to clone.
///
/// ```
/// use jarvis_core::session::SessionData;
///
/// #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
/// struct Visit {
///     project: String,
///     takes: u32,
/// }
///
/// let visit = Visit { project: "demo".into(), takes: 3 };
/// let data = SessionData::of(&visit)?;
/// assert_eq!(data.as_str(), r#"{"project":"demo","takes":3}"#);
/// assert_eq!(data.get::<Visit>()?, visit);
/// # Ok::<(), jarvis_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SessionData(Arc<str>);

impl SessionData {
    /// `{}`.
    #[must_use]
    pub fn empty() -> Self {
        Self("{}".into())
    }

    /// From anything that serialises to a JSON object.
    ///
    /// # Errors
    /// `InvalidInput` when it does not: a list, a number that JSON has no word for, a map whose
    /// keys are no text.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        let text = serde_json::to_string(value).map_err(|error| refused(&error))?;
        if !text.starts_with('{') {
            return Err(no_object());
        }
        Ok(Self(text.into()))
    }

    /// From text, which is checked to be one JSON object and kept as it is.
    ///
    /// # Errors
    /// `InvalidInput` with the place where it stops being one.
    pub fn parse(text: impl Into<Arc<str>>) -> Result<Self> {
        let text = text.into();
        if !text.trim_ascii_start().starts_with('{') {
            return Err(no_object());
        }
        serde_json::from_str::<IgnoredAny>(&text).map_err(|error| refused(&error))?;
        Ok(Self(text))
    }

    /// From text that this crate has checked before it was stored.
    pub(super) fn trusted(text: Arc<str>) -> Self {
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// This as the base of a three-way merge: each top-level key that differs between this and
    /// `mine` is taken from `mine` (a key that is absent there is removed), all else from `theirs`.
    ///
    /// Values are compared by what they are: the order of keys and white space make no difference.
    ///
    /// ```
    /// use jarvis_core::session::SessionData;
    ///
    /// let base = SessionData::parse(r#"{"a":{"x":1,"y":2},"b":1}"#)?;
    /// let mine = SessionData::parse(r#"{"a":{"y":2,"x":1},"b":2}"#)?;
    /// let theirs = SessionData::parse(r#"{"a":{"x":9,"y":9},"b":1}"#)?;
    /// assert_eq!(base.merged(&mine, &theirs)?.as_str(), r#"{"a":{"x":9,"y":9},"b":2}"#);
    /// # Ok::<(), jarvis_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// None in practice: all three are JSON objects.
    pub fn merged(&self, mine: &Self, theirs: &Self) -> Result<Self> {
        super::merge::merged(self, mine, theirs)
    }

    /// As a type of the caller's.
    ///
    /// # Errors
    /// `InvalidInput` when the data has another shape; the message names the field, not its value.
    pub fn get<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.0).map_err(|error| refused(&error))
    }
}

fn no_object() -> Error {
    Error::new(ErrorKind::InvalidInput, "session data must be a JSON object, such as {\"cart\":[]}")
}

pub(super) fn refused(error: &serde_json::Error) -> Error {
    let (line, column) = (error.line(), error.column());
    let place = if line == 0 { String::new() } else { format!(" (line {line}, column {column})") };
    let why = match error.classify() {
        serde_json::error::Category::Eof => "it ends too early",
        serde_json::error::Category::Syntax => "it is not valid JSON, or nested too deep",
        serde_json::error::Category::Data | serde_json::error::Category::Io => {
            "it does not match the expected type"
        }
    };
    Error::new(ErrorKind::InvalidInput, format!("invalid session data: {why}{place}"))
}

impl Default for SessionData {
    fn default() -> Self {
        Self::empty()
    }
}

/// Says how long it is, not what is in it.
impl fmt::Debug for SessionData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionData({} bytes)", self.0.len())
    }
}

/// As the JSON object itself.
impl Serialize for SessionData {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value: serde_json::Value =
            serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        value.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SessionData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Map::<String, serde_json::Value>::deserialize(deserializer)?;
        Self::of(&value).map_err(serde::de::Error::custom)
    }
}
