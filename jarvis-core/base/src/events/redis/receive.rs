//! The task that hears the channel and fills what it did not hear.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Shared;
use super::order::{Order, Output, Step};
use super::script::{self, Entry};
use crate::clock::Monotonic;
use crate::events::{Envelope, Event};
use crate::store::redis::{Event as News, Subscription};
use crate::{Result, store};

/// How long a subscriber waits until this instance hears the channel, and a flush until all is
/// with the server.
pub(super) const START: Duration = Duration::from_secs(2);

/// How long a hole may be closed by an entry that is only late: in a Cluster two entries may
/// overtake each other.
const HOLD: Duration = Duration::from_millis(50);

/// How often a quiet channel is compared with the stream: a Cluster loses what is published while
/// its nodes lose each other, and nothing tells.
const COMPARE: Duration = Duration::from_secs(2);

/// How long to wait after the stream could not be read.
const RETRY: Duration = Duration::from_millis(250);

/// How many messages may wait between two looks. What is beyond is filled from the stream.
const BUFFER: usize = 8_192;

/// How many entries are handed out at once.
const BATCH: usize = 256;

/// Is the channel heard?
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Readiness {
    Starting,
    Failed(String),
    /// It was once. A connection that is lost later is filled.
    Ready,
}

pub(super) fn feed(shared: &Shared) -> Result<store::redis::Subscription> {
    shared.redis.subscribe(std::slice::from_ref(&shared.keys.channel), &[], BUFFER)
}

struct Receiver {
    shared: Arc<Shared>,
    feed: Subscription,
    ready: watch::Sender<Readiness>,
    /// `None` until the stream was read for the first time.
    order: Option<Order>,
    /// Is the channel heard now?
    hears: bool,
    /// When the stream is read next.
    due: Monotonic,
}

pub(super) async fn run(shared: Arc<Shared>, feed: Subscription, ready: watch::Sender<Readiness>) {
    let due = shared.clock.monotonic() + COMPARE;
    let mut receiver = Receiver { shared, feed, ready, order: None, hears: false, due };
    loop {
        receiver.turn().await;
    }
}

impl Receiver {
    async fn turn(&mut self) {
        let first = tokio::select! {
            biased;
            news = self.feed.next() => news,
            () = self.shared.clock.sleep_until(self.due) => return self.catch_up().await,
        };
        let mut out = Vec::new();
        let mut ask = self.take(first, &mut out);
        while out.len() < BATCH {
            let Some(news) = self.feed.try_next() else { break };
            ask |= self.take(news, &mut out);
        }
        self.hand_out(&out);
        if ask {
            self.catch_up().await;
        }
    }

    /// Takes news in. `true` when the stream has to be read now.
    fn take(&mut self, news: News, out: &mut Vec<Output>) -> bool {
        match news {
            News::Restored => {
                self.hears = true;
                true
            }
            News::Lost(error) => {
                self.hears = false;
                self.failed(error.message());
                false
            }
            News::Dropped(_) => true,
            News::Message { payload, .. } => {
                let (Some(order), Some(entry)) = (&mut self.order, Entry::read(&payload)) else {
                    return false;
                };
                let waited = order.is_waiting();
                if order.offer(entry, out) == Step::Ask {
                    return true;
                }
                match (waited, order.is_waiting()) {
                    (false, true) => self.due = self.shared.clock.monotonic() + HOLD,
                    (true, false) => self.due = self.shared.clock.monotonic() + COMPARE,
                    _ => {}
                }
                false
            }
        }
    }

    fn failed(&self, why: &str) {
        self.ready.send_if_modified(|ready| {
            let failed = Readiness::Failed(why.to_owned());
            let changes = *ready != Readiness::Ready && *ready != failed;
            if changes {
                *ready = failed;
            }
            changes
        });
    }

    /// Reads the stream until nothing is missing.
    async fn catch_up(&mut self) {
        if self.order.is_none() && !self.hears {
            self.due = self.shared.clock.monotonic() + COMPARE;
            return;
        }
        let wait = match self.read().await {
            Ok(()) => {
                if self.hears {
                    self.ready.send_if_modified(|ready| {
                        std::mem::replace(ready, Readiness::Ready) != Readiness::Ready
                    });
                }
                COMPARE
            }
            Err(error) => {
                self.failed(error.message());
                RETRY
            }
        };
        self.due = self.shared.clock.monotonic() + wait;
    }

    async fn read(&mut self) -> Result<()> {
        let Some(order) = &mut self.order else {
            self.order = Some(Order::begin(script::head(&self.shared).await?));
            return Ok(());
        };
        loop {
            let page = script::page(&self.shared, order.next_page()).await?;
            let mut out = Vec::new();
            let done = order.fill(page, &mut out);
            hand_out(&self.shared, &out);
            if done {
                return Ok(());
            }
        }
    }

    fn hand_out(&self, out: &[Output]) {
        hand_out(&self.shared, out);
    }
}

fn hand_out(shared: &Shared, out: &[Output]) {
    if out.is_empty() {
        return;
    }
    // Not under the lock: whoever writes the log may be on the bus.
    for output in out {
        match output {
            Output::Event(_) => {}
            Output::Missed { after, last, .. } => {
                tracing::warn!(after, last, "events on the bus were lost before they were read");
            }
            Output::Gap(gap) => tracing::warn!(?gap, "events on the bus may be missing"),
        }
    }
    let mut subscribers = shared.subscribers();
    for output in out {
        match output {
            Output::Event(envelope) if was_handed_out(envelope, &shared.instance) => {}
            Output::Event(envelope) => subscribers.deliver(envelope),
            Output::Missed { epoch, after, last } => {
                subscribers.tell_missed(epoch, *after, *last);
            }
            Output::Gap(gap) => subscribers.tell_gap(*gap),
        }
    }
}

/// What this instance's JARVIS said was with everybody here when it was said.
fn was_handed_out(envelope: &Envelope, here: &str) -> bool {
    *envelope.instance == *here && Event::is_own(&envelope.event)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_util::FutureExt;

    use super::*;
    use crate::clock::ManualClock;
    use crate::events::redis::RedisBus;
    use crate::events::{BusPolicy, EventBus, Gap};
    use crate::store::redis::{Options, Redis};
    use crate::vocabulary::Severity;

    /// A log whose writer tells the bus what it writes.
    struct Telling(RedisBus);

    impl tracing::Subscriber for Telling {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }

        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

        fn event(&self, _: &tracing::Event<'_>) {
            let message = "something was logged".to_owned();
            let event = Event::OperatorTrouble { severity: Severity::Info, message };
            self.0.publish(event).now_or_never().unwrap().unwrap();
        }

        fn enter(&self, _: &tracing::span::Id) {}

        fn exit(&self, _: &tracing::span::Id) {}
    }

    #[test]
    fn whoever_writes_the_log_may_be_on_the_bus() {
        let (done, ended) = mpsc::channel();
        std::thread::spawn(move || {
            let clock: crate::clock::SharedClock = Arc::new(ManualClock::new());
            let redis =
                Redis::open("redis://127.0.0.1:1", &Options::new(), Arc::clone(&clock)).unwrap();
            let bus = RedisBus::new(&redis, BusPolicy::new(), clock).unwrap();
            let _log = tracing::subscriber::set_default(Telling(bus.clone()));
            hand_out(&bus.0.shared, &[Output::Gap(Gap::StreamLost)]);
            done.send(bus.backlog().events).unwrap();
        });
        let told = ended.recv_timeout(Duration::from_secs(60)).expect("the log waits for the bus");
        assert_eq!(told, 1);
    }
}
