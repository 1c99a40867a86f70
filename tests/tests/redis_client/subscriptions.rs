//! Subscriptions of one server.

use std::time::Duration;

use jarvis_core::clock::{Clock, ClockExt, SystemClock};
use jarvis_core::store::redis::Redis;
use jarvis_core::testkit::redis::{Listener, ListenerEvent, Repeat, call, subscribe};
use jarvis_tests::engines::RedisServer;

use crate::stage::{open, recovers};

async fn next(listener: &mut Listener) -> ListenerEvent {
    let clock = SystemClock::new();
    let deadline = clock.monotonic() + Duration::from_secs(10);
    clock.until(deadline, listener.next()).await.expect("an event within 10 s")
}

async fn publish(redis: &Redis, channel: &str, text: &str) {
    call(redis, &["PUBLISH", channel, text], Repeat::Write).await.expect("publish");
}

fn message(channel: &str, text: &str) -> ListenerEvent {
    ListenerEvent::Message(channel.to_owned(), text.to_owned())
}

#[tokio::test]
async fn messages_of_channels_and_patterns_in_order() {
    let server = RedisServer::start(&[]).await;
    let redis = open(&server.url());
    let mut listener = subscribe(&redis, &["a"], &["b.*"], 100).expect("a runtime");
    assert_eq!(next(&mut listener).await, ListenerEvent::Restored);
    for (channel, text) in [("a", "1"), ("b.x", "2"), ("c", "none"), ("a", "3")] {
        publish(&redis, channel, text).await;
    }
    for (channel, text) in [("a", "1"), ("b.x", "2"), ("a", "3")] {
        assert_eq!(next(&mut listener).await, message(channel, text));
    }
}

#[tokio::test]
async fn a_loss_is_told_and_what_comes_after_it_arrives() {
    let mut server = RedisServer::with_port(&[]).await;
    let redis = open(&format!("redis://127.0.0.1:{}", server.port()));
    let mut listener = subscribe(&redis, &["a"], &[], 100).expect("a runtime");
    assert_eq!(next(&mut listener).await, ListenerEvent::Restored);
    server.restart(&[]);
    assert!(matches!(next(&mut listener).await, ListenerEvent::Lost(_)));
    assert_eq!(next(&mut listener).await, ListenerEvent::Restored);
    recovers(&redis).await;
    publish(&redis, "a", "after").await;
    assert_eq!(next(&mut listener).await, message("a", "after"));
    server.signal("STOP");
    assert!(matches!(next(&mut listener).await, ListenerEvent::Lost(_)), "it hangs");
    server.signal("CONT");
    assert_eq!(next(&mut listener).await, ListenerEvent::Restored);
}

#[tokio::test]
async fn a_slow_reader_is_told_how_much_it_missed() {
    let server = RedisServer::start(&[]).await;
    let redis = open(&server.url());
    let mut listener = subscribe(&redis, &["a", "b"], &[], 10).expect("a runtime");
    assert_eq!(next(&mut listener).await, ListenerEvent::Restored);
    for number in 0..100 {
        publish(&redis, "a", &number.to_string()).await;
    }
    // Told by another subscription that all of them arrived.
    let mut witness = subscribe(&redis, &["b"], &[], 10).expect("a runtime");
    assert_eq!(next(&mut witness).await, ListenerEvent::Restored);
    publish(&redis, "b", "end").await;
    assert_eq!(next(&mut witness).await, message("b", "end"));
    for number in 0..10 {
        assert_eq!(next(&mut listener).await, message("a", &number.to_string()));
    }
    let ListenerEvent::Dropped(count) = next(&mut listener).await else {
        panic!("nothing was dropped")
    };
    assert!((90..=91).contains(&count), "{count}");
}
