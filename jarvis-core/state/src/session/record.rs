//! Records of a backend: [`Record`]s under [`Name`]s. Everything that all backends share is in the
//! [front](super::front); a backend handles no hashes of ids, limits or encryption keys.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use super::{SessionData, SessionHandle, SessionId, SessionMeta, SessionPolicy};
use base::Result;
use base::clock::{SharedClock, WallTime};
use base::vocabulary::UserId;

/// Which session is meant.
#[derive(Debug, Clone, Copy)]
pub(super) enum Name<'a> {
    Id(&'a SessionId),
    Handle(&'a SessionHandle),
}

/// A part of a session as it is stored.
#[derive(Debug, Clone)]
pub(super) enum Kept<T> {
    Plain(T),
    /// Encrypted: see [`super::seal`].
    Sealed(Arc<[u8]>),
}

/// A session as it is stored, without its id.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) user: Option<UserId>,
    pub(super) data: Kept<SessionData>,
    pub(super) version: u64,
    pub(super) created_at: WallTime,
    pub(super) updated_at: WallTime,
    pub(super) expires_at: WallTime,
    pub(super) ttl: Duration,
    pub(super) meta: Kept<SessionMeta>,
}

/// A [`Record`] to be: the rest follows from what is stored.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) user: Option<UserId>,
    pub(super) data: Kept<SessionData>,
    pub(super) ttl: Duration,
    pub(super) meta: Kept<SessionMeta>,
    /// When the session was made, as far as the caller knows. That is nothing to rely on.
    pub(super) created_at: Option<WallTime>,
}

/// What must be stored for a swap to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    Absent,
    Version(u64),
    Any,
}

/// What is to be done about a swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Store,
    Conflict,
    Missing,
}

impl Expect {
    /// Given the version that is stored, where there is any.
    pub(super) fn judge(self, stored: Option<u64>) -> Verdict {
        match (stored, self) {
            (None, Self::Absent) | (Some(_), Self::Any) => Verdict::Store,
            (None, Self::Version(_) | Self::Any) => Verdict::Missing,
            (Some(stored), Self::Version(version)) if stored == version => Verdict::Store,
            (Some(_), Self::Version(_) | Self::Absent) => Verdict::Conflict,
        }
    }
}

/// What a swap stored, or found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    pub(super) version: u64,
    pub(super) created_at: WallTime,
    pub(super) updated_at: WallTime,
    pub(super) expires_at: WallTime,
}

/// How a swap ended.
#[derive(Debug)]
pub(super) enum Swapped {
    Stored(Stored),
    Conflict(Box<Record>),
    Missing,
}

/// What a session that moves to another id was when it was read.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) version: u64,
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "others read it again"))]
    pub(super) created_at: WallTime,
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "others read it again"))]
    pub(super) user: Option<UserId>,
}

/// How a move ended.
#[derive(Debug)]
pub(super) enum Replaced {
    Stored(Stored),
    /// It has another version by now.
    Changed,
    Missing,
}

/// One line of a listing.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) handle: SessionHandle,
    pub(super) user: Option<UserId>,
    pub(super) version: u64,
    pub(super) created_at: WallTime,
    pub(super) updated_at: WallTime,
    pub(super) expires_at: WallTime,
    pub(super) meta: Kept<SessionMeta>,
}

/// What of the policy backends apply themselves, because it depends on what is stored.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) clock: SharedClock,
    pub(super) hash_ids: bool,
    pub(super) absolute_ttl: Option<Duration>,
}

impl Terms {
    pub(super) fn new(policy: &SessionPolicy, clock: SharedClock) -> Self {
        Self { clock, hash_ids: policy.hash_ids, absolute_ttl: policy.absolute_ttl }
    }

    pub(super) fn now(&self) -> WallTime {
        self.clock.wall()
    }

    /// Until when a session lives that is prolonged now.
    pub(super) fn expiry(&self, now: WallTime, ttl: Duration, created_at: WallTime) -> WallTime {
        let wanted = now + ttl;
        self.absolute_ttl.map_or(wanted, |cap| wanted.min(created_at + cap))
    }

    pub(super) fn handle(&self, name: Name<'_>) -> SessionHandle {
        match name {
            Name::Id(id) => id.handle(self.hash_ids),
            Name::Handle(handle) => handle.clone(),
        }
    }
}

impl Record {
    /// What a draft becomes over what is stored, or over nothing.
    pub(super) fn over(before: Option<Stored>, draft: Draft, now: WallTime, terms: &Terms) -> Self {
        let created_at = before.map_or(now, |before| before.created_at);
        Self {
            user: draft.user,
            data: draft.data,
            version: before.map_or(0, |before| before.version) + 1,
            created_at,
            updated_at: now,
            expires_at: terms.expiry(now, draft.ttl, created_at),
            ttl: draft.ttl,
            meta: draft.meta,
        }
    }

    pub(super) fn lives(&self, now: WallTime) -> bool {
        now < self.expires_at
    }

    pub(super) fn stored(&self) -> Stored {
        Stored {
            version: self.version,
            created_at: self.created_at,
            updated_at: self.updated_at,
            expires_at: self.expires_at,
        }
    }

    pub(super) fn listed(&self, handle: SessionHandle) -> Listed {
        Listed {
            handle,
            user: self.user.clone(),
            version: self.version,
            created_at: self.created_at,
            updated_at: self.updated_at,
            expires_at: self.expires_at,
            meta: self.meta.clone(),
        }
    }
}

/// Storage for records. Each method is atomic (but where a backend's own docs tell how it is not),
/// and sees no record that expired.
pub(super) trait Records: Debug + Send + Sync + 'static {
    /// Does it leave this process, so that encryption applies?
    const AT_REST: bool;

    /// Stores `draft` if what is stored is as expected; a conflict tells what is stored.
    fn swap(
        &self,
        id: &SessionId,
        expect: Expect,
        draft: Draft,
    ) -> impl Future<Output = Result<Swapped>> + Send;

    /// The record of this name.
    fn load(&self, id: &SessionId) -> impl Future<Output = Result<Option<Record>>> + Send;

    /// Removes a record. Was there one?
    fn remove(&self, name: Name<'_>) -> impl Future<Output = Result<bool>> + Send;

    /// Prolongs a record by `ttl`, else by its own, and says until when.
    fn extend(
        &self,
        name: Name<'_>,
        ttl: Option<Duration>,
    ) -> impl Future<Output = Result<Option<WallTime>>> + Send;

    /// Prolongs a record by `ttl`, else by its own, and gives it as it is then.
    fn load_and_extend(
        &self,
        id: &SessionId,
        ttl: Option<Duration>,
    ) -> impl Future<Output = Result<Option<Record>>> + Send;

    /// Stores `draft` under `new`, a fresh id, in place of `old`, if that is still what it was.
    fn replace(
        &self,
        old: &SessionId,
        origin: Origin,
        new: &SessionId,
        draft: Draft,
    ) -> impl Future<Output = Result<Replaced>> + Send;

    /// The records of a user, in any order.
    fn list(&self, user: &UserId) -> impl Future<Output = Result<Vec<Listed>>> + Send;

    /// Removes the records of a user but one; how many there were.
    fn clear(
        &self,
        user: &UserId,
        except: Option<SessionHandle>,
    ) -> impl Future<Output = Result<u64>> + Send;

    /// How many records there are.
    fn count(&self) -> impl Future<Output = Result<u64>> + Send;

    /// Some records after `cursor`, and where to go on.
    fn page(
        &self,
        cursor: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<(Vec<Listed>, Option<String>)>> + Send;
}
