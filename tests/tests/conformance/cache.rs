//! Backends of `Cache`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jarvis_core::Result;
use jarvis_core::cache::{Cache, CachePolicy, MemoryCache};
use jarvis_core::clock::ManualClock;
use jarvis_core::testkit::cache::{CASES, CacheEnv, Opened};

use crate::harness::Suite;

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

pub(crate) fn add(suite: &mut Suite) {
    suite.backend(
        "cache",
        "memory",
        CASES,
        |env: &Memory| env,
        || async { Ok(Memory { clock: ManualClock::new(), opened: Opened::default() }) },
    );
}
