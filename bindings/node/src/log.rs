//! What happened: the events that are retained, and those that come.

use std::sync::Arc;

use futures_util::FutureExt as _;
use jarvis_core::events::{Envelope, TopicPattern};
use jarvis_core::jarvis::{EventStream, EventsQuery};
use jarvis_core::vocabulary::ServiceId;
use jarvis_core::{Error, ErrorKind, Result};
use napi_derive::napi;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::bridge::{Bridge, Place};
use crate::convert::Answer;
use crate::error::Thrown;
use crate::events;

/// How many events cross at once.
const BATCH: usize = 256;

/// Which events are wanted.
#[napi(object)]
#[derive(Debug, Default)]
pub struct LogQuery {
    /// Only topics that one of these patterns matches.
    pub topics: Option<Vec<String>>,
    /// Only of this service.
    pub service: Option<String>,
    /// Retained events from then on, RFC 3339; none when absent.
    pub since: Option<String>,
    /// At most that many retained events, the newest.
    pub limit: Option<u32>,
    /// Go on with new events.
    pub follow: Option<bool>,
    /// Also what other instances say.
    pub everywhere: Option<bool>,
}

impl LogQuery {
    fn read(self) -> Result<EventsQuery> {
        let topics = self.topics.unwrap_or_default();
        Ok(EventsQuery {
            topics: topics.iter().map(TopicPattern::new).collect::<Result<_>>()?,
            service: self.service.map(ServiceId::new).transpose()?,
            since: self.since.map(|since| since.parse()).transpose()?,
            limit: self.limit.and_then(|limit| usize::try_from(limit).ok()),
            follow: self.follow == Some(true),
            everywhere: self.everywhere == Some(true),
        })
    }
}

/// Events, oldest first.
#[napi]
#[derive(Debug)]
pub struct Log {
    jarvis: jarvis_core::Jarvis,
    query: EventsQuery,
    stream: Arc<Mutex<Option<EventStream>>>,
    closed: CancellationToken,
    bridge: Bridge,
}

impl Log {
    pub(crate) fn new(
        jarvis: jarvis_core::Jarvis,
        query: LogQuery,
        bridge: Bridge,
    ) -> Result<Self> {
        let (query, closed) = (query.read()?, CancellationToken::new());
        Ok(Self { jarvis, query, stream: Arc::default(), closed, bridge })
    }
}

#[napi]
impl Log {
    /// Waits for events and gives all that are there, as a JSON array; null at the end.
    #[napi(ts_return_type = "string | null | number")]
    pub fn next(&self) -> std::result::Result<Answer, Thrown> {
        let (jarvis, query) = (self.jarvis.clone(), self.query.clone());
        let (stream, closed) = (Arc::clone(&self.stream), self.closed.clone());
        self.bridge.answer(Place::Runtime, async move {
            let taking = async {
                let mut stream = stream.lock().await;
                let opened = match stream.as_mut() {
                    Some(opened) => opened,
                    None => stream.insert(jarvis.attach().await.events(query).await?),
                };
                batch(opened).await
            };
            let taken = closed.run_until_cancelled(taking).await.transpose()?.flatten();
            if taken.is_none() {
                closed.cancel();
                *stream.lock().await = None;
            }
            Ok(taken)
        })
    }

    /// Ends it; who waits gets null.
    #[napi]
    pub fn close(&self) {
        self.closed.cancel();
        // Who waits lets go of it.
        if let Ok(mut stream) = self.stream.try_lock() {
            *stream = None;
        }
    }
}

async fn batch(stream: &mut EventStream) -> Result<Option<String>> {
    let Some(first) = stream.next().await else { return Ok(None) };
    let mut batch = vec![events::crossing(&first?)?];
    while batch.len() < BATCH {
        match stream.next().now_or_never() {
            Some(Some(event)) => batch.push(events::crossing(&event?)?),
            _ => break,
        }
    }
    Ok(Some(format!("[{}]", batch.join(","))))
}

/// As JSON.
pub(crate) fn crossing(envelope: &Envelope) -> Result<String> {
    serde_json::to_string(envelope).map_err(|error| {
        Error::new(ErrorKind::Internal, "an event has no form in JSON").with_source(error)
    })
}
