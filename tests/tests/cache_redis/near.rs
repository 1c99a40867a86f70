//! Copies in two processes' memories.

use std::sync::Arc;
use std::time::Duration;

use jarvis_core::cache::{
    Cache, CachePolicy, Lifetime, LoadOptions, NearCache, SetOptions, loader,
};
use jarvis_core::clock::SystemClock;
use jarvis_tests::engines::RedisServer;
use jarvis_tests::targets::until;

use crate::{cache, patient, redis, text};

fn tcp(server: &RedisServer) -> String {
    format!("redis://127.0.0.1:{}", server.port())
}

pub(crate) async fn near(url: &str, policy: CachePolicy) -> NearCache {
    let cache =
        NearCache::new(&redis(url), policy, Arc::new(SystemClock::new())).expect("a policy");
    copying(&cache).await;
    cache
}

pub(crate) async fn copying(cache: &NearCache) {
    until("it listens", async || {
        cache.exists("any").await.expect("an answer");
        cache.is_copying()
    })
    .await;
}

pub(crate) async fn near_hits(cache: &NearCache) -> u64 {
    cache.stats().await.expect("numbers").near_hits
}

/// Reads until what is read is a copy.
pub(crate) async fn copied(cache: &NearCache, key: &str) {
    let before = near_hits(cache).await;
    until("it is a copy", async || {
        text(cache, key).await.expect("a value");
        near_hits(cache).await > before
    })
    .await;
}

