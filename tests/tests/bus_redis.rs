//! The bus on real Redis servers of the test's own, which it cuts, stops, empties and rolls back.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may")]

#[path = "bus_redis/killed.rs"]
mod killed;

use std::collections::BTreeSet;
use std::future::ready;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{Either, join_all};
use jarvis_core::clock::{SharedClock, SystemClock};
use jarvis_core::config::Source;
use jarvis_core::events::{
    BusPolicy, Delivery, Envelope, Event, EventBus, Filter, Gap, Message, Overflow, RedisBus,
    Subscription, Topic, TopicName,
};
use jarvis_core::jarvis::Jarvis;
use jarvis_core::store::redis::{Options, Redis};
use jarvis_core::vocabulary::{KeyPrefix, Severity};
use jarvis_core::{ErrorKind, Retry};
use jarvis_tests::engines::RedisServer;
use jarvis_tests::targets::{until, within};
use serde_json::json;

const LONG: Duration = Duration::from_secs(30);

fn clock() -> SharedClock {
    Arc::new(SystemClock::new())
}

/// An instance as in a process of its own.
fn bus_at(url: &str, policy: BusPolicy) -> RedisBus {
    let redis = Redis::open(url, &Options::new(), clock()).unwrap();
    RedisBus::new(&redis, policy, clock()).unwrap()
}

fn bus(server: &RedisServer) -> RedisBus {
    bus_at(&server.url(), BusPolicy::new())
}

fn message(number: u64) -> Event {
    let topic = TopicName::new("project.42.chat").unwrap();
    Event::Message(Message::new(topic, json!({ "number": number })).unwrap())
}

fn trouble(number: u64) -> Event {
    Event::OperatorTrouble { severity: Severity::Info, message: number.to_string() }
}

fn number(envelope: &Envelope) -> u64 {
    match &envelope.event {
        Event::Message(message) => message.payload()["number"].as_u64().unwrap(),
        other => panic!("no message: {other:?}"),
    }
}

async fn next(subscription: &mut Box<dyn Subscription>) -> Delivery {
    within(LONG, subscription.next()).await.expect("a delivery within 30 s").expect("a bus")
}

async fn event(subscription: &mut Box<dyn Subscription>) -> Arc<Envelope> {
    match next(subscription).await {
        Delivery::Event(envelope) => envelope,
        other => panic!("expected an event, got {other:?}"),
    }
}

async fn next_number(subscription: &mut Box<dyn Subscription>) -> u64 {
    let envelope = event(subscription).await;
    number(&envelope)
}

/// Tells the server something.
fn tell(server: &RedisServer, words: &[&str]) {
    drop(server.cli(words));
}

