//! [`MemorySessions`]: a session store within one process; the reference implementation.
//!
//! Sessions are stored in shards by id. The lock of a shard is never held across an await. Two more
//! maps index them by handle and by user; their locks are always taken after that of a shard.
//! Later calls remove expired sessions, so that memory does not grow and no background task is
//! needed.

mod shard;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::time::Duration;

use super::front::Front;
use super::record::{
    Draft, Expect, Listed, Name, Origin, Record, Records, Replaced, Stored, Swapped, Terms, Verdict,
};
use super::store::store;
use super::{SessionHandle, SessionId, SessionPolicy};
use base::Result;
use base::clock::{SharedClock, WallTime};
use base::sync::{Mutex, MutexGuard};
use base::vocabulary::UserId;
use shard::{Entry, Shard};

/// How many locks there are of each kind; a power of two.
const SHARDS: usize = 64;

/// A session that lives longer than this is not near its end.
const NEARLY_OVER: Duration = Duration::from_secs(1);

/// How many expired sessions a visitor of a shard clears away.
const RECLAIMED: usize = 8;

/// Sessions within one process; gone with it. Clones share them.
///
/// Every call is complete on its first poll, but [`update`](super::SessionStore::update) when
/// another update of the same session is under way. Encryption keys have no use here: nothing is
/// at rest.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use jarvis_core::clock::SystemClock;
/// use jarvis_core::session::{MemorySessions, NewSession, SessionData, SessionPolicy, SessionStore};
/// use jarvis_core::vocabulary::UserId;
///
/// # async fn example() -> jarvis_core::Result<()> {
/// let policy = SessionPolicy::new().with_ttl(Duration::from_secs(1_800));
/// let sessions = MemorySessions::new(policy, Arc::new(SystemClock::new()))?;
///
/// let made = sessions.create(NewSession::new().with_user(UserId::new("ada")?)).await?;
/// let cookie = made.id.expose();
/// sessions
///     .update(&made.id, Duration::from_secs(5), &mut |session| {
///         session.data = SessionData::parse(r#"{"theme":"dark"}"#)?;
///         Ok(())
///     })
///     .await?;
/// let loaded = sessions.load(&made.id).await?.expect("it was just made");
/// assert_eq!((loaded.version, loaded.data.as_str()), (2, r#"{"theme":"dark"}"#));
/// # assert_eq!(cookie.len(), 34);
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(example()).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct MemorySessions(Front<Memory>);

store!(MemorySessions, "session.memory");

impl MemorySessions {
    /// A store without sessions.
    ///
    /// # Errors
    /// `ConfigInvalid` for a policy that is invalid; the message names the field.
    pub fn new(policy: SessionPolicy, clock: SharedClock) -> Result<Self> {
        Front::new(policy, clock, Memory::new).map(Self)
    }
}

type Locks<T> = Box<[Mutex<T>]>;

fn locks<T: Default>() -> Locks<T> {
    (0..SHARDS).map(|_| Mutex::default()).collect()
}

struct Memory {
    terms: Terms,
    shards: Locks<Shard>,
    users: Locks<HashMap<UserId, HashSet<SessionId>>>,
    handles: Locks<BTreeMap<SessionHandle, SessionId>>,
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

impl Memory {
    fn new(terms: Terms) -> Self {
        Self { terms, shards: locks(), users: locks(), handles: locks() }
    }

    /// Which shard an id lies in. The end of an id is random, but for our bucket: its start may
    /// be a prefix that a framework gives to all of them. That need not be fair to be right.
    fn place(id: &SessionId) -> usize {
        let bytes = id.expose().as_bytes();
        let random = &bytes[..bytes.len().saturating_sub(2)];
        let last = random.last_chunk::<8>().copied().unwrap_or_else(|| {
            let mut short = [0; 8];
            let end = bytes.len().min(8);
            short[..end].copy_from_slice(&bytes[bytes.len() - end..]);
            short
        });
        let mixed = u64::from_le_bytes(last).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        usize::try_from(mixed >> 58).unwrap_or(0) % SHARDS
    }

    /// A shard, with some of what expired cleared away.
    fn shard(&self, at: usize, now: WallTime) -> MutexGuard<'_, Shard> {
        let mut shard = self.shards[at].lock();
        self.reclaim(&mut shard, now, RECLAIMED);
        shard
    }

    fn reclaim(&self, shard: &mut Shard, now: WallTime, most: usize) {
        for _ in 0..most {
            let Some((id, entry)) = shard.expired(now) else { return };
            self.forget(&id, &entry);
        }
    }

    /// The names of a session that comes.
    fn remember(&self, id: &SessionId, entry: &Entry) {
        self.handles_of(&entry.handle).lock().insert(entry.handle.clone(), id.clone());
        if let Some(user) = &entry.record.user {
            self.remember_user(user, id);
        }
    }

