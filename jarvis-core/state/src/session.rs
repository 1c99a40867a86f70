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
/// - All processes that use the same storage with the same [`SessionPolicy`] see one truth; what
///   is acknowledged is kept as well as the storage keeps anything (the backend's docs say how
///   well that is).
/// - A session that expired, was deleted or was cleared is gone for every method, whatever is
///   still on disk. Expiry is by wall time: `expires_at` itself is past.
/// - It fails closed: when the storage can't be reached every method is an error of the kind
///   `Unavailable` or `Timeout` within the backend's deadline, never an empty answer.
/// - No error, log or `Debug` shows an id or session data.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait SessionStore: Debug + Send + Sync + 'static {
    /// How far away the sessions are kept.
    ///
    /// # Behavior
    /// - Stays the same.
    /// - With [`Locality::InMemory`] every call is complete on its first poll, and needs no
    ///   runtime; only [`turn`](SessionStore::turn) and [`update`](SessionStore::update) may wait
    ///   for another's turn.
    fn locality(&self) -> Locality;

    /// Makes a session, with version 1.
    ///
    /// # Behavior
    /// - Without an id of its own it gets a fresh one that can't be guessed: 192 bits from the
    ///   operating system.
    /// - An id that is taken is `Conflict`, and what is there stays as it is.
    /// - It lives for `ttl`, else for the policy's, but never longer than the absolute cap.
    /// - A `ttl` under a millisecond or over ten years is `InvalidInput`, here and wherever one is
    ///   given.
    /// - Data over the policy's size is `TooLarge`; data that is no JSON object, or nested too
    ///   deep, is `InvalidInput`. Nothing is stored then.
    async fn create(&self, new: NewSession) -> Result<Session>;

    /// The session of this id.
    ///
    /// # Behavior
    /// - `None` when there is none, or it expired: an unknown id never makes a session.
    /// - What was saved last is what is loaded, byte for byte.
    /// - Does not prolong it, unless the policy is `rolling`; then it does once a tenth of the
    ///   time to live has passed since the last time, and never beyond the absolute cap.
    async fn load(&self, id: &SessionId) -> Result<Option<Session>>;

    /// [`load`](SessionStore::load) where nothing has to be waited for: no future is made, which is most
    /// of what a hit in memory costs.
    ///
    /// # Behavior
    /// - What `load` would answer, with all that it does; `None` where only that can tell.
    /// - A store that asks a file or a server answers `None` and asks nobody.
    fn load_now(&self, id: &SessionId) -> Option<Result<Option<Session>>> {
        let _ = id;
        None
    }

    /// Stores a session if nobody changed it since it was loaded.
    ///
    /// # Behavior
    /// - Compare-and-swap on `version`: of any number of saves at once with the same version one
    ///   is `Saved`, the others are `Conflict` with what is stored now.
    /// - Version 0 creates: `Conflict` when the id is taken.
    /// - `NotFound` when it expired or was deleted: a late save never brings a session back, and
    ///   neither does a forced one.
    /// - A forced save ignores the version; the last writer wins.
    /// - Prolongs it by its `ttl` from now, up to the absolute cap.
    /// - Changing `user` moves it to that user's list.
    /// - Repeated after a lost answer it is applied once. Where others have changed the session since,
    ///   so that nobody knows, it is an error that is [`Indeterminate`](base::Retry::Indeterminate).
    /// - Limits as in [`create`](SessionStore::create).
    async fn save(&self, save: Save) -> Result<SaveOutcome>;

    /// Loads, changes and saves, again and again until nobody came in between.
    ///
    /// # Behavior
    /// - `None` when there is no such session; `change` is not called then.
    /// - Nothing is lost: of any number of updates at once, from any number of processes, each
    ///   is applied to the result of another.
    /// - Updates of one session by one process wait for each other instead of colliding.
    /// - `Timeout` when `deadline` passes first; nothing of it is stored then.
    /// - An error of `change` is given back, and nothing is saved.
    async fn update<'a>(
        &self,
        id: &SessionId,
        deadline: Duration,
        change: Change<'a>,
    ) -> Result<Option<Session>>;

    /// Waits for the turn to change a session, for an update in steps ([`SessionUpdate`]). It is
    /// passed on when it is dropped.
    ///
    /// # Behavior
    /// - Of the turns of one session one is held at a time within this process, first come, first
    ///   served. [`update`](SessionStore::update) takes one too. Turns of different sessions don't
    ///   wait for each other.
    /// - `Timeout` when `deadline` passes first. The turn has what is left of it.
    /// - Holds up no other method, and no other process. The session need not exist.
    async fn turn(&self, id: &SessionId, deadline: Duration) -> Result<SessionTurn>;

    /// Removes a session: a logout.
    ///
    /// # Behavior
    /// - `false` when there was none. Idempotent.
    /// - Of any number at once one is told `true`; repeated after a lost answer it is still `true`.
    /// - Takes it off its user's list.
    async fn delete(&self, session: &SessionRef) -> Result<bool>;

    /// Lets a session live for `ttl` (else its own) from now, and says until when.
    ///
    /// # Behavior
    /// - `None` when there is none.
    /// - Never beyond the absolute cap; may shorten.
    /// - Keeps the version: a save that is under way is not disturbed.
    async fn extend(&self, session: &SessionRef, ttl: Option<Duration>)
    -> Result<Option<WallTime>>;

    /// [`load`](SessionStore::load) and [`extend`](SessionStore::extend) in one: what a web framework
    /// asks for at the begin of a request. A server is waited for once, as a rule.
    ///
    /// # Behavior
    /// - `None` when there is none.
    /// - What was saved last, with the `expires_at` that it has now: the same that `extend` would have
    ///   told.
    async fn load_and_extend(
        &self,
        id: &SessionId,
        ttl: Option<Duration>,
    ) -> Result<Option<Session>>;

    /// Moves a session to a fresh id, for a login or any other change of rights, and gives it to
    /// `user` where one is named.
    ///
    /// # Behavior
    /// - `None` when there is none.
    /// - The old id is gone when it returns; at no time are both gone.
    /// - Data, user, meta and creation time move along, and so the absolute cap; the version
    ///   goes on.
    /// - Of two at once, one gets `None`.
    ///
    /// # Errors
    /// With [`Retry::Indeterminate`](base::Retry::Indeterminate) it may have moved all the same, to
    /// an id that nobody knows.
    async fn regenerate(&self, id: &SessionId, user: Option<UserId>) -> Result<Option<Session>>;

    /// The sessions of a user, oldest first.
    ///
    /// # Behavior
    /// - Exactly those that live, each with the handle that [`delete`](SessionStore::delete),
    ///   [`extend`](SessionStore::extend) and [`clear`](SessionStore::clear) take.
    /// - The id itself is in it only when the policy does not hash ids.
    async fn list(&self, user: &UserId) -> Result<Vec<SessionSummary>>;

    /// Removes the sessions of a user, all or all but one, and says how many.
    ///
    /// # Behavior
    /// - A session that is created while it runs may stay.
    /// - `except` stays whole; one that is not the user's protects nothing.
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
