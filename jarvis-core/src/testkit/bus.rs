//! Cases of [`EventBus`] and [`Subscription`].

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::try_join_all;

use super::cases;
use crate::events::{
    Delivery, Envelope, Event, EventBus, Filter, SUBSCRIBER_BUFFER, Subscription, Topic,
};
use crate::vocabulary::Severity;
use crate::{Error, ErrorKind, Result};

/// One bus, fresh.
#[async_trait]
pub trait BusEnv: Debug + Send + Sync {
    /// Hands the bus over. The environment keeps no handle, so that dropping it ends the bus.
    /// Called once.
    async fn take(&self) -> Result<Arc<dyn EventBus>>;
}

cases!(dyn BusEnv:
    publishing_without_a_subscriber_is_fine,
    sequences_grow_by_one,
    an_envelope_says_what_it_holds,
    events_arrive_in_order,
    every_subscriber_gets_every_event,
    a_filter_lets_its_topics_through,
    nothing_from_before_the_subscription_arrives,
    a_slow_subscriber_loses_the_oldest_and_is_told,
    a_slow_subscriber_does_not_slow_the_others,
    a_dropped_call_loses_nothing,
    publishers_at_once_share_one_sequence,
    a_dropped_subscription_harms_nobody,
    a_subscription_ends_after_the_last_event_of_a_bus_that_is_gone,
);

fn trouble(number: usize) -> Event {
    Event::OperatorTrouble { severity: Severity::Info, message: number.to_string() }
}

fn stopped() -> Event {
    Event::AlertDelivered { sink: "log".to_owned(), key: "k".to_owned() }
}

async fn event(subscription: &mut Box<dyn Subscription>) -> Result<Arc<Envelope>> {
    match subscription.next().await {
        Some(Delivery::Event(envelope)) => Ok(envelope),
        other => Err(Error::new(ErrorKind::Internal, format!("expected an event, got {other:?}"))),
    }
}

async fn publishing_without_a_subscriber_is_fine(env: &dyn BusEnv) -> Result<()> {
    env.take().await?.publish(trouble(1)).await.map(|_| ())
}

async fn sequences_grow_by_one(env: &dyn BusEnv) -> Result<()> {
    let bus = env.take().await?;
    let first = bus.publish(trouble(1)).await?;
    for step in 1..10 {
        let next = bus.publish(trouble(1)).await?;
        assert_eq!(next.sequence, first.sequence + step);
        assert_eq!(next.instance, first.instance);
    }
    Ok(())
}

async fn an_envelope_says_what_it_holds(env: &dyn BusEnv) -> Result<()> {
    let bus = env.take().await?;
    let mut subscription = bus.subscribe(Filter::all()).await?;
    let sent = bus.publish(stopped()).await?;
    assert_eq!((sent.topic, &sent.event), (Topic::Alert, &stopped()));
    assert_eq!(*event(&mut subscription).await?, *sent);
    Ok(())
}

async fn events_arrive_in_order(env: &dyn BusEnv) -> Result<()> {
    let bus = env.take().await?;
    let mut subscription = bus.subscribe(Filter::all()).await?;
    for number in 0..100 {
        bus.publish(trouble(number)).await?;
    }
    for number in 0..100 {
        assert_eq!(event(&mut subscription).await?.event, trouble(number));
    }
    Ok(())
}

async fn every_subscriber_gets_every_event(env: &dyn BusEnv) -> Result<()> {
    let bus = env.take().await?;
    let mut subscriptions = try_join_all((0..5).map(|_| bus.subscribe(Filter::all()))).await?;
    bus.publish(trouble(1)).await?;
    bus.publish(trouble(2)).await?;
    for subscription in &mut subscriptions {
        assert_eq!(event(subscription).await?.event, trouble(1));
        assert_eq!(event(subscription).await?.event, trouble(2));
    }
    Ok(())
}

async fn a_filter_lets_its_topics_through(env: &dyn BusEnv) -> Result<()> {
    let bus = env.take().await?;
    let mut alerts = bus.subscribe(Filter::all().with_topic(Topic::Alert)).await?;
    let both = Filter::all().with_topic(Topic::Alert).with_topic(Topic::Operator);
    let mut both = bus.subscribe(both).await?;
    bus.publish(trouble(1)).await?;
    bus.publish(stopped()).await?;
    assert_eq!(event(&mut alerts).await?.event, stopped());
    assert_eq!(event(&mut both).await?.event, trouble(1));
    assert_eq!(event(&mut both).await?.event, stopped());
    Ok(())
}

