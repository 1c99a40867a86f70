//! `Stream`: items that arrive over time, for both faces.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::FutureExt;
use jarvis_core::events::{Delivery, Envelope, Subscription};
use jarvis_core::jarvis::{EventStream, HealthWatch, StateChange};
use jarvis_core::sync::{Mutex, MutexGuard};
use jarvis_core::{Error, ErrorKind, Result};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use tokio::sync::{Mutex as AsyncMutex, Notify};

use crate::call::{Begin, Face};
use crate::convert;
use crate::envelope;
use crate::error;

/// How many items cross into Python at once.
const BATCH: usize = 256;

/// Where items come from.
pub(crate) enum Source {
    /// A subscription to the event bus.
    Bus(Box<dyn Subscription>),
    /// The retained events, and those that follow.
    Events(EventStream),
    /// The state changes of the services.
    Health(Box<HealthWatch>),
}

enum Received {
    Item(Item),
    Missed(u64),
    Gap,
    TooSlow,
}

enum Item {
    Event(Arc<Envelope>),
    Change(Box<StateChange>),
}

impl Item {
    fn object(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self {
            Self::Event(envelope) => envelope::Envelope::object(py, envelope),
            Self::Change(change) => convert::plain(py, &*change),
        }
    }
}

impl From<Delivery> for Received {
    fn from(delivery: Delivery) -> Self {
        match delivery {
            Delivery::Event(envelope) => Self::Item(Item::Event(envelope)),
            Delivery::Missed(count) => Self::Missed(count),
            Delivery::TooSlow => Self::TooSlow,
            // A gap. A kind of delivery that a newer core adds is not an event either.
            _ => Self::Gap,
        }
    }
}

impl Source {
    /// The next item, or `None` at the end. Cancel-safe.
    async fn next(&mut self) -> Option<Result<Received>> {
        match self {
            Self::Bus(subscription) => subscription.next().await.map(|it| Ok(it.into())),
            Self::Events(events) => events.next().await.map(|it| it.map(Into::into)),
            Self::Health(watch) => watch
                .next()
                .await
                .map(|it| it.map(|change| Received::Item(Item::Change(Box::new(change))))),
        }
    }
}

/// What was received and not taken yet.
#[derive(Default)]
struct Inbox {
    items: VecDeque<Item>,
    missed: u64,
    gaps: u64,
    failure: Option<Error>,
    ended: bool,
}

impl Inbox {
    fn put(&mut self, received: Option<Result<Received>>) {
        match received {
            Some(Ok(Received::Item(item))) => self.items.push_back(item),
            Some(Ok(Received::Missed(count))) => self.missed += count,
            Some(Ok(Received::Gap)) => self.gaps += 1,
            Some(Ok(Received::TooSlow)) => self.failure = Some(too_slow()),
            Some(Err(error)) => self.failure = Some(error),
            None => self.ended = true,
        }
        self.ended |= self.failure.is_some();
    }

    /// At most `limit` items. An error that ended the stream comes after the last item.
    fn take(&mut self, limit: usize) -> Result<VecDeque<Item>> {
        let rest = self.items.split_off(limit.min(self.items.len()));
        let items = std::mem::replace(&mut self.items, rest);
        match items.is_empty().then(|| self.failure.take()).flatten() {
            Some(error) => Err(error),
            None => Ok(items),
        }
    }
}

fn too_slow() -> Error {
    let message = "the subscriber was too slow and was closed; subscribe again";
    Error::new(ErrorKind::Exhausted, message).with_operation("events.receive")
}

struct Shared {
    /// Absent once the stream is closed.
    source: AsyncMutex<Option<Source>>,
    closed: Notify,
    inbox: Mutex<Inbox>,
}

