//! Handing events to the subscribers of this process, whatever bus they came from.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;

use super::{Delivery, Envelope, Filter, Gap, Overflow, StreamPosition, Subscription};

/// What waits for one subscriber.
#[derive(Debug, Default)]
struct Inbox {
    waiting: VecDeque<Delivery>,
    /// How many of `waiting` are events.
    events: usize,
    /// Dropped before the first of `waiting`.
    missed: u64,
    gap: Option<Gap>,
    too_slow: bool,
    closed: bool,
    /// Events of the stream up to here were published before it subscribed.
    since: Option<StreamPosition>,
    waker: Option<Waker>,
}

impl Inbox {
    fn push(&mut self, envelope: &Arc<Envelope>, filter: &Filter) {
        if self.closed || self.too_slow || self.is_from_before(envelope) {
            return;
        }
        if self.events >= filter.buffer {
            if filter.overflow == Overflow::Close {
                self.too_slow = true;
                return;
            }
            self.drop_oldest();
        }
        self.events += 1;
        self.waiting.push_back(Delivery::Event(Arc::clone(envelope)));
    }

    fn is_from_before(&self, envelope: &Envelope) -> bool {
        match (&self.since, &envelope.stream) {
            (Some(since), Some(at)) => at.epoch == since.epoch && at.sequence <= since.sequence,
            _ => false,
        }
    }

    /// Makes room for one event. What was said before it is said at the front.
    fn drop_oldest(&mut self) {
        while let Some(oldest) = self.waiting.pop_front() {
            match oldest {
                Delivery::Event(_) => {
                    self.events -= 1;
                    self.missed += 1;
                    return;
                }
                Delivery::Missed(count) => self.missed += count,
                Delivery::Gap(gap) => self.gap = Some(gap),
                Delivery::TooSlow => {}
            }
        }
    }

    fn next(&mut self) -> Option<Delivery> {
        if let Some(gap) = self.gap.take() {
            return Some(Delivery::Gap(gap));
        }
        if self.missed > 0 {
            return Some(Delivery::Missed(std::mem::take(&mut self.missed)));
        }
        let next = self.waiting.pop_front();
        if matches!(next, Some(Delivery::Event(_))) {
            self.events -= 1;
        }
        next
    }
}

/// One subscriber: what it wants and what waits for it.
#[derive(Debug)]
pub(super) struct Subscriber {
    filter: Filter,
    here: Arc<str>,
    inbox: Mutex<Inbox>,
}

impl Subscriber {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Inbox)) {
        let mut inbox = self.inbox();
        change(&mut inbox);
        let waker = inbox.waker.take();
        drop(inbox);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(&self, context: &Context<'_>) -> Poll<Option<Delivery>> {
        let mut inbox = self.inbox();
        if let Some(next) = inbox.next() {
            return Poll::Ready(Some(next));
        }
        if inbox.too_slow && !inbox.closed {
            inbox.closed = true;
            return Poll::Ready(Some(Delivery::TooSlow));
        }
        if inbox.closed {
            return Poll::Ready(None);
        }
        inbox.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

/// A subscriber's end.
#[derive(Debug)]
pub(super) struct LocalSubscription(pub(super) Arc<Subscriber>);

#[async_trait]
impl Subscription for LocalSubscription {
    async fn next(&mut self) -> Option<Delivery> {
        poll_fn(|context| self.0.poll(context)).await
    }
}

/// The subscribers of this process. Those that were dropped are forgotten.
#[derive(Debug, Default)]
pub(super) struct Subscribers(Vec<Weak<Subscriber>>);

impl Subscribers {
    pub(super) fn add(&mut self, filter: Filter, here: &Arc<str>) -> Arc<Subscriber> {
        let here = Arc::clone(here);
        let filter = Filter { buffer: filter.buffer.max(1), ..filter };
        let subscriber = Arc::new(Subscriber { filter, here, inbox: Mutex::default() });
        self.0.push(Arc::downgrade(&subscriber));
        subscriber
    }

    fn each(&mut self, mut visit: impl FnMut(&Subscriber)) {
        self.0.retain(|subscriber| match subscriber.upgrade() {
            Some(subscriber) => {
                visit(&subscriber);
                true
            }
            None => false,
        });
    }

    pub(super) fn deliver(&mut self, envelope: &Arc<Envelope>) {
        self.each(|subscriber| {
            if subscriber.filter.matches(envelope, &subscriber.here) {
                subscriber.change(|inbox| inbox.push(envelope, &subscriber.filter));
            }
        });
    }

    /// Ends the subscriptions that this instance made.
    pub(super) fn close(&mut self, here: &Arc<str>) {
        self.each(|subscriber| {
            if Arc::ptr_eq(&subscriber.here, here) {
                subscriber.change(|inbox| inbox.closed = true);
            }
        });
    }

    #[cfg(test)]
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
