//! Cases of [`EventBus`] and [`Subscription`].

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::try_join_all;
use serde_json::json;

use super::cases;
use base::events::{
    Backlog, Delivery, Envelope, Event, EventBus, Filter, Message, Origin, Overflow,
    SUBSCRIBER_BUFFER, Subscription, Topic, TopicName, TopicPattern,
};
use base::vocabulary::{Locality, Severity};
use base::{Error, ErrorKind, Result};

/// One bus, fresh.
#[async_trait]
pub trait BusEnv: Debug + Send + Sync {
    /// Hands an instance over. The environment keeps no handle, so that dropping it ends the
    /// instance. Called once or twice: the second is another instance on the same bus, as another
    /// process would be.
    async fn take(&self) -> Result<Arc<dyn EventBus>>;
}

cases!(dyn BusEnv:
    what_is_in_memory_is_complete_on_its_first_poll,
    publishing_without_a_subscriber_is_fine,
    nothing_waits_after_a_flush,
    sequences_grow_by_one,
    positions_of_messages_grow_by_one,
    an_envelope_says_what_it_holds,
    events_arrive_in_order,
    messages_arrive_in_order,
    messages_and_events_of_one_publisher_all_arrive,
    every_subscriber_gets_every_event,
    a_filter_lets_its_topics_through,
    a_pattern_lets_its_topics_through,
    an_instance_has_its_own_name,
    an_origin_lets_its_instances_through,
    instances_see_messages_in_one_order,
    instances_see_what_the_other_s_jarvis_says,
    nothing_from_before_the_subscription_arrives,
    a_message_of_the_largest_size_arrives,
    a_slow_subscriber_loses_the_oldest_and_is_told,
    a_slow_subscriber_loses_the_oldest_messages_and_is_told,
    a_slow_subscriber_that_wants_no_holes_is_closed,
    a_slow_subscriber_does_not_slow_the_others,
    a_dropped_call_loses_nothing,
    publishers_at_once_share_one_sequence,
    publishers_of_messages_at_once_share_one_order,
    messages_published_at_once_arrive_in_their_order,
    a_dropped_subscription_harms_nobody,
    a_subscription_ends_after_the_last_event_of_a_bus_that_is_gone,
);

fn trouble(number: usize) -> Event {
    Event::OperatorTrouble { severity: Severity::Info, message: number.to_string() }
}

fn stopped() -> Event {
    Event::AlertDelivered { sink: "log".to_owned(), key: "k".to_owned() }
}

fn on(topic: &str, number: usize) -> Result<Event> {
    Ok(Event::Message(Message::new(TopicName::new(topic)?, json!({ "number": number }))?))
}

fn message(number: usize) -> Result<Event> {
    on("project.42.chat", number)
}

/// The filter of messages under `project`.
fn chats() -> Result<Filter> {
    Ok(Filter::all().with_pattern(TopicPattern::new("project.**")?))
}

async fn event(subscription: &mut Box<dyn Subscription>) -> Result<Arc<Envelope>> {
    match subscription.next().await {
        Some(Delivery::Event(envelope)) => Ok(envelope),
        other => Err(unexpected(other.as_ref())),
    }
}

fn unexpected(delivery: Option<&Delivery>) -> Error {
    Error::new(ErrorKind::Internal, format!("expected an event, got {delivery:?}"))
}

async fn what_is_in_memory_is_complete_on_its_first_poll(env: &dyn BusEnv) -> Result<()> {
    let bus = env.take().await?;
    if bus.locality() == Locality::InMemory {
        let subscribed = bus.subscribe(Filter::all()).now_or_never();
        assert!(subscribed.is_some(), "subscribe was not ready");
        for event in [trouble(1), message(1)?] {
            assert!(bus.publish(event).now_or_never().is_some(), "publish was not ready");
        }
        assert!(bus.flush().now_or_never().is_some(), "flush was not ready");
    }
    Ok(())
}

