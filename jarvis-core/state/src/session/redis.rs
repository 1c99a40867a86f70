//! [`RedisSessions`]: a session store for many machines, on Redis, Redis Cluster or Sentinel.

mod answer;
mod index;
mod moves;
mod packed;
mod save;
mod scripts;

use std::fmt;
use std::time::Duration;

use futures_util::FutureExt;
use redis::Value;

use super::front::Front;
use super::id::Bucket;
use super::record::{
    Draft, Expect, Listed, Name, Origin, Record, Records, Replaced, Swapped, Terms,
};
use super::store::store;
use super::{SessionHandle, SessionId, SessionPolicy};
use answer::Answer;
use base::clock::{SharedClock, WallTime};
use base::store::redis::{Command, Effect, Redis, Script};
use base::vocabulary::{KeyPrefix, UserId};
use base::{Error, ErrorKind, Result};
use moves::Old;
use packed::Packed;
use save::Saves;

/// What is asked of a session that is prolonged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// Until when it lives.
    Time,
    /// All of it, too.
    Session,
}

/// How often a script is sent again because the session changed its user meanwhile.
const GUESSES: usize = 8;

/// Sessions on Redis, shared by all who use the same [prefix](SessionPolicy::prefix) there. Clones
/// share everything.
///
/// | key | what it is |
/// |---|---|
/// | `jarvis:{bucket}:s:…` | a session, a string; `…` is the hash of its id, or the id where ids are not hashed |
/// | `jarvis:{bucket}:u:USER` | the handles of a user's sessions, a sorted set by expiry |
/// | `jarvis:{bucket}:p:…` | for 30 s: an entry of the set whose session lies in another slot and is being written |
///
/// Both keep a session for up to an eighth of its time to live longer than it lives, so that not every
/// save writes the set, and most extensions write a time and nothing else.
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
/// `regenerate` is one step on a server and behind Sentinels, and on a Cluster where the session keeps
/// its slot: one of nobody does, and one that is its user's already. A session that becomes a user's on
/// a Cluster, at login, changes the slot: it is stored anew and then taken away, in two steps. Who dies
/// between the two leaves the session as it was, and a copy under an id that nobody was ever told,
/// which stands in the user's list until it expires. At no time is there none.
///
/// When the answers to a `delete` or a `regenerate` are lost, it is asked again, and what was done is
/// done once and told as done: for some seconds the key of the session that is gone names who did it.
/// Where all of the answers of a `regenerate` are lost, it ends in an error that is
/// [`Indeterminate`](base::Retry::Indeterminate): the session is where it was, or under an id that
/// nobody knows.
///
/// # What is kept
///
/// A session is acknowledged when Redis has answered. What of that outlives Redis is its
/// configuration: `appendfsync always` keeps all, `everysec` loses up to a second when the machine
/// dies, snapshots alone lose what came after the last. A failover loses what the old master had
/// not yet replicated, a logout among it: such a session is back until it expires. Set
/// `min-replicas-to-write 1`, and `maxmemory-policy noeviction`: evicting a user's set hides the
/// sessions from `list` and `clear`, until they have lived for another eighth of their time.
///
/// Whether a session has expired is judged by the clock of who asks; Redis clears it away by its
/// own. The machines' clocks should agree to a fraction of the time to live.
#[derive(Debug, Clone)]
pub struct RedisSessions(Front<Store>);

store!(RedisSessions, "session.redis");

impl RedisSessions {
    /// The sessions under the policy's prefix on a Redis. Connects nothing.
    ///
    /// # Errors
    /// `ConfigInvalid` for a policy that is invalid; the message names the field.
    pub fn new(redis: &Redis, policy: SessionPolicy, clock: SharedClock) -> Result<Self> {
        let saves = Saves::new()?;
        let (redis, prefix) = (redis.clone(), policy.prefix.clone());
        Front::new(policy, clock, |terms| Store { redis, prefix, terms, saves }).map(Self)
    }
}

struct Store {
    redis: Redis,
    prefix: KeyPrefix,
    terms: Terms,
    saves: Saves,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (redis, prefix) = (&self.redis, &self.prefix);
        f.debug_struct("Redis").field("redis", redis).field("prefix", prefix).finish()
    }
}

fn unsettled() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "other requests kept assigning the session to another user; nothing was changed, try again",
    )
}

/// Milliseconds; nothing for none.
fn millis(duration: Option<Duration>) -> String {
    duration.map_or_else(String::new, |duration| duration.as_millis().to_string())
}

impl Store {
    /// The key of a session; its bucket is at the start of its handle.
    fn session_key(&self, handle: &SessionHandle) -> String {
        self.key(handle.bucket_text(), ":s:", handle.name())
    }

