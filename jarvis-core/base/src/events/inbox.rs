//! Delivery of events to the subscribers in this process, for every kind of bus.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use crate::sync::{Mutex, MutexGuard};

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

    /// Says that something is missing. Said twice without an event between is said once.
    #[cfg(feature = "redis")]
    fn tell(&mut self, news: Delivery) {
        match (self.waiting.back_mut(), news) {
            (Some(Delivery::Missed(before)), Delivery::Missed(count)) => *before += count,
            (Some(Delivery::Gap(_)), Delivery::Gap(_)) => {}
            (_, news) => self.waiting.push_back(news),
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
        self.inbox.lock()
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

    /// Takes out and keeps out what the stream held when it subscribed.
    #[cfg(feature = "redis")]
    pub(super) fn begin_after(&self, position: Option<StreamPosition>) {
        let mut inbox = self.inbox();
        inbox.since = position;
        let waiting = std::mem::take(&mut inbox.waiting);
        inbox.events = 0;
        for delivery in waiting {
            match &delivery {
                Delivery::Event(envelope) if inbox.is_from_before(envelope) => continue,
                Delivery::Event(_) => inbox.events += 1,
                _ => {}
            }
            inbox.waiting.push_back(delivery);
        }
    }

    /// How many events of the stream in `after..=last` it would have received.
    #[cfg(feature = "redis")]
    fn share_of(&self, epoch: &str, after: u64, last: u64) -> u64 {
        if self.filter.origin == super::Origin::Here {
            return 0;
        }
        let since = match &self.inbox().since {
            Some(since) if *since.epoch == *epoch => since.sequence,
            _ => 0,
        };
        last.saturating_sub(after.max(since))
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

    /// Events of the stream can't be had any more: those in `after..=last`.
    #[cfg(feature = "redis")]
    pub(super) fn tell_missed(&mut self, epoch: &str, after: u64, last: u64) {
        self.each(|subscriber| {
            let count = subscriber.share_of(epoch, after, last);
            if count > 0 {
                subscriber.change(|inbox| inbox.tell(Delivery::Missed(count)));
            }
        });
    }

    /// Something of the stream may be missing.
    #[cfg(feature = "redis")]
    pub(super) fn tell_gap(&mut self, gap: Gap) {
        self.each(|subscriber| {
            if subscriber.filter.origin != super::Origin::Here {
                subscriber.change(|inbox| {
                    inbox.since = None;
                    inbox.tell(Delivery::Gap(gap));
                });
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
