//! Backends of `Lease`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jarvis_core::Result;
use jarvis_core::clock::ManualClock;
use jarvis_core::lease::{Lease, MemoryLease, SqliteLease};
use jarvis_core::store::sqlite::{Options, Sqlite};
use jarvis_core::testkit::lease::{CASES, LeaseEnv};
use tempfile::TempDir;

use crate::harness::Suite;

#[derive(Debug)]
struct Memory {
    clock: ManualClock,
    lease: MemoryLease,
}

#[async_trait]
impl LeaseEnv for Memory {
    async fn open(&self) -> Result<Arc<dyn Lease>> {
        Ok(Arc::new(self.lease.clone()))
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
impl LeaseEnv for File {
    async fn open(&self) -> Result<Arc<dyn Lease>> {
        let sqlite = Sqlite::open(self.folder.path().join("operator.db"), &Options::new())?;
        Ok(Arc::new(SqliteLease::new(&sqlite, Arc::new(self.clock.clone()))))
    }

    async fn pass(&self, duration: Duration) {
        self.clock.advance(duration);
    }
}

pub(crate) fn add(suite: &mut Suite) {
    suite.backend(
        "lease",
        "memory",
        CASES,
        |env: &Memory| env,
        || async {
            let clock = ManualClock::new();
            let lease = MemoryLease::new(Arc::new(clock.clone()));
            Ok(Memory { clock, lease })
        },
    );
    suite.backend(
        "lease",
        "sqlite",
        CASES,
        |env: &File| env,
        || async { Ok(File { clock: ManualClock::new(), folder: tempfile::tempdir()? }) },
    );
}
