//! A Redis that is not there.

use std::time::Duration;

use jarvis_core::ErrorKind;
use jarvis_core::cache::{Cache, CachePolicy, LoadOptions, RedisCache, SetOptions, loader};
use jarvis_tests::engines::{RedisServer, likely_port};
use jarvis_tests::targets::until;

use crate::{cache, text, timed};

/// The deadline, and what a busy machine needs to notice that it has passed.
const FIRST: Duration = Duration::from_millis(150 + 850);
const AT_ONCE: Duration = Duration::from_millis(5);

async fn stored(cache: &RedisCache) {
    until("it is stored", async || {
        cache.set("k", "v".into(), SetOptions::new()).await.expect("no error")
    })
    .await;
    until("it is there", async || text(cache, "k").await.is_some()).await;
}

/// Every call has an answer, and none of them is in anybody's way.
async fn goes_on_without(cache: &RedisCache) {
    let (value, took) = timed(text(cache, "k")).await;
    assert!(value.is_none() && took < FIRST, "{value:?} after {took:?}");
    // The failure is known by now, or after one more that waits for its deadline.
    until("it is known to be down", async || timed(text(cache, "k")).await.1 < AT_ONCE).await;
    let mut slow = 0;
    for _ in 0..50 {
        slow += u32::from(timed(text(cache, "k")).await.1 > AT_ONCE);
    }
    assert!(slow < 10, "{slow} of 50 reads waited for a server that is known to be down");
    assert!(!cache.set("k", "w".into(), SetOptions::new()).await.expect("no error"));
    assert_eq!(cache.delete(&["k".to_owned()]).await.expect("no error"), 0);
    assert!(!cache.exists("k").await.expect("no error"));
    assert_eq!(cache.get_many(&["k".to_owned()]).await.expect("no error"), [None]);
    let load = loader(|| async { Ok("loaded".into()) });
    let value = cache.get_or_load("k", LoadOptions::new(), load).await.expect("a load");
    assert_eq!(value.as_str(), Some("loaded"));
    for promise in [
        cache.increment("n", 1, None).await.map(drop),
        cache.invalidate_tag("t").await,
        cache.invalidate_pattern("*").await.map(drop),
        cache.flush().await,
    ] {
        let error = promise.expect_err("what it promises can't be left out");
        let kind = error.kind();
        assert!(matches!(kind, ErrorKind::Unavailable | ErrorKind::Timeout), "{error}");
    }
    let stats = cache.stats().await.expect("numbers");
    assert!(stats.errors > 50 && stats.hits + stats.misses < stats.errors, "{stats:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_is_a_miss_and_comes_back() {
    let mut server = RedisServer::with_port(&[]).await;
    let cache = cache(&format!("redis://127.0.0.1:{}", server.port()), CachePolicy::new("shop"));
    stored(&cache).await;
    server.crash();
    goes_on_without(&cache).await;
    server.restart(&[]);
    stored(&cache).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_server_is_a_miss_and_comes_back() {
    let server = RedisServer::with_port(&[]).await;
    let cache = cache(&format!("redis://127.0.0.1:{}", server.port()), CachePolicy::new("shop"));
    stored(&cache).await;
    server.signal("STOP");
    goes_on_without(&cache).await;
    server.signal("CONT");
    stored(&cache).await;
}

#[tokio::test]
async fn a_server_that_never_was_is_a_miss() {
    let url = format!("redis://127.0.0.1:{}", likely_port());
    goes_on_without(&cache(&url, CachePolicy::new("shop"))).await;
}

#[tokio::test]
async fn strict_says_what_is_wrong() {
    let url = format!("redis://127.0.0.1:{}", likely_port());
    let cache = cache(&url, CachePolicy::new("shop").with_strict(true));
    let load = loader(|| async { Ok("loaded".into()) });
    for failed in [
        cache.get("k").await.map(drop),
        cache.set("k", "v".into(), SetOptions::new()).await.map(drop),
        cache.delete(&["k".to_owned()]).await.map(drop),
        cache.get_many(&["k".to_owned()]).await.map(drop),
        cache.get_or_load("k", LoadOptions::new(), load).await.map(drop),
    ] {
        let error = failed.expect_err("strict");
        assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout), "{error}");
        assert!(error.operation().is_some_and(|name| name.starts_with("cache.")), "{error}");
    }
}