    fn index_key(&self, user: &UserId) -> String {
        self.key(&Bucket::of_user(user).to_string(), ":u:", user.as_str())
    }

    fn key(&self, bucket: &str, kind: &str, name: &str) -> String {
        [self.prefix.as_str(), ":{", bucket, "}", kind, name].concat()
    }

    fn mark_key(&self, user: &UserId, handle: &SessionHandle) -> String {
        self.key(&Bucket::of_user(user).to_string(), ":p:", handle.as_str())
    }

    /// The user's index, where it lies in the session's slot.
    fn near_index(&self, handle: &SessionHandle, user: Option<&UserId>) -> Option<String> {
        let near = user.filter(|user| Bucket::of_user(user) == handle.bucket())?;
        Some(self.key(handle.bucket_text(), ":u:", near.as_str()))
    }

    /// The user whose index lies in another slot.
    fn far<'a>(&self, handle: &SessionHandle, user: Option<&'a UserId>) -> Option<&'a UserId> {
        user.filter(|user| Bucket::of_user(user) != handle.bucket())
    }

    fn run(
        &self,
        operation: &'static str,
        command: Command,
    ) -> impl Future<Output = Result<Answer>> + Send {
        self.run_resent(operation, command).map(|reply| reply.map(|(answer, _)| answer))
    }

    /// And whether it was sent again, because the answer to the first sending was lost.
    fn run_resent(
        &self,
        operation: &'static str,
        command: Command,
    ) -> impl Future<Output = Result<(Answer, bool)>> + Send {
        let reply = self.redis.query_resent::<Value>(operation, command, Effect::Idempotent);
        reply.map(|reply| reply.and_then(|(value, resent)| Ok((Answer::read(value)?, resent))))
    }

    /// A script on a session that is believed to be its user's, and on the index of that user in
    /// the same slot.
    fn on_session(
        &self,
        script: &'static Script,
        handle: &SessionHandle,
        user: Option<&UserId>,
    ) -> Command {
        let mut keys = vec![self.session_key(handle)];
        keys.extend(self.near_index(handle, user));
        script.call(&keys)
    }

    /// Prolongs a session; what it was before, where that is asked for, and until when it lives.
    ///
    /// At first it is believed to be nobody's: as a rule the user does not matter, because the index
    /// has it for longer. Else it is told with the user again, for the same moment, for which the
    /// index in another slot has been written by then.
    async fn prolong(
        &self,
        handle: &SessionHandle,
        ttl: Option<Duration>,
        asked: Asked,
    ) -> Result<Option<(Vec<u8>, WallTime)>> {
        let now = self.terms.now();
        let mut user: Option<UserId> = None;
        for _ in 0..GUESSES {
            let call = self.extend_call(handle, user.as_ref(), now, ttl, asked);
            let found = match self.run("session.redis.extend", call).await? {
                Answer::Done(until) => {
                    return Ok(Some((Vec::new(), WallTime::from_millis(until))));
                }
                Answer::Prolonged { found, until } => return Ok(Some((found, until))),
                answer => answer.found()?,
            };
            let Some(found) = Packed::read(&found)? else { return Ok(None) };
            // One whose times can't be read would be found again and again.
            found.stored()?;
            let (other, own) = (found.user()?, found.ttl()?);
            if let Some(user) = self.far(handle, other.as_ref()) {
                self.enter(user, handle, now, ttl.unwrap_or(own)).await?;
            }
            user = other;
        }
        Err(unsettled())
    }

    fn extend_call(
        &self,
        handle: &SessionHandle,
        user: Option<&UserId>,
        now: WallTime,
        ttl: Option<Duration>,
        asked: Asked,
    ) -> Command {
        let call = self.on_session(&scripts::EXTEND, handle, user);
        let call = call.arg(now.millis()).arg(millis(ttl)).arg(millis(self.terms.absolute_ttl));
        let call = match asked {
            Asked::Time => call.arg(packed::end(user)),
            Asked::Session => call.arg("-1"),
        };
        call.arg(packed::user_belief(user)).arg(handle.as_str())
    }

    /// Takes a session that has gone to another user out of the index of the one before, where
    /// that lies in another slot. A failure is nobody's business: listing looks again.
    async fn left(&self, handle: &SessionHandle, before: Option<&UserId>, next: Option<&UserId>) {
        if let Some(user) = self.far(handle, before.filter(|user| Some(*user) != next)) {
            drop(self.leave(user, std::slice::from_ref(handle)).await);
        }
    }

    async fn remove_of(&self, handle: &SessionHandle, only: Option<&UserId>) -> Result<bool> {
        const OPERATION: &str = "session.redis.remove";
        let (name, mut user) = (self.saves.name(), only.cloned());
        for _ in 0..GUESSES {
            let call = self
                .on_session(&scripts::REMOVE, handle, user.as_ref())
                .arg(packed::user_belief(user.as_ref()))
                .arg(packed::end(user.as_ref()))
                .arg(handle.as_str())
                .arg(self.terms.now().millis())
                .arg(&name)
                .arg(self.repeated_within().as_millis().to_string());
            let answer = self.run(OPERATION, call).await?;
            if matches!(answer, Answer::Done(_) | Answer::Missing) {
                self.left(handle, user.as_ref(), None).await;
                return Ok(matches!(answer, Answer::Done(_)));
            }
            let found = answer.found()?;
            if only.is_some() {
                return Ok(false);
            }
            match Packed::read(&found).and_then(|found| found.map(|it| it.user()).transpose()) {
                Ok(found) => user = found.flatten(),
                // It can't be read, but it can go.
                Err(_) => {
                    let call = Command::new("DEL").arg(self.session_key(handle));
                    let query = self.redis.query::<u64>(OPERATION, call, Effect::Idempotent);
                    return query.await.map(|removed| removed > 0);
                }
            }
        }
        Err(unsettled())
    }
}