pub(crate) async fn seen(cache: &NearCache, key: &str, value: Option<&str>) {
    until("the change is seen", async || text(cache, key).await.as_deref() == value).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_change_is_seen() {
    let server = RedisServer::with_port(&[]).await;
    let one = near(&tcp(&server), patient()).await;
    let two = near(&tcp(&server), patient()).await;
    let plain = cache(&tcp(&server), patient().with_near(true));
    let tagged = SetOptions::new().with_tag("t");
    for round in 0..20 {
        one.set("k", format!("a{round}").into(), tagged.clone()).await.expect("stored");
        seen(&two, "k", Some(&format!("a{round}"))).await;
        copied(&two, "k").await;
        plain.set("k", format!("b{round}").into(), tagged.clone()).await.expect("stored");
        seen(&two, "k", Some(&format!("b{round}"))).await;
        seen(&one, "k", Some(&format!("b{round}"))).await;
        copied(&one, "k").await;
    }
    // Own changes are seen at once.
    two.set("k", "own".into(), tagged.clone()).await.expect("stored");
    assert_eq!(text(&two, "k").await.as_deref(), Some("own"));
    copied(&two, "k").await;
    two.invalidate_tag("t").await.expect("done");
    assert_eq!(text(&two, "k").await, None);
    seen(&one, "k", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_own_change_is_seen_although_its_caller_went_away() {
    let server = RedisServer::with_port(&[]).await;
    let cache = near(&tcp(&server), patient()).await;
    // It knows the script then.
    cache.delete(&["k".to_owned()]).await.expect("deleted");
    for _ in 0..10 {
        cache.set("k", "old".into(), SetOptions::new()).await.expect("stored");
        copied(&cache, "k").await;
        // The server has got it, and carries it out when nobody waits for it any more.
        let _ = server.cli(&["CLIENT", "PAUSE", "60000", "WRITE"]);
        let (deleted, keys) = (cache.clone(), ["k".to_owned()]);
        let deleting = tokio::spawn(async move { deleted.delete(&keys).await });
        until("it is held", async || {
            server.cli(&["INFO", "clients"]).contains("blocked_clients:1\r\n")
        })
        .await;
        deleting.abort();
        assert!(deleting.await.is_err_and(|error| error.is_cancelled()));
        assert_eq!(text(&cache, "k").await.as_deref(), Some("old"), "it is a copy");
        let _ = server.cli(&["CLIENT", "UNPAUSE"]);
        seen(&cache, "k", None).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_change_is_announced() {
    let server = RedisServer::with_port(&[]).await;
    let reader = near(&tcp(&server), patient()).await;
    let writer = cache(&tcp(&server), patient().with_near(true));
    let absent = SetOptions::new().with_tag("t");
    for change in ["delete", "tag", "pattern", "flush", "increment", "expire", "present"] {
        writer.set("k", "1".into(), absent.clone()).await.expect("stored");
        seen(&reader, "k", Some("1")).await;
        copied(&reader, "k").await;
        let (done, value) = match change {
            "delete" => (writer.delete(&["k".to_owned()]).await.map(drop), None),
            "tag" => (writer.invalidate_tag("t").await, None),
            "pattern" => (writer.invalidate_pattern("k*").await.map(drop), None),
            "flush" => (writer.flush().await, None),
            "increment" => (writer.increment("k", 1, None).await.map(drop), Some("2")),
            "expire" => {
                let brief = Lifetime::For(Duration::from_millis(1));
                (writer.expire("k", brief).await.map(drop), None)
            }
            _ => {
                let options = SetOptions::new()
                    .with_condition(jarvis_core::cache::Condition::IfPresent)
                    .with_tag("u");
                (writer.set("k", "3".into(), options).await.map(drop), Some("3"))
            }
        };
        done.unwrap_or_else(|error| panic!("{change}: {error}"));
        seen(&reader, "k", value).await;
    }
    writer.delete(&["k".to_owned()]).await.expect("deleted");
    writer.increment("k", 1, None).await.expect("a sum");
    seen(&reader, "k", Some("1")).await;
    copied(&reader, "k").await;
    writer.increment("k", 1, None).await.expect("a sum");
    seen(&reader, "k", Some("2")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_stale_is_given_after_a_lost_connection() {
    let server = RedisServer::with_port(&[]).await;
    let reader = near(&tcp(&server), patient()).await;
    let writer = cache(&server.url(), patient().with_near(true));
    writer.set("k", "old".into(), SetOptions::new()).await.expect("stored");
    seen(&reader, "k", Some("old")).await;
    copied(&reader, "k").await;
    // It may read and write, but not listen.
    let _ = server.cli(&["ACL", "SETUSER", "default", "-subscribe", "-psubscribe"]);
    let _ = server.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    until("the loss is noticed", async || !reader.is_copying()).await;
    for value in ["new", "newer"] {
        writer.set("k", value.into(), SetOptions::new()).await.expect("stored");
        let before = near_hits(&reader).await;
        assert_eq!(text(&reader, "k").await.as_deref(), Some(value), "not heard of, and not stale");
        assert_eq!(near_hits(&reader).await, before);
    }
    let _ = server.cli(&["ACL", "SETUSER", "default", "+subscribe", "+psubscribe"]);
    copying(&reader).await;
    assert_eq!(text(&reader, "k").await.as_deref(), Some("newer"));
    copied(&reader, "k").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_ends_with_its_entry_and_with_its_own_time() {
    let server = RedisServer::with_port(&[]).await;
    let reader = near(&tcp(&server), patient().with_near_ttl(Duration::from_millis(300))).await;
    // This one does not announce: only time ends the copies.
    let silent = cache(&tcp(&server), patient());
    silent.set("k", "old".into(), SetOptions::new()).await.expect("stored");
    copied(&reader, "k").await;
    silent.set("k", "new".into(), SetOptions::new()).await.expect("stored");
    seen(&reader, "k", Some("new")).await;
    let brief = SetOptions::new().with_ttl(Duration::from_millis(200));
    silent.set("k", "brief".into(), brief).await.expect("stored");
    seen(&reader, "k", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_ends_the_copies_and_a_runtime_that_ends_does_too() {
    let server = RedisServer::with_port(&[]).await;
    let reader = near(&tcp(&server), patient()).await;
    reader.set("k", "v".into(), SetOptions::new()).await.expect("stored");
    copied(&reader, "k").await;
    reader.close().await.expect("closed");
    assert!(!reader.is_copying());
    assert_eq!(text(&reader, "k").await.as_deref(), Some("v"));
    assert!(!reader.is_copying(), "closed is closed");

    let url = tcp(&server);
    let outlived = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(near(&url, patient()))
    });
    let outlived = outlived.join().expect("a cache");
    assert!(!outlived.is_copying(), "nobody listens any more");
    copying(&outlived).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn loads_and_refreshes_are_announced() {
    let server = RedisServer::with_port(&[]).await;
    let reader = near(&tcp(&server), patient()).await;
    let loading = near(&tcp(&server), patient()).await;
    let load = |value: &'static str| loader(move || async move { Ok(value.into()) });
    let options = LoadOptions::new();
    loading.get_or_load("k", options.clone(), load("first")).await.expect("a value");
    copied(&reader, "k").await;
    // What vanished from the server, by eviction or a restart, is still a copy …
    let _ = server.cli(&["FLUSHALL"]);
    assert_eq!(text(&reader, "k").await.as_deref(), Some("first"));
    // … until somebody stores another.
    loading.delete(&["k".to_owned()]).await.expect("deleted");
    loading.get_or_load("k", options, load("second")).await.expect("a value");
    seen(&reader, "k", Some("second")).await;
}
