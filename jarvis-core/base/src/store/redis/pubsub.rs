//! [`Subscription`]: messages of channels, over a separate connection that reconnects when it
//! breaks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use redis::aio::MultiplexedConnection;
use redis::{PushInfo, PushKind, Value};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::dial::{OnPush, Target};
use super::{Redis, Servers, failure, sentinel};
use crate::clock::ClockExt;
use crate::resilience::{Backoff, BackoffPolicy};
use crate::sync::Mutex;
use crate::{Error, ErrorKind, Result};

/// How often a quiet connection is asked for a sign of life.
const HEARTBEAT: Duration = Duration::from_millis(500);
const BACKOFF: BackoffPolicy = BackoffPolicy {
    initial: Duration::from_millis(100),
    factor: 2.0,
    max: Duration::from_secs(2),
    jitter: true,
};

/// What a subscription tells, in order.
#[derive(Debug)]
pub enum Event {
    /// The subscription is in force: what is published from now on arrives. The first event, and
    /// again after each `Lost`.
    Restored,
    /// The connection is gone. What is published until `Restored` is missed.
    Lost(Error),
    /// A message.
    Message {
        /// Where it was published.
        channel: String,
        /// What was published.
        payload: Vec<u8>,
    },
    /// The reader was too slow: this many messages were left out here.
    Dropped(u64),
}

/// The events that wait for their reader.
#[derive(Debug)]
struct Buffer {
    events: Mutex<VecDeque<Event>>,
    capacity: usize,
    filled: Notify,
}

impl Buffer {
    fn with<T>(&self, change: impl FnOnce(&mut VecDeque<Event>) -> T) -> T {
        let result = change(&mut self.events.lock());
        self.filled.notify_one();
        result
    }

    /// Keeps a message, or counts it where there is no room.
    fn message(&self, channel: String, payload: Vec<u8>) {
        self.with(|events| {
            if events.len() < self.capacity {
                events.push_back(Event::Message { channel, payload });
            } else if let Some(Event::Dropped(count)) = events.back_mut() {
                *count += 1;
            } else {
                events.push_back(Event::Dropped(1));
            }
        });
    }

    /// Keeps a change of the connection. While nobody reads, only the latest are kept: between two
    /// `Lost` everything is missed anyway.
    fn change(&self, event: Event) {
        self.with(|events| {
            let over = events.len() > self.capacity;
            let lost = |event: &Event| matches!(event, Event::Lost(_));
            if over && lost(&event) {
                let from = events.iter().rposition(|event| matches!(event, Event::Message { .. }));
                let first = from.map_or(0, |at| at + 1);
                if let Some(known) = events.iter().skip(first).position(lost) {
                    events.truncate(first + known + 1);
                    return;
                }
            }
            events.push_back(event);
        });
    }

    fn push(&self, push: PushInfo) {
        let mut data = push.data.into_iter();
        match push.kind {
            PushKind::Message => {}
            // Before the channel comes the pattern that it matches.
            PushKind::PMessage => drop(data.next()),
            _ => return,
        }
        if let (Some(channel), Some(payload)) = (text(data.next()), bytes(data.next())) {
            self.message(channel, payload);
        }
    }
}

fn bytes(value: Option<Value>) -> Option<Vec<u8>> {
    match value? {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    }
}

fn text(value: Option<Value>) -> Option<String> {
    Some(String::from_utf8_lossy(&bytes(value)?).into_owned())
}

/// Messages of channels. Dropping it ends it.
#[derive(Debug)]
pub struct Subscription {
    buffer: Arc<Buffer>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Subscription {
    pub(super) fn start(
        redis: Redis,
        channels: Vec<String>,
        patterns: Vec<String>,
        capacity: usize,
    ) -> Result<Self> {
        let runtime = Handle::try_current().map_err(|error| {
            Error::new(ErrorKind::Internal, "Redis was used outside of a Tokio runtime")
                .with_source(error)
        })?;
        let buffer = Arc::new(Buffer {
            events: Mutex::default(),
            capacity: capacity.max(1),
            filled: Notify::new(),
        });
        let feed = Feed { redis, channels, patterns, buffer: Arc::clone(&buffer) };
        let task = runtime.spawn(feed.run());
        Ok(Self { buffer, task })
    }

    /// The next event, waiting for it. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.try_next() {
                return event;
            }
            self.buffer.filled.notified().await;
        }
    }

    /// The next event, if one is there.
    pub(crate) fn try_next(&mut self) -> Option<Event> {
        self.buffer.events.lock().pop_front()
    }
}

/// A connection with its channels subscribed.
struct Open {
    target: Target,
    connection: MultiplexedConnection,
    /// Rings when it closes.
    closed: Arc<Notify>,
}

/// Keeps a subscription in force.
struct Feed {
    redis: Redis,
    channels: Vec<String>,
    patterns: Vec<String>,
    buffer: Arc<Buffer>,
}