/// Everything, without a slow reader's loss.
fn roomy() -> Filter {
    Filter::all().with_buffer(60_000)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_amid_10_000_messages_loses_nothing_and_repeats_nothing() {
    let server = RedisServer::start(&[]).await;
    let (publisher, reader) = (bus(&server), bus(&server));
    let mut here = publisher.subscribe(roomy()).await.unwrap();
    let mut there = reader.subscribe(roomy()).await.unwrap();
    let mut cuts = 0;
    for wave in 0..100_u64 {
        let sent = (0..100).map(|at| publisher.publish(message(wave * 100 + at)));
        if wave % 10 == 5 {
            until("both listen", async || {
                let listening = server.cli(&["PUBSUB", "NUMSUB", "jarvis:broadcasts"]);
                listening.trim().ends_with('2')
            })
            .await;
            let (sent, killed) =
                futures_util::join!(join_all(sent), async { kill(&server, "pubsub") });
            sent.into_iter().for_each(|sent| drop(sent.unwrap()));
            cuts += killed;
        } else {
            join_all(sent).await.into_iter().for_each(|sent| drop(sent.unwrap()));
        }
    }
    assert_eq!(cuts, 20, "so many connections were cut");
    let mut numbers = BTreeSet::new();
    for position in 1..=10_000 {
        let (one, two) = (event(&mut here).await, event(&mut there).await);
        assert_eq!(one, two);
        assert_eq!(one.stream.as_ref().unwrap().sequence, position);
        assert!(numbers.insert(number(&one)));
    }
    assert_eq!(numbers.len(), 10_000);
}

/// 600 messages of one publisher that are under way at once on a server that is `fresh`, so that it
/// knows no script yet and nobody is connected, or was made to forget the script.
async fn six_hundred_at_once(fresh: bool) {
    let server = RedisServer::start(&[]).await;
    let (publisher, other) = (bus(&server), bus(&server));
    let mut heard = other.subscribe(roomy()).await.unwrap();
    if !fresh {
        publisher.publish(message(0)).await.unwrap();
        assert_eq!(next_number(&mut heard).await, 0);
        tell(&server, &["SCRIPT", "FLUSH"]);
    }
    let mut under_way = Vec::new();
    for n in 0..600 {
        let publisher = publisher.clone();
        let mut publishing =
            Box::pin(async move { publisher.publish(message(n)).await.map(|sent| number(&sent)) });
        // It takes its place here; when it goes on, or whether it is done already, is up to the threads.
        let done = match futures_util::poll!(&mut publishing) {
            Poll::Ready(done) => Either::Left(ready(done)),
            Poll::Pending => Either::Right(publishing),
        };
        under_way.push(tokio::spawn(done));
    }
    for (sent, n) in join_all(under_way).await.into_iter().zip(0..) {
        assert_eq!(sent.unwrap().unwrap(), n);
    }
    for n in 0..600 {
        assert_eq!(next_number(&mut heard).await, n);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_published_at_once_keeps_its_order_while_the_connection_is_made() {
    six_hundred_at_once(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_published_at_once_keeps_its_order_when_the_server_forgot_the_script() {
    six_hundred_at_once(false).await;
}

fn kill(server: &RedisServer, kind: &str) -> u64 {
    server.cli(&["CLIENT", "KILL", "TYPE", kind]).trim().parse().expect("how many")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_is_cut_publishes_each_message_once() {
    let server = RedisServer::start(&[]).await;
    let (publisher, reader) = (bus(&server), bus(&server));
    let mut there = reader.subscribe(roomy()).await.unwrap();
    let (mut published, mut unclear) = (BTreeSet::new(), BTreeSet::new());
    for wave in 0..50_u64 {
        let numbers = (0..50).map(|at| wave * 50 + at);
        let sent = join_all(numbers.clone().map(|number| publisher.publish(message(number))));
        let (sent, _) = futures_util::join!(sent, async { kill(&server, "normal") });
        for (number, sent) in numbers.zip(sent) {
            match sent {
                Ok(_) => drop(published.insert(number)),
                Err(error) if error.retry() == Retry::Indeterminate => {
                    unclear.insert(number);
                }
                Err(error) => assert!(error.is_retryable(), "{error:?}"),
            }
        }
    }
    let last = loop {
        match publisher.publish(message(1_000_000)).await {
            Ok(sent) => break sent,
            Err(error) => assert!(error.is_retryable() || error.retry() == Retry::Indeterminate),
        }
    };
    assert!(published.len() > 1_000, "{} of 2,500", published.len());
    let mut received = BTreeSet::new();
    loop {
        let envelope = event(&mut there).await;
        assert!(received.insert((number(&envelope), envelope.sequence)), "twice: {envelope:?}");
        if envelope == last {
            break;
        }
    }
    let received: BTreeSet<u64> = received.into_iter().map(|(number, _)| number).collect();
    let lost: Vec<_> = published.difference(&received).collect();
    assert!(lost.is_empty(), "told as published, and not received: {lost:?}");
    let wrong: Vec<_> = received
        .iter()
        .filter(|it| **it < 1_000_000 && !published.contains(it) && !unclear.contains(it))
        .collect();
    assert!(wrong.is_empty(), "told as not published, and received: {wrong:?}");
}

/// A server where the reader is a user of its own, who can be locked out for a while.
async fn with_a_user() -> (RedisServer, String) {
    let server = RedisServer::start(&[]).await;
    tell(&server, &["ACL", "SETUSER", "reader", "on", ">secret", "~*", "&*", "+@all"]);
    let url = format!("{}?user=reader&password=secret", server.url());
    (server, url)
}

fn lock_out(server: &RedisServer) {
    tell(server, &["ACL", "SETUSER", "reader", "off"]);
    tell(server, &["CLIENT", "KILL", "USER", "reader"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_stream_no_longer_holds_after_an_outage_is_counted() {
    let (server, url) = with_a_user().await;
    let publisher = bus_at(&server.url(), BusPolicy::new().with_history(100));
    let reader = bus_at(&url, BusPolicy::new());
    let mut there = reader.subscribe(roomy()).await.unwrap();
    publisher.publish(message(0)).await.unwrap();
    assert_eq!(number(&*event(&mut there).await), 0);
    lock_out(&server);
    for number in 1..=1_000 {
        publisher.publish(message(number)).await.unwrap();
    }
    tell(&server, &["ACL", "SETUSER", "reader", "on"]);
    let missed = match next(&mut there).await {
        Delivery::Missed(missed) => missed,
        other => panic!("expected a count, got {other:?}"),
    };
    assert!((700..=900).contains(&missed), "a history of about 100, {missed} missed");
    for expected in missed + 1..=1_000 {
        assert_eq!(number(&*event(&mut there).await), expected);
    }
    publisher.publish(message(1_001)).await.unwrap();
    assert_eq!(number(&*event(&mut there).await), 1_001);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_outage_is_filled_and_told_to_nobody() {
    let (server, url) = with_a_user().await;
    let publisher = bus(&server);
    let reader = bus_at(&url, BusPolicy::new());
    let mut there = reader.subscribe(roomy()).await.unwrap();
    lock_out(&server);
    for number in 0..5_000 {
        publisher.publish(message(number)).await.unwrap();
    }
    tell(&server, &["ACL", "SETUSER", "reader", "on"]);
    for expected in 0..5_000 {
        assert_eq!(number(&*event(&mut there).await), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_empty_is_told_and_own_events_survive() {
    let mut server = RedisServer::start(&[]).await;
    let (one, two) = (bus(&server), bus(&server));
    let mut here = one.subscribe(Filter::own()).await.unwrap();
    let mut there = two.subscribe(roomy()).await.unwrap();
    one.publish(message(1)).await.unwrap();
    assert_eq!(number(&*event(&mut there).await), 1);
    server.crash();
    // Nobody waits for a server, and nothing is lost in the process.
    let began = clock().monotonic();
    for number in 0..500 {
        one.publish(trouble(number)).await.unwrap();
        assert_eq!(event(&mut here).await.event, trouble(number));
    }
    let took = clock().monotonic().saturating_since(began);
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(one.backlog().events, 500);
    let error = one.flush().await.unwrap_err();
    assert!(error.message().contains("500 events were not sent"), "{error}");
    server.restart(&[]);
    assert_eq!(next(&mut there).await, Delivery::Gap(Gap::StreamLost));
    for number in 0..500 {
        assert_eq!(event(&mut there).await.event, trouble(number));
    }
    until("nothing waits", async || one.backlog().events == 0).await;
    assert_eq!(one.backlog().dropped, 0);
    until("messages are taken again", async || one.publish(message(2)).await.is_ok()).await;
    assert_eq!(number(&*event(&mut there).await), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_with_an_older_end_is_told_and_new_messages_arrive() {
    let mut server = RedisServer::start(&[]).await;
    let (publisher, reader) = (bus(&server), bus(&server));
    let mut there = reader.subscribe(roomy()).await.unwrap();
    for number in 1..=20 {
        publisher.publish(message(number)).await.unwrap();
        if number == 10 {
            tell(&server, &["SAVE"]);
        }
    }
    for expected in 1..=20 {
        assert_eq!(number(&*event(&mut there).await), expected);
    }
    server.crash();
    server.restart(&[]);
    until("messages are taken again", async || publisher.publish(message(21)).await.is_ok()).await;
    for number in 22..=40 {
        publisher.publish(message(number)).await.unwrap();
    }
    let mut numbers = Vec::new();
    let mut gaps = 0;
    while numbers.last() != Some(&40) {
        match next(&mut there).await {
            Delivery::Event(envelope) => numbers.push(number(&envelope)),
            Delivery::Gap(Gap::StreamRolledBack) => gaps += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(numbers, (21..=40).collect::<Vec<_>>());
    assert_eq!(gaps, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_messages_fail_soon_and_then_at_once() {
    let mut server = RedisServer::start(&[]).await;
    let bus = bus(&server);
    let mut own = bus.subscribe(Filter::own()).await.unwrap();
    let mut all = bus.subscribe(Filter::all()).await.unwrap();
    server.crash();
    let began = clock().monotonic();
    let error = bus.publish(message(1)).await.unwrap_err();
    let first = clock().monotonic().saturating_since(began);
    assert!(first < Duration::from_millis(1_200), "{first:?}");
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout), "{error:?}");
    let began = clock().monotonic();
    for _ in 0..10 {
        bus.publish(message(1)).await.unwrap_err();
    }
    let ten = clock().monotonic().saturating_since(began);
    assert!(ten < Duration::from_millis(100), "{ten:?}");
    assert!(bus.subscribe(Filter::all()).await.is_err(), "where would it begin?");
    assert!(bus.subscribe(Filter::own()).await.is_ok());
    bus.publish(trouble(1)).await.unwrap();
    assert_eq!(event(&mut own).await.event, trouble(1));
    assert_eq!(event(&mut all).await.event, trouble(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_to_a_server_that_hangs_is_unclear_and_comes_at_most_once() {
    let server = RedisServer::start(&[]).await;
    let (publisher, reader) = (bus(&server), bus(&server));
    let mut there = reader.subscribe(roomy()).await.unwrap();
    publisher.publish(message(1)).await.unwrap();
    assert_eq!(number(&*event(&mut there).await), 1);
    server.signal("STOP");
    let error = publisher.publish(message(2)).await.unwrap_err();
    assert_eq!(error.retry(), Retry::Indeterminate, "{error:?}");
    server.signal("CONT");
    until("messages are taken again", async || publisher.publish(message(3)).await.is_ok()).await;
    let mut numbers = Vec::new();
    while numbers.last() != Some(&3) {
        numbers.push(number(&*event(&mut there).await));
    }
    assert!(numbers == [2, 3] || numbers == [3], "{numbers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_finds_no_room_while_redis_is_away_is_told_to_the_others() {
    let mut server = RedisServer::start(&[]).await;
    let (one, two) = (bus(&server), bus(&server));
    let mut there = two.subscribe(roomy().with_topic(Topic::Operator)).await.unwrap();
    let mut own = one.subscribe(Filter::own().with_buffer(60_000)).await.unwrap();
    one.publish(trouble(0)).await.unwrap();
    assert_eq!(event(&mut there).await.event, trouble(0));
    server.crash();
    for number in 1..=10_100 {
        one.publish(trouble(number)).await.unwrap();
    }
    for number in 0..=10_100 {
        assert_eq!(event(&mut own).await.event, trouble(number));
    }
    let backlog = one.backlog();
    assert!(backlog.events == 10_000 && backlog.dropped == 100, "{backlog:?}");
    server.restart(&[]);
    assert_eq!(next(&mut there).await, Delivery::Gap(Gap::StreamLost));
    for number in 101..=10_100 {
        assert_eq!(event(&mut there).await.event, trouble(number));
    }
    let told = event(&mut there).await;
    let Event::OperatorTrouble { message, .. } = &told.event else { panic!("{told:?}") };
    assert!(message.starts_with("100 events of this instance"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_wants_no_holes_begins_anew_after_it_was_too_slow() {
    let server = RedisServer::start(&[]).await;
    let (publisher, reader) = (bus(&server), bus(&server));
    let filter = Filter::all().with_buffer(10).with_overflow(Overflow::Close);
    let mut slow = reader.subscribe(filter.clone()).await.unwrap();
    let mut quick = reader.subscribe(Filter::all()).await.unwrap();
    for sent in 0..20 {
        publisher.publish(message(sent)).await.unwrap();
        assert_eq!(number(&*event(&mut quick).await), sent);
    }
    for expected in 0..10 {
        assert_eq!(number(&*event(&mut slow).await), expected);
    }
    assert_eq!(next(&mut slow).await, Delivery::TooSlow);
    let mut again = reader.subscribe(filter).await.unwrap();
    publisher.publish(message(20)).await.unwrap();
    assert_eq!(number(&*event(&mut again).await), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ours_is_left_out_and_what_is_newer_is_kept() {
    let server = RedisServer::start(&[]).await;
    let (one, two) = (bus(&server), bus(&server));
    let mut there = two.subscribe(Filter::all()).await.unwrap();
    for other in ["", "{}", "hello", "{\"stream\":{}}"] {
        assert_eq!(server.cli(&["PUBLISH", "jarvis:broadcasts", other]).trim(), "1");
    }
    let newer: Envelope = serde_json::from_value(json!({
        "sequence": 1, "instance": "newer", "at": clock().wall(), "topic": "cost",
        "event": { "type": "budget_spent", "usd": "12.50" },
    }))
    .unwrap();
    one.publish(newer.event.clone()).await.unwrap();
    let got = event(&mut there).await;
    assert_eq!((got.topic.as_str(), &got.event), ("cost", &newer.event));
    one.publish(message(1)).await.unwrap();
    assert_eq!(number(&*event(&mut there).await), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_envelope_on_the_channel_is_json_with_its_position() {
    let server = RedisServer::start(&[]).await;
    let bus = bus(&server);
    let sent = bus.publish(message(7)).await.unwrap();
    let newest = server.cli(&["XREVRANGE", "{jarvis:bus}:stream", "+", "-", "COUNT", "1"]);
    let text = newest.lines().find(|line| line.starts_with('{')).expect("an envelope");
    assert_eq!(serde_json::from_str::<Envelope>(text).unwrap(), *sent);
    let json: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(json["topic"], "project.42.chat");
    assert_eq!(json["event"]["payload"]["number"], 7);
    assert_eq!(json["stream"]["sequence"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_the_server_is_in_the_metrics() {
    let mut server = RedisServer::start(&[]).await;
    let text = format!("[store]\nbus = \"{}\"\n", server.url());
    let jarvis = Jarvis::open(Source::empty().with_text(text)).unwrap();
    let bus = jarvis.bus();
    bus.publish(trouble(1)).await.unwrap();
    bus.flush().await.unwrap();
    let count = async |name: &str| -> u64 {
        let metrics = jarvis.metrics().await.unwrap();
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        let value = line.unwrap_or_else(|| panic!("no {name} in\n{metrics}"));
        value.trim_end_matches(".0").parse().unwrap()
    };
    assert_eq!(count("jarvis_bus_events_waiting ").await, 0);
    server.crash();
    for number in 0..7 {
        bus.publish(trouble(number)).await.unwrap();
    }
    assert_eq!(count("jarvis_bus_events_waiting ").await, 7);
    assert!(count("jarvis_bus_waiting_bytes ").await > 700);
    assert_eq!(count("jarvis_bus_events_dropped_total ").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn buses_with_different_prefixes_do_not_meet() {
    let server = RedisServer::start(&[]).await;
    let one = bus(&server);
    let other =
        bus_at(&server.url(), BusPolicy::new().with_prefix(KeyPrefix::new("staging").unwrap()));
    let mut subscription = other.subscribe(Filter::all()).await.unwrap();
    one.publish(message(1)).await.unwrap();
    other.publish(message(2)).await.unwrap();
    assert_eq!(number(&*event(&mut subscription).await), 2);
}

/// Asks one of the Sentinels of the tests.
fn sentinel(url: &str, words: &[&str]) -> String {
    let host = url.split("//").nth(1).unwrap().rsplit('@').next().unwrap();
    let port = host.split([',', '/']).next().unwrap().rsplit(':').next().unwrap();
    let output = std::process::Command::new("redis-cli")
        .args(["-p", port])
        .args(words)
        .output()
        .expect("redis-cli is installed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_by_the_sentinels_is_followed() {
    let url = std::env::var("JARVIS_TEST_REDIS_SENTINEL_URL")
        .expect("JARVIS_TEST_REDIS_SENTINEL_URL is set by tests/run, which starts the servers");
    let name = format!("failover-{}", std::process::id());
    let options = || BusPolicy::new().with_prefix(KeyPrefix::new(&name).unwrap());
    let (publisher, reader) = (bus_at(&url, options()), bus_at(&url, options()));
    let mut there = reader.subscribe(roomy()).await.unwrap();
    let master = || sentinel(&url, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"]);
    let before = master();
    let (mut published, mut unclear) = (BTreeSet::new(), BTreeSet::new());
    let (mut moved, mut after) = (false, 0);
    let (mut count, mut asked) = (0, None);
    let publishing = async {
        while after < 500 {
            count += 1;
            // They don't while a replica has not come along since the last time: then asked again.
            let now = clock().monotonic();
            let is_due = asked.is_none_or(|at| now.saturating_since(at) > Duration::from_secs(10));
            if count >= 500 && !moved && is_due {
                drop(sentinel(&url, &["SENTINEL", "FAILOVER", "main"]));
                asked = Some(now);
            }
            match publisher.publish(message(count)).await {
                Ok(_) => {
                    published.insert(count);
                    after += u32::from(moved);
                }
                Err(error) if error.retry() == Retry::Indeterminate => {
                    unclear.insert(count);
                }
                Err(_) => jarvis_tests::targets::pause(Duration::from_millis(5)).await,
            }
            moved = moved || (count > 500 && count % 50 == 0 && master() != before);
        }
    };
    assert!(within(Duration::from_secs(60), publishing).await.is_some(), "no failover in 60 s");
    let last = *published.last().unwrap();
    let (mut received, mut gaps) = (BTreeSet::new(), 0);
    while !received.contains(&last) {
        match next(&mut there).await {
            Delivery::Event(envelope) => {
                assert!(received.insert(number(&envelope)), "twice: {envelope:?}");
            }
            Delivery::Gap(_) => gaps += 1,
            other => panic!("{other:?}"),
        }
    }
    let lost: Vec<u64> = published.difference(&received).copied().collect();
    // What a master acknowledged just before it was demoted may be lost, and that is told.
    assert!(lost.is_empty() || gaps > 0, "lost and not told: {lost:?}");
    assert!(received.iter().all(|it| published.contains(it) || unclear.contains(it)));
}
