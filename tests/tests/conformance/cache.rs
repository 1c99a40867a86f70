//! Backends of `Cache`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jarvis_core::Result;
use jarvis_core::cache::{Cache, CachePolicy, MemoryCache, NearCache, RedisCache};
use jarvis_core::clock::{Clock, ClockExt, ManualClock, SystemClock};
use jarvis_core::store::redis::{Options, Redis};
use jarvis_core::testkit::cache::{CASES, CacheEnv, Opened};

use crate::harness::{Suite, server};

#[derive(Debug)]
struct Memory {
    clock: ManualClock,
    opened: Opened,
}

#[async_trait]
impl CacheEnv for Memory {
    async fn open(&self, policy: CachePolicy) -> Result<Arc<dyn Cache>> {
        self.opened.or_open(policy, |policy| {
            Ok(Arc::new(MemoryCache::new(policy, Arc::new(self.clock.clone()))?))
        })
    }

    async fn pass(&self, duration: Duration) {
        self.clock.advance(duration);
    }
}

/// A namespace of its own in a Redis that others use.
#[derive(Debug)]
struct Shared {
    url: String,
    own: String,
    near: bool,
}

impl Shared {
    fn new(variable: &str, near: bool) -> Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let own = format!("{}-{}-{number}", SystemClock::new().wall().millis(), std::process::id());
        Ok(Self { url: server(variable)?, own, near })
    }
}

#[async_trait]
impl CacheEnv for Shared {
    /// Strict, and patient: a machine that is busy with other tests is no miss.
    async fn open(&self, mut policy: CachePolicy) -> Result<Arc<dyn Cache>> {
        let clock = Arc::new(SystemClock::new());
        let options = Options::new().with_connect_timeout(Duration::from_secs(10));
        let redis = Redis::open(&self.url, &options, clock.clone())?;
        policy.namespace = format!("{}.{}", self.own, policy.namespace);
        let policy = policy.with_strict(true).with_deadline(Duration::from_secs(20));
        if !self.near {
            return Ok(Arc::new(RedisCache::new(&redis, policy, clock)?));
        }
        let cache = NearCache::new(&redis, policy, clock)?;
        // A look begins to listen, and copies are made once that is in force.
        cache.exists("a key").await?;
        while !cache.is_copying() {
            tokio::task::yield_now().await;
        }
        Ok(Arc::new(cache))
    }

    async fn pass(&self, duration: Duration) {
        SystemClock::new().sleep(duration).await;
    }
}

pub(crate) fn add(suite: &mut Suite) {
    suite.backend(
        "cache",
        "memory",
        CASES,
        |env: &Memory| env,
        || async { Ok(Memory { clock: ManualClock::new(), opened: Opened::default() }) },
    );
    for (backend, variable, near) in [
        ("redis", "JARVIS_TEST_REDIS_URL", false),
        ("redis-near", "JARVIS_TEST_REDIS_URL", true),
        ("redis-8", "JARVIS_TEST_REDIS_SEARCH_URL", false),
        ("redis-8-near", "JARVIS_TEST_REDIS_SEARCH_URL", true),
        ("redis-cluster", "JARVIS_TEST_REDIS_CLUSTER_URL", false),
        ("redis-cluster-near", "JARVIS_TEST_REDIS_CLUSTER_URL", true),
        ("redis-sentinel", "JARVIS_TEST_REDIS_SENTINEL_URL", false),
        ("redis-sentinel-near", "JARVIS_TEST_REDIS_SENTINEL_URL", true),
    ] {
        suite.backend(
            "cache",
            backend,
            CASES,
            |env: &Shared| env,
            move || async move { Shared::new(variable, near) },
        );
    }
}