async fn publishing_without_a_subscriber_is_fine(env: &dyn BusEnv) -> Result<()> {
    let bus = env.take().await?;
    bus.publish(trouble(1)).await?;
    bus.publish(message(1)?).await?;
    bus.flush().await
}

async fn nothing_waits_after_a_flush(env: &dyn BusEnv) -> Result<()> {
    let bus = env.take().await?;
    for number in 0..100 {
        bus.publish(trouble(number)).await?;
    }
    bus.flush().await?;
    assert_eq!(bus.backlog(), Backlog::default());
    Ok(())
}

async fn sequences_grow_by_one(env: &dyn BusEnv) -> Result<()> {
    let bus = env.take().await?;
    let first = bus.publish(trouble(1)).await?;
    for step in 1..10 {
        let next = if step % 2 == 0 { trouble(1) } else { message(1)? };
        let next = bus.publish(next).await?;
        assert_eq!(next.sequence, first.sequence + step);
        assert_eq!(next.instance, first.instance);
    }
    Ok(())
}

async fn positions_of_messages_grow_by_one(env: &dyn BusEnv) -> Result<()> {
    let (one, two) = (env.take().await?, env.take().await?);
    let mut last = None;
    for number in 0..10 {
        let bus = if number % 3 == 0 { &one } else { &two };
        let sent = bus.publish(on(&format!("topic.{number}"), number)?).await?;
        let Some(position) = sent.stream.clone() else { panic!("no position: {sent:?}") };
        if let Some(last) = last.replace(position.clone()) {
            assert_eq!((position.epoch, position.sequence), (last.epoch, last.sequence + 1));
        }
    }
    Ok(())
}

async fn an_envelope_says_what_it_holds(env: &dyn BusEnv) -> Result<()> {
    let bus = env.take().await?;
    let mut subscription = bus.subscribe(Filter::all()).await?;
    let sent = bus.publish(stopped()).await?;
    assert_eq!((sent.topic.as_str(), &sent.event), ("alert", &stopped()));
    assert_eq!(*event(&mut subscription).await?, *sent);
    let sent = bus.publish(message(7)?).await?;
    assert_eq!((sent.topic.as_str(), &sent.event), ("project.42.chat", &message(7)?));
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

async fn messages_arrive_in_order(env: &dyn BusEnv) -> Result<()> {
    let bus = env.take().await?;
    let mut subscription = bus.subscribe(Filter::all()).await?;
    for number in 0..100 {
        bus.publish(message(number)?).await?;
    }
    for number in 0..100 {
        assert_eq!(event(&mut subscription).await?.event, message(number)?);
    }
    Ok(())
}

async fn messages_and_events_of_one_publisher_all_arrive(env: &dyn BusEnv) -> Result<()> {
    let bus = env.take().await?;
    let mut subscription = bus.subscribe(Filter::all()).await?;
    for number in 0..50 {
        bus.publish(trouble(number)).await?;
        bus.publish(message(number)?).await?;
    }
    let (mut events, mut messages) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        let envelope = event(&mut subscription).await?;
        let kind = if envelope.event.is_own() { &mut events } else { &mut messages };
        kind.push(envelope.event.clone());
    }
    assert_eq!(events, (0..50).map(trouble).collect::<Vec<_>>());
    assert_eq!(messages, (0..50).map(message).collect::<Result<Vec<_>>>()?);
    Ok(())
}

async fn every_subscriber_gets_every_event(env: &dyn BusEnv) -> Result<()> {
    let (bus, other) = (env.take().await?, env.take().await?);
    let mut subscriptions = try_join_all((0..5).map(|_| bus.subscribe(Filter::all()))).await?;
    subscriptions.extend(try_join_all((0..5).map(|_| other.subscribe(Filter::all()))).await?);
    bus.publish(message(1)?).await?;
    bus.publish(message(2)?).await?;
    for subscription in &mut subscriptions {
        assert_eq!(event(subscription).await?.event, message(1)?);
        assert_eq!(event(subscription).await?.event, message(2)?);
    }
    Ok(())
}

