//! Events leave in order, at least once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Shared;
use base::clock::{ClockExt, SharedClock};
use base::events::Event;
use base::resilience::{Backoff, BackoffPolicy};

/// How long the outlet may take for one event.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often an event that is not on disk is tried.
const VOLATILE_TRIES: u32 = 3;

#[derive(Clone)]
pub(super) struct Announcer {
    queue: mpsc::UnboundedSender<(Option<i64>, Event)>,
    waiting: Arc<AtomicUsize>,
    clock: SharedClock,
    idle: Arc<tokio::sync::Notify>,
}

impl Announcer {
    pub(super) fn announce(&self, id: Option<i64>, event: Event) {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        drop(self.queue.send((id, event)));
    }

    /// Waits until everything was announced, within limits.
    pub(super) async fn farewell(&self, limit: Duration) {
        let deadline = self.clock.monotonic() + limit;
        while self.waiting.load(Ordering::Acquire) > 0 {
            let idle = self.idle.notified();
            if self.waiting.load(Ordering::Acquire) == 0
                || self.clock.until(deadline, idle).await.is_none()
            {
                return;
            }
        }
    }

    fn over(&self, events: usize) {
        if self.waiting.fetch_sub(events, Ordering::AcqRel) == events {
            self.idle.notify_waiters();
        }
    }
}

/// How many events are marked as announced together.
const BATCH: usize = 64;

pub(super) fn start(shared: &Arc<Shared>, tasks: &mut JoinSet<()>) -> Announcer {
    let (queue, mut events) = mpsc::unbounded_channel();
    let clock = shared.parts.clock.clone();
    let announcer = Announcer { queue, waiting: Arc::default(), clock, idle: Arc::default() };
    let (shared, end) = (Arc::clone(shared), announcer.clone());
    tasks.spawn(async move {
        let mut batch = Vec::new();
        while events.recv_many(&mut batch, BATCH).await > 0 {
            let count = batch.len();
            let mut last = None;
            for (id, event) in batch.drain(..) {
                deliver(&shared, id.is_some(), &event).await;
                last = id.or(last);
            }
            if let Some(last) = last {
                // What is not marked is announced again after a restart, which is allowed.
                drop(shared.parts.state.0.announced(last).await);
            }
            end.over(count);
        }
    });
    announcer
}

async fn deliver(shared: &Arc<Shared>, durable: bool, event: &Event) {
    let clock = &shared.parts.clock;
    let policy = BackoffPolicy {
        initial: Duration::from_millis(500),
        max: Duration::from_secs(30),
        ..BackoffPolicy::default()
    };
    let (mut backoff, mut tries) = (Backoff::new(policy), 0);
    loop {
        let (outlet, event) = (Arc::clone(&shared.parts.outlet), event.clone());
        let call = tokio::spawn(async move { outlet.announce(&event).await });
        let abort = call.abort_handle();
        let taken = clock.until(clock.monotonic() + DEADLINE, call).await;
        tries += 1;
        if matches!(taken, Some(Ok(Ok(())))) || (!durable && tries >= VOLATILE_TRIES) {
            return;
        }
        abort.abort();
        clock.sleep(backoff.failed()).await;
    }
}
