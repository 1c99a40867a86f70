//! [`RedisSessions`]: for many instances on many machines, on a Redis, a Cluster or a Sentinel set.

mod answer;
mod index;
mod scripts;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::Value;

use super::front::Front;
use super::id::Bucket;
use super::record::{
    Draft, Expect, Listed, Name, Origin, Record, Records, Replaced, Swapped, Terms,
};
use super::store::store;
use super::{SessionHandle, SessionId, SessionPolicy};
use crate::clock::{SharedClock, WallTime};
use crate::store::redis::{Command, Effect, Redis, Script};
use crate::vocabulary::UserId;
use crate::{Error, ErrorKind, Result};
use answer::Answer;

/// The longest prefix of keys.
const LONGEST_PREFIX: usize = 64;

/// How often a script is sent again because the session changed its user meanwhile.
const GUESSES: usize = 8;

/// How often taking the old id away is tried once the new one is stored.
const TAKES: usize = 3;

/// Sessions on Redis, shared by all who use the same prefix there. Clones share everything.
///
/// | key | what it is |
/// |---|---|
/// | `jarvis:{bucket}:s:…` | a session, a hash; `…` is the hash of its id, or the id where ids are not hashed |
/// | `jarvis:{bucket}:u:USER` | the handles of a user's sessions, a sorted set by expiry |
/// | `jarvis:{bucket}:p:…` | for 30 s: an entry of the set whose session lies in another slot and is being written |
///
/// # One slot or two
///
/// An id that [`SessionId::generate`] made for a user lies in the user's bucket, and so in the
/// cluster slot of the user's set: one script changes both. An id that a framework made, or a
/// session that got its user by a save, lies elsewhere. The set is then written first and the
/// session second, in two round trips; a set that knows too much, because the second failed, is
/// put right when it is next read. It never knows too little. A
/// [`regenerate`](super::SessionStore::regenerate) at login gives an id in the user's bucket.
///
/// `regenerate` stores the new session before it takes the old one away. When the answer to the
/// last step is lost again and again, it ends in an error and both may be there until they expire;
/// nobody knows the new id then.
///
/// # What is kept
///
/// A session is acknowledged when Redis has answered. What of that outlives Redis is its
/// configuration: `appendfsync always` keeps all, `everysec` loses up to a second when the machine
/// dies, snapshots alone lose what came after the last. A failover loses what the old master had
/// not yet replicated, a logout among it: such a session is back until it expires. Set
/// `min-replicas-to-write 1`, and `maxmemory-policy noeviction`: evicting a user's set hides the
/// sessions from `list` and `clear`.
///
/// Whether a session has expired is judged by the clock of who asks; Redis clears it away by its
/// own. The machines' clocks should agree to a fraction of the time to live.
#[derive(Debug, Clone)]
pub struct RedisSessions(Front<Store>);

store!(RedisSessions, "session.redis");

impl RedisSessions {
    /// What keys begin with unless told.
    pub const DEFAULT_PREFIX: &str = "jarvis";

    /// The sessions under `jarvis:` on a Redis. Connects nothing.
    ///
    /// # Errors
    /// `ConfigInvalid` for a policy that can't be kept; the message names the field.
    pub fn new(redis: &Redis, policy: SessionPolicy, clock: SharedClock) -> Result<Self> {
        Self::with_prefix(redis, Self::DEFAULT_PREFIX, policy, clock)
    }

