//! `Lease` and `RestartLedger` in Redis: a server, Redis 8, a Cluster and what Sentinels watch.

#![expect(clippy::expect_used, reason = "an environment that can't move its server has to stop")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jarvis_core::Result;
use jarvis_core::clock::{ManualClock, SystemClock};
use jarvis_core::lease::{Lease, RedisLease, RestartLedger};
use jarvis_core::store::redis::{Options, Redis};
use jarvis_core::testkit::lease::LeaseEnv;
use jarvis_core::testkit::ledger::LedgerEnv;
use jarvis_core::testkit::redis::{Repeat, call};
use jarvis_core::testkit::{lease, ledger};
use jarvis_core::vocabulary::KeyPrefix;

use crate::harness::{self, Suite};

const SERVERS: &[(&str, &str)] = &[
    ("redis", "JARVIS_TEST_REDIS_URL"),
    ("redis-8", "JARVIS_TEST_REDIS_SEARCH_URL"),
    ("redis-cluster", "JARVIS_TEST_REDIS_CLUSTER_URL"),
    ("redis-sentinel", "JARVIS_TEST_REDIS_SENTINEL_URL"),
];

/// A prefix of its own on a shared server. The operators' clock is a manual one; the server's is
/// moved by moving the moment that it was last looked at the other way.
#[derive(Debug)]
struct OnRedis {
    url: String,
    prefix: KeyPrefix,
    clock: ManualClock,
    raw: Redis,
}

impl OnRedis {
    fn new(variable: &str) -> Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let url = harness::server(variable)?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let prefix = KeyPrefix::new(format!("conformance-{}-{number}", std::process::id()))?;
        let raw = Redis::open(&url, &Options::new(), Arc::new(SystemClock::new()))?;
        Ok(Self { url, prefix, clock: ManualClock::new(), raw })
    }

    fn lease(&self) -> Result<RedisLease> {
        let redis = Redis::open(&self.url, &Options::new(), Arc::new(SystemClock::new()))?;
        Ok(RedisLease::new(redis, &self.prefix, Arc::new(self.clock.clone())))
    }

    async fn step_server(&self, micros: i64) {
        let (state, step) = (format!("{}:{{lease}}:state", self.prefix), (-micros).to_string());
        let there = call(&self.raw, &["EXISTS", &state], Repeat::Read).await;
        if there.expect("the server answers").as_deref() == Some("1") {
            let words = ["HINCRBY", &state, "wall", &step];
            call(&self.raw, &words, Repeat::Write).await.expect("the server answers");
        }
    }

    async fn both_pass(&self, duration: Duration) {
        self.clock.advance(duration);
        self.step_server(i64::try_from(duration.as_micros()).expect("a short time")).await;
    }
}

#[async_trait]
impl LeaseEnv for OnRedis {
    async fn open(&self) -> Result<Arc<dyn Lease>> {
        Ok(Arc::new(self.lease()?))
    }

    async fn pass(&self, duration: Duration) {
        self.both_pass(duration).await;
    }
}

#[async_trait]
impl LedgerEnv for OnRedis {
    async fn open(&self) -> Result<Arc<dyn RestartLedger>> {
        Ok(Arc::new(self.lease()?.ledger()))
    }

    async fn pass(&self, duration: Duration) {
        self.both_pass(duration).await;
    }

    async fn step_wall(&self, seconds: i64) -> bool {
        self.step_server(seconds * 1_000_000).await;
        true
    }
}

pub(crate) fn add(suite: &mut Suite) {
    for &(name, variable) in SERVERS {
        let make = move || async move { OnRedis::new(variable) };
        suite.backend("lease", name, lease::CASES, |env: &OnRedis| env, make);
        suite.backend("ledger", name, ledger::CASES, |env: &OnRedis| env, make);
    }
}
