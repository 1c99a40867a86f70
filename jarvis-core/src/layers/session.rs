//! [`CountedSessions`]: a session store that counts what it is asked and how that ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use base::Result;
use base::clock::WallTime;
use base::vocabulary::{Locality, UserId};
use state::session::{
    Change, NewSession, Save, SaveOutcome, Session, SessionId, SessionPage, SessionRef,
    SessionStore, SessionSummary, SessionTurn,
};

/// What is asked of a store. Batches count each of their sessions; `load_and_extend` counts as both;
/// listing, counting and scanning are `List`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is a method of the trait")]
pub enum SessionCall {
    Create,
    Load,
    Save,
    Update,
    Delete,
    Extend,
    Regenerate,
    List,
    Clear,
}

impl SessionCall {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::Create,
        Self::Load,
        Self::Save,
        Self::Update,
        Self::Delete,
        Self::Extend,
        Self::Regenerate,
        Self::List,
        Self::Clear,
    ];

    /// Its name, for labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Load => "load",
            Self::Save => "save",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Extend => "extend",
            Self::Regenerate => "regenerate",
            Self::List => "list",
            Self::Clear => "clear",
        }
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionOutcome {
    /// It was done.
    Done,
    /// There was no such session.
    Absent,
    /// Somebody else saved first.
    Conflict,
    /// It failed.
    Error,
}

impl SessionOutcome {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Done, Self::Absent, Self::Conflict, Self::Error];

    /// Its name, for labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Absent => "absent",
            Self::Conflict => "conflict",
            Self::Error => "error",
        }
    }
}

/// Counters that all clones share.
#[derive(Debug, Clone, Default)]
pub struct SessionCounts(Arc<[[AtomicU64; SessionOutcome::ALL.len()]; SessionCall::ALL.len()]>);

impl SessionCounts {
    /// How many of these calls ended so.
    #[must_use]
    pub fn get(&self, call: SessionCall, outcome: SessionOutcome) -> u64 {
        self.0[call as usize][outcome as usize].load(Ordering::Relaxed)
    }

    fn add(&self, call: SessionCall, outcome: SessionOutcome) {
        self.add_many(call, outcome, 1);
    }

    fn add_many(&self, call: SessionCall, outcome: SessionOutcome, count: u64) {
        self.0[call as usize][outcome as usize].fetch_add(count, Ordering::Relaxed);
    }

    fn count<T>(
        &self,
        call: SessionCall,
        result: Result<T>,
        outcome: impl FnOnce(&T) -> SessionOutcome,
    ) -> Result<T> {
        self.add(call, result.as_ref().map_or(SessionOutcome::Error, outcome));
        result
    }
}

fn done<T>(_: &T) -> SessionOutcome {
    SessionOutcome::Done
}

fn present<T>(found: &Option<T>) -> SessionOutcome {
    if found.is_some() { SessionOutcome::Done } else { SessionOutcome::Absent }
}

fn of_save(outcome: &SaveOutcome) -> SessionOutcome {
    match outcome {
        SaveOutcome::Saved(_) => SessionOutcome::Done,
        SaveOutcome::Conflict(_) => SessionOutcome::Conflict,
        _ => SessionOutcome::Absent,
    }
}

/// A session store around another one.
#[derive(Debug, Clone)]
pub struct CountedSessions {
    inner: Arc<dyn SessionStore>,
    counts: SessionCounts,
}

impl CountedSessions {
    /// Counts what `inner` is asked from now on.
    #[must_use]
    pub fn new(inner: Arc<dyn SessionStore>) -> Self {
        Self { inner, counts: SessionCounts::default() }
    }

    /// The counters.
    #[must_use]
    pub fn counts(&self) -> SessionCounts {
        self.counts.clone()
    }
}

#[async_trait]
impl SessionStore for CountedSessions {
    fn locality(&self) -> Locality {
        self.inner.locality()
    }

    async fn create(&self, new: NewSession) -> Result<Session> {
        let made = self.inner.create(new).await;
        let taken = matches!(&made, Err(error) if error.kind() == base::ErrorKind::Conflict);
        let outcome = match &made {
            Ok(_) => SessionOutcome::Done,
            Err(_) if taken => SessionOutcome::Conflict,
            Err(_) => SessionOutcome::Error,
        };
        self.counts.add(SessionCall::Create, outcome);
        made
    }

    async fn load(&self, id: &SessionId) -> Result<Option<Session>> {
        self.counts.count(SessionCall::Load, self.inner.load(id).await, present)
    }

    fn load_now(&self, id: &SessionId) -> Option<Result<Option<Session>>> {
        Some(self.counts.count(SessionCall::Load, self.inner.load_now(id)?, present))
    }

    async fn save(&self, save: Save) -> Result<SaveOutcome> {
        self.counts.count(SessionCall::Save, self.inner.save(save).await, of_save)
    }

