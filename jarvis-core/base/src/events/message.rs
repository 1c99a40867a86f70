//! [`Message`]: an application's event; and events of a newer JARVIS that this one does not know.

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::{Topic, TopicName};
use crate::{Error, ErrorKind, Result};

/// The largest payload of a [`Message`], in bytes of its JSON text.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// How deep the arrays and objects of a payload may lie in each other.
pub const MAX_PAYLOAD_DEPTH: usize = 64;

/// A message of the application: a topic of its own and any JSON.
///
/// ```
/// use jarvis_core::events::{Message, TopicName};
///
/// let topic = TopicName::new("project.42.chat")?;
/// let message = Message::new(topic, serde_json::json!({ "text": "take two" }))?;
/// assert_eq!(message.payload()["text"], "take two");
/// # Ok::<(), jarvis_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Message {
    topic: TopicName,
    payload: Value,
}

#[derive(Deserialize)]
struct Unchecked {
    topic: TopicName,
    #[serde(default)]
    payload: Value,
}

impl TryFrom<Unchecked> for Message {
    type Error = Error;

    fn try_from(unchecked: Unchecked) -> Result<Self> {
        Self::new(unchecked.topic, unchecked.payload)
    }
}

impl Message {
    /// A message.
    ///
    /// # Errors
    /// `TooLarge` when the payload is over [`MAX_PAYLOAD`], `InvalidInput` when it is deeper than
    /// [`MAX_PAYLOAD_DEPTH`].
    pub fn new(topic: TopicName, payload: Value) -> Result<Self> {
        match Self::admits(&payload) {
            Ok(()) => Ok(Self { topic, payload }),
            Err(error) => Err(error.with_context("topic", &topic)),
        }
    }

    /// May this be a payload?
    pub(super) fn admits(payload: &Value) -> Result<()> {
        if !is_shallow(payload, MAX_PAYLOAD_DEPTH) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("the payload is nested deeper than {MAX_PAYLOAD_DEPTH} levels"),
            ));
        }
        serde_json::to_writer(Length(0), payload).map_err(|_| {
            Error::new(
                ErrorKind::TooLarge,
                format!("the payload is over {MAX_PAYLOAD} bytes of JSON; publish a reference to the data instead"),
            )
        })
    }

    /// Of a payload that [`admits`](Self::admits) has seen.
    pub(super) const fn admitted(topic: TopicName, payload: Value) -> Self {
        Self { topic, payload }
    }

    /// What it is about.
    #[must_use]
    pub const fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// What it says.
    #[must_use]
    pub const fn payload(&self) -> &Value {
        &self.payload
    }

    /// What it says, to keep.
    #[must_use]
    pub fn into_payload(self) -> Value {
        self.payload
    }
}

/// Counts, and refuses what is too much.
struct Length(usize);

impl std::io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        if self.0 > MAX_PAYLOAD {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn is_shallow(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(|it| is_shallow(it, levels - 1)),
        Value::Object(map) => levels > 0 && map.values().all(|it| is_shallow(it, levels - 1)),
        _ => true,
    }
}

/// An event that this version can't read: a newer JARVIS published it. Kept as it came, so that
/// it can be shown and passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownEvent {
    /// What it is about.
    pub topic: Topic,
    /// All of it.
    pub body: Value,
}

impl UnknownEvent {
    pub(super) const fn new(topic: Topic, body: Value) -> Self {
        Self { topic, body }
    }

    /// Its `type`.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.body.get("type").and_then(Value::as_str).unwrap_or("no type")
    }
}

impl Serialize for UnknownEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.body.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn topic() -> TopicName {
        TopicName::new("project.42.chat").unwrap()
    }

    #[test]
    fn a_payload_has_a_largest_size_and_depth() {
        let text = |length: usize| json!("x".repeat(length));
        assert!(Message::new(topic(), text(MAX_PAYLOAD - 2)).is_ok());
        let error = Message::new(topic(), text(MAX_PAYLOAD - 1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        let nested = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!([inner]));
        assert!(Message::new(topic(), nested(MAX_PAYLOAD_DEPTH)).is_ok());
        let error = Message::new(topic(), nested(MAX_PAYLOAD_DEPTH + 1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn what_is_read_is_checked_too() {
        let read = |text: &str| serde_json::from_str::<Message>(text);
        assert_eq!(read(r#"{"topic": "a.b"}"#).unwrap().payload(), &Value::Null);
        assert!(read(r#"{"topic": "health", "payload": 1}"#).is_err());
        let long = format!(r#"{{"topic": "a", "payload": "{}"}}"#, "x".repeat(MAX_PAYLOAD));
        assert!(read(&long).is_err());
    }
}
