//! Backends of `SessionStore`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jarvis_core::Result;
use jarvis_core::clock::ManualClock;
use jarvis_core::session::{MemorySessions, SessionPolicy, SessionStore, SqliteSessions};
use jarvis_core::store::sqlite::{Options, Sqlite};
use jarvis_core::testkit::session::{CASES, SessionEnv};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::harness::Suite;

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
}
