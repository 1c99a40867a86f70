//! The cache on a real Redis that is shared, stopped, hung and restarted.

#![expect(clippy::expect_used, clippy::panic, reason = "a test may")]

#[path = "cache_redis/down.rs"]
mod down;
#[path = "cache_redis/killed.rs"]
mod killed;
#[path = "cache_redis/loads.rs"]
mod loads;
#[path = "cache_redis/near.rs"]
mod near;
#[path = "cache_redis/processes.rs"]
mod processes;
#[path = "cache_redis/stored.rs"]
mod stored;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jarvis_core::cache::{Cache, CachePolicy, RedisCache};
use jarvis_core::clock::{Clock, SystemClock};
use jarvis_core::store::redis::{Options, Redis};

fn redis(url: &str) -> Redis {
    Redis::open(url, &Options::new(), Arc::new(SystemClock::new())).expect("a URL")
}

fn cache(url: &str, policy: CachePolicy) -> RedisCache {
    RedisCache::new(&redis(url), policy, Arc::new(SystemClock::new())).expect("a policy")
}

/// Errors instead of misses, and as patient as a busy machine needs.
fn patient() -> CachePolicy {
    CachePolicy::new("shop").with_strict(true).with_deadline(Duration::from_secs(20))
}

async fn text(cache: &impl Cache, key: &str) -> Option<String> {
    let value = cache.get(key).await.expect("an answer");
    value.map(|value| value.as_str().expect("UTF-8").to_owned())
}

/// How long something took.
async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let clock = SystemClock::new();
    let before = clock.monotonic();
    let output = work.await;
    (output, clock.monotonic().saturating_since(before))
}
