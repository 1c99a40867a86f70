//! Sessions: a visitor's data between requests, in a [`SessionStore`].
//!
//! A session is a JSON object under an id that only its visitor knows. Each save is a
//! compare-and-swap on the session's version: concurrent requests can't overwrite each other, and
//! a request that outlives a logout can't bring the session back. [`SessionExt::save_merged`]
//! resolves conflicts by a three-way merge. Where the original's names went (`saveSession`,
//! `getUserSessions`, …) is listed in the [guide](https://docs.rs/jarvis-core/latest/jarvis_core/docs/guide/index.html#coming-from-the-original).

mod data;
mod deadline;
mod ext;
mod front;
mod id;
mod memory;
mod merge;
mod policy;
mod record;
#[cfg(feature = "redis")]
mod redis;
mod seal;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;
#[cfg(any(feature = "sqlite", feature = "redis"))]
mod stored;
mod turns;
mod types;
mod update;

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

#[cfg(feature = "redis")]
pub use self::redis::RedisSessions;
pub use data::SessionData;
pub use ext::{Merged, SessionExt};
pub use id::{SessionHandle, SessionId, SessionRef};
pub use memory::MemorySessions;
pub use policy::{LONGEST_TTL, SessionPolicy};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteSessions;
pub use types::{NewSession, Save, SaveOutcome, Session, SessionMeta, SessionSummary};
pub use update::{SessionTurn, SessionUpdate, Updated};

use base::Result;
use base::clock::WallTime;
use base::vocabulary::{Locality, UserId};

/// The default deadline of [`SessionStore::update`].
pub const UPDATE_DEADLINE: Duration = Duration::from_secs(5);

/// Changes a session's data in memory. May be called more than once, each time with what is
/// stored by then; an error ends the update and nothing is saved.
pub type Change<'a> = &'a mut (dyn FnMut(&mut Session) -> Result<()> + Send);