impl Feed {
    async fn run(self) {
        let mut backoff = Backoff::new(BACKOFF);
        let mut told = false;
        loop {
            match self.connect().await {
                Ok(open) => {
                    backoff.succeeded();
                    self.buffer.change(Event::Restored);
                    let error = self.watch(open).await;
                    self.buffer.change(Event::Lost(error));
                    told = true;
                }
                Err(error) if !told => {
                    self.buffer.change(Event::Lost(error));
                    told = true;
                }
                Err(_) => {}
            }
            self.redis.clock().sleep(backoff.failed()).await;
        }
    }

    async fn connect(&self) -> Result<Open> {
        let (buffer, closed) = (Arc::clone(&self.buffer), Arc::new(Notify::new()));
        let ring = Arc::clone(&closed);
        let on_push: OnPush = Arc::new(move |push: PushInfo| match push.kind {
            PushKind::Disconnection => ring.notify_one(),
            _ => buffer.push(push),
        });
        let dialer = &self.redis.shared.dialer;
        let (target, mut connection) = match &self.redis.shared.servers {
            Servers::One(link) => link.dial().connect(dialer, Some(on_push)).await?,
            // Every node of a cluster passes on what is published at any of them.
            Servers::Cluster(cluster) => {
                let any = cluster.master(None, self.redis.deadline()).await?;
                any.dial().connect(dialer, Some(on_push)).await?
            }
        };
        let subscribing = async {
            if !self.channels.is_empty() {
                connection.subscribe(&self.channels).await?;
            }
            if !self.patterns.is_empty() {
                connection.psubscribe(&self.patterns).await?;
            }
            Ok(())
        };
        let within = dialer.options.connect_timeout;
        let deadline = dialer.clock.monotonic() + within;
        match dialer.clock.until(deadline, subscribing).await {
            Some(Ok(())) => Ok(Open { target, connection, closed }),
            Some(Err(error)) => Err(failure::unreachable(&target, &error)),
            None => Err(super::dial::slow(&target, within)),
        }
    }

    /// A server that was replaced may go on answering, and is told nothing any more.
    fn is_elsewhere(&self, target: &Target) -> bool {
        match &self.redis.shared.servers {
            Servers::One(link) => link.has_moved_from(target),
            Servers::Cluster(cluster) => cluster.is_without(target),
        }
    }

    /// Waits for the end of a connection, and says why it ended.
    async fn watch(&self, open: Open) -> Error {
        let Open { target, mut connection, closed } = open;
        let dialer = &self.redis.shared.dialer;
        loop {
            let closed = Box::pin(closed.notified());
            let beat = dialer.clock.sleep(HEARTBEAT);
            if let Either::Left(_) = select(closed, beat).await {
                return Error::new(
                    ErrorKind::Unavailable,
                    format!("Redis at {target} closed the connection of a subscription"),
                );
            }
            if self.is_elsewhere(&target) {
                let message = format!("Redis at {target} is no longer the one to listen to");
                return Error::new(ErrorKind::Unavailable, message);
            }
            let ping = redis::cmd("PING");
            if let Err(error) = sentinel::ask(dialer, &target, &mut connection, &ping).await {
                return error;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(capacity: usize) -> Arc<Buffer> {
        Arc::new(Buffer { events: Mutex::default(), capacity, filled: Notify::new() })
    }

    fn lost() -> Event {
        Event::Lost(Error::new(ErrorKind::Unavailable, "gone"))
    }

    fn shown(buffer: &Buffer) -> Vec<String> {
        let shown = |event: &Event| match event {
            Event::Restored => "restored".to_owned(),
            Event::Lost(_) => "lost".to_owned(),
            Event::Message { payload, .. } => String::from_utf8_lossy(payload).into_owned(),
            Event::Dropped(count) => format!("-{count}"),
        };
        buffer.with(|events| events.iter().map(shown).collect())
    }

    #[test]
    fn a_full_buffer_counts_what_it_leaves_out() {
        let buffer = buffer(3);
        buffer.change(Event::Restored);
        for number in 1..=5 {
            buffer.message("c".to_owned(), number.to_string().into_bytes());
        }
        assert_eq!(shown(&buffer), ["restored", "1", "2", "-3"]);
        buffer.with(VecDeque::pop_front);
        buffer.with(VecDeque::pop_front);
        buffer.message("c".to_owned(), b"6".to_vec());
        assert_eq!(shown(&buffer), ["2", "-3", "6"]);
    }

    #[test]
    fn a_reader_that_stays_away_costs_no_memory() {
        let buffer = buffer(2);
        for _ in 0..1_000 {
            buffer.change(Event::Restored);
            buffer.message("c".to_owned(), b"m".to_vec());
            buffer.change(lost());
        }
        assert!(shown(&buffer).len() < 10, "{:?}", shown(&buffer));
        assert_eq!(shown(&buffer).last().map(String::as_str), Some("lost"));
    }
}