    /// The sessions under another prefix, for stores that share a Redis and nothing else.
    ///
    /// # Errors
    /// As [`new`](Self::new), and for a prefix other than 1 to 64 letters, digits, `-`, `_`, `.`
    /// or `:`.
    pub fn with_prefix(
        redis: &Redis,
        prefix: &str,
        policy: SessionPolicy,
        clock: SharedClock,
    ) -> Result<Self> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        if prefix.is_empty() || prefix.len() > LONGEST_PREFIX || !prefix.bytes().all(good) {
            return Err(Error::new(
                ErrorKind::ConfigInvalid,
                format!(
                    "a prefix has 1 to {LONGEST_PREFIX} letters, digits, '-', '_', '.' or ':', such as {}",
                    Self::DEFAULT_PREFIX
                ),
            ));
        }
        let saves = Saves::new()?;
        let (redis, prefix) = (redis.clone(), prefix.into());
        Front::new(policy, clock, |terms| Store { redis, prefix, terms, saves }).map(Self)
    }
}

/// Names saves: no two have the same name, in whatever process.
struct Saves {
    store: u128,
    next: AtomicU64,
}

impl Saves {
    fn new() -> Result<Self> {
        let mut store = [0; 16];
        super::id::fill(&mut store)?;
        Ok(Self { store: u128::from_le_bytes(store), next: AtomicU64::new(0) })
    }

    fn name(&self) -> String {
        format!("{:x}.{:x}", self.store, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

struct Store {
    redis: Redis,
    prefix: Arc<str>,
    terms: Terms,
    saves: Saves,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (redis, prefix) = (&self.redis, &self.prefix);
        f.debug_struct("Redis").field("redis", redis).field("prefix", prefix).finish()
    }
}

/// Milliseconds, or -1 for none.
fn millis(duration: Option<Duration>) -> i64 {
    duration.map_or(-1, |duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}

fn text(user: Option<&UserId>) -> &str {
    user.map_or("", UserId::as_str)
}

fn unsettled() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "others kept giving the session to another user; nothing was changed, try again",
    )
}

fn unexpected() -> Error {
    Error::new(ErrorKind::Internal, "a script gave an answer that it has not; this is a bug")
}

/// What a swap starts from where nothing is stored.
#[derive(Clone, Copy)]
struct Base {
    version: u64,
    created_at: WallTime,
}

impl Store {
    fn session_key(&self, handle: &SessionHandle) -> String {
        format!("{}:{{{}}}:s:{}", self.prefix, handle.bucket(), handle.name())
    }

    fn index_key(&self, user: &UserId) -> String {
        format!("{}:{{{}}}:u:{user}", self.prefix, Bucket::of_user(user))
    }

    fn mark_key(&self, user: &UserId, handle: &SessionHandle) -> String {
        format!("{}:{{{}}}:p:{}", self.prefix, Bucket::of_user(user), handle.as_str())
    }

    /// The user's index where it lies in the session's slot, else the session's key again; and
    /// whether it does.
    fn near_index(&self, key: &str, handle: &SessionHandle, user: Option<&UserId>) -> (String, u8) {
        match user {
            Some(user) if Bucket::of_user(user) == handle.bucket() => (self.index_key(user), 1),
            _ => (key.to_owned(), 0),
        }
    }

