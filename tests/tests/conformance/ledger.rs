//! Backends of `RestartLedger`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jarvis_core::Result;
use jarvis_core::clock::{Clock, ManualClock, WallTime};
use jarvis_core::lease::{MemoryLedger, RestartLedger, SqliteLedger};
use jarvis_core::store::sqlite::{Options, Sqlite};
use jarvis_core::testkit::ledger::{CASES, LedgerEnv};
use tempfile::TempDir;

use crate::harness::Suite;

fn step(clock: &ManualClock, seconds: i64) -> bool {
    clock.set_wall(WallTime::from_millis(clock.wall().millis() + seconds * 1_000));
    true
}

#[derive(Debug)]
struct Memory {
    clock: ManualClock,
    ledger: MemoryLedger,
}

#[async_trait]
impl LedgerEnv for Memory {
    async fn open(&self) -> Result<Arc<dyn RestartLedger>> {
        Ok(Arc::new(self.ledger.clone()))
    }

    async fn pass(&self, duration: Duration) {
        self.clock.advance(duration);
    }

    async fn step_wall(&self, seconds: i64) -> bool {
        step(&self.clock, seconds)
    }
}

#[derive(Debug)]
struct File {
    clock: ManualClock,
    folder: TempDir,
}

#[async_trait]
impl LedgerEnv for File {
    async fn open(&self) -> Result<Arc<dyn RestartLedger>> {
        let sqlite = Sqlite::open(self.folder.path().join("operator.db"), &Options::new())?;
        Ok(Arc::new(SqliteLedger::new(&sqlite, Arc::new(self.clock.clone()))))
    }

    async fn pass(&self, duration: Duration) {
        self.clock.advance(duration);
    }

    async fn step_wall(&self, seconds: i64) -> bool {
        step(&self.clock, seconds)
    }
}

pub(crate) fn add(suite: &mut Suite) {
    suite.backend(
        "ledger",
        "memory",
        CASES,
        |env: &Memory| env,
        || async {
            let clock = ManualClock::new();
            let ledger = MemoryLedger::new(Arc::new(clock.clone()));
            Ok(Memory { clock, ledger })
        },
    );
    suite.backend(
        "ledger",
        "sqlite",
        CASES,
        |env: &File| env,
        || async { Ok(File { clock: ManualClock::new(), folder: tempfile::tempdir()? }) },
    );
}