async fn nothing_from_before_the_subscription_arrives(env: &dyn BusEnv) -> Result<()> {
    let bus = env.take().await?;
    bus.publish(trouble(1)).await?;
    let mut subscription = bus.subscribe(Filter::all()).await?;
    bus.publish(trouble(2)).await?;
    assert_eq!(event(&mut subscription).await?.event, trouble(2));
    Ok(())
}

async fn a_slow_subscriber_loses_the_oldest_and_is_told(env: &dyn BusEnv) -> Result<()> {
    let bus = env.take().await?;
    let mut subscription = bus.subscribe(Filter::all()).await?;
    let lost = 10;
    for number in 0..SUBSCRIBER_BUFFER + lost {
        bus.publish(trouble(number)).await?;
    }
    let mut missed = 0;
    let first = loop {
        match subscription.next().await {
            Some(Delivery::Missed(count)) => missed += count,
            Some(Delivery::Event(envelope)) => break envelope,
            None => return Err(Error::new(ErrorKind::Internal, "the bus is gone")),
        }
    };
    assert!(missed >= lost as u64, "told of {missed} lost events, {lost} is the least");
    assert_eq!(first.event, trouble(usize::try_from(missed).unwrap_or(usize::MAX)));
    for number in usize::try_from(missed).unwrap_or(usize::MAX) + 1..SUBSCRIBER_BUFFER + lost {
        assert_eq!(event(&mut subscription).await?.event, trouble(number));
    }
    Ok(())
}

async fn a_slow_subscriber_does_not_slow_the_others(env: &dyn BusEnv) -> Result<()> {
    let bus = env.take().await?;
    let slow = bus.subscribe(Filter::all()).await?;
    let mut quick = bus.subscribe(Filter::all()).await?;
    for number in 0..SUBSCRIBER_BUFFER * 2 {
        bus.publish(trouble(number)).await?;
        assert_eq!(event(&mut quick).await?.event, trouble(number));
    }
    drop(slow);
    Ok(())
}

async fn a_dropped_call_loses_nothing(env: &dyn BusEnv) -> Result<()> {
    let bus = env.take().await?;
    let mut subscription = bus.subscribe(Filter::all()).await?;
    for _ in 0..3 {
        assert!(subscription.next().now_or_never().is_none(), "nothing was published yet");
    }
    for number in 0..20 {
        bus.publish(trouble(number)).await?;
    }
    let mut received = 0;
    while received < 20 {
        // A call that is dropped while it waits, again and again, must not swallow an event.
        match subscription.next().now_or_never() {
            Some(Some(Delivery::Event(envelope))) => {
                assert_eq!(envelope.event, trouble(received));
                received += 1;
            }
            Some(other) => panic!("expected event {received}, got {other:?}"),
            None => tokio::task::yield_now().await,
        }
    }
    Ok(())
}

async fn publishers_at_once_share_one_sequence(env: &dyn BusEnv) -> Result<()> {
    let bus = env.take().await?;
    let mut subscription = bus.subscribe(Filter::all()).await?;
    let sent = try_join_all((0..200).map(|number| bus.publish(trouble(number)))).await?;
    let mut sequences: Vec<u64> = sent.iter().map(|envelope| envelope.sequence).collect();
    sequences.sort_unstable();
    assert!(sequences.windows(2).all(|pair| pair[1] == pair[0] + 1), "{sequences:?}");
    let mut last = 0;
    for _ in 0..200 {
        let envelope = event(&mut subscription).await?;
        assert!(envelope.sequence > last, "{} after {last}", envelope.sequence);
        last = envelope.sequence;
    }
    Ok(())
}

async fn a_dropped_subscription_harms_nobody(env: &dyn BusEnv) -> Result<()> {
    let bus = env.take().await?;
    let mut stays = bus.subscribe(Filter::all()).await?;
    drop(bus.subscribe(Filter::all()).await?);
    bus.publish(trouble(1)).await?;
    assert_eq!(event(&mut stays).await?.event, trouble(1));
    Ok(())
}

async fn a_subscription_ends_after_the_last_event_of_a_bus_that_is_gone(
    env: &dyn BusEnv,
) -> Result<()> {
    let bus = env.take().await?;
    let mut subscription = bus.subscribe(Filter::all()).await?;
    bus.publish(trouble(1)).await?;
    drop(bus);
    assert_eq!(event(&mut subscription).await?.event, trouble(1));
    assert_eq!(subscription.next().await, None);
    Ok(())
}
