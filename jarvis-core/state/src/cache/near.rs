//! `near = true`: copies in this process, in front of Redis.

mod copies;
mod listen;

use std::sync::Arc;
use std::time::Duration;

use copies::Copies;
use listen::listen;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::front::{Front, cache_over_front};
use super::redis::{RedisStorage, RedisTicket, Tagged};
use super::storage::{Age, Begun, Counts, Done, Found, Look, SOME_READS, Storage, Terms, Write};
use super::{
    CachePolicy, CacheStats, CacheValue, Condition, Entry, Lifetime, LoadOptions, Loader,
    SetOptions,
};
use base::Result;
use base::clock::SharedClock;
use base::store::redis::Redis;
use base::sync::Mutex;

/// A cache in Redis with copies of what was read in this process. Clones share it.
///
/// - What any cache of the namespace with [`CachePolicy::near`] changes is announced over Pub/Sub
///   and dropped here. Own changes are seen once they are answered, those of others when the
///   announcement arrives, usually within a millisecond; so is an own one whose caller went away.
///   What must be read as it is *now* is read through [`RedisCache`](super::RedisCache).
/// - While the announcements can't be heard there are no copies: all are dropped when the connection
///   is lost, and every read goes to Redis until it is back. A connection that died without a word
///   is noticed by the subscription's heartbeat; no copy is used for longer than
///   [`CachePolicy::near_ttl`].
/// - In a Cluster a write that a failover loses may be a copy here, where another node than the one
///   that failed is listened to. Here too [`CachePolicy::near_ttl`] is the end of it.
/// - A writer whose policy does not say [`near`](CachePolicy::near) announces nothing, and its
///   changes are seen when the copies end. [`NearCache::new`] switches it on for itself.
/// - Copies are made inside a tokio runtime only, from the first read on.
/// - Otherwise as [`RedisCache`](super::RedisCache).
#[derive(Debug, Clone)]
pub struct NearCache(Arc<Front<NearStorage>>);

impl NearCache {
    /// A cache on this Redis, with copies. Connects nothing.
    ///
    /// # Errors
    /// `ConfigInvalid` for a policy that can't hold.
    pub fn new(redis: &Redis, policy: CachePolicy, clock: SharedClock) -> Result<Self> {
        let policy = policy.with_near(true);
        let storage = NearStorage {
            far: RedisStorage::new(redis, &policy)?,
            copies: Arc::new(Copies::new(&policy, Arc::clone(&clock))),
            listener: Mutex::new(Listener::Waiting),
        };
        Ok(Self(Arc::new(Front::new(storage, policy, clock)?)))
    }

    /// Are copies in use? Not before the first read, nor while changes can't be heard of.
    #[must_use]
    pub fn is_copying(&self) -> bool {
        self.0.storage.copies.hear()
    }
}

cache_over_front!(NearCache, Near);

/// Who hears what others announce.
#[derive(Debug)]
enum Listener {
    /// Nobody so far.
    Waiting,
    Running(JoinHandle<()>),
    Closed,
}

/// Copies in front of Redis.
#[derive(Debug)]
pub(super) struct NearStorage {
    far: RedisStorage,
    copies: Arc<Copies>,
    listener: Mutex<Listener>,
}

impl Drop for NearStorage {
    fn drop(&mut self) {
        self.end(Listener::Closed);
    }
}

impl NearStorage {
    fn end(&self, then: Listener) {
        let mut listener = self.listener.lock();
        if let Listener::Running(task) = std::mem::replace(&mut *listener, then) {
            task.abort();
        }
        self.copies.deafen();
    }

    /// Begins to listen, where that has not happened and there is a runtime; again where the one
    /// that it ran in has ended.
    fn listen(&self) {
        if self.copies.hear() {
            return;
        }
        let mut listener = self.listener.lock();
        let needed = match &*listener {
            Listener::Waiting => true,
            Listener::Running(task) => task.is_finished(),
            Listener::Closed => false,
        };
        if let (true, Ok(runtime)) = (needed, Handle::try_current()) {
            let task =
                listen(self.far.redis().clone(), self.far.channel(), Arc::clone(&self.copies));
            *listener = Listener::Running(runtime.spawn(task));
        }
    }

    fn copied(&self, key: &str) -> Option<Found> {
        self.copies.find(key).filter(Found::is_fresh).map(|found| Found { near: true, ..found })
    }

