//! What lies in Redis.

use std::time::Duration;

use jarvis_core::cache::{Cache, Condition, Entry, Lifetime, LoadOptions, SetOptions, loader};
use jarvis_core::{Error, ErrorKind};
use jarvis_tests::engines::RedisServer;

use crate::{cache, patient, text};

fn number(answer: &str) -> i64 {
    answer.trim().parse().unwrap_or_else(|_| panic!("{answer:?} is no number"))
}

#[tokio::test]
async fn a_tag_that_was_evicted_invalidates_and_never_revives() {
    let server = RedisServer::start(&[]).await;
    let cache = cache(&server.url(), patient());
    let tagged = SetOptions::new().with_tag("t");
    cache.set("k", "v".into(), tagged.clone()).await.expect("stored");
    let old = server.cli(&["--no-raw", "GET", "jarvis:t:{shop:t}"]);
    assert_eq!(server.cli(&["DEL", "jarvis:t:{shop:t}"]).trim(), "1");
    assert_eq!(text(&cache, "k").await, None);
    cache.set("other", "v".into(), tagged).await.expect("stored");
    assert_eq!(text(&cache, "k").await, None, "a new version of the tag revives nothing");
    assert_eq!(text(&cache, "other").await.as_deref(), Some("v"));
    assert_ne!(server.cli(&["--no-raw", "GET", "jarvis:t:{shop:t}"]), old);
}

#[tokio::test]
async fn what_fails_for_one_key_is_done_for_the_others() {
    let server = RedisServer::start(&[]).await;
    let strict = cache(&server.url(), patient());
    let soft = cache(&server.url(), patient().with_strict(false));
    let keys = ["a", "b", "c"].map(str::to_owned);
    for (cache, is_strict) in [(&soft, false), (&strict, true)] {
        for key in ["a", "c"] {
            cache.set(key, "v".into(), SetOptions::new()).await.expect("stored");
        }
        // Something else lies under the second one.
        let _ = server.cli(&["HSET", "jarvis:c:{shop:b}", "field", "value"]);
        match cache.delete(&keys).await {
            Ok(deleted) => assert_eq!((deleted, is_strict), (2, false)),
            Err(error) => assert_eq!((error.kind(), is_strict), (ErrorKind::Corrupt, true)),
        }
        let present = SetOptions::new().with_condition(Condition::IfAbsent);
        let entries = keys.iter().map(|key| Entry::new(key.clone(), "v")).collect();
        match cache.set_many(entries, present).await {
            Ok(stored) => assert_eq!((stored, is_strict), (2, false)),
            Err(error) => assert_eq!((error.kind(), is_strict), (ErrorKind::Corrupt, true)),
        }
        for key in ["a", "c"] {
            assert_eq!(text(cache, key).await.as_deref(), Some("v"), "{key}");
        }
        assert_eq!(server.cli(&["TYPE", "jarvis:c:{shop:b}"]).trim(), "hash");
        let errors = cache.stats().await.expect("numbers").errors;
        assert!(errors >= 2, "{errors}");
    }
}

#[tokio::test]
async fn a_tag_outlives_its_entries() {
    let server = RedisServer::start(&[]).await;
    let cache = cache(&server.url(), patient());
    let ttl = |name: &str| number(&server.cli(&["PTTL", name]));
    let tag = "jarvis:t:{shop:t}";
    let options = |seconds| SetOptions::new().with_tag("t").with_ttl(Duration::from_secs(seconds));
    cache.set("short", "v".into(), options(10)).await.expect("stored");
    assert!((10_000..=70_000).contains(&ttl(tag)), "{}", ttl(tag));
    cache.set("long", "v".into(), options(1_000)).await.expect("stored");
    assert!(ttl(tag) > 1_000_000);
    cache.set("short", "v".into(), options(10)).await.expect("stored");
    assert!(ttl(tag) > 1_000_000, "a short one does not shorten it");
    cache.expire("short", Lifetime::For(Duration::from_secs(5_000))).await.expect("done");
    assert!(ttl(tag) > 5_000_000);
    let load = loader(|| async { Ok("v".into()) });
    let stale = LoadOptions::new().with_set(options(9_000)).with_stale(Duration::from_secs(1_000));
    cache.get_or_load("loaded", stale, load).await.expect("a value");
    assert!(ttl(tag) > 10_000_000 && ttl("jarvis:c:{shop:loaded}") > 9_990_000);
    let unlimited = SetOptions::new().with_tag("t").with_lifetime(Lifetime::Unlimited);
    cache.set("forever", "v".into(), unlimited).await.expect("stored");
    assert_eq!(ttl(tag), -1);
    cache.set("short", "v".into(), options(10)).await.expect("stored");
    assert_eq!(ttl(tag), -1);
}

