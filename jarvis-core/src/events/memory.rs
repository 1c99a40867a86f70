//! [`MemoryBus`]: the reference, for one process.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;

use super::{Delivery, Envelope, Event, EventBus, Filter, SUBSCRIBER_BUFFER, Subscription};
use crate::Result;
use crate::clock::SharedClock;

#[derive(Debug, Default)]
struct Inbox {
    waiting: VecDeque<Arc<Envelope>>,
    missed: u64,
    closed: bool,
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Subscriber {
    filter: Filter,
    inbox: Mutex<Inbox>,
}

impl Subscriber {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(mut inbox: MutexGuard<'_, Inbox>) {
        let waker = inbox.waker.take();
        drop(inbox);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn deliver(&self, envelope: &Arc<Envelope>) {
        if !self.filter.matches(envelope) {
            return;
        }
        let mut inbox = self.inbox();
        if inbox.waiting.len() >= SUBSCRIBER_BUFFER {
            inbox.waiting.pop_front();
            inbox.missed += 1;
        }
        inbox.waiting.push_back(Arc::clone(envelope));
        Self::wake(inbox);
    }

    fn close(&self) {
        let mut inbox = self.inbox();
        inbox.closed = true;
        Self::wake(inbox);
    }

    fn poll(&self, context: &Context<'_>) -> Poll<Option<Delivery>> {
        let mut inbox = self.inbox();
        if inbox.missed > 0 {
            return Poll::Ready(Some(Delivery::Missed(std::mem::take(&mut inbox.missed))));
        }
        if let Some(envelope) = inbox.waiting.pop_front() {
            return Poll::Ready(Some(Delivery::Event(envelope)));
        }
        if inbox.closed {
            return Poll::Ready(None);
        }
        inbox.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

#[derive(Debug, Default)]
struct State {
    sequence: u64,
    subscribers: Vec<Weak<Subscriber>>,
}

#[derive(Debug)]
struct Inner {
    clock: SharedClock,
    instance: Arc<str>,
    state: Mutex<State>,
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for subscriber in &self.state().subscribers {
            if let Some(subscriber) = subscriber.upgrade() {
                subscriber.close();
            }
        }
    }
}

/// A bus within one process. Clones share it; subscriptions end when the last one is gone.
#[derive(Debug, Clone)]
pub struct MemoryBus(Arc<Inner>);

impl MemoryBus {
    /// A bus without subscribers. `instance` goes into every [`Envelope`]: two buses whose events
    /// meet in one log must not share it.
    #[must_use]
    pub fn new(clock: SharedClock, instance: impl Into<Arc<str>>) -> Self {
        Self(Arc::new(Inner { clock, instance: instance.into(), state: Mutex::default() }))
    }
}

#[async_trait]
impl EventBus for MemoryBus {
    async fn publish(&self, event: Event) -> Result<Arc<Envelope>> {
        let mut state = self.0.state();
        state.sequence += 1;
        let envelope = Arc::new(Envelope::new(
            state.sequence,
            Arc::clone(&self.0.instance),
            self.0.clock.wall(),
            event,
        ));
        state.subscribers.retain(|subscriber| match subscriber.upgrade() {
            Some(subscriber) => {
                subscriber.deliver(&envelope);
                true
            }
            None => false,
        });
        Ok(envelope)
    }

    async fn subscribe(&self, filter: Filter) -> Result<Box<dyn Subscription>> {
        let subscriber = Arc::new(Subscriber { filter, inbox: Mutex::default() });
        self.0.state().subscribers.push(Arc::downgrade(&subscriber));
        Ok(Box::new(MemorySubscription(subscriber)))
    }
}

#[derive(Debug)]
struct MemorySubscription(Arc<Subscriber>);

#[async_trait]
impl Subscription for MemorySubscription {
    async fn next(&mut self) -> Option<Delivery> {
        poll_fn(|context| self.0.poll(context)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::vocabulary::Severity;
    use futures_util::FutureExt;

    fn trouble(number: usize) -> Event {
        Event::OperatorTrouble { severity: Severity::Info, message: number.to_string() }
    }

    #[test]
    fn everything_is_complete_on_the_first_poll_without_a_runtime() {
        let bus = MemoryBus::new(Arc::new(ManualClock::new()), "test");
        let mut subscription = bus.subscribe(Filter::all()).now_or_never().unwrap().unwrap();
        let envelope = bus.publish(trouble(1)).now_or_never().unwrap().unwrap();
        let received = subscription.next().now_or_never().unwrap();
        assert_eq!(received, Some(Delivery::Event(envelope)));
        assert!(subscription.next().now_or_never().is_none());
        drop(bus);
        assert_eq!(subscription.next().now_or_never(), Some(None));
    }

    #[test]
    fn a_dropped_subscription_is_forgotten() {
        let bus = MemoryBus::new(Arc::new(ManualClock::new()), "test");
        drop(bus.subscribe(Filter::all()).now_or_never());
        bus.publish(trouble(1)).now_or_never().unwrap().unwrap();
        assert!(bus.0.state().subscribers.is_empty());
    }
}
