//! The operator's memory: records, and events that wait to be announced, in one transaction.

#[cfg(feature = "sqlite")]
mod sqlite;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use super::machine::input::{Commit, Saved};
use base::events::Event;
use base::sync::{Mutex, MutexGuard};
use base::vocabulary::FencingToken;
use base::{Error, ErrorKind, Result};

/// What was read back.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) saved: Saved,
    /// Committed, and not yet known to be announced; oldest first.
    pub(crate) unannounced: Vec<(i64, Event)>,
    /// What could not be read, a line each.
    pub(crate) damaged: Vec<String>,
}

/// Keeps the state. A commit is all or nothing, and fenced.
#[async_trait]
pub(crate) trait Journal: Debug + Send + Sync + 'static {
    /// Reads everything, and refuses commits with a lower token from now on.
    async fn load(&self, token: FencingToken) -> Result<Loaded>;
    /// Durable when it returns. `Forbidden` when a higher token was seen. Gives each event its
    /// number.
    async fn commit(&self, token: FencingToken, commit: Commit) -> Result<Vec<i64>>;
    /// Events up to this number were announced.
    async fn announced(&self, up_to: i64) -> Result<()>;
}

/// Where an operator keeps its state. Clones share it.
#[derive(Debug, Clone)]
pub struct StateStore(pub(crate) Arc<dyn Journal>);

impl StateStore {
    /// In memory: gone with the process, shared by clones.
    #[must_use]
    pub fn memory() -> Self {
        Self(Arc::new(MemoryJournal::default()))
    }

    /// In `operator.db`, which other processes of this machine may use too.
    #[cfg(feature = "sqlite")]
    #[must_use]
    #[doc(hidden)]
    pub fn sqlite(sqlite: &base::store::sqlite::Sqlite) -> Self {
        Self(Arc::new(sqlite::SqliteJournal::new(sqlite)))
    }
}

fn fenced(highest: FencingToken, token: FencingToken) -> Error {
    Error::new(
        ErrorKind::Forbidden,
        format!("another operator has written the state: its token is {highest}, ours is {token}"),
    )
    .with_operation("operator.commit")
}

#[derive(Debug, Default)]
struct Memory {
    token: FencingToken,
    saved: Saved,
    events: BTreeMap<i64, Event>,
    last: i64,
}

#[derive(Debug, Default)]
struct MemoryJournal(Mutex<Memory>);

impl MemoryJournal {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock()
    }
}

impl Memory {
    fn fence(&mut self, token: FencingToken) -> Result<()> {
        if token < self.token {
            return Err(fenced(self.token, token));
        }
        self.token = token;
        Ok(())
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn load(&self, token: FencingToken) -> Result<Loaded> {
        let mut memory = self.memory();
        memory.fence(token)?;
        let unannounced = memory.events.iter().map(|(id, event)| (*id, event.clone())).collect();
        Ok(Loaded { saved: memory.saved.clone(), unannounced, damaged: Vec::new() })
    }

    async fn commit(&self, token: FencingToken, commit: Commit) -> Result<Vec<i64>> {
        let mut memory = self.memory();
        memory.fence(token)?;
        if let Some(globals) = commit.globals {
            memory.saved.globals = globals;
        }
        for (service, record) in commit.records {
            match record {
                Some(record) => memory.saved.records.insert(service, record),
                None => memory.saved.records.remove(&service),
            };
        }
        let mut ids = Vec::new();
        for event in commit.events {
            memory.last += 1;
            let id = memory.last;
            memory.events.insert(id, event);
            ids.push(id);
        }
        Ok(ids)
    }

    async fn announced(&self, up_to: i64) -> Result<()> {
        let mut memory = self.memory();
        memory.events = memory.events.split_off(&(up_to + 1));
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::operator::machine::record::{Globals, Record};
    use base::vocabulary::ServiceId;

    fn commit(service: &str) -> Commit {
        let service = ServiceId::new(service).unwrap();
        let record = Record { ever_passed: true, ..Record::default() };
        Commit {
            globals: Some(Globals { paused: Some("me".to_owned()), ..Globals::default() }),
            records: [(service.clone(), Some(record))].into(),
            events: vec![
                Event::FlappingStarted { service: service.clone() },
                Event::FlappingStopped { service },
            ],
        }
    }

    async fn keeps_its_promises(journal: Arc<dyn Journal>) {
        let token = FencingToken::new;
        assert!(journal.load(token(1)).await.unwrap().unannounced.is_empty());
        let ids = journal.commit(token(1), commit("a")).await.unwrap();
        assert_eq!(journal.commit(token(2), commit("b")).await.unwrap().len(), 2);
        let stale = journal.commit(token(1), commit("c")).await.unwrap_err();
        assert_eq!(stale.kind(), ErrorKind::Forbidden);
        assert_eq!(journal.load(token(1)).await.unwrap_err().kind(), ErrorKind::Forbidden);
        journal.announced(ids[1]).await.unwrap();
        let loaded = journal.load(token(3)).await.unwrap();
        assert_eq!(loaded.unannounced.len(), 2);
        assert!(
            matches!(&loaded.unannounced[0].1, Event::FlappingStarted { service } if service.as_str() == "b")
        );
        assert_eq!(loaded.saved.records.len(), 2);
        assert_eq!(loaded.saved.globals.paused.as_deref(), Some("me"));
        let gone =
            Commit { records: [(ServiceId::new("a").unwrap(), None)].into(), ..Commit::default() };
        journal.commit(token(3), gone).await.unwrap();
        assert_eq!(journal.load(token(3)).await.unwrap().saved.records.len(), 1);
    }

    #[tokio::test]
    async fn memory_keeps_its_promises() {
        keeps_its_promises(StateStore::memory().0).await;
    }

    #[cfg(feature = "sqlite")]
    #[tokio::test]
    async fn sqlite_keeps_its_promises() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operator.db");
        let sqlite = base::store::sqlite::Sqlite::open(&path, &Default::default()).unwrap();
        keeps_its_promises(StateStore::sqlite(&sqlite).0).await;
    }

    #[cfg(feature = "sqlite")]
    #[tokio::test]
    async fn a_damaged_record_is_told_and_the_others_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operator.db");
        let sqlite = base::store::sqlite::Sqlite::open(&path, &Default::default()).unwrap();
        let journal = StateStore::sqlite(&sqlite).0;
        journal.commit(FencingToken::new(1), commit("a")).await.unwrap();
        journal.commit(FencingToken::new(1), commit("b")).await.unwrap();
        sqlite
            .write("test", |tx| {
                tx.execute(
                    "UPDATE operator_service SET record = '{\"told\": 3' WHERE service = 'a'",
                    [],
                )?;
                Ok(())
            })
            .await
            .unwrap();
        let loaded = journal.load(FencingToken::new(1)).await.unwrap();
        assert_eq!(loaded.saved.records.len(), 1);
        assert!(loaded.damaged[0].contains('a'), "{:?}", loaded.damaged);
    }
}