#[tokio::test]
async fn everything_but_unlimited_entries_ends_by_itself() {
    let server = RedisServer::start(&[]).await;
    let cache = cache(&server.url(), patient());
    let tagged = SetOptions::new().with_tag("t").with_tag("u");
    cache.set("a", "v".into(), tagged.clone()).await.expect("stored");
    cache.increment("n", 1, None).await.expect("a sum");
    let load = loader(|| async { Ok("v".into()) });
    cache.get_or_load("l", LoadOptions::new().with_set(tagged), load).await.expect("a value");
    let failing = loader(|| async { Err(Error::new(ErrorKind::Unavailable, "down")) });
    cache.get_or_load("m", LoadOptions::new(), failing).await.expect_err("a failure");
    let keys = server.cli(&["KEYS", "*"]);
    let names: Vec<&str> = keys.split_whitespace().collect();
    assert_eq!(names.len(), 5, "entries and tags, and no lock is left: {names:?}");
    for name in names {
        assert!(number(&server.cli(&["PTTL", name])) > 0, "{name}");
    }
}

#[tokio::test]
async fn a_number_is_read_by_others() {
    let server = RedisServer::start(&[]).await;
    let cache = cache(&server.url(), patient());
    cache.increment("n", 41, None).await.expect("a sum");
    assert_eq!(server.cli(&["INCR", "jarvis:c:{shop:n}"]).trim(), "42");
    assert_eq!(text(&cache, "n").await.as_deref(), Some("42"));
    let large = (1_i64 << 53) + 1;
    cache.increment("large", large, None).await.expect("a sum");
    assert_eq!(cache.increment("large", 2, None).await.expect("a sum"), large + 2);
}

#[tokio::test]
async fn what_somebody_else_stored_is_a_miss_and_an_error() {
    let server = RedisServer::start(&[]).await;
    let strict = cache(&server.url(), patient());
    let open = cache(&server.url(), patient().with_strict(false));
    let _ = server.cli(&["SET", "jarvis:c:{shop:k}", "not ours"]);
    let _ = server.cli(&["RPUSH", "jarvis:c:{shop:list}", "x"]);
    for key in ["k", "list"] {
        assert!(strict.get(key).await.is_err(), "{key}");
        assert_eq!(text(&open, key).await, None);
        let load = loader(|| async { Ok("v".into()) });
        let value = open.get_or_load(key, LoadOptions::new(), load).await.expect("a value");
        assert_eq!(value.as_str(), Some("v"));
    }
    assert!(open.stats().await.expect("numbers").errors >= 4);
    assert!(strict.set("k", "ours".into(), SetOptions::new()).await.expect("stored"));
    assert_eq!(text(&strict, "k").await.as_deref(), Some("ours"));
}

#[tokio::test]
async fn a_walk_removes_thousands_and_leaves_the_rest() {
    let server = RedisServer::start(&[]).await;
    let (shop, other) =
        (cache(&server.url(), patient()), cache(&server.url(), patient().with_namespace("shop2")));
    for cache in [&shop, &other] {
        let entries = (0..5_000).map(|n| jarvis_core::cache::Entry::new(format!("k:{n}"), "v"));
        let stored = cache.set_many(entries.collect(), SetOptions::new()).await;
        assert_eq!(stored.expect("stored"), 5_000);
    }
    assert_eq!(shop.invalidate_pattern("k:1*").await.expect("a count"), 1_111);
    assert_eq!(number(&server.cli(&["DBSIZE"])), 10_000 - 1_111);
    shop.flush().await.expect("flushed");
    assert_eq!(number(&server.cli(&["DBSIZE"])), 5_000);
    assert_eq!(text(&other, "k:1").await.as_deref(), Some("v"));
}

#[tokio::test]
async fn evictions_of_the_server_are_told() {
    let server = RedisServer::start(&["--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru"]);
    let server = server.await;
    let cache = cache(&server.url(), patient());
    for key in 0..600 {
        let value = vec![b'x'; 10_000].into();
        cache.set(&key.to_string(), value, SetOptions::new()).await.expect("stored");
    }
    let stats = cache.stats().await.expect("numbers");
    assert!(stats.evictions > 100, "{stats:?}");
}
