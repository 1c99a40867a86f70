//! Carrying JARVIS's own events to the other instances, without anybody waiting for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Shared;
use super::script::{self, Place, Post};
use crate::clock::{ClockExt, SharedClock};
use crate::events::{Backlog, Envelope};
use crate::resilience::{Backoff, BackoffPolicy};
use crate::sync::{Mutex, MutexGuard};
use crate::{Error, ErrorKind, Result, Retry};

/// The most events that wait.
const MAX_EVENTS: usize = 10_000;

/// The most bytes that wait.
const MAX_BYTES: usize = 8 << 20;

const BACKOFF: BackoffPolicy = BackoffPolicy {
    initial: Duration::from_millis(100),
    factor: 2.0,
    max: Duration::from_secs(2),
    jitter: true,
};

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<(Arc<Envelope>, usize)>,
    bytes: usize,
    /// Since the bus was made.
    dropped: u64,
    /// Of those, not yet told.
    untold: u64,
    /// Why the first one waits.
    trouble: Option<(ErrorKind, String)>,
}

/// What waits.
#[derive(Debug)]
pub(super) struct Forwarder {
    queue: Mutex<Queue>,
    /// How many events wait.
    length: watch::Sender<usize>,
}

impl Default for Forwarder {
    fn default() -> Self {
        Self { queue: Mutex::default(), length: watch::Sender::new(0) }
    }
}

impl Forwarder {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }

    pub(super) fn push(&self, envelope: Arc<Envelope>) -> Result<()> {
        let size = serde_json::to_vec(&*envelope).map(|text| text.len()).map_err(|error| {
            Error::new(ErrorKind::Internal, "failed to serialize an event as JSON")
                .with_source(error)
        })?;
        let mut queue = self.queue();
        queue.waiting.push_back((envelope, size));
        queue.bytes += size;
        while queue.waiting.len() > MAX_EVENTS || queue.bytes > MAX_BYTES {
            let Some((_, size)) = queue.waiting.pop_front() else { break };
            queue.bytes -= size;
            queue.dropped += 1;
            queue.untold += 1;
        }
        self.length.send_replace(queue.waiting.len());
        Ok(())
    }

    pub(super) fn backlog(&self) -> Backlog {
        let queue = self.queue();
        Backlog { events: queue.waiting.len(), bytes: queue.bytes, dropped: queue.dropped }
    }

    /// Waits until nothing waits.
    pub(super) async fn drained(&self, clock: &SharedClock, within: Duration) -> Result<()> {
        let mut length = self.length.subscribe();
        let empty = length.wait_for(|length| *length == 0);
        if let Some(Ok(_)) = clock.until(clock.monotonic() + within, empty).await {
            return Ok(());
        }
        let queue = self.queue();
        let (kind, why) = queue
            .trouble
            .clone()
            .unwrap_or_else(|| (ErrorKind::Timeout, format!("not finished within {within:?}")));
        let count = queue.waiting.len();
        Err(Error::new(kind, format!("{count} events were not sent to the other instances: {why}"))
            .with_retry(Retry::Safe { after: None })
            .with_operation("events.flush"))
    }

    /// The first that waits; waits for one.
    async fn first(&self) -> Arc<Envelope> {
        let mut length = self.length.subscribe();
        loop {
            if let Some((envelope, _)) = self.queue().waiting.front() {
                return Arc::clone(envelope);
            }
            if length.wait_for(|length| *length > 0).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// It is with the server. Gives how many were dropped and not yet told.
    fn sent(&self, envelope: &Arc<Envelope>) -> u64 {
        let mut queue = self.queue();
        queue.trouble = None;
        // Unless it was dropped meanwhile.
        if queue.waiting.front().is_some_and(|(first, _)| Arc::ptr_eq(first, envelope))
            && let Some((_, size)) = queue.waiting.pop_front()
        {
            queue.bytes -= size;
        }
        let untold = std::mem::take(&mut queue.untold);
        self.length.send_replace(queue.waiting.len());
        untold
    }
}

/// Sends what waits, one after the other, until the bus is gone.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut backoff = Backoff::new(BACKOFF);
    let mut place = Place::New;
    loop {
        let first = shared.forwarder.first().await;
        match publish(&shared, &first, place).await {
            Ok(_) => {
                backoff.succeeded();
                place = Place::New;
                let dropped = shared.forwarder.sent(&first);
                if dropped > 0 {
                    shared.confess(dropped);
                }
            }
            Err(error) => {
                if error.retry() == Retry::Indeterminate {
                    place = Place::LookUp;
                }
                let trouble = (error.kind(), error.message().to_owned());
                shared.forwarder.queue().trouble = Some(trouble);
                shared.clock.sleep(backoff.failed()).await;
            }
        }
    }
}

async fn publish(shared: &Shared, event: &Envelope, place: Place) -> Result<()> {
    script::publish(shared, &[Post::new(event)?], place).await.map(drop)
}
