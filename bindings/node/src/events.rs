//! Events and messages.

use std::sync::Arc;

use futures_util::FutureExt as _;
use jarvis_core::events::{
    Delivery, Event, EventBus, Filter, Gap, Message, Origin, Overflow, Subscription as Inbox,
    TopicName, TopicPattern,
};
use jarvis_core::{Error, ErrorKind, Result};
use napi_derive::napi;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::bridge::{Bridge, Place};
use crate::convert::{Answer, json};
use crate::error::{Thrown, thrown};
use crate::log;

/// How many events cross at once.
const BATCH: usize = 256;

/// Which events are wanted.
#[napi(object)]
#[derive(Debug, Default)]
pub struct Wanted {
    /// Topics; all when there is neither a topic nor a pattern.
    pub topics: Option<Vec<String>>,
    /// Patterns of topics.
    pub patterns: Option<Vec<String>>,
    /// `anywhere`, `here` or `elsewhere`.
    pub origin: Option<String>,
    /// `drop_oldest` or `close`.
    pub overflow: Option<String>,
    /// How many may wait.
    pub buffer: Option<u32>,
}

fn no_word(word: &str, what: &str, words: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("{word:?} is no {what}: {words}"))
}

impl Wanted {
    fn filter(self) -> Result<Filter> {
        let mut filter = Filter::all();
        for topic in self.topics.unwrap_or_default() {
            filter = filter.with_topic(topic.parse()?);
        }
        for pattern in self.patterns.unwrap_or_default() {
            filter = filter.with_pattern(TopicPattern::new(&pattern)?);
        }
        filter.origin = match self.origin.as_deref() {
            None | Some("anywhere") => Origin::Anywhere,
            Some("here") => Origin::Here,
            Some("elsewhere") => Origin::Elsewhere,
            Some(word) => return Err(no_word(word, "origin", "anywhere, here or elsewhere")),
        };
        filter.overflow = match self.overflow.as_deref() {
            None | Some("drop_oldest") => Overflow::DropOldest,
            Some("close") => Overflow::Close,
            Some(word) => return Err(no_word(word, "overflow", "drop_oldest or close")),
        };
        Ok(match self.buffer {
            Some(buffer) => filter.with_buffer(usize::try_from(buffer).unwrap_or(usize::MAX)),
            None => filter,
        })
    }
}

/// The bus.
#[napi]
#[derive(Debug)]
pub struct Events {
    bus: Arc<dyn EventBus>,
    bridge: Bridge,
    place: Place,
}

impl Events {
    pub(crate) fn new(jarvis: &jarvis_core::Jarvis, bridge: Bridge, place: Place) -> Self {
        Self { bus: jarvis.bus(), bridge, place }
    }
}

#[napi]
impl Events {
    /// Names this bus in this process.
    #[napi(getter)]
    pub fn instance(&self) -> String {
        self.bus.instance().to_owned()
    }

    /// Publishes a message whose payload is JSON text; its envelope as JSON.
    #[napi(ts_return_type = "string | number")]
    pub fn publish(&self, topic: String, payload: String) -> Result<Answer, Thrown> {
        let bus = Arc::clone(&self.bus);
        self.bridge.answer(self.place, async move {
            let payload = serde_json::from_str(&payload).map_err(|error| {
                Error::new(ErrorKind::InvalidInput, "the payload is no JSON").with_source(error)
            })?;
            let message = Message::new(TopicName::new(topic)?, payload)?;
            Ok(json(&*bus.publish(Event::Message(message)).await?)?)
        })
    }

    /// Waits until JARVIS's own events are with the server.
    #[napi(ts_return_type = "null | number")]
    pub fn flush(&self) -> Result<Answer, Thrown> {
        let bus = Arc::clone(&self.bus);
        self.bridge.answer(self.place, async move { Ok(bus.flush().await?) })
    }

    /// Subscribes; `open()` tells when it is done.
    #[napi]
    pub fn subscribe(&self, wanted: Option<Wanted>) -> Result<Subscription, Thrown> {
        Ok(Subscription {
            bus: Arc::clone(&self.bus),
            filter: wanted.unwrap_or_default().filter().map_err(thrown)?,
            inbox: Arc::default(),
            closed: CancellationToken::new(),
            bridge: self.bridge.clone(),
            place: self.place,
        })
    }
}

/// What one subscriber receives.
#[napi]
#[derive(Debug)]
pub struct Subscription {
    bus: Arc<dyn EventBus>,
    filter: Filter,
    inbox: Arc<Mutex<Option<Box<dyn Inbox>>>>,
    closed: CancellationToken,
    bridge: Bridge,
    place: Place,
}

#[napi]
impl Subscription {
    /// Subscribes.
    #[napi(ts_return_type = "null | number")]
    pub fn open(&self) -> Result<Answer, Thrown> {
        let (bus, filter) = (Arc::clone(&self.bus), self.filter.clone());
        let (inbox, closed) = (Arc::clone(&self.inbox), self.closed.clone());
        self.bridge.answer(self.place, async move {
            let subscribed = bus.subscribe(filter).await?;
            let mut inbox = inbox.lock().await;
            *inbox = Some(subscribed).filter(|_| !closed.is_cancelled());
            Ok(())
        })
    }

    /// Waits for events and gives all that are there, as a JSON array of envelopes and notices;
    /// null at the end.
    #[napi(ts_return_type = "string | null | number")]
    pub fn next(&self) -> Result<Answer, Thrown> {
        let (inbox, closed) = (Arc::clone(&self.inbox), self.closed.clone());
        self.bridge.answer(self.place, async move {
            match closed.run_until_cancelled(batch(&inbox)).await {
                Some(taken) => Ok(taken?),
                None => {
                    *inbox.lock().await = None;
                    Ok(None)
                }
            }
        })
    }

    /// Ends it; who waits gets null.
    #[napi]
    pub fn close(&self) {
        self.closed.cancel();
        let inbox = Arc::clone(&self.inbox);
        // Unsubscribes now, or as soon as who waits is gone.
        if let Ok(mut inbox) = inbox.try_lock() {
            *inbox = None;
        };
    }
}

async fn batch(inbox: &Mutex<Option<Box<dyn Inbox>>>) -> Result<Option<String>> {
    let mut inbox = inbox.lock().await;
    let Some(subscription) = inbox.as_mut() else { return Ok(None) };
    let Some(first) = subscription.next().await else { return Ok(None) };
    let mut batch = vec![crossing(&first)?];
    while batch.len() < BATCH {
        match subscription.next().now_or_never() {
            Some(Some(delivery)) => batch.push(crossing(&delivery)?),
            _ => break,
        }
    }
    Ok(Some(format!("[{}]", batch.join(","))))
}

/// As JSON: an event, or a notice where some are missing.
pub(crate) fn crossing(delivery: &Delivery) -> Result<String> {
    let notice = match delivery {
        Delivery::Event(envelope) => return log::crossing(envelope),
        Delivery::Missed(count) => return Ok(format!(r#"{{"notice":"missed","count":{count}}}"#)),
        Delivery::Gap(Gap::StreamLost) => "stream_lost",
        Delivery::Gap(_) => "stream_rolled_back",
        Delivery::TooSlow => "too_slow",
        _ => "unknown",
    };
    Ok(format!(r#"{{"notice":"{notice}"}}"#))
}