async fn a_filter_lets_its_topics_through(env: &dyn BusEnv) -> Result<()> {
    let bus = env.take().await?;
    let mut alerts = bus.subscribe(Filter::all().with_topic(Topic::Alert)).await?;
    let both = Filter::all().with_topic(Topic::Alert).with_topic(Topic::Operator);
    let mut both = bus.subscribe(both).await?;
    bus.publish(trouble(1)).await?;
    bus.publish(message(1)?).await?;
    bus.publish(stopped()).await?;
    assert_eq!(event(&mut alerts).await?.event, stopped());
    assert_eq!(event(&mut both).await?.event, trouble(1));
    assert_eq!(event(&mut both).await?.event, stopped());
    Ok(())
}

async fn a_pattern_lets_its_topics_through(env: &dyn BusEnv) -> Result<()> {
    let bus = env.take().await?;
    let pattern = |text: &str| TopicPattern::new(text).map(|it| Filter::all().with_pattern(it));
    let mut chats = bus.subscribe(pattern("project.*.chat")?).await?;
    let mut project = bus.subscribe(pattern("project.42.**")?).await?;
    let mut one = bus.subscribe(Filter::all().with_topic("project.7.chat".parse()?)).await?;
    let topics = ["project.42.chat", "user_activity", "project.42.mix.done", "project.7.chat"];
    for (number, topic) in topics.into_iter().enumerate() {
        bus.publish(on(topic, number)?).await?;
    }
    for expected in [0, 3] {
        assert_eq!(event(&mut chats).await?.event, on(topics[expected], expected)?);
    }
    for expected in [0, 2] {
        assert_eq!(event(&mut project).await?.event, on(topics[expected], expected)?);
    }
    assert_eq!(event(&mut one).await?.event, on(topics[3], 3)?);
    Ok(())
}

async fn an_instance_has_its_own_name(env: &dyn BusEnv) -> Result<()> {
    let (one, two) = (env.take().await?, env.take().await?);
    assert_ne!(one.instance(), two.instance());
    let name = one.instance().to_owned();
    assert_eq!(*one.publish(message(1)?).await?.instance, *name);
    assert_eq!(*two.publish(trouble(1)).await?.instance, *two.instance());
    assert_eq!(one.instance(), name);
    Ok(())
}

async fn an_origin_lets_its_instances_through(env: &dyn BusEnv) -> Result<()> {
    let (one, two) = (env.take().await?, env.take().await?);
    let mut here = one.subscribe(Filter::all().with_origin(Origin::Here)).await?;
    let mut elsewhere = one.subscribe(Filter::all().with_origin(Origin::Elsewhere)).await?;
    let mut anywhere = one.subscribe(Filter::all()).await?;
    one.publish(message(1)?).await?;
    two.publish(message(2)?).await?;
    one.publish(message(3)?).await?;
    two.publish(message(4)?).await?;
    for (subscription, expected) in [
        (&mut here, &[1, 3][..]),
        (&mut elsewhere, &[2, 4][..]),
        (&mut anywhere, &[1, 2, 3, 4][..]),
    ] {
        for number in expected {
            assert_eq!(event(subscription).await?.event, message(*number)?);
        }
    }
    Ok(())
}

async fn instances_see_messages_in_one_order(env: &dyn BusEnv) -> Result<()> {
    let (one, two) = (env.take().await?, env.take().await?);
    let mut first = one.subscribe(chats()?).await?;
    let mut second = two.subscribe(chats()?).await?;
    let sent = (0..200).map(|number| {
        let bus = if number % 2 == 0 { &one } else { &two };
        async move { bus.publish(message(number)?).await }
    });
    try_join_all(sent).await?;
    let mut last = 0;
    for _ in 0..200 {
        let (here, there) = (event(&mut first).await?, event(&mut second).await?);
        assert_eq!(here, there);
        let position = here.stream.as_ref().map_or(0, |position| position.sequence);
        assert!(position > last, "{position} after {last}");
        last = position;
    }
    Ok(())
}

