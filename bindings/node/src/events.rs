//! [`Events`]: the bus.

use std::sync::Arc;

use jarvis_core::events::{
    Event, EventBus, Filter, Message, Origin, Overflow, TopicName, TopicPattern,
};
use jarvis_core::{Error, ErrorKind, Result};
use napi_derive::napi;

use crate::bridge::{Bridge, Place};
use crate::convert::{Answer, json};
use crate::delivery;
use crate::error::{Thrown, thrown};
use crate::stream::Stream;

/// Which events a subscriber wants.
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
    /// How many events may wait.
    pub buffer: Option<u32>,
}

fn unknown(what: &str, word: &str, words: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("unknown {what} {word:?}: use {words}"))
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
            Some(word) => return Err(unknown("origin", word, "anywhere, here or elsewhere")),
        };
        filter.overflow = match self.overflow.as_deref() {
            None | Some("drop_oldest") => Overflow::DropOldest,
            Some("close") => Overflow::Close,
            Some(word) => return Err(unknown("overflow", word, "drop_oldest or close")),
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
    /// The name of this bus in this process.
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
                Error::new(ErrorKind::InvalidInput, "the payload is not JSON").with_source(error)
            })?;
            let message = Message::new(TopicName::new(topic)?, payload)?;
            Ok(json(&*bus.publish(Event::Message(message)).await?)?)
        })
    }

    /// Waits until the server has JARVIS's own events.
    #[napi(ts_return_type = "null | number")]
    pub fn flush(&self) -> Result<Answer, Thrown> {
        let bus = Arc::clone(&self.bus);
        self.bridge.answer(self.place, async move { Ok(bus.flush().await?) })
    }

    /// A subscription, which begins with `open()`.
    #[napi]
    pub fn subscribe(&self, wanted: Option<Wanted>) -> Result<Stream, Thrown> {
        let filter = wanted.unwrap_or_default().filter().map_err(thrown)?;
        let bus = Arc::clone(&self.bus);
        let opening =
            Box::pin(async move { Ok(delivery::of_subscription(bus.subscribe(filter).await?)) });
        Ok(Stream::new(self.bridge.clone(), self.place, opening))
    }
}