    fn remember_user(&self, user: &UserId, id: &SessionId) {
        self.users_of(user).lock().entry(user.clone()).or_default().insert(id.clone());
    }

    /// The names of a session that goes.
    fn forget(&self, id: &SessionId, entry: &Entry) {
        self.handles_of(&entry.handle).lock().remove(&entry.handle);
        if let Some(user) = &entry.record.user {
            self.forget_user(user, id);
        }
    }

    fn forget_user(&self, user: &UserId, id: &SessionId) {
        let mut users = self.users_of(user).lock();
        if let Some(ids) = users.get_mut(user) {
            ids.remove(id);
            if ids.is_empty() {
                users.remove(user);
            }
        }
    }

    fn users_of(&self, user: &UserId) -> &Mutex<HashMap<UserId, HashSet<SessionId>>> {
        &self.users[super::id::Bucket::of_user(user).number() % SHARDS]
    }

    fn handles_of(&self, handle: &SessionHandle) -> &Mutex<BTreeMap<SessionHandle, SessionId>> {
        &self.handles[handle.bucket().number() % SHARDS]
    }

    fn id(&self, name: Name<'_>) -> Option<SessionId> {
        match name {
            Name::Id(id) => Some(id.clone()),
            Name::Handle(handle) => self.handles_of(handle).lock().get(handle).cloned(),
        }
    }

    /// Stores one under an id that is free.
    fn add(&self, shard: &mut Shard, id: &SessionId, record: Record) -> Stored {
        let stored = record.stored();
        let entry = Entry::new(id.handle(self.terms.hash_ids), record);
        self.remember(id, &entry);
        shard.insert(id, entry);
        stored
    }

    fn overwrite(&self, id: &SessionId, record: &mut Record, after: Record) -> Stored {
        if record.user != after.user {
            if let Some(user) = &record.user {
                self.forget_user(user, id);
            }
            if let Some(user) = &after.user {
                self.remember_user(user, id);
            }
        }
        *record = after;
        record.stored()
    }

    fn take(&self, shard: &mut Shard, id: &SessionId) -> bool {
        let taken = shard.remove(id);
        if let Some(entry) = &taken {
            self.forget(id, entry);
        }
        taken.is_some()
    }

    /// Removes what expired under this id, so that what is left lives.
    fn settle(&self, shard: &mut Shard, id: &SessionId, now: WallTime) {
        if shard.is_due(now) && shard.get(id).is_some_and(|entry| !entry.record.lives(now)) {
            self.take(shard, id);
        }
    }

    fn swap_now(&self, id: &SessionId, expect: Expect, draft: Draft) -> Swapped {
        let now = self.terms.now();
        let mut shard = self.shard(Self::place(id), now);
        self.settle(&mut shard, id, now);
        if expect == Expect::Absent {
            return match shard.get(id) {
                Some(entry) => Swapped::Conflict(Box::new(entry.record.clone())),
                None => {
                    let record = Record::over(None, draft, now, &self.terms);
                    Swapped::Stored(self.add(&mut shard, id, record))
                }
            };
        }
        let swapped = shard.change(id, |record| match expect.judge(Some(record.version)) {
            Verdict::Store => {
                let after = Record::over(Some(record.stored()), draft, now, &self.terms);
                Swapped::Stored(self.overwrite(id, record, after))
            }
            Verdict::Conflict | Verdict::Missing => Swapped::Conflict(Box::new(record.clone())),
        });
        swapped.unwrap_or(Swapped::Missing)
    }

    /// Prolongs a session and gives what is asked of it.
    fn extend_now<T>(
        &self,
        id: &SessionId,
        ttl: Option<Duration>,
        asked: impl FnOnce(&Record) -> T,
    ) -> Option<T> {
        let now = self.terms.now();
        let mut shard = self.shard(Self::place(id), now);
        self.settle(&mut shard, id, now);
        shard.change(id, |record| {
            record.expires_at =
                self.terms.expiry(now, ttl.unwrap_or(record.ttl), record.created_at);
            asked(record)
        })
    }

    fn replace_now(
        &self,
        old: &SessionId,
        version: u64,
        new: &SessionId,
        draft: Draft,
    ) -> Replaced {
        let now = self.terms.now();
        let (from, to) = (Self::place(old), Self::place(new));
        // Locks of one kind are taken in their order, so that two never wait for each other.
        let mut lower = self.shard(from.min(to), now);
        let mut upper = (from != to).then(|| self.shard(from.max(to), now));
        let shard = match &mut upper {
            Some(upper) if from > to => upper,
            _ => &mut lower,
        };
        self.settle(shard, old, now);
        let record = match shard.get(old).map(|entry| &entry.record) {
            None => return Replaced::Missing,
            Some(before) if before.version != version => return Replaced::Changed,
            Some(before) => Record::over(Some(before.stored()), draft, now, &self.terms),
        };
        self.take(shard, old);
        let shard = match &mut upper {
            Some(upper) if to > from => upper,
            _ => &mut lower,
        };
        Replaced::Stored(self.add(shard, new, record))
    }