    /// The user whose index lies in another slot.
    fn far<'a>(&self, handle: &SessionHandle, user: Option<&'a UserId>) -> Option<&'a UserId> {
        user.filter(|user| Bucket::of_user(user) != handle.bucket())
    }

    async fn run(&self, operation: &'static str, command: Command) -> Result<Answer> {
        let value: Value = self.redis.query(operation, command, Effect::Idempotent).await?;
        Answer::read(value)
    }

    /// A script on a session and its user's index in the same slot. Who the user is, is guessed
    /// first and told by the script when that was wrong.
    async fn on_session<F>(
        &self,
        operation: &'static str,
        script: &'static Script,
        handle: &SessionHandle,
        (now, user): (WallTime, Option<&UserId>),
        arguments: F,
    ) -> Result<Answer>
    where
        F: FnOnce(Command) -> Command + Send,
    {
        let key = self.session_key(handle);
        let (index, near) = self.near_index(&key, handle, user);
        let call = script.call(&[&key, &index]);
        let call = call.arg(now.millis()).arg(handle.as_str()).arg(text(user)).arg(near);
        self.run(operation, arguments(call)).await
    }

    async fn store(
        &self,
        handle: &SessionHandle,
        expect: Expect,
        draft: &Draft,
        base: Option<Base>,
    ) -> Result<Swapped> {
        let now = self.terms.now();
        let save = self.saves.name();
        let key = self.session_key(handle);
        let next = draft.user.as_ref();
        let meta = draft.meta.bytes()?;
        let expected = match expect {
            Expect::Absent => "absent".to_owned(),
            Expect::Any => "any".to_owned(),
            Expect::Version(version) => version.to_string(),
        };
        let base = base.unwrap_or(Base { version: 0, created_at: now });
        if let Some(user) = self.far(handle, next) {
            self.enter(user, handle, now, draft.ttl).await?;
        }
        let (next_index, next_near) = self.near_index(&key, handle, next);
        let mut before = if expect == Expect::Absent { None } else { draft.user.clone() };
        for _ in 0..GUESSES {
            let (index, near) = self.near_index(&key, handle, before.as_ref());
            let call = scripts::SAVE
                .call(&[&key, &index, &next_index])
                .arg(now.millis())
                .arg(&expected)
                .arg(&save)
                .arg(millis(Some(draft.ttl)))
                .arg(millis(self.terms.absolute_ttl))
                .arg(handle.as_str())
                .arg(text(before.as_ref()))
                .arg(near)
                .arg(text(next))
                .arg(next_near)
                .arg(draft.data.bytes())
                .arg(meta.as_slice())
                .arg(base.version)
                .arg(base.created_at.millis());
            match self.run("session.redis.swap", call).await? {
                Answer::Stored(stored) => {
                    self.left(handle, before.as_ref(), next).await;
                    return Ok(Swapped::Stored(stored));
                }
                Answer::Conflict(record) => return Ok(Swapped::Conflict(record)),
                Answer::Missing => return Ok(Swapped::Missing),
                Answer::User(user, _) => before = user,
                _ => return Err(unexpected()),
            }
        }
        Err(unsettled())
    }

    /// Takes a session that has gone to another user out of the index of the one before, where
    /// that lies in another slot. A failure is nobody's business: listing looks again.
    async fn left(&self, handle: &SessionHandle, before: Option<&UserId>, next: Option<&UserId>) {
        if let Some(user) = self.far(handle, before).filter(|user| Some(*user) != next) {
            drop(self.leave(user, std::slice::from_ref(handle)).await);
        }
    }

    async fn remove_of(&self, handle: &SessionHandle, only: Option<&UserId>) -> Result<bool> {
        let mut user = only.cloned();
        for _ in 0..GUESSES {
            let at = (self.terms.now(), user.as_ref());
            let call =
                self.on_session("session.redis.remove", &scripts::REMOVE, handle, at, |call| call);
            match call.await? {
                Answer::Removed => {
                    self.left(handle, user.as_ref(), None).await;
                    return Ok(true);
                }
                Answer::Missing => {
                    self.left(handle, user.as_ref(), None).await;
                    return Ok(false);
                }
                Answer::User(..) if only.is_some() => return Ok(false),
                Answer::User(other, _) => user = other,
                _ => return Err(unexpected()),
            }
        }
        Err(unsettled())
    }

    /// Takes the old id of a moved session away, however often that needs to be said.
    async fn take(&self, old: &SessionHandle, origin: &Origin) -> Result<Answer> {
        let (name, user) = (self.saves.name(), origin.user.as_ref());
        let mut tries = 1;
        loop {
            let at = (self.terms.now(), user);
            let call = self.on_session("session.redis.move", &scripts::TAKE, old, at, |call| {
                call.arg(origin.version).arg(&name)
            });
            match call.await {
                Err(_) if tries < TAKES => tries += 1,
                answer => return answer,
            }
        }
    }
}