    fn copy(&self, key: &str, mark: copies::Mark, read: Option<Tagged>) -> Option<Found> {
        let read = read?;
        self.copies.keep(key, mark, &read.found, &read.tags);
        Some(read.found)
    }

    /// Drops own copies after a change, whatever became of it: it may have been applied.
    fn forgetting<T>(&self, keys: &[&str], result: T) -> T {
        keys.iter().for_each(|key| self.copies.forget(key));
        result
    }
}

impl Storage for NearStorage {
    type Ticket = RedisTicket;

    const TIMED: u64 = SOME_READS;

    async fn read(&self, key: &str, look: Look<'_>) -> Result<Option<Found>> {
        self.listen();
        if let Some(found) = self.copied(key) {
            return Ok(Some(found));
        }
        let mark = self.copies.mark(key);
        let look = Look { timed: true, ..look };
        let read = self.far.read_tagged(key, look).await?;
        Ok(self.copy(key, mark, read))
    }

    fn read_now(&self, key: &str) -> Option<Option<Found>> {
        self.copied(key).map(Some)
    }

    async fn read_many(&self, keys: &[String]) -> Vec<Result<Option<Found>>> {
        self.listen();
        let mut found: Vec<_> = keys.iter().map(|key| Ok(self.copied(key))).collect();
        let missing: Vec<usize> =
            (0..keys.len()).filter(|at| matches!(found[*at], Ok(None))).collect();
        let marks: Vec<_> = missing.iter().map(|at| self.copies.mark(&keys[*at])).collect();
        let far: Vec<&str> = missing.iter().map(|at| keys[*at].as_str()).collect();
        let look = Look { timed: true, ..Look::default() };
        let read = self.far.read_many_tagged(&far, look).await;
        for ((at, mark), read) in missing.into_iter().zip(marks).zip(read) {
            found[at] = read.map(|read| self.copy(&keys[at], mark, read));
        }
        found
    }

    async fn look(&self, key: &str) -> Result<Option<Age>> {
        self.listen();
        self.far.look(key).await
    }

    async fn write(&self, writes: Vec<Write>, tags: &[String], condition: Condition) -> Done {
        let keys: Vec<String> = writes.iter().map(|write| write.key.clone()).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let written = self.far.write(writes, tags, condition).await;
        self.forgetting(&keys, written)
    }

    async fn remove(&self, keys: &[String]) -> Done {
        let names: Vec<&str> = keys.iter().map(String::as_str).collect();
        let removed = self.far.remove(keys).await;
        self.forgetting(&names, removed)
    }

    async fn add(&self, key: &str, by: i64, ttl: Option<Duration>) -> Result<i64> {
        let sum = self.far.add(key, by, ttl).await;
        self.forgetting(&[key], sum)
    }

    async fn expire(&self, key: &str, ttl: Option<Duration>) -> Result<bool> {
        let done = self.far.expire(key, ttl).await;
        self.forgetting(&[key], done)
    }

    async fn begin(&self, key: &str, terms: &Terms) -> Result<Begun<RedisTicket>> {
        self.far.begin(key, terms).await
    }

    fn keep_every(&self) -> Option<Duration> {
        self.far.keep_every()
    }

    async fn keep(&self, key: &str, ticket: &RedisTicket) -> Result<()> {
        self.far.keep(key, ticket).await
    }

    async fn finish(
        &self,
        key: &str,
        ticket: RedisTicket,
        value: &CacheValue,
        terms: &Terms,
    ) -> Result<()> {
        let finished = self.far.finish(key, ticket, value, terms).await;
        self.forgetting(&[key], finished)
    }

    async fn abandon(&self, key: &str, ticket: RedisTicket) -> Result<()> {
        self.far.abandon(key, ticket).await
    }

    async fn invalidate_tag(&self, tag: &str) -> Result<()> {
        let done = self.far.invalidate_tag(tag).await;
        self.copies.forget_tag(tag);
        done
    }

    async fn remove_matching(&self, pattern: &str) -> Result<u64> {
        let removed = self.far.remove_matching(pattern).await;
        self.copies.forget_matching(pattern);
        removed
    }

    async fn flush(&self) -> Result<()> {
        let done = self.far.flush().await;
        self.copies.forget_all();
        done
    }

    async fn counts(&self) -> Result<Counts> {
        self.far.counts().await
    }

    async fn close(&self) {
        self.end(Listener::Closed);
    }
}