impl Records for Store {
    const AT_REST: bool = true;

    async fn swap(&self, id: &SessionId, expect: Expect, draft: Draft) -> Result<Swapped> {
        self.store(&id.handle(self.terms.hash_ids), expect, &draft, None).await
    }

    async fn load(&self, id: &SessionId) -> Result<Option<Record>> {
        let key = self.session_key(&id.handle(self.terms.hash_ids));
        let call = Command::new("GET").arg(key);
        let value: Value = self.redis.query("session.redis.load", call, Effect::Read).await?;
        let bytes = Answer::read(value)?.found()?;
        let record = Packed::read(&bytes)?.map(|packed| packed.record()).transpose()?;
        let now = self.terms.now();
        Ok(record.filter(|record| record.lives(now)))
    }

    async fn remove(&self, name: Name<'_>) -> Result<bool> {
        self.remove_of(&self.terms.handle(name), None).await
    }

    async fn extend(&self, name: Name<'_>, ttl: Option<Duration>) -> Result<Option<WallTime>> {
        let prolonged = self.prolong(&self.terms.handle(name), ttl, Asked::Time).await?;
        Ok(prolonged.map(|(_, until)| until))
    }

    async fn load_and_extend(
        &self,
        id: &SessionId,
        ttl: Option<Duration>,
    ) -> Result<Option<Record>> {
        let handle = id.handle(self.terms.hash_ids);
        let prolonged = self.prolong(&handle, ttl, Asked::Session).await?;
        let Some((found, until)) = prolonged else { return Ok(None) };
        let record = Packed::read(&found)?.map(|packed| packed.record()).transpose()?;
        Ok(record.map(|record| Record { expires_at: until, ..record }))
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
        self.move_to(Old { handle: &old, origin: &origin }, &new, &draft).await
    }

    async fn list(&self, user: &UserId) -> Result<Vec<Listed>> {
        self.of_user(user).await?.readable()
    }

    async fn clear(&self, user: &UserId, except: Option<SessionHandle>) -> Result<u64> {
        let members = self.of_user(user).await?;
        let going =
            members.sessions.iter().map(|it| &it.handle).filter(|it| Some(*it) != except.as_ref());
        let going: Vec<_> = going.collect();
        let mut cleared = 0;
        for some in going.chunks(index::AT_ONCE) {
            let removed = some.iter().map(|handle| self.remove_of(handle, Some(user)));
            for removed in futures_util::future::try_join_all(removed).await? {
                cleared += u64::from(removed);
            }
        }
        for (handle, _) in members.damaged {
            cleared += u64::from(self.remove_of(&handle, None).await?);
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::session::SessionStore;
    use base::clock::SystemClock;
    use base::store::redis::Options;

    /// Blocks of 1,024 bytes and more are slow to get from an allocator that all threads share.
    #[test]
    fn a_load_is_a_small_future() {
        let clock: SharedClock = Arc::new(SystemClock::new());
        let redis = Redis::open("redis://127.0.0.1:1", &Options::new(), clock.clone()).unwrap();
        let store = RedisSessions::new(&redis, SessionPolicy::new(), clock).unwrap();
        let id = SessionId::generate(None).unwrap();
        let size = size_of_val(&*store.load(&id));
        assert!(size < 1_024, "{size} bytes");
    }
}
