//! Where the alerts' state and the outbox are kept: [`AlertJournal`].

#[cfg(feature = "sqlite")]
mod sqlite;

use std::collections::BTreeMap;
use std::fmt::Debug;

use async_trait::async_trait;

#[cfg(feature = "sqlite")]
pub use sqlite::SqliteJournal;

use base::Result;
use base::sync::Mutex;

/// One row: a document under a kind and a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Row {
    /// `record`, `outbox`, …
    pub kind: String,
    /// Unique within its kind.
    pub key: String,
    /// JSON; absent: the row goes.
    pub value: Option<String>,
}

impl Row {
    /// A row, or the end of one.
    #[must_use]
    pub fn new(kind: impl Into<String>, key: impl Into<String>, value: Option<String>) -> Self {
        Self { kind: kind.into(), key: key.into(), value }
    }
}

/// Keeps rows. One writer at a time: the operator that holds the lease.
#[async_trait]
pub trait AlertJournal: Debug + Send + Sync + 'static {
    /// Every row.
    ///
    /// # Behavior
    /// - What was committed is there, after a crash too.
    async fn load(&self) -> Result<Vec<Row>>;

    /// Writes rows.
    ///
    /// # Behavior
    /// - All of them or none.
    /// - `Ok` means on disk, where there is one.
    /// - A row replaces the one of the same kind and key; one without a value removes it.
    async fn commit(&self, rows: Vec<Row>) -> Result<()>;
}

/// Keeps rows as long as it lives. What is told twice after a restart is the price.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    rows: Mutex<BTreeMap<(String, String), String>>,
}

impl MemoryJournal {
    /// Without rows.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl AlertJournal for MemoryJournal {
    async fn load(&self) -> Result<Vec<Row>> {
        let rows = self.rows.lock();
        let row = |((kind, key), value): (&(String, String), &String)| {
            Row::new(kind, key, Some(value.clone()))
        };
        Ok(rows.iter().map(row).collect())
    }

    async fn commit(&self, changes: Vec<Row>) -> Result<()> {
        let mut rows = self.rows.lock();
        for Row { kind, key, value } in changes {
            match value {
                Some(value) => drop(rows.insert((kind, key), value)),
                None => drop(rows.remove(&(kind, key))),
            }
        }
        Ok(())
    }
}
