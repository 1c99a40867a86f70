//! [`SessionUpdate`]: an update that the caller drives step by step.

use std::fmt;
use std::time::Duration;

use super::deadline::Deadline;
use super::{Save, SaveOutcome, Session, SessionId, SessionStore};
use base::Result;
use base::clock::SharedClock;

/// The turn to change one session: held by one caller of this process at a time, and passed on
/// when it is dropped. From [`SessionStore::turn`].
pub struct SessionTurn {
    deadline: Deadline,
    _held: Box<dyn Send + Sync>,
}

impl fmt::Debug for SessionTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionTurn").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl SessionTurn {
    /// A turn of a store of one's own: `held` is dropped with it. It ends `within` from now.
    #[must_use]
    pub fn new(held: impl Send + Sync + 'static, clock: &SharedClock, within: Duration) -> Self {
        Self::until(held, Deadline::new(clock, within))
    }

    pub(super) fn until(held: impl Send + Sync + 'static, deadline: Deadline) -> Self {
        Self { deadline, _held: Box::new(held) }
    }
}

/// How a step of a [`SessionUpdate`] ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Updated {
    /// It is stored, as it is here.
    Done(Box<Session>),
    /// Another process saved first: change what is stored now, and save that.
    Again(SessionUpdate),
    /// The session expired or was deleted. Nothing was stored.
    Gone,
}

/// [`SessionStore::update`] in steps, for callers whose change is asynchronous or in another
/// language.
///
/// It holds the session's turn: updates of the same session wait until it is dropped. Dropping it
/// without a save stores nothing.
///
/// ```
/// # use std::sync::Arc;
/// use jarvis_core::clock::SystemClock;
/// use jarvis_core::session::{
///     MemorySessions, NewSession, SessionData, SessionPolicy, SessionStore, SessionUpdate,
///     UPDATE_DEADLINE, Updated,
/// };
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let store = MemorySessions::new(SessionPolicy::new(), Arc::new(SystemClock::new()))?;
/// let id = store.create(NewSession::new()).await?.id;
/// let mut update = SessionUpdate::begin(&store, &id, UPDATE_DEADLINE).await?;
/// while let Some(step) = update {
///     let mut session = step.session().clone();
///     session.data = SessionData::parse(r#"{"mixes":1}"#)?; // may await
///     update = match step.save(&store, session).await? {
///         Updated::Again(step) => Some(step),
///         _ => None,
///     };
/// }
/// assert_eq!(store.load(&id).await?.map(|session| session.version), Some(2));
/// # Ok::<(), jarvis_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct SessionUpdate {
    session: Box<Session>,
    turn: SessionTurn,
}

impl SessionUpdate {
    /// Waits for the session's turn and loads it; `None` when there is no such session.
    ///
    /// # Errors
    /// `Timeout` when `deadline` passes first, and the store's.
    pub async fn begin<S: SessionStore + ?Sized>(
        store: &S,
        id: &SessionId,
        deadline: Duration,
    ) -> Result<Option<Self>> {
        let turn = store.turn(id, deadline).await?;
        let loaded = turn.deadline.cut(store.load(id)).await??;
        Ok(loaded.map(|session| Self { session: Box::new(session), turn }))
    }

    /// The session as it is stored.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Saves what the session was changed to. Its id and version are not looked at.
    ///
    /// # Errors
    /// `Timeout` when the deadline has passed; nothing is stored then. Those of
    /// [`SessionStore::save`].
    pub async fn save<S: SessionStore + ?Sized>(
        self,
        store: &S,
        changed: Session,
    ) -> Result<Updated> {
        let Self { session, turn } = self;
        // A save may not be cut short: nobody would know whether it was applied.
        turn.deadline.check()?;
        let changed = Session { id: session.id, version: session.version, ..changed };
        Ok(match store.save(Save::new(changed)).await? {
            SaveOutcome::Saved(stored) => Updated::Done(stored),
            SaveOutcome::Conflict(current) => Updated::Again(Self { session: current, turn }),
            SaveOutcome::NotFound => Updated::Gone,
        })
    }
}