/// A store of sessions.
///
/// # Contract
/// - All processes that use the same storage with the same [`SessionPolicy`] see the same sessions.
///   An acknowledged write is as durable as the backend documents.
/// - A session that expired, was deleted or was cleared does not exist for any method, even if it
///   is still on disk. Expiry uses wall time; a session has expired at `expires_at` itself.
/// - A store fails closed: when the storage is unreachable, every method returns an error of the
///   kind `Unavailable` or `Timeout` within the backend's deadline, never an empty answer.
/// - No error, log or `Debug` shows an id or session data.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait SessionStore: Debug + Send + Sync + 'static {
    /// Where the sessions are stored: in memory, in a file or on a server.
    ///
    /// # Behavior
    /// - The answer never changes.
    /// - With [`Locality::InMemory`] every call completes on its first poll and needs no runtime;
    ///   only [`turn`](SessionStore::turn) and [`update`](SessionStore::update) may wait for
    ///   another turn to end.
    fn locality(&self) -> Locality;

    /// Creates a session with version 1.
    ///
    /// # Behavior
    /// - If `new` has no id, the session gets a random one: 192 bits from the operating system.
    /// - An id that exists is `Conflict`; the existing session is unchanged.
    /// - The session lives for `ttl`, or for the policy's if absent, but never beyond the absolute
    ///   cap.
    /// - A `ttl` under a millisecond or over ten years is `InvalidInput`, in every method.
    /// - Data over the policy's size is `TooLarge`. Data that is not a JSON object, or is nested
    ///   too deep, is `InvalidInput`. In both cases nothing is stored.
    async fn create(&self, new: NewSession) -> Result<Session>;

    /// The session of this id.
    ///
    /// # Behavior
    /// - `None` if it does not exist or has expired. An unknown id never creates a session.
    /// - The data is exactly, byte for byte, what was saved last.
    /// - Loading does not extend the session, unless the policy is `rolling`. Then it extends the
    ///   session once a tenth of the time to live has passed since the last extension, and never
    ///   beyond the absolute cap.
    async fn load(&self, id: &SessionId) -> Result<Option<Session>>;

    /// [`load`](SessionStore::load) where nothing has to be waited for: no future is made, which is most
    /// of what a hit in memory costs.
    ///
    /// # Behavior
    /// - The same result and effects as `load`; `None` if only `load` can answer.
    /// - A store on a file or a server always returns `None`, without any I/O.
    fn load_now(&self, id: &SessionId) -> Option<Result<Option<Session>>> {
        let _ = id;
        None
    }

    /// Stores a session if it was not changed since it was loaded.
    ///
    /// # Behavior
    /// - Compare-and-swap on `version`: of concurrent saves with the same version, one is `Saved`;
    ///   the others are `Conflict` with the stored session.
    /// - Version 0 creates the session, or is `Conflict` if the id exists.
    /// - `NotFound` if it expired or was deleted. A late save never restores a session, not even a
    ///   forced one.
    /// - A forced save ignores the version; the last writer wins.
    /// - A save extends the session to its `ttl` from now, up to the absolute cap.
    /// - Changing `user` moves it to that user's list.
    /// - A save that is repeated after a lost answer is applied once. If the session has changed in
    ///   the meantime, so that the outcome is unknown, the error is
    ///   [`Indeterminate`](base::Retry::Indeterminate).
    /// - Limits as in [`create`](SessionStore::create).
    async fn save(&self, save: Save) -> Result<SaveOutcome>;

    /// Loads, changes and saves a session, and retries on conflicts.
    ///
    /// # Behavior
    /// - `None` if the session does not exist; `change` is not called then.
    /// - No update is lost: concurrent updates from any number of processes are each applied to
    ///   the result of another.
    /// - Updates of one session within one process wait for each other instead of conflicting.
    /// - `Timeout` if `deadline` passes first; this update is not stored then.
    /// - An error of `change` is returned, and nothing is saved.
    async fn update<'a>(
        &self,
        id: &SessionId,
        deadline: Duration,
        change: Change<'a>,
    ) -> Result<Option<Session>>;

    /// Waits for the turn to change a session, for an update in steps ([`SessionUpdate`]). Dropping
    /// the turn releases it.
    ///
    /// # Behavior
    /// - Within this process one turn per session is held at a time, first come, first served.
    ///   [`update`](SessionStore::update) takes one too. Turns of different sessions are
    ///   independent.
    /// - `Timeout` if `deadline` passes first. The turn keeps the rest of the deadline.
    /// - A turn blocks no other method and no other process. The session need not exist.
    async fn turn(&self, id: &SessionId, deadline: Duration) -> Result<SessionTurn>;

    /// Removes a session: a logout.
    ///
    /// # Behavior
    /// - `false` if it did not exist. Idempotent.
    /// - Of concurrent calls, one returns `true`. A call that is repeated after a lost answer still
    ///   returns `true`.
    /// - The session is removed from its user's list.
    async fn delete(&self, session: &SessionRef) -> Result<bool>;

    /// Sets a session to expire `ttl` (or its own time to live) from now, and returns that time.
    ///
    /// # Behavior
    /// - `None` if it does not exist.
    /// - Never beyond the absolute cap; the lifetime may become shorter.
    /// - The version stays the same, so that concurrent saves do not conflict.
    async fn extend(&self, session: &SessionRef, ttl: Option<Duration>)
    -> Result<Option<WallTime>>;

    /// [`load`](SessionStore::load) and [`extend`](SessionStore::extend) in one call, for the start of
    /// a web request. It usually takes one round trip to a server.
    ///
    /// # Behavior
    /// - `None` if it does not exist.
    /// - The session as it was saved last, with the new `expires_at`, as `extend` returns it.
    async fn load_and_extend(
        &self,
        id: &SessionId,
        ttl: Option<Duration>,
    ) -> Result<Option<Session>>;

    /// Moves a session to a new id, for a login or any other change of rights, and assigns it to
    /// `user` if given.
    ///
    /// # Behavior
    /// - `None` if it does not exist.
    /// - The old id is invalid when this returns. At least one of the two ids is valid at any time.
    /// - Data, user, metadata and creation time (and so the absolute cap) stay; the version
    ///   increases.
    /// - Of two concurrent calls, one returns `None`.
    ///
    /// # Errors
    /// With [`Retry::Indeterminate`](base::Retry::Indeterminate) the session may have moved to an id
    /// that is not known.
    async fn regenerate(&self, id: &SessionId, user: Option<UserId>) -> Result<Option<Session>>;

    /// The sessions of a user, oldest first.
    ///
    /// # Behavior
    /// - Exactly those that have not expired, each with the handle for
    ///   [`delete`](SessionStore::delete), [`extend`](SessionStore::extend) and
    ///   [`clear`](SessionStore::clear).
    /// - The id itself is included only if the policy does not hash ids.
    async fn list(&self, user: &UserId) -> Result<Vec<SessionSummary>>;

    /// Removes all sessions of a user, or all but one, and returns their number.
    ///
    /// # Behavior
    /// - A session that is created during the call may remain.
    /// - `except` is unchanged; a session of another user has no effect.
    async fn clear<'a>(&self, user: &UserId, except: Option<&'a SessionRef>) -> Result<u64>;

    /// How many sessions live, of a user or of all.
    ///
    /// # Behavior
    /// - Exact for a user. Over all it may count what expired within the last minute.
    async fn count<'a>(&self, user: Option<&'a UserId>) -> Result<u64>;

    /// [`load`](SessionStore::load) for many ids, answered in their order.
    ///
    /// # Behavior
    /// - The same answers as one by one; an empty list is an empty answer.
    async fn load_many(&self, ids: &[SessionId]) -> Result<Vec<Option<Session>>>;

    /// [`save`](SessionStore::save) for many, answered in their order.
    ///
    /// # Behavior
    /// - Each for itself: one that is refused or fails does not stop the others.
    async fn save_many(&self, saves: Vec<Save>) -> Vec<Result<SaveOutcome>>;

    /// [`delete`](SessionStore::delete) for many; how many there were.
    ///
    /// # Behavior
    /// - One named twice counts once.
    async fn delete_many(&self, sessions: &[SessionRef]) -> Result<u64>;

    /// Every living session, a page of about `limit` at a time, in no order; `None` asks for the
    /// first page.
    ///
    /// # Behavior
    /// - What lives from the first page to the last is in one page at least; where the storage
    ///   moves while it is read, it may be in two.
    /// - A cursor that it did not give is `InvalidInput`.
    async fn scan<'a>(&self, cursor: Option<&'a str>, limit: usize) -> Result<SessionPage>;
}

/// A page of [`SessionStore::scan`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionPage {
    /// Some sessions; may be none although more follow.
    pub sessions: Vec<SessionSummary>,
    /// Asks for the next page; `None` after the last.
    pub next: Option<String>,
}

impl SessionPage {
    /// A page.
    #[must_use]
    pub fn new(sessions: Vec<SessionSummary>, next: Option<String>) -> Self {
        Self { sessions, next }
    }
}
