//! [`RedisBus`]: an event bus shared by all instances on a Redis server.
//!
//! # How it works
//!
//! A message is published by one script: it takes the next number of the stream, appends the
//! envelope to a short Redis stream and publishes it on a channel. Messages that are published while
//! others are under way wait for those, and then go together. Subscribers listen on the
//! channel, and put what they hear in order: each entry carries its epoch, its sequence and the
//! name of the entry before it. A hole is waited on for 50 ms and then filled from the stream; so
//! is what was missed while the connection was lost. What the stream no longer has is told as
//! [`Delivery::Missed`](super::Delivery::Missed), a server that lost what it held as
//! [`Delivery::Gap`](super::Delivery::Gap). What a master took with it before a replica or an instance
//! had it shows nowhere: Redis acknowledges before it replicates.
//!
//! | key or channel | what it is |
//! |---|---|
//! | `{jarvis:bus}:head` | hash: `epoch`, `sequence`, `last` (the name of the newest entry) |
//! | `{jarvis:bus}:stream` | stream: id `<sequence>-0`, fields `i` (the name) and `e` (the envelope) |
//! | `jarvis:broadcasts` | channel: the envelopes, as JSON |
//!
//! The epoch is random and made with the head, so that a server that comes back empty is noticed;
//! the chain of names shows when a failover or a restart brought back an older end of the stream.
//! The names are those of [`Envelope`]: `<instance>:<sequence>`.
//!
//! # When Redis is away
//!
//! - **Messages** fail within the client's deadline, at once while the server is known to be down.
//!   An answer that was lost is looked up once; where that can't be, the error is
//!   `Retry::Indeterminate`. A message whose publisher was told an error is with nobody, unless it
//!   is indeterminate: then with all or with nobody.
//! - **JARVIS's own events** are with the subscribers of this process at once, always. For the
//!   other instances up to 10,000 events or 8 MiB wait; beyond that the oldest are dropped, and
//!   when Redis is back that is told as [`Event::OperatorTrouble`].
//! - **Subscriptions** go on with what happens here, and get the rest when Redis is back.
//!
//! # What it costs
//!
//! Every instance hears every message, whatever its subscribers ask for. The stream holds the last
//! 10,000 entries ([`BusPolicy::history`]), at 64 KiB a payload 640 MiB at the very
//! most, at the usual few hundred bytes a few MiB. Channels are shared by all databases of a
//! server: buses that shall not meet on one server need different prefixes.

mod forward;
mod order;
mod outbox;
mod receive;
mod script;

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use self::forward::Forwarder;
use self::outbox::Outbox;
use self::receive::Readiness;
use self::script::Keys;
use super::inbox::{LocalSubscription, Subscribers};
use super::{
    Backlog, BusPolicy, Envelope, Event, EventBus, Filter, Origin, StreamPosition, Subscription,
};
use crate::clock::{ClockExt, SharedClock};
use crate::store::redis::Redis;
use crate::sync::{Mutex, MutexGuard};
use crate::vocabulary::Severity;
use crate::{Error, ErrorKind, Result, Retry};

#[derive(Debug)]
struct Shared {
    redis: Redis,
    clock: SharedClock,
    keys: Keys,
    history: usize,
    instance: Arc<str>,
    subscribers: Mutex<Subscribers>,
    /// Of this instance. Held while an own event is handed out or a message takes its place, so that
    /// they are in order.
    sequence: Mutex<u64>,
    outbox: Outbox,
    forwarder: Forwarder,
}

impl Shared {
    fn subscribers(&self) -> MutexGuard<'_, Subscribers> {
        self.subscribers.lock()
    }

    fn sequence(&self) -> MutexGuard<'_, u64> {
        self.sequence.lock()
    }

    fn envelope(&self, sequence: &mut u64, event: Event) -> Envelope {
        *sequence += 1;
        Envelope::new(*sequence, Arc::clone(&self.instance), self.clock.wall(), event)
    }

    /// Hands out an own event here and queues it for the others.
    fn announce(&self, event: Event) -> Result<Arc<Envelope>> {
        let mut sequence = self.sequence();
        let envelope = Arc::new(self.envelope(&mut sequence, event));
        self.subscribers().deliver(&envelope);
        self.forwarder.push(Arc::clone(&envelope))?;
        Ok(envelope)
    }

    /// Tells everybody that others missed something.
    fn confess(&self, dropped: u64) {
        let message =
            format!("{dropped} events of this instance were dropped while Redis was unreachable");
        // It may be dropped in its turn; the next one tells of it then.
        let event = Event::OperatorTrouble { severity: Severity::Warning, message };
        if let Err(error) = self.announce(event) {
            tracing::warn!(%error, dropped, "events were dropped before they reached the other instances");
        }
    }
}

/// The tasks of a bus. They end with its last handle.
#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    receiver: Mutex<Option<tokio::task::JoinHandle<()>>>,
    ready: watch::Sender<Readiness>,
    sender: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        for task in [&self.receiver, &self.sender] {
            if let Some(task) = task.lock().take() {
                task.abort();
            }
        }
        self.shared.subscribers().close(&self.shared.instance);
    }
}

/// A bus for all instances on a Redis. Clones share it; subscriptions end when the last one is
/// gone. Needs a tokio runtime.
#[derive(Debug, Clone)]
pub struct RedisBus(Arc<Inner>);

