//! Subscriptions: the filter that a subscriber sets, and the deliveries that it receives.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Envelope, Topic, TopicPattern};

/// How many undelivered events a subscriber may have, unless it asks for another number.
pub const SUBSCRIBER_BUFFER: usize = 1_024;

/// The most undelivered events that a subscriber may ask for.
pub const MAX_SUBSCRIBER_BUFFER: usize = 65_536;

/// Which instances' events a subscriber wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// Of every instance on the bus.
    #[default]
    Anywhere,
    /// Only what was published through this bus in this process.
    Here,
    /// Only what other instances published.
    Elsewhere,
}

/// What happens to a subscriber that is slower than its events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// The oldest events are dropped; the subscriber receives their number as [`Delivery::Missed`].
    #[default]
    DropOldest,
    /// The subscriber receives the waiting events, then [`Delivery::TooSlow`], and then `None`. For
    /// subscribers that prefer a restart to a gap.
    Close,
}

/// The events that a subscriber receives, and their buffer. All conditions must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// Only topics that match one of these; empty means all.
    pub topics: Vec<TopicPattern>,
    /// Only events of these instances.
    pub origin: Origin,
    /// The behaviour when the subscriber is too slow.
    pub overflow: Overflow,
    /// How many events may wait for it: 1 to [`MAX_SUBSCRIBER_BUFFER`].
    pub buffer: usize,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            topics: Vec::new(),
            origin: Origin::default(),
            overflow: Overflow::default(),
            buffer: SUBSCRIBER_BUFFER,
        }
    }
}

impl Filter {
    /// Every event.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// JARVIS's own events of this process, without those of other instances and of the application.
    #[must_use]
    pub fn own() -> Self {
        let topics = Topic::ALL.iter().cloned().map(TopicPattern::from).collect();
        Self { topics, origin: Origin::Here, ..Self::default() }
    }

    /// Only this topic, beside those already named.
    #[must_use]
    pub fn with_topic(self, topic: Topic) -> Self {
        self.with_pattern(topic.into())
    }

    /// Only topics that this pattern matches, beside those already named.
    #[must_use]
    pub fn with_pattern(mut self, pattern: TopicPattern) -> Self {
        self.topics.push(pattern);
        self
    }

    /// Only of these instances.
    #[must_use]
    pub fn with_origin(mut self, origin: Origin) -> Self {
        self.origin = origin;
        self
    }

    /// What happens when it is too slow.
    #[must_use]
    pub fn with_overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// How many events may wait for it; brought into 1 to [`MAX_SUBSCRIBER_BUFFER`].
    #[must_use]
    pub fn with_buffer(mut self, events: usize) -> Self {
        self.buffer = events.clamp(1, MAX_SUBSCRIBER_BUFFER);
        self
    }

    /// Does a subscriber of the instance `here` want this event?
    #[must_use]
    pub fn matches(&self, envelope: &Envelope, here: &str) -> bool {
        let origin = match self.origin {
            Origin::Anywhere => true,
            Origin::Here => *envelope.instance == *here,
            Origin::Elsewhere => *envelope.instance != *here,
        };
        let topic = |pattern: &TopicPattern| pattern.matches(&envelope.topic);
        origin && (self.topics.is_empty() || self.topics.iter().any(topic))
    }
}

/// Why events may be missing without anybody knowing how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Gap {
    /// The server lost all that it held (a restart without persistence, a flush): a new epoch.
    StreamLost,
    /// The server lost the newest of what it held (a failover, a restart): what was published
    /// last before it may be gone.
    StreamRolledBack,
}

/// What a subscriber receives.
///
/// As JSON an event is its [`Envelope`], and what is missing stands alone: `{"missed": 12}`,
/// `{"gap": "stream_lost"}`, `{"too_slow": true}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Wire", into = "Wire")]
#[non_exhaustive]
pub enum Delivery {
    /// An event.
    Event(Arc<Envelope>),
    /// That many events are missing here: the subscriber was too slow, or the connection was lost
    /// for longer than the bus remembers. In the second case nobody knows any more what they were
    /// about, so that events that its filter would not have matched are counted too.
    Missed(u64),
    /// Events may be missing here, and nobody knows how many.
    Gap(Gap),
    /// The last delivery to a subscriber with [`Overflow::Close`] that was too slow.
    TooSlow,
}

/// A [`Delivery`] as it is written.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Wire {
    Missed { missed: u64 },
    Gap { gap: Gap },
    TooSlow { too_slow: bool },
    Event(Arc<Envelope>),
}

impl From<Delivery> for Wire {
    fn from(delivery: Delivery) -> Self {
        match delivery {
            Delivery::Event(envelope) => Self::Event(envelope),
            Delivery::Missed(missed) => Self::Missed { missed },
            Delivery::Gap(gap) => Self::Gap { gap },
            Delivery::TooSlow => Self::TooSlow { too_slow: true },
        }
    }
}

impl From<Wire> for Delivery {
    fn from(wire: Wire) -> Self {
        match wire {
            Wire::Event(envelope) => Self::Event(envelope),
            Wire::Missed { missed } => Self::Missed(missed),
            Wire::Gap { gap } => Self::Gap(gap),
            Wire::TooSlow { .. } => Self::TooSlow,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Event, Message, TopicName};
    use super::*;
    use crate::clock::WallTime;
    use serde_json::json;

    #[test]
    fn a_delivery_reads_as_it_was_written() {
        let topic = TopicName::new("project.42.chat").unwrap();
        let event = Event::Message(Message::new(topic, json!({ "missed": 1 })).unwrap());
        let envelope = Arc::new(Envelope::new(7, "one".into(), WallTime::from_millis(1), event));
        let written = serde_json::to_value(&*envelope).unwrap();
        for (delivery, expected) in [
            (Delivery::Event(envelope), written),
            (Delivery::Missed(12), json!({ "missed": 12 })),
            (Delivery::Gap(Gap::StreamRolledBack), json!({ "gap": "stream_rolled_back" })),
            (Delivery::TooSlow, json!({ "too_slow": true })),
        ] {
            let value = serde_json::to_value(&delivery).unwrap();
            assert_eq!(value, expected);
            assert_eq!(serde_json::from_value::<Delivery>(value).unwrap(), delivery);
        }
    }
}