impl Records for Store {
    const AT_REST: bool = true;

    async fn swap(&self, id: &SessionId, expect: Expect, draft: Draft) -> Result<Swapped> {
        self.store(&id.handle(self.terms.hash_ids), expect, &draft, None).await
    }

    async fn load(&self, id: &SessionId) -> Result<Option<Record>> {
        let key = self.session_key(&id.handle(self.terms.hash_ids));
        let call = Command::new("HMGET").arg(key).arg(&answer::RECORD);
        let value = self.redis.query("session.redis.load", call, Effect::Read).await?;
        let now = self.terms.now();
        Ok(answer::record(value)?.filter(|record| record.lives(now)))
    }

    async fn remove(&self, name: Name<'_>) -> Result<bool> {
        self.remove_of(&self.terms.handle(name), None).await
    }

    async fn extend(&self, name: Name<'_>, ttl: Option<Duration>) -> Result<Option<WallTime>> {
        let handle = self.terms.handle(name);
        let mut user: Option<UserId> = None;
        for _ in 0..GUESSES {
            let now = self.terms.now();
            let call = self.on_session(
                "session.redis.extend",
                &scripts::EXTEND,
                &handle,
                (now, user.as_ref()),
                |call| call.arg(millis(ttl)).arg(millis(self.terms.absolute_ttl)),
            );
            match call.await? {
                Answer::Extended(until) => return Ok(Some(until)),
                Answer::Missing => return Ok(None),
                Answer::User(other, own) => {
                    if let Some(user) = self.far(&handle, other.as_ref()) {
                        self.enter(user, &handle, now, ttl.unwrap_or(own)).await?;
                    }
                    user = other;
                }
                _ => return Err(unexpected()),
            }
        }
        Err(unsettled())
    }

    async fn replace(
        &self,
        old: &SessionId,
        origin: Origin,
        new: &SessionId,
        draft: Draft,
    ) -> Result<Replaced> {
        let hash_ids = self.terms.hash_ids;
        let (old, new) = (old.handle(hash_ids), new.handle(hash_ids));
        let base = Base { version: origin.version, created_at: origin.created_at };
        let stored = match self.store(&new, Expect::Absent, &draft, Some(base)).await {
            Ok(Swapped::Stored(stored)) => stored,
            Ok(_) => return Err(unexpected()),
            Err(error) => {
                // It may be there all the same. The old one is.
                drop(self.remove_of(&new, draft.user.as_ref()).await);
                return Err(error);
            }
        };
        let outcome = match self.take(&old, &origin).await? {
            Answer::Taken => {
                self.left(&old, origin.user.as_ref(), None).await;
                return Ok(Replaced::Stored(stored));
            }
            Answer::Missing => Replaced::Missing,
            Answer::Changed => Replaced::Changed,
            _ => return Err(unexpected()),
        };
        // The copy must not outlive what it was made of.
        self.remove_of(&new, draft.user.as_ref()).await?;
        Ok(outcome)
    }

    async fn list(&self, user: &UserId) -> Result<Vec<Listed>> {
        self.of_user(user).await
    }

    async fn clear(&self, user: &UserId, except: Option<SessionHandle>) -> Result<u64> {
        let listed = self.of_user(user).await?;
        let going = listed.iter().map(|it| &it.handle).filter(|it| Some(*it) != except.as_ref());
        let going: Vec<_> = going.collect();
        let mut cleared = 0;
        for some in going.chunks(index::AT_ONCE) {
            let removed = some.iter().map(|handle| self.remove_of(handle, Some(user)));
            for removed in futures_util::future::try_join_all(removed).await? {
                cleared += u64::from(removed);
            }
        }
        Ok(cleared)
    }

    async fn count(&self) -> Result<u64> {
        self.count_all().await
    }

    async fn page(
        &self,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Listed>, Option<String>)> {
        self.page_of_all(cursor, limit).await
    }
}
