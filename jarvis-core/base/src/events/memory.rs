//! [`MemoryBus`]: an event bus within one process; the reference implementation.

use std::sync::Arc;

use async_trait::async_trait;

use super::inbox::{LocalSubscription, Subscribers};
use super::{Backlog, Envelope, Event, EventBus, Filter, StreamPosition, Subscription};
use crate::Result;
use crate::clock::SharedClock;
use crate::sync::{Mutex, MutexGuard};

/// What all instances on one bus share.
#[derive(Debug)]
struct Shared {
    clock: SharedClock,
    epoch: Arc<str>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Of the stream.
    sequence: u64,
    subscribers: Subscribers,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

#[derive(Debug)]
struct Inner {
    instance: Arc<str>,
    /// Of this instance. Held while an event is handed out, so that it is in order.
    sequence: Mutex<u64>,
    shared: Arc<Shared>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.state().subscribers.close(&self.instance);
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
        let instance = instance.into();
        let epoch = Arc::clone(&instance);
        Self::on(Arc::new(Shared { clock, epoch, state: Mutex::default() }), instance)
    }

    /// Another instance on the same bus, as another process is on a shared one. `instance` must
    /// differ from all others on it.
    #[must_use]
    pub fn another(&self, instance: impl Into<Arc<str>>) -> Self {
        Self::on(Arc::clone(&self.0.shared), instance.into())
    }

    fn on(shared: Arc<Shared>, instance: Arc<str>) -> Self {
        Self(Arc::new(Inner { instance, sequence: Mutex::new(0), shared }))
    }
}

#[async_trait]
impl EventBus for MemoryBus {
    fn instance(&self) -> &str {
        &self.0.instance
    }

    fn locality(&self) -> crate::vocabulary::Locality {
        crate::vocabulary::Locality::InMemory
    }

    async fn publish(&self, event: Event) -> Result<Arc<Envelope>> {
        let Inner { instance, sequence, shared } = &*self.0;
        let mut sequence = sequence.lock();
        *sequence += 1;
        let instance = Arc::clone(instance);
        let mut envelope = Envelope::new(*sequence, instance, shared.clock.wall(), event);
        let mut state = shared.state();
        if !envelope.event.is_own() {
            state.sequence += 1;
            let position = StreamPosition::new(Arc::clone(&shared.epoch), state.sequence);
            envelope = envelope.with_stream(position);
        }
        let envelope = Arc::new(envelope);
        state.subscribers.deliver(&envelope);
        Ok(envelope)
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }

    /// Nobody else hears it.
    fn backlog(&self) -> Backlog {
        Backlog::default()
    }

    async fn subscribe(&self, filter: Filter) -> Result<Box<dyn Subscription>> {
        let subscriber = self.0.shared.state().subscribers.add(filter, &self.0.instance);
        Ok(Box::new(LocalSubscription(subscriber)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Delivery;
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
        assert!(bus.0.shared.state().subscribers.is_empty());
    }

    #[test]
    fn an_instance_that_goes_ends_only_its_own_subscriptions() {
        let one = MemoryBus::new(Arc::new(ManualClock::new()), "one");
        let two = one.another("two");
        let mut of_one = one.subscribe(Filter::all()).now_or_never().unwrap().unwrap();
        let mut of_two = two.subscribe(Filter::all()).now_or_never().unwrap().unwrap();
        drop(one);
        assert_eq!(of_one.next().now_or_never(), Some(None));
        let envelope = two.publish(trouble(1)).now_or_never().unwrap().unwrap();
        assert_eq!(of_two.next().now_or_never(), Some(Some(Delivery::Event(envelope))));
    }
}