impl RedisBus {
    /// An instance on the bus of this Redis. Connects nothing.
    ///
    /// # Errors
    /// `ConfigInvalid` for a policy that can't be kept; `Exhausted` without random numbers.
    pub fn new(redis: &Redis, policy: BusPolicy, clock: SharedClock) -> Result<Self> {
        policy.validate()?;
        let BusPolicy { prefix, history, instance } = policy;
        let instance = match instance {
            Some(instance) => instance,
            None => format!("{}-{}", std::process::id(), script::random()?),
        };
        let shared = Shared {
            redis: redis.clone(),
            clock,
            keys: Keys::new(&prefix),
            history,
            instance: instance.into(),
            subscribers: Mutex::default(),
            sequence: Mutex::new(0),
            outbox: Outbox::default(),
            forwarder: Forwarder::default(),
        };
        Ok(Self(Arc::new(Inner {
            shared: Arc::new(shared),
            receiver: Mutex::default(),
            ready: watch::Sender::new(Readiness::Starting),
            sender: Mutex::default(),
        })))
    }

    async fn publish_in_order(&self, event: Event) -> Result<Arc<Envelope>> {
        let shared = &self.0.shared;
        let (envelope, ticket) = {
            let mut sequence = shared.sequence();
            let envelope = shared.envelope(&mut sequence, event);
            let ticket = outbox::push(shared, &envelope)?;
            (envelope, ticket)
        };
        Ok(Arc::new(envelope.with_stream(ticket.position(shared).await?)))
    }

    fn start_sender(&self) -> Result<()> {
        let mut sender = self.0.sender.lock();
        if sender.as_ref().is_none_or(tokio::task::JoinHandle::is_finished) {
            *sender = Some(runtime()?.spawn(forward::run(Arc::clone(&self.0.shared))));
        }
        Ok(())
    }

    fn start_receiver(&self) -> Result<()> {
        let mut receiver = self.0.receiver.lock();
        if receiver.as_ref().is_none_or(tokio::task::JoinHandle::is_finished) {
            let (shared, ready) = (Arc::clone(&self.0.shared), self.0.ready.clone());
            let feed = receive::feed(&shared)?;
            *receiver = Some(runtime()?.spawn(receive::run(shared, feed, ready)));
        }
        Ok(())
    }

    /// Waits until this instance hears the channel.
    async fn listen(&self) -> Result<()> {
        self.start_receiver()?;
        let clock = &self.0.shared.clock;
        let deadline = clock.monotonic() + receive::START;
        let mut ready = self.0.ready.subscribe();
        let settled = ready.wait_for(|it| !matches!(it, Readiness::Starting));
        let state = match clock.until(deadline, settled).await {
            Some(Ok(state)) => state.clone(),
            Some(Err(_)) | None => Readiness::Starting,
        };
        let why = match state {
            Readiness::Ready => return Ok(()),
            Readiness::Failed(why) => why,
            Readiness::Starting => "it does not answer".to_owned(),
        };
        Err(Error::new(ErrorKind::Unavailable, format!("the event bus is unreachable: {why}"))
            .with_retry(Retry::Safe { after: None })
            .with_operation("events.subscribe"))
    }
}

fn runtime() -> Result<tokio::runtime::Handle> {
    tokio::runtime::Handle::try_current().map_err(|error| {
        Error::new(ErrorKind::Internal, "a Redis bus was used outside of a Tokio runtime")
            .with_source(error)
    })
}

#[async_trait]
impl EventBus for RedisBus {
    fn instance(&self) -> &str {
        &self.0.shared.instance
    }

    fn locality(&self) -> crate::vocabulary::Locality {
        crate::vocabulary::Locality::Remote
    }

    async fn publish(&self, event: Event) -> Result<Arc<Envelope>> {
        if !event.is_own() {
            return self.publish_in_order(event).await;
        }
        let envelope = self.0.shared.announce(event)?;
        if let Err(error) = self.start_sender() {
            tracing::warn!(%error, "events cannot be sent to the other instances yet");
        }
        Ok(envelope)
    }

    async fn flush(&self) -> Result<()> {
        let shared = &self.0.shared;
        shared.forwarder.drained(&shared.clock, receive::START).await
    }

    fn backlog(&self) -> Backlog {
        self.0.shared.forwarder.backlog()
    }

    async fn subscribe(&self, filter: Filter) -> Result<Box<dyn Subscription>> {
        let shared = &self.0.shared;
        if filter.is_own() {
            let subscriber = shared.subscribers().add(filter, &shared.instance);
            return Ok(Box::new(LocalSubscription(subscriber)));
        }
        self.listen().await?;
        // First it listens, then it learns from where on: so nothing is lost between.
        let subscriber = shared.subscribers().add(filter, &shared.instance);
        let head = script::head(shared).await?;
        subscriber.begin_after(head.map(|head| StreamPosition::new(head.epoch, head.sequence)));
        Ok(Box::new(LocalSubscription(subscriber)))
    }
}

impl Filter {
    /// Is all that it wants handed out without a server: what JARVIS says here?
    fn is_own(&self) -> bool {
        let own = |pattern: &super::TopicPattern| {
            super::Topic::ALL.iter().any(|topic| topic.as_str() == pattern.as_str())
        };
        self.origin == Origin::Here && !self.topics.is_empty() && self.topics.iter().all(own)
    }
}
