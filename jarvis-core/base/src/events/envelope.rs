//! [`Envelope`]: an event with its instance, time and position.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Event, Message, Topic, TopicName, UnknownEvent};
use crate::clock::WallTime;

/// The place of an event in the one order that all instances on a bus see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StreamPosition {
    /// Names one life of the stream. Another one: the server lost what it held, and counts anew.
    pub epoch: Arc<str>,
    /// Counts up by one from 1 within an epoch, over all topics and instances.
    pub sequence: u64,
}

impl StreamPosition {
    /// A position.
    pub fn new(epoch: impl Into<Arc<str>>, sequence: u64) -> Self {
        Self { epoch: epoch.into(), sequence }
    }
}

/// An event with where and when.
///
/// As JSON `{"sequence": 7, "instance": "…", "at": …, "topic": "…", "event": {"type": …}, "stream":
/// {"epoch": "…", "sequence": 1234}}`. An event that this version does not know is read as
/// [`Event::Unknown`], so that a newer JARVIS on the same bus breaks nobody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Wire")]
#[non_exhaustive]
pub struct Envelope {
    /// Counts up by one within one `instance`, over all topics. A number is missing where a
    /// publisher was told that its event could not be published.
    pub sequence: u64,
    /// The process that published it: names one bus in one process. Together with `sequence` it
    /// names the event.
    pub instance: Arc<str>,
    /// When, by that process's wall clock.
    pub at: WallTime,
    /// What it is about; follows from the event.
    pub topic: Topic,
    /// What happened.
    pub event: Event,
    /// Its place in the order of all instances. Messages of the application have one, and what
    /// another instance published; JARVIS's own events don't wait for one in their own process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamPosition>,
}

impl Envelope {
    /// An envelope around an event. Known secrets in JARVIS's own events are masked.
    #[must_use]
    pub fn new(sequence: u64, instance: Arc<str>, at: WallTime, event: Event) -> Self {
        let event = event.masked();
        Self { sequence, instance, at, topic: event.topic(), event, stream: None }
    }

    /// Says its place in the order of all instances.
    #[must_use]
    pub fn with_stream(mut self, position: StreamPosition) -> Self {
        self.stream = Some(position);
        self
    }
}

/// An envelope as it is read.
#[derive(Deserialize)]
pub(super) struct Wire {
    sequence: u64,
    instance: Arc<str>,
    at: WallTime,
    topic: Topic,
    event: Value,
    #[serde(default)]
    stream: Option<StreamPosition>,
    /// Names the event before it in the stream of a shared bus.
    #[serde(default)]
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "only Redis has a stream"))]
    pub(super) previous: Option<Box<str>>,
}

impl From<Wire> for Envelope {
    fn from(wire: Wire) -> Self {
        let Wire { sequence, instance, at, topic, event, stream, .. } = wire;
        let event = read_event(&topic, event);
        Self { sequence, instance, at, topic, event, stream }
    }
}

/// An event, or the whole of what this version can't read.
fn read_event(topic: &Topic, body: Value) -> Event {
    let known = match body.get("type").and_then(Value::as_str) {
        Some("message") => return read_message(topic, body),
        _ => Event::deserialize(&body),
    };
    match known {
        Ok(event) if event.topic() == *topic => event,
        _ => Event::Unknown(UnknownEvent::new(topic.clone(), body)),
    }
}

/// A message with its payload as it is, not a copy of it.
fn read_message(topic: &Topic, mut body: Value) -> Event {
    let named = match topic {
        Topic::Named(name) if body.get("topic").and_then(Value::as_str) == Some(name.as_str()) => {
            TopicName::new(name.as_str()).ok()
        }
        _ => None,
    };
    let payload = body.get_mut("payload").map(Value::take).unwrap_or_default();
    match named.filter(|_| Message::admits(&payload).is_ok()) {
        Some(name) => Event::Message(Message::admitted(name, payload)),
        None => {
            if let Some(place) = body.get_mut("payload") {
                *place = payload;
            }
            Event::Unknown(UnknownEvent::new(topic.clone(), body))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::TopicName;
    use crate::vocabulary::ServiceId;
    use serde_json::json;

    fn envelope(event: Event) -> Envelope {
        Envelope::new(7, "one".into(), WallTime::from_millis(1_700_000_000_000), event)
    }

    fn round_trip(envelope: &Envelope) -> Value {
        let text = serde_json::to_string(envelope).unwrap();
        assert_eq!(serde_json::from_str::<Envelope>(&text).unwrap(), *envelope);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn the_json_of_an_event_of_jarvis_stays_as_it_was() {
        let service = ServiceId::new("vocal-coach").unwrap();
        let json = round_trip(&envelope(Event::FlappingStarted { service }));
        assert_eq!(
            json,
            json!({ "sequence": 7, "instance": "one", "at": json["at"], "topic": "health",
                "event": { "type": "flapping_started", "service": "vocal-coach" } })
        );
    }

    #[test]
    fn a_message_is_an_event_with_topic_and_payload() {
        let topic = TopicName::new("project.42.chat").unwrap();
        let message = Message::new(topic, json!({ "text": "take two" })).unwrap();
        let json = round_trip(
            &envelope(Event::Message(message)).with_stream(StreamPosition::new("e1", 12)),
        );
        assert_eq!(json["topic"], "project.42.chat");
        assert_eq!(json["stream"], json!({ "epoch": "e1", "sequence": 12 }));
        assert_eq!(
            json["event"],
            json!({ "type": "message", "topic": "project.42.chat",
                "payload": { "text": "take two" } })
        );
    }

    #[test]
    fn what_a_newer_version_says_is_kept_as_it_came() {
        let newer = json!({ "sequence": 1, "instance": "two", "at": round_trip(&envelope(
            Event::OperatorStopped { reason: "x".into() }))["at"], "topic": "cost", "newer": true,
            "event": { "type": "budget_spent", "usd": "12.50", "nested": { "a": [1, 2] } } });
        let envelope: Envelope = serde_json::from_value(newer.clone()).unwrap();
        let Event::Unknown(unknown) = &envelope.event else { panic!("{envelope:?}") };
        assert_eq!((unknown.kind(), unknown.topic.as_str()), ("budget_spent", "cost"));
        assert_eq!(envelope.event.topic().as_str(), "cost");
        assert_eq!(round_trip(&envelope)["event"], newer["event"]);
        let mut changed = newer;
        changed["topic"] = json!("health");
        changed["event"] = json!({ "type": "flapping_started" });
        let envelope: Envelope = serde_json::from_value(changed).unwrap();
        assert!(matches!(envelope.event, Event::Unknown(_)), "a field is missing: {envelope:?}");
    }
}
