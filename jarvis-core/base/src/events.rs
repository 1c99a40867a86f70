//! Events: typed [`Event`]s in an [`Envelope`], and the [`EventBus`] that delivers them.
//!
//! JARVIS publishes its events on reserved topics. Applications publish [`Message`]s on topics of
//! their own (`project.42.chat`). Subscribers choose topics by name or by pattern.
//!
//! A publisher never waits for a subscriber. A subscriber that is too slow loses the oldest events
//! and receives their number, or is closed, depending on its [`Overflow`] setting.
//!
//! | bus | reaches | remembers |
//! |---|---|---|
//! | `memory:` | this process | nothing |
//! | `redis://`, `rediss://`, `redis+cluster://`, `redis+sentinel://` | every instance on the server | the last 10,000 events, to fill the gap of a lost connection |
//!
//! ```
//! use jarvis_core::events::{Delivery, Event, EventBus, Filter, MemoryBus, Message, TopicName, TopicPattern};
//! # use std::sync::Arc;
//! # use jarvis_core::clock::SystemClock;
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let bus = MemoryBus::new(Arc::new(SystemClock::new()), "backend-1");
//! let chats = Filter::all().with_pattern(TopicPattern::new("project.*.chat")?);
//! let mut chats = bus.subscribe(chats).await?;
//!
//! let topic = TopicName::new("project.42.chat")?;
//! let message = Message::new(topic, serde_json::json!({ "text": "take two" }))?;
//! let sent = bus.publish(Event::Message(message)).await?;
//! assert_eq!(chats.next().await, Some(Delivery::Event(sent)));
//! # Ok::<(), jarvis_core::Error>(())
//! # }).unwrap();
//! ```

mod envelope;
mod event;
mod filter;
mod inbox;
#[cfg(feature = "sqlite")]
mod log;
mod memory;
mod message;
mod policy;
#[cfg(feature = "redis")]
mod redis;
mod topic;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

pub use envelope::{Envelope, StreamPosition};
pub use event::Event;
pub use filter::{
    Delivery, Filter, Gap, MAX_SUBSCRIBER_BUFFER, Origin, Overflow, SUBSCRIBER_BUFFER,
};
#[cfg(feature = "sqlite")]
pub use log::{EventLog, EventQuery, Follow, LogEntry, Page, Retention};
pub use memory::MemoryBus;
pub use message::{MAX_PAYLOAD, MAX_PAYLOAD_DEPTH, Message, UnknownEvent};
pub use policy::BusPolicy;
#[cfg(feature = "redis")]
pub use redis::RedisBus;
pub use topic::{MAX_TOPIC, Topic, TopicName, TopicPattern};

use crate::Result;
use crate::vocabulary::Locality;

/// What waits to be carried to the other instances on a shared bus: JARVIS's own events, which don't
/// wait for the server themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backlog {
    /// How many wait.
    pub events: usize,
    /// Their size, in bytes of JSON.
    pub bytes: usize,
    /// How many were dropped since the bus was made, because too many waited.
    pub dropped: u64,
}

/// One subscriber's end. Dropping it unsubscribes.
#[async_trait]
pub trait Subscription: Debug + Send + 'static {
    /// The next event, or `None` when the bus is gone or the subscriber was closed.
    ///
    /// # Behavior
    /// - Events of one topic and one publisher arrive in the order they were published.
    /// - Messages arrive at all subscribers of all instances in one order, that of their
    ///   [`stream`](Envelope::stream) positions, each once.
    /// - What was dropped for slowness is told as [`Delivery::Missed`] before the next event, and
    ///   with [`Overflow::Close`] what waits is still delivered, then [`Delivery::TooSlow`].
    /// - What was lost between instances is told as [`Delivery::Missed`] where it can be counted,
    ///   else as [`Delivery::Gap`].
    /// - After the last event of a bus that is gone comes `None`.
    /// - Cancel-safe: a dropped call loses nothing.
    async fn next(&mut self) -> Option<Delivery>;
}

/// Carries events to whoever subscribed, in this process and, where the backend is shared, in
/// others.
#[async_trait]
pub trait EventBus: Debug + Send + Sync + 'static {
    /// Names this bus in this process.
    ///
    /// # Behavior
    /// - Stays the same; of two instances on a shared bus each has its own.
    /// - Is in every envelope that is published through it.
    fn instance(&self) -> &str;

    /// How far away the bus is.
    ///
    /// # Behavior
    /// - Stays the same.
    /// - With [`Locality::InMemory`] every call is complete on its first poll, and needs no
    ///   runtime; only [`Subscription::next`] waits for an event.
    fn locality(&self) -> Locality;

    /// Publishes an event and gives back its envelope.
    ///
    /// JARVIS's own events ([`Topic::ALL`]) are with the subscribers of this process when it
    /// answers; a shared bus carries them to the others as soon as it can. A [`Message`] has its
    /// place in the order of all instances when it answers.
    ///
    /// # Behavior
    /// - Never waits for a subscriber; without one it is still `Ok`.
    /// - Sequences of one instance grow by one.
    /// - A subscriber receives what was published after [`subscribe`](EventBus::subscribe)
    ///   returned, and nothing from before.
    /// - JARVIS's own events are `Ok` whatever the state of a server, and are never lost in their
    ///   own process.
    /// - `Ok` for a message means that it has its [`stream`](Envelope::stream) position, one
    ///   more than the one before it.
    /// - A message takes its place when its future is first polled: those that are published without
    ///   waiting for each other keep that order.
    ///
    /// # Errors
    /// Only for messages, on a shared bus: `Unavailable` or `Timeout` by the bus's deadline. With
    /// [`Retry::Indeterminate`](crate::Retry::Indeterminate) the message may have been published
    /// all the same.
    async fn publish(&self, event: Event) -> Result<Arc<Envelope>>;

    /// Waits until JARVIS's own events that were published before are with the other instances'
    /// server. A program calls it before it ends.
    ///
    /// # Behavior
    /// - `Ok` at once where nothing waits.
    ///
    /// # Errors
    /// On a shared bus `Unavailable` or `Timeout` when the server does not take them by the bus's
    /// deadline; it goes on trying.
    async fn flush(&self) -> Result<()>;

    /// What waits to be carried to the other instances.
    ///
    /// # Behavior
    /// - Asks no server.
    /// - Nothing once [`flush`](EventBus::flush) was `Ok`, and always where there are no others.
    fn backlog(&self) -> Backlog;

    /// Subscribes.
    ///
    /// # Behavior
    /// - Every subscriber gets every event that its filter matches: by topic, by pattern, by
    ///   origin.
    /// - At most [`Filter::buffer`] events wait for it; beyond that the oldest are dropped and
    ///   counted, or it is closed, as its [`Overflow`] says.
    /// - Dropping the subscription harms nobody else.
    /// - With [`Origin::Here`] and JARVIS's own topics ([`Filter::own`]) it needs no server.
    ///
    /// # Errors
    /// On a shared bus `Unavailable` or `Timeout` when the server can't be asked where its stream
    /// stands.
    async fn subscribe(&self, filter: Filter) -> Result<Box<dyn Subscription>>;
}
