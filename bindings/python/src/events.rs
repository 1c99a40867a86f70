//! `EventBus`: publishing and subscribing.

use std::sync::Arc;

use jarvis_core::events::{
    self as core, Event, Filter, Message, Origin, Overflow, TopicName, TopicPattern,
};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;

use crate::call::Face;
use crate::convert;
use crate::envelope::Envelope;
use crate::error;
use crate::handle::Handle;
use crate::stream::{Source, Stream};

/// Carries events to subscribers.
#[pyclass(frozen, module = "jarvis._core")]
pub(crate) struct EventBus {
    handle: Arc<Handle>,
    face: Face,
}

impl EventBus {
    pub(crate) fn new(handle: Arc<Handle>, face: Face) -> Self {
        Self { handle, face }
    }
}

fn origin(word: &str) -> PyResult<Origin> {
    match word {
        "anywhere" => Ok(Origin::Anywhere),
        "here" => Ok(Origin::Here),
        "elsewhere" => Ok(Origin::Elsewhere),
        _ => Err(error::invalid(format!(
            "unknown origin {word:?}. Valid origins: \"anywhere\", \"here\", \"elsewhere\""
        ))),
    }
}

fn overflow(word: &str) -> PyResult<Overflow> {
    match word {
        "drop_oldest" => Ok(Overflow::DropOldest),
        "close" => Ok(Overflow::Close),
        _ => Err(error::invalid(format!(
            "unknown overflow {word:?}. Valid values: \"drop_oldest\", \"close\""
        ))),
    }
}

/// Patterns of topics.
pub(crate) fn patterns(texts: Vec<String>) -> PyResult<Vec<TopicPattern>> {
    texts.into_iter().map(|text| TopicPattern::new(text).map_err(error::raise)).collect()
}

#[pymethods]
impl EventBus {
    /// Identifies this bus in this process.
    #[getter]
    fn instance(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.handle.open(py)?.0.bus().instance().to_owned())
    }

    /// Publishes a message. See `jarvis.EventBus.publish`.
    #[pyo3(signature = (topic, payload=None))]
    fn publish(
        &self,
        py: Python<'_>,
        topic: &str,
        payload: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let topic = TopicName::new(topic).map_err(error::raise)?;
        let payload = match payload {
            None => serde_json::Value::Null,
            Some(payload) => serde_json::from_str(&convert::to_json(payload)?)
                .map_err(|error| error::invalid(error.to_string()))?,
        };
        let message = Message::new(topic, payload).map_err(error::raise)?;
        let (jarvis, places) = self.handle.open(py)?;
        self.face.call(
            py,
            places.bus,
            async move { jarvis.bus().publish(Event::Message(message)).await },
            Envelope::object,
        )
    }

    /// Subscribes. See `jarvis.EventBus.subscribe`.
    #[pyo3(signature = (topics=Vec::new(), patterns=Vec::new(), *, origin="anywhere", overflow="drop_oldest", buffer=core::SUBSCRIBER_BUFFER))]
    fn subscribe(
        &self,
        py: Python<'_>,
        topics: Vec<String>,
        patterns: Vec<String>,
        origin: &str,
        overflow: &str,
        buffer: usize,
    ) -> PyResult<Py<PyAny>> {
        let mut filter = Filter::all()
            .with_origin(self::origin(origin)?)
            .with_overflow(self::overflow(overflow)?)
            .with_buffer(buffer);
        for topic in topics {
            filter = filter.with_topic(topic.parse().map_err(error::raise)?);
        }
        for pattern in self::patterns(patterns)? {
            filter = filter.with_pattern(pattern);
        }
        let (jarvis, places) = self.handle.open(py)?;
        let face = self.face;
        self.face.call(
            py,
            places.bus,
            async move { jarvis.bus().subscribe(filter).await },
            move |py, subscription| Stream::new(Source::Bus(subscription), face).into_py_any(py),
        )
    }

    /// Waits until JARVIS's own events have reached the server. See `jarvis.EventBus.flush`.
    fn flush(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let (jarvis, places) = self.handle.open(py)?;
        self.face
            .call(py, places.bus, async move { jarvis.bus().flush().await }, |py, ()| Ok(py.None()))
    }
}
