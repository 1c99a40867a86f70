//! What happened, as typed [`Event`]s in an [`Envelope`], and the [`EventBus`] that carries them.
//!
//! A bus never makes a publisher wait: a subscriber that is too slow loses the oldest events and
//! is told how many.

mod event;
#[cfg(feature = "sqlite")]
mod log;
mod memory;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use event::{Event, Topic};
#[cfg(feature = "sqlite")]
pub use log::{EventLog, EventQuery, Follow, LogEntry, Page, Retention};
pub use memory::MemoryBus;

use crate::Result;
use crate::clock::WallTime;

/// An event with where and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Envelope {
    /// Counts up within one `instance`, without gaps.
    pub sequence: u64,
    /// The process that published it: names one bus in one process.
    pub instance: Arc<str>,
    /// When, by that process's wall clock.
    pub at: WallTime,
    /// What it is about; follows from the event.
    pub topic: Topic,
    /// What happened.
    pub event: Event,
}

impl Envelope {
    /// An envelope around an event.
    #[must_use]
    pub fn new(sequence: u64, instance: Arc<str>, at: WallTime, event: Event) -> Self {
        Self { sequence, instance, at, topic: event.topic(), event }
    }
}

/// Which events a subscriber wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// Only these topics; empty means all.
    pub topics: Vec<Topic>,
}

impl Filter {
    /// Every event.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Only this topic, beside those already named.
    #[must_use]
    pub fn with_topic(mut self, topic: Topic) -> Self {
        self.topics.push(topic);
        self
    }

    /// Does the subscriber want this event?
    #[must_use]
    pub fn matches(&self, envelope: &Envelope) -> bool {
        self.topics.is_empty() || self.topics.contains(&envelope.topic)
    }
}

/// What a subscriber receives.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// An event.
    Event(Arc<Envelope>),
    /// The subscriber was too slow, or the connection was lost: that many events are missing here.
    Missed(u64),
}

/// One subscriber's end. Dropping it unsubscribes.
#[async_trait]
pub trait Subscription: Debug + Send + 'static {
    /// The next event, or `None` when the bus is gone.
    ///
    /// # Behavior
    /// - Events of one topic and one publisher arrive in the order they were published.
    /// - What was dropped for slowness is told as [`Delivery::Missed`] before the next event.
    /// - Cancel-safe: a dropped call loses nothing.
    async fn next(&mut self) -> Option<Delivery>;
}

/// Carries events to whoever subscribed.
#[async_trait]
pub trait EventBus: Debug + Send + Sync + 'static {
    /// Publishes an event and gives back its envelope.
    ///
    /// # Behavior
    /// - Never waits for a subscriber; without one it is still `Ok`.
    /// - Sequences of one bus grow by one.
    /// - A subscriber receives what was published after [`subscribe`](EventBus::subscribe)
    ///   returned, and nothing from before.
    async fn publish(&self, event: Event) -> Result<Arc<Envelope>>;

    /// Subscribes.
    ///
    /// # Behavior
    /// - Every subscriber gets every event that its filter matches.
    /// - At most [`SUBSCRIBER_BUFFER`] events wait for it; beyond that the oldest are dropped and
    ///   counted.
    async fn subscribe(&self, filter: Filter) -> Result<Box<dyn Subscription>>;
}

/// How many undelivered events a subscriber may have.
pub const SUBSCRIBER_BUFFER: usize = 1_024;
