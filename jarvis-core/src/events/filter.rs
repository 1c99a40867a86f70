//! What a subscriber wants, and what it receives.

use std::sync::Arc;

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
    /// The oldest events are dropped, and it is told how many: [`Delivery::Missed`].
    #[default]
    DropOldest,
    /// It gets what waits, then [`Delivery::TooSlow`], and then nothing more. For those who would
    /// rather begin anew than go on with a hole.
    Close,
}

/// Which events a subscriber wants, and how they wait for it. All conditions hold together.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// Only topics that one of these matches; empty means all.
    pub topics: Vec<TopicPattern>,
    /// Only of these instances.
    pub origin: Origin,
    /// When it is too slow.
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

    /// What this process's own JARVIS says: its own topics, and not what other instances or the
    /// application say.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Gap {
    /// The server lost all that it held (a restart without persistence, a flush): a new epoch.
    StreamLost,
    /// The server lost the newest of what it held (a failover, a restart): what was published
    /// last before it may be gone.
    StreamRolledBack,
}

/// What a subscriber receives.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// An event.
    Event(Arc<Envelope>),
    /// That many events are missing here: the subscriber was too slow, or the connection was lost
    /// for longer than the bus remembers. In the second case events that its filter would not have
    /// matched are counted too.
    Missed(u64),
    /// Events may be missing here, and nobody knows how many.
    Gap(Gap),
    /// The last delivery to a subscriber with [`Overflow::Close`] that was too slow.
    TooSlow,
}
