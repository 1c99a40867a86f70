//! `EventBus` and its subscribers.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use jarvis_core::events::{
    self as core, Delivery, Event, Filter, Message, Origin, Overflow, TopicName, TopicPattern,
};
use jarvis_core::sync::{Mutex as StdMutex, MutexGuard};
use jarvis_core::{Error, ErrorKind};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use tokio::sync::Mutex;

use crate::call::{Begin, Face};
use crate::convert;
use crate::error;
use crate::jarvis::Handle;

/// So many events cross the border at once, where so many wait.
const BATCH: usize = 256;

/// An event with where and when.
#[pyclass(frozen, module = "jarvis")]
pub(crate) struct Envelope(Arc<core::Envelope>);

impl Envelope {
    fn object(py: Python<'_>, envelope: Arc<core::Envelope>) -> PyResult<Py<PyAny>> {
        Self(envelope).into_py_any(py)
    }
}

#[pymethods]
impl Envelope {
    /// What it is about.
    #[getter]
    fn topic(&self) -> &str {
        self.0.topic.as_str()
    }

    /// Counts up by one within one `instance`, over all topics.
    #[getter]
    fn sequence(&self) -> u64 {
        self.0.sequence
    }

    /// The process that published it.
    #[getter]
    fn instance(&self) -> &str {
        &self.0.instance
    }

    /// When, in UTC, by that process's clock.
    #[getter]
    fn at<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::datetime(py, self.0.at)
    }

    /// What happened: `type` and its fields.
    #[getter]
    fn event(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        convert::plain(py, &self.0.event)
    }

    /// What a message says; None for events of JARVIS's own.
    #[getter]
    fn payload(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match &self.0.event {
            Event::Message(message) => convert::plain(py, message.payload()),
            _ => Ok(py.None()),
        }
    }

    /// Its place in the order of all instances: an epoch, and a number within it.
    #[getter]
    fn stream(&self) -> Option<(&str, u64)> {
        self.0.stream.as_ref().map(|place| (&*place.epoch, place.sequence))
    }

    fn __repr__(&self) -> String {
        format!("<jarvis.Envelope {} {}>", self.0.topic, self.0.sequence)
    }
}

/// Carries events to whoever subscribed.
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
            "origin is \"anywhere\", \"here\" or \"elsewhere\", not {word:?}"
        ))),
    }
}

fn overflow(word: &str) -> PyResult<Overflow> {
    match word {
        "drop_oldest" => Ok(Overflow::DropOldest),
        "close" => Ok(Overflow::Close),
        _ => Err(error::invalid(format!("overflow is \"drop_oldest\" or \"close\", not {word:?}"))),
    }
}

#[pymethods]
impl EventBus {
    /// Names this bus in this process.
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
        for pattern in patterns {
            filter = filter.with_pattern(TopicPattern::new(pattern).map_err(error::raise)?);
        }
        let (jarvis, places) = self.handle.open(py)?;
        let face = self.face;
        self.face.call(
            py,
            places.bus,
            async move { jarvis.bus().subscribe(filter).await },
            move |py, subscription| {
                Subscription::new(subscription, face, Failure::default()).into_py_any(py)
            },
        )
    }

    /// Waits until JARVIS's own events are with the others. See `jarvis.EventBus.flush`.
    fn flush(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let (jarvis, places) = self.handle.open(py)?;
        self.face
            .call(py, places.bus, async move { jarvis.bus().flush().await }, |py, ()| Ok(py.None()))
    }
}

/// What came, and what did not.
#[derive(Default)]
struct Inbox {
    events: VecDeque<Arc<core::Envelope>>,
    missed: u64,
    gaps: u64,
    too_slow: bool,
    ended: bool,
}

impl Inbox {
    fn take(&mut self, delivery: Option<Delivery>) {
        match delivery {
            Some(Delivery::Event(envelope)) => self.events.push_back(envelope),
            Some(Delivery::Missed(count)) => self.missed += count,
            Some(Delivery::TooSlow) => self.too_slow = true,
            // A gap; a delivery that a newer core adds is no event either.
            Some(_) => self.gaps += 1,
            None => self.ended = true,
        }
    }

    /// The first events, and whether it was too slow to get more.
    fn give(&mut self, most: usize) -> (VecDeque<Arc<core::Envelope>>, bool) {
        let rest = self.events.split_off(most.min(self.events.len()));
        let events = std::mem::replace(&mut self.events, rest);
        let too_slow = events.is_empty() && std::mem::take(&mut self.too_slow);
        self.ended |= too_slow;
        (events, too_slow)
    }
}

/// Why a source ended, where it ended badly.
#[derive(Debug, Clone, Default)]
pub(crate) struct Failure(Arc<StdMutex<Option<Error>>>);

impl Failure {
    pub(crate) fn set(&self, error: Error) {
        *self.0.lock() = Some(error);
    }

    fn take(&self) -> Option<Error> {
        self.0.lock().take()
    }
}