    fn ids_of(&self, user: &UserId) -> Vec<SessionId> {
        self.users_of(user).lock().get(user).into_iter().flatten().cloned().collect()
    }

    fn listed(&self, id: &SessionId, now: WallTime) -> Option<Listed> {
        let shard = self.shard(Self::place(id), now);
        let entry = shard.get(id).filter(|entry| entry.record.lives(now))?;
        Some(entry.record.listed(entry.handle.clone()))
    }

    fn clear_now(&self, user: &UserId, except: Option<&SessionHandle>) -> u64 {
        let now = self.terms.now();
        let mut cleared = 0;
        for id in self.ids_of(user) {
            let mut shard = self.shard(Self::place(&id), now);
            self.settle(&mut shard, &id, now);
            let goes = shard.get(&id).is_some_and(|entry| {
                entry.record.user.as_ref() == Some(user) && Some(&entry.handle) != except
            });
            cleared += u64::from(goes && self.take(&mut shard, &id));
        }
        cleared
    }

    fn count_now(&self) -> u64 {
        let now = self.terms.now();
        let count = |mutex: &Mutex<Shard>| {
            let mut shard = mutex.lock();
            self.reclaim(&mut shard, now, usize::MAX);
            u64::try_from(shard.len()).unwrap_or(u64::MAX)
        };
        self.shards.iter().map(count).sum()
    }

    /// Pages go through the handles, map by map, each in its order: the cursor is the last handle.
    fn page_now(
        &self,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Listed>, Option<String>)> {
        let now = self.terms.now();
        let mut after = cursor.map(SessionHandle::new).transpose()?;
        let first = after.as_ref().map_or(0, |after| after.bucket().number() % SHARDS);
        let mut named = Vec::new();
        for handles in &self.handles[first..] {
            let from = after.take().map_or(Bound::Unbounded, Bound::Excluded);
            let rest = limit - named.len();
            let handles = handles.lock();
            let some = handles.range((from, Bound::Unbounded)).take(rest);
            named.extend(some.map(|(handle, id)| (handle.clone(), id.clone())));
            if named.len() == limit {
                break;
            }
        }
        let next = match named.last() {
            Some((handle, _)) if named.len() == limit => Some(handle.as_str().to_owned()),
            _ => None,
        };
        Ok((named.iter().filter_map(|(_, id)| self.listed(id, now)).collect(), next))
    }
}

impl Records for Memory {
    const AT_REST: bool = false;

    async fn swap(&self, id: &SessionId, expect: Expect, draft: Draft) -> Result<Swapped> {
        Ok(self.swap_now(id, expect, draft))
    }

    async fn load(&self, id: &SessionId) -> Result<Option<Record>> {
        let lately = self.terms.clock.wall_lately();
        let shard = self.shard(Self::place(id), lately);
        let Some(Entry { record, .. }) = shard.get(id) else { return Ok(None) };
        // The exact time costs as much as all the rest, and is wanted at a session's end only.
        let lives = record.lives(lately + NEARLY_OVER) || record.lives(self.terms.now());
        Ok(lives.then(|| record.clone()))
    }

    async fn remove(&self, name: Name<'_>) -> Result<bool> {
        let Some(id) = self.id(name) else { return Ok(false) };
        let now = self.terms.now();
        let mut shard = self.shard(Self::place(&id), now);
        self.settle(&mut shard, &id, now);
        Ok(self.take(&mut shard, &id))
    }

    async fn extend(&self, name: Name<'_>, ttl: Option<Duration>) -> Result<Option<WallTime>> {
        let Some(id) = self.id(name) else { return Ok(None) };
        Ok(self.extend_now(&id, ttl, |record| record.expires_at))
    }

    async fn load_and_extend(
        &self,
        id: &SessionId,
        ttl: Option<Duration>,
    ) -> Result<Option<Record>> {
        Ok(self.extend_now(id, ttl, Record::clone))
    }

    async fn replace(
        &self,
        old: &SessionId,
        origin: Origin,
        new: &SessionId,
        draft: Draft,
    ) -> Result<Replaced> {
        Ok(self.replace_now(old, origin.version, new, draft))
    }

    async fn list(&self, user: &UserId) -> Result<Vec<Listed>> {
        let now = self.terms.now();
        let ids = self.ids_of(user);
        let listed = ids.iter().filter_map(|id| self.listed(id, now));
        Ok(listed.filter(|it| it.user.as_ref() == Some(user)).collect())
    }

    async fn clear(&self, user: &UserId, except: Option<SessionHandle>) -> Result<u64> {
        Ok(self.clear_now(user, except.as_ref()))
    }

    async fn count(&self) -> Result<u64> {
        Ok(self.count_now())
    }

    async fn page(
        &self,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Listed>, Option<String>)> {
        self.page_now(cursor, limit)
    }
}

#[cfg(test)]
mod tests;
