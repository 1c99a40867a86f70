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

/// The queue of JARVIS's own events that are not yet sent to the other instances on a shared bus.
/// Publishing them does not wait for the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backlog {
    /// The number of queued events.
    pub events: usize,
    /// Their size, in bytes of JSON.
    pub bytes: usize,
    /// The number of events dropped since the bus was created, because the queue was full.
    pub dropped: u64,
}

/// One subscriber's end. Dropping it unsubscribes.
#[async_trait]
pub trait Subscription: Debug + Send + 'static {
    /// The next event, or `None` after the bus was dropped or the subscriber was closed.
    ///
    /// # Behavior
    /// - Events of one topic and one publisher arrive in the order they were published.
    /// - All subscribers of all instances receive messages in the same order, that of their
    ///   [`stream`](Envelope::stream) positions, each message once.
    /// - If events were dropped because the subscriber is slow, [`Delivery::Missed`] precedes the
    ///   next event. With [`Overflow::Close`] the waiting events are still delivered, then
    ///   [`Delivery::TooSlow`].
    /// - Events that were lost between instances are reported as [`Delivery::Missed`] if their
    ///   number is known, else as [`Delivery::Gap`].
    /// - The remaining events of a dropped bus are delivered before `None`.
    /// - Cancel-safe: dropping the future loses no event.
    async fn next(&mut self) -> Option<Delivery>;
}

/// Delivers events to subscribers in this process and, with a shared backend, in other processes.
#[async_trait]
pub trait EventBus: Debug + Send + Sync + 'static {
    /// The name of this bus in this process.
    ///
    /// # Behavior
    /// - The name never changes, and is unique among the instances on a shared bus.
    /// - Every envelope that is published through this bus contains it.
    fn instance(&self) -> &str;

    /// Where the bus is: in memory or on a server.
    ///
    /// # Behavior
    /// - The answer never changes.
    /// - With [`Locality::InMemory`] every call completes on its first poll and needs no
    ///   runtime; only [`Subscription::next`] waits for an event.
    fn locality(&self) -> Locality;

    /// Publishes an event and returns its envelope.
    ///
    /// When this returns, JARVIS's own events ([`Topic::ALL`]) have reached the subscribers of this
    /// process, and a shared bus sends them to the other instances as soon as it can. A
    /// [`Message`] has its position in the order of all instances when this returns.
    ///
    /// # Behavior
    /// - It never waits for a subscriber, and returns `Ok` even if there is none.
    /// - The sequence numbers of one instance increase by one.
    /// - A subscriber receives the events published after [`subscribe`](EventBus::subscribe)
    ///   returned, and none from before.
    /// - JARVIS's own events are `Ok` in every state of the server, and are never lost in their
    ///   own process.
    /// - `Ok` for a message means that it has its [`stream`](Envelope::stream) position, which is
    ///   one higher than the previous one.
    /// - The order of messages is that of the first polls of their futures: messages that are
    ///   published concurrently keep that order.
    ///
    /// # Errors
    /// Only for messages, on a shared bus: `Unavailable` or `Timeout` by the bus's deadline. With
    /// [`Retry::Indeterminate`](crate::Retry::Indeterminate) the message may have been published
    /// nevertheless.
    async fn publish(&self, event: Event) -> Result<Arc<Envelope>>;

    /// Waits until the server has received all of JARVIS's own events that were published before.
    /// Call it before a program ends.
    ///
    /// # Behavior
    /// - `Ok` at once if the queue is empty.
    ///
    /// # Errors
    /// On a shared bus `Unavailable` or `Timeout` if the server does not receive them by the bus's
    /// deadline; the bus continues to send them.
    async fn flush(&self) -> Result<()>;

    /// The events that wait to be sent to the other instances.
    ///
    /// # Behavior
    /// - It does not contact a server.
    /// - Empty after [`flush`](EventBus::flush) returned `Ok`, and always on a bus within one process.
    fn backlog(&self) -> Backlog;

    /// Subscribes.
    ///
    /// # Behavior
    /// - Every subscriber receives every event that its filter matches: by topic, by pattern, by
    ///   origin.
    /// - At most [`Filter::buffer`] events wait for it. Beyond that the oldest are dropped and
    ///   counted, or the subscriber is closed, depending on its [`Overflow`].
    /// - Dropping the subscription does not affect other subscribers.
    /// - With [`Origin::Here`] and JARVIS's own topics ([`Filter::own`]) it needs no server.
    ///
    /// # Errors
    /// On a shared bus `Unavailable` or `Timeout` if the server does not report the current position
    /// of its stream.
    async fn subscribe(&self, filter: Filter) -> Result<Box<dyn Subscription>>;
}