struct Shared {
    failure: Failure,
    /// Gone once it is closed.
    source: Mutex<Option<Box<dyn core::Subscription>>>,
    closed: tokio::sync::Notify,
    inbox: StdMutex<Inbox>,
}

impl Shared {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock()
    }

    /// Waits until there is something to give. What was received stays in the inbox until Python
    /// takes it, so that a call which is cancelled loses nothing.
    async fn fill(&self) {
        let mut source = self.source.lock().await;
        let Some(source) = source.as_mut() else {
            self.inbox().ended = true;
            return;
        };
        loop {
            if self.is_ready() {
                return;
            }
            let mut next = source.next().await;
            loop {
                let last = next.is_none();
                self.inbox().take(next);
                if last || self.inbox().events.len() >= BATCH {
                    break;
                }
                match source.next().now_or_never() {
                    Some(more) => next = more,
                    None => break,
                }
            }
        }
    }

    /// Until there is something to give, or it is closed.
    async fn wait(&self) {
        let (closed, filled) = (pin!(self.closed.notified()), pin!(self.fill()));
        if let Either::Left(_) = select(closed, filled).await {
            self.inbox().ended = true;
        }
    }

    fn is_ready(&self) -> bool {
        let inbox = self.inbox();
        !inbox.events.is_empty() || inbox.too_slow || inbox.ended
    }
}

/// One subscriber's end. Closing or dropping it unsubscribes.
#[pyclass(frozen, module = "jarvis._core")]
pub(crate) struct Subscription {
    shared: Arc<Shared>,
    face: Face,
}

impl Subscription {
    pub(crate) fn new(source: Box<dyn core::Subscription>, face: Face, failure: Failure) -> Self {
        let shared = Shared {
            failure,
            source: Mutex::new(Some(source)),
            closed: tokio::sync::Notify::new(),
            inbox: StdMutex::default(),
        };
        Self { shared: Arc::new(shared), face }
    }

    /// Waits for events; what comes stays in the inbox.
    fn wait<C>(&self, py: Python<'_>, convert: C) -> PyResult<Py<PyAny>>
    where
        C: FnOnce(Python<'_>, &Shared) -> PyResult<Py<PyAny>> + Send + 'static,
    {
        let (waiting, shared) = (Arc::clone(&self.shared), Arc::clone(&self.shared));
        let wait = async move {
            waiting.wait().await;
            Ok(())
        };
        // A source may wait for a time.
        self.face.call(py, Begin::HereWithRuntime, wait, move |py, ()| convert(py, &shared))
    }
}

impl Shared {
    /// At most so many of the events that are there.
    fn take(&self, most: usize) -> PyResult<VecDeque<Arc<core::Envelope>>> {
        let (events, too_slow) = self.inbox().give(most);
        if too_slow {
            return Err(error::raise(
                Error::new(
                    ErrorKind::Exhausted,
                    "the subscriber was too slow and is closed; subscribe anew",
                )
                .with_operation("events.receive"),
            ));
        }
        match events.is_empty().then(|| self.failure.take()).flatten() {
            Some(error) => Err(error::raise(error)),
            None => Ok(events),
        }
    }
}

#[pymethods]
impl Subscription {
    /// Waits until `take` has something to give, unless another consumer was quicker.
    fn ready(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.wait(py, |py, _| Ok(py.None()))
    }

    /// The envelopes that are there. Who is cancelled between the two loses nothing.
    fn take(&self) -> PyResult<Vec<Envelope>> {
        Ok(self.shared.take(BATCH)?.into_iter().map(Envelope).collect())
    }

    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    /// Has it ended, with nothing left to take?
    #[getter]
    fn ended(&self) -> bool {
        let inbox = self.shared.inbox();
        inbox.ended && inbox.events.is_empty()
    }

    /// The next envelope, of the blocking face.
    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        loop {
            let next = self.wait(py, |py, shared| match shared.take(1)?.pop_front() {
                None => Ok(py.None()),
                Some(envelope) => Envelope::object(py, envelope),
            })?;
            if !next.is_none(py) {
                return Ok(Some(next));
            }
            // Else another consumer was quicker.
            if self.ended() {
                return Ok(None);
            }
        }
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    #[pyo3(signature = (*_error))]
    fn __exit__(&self, _error: &Bound<'_, PyTuple>) {
        self.close();
    }

    /// How many events are known to be missing: it was too slow, or the connection was lost.
    #[getter]
    fn missed(&self) -> u64 {
        self.shared.inbox().missed
    }

    /// How often events may be missing, and nobody knows how many.
    #[getter]
    fn gaps(&self) -> u64 {
        self.shared.inbox().gaps
    }

    /// Unsubscribes; whoever waits gets what is there, then the end. Safe to repeat.
    fn close(&self) {
        self.shared.inbox().ended = true;
        self.shared.closed.notify_waiters();
        if let Ok(mut source) = self.shared.source.try_lock() {
            source.take();
        }
    }
}