async fn instances_see_what_the_other_s_jarvis_says(env: &dyn BusEnv) -> Result<()> {
    let (one, two) = (env.take().await?, env.take().await?);
    let mut other = two.subscribe(Filter::all().with_topic(Topic::Operator)).await?;
    let mut own = one.subscribe(Filter::own()).await?;
    for number in 0..50 {
        one.publish(trouble(number)).await?;
    }
    one.flush().await?;
    for number in 0..50 {
        let envelope = event(&mut other).await?;
        assert_eq!((&envelope.event, &*envelope.instance), (&trouble(number), one.instance()));
        assert_eq!(event(&mut own).await?.event, trouble(number));
    }
    // Nothing comes back a second time.
    one.publish(stopped()).await?;
    assert_eq!(event(&mut own).await?.event, stopped());
    Ok(())
}

async fn nothing_from_before_the_subscription_arrives(env: &dyn BusEnv) -> Result<()> {
    let (bus, other) = (env.take().await?, env.take().await?);
    // Whether or not somebody listened before.
    for round in 0..3 {
        bus.publish(trouble(1)).await?;
        bus.publish(message(1)?).await?;
        other.publish(message(2)?).await?;
        let mut subscription = bus.subscribe(Filter::all()).await?;
        let mut operator = bus.subscribe(Filter::own()).await?;
        other.publish(message(10 + round)?).await?;
        assert_eq!(event(&mut subscription).await?.event, message(10 + round)?);
        bus.publish(trouble(20 + round)).await?;
        assert_eq!(event(&mut operator).await?.event, trouble(20 + round));
        assert_eq!(event(&mut subscription).await?.event, trouble(20 + round));
    }
    Ok(())
}

async fn a_message_of_the_largest_size_arrives(env: &dyn BusEnv) -> Result<()> {
    let (one, two) = (env.take().await?, env.take().await?);
    let mut subscription = two.subscribe(Filter::all()).await?;
    let text = "\u{e4}\u{0}\"".repeat(2) + &"x".repeat(base::events::MAX_PAYLOAD - 32);
    let large = Message::new(TopicName::new("large")?, json!(text))?;
    one.publish(Event::Message(large.clone())).await?;
    assert_eq!(event(&mut subscription).await?.event, Event::Message(large));
    Ok(())
}

async fn a_slow_subscriber_loses_the_oldest_and_is_told(env: &dyn BusEnv) -> Result<()> {
    let bus = env.take().await?;
    let mut subscription = bus.subscribe(Filter::all()).await?;
    let sent: Vec<Event> = (0..SUBSCRIBER_BUFFER + 10).map(trouble).collect();
    for event in &sent {
        bus.publish(event.clone()).await?;
    }
    the_oldest_were_lost(&mut subscription, &sent, 10).await
}

async fn a_slow_subscriber_loses_the_oldest_messages_and_is_told(env: &dyn BusEnv) -> Result<()> {
    let bus = env.take().await?;
    let mut quick = bus.subscribe(Filter::all()).await?;
    let mut slow = bus.subscribe(Filter::all().with_buffer(20)).await?;
    let sent = (0..30).map(message).collect::<Result<Vec<Event>>>()?;
    for message in &sent {
        bus.publish(message.clone()).await?;
        event(&mut quick).await?;
    }
    // Where the quick one has the last, the slow one's may still be on its way.
    the_oldest_were_lost(&mut slow, &sent, 5).await
}

/// Of `sent`, at least `lost` were lost, all of them before the others, and that is told.
async fn the_oldest_were_lost(
    subscription: &mut Box<dyn Subscription>,
    sent: &[Event],
    lost: u64,
) -> Result<()> {
    let mut missed = 0;
    let first = loop {
        match subscription.next().await {
            Some(Delivery::Missed(count)) => missed += count,
            Some(Delivery::Event(envelope)) => break envelope,
            other => return Err(unexpected(other.as_ref())),
        }
    };
    assert!(missed >= lost, "told of {missed} lost events, {lost} is the least");
    let mut rest = sent.iter().skip(usize::try_from(missed).unwrap_or(usize::MAX));
    assert_eq!(Some(&first.event), rest.next());
    for expected in rest {
        assert_eq!(event(subscription).await?.event, *expected);
    }
    Ok(())
}

