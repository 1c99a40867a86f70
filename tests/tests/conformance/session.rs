//! Backends of `SessionStore`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jarvis_core::Result;
use jarvis_core::clock::{ManualClock, SystemClock};
use jarvis_core::session::{
    MemorySessions, RedisSessions, SessionPolicy, SessionStore, SqliteSessions,
};
use jarvis_core::store::redis::{self, Redis};
use jarvis_core::store::sqlite::{Options, Sqlite};
use jarvis_core::testkit::session::{CASES, SessionEnv};
use jarvis_core::vocabulary::KeyPrefix;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::harness::{self, Suite};

/// Memory has no storage to open anew: all handles are clones of the first.
#[derive(Debug, Default)]
struct Memory {
    clock: ManualClock,
    store: OnceCell<MemorySessions>,
}

#[async_trait]
impl SessionEnv for Memory {
    async fn open(&self, policy: SessionPolicy) -> Result<Arc<dyn SessionStore>> {
        let make = || async { MemorySessions::new(policy, Arc::new(self.clock.clone())) };
        Ok(Arc::new(self.store.get_or_try_init(make).await?.clone()))
    }

    async fn pass(&self, duration: Duration) {
        self.clock.advance(duration);
    }
}

#[derive(Debug)]
struct File {
    clock: ManualClock,
    folder: TempDir,
}

#[async_trait]
impl SessionEnv for File {
    async fn open(&self, policy: SessionPolicy) -> Result<Arc<dyn SessionStore>> {
        let sqlite = Sqlite::open(self.folder.path().join("jarvis.db"), &Options::new())?;
        Ok(Arc::new(SqliteSessions::new(&sqlite, policy, Arc::new(self.clock.clone()))?))
    }

    async fn pass(&self, duration: Duration) {
        self.clock.advance(duration);
    }
}

/// Each environment has a prefix of its own.
#[derive(Debug)]
struct Server {
    clock: ManualClock,
    url: String,
    prefix: KeyPrefix,
}

impl Server {
    fn new(variable: &str) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let prefix =
            format!("test-session-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let (url, prefix) = (harness::server(variable)?, KeyPrefix::new(prefix)?);
        Ok(Self { clock: ManualClock::new(), url, prefix })
    }
}

#[async_trait]
impl SessionEnv for Server {
    async fn open(&self, policy: SessionPolicy) -> Result<Arc<dyn SessionStore>> {
        // What the sessions go by is moved by hand, the connection's deadlines are not.
        let system = Arc::new(SystemClock::new());
        let redis = Redis::open(&self.url, &redis::Options::new(), system)?;
        let clock = Arc::new(self.clock.clone());
        let policy = policy.with_prefix(self.prefix.clone());
        Ok(Arc::new(RedisSessions::new(&redis, policy, clock)?))
    }

    async fn pass(&self, duration: Duration) {
        self.clock.advance(duration);
    }
}

pub(crate) fn add(suite: &mut Suite) {
    suite.backend(
        "session",
        "memory",
        CASES,
        |env: &Memory| env,
        || async { Ok(Memory::default()) },
    );
    suite.backend(
        "session",
        "sqlite",
        CASES,
        |env: &File| env,
        || async { Ok(File { clock: ManualClock::new(), folder: tempfile::tempdir()? }) },
    );
    for (backend, variable) in [
        ("redis", "JARVIS_TEST_REDIS_URL"),
        ("redis-8", "JARVIS_TEST_REDIS_SEARCH_URL"),
        ("redis-cluster", "JARVIS_TEST_REDIS_CLUSTER_URL"),
        ("redis-sentinel", "JARVIS_TEST_REDIS_SENTINEL_URL"),
    ] {
        suite.backend(
            "session",
            backend,
            CASES,
            |env: &Server| env,
            move || async move { Server::new(variable) },
        );
    }
}