    async fn update<'a>(
        &self,
        id: &SessionId,
        deadline: Duration,
        change: Change<'a>,
    ) -> Result<Option<Session>> {
        let updated = self.inner.update(id, deadline, change).await;
        self.counts.count(SessionCall::Update, updated, present)
    }

    /// Not counted: the load and the save of an update in steps are.
    async fn turn(&self, id: &SessionId, deadline: Duration) -> Result<SessionTurn> {
        self.inner.turn(id, deadline).await
    }

    async fn delete(&self, session: &SessionRef) -> Result<bool> {
        let deleted = self.inner.delete(session).await;
        self.counts.count(SessionCall::Delete, deleted, |there| present(&there.then_some(())))
    }

    async fn extend(
        &self,
        session: &SessionRef,
        ttl: Option<Duration>,
    ) -> Result<Option<WallTime>> {
        self.counts.count(SessionCall::Extend, self.inner.extend(session, ttl).await, present)
    }

    async fn load_and_extend(
        &self,
        id: &SessionId,
        ttl: Option<Duration>,
    ) -> Result<Option<Session>> {
        let prolonged = self.inner.load_and_extend(id, ttl).await;
        let extended = self.counts.count(SessionCall::Extend, prolonged, present);
        self.counts.count(SessionCall::Load, extended, present)
    }

    async fn regenerate(&self, id: &SessionId, user: Option<UserId>) -> Result<Option<Session>> {
        self.counts.count(SessionCall::Regenerate, self.inner.regenerate(id, user).await, present)
    }

    async fn list(&self, user: &UserId) -> Result<Vec<SessionSummary>> {
        self.counts.count(SessionCall::List, self.inner.list(user).await, done)
    }

    async fn clear<'a>(&self, user: &UserId, except: Option<&'a SessionRef>) -> Result<u64> {
        self.counts.count(SessionCall::Clear, self.inner.clear(user, except).await, done)
    }

    async fn count<'a>(&self, user: Option<&'a UserId>) -> Result<u64> {
        self.counts.count(SessionCall::List, self.inner.count(user).await, done)
    }

    async fn load_many(&self, ids: &[SessionId]) -> Result<Vec<Option<Session>>> {
        let loaded = self.inner.load_many(ids).await;
        match &loaded {
            Ok(loaded) => {
                loaded.iter().for_each(|one| self.counts.add(SessionCall::Load, present(one)));
            }
            Err(_) => self.counts.add(SessionCall::Load, SessionOutcome::Error),
        }
        loaded
    }

    async fn save_many(&self, saves: Vec<Save>) -> Vec<Result<SaveOutcome>> {
        let saved = self.inner.save_many(saves).await;
        for one in &saved {
            let outcome = one.as_ref().map_or(SessionOutcome::Error, of_save);
            self.counts.add(SessionCall::Save, outcome);
        }
        saved
    }

    async fn delete_many(&self, sessions: &[SessionRef]) -> Result<u64> {
        let deleted = self.inner.delete_many(sessions).await;
        match &deleted {
            Ok(count) => {
                let absent = (sessions.len() as u64).saturating_sub(*count);
                self.counts.add_many(SessionCall::Delete, SessionOutcome::Done, *count);
                self.counts.add_many(SessionCall::Delete, SessionOutcome::Absent, absent);
            }
            Err(_) => self.counts.add(SessionCall::Delete, SessionOutcome::Error),
        }
        deleted
    }

    async fn scan<'a>(&self, cursor: Option<&'a str>, limit: usize) -> Result<SessionPage> {
        self.counts.count(SessionCall::List, self.inner.scan(cursor, limit).await, done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::clock::ManualClock;
    use state::session::{MemorySessions, SessionPolicy};

    #[tokio::test]
    async fn each_call_counts_once_by_how_it_ended() {
        let clock = Arc::new(ManualClock::new());
        let inner = MemorySessions::new(SessionPolicy::new(), clock).unwrap();
        let store = CountedSessions::new(Arc::new(inner));
        let counts = store.counts();
        let made = store.create(NewSession::new()).await.unwrap();
        let again = NewSession::new().with_id(made.id.clone());
        assert!(store.create(again).await.is_err());
        store.load(&made.id).await.unwrap();
        store.load_and_extend(&made.id, None).await.unwrap();
        store.load_now(&made.id).unwrap().unwrap();
        store.save(Save::new(made.clone())).await.unwrap();
        store.save(Save::new(made.clone())).await.unwrap();
        assert!(store.delete(&made.id.clone().into()).await.unwrap());
        assert!(!store.delete(&made.id.clone().into()).await.unwrap());
        let other = store.create(NewSession::new()).await.unwrap();
        store.delete_many(&[made.id.clone().into(), other.id.into()]).await.unwrap();
        store.load_many(&[made.id.clone(), made.id]).await.unwrap();
        for (call, [done, absent, conflict, error]) in [
            (SessionCall::Create, [2, 0, 1, 0]),
            (SessionCall::Load, [3, 2, 0, 0]),
            (SessionCall::Extend, [1, 0, 0, 0]),
            (SessionCall::Save, [1, 0, 1, 0]),
            (SessionCall::Delete, [2, 2, 0, 0]),
            (SessionCall::Update, [0, 0, 0, 0]),
        ] {
            let counted = SessionOutcome::ALL.map(|outcome| counts.get(call, outcome));
            assert_eq!(counted, [done, absent, conflict, error], "{call:?}");
        }
    }
}