async fn a_slow_subscriber_that_wants_no_holes_is_closed(env: &dyn BusEnv) -> Result<()> {
    let bus = env.take().await?;
    let mut quick = bus.subscribe(Filter::all()).await?;
    let filter = Filter::all().with_buffer(5).with_overflow(Overflow::Close);
    let mut slow = bus.subscribe(filter).await?;
    for number in 0..10 {
        bus.publish(message(number)?).await?;
        event(&mut quick).await?;
    }
    for number in 0..5 {
        assert_eq!(event(&mut slow).await?.event, message(number)?);
    }
    bus.publish(trouble(1)).await?;
    assert_eq!(slow.next().await, Some(Delivery::TooSlow));
    assert_eq!(slow.next().await, None);
    assert_eq!(slow.next().await, None);
    assert_eq!(event(&mut quick).await?.event, trouble(1));
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
        bus.publish(message(number)?).await?;
    }
    let mut received = 0;
    while received < 20 {
        // A call that is dropped while it waits, again and again, must not swallow an event.
        match subscription.next().now_or_never() {
            Some(Some(Delivery::Event(envelope))) => {
                assert_eq!(envelope.event, message(received)?);
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

async fn publishers_of_messages_at_once_share_one_order(env: &dyn BusEnv) -> Result<()> {
    let bus = env.take().await?;
    let mut subscription = bus.subscribe(Filter::all()).await?;
    let messages = (0..200).map(message).collect::<Result<Vec<Event>>>()?;
    let sent = try_join_all(messages.into_iter().map(|message| bus.publish(message))).await?;
    let mut positions: Vec<u64> =
        sent.iter().filter_map(|it| it.stream.as_ref()).map(|it| it.sequence).collect();
    positions.sort_unstable();
    assert_eq!(positions.len(), 200);
    for position in positions {
        let envelope = event(&mut subscription).await?;
        assert_eq!(envelope.stream.as_ref().map(|it| it.sequence), Some(position));
    }
    Ok(())
}

async fn messages_published_at_once_arrive_in_their_order(env: &dyn BusEnv) -> Result<()> {
    let (bus, other) = (env.take().await?, env.take().await?);
    let mut subscriptions = Vec::new();
    for instance in [&bus, &other] {
        subscriptions.push(instance.subscribe(Filter::all()).await?);
    }
    let messages = (0..200).map(message).collect::<Result<Vec<Event>>>()?;
    let mut under_way = Vec::new();
    for message in messages {
        let mut publishing = bus.publish(message);
        match publishing.as_mut().now_or_never() {
            Some(sent) => drop(sent?),
            // The last to begin is the first to be asked again.
            None => under_way.insert(0, publishing),
        }
    }
    try_join_all(under_way).await?;
    for subscription in &mut subscriptions {
        for number in 0..200 {
            assert_eq!(event(subscription).await?.event, message(number)?);
        }
    }
    Ok(())
}

async fn a_dropped_subscription_harms_nobody(env: &dyn BusEnv) -> Result<()> {
    let bus = env.take().await?;
    let mut stays = bus.subscribe(Filter::all()).await?;
    drop(bus.subscribe(Filter::all()).await?);
    bus.publish(message(1)?).await?;
    assert_eq!(event(&mut stays).await?.event, message(1)?);
    Ok(())
}

async fn a_subscription_ends_after_the_last_event_of_a_bus_that_is_gone(
    env: &dyn BusEnv,
) -> Result<()> {
    let (bus, other) = (env.take().await?, env.take().await?);
    let mut subscription = bus.subscribe(Filter::all()).await?;
    bus.publish(trouble(1)).await?;
    drop(bus);
    other.publish(message(1)?).await?;
    assert_eq!(event(&mut subscription).await?.event, trouble(1));
    assert_eq!(subscription.next().await, None);
    Ok(())
}