impl Shared {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock()
    }

    /// Waits until there is something to take. Items stay in the inbox until Python takes them, so
    /// that a cancelled call loses none.
    async fn fill(&self) {
        let mut source = self.source.lock().await;
        let Some(source) = source.as_mut() else {
            self.inbox().ended = true;
            return;
        };
        while !self.is_ready() {
            let mut next = source.next().await;
            loop {
                self.inbox().put(next);
                if self.inbox().ended || self.inbox().items.len() >= BATCH {
                    break;
                }
                match source.next().now_or_never() {
                    Some(more) => next = more,
                    None => break,
                }
            }
        }
    }

    /// Waits until there is something to take, or the stream is closed.
    async fn wait(&self) {
        tokio::select! {
            biased;
            () = self.closed.notified() => self.inbox().ended = true,
            () = self.fill() => {}
        }
    }

    fn is_ready(&self) -> bool {
        let inbox = self.inbox();
        !inbox.items.is_empty() || inbox.ended
    }
}

/// Items that arrive over time. Closing or dropping it ends the subscription.
#[pyclass(frozen, generic, module = "jarvis._core")]
pub(crate) struct Stream {
    shared: Arc<Shared>,
    face: Face,
}

impl Stream {
    pub(crate) fn new(source: Source, face: Face) -> Self {
        let shared = Shared {
            source: AsyncMutex::new(Some(source)),
            closed: Notify::new(),
            inbox: Mutex::default(),
        };
        Self { shared: Arc::new(shared), face }
    }

    /// Waits for items, which stay in the inbox.
    fn wait<C>(&self, py: Python<'_>, convert: C) -> PyResult<Py<PyAny>>
    where
        C: FnOnce(Python<'_>, &Shared) -> PyResult<Py<PyAny>> + Send + 'static,
    {
        let (waiting, shared) = (Arc::clone(&self.shared), Arc::clone(&self.shared));
        let wait = async move {
            waiting.wait().await;
            Ok(())
        };
        // A source may sleep between attempts, which needs the runtime's timer.
        self.face.call(py, Begin::HereWithRuntime, wait, move |py, ()| convert(py, &shared))
    }

    fn taken(shared: &Shared, limit: usize) -> PyResult<VecDeque<Item>> {
        let taken = shared.inbox().take(limit);
        taken.map_err(error::raise)
    }
}

#[pymethods]
impl Stream {
    /// Waits until `take` has something to return, unless another consumer takes it first.
    fn ready(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.wait(py, |py, _| Ok(py.None()))
    }

    /// The items that have arrived. A cancellation between `ready` and `take` loses none.
    fn take(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        Self::taken(&self.shared, BATCH)?.into_iter().map(|item| item.object(py)).collect()
    }

    /// Whether it has ended and everything was taken.
    #[getter]
    fn ended(&self) -> bool {
        let inbox = self.shared.inbox();
        inbox.ended && inbox.items.is_empty() && inbox.failure.is_none()
    }

    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    /// The next item, for the blocking face.
    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        loop {
            let next = self.wait(py, |py, shared| match Self::taken(shared, 1)?.pop_front() {
                None => Ok(py.None()),
                Some(item) => item.object(py),
            })?;
            if !next.is_none(py) {
                return Ok(Some(next));
            }
            if self.ended() {
                return Ok(None);
            }
            // Another consumer took it first.
        }
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    #[pyo3(signature = (*_error))]
    fn __exit__(&self, _error: &Bound<'_, PyTuple>) {
        self.close();
    }

    /// How many events are known to be missing, because the subscriber was too slow or the
    /// connection was lost.
    #[getter]
    fn missed(&self) -> u64 {
        self.shared.inbox().missed
    }

    /// How often an unknown number of events may be missing.
    #[getter]
    fn gaps(&self) -> u64 {
        self.shared.inbox().gaps
    }

    /// Ends the stream. Whoever waits gets the items that have arrived, then the end. Safe to
    /// repeat.
    fn close(&self) {
        self.shared.inbox().ended = true;
        self.shared.closed.notify_waiters();
        if let Ok(mut source) = self.shared.source.try_lock() {
            source.take();
        }
    }
}
