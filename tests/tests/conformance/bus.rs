//! Backends of `EventBus`.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jarvis_core::clock::{SharedClock, SystemClock};
use jarvis_core::events::{BusPolicy, EventBus, MemoryBus, RedisBus};
use jarvis_core::store::redis::{Options, Redis};
use jarvis_core::testkit::bus::{BusEnv, CASES};
use jarvis_core::vocabulary::KeyPrefix;
use jarvis_core::{Error, ErrorKind, Result};

use crate::harness::{Suite, server};

/// Instances on one bus, each handed over once.
#[derive(Debug)]
struct Instances(Mutex<Vec<Arc<dyn EventBus>>>);

impl Instances {
    fn new(one: impl EventBus, two: impl EventBus) -> Self {
        Self(Mutex::new(vec![Arc::new(one), Arc::new(two)]))
    }
}

#[async_trait]
impl BusEnv for Instances {
    async fn take(&self) -> Result<Arc<dyn EventBus>> {
        let bus = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        bus.ok_or_else(|| Error::new(ErrorKind::Internal, "both instances were taken before"))
    }
}

pub(crate) fn add(suite: &mut Suite) {
    suite.backend(
        "bus",
        "memory",
        CASES,
        |env: &Instances| env,
        || async {
            let bus = MemoryBus::new(Arc::new(SystemClock::new()), "conformance-1");
            Ok(Instances::new(bus.another("conformance-2"), bus))
        },
    );
    redis(suite, "redis", "JARVIS_TEST_REDIS_URL");
    redis(suite, "redis-8", "JARVIS_TEST_REDIS_SEARCH_URL");
    redis(suite, "redis-cluster", "JARVIS_TEST_REDIS_CLUSTER_URL");
    redis(suite, "redis-sentinel", "JARVIS_TEST_REDIS_SENTINEL_URL");
}

fn redis(suite: &mut Suite, backend: &str, variable: &'static str) {
    suite.backend(
        "bus",
        backend,
        CASES,
        |env: &Instances| env,
        move || async move {
            let clock: SharedClock = Arc::new(SystemClock::new());
            // As two processes: each with connections of its own.
            let instance = |prefix: Option<&str>| {
                let redis = Redis::open(&server(variable)?, &Options::new(), clock.clone())?;
                let prefix = prefix.map_or_else(|| Ok(KeyPrefix::default()), KeyPrefix::new)?;
                RedisBus::new(&redis, BusPolicy::new().with_prefix(prefix), clock.clone())
            };
            // Named after an instance, which no two share, so that no two cases meet.
            let prefix = format!("conformance-{}", instance(None)?.instance());
            Ok(Instances::new(instance(Some(&prefix))?, instance(Some(&prefix))?))
        },
    );
}
