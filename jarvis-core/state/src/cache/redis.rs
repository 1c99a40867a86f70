//! `redis://`, `redis+cluster://`, `redis+sentinel://`: a cache shared by processes.

mod announce;
mod envelope;
mod keys;
mod read;
mod scripts;
mod turn;
mod walk;
mod write;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

pub(super) use announce::Change;
use keys::{Ids, Keys};
pub(super) use read::Tagged;
use read::{Hints, Part};
pub(super) use turn::RedisTicket;

use super::front::{Front, cache_over_front};
use super::storage::{Age, Begun, Counts, Done, EVERY_READ, Found, Look, Storage, Terms, Write};
use super::{
    CachePolicy, CacheStats, CacheValue, Condition, Entry, Lifetime, LoadOptions, Loader,
    SetOptions,
};
use base::Result;
use base::clock::SharedClock;
use base::store::redis::{Command, Effect, Redis};

/// So many commands go out together: what many keys need must not fill the queue of the others.
const BATCH: usize = 1_000;

/// A cache in Redis, shared by all processes with the same namespace. Clones share it.
///
/// - An answer within [`CachePolicy::deadline`], and at once while the server is known to be down: of one
///   that hangs, once it has been silent for the deadline of the [`Redis`] handle (default: 1 s).
///   Unless strict, that answer is a miss.
/// - A read is one trip. The first read of a key with tags, or with stale time, needs a second one
///   for what it could not foresee; what a key has is remembered.
/// - A tag has a version, which its entries carry; invalidating the tag removes the version. The
///   next one is drawn at random, so that neither eviction nor a server whose clock steps back ever
///   brings an old entry back. A version lives longer than any entry that carries it.
/// - A process that loads holds a lock and gives a sign of life every second. Others look for its result
///   every 20 to 50 ms, and take over when it was silent for 3 seconds.
/// - What was loaded is stored only while that lock is there, however long it took: a deletion removes
///   it. A lock of a process that died lies there for 10 minutes.
/// - [`stats`](super::Cache::stats) asks the servers for evictions, which are those of all their
///   users. How many entries a namespace has can't be told without a walk.
/// - Redis acknowledges before it replicates: an invalidation just before a failover can be lost
///   with the master that took it.
#[derive(Debug, Clone)]
pub struct RedisCache(Arc<Front<RedisStorage>>);

impl RedisCache {
    /// A cache on this Redis. Connects nothing.
    ///
    /// # Errors
    /// `ConfigInvalid` for a policy that can't hold.
    pub fn new(redis: &Redis, policy: CachePolicy, clock: SharedClock) -> Result<Self> {
        let storage = RedisStorage::new(redis, &policy)?;
        Ok(Self(Arc::new(Front::new(storage, policy, clock)?)))
    }
}

cache_over_front!(RedisCache, Remote);

/// Entries of one namespace in Redis.
#[derive(Debug)]
pub(super) struct RedisStorage {
    redis: Redis,
    deadline: Duration,
    keys: Keys,
    ids: Ids,
    hints: Hints,
    announces: bool,
}

impl RedisStorage {
    pub(super) fn new(redis: &Redis, policy: &CachePolicy) -> Result<Self> {
        policy.validate()?;
        Ok(Self {
            redis: redis.clone().with_deadline(policy.deadline),
            deadline: policy.deadline,
            keys: Keys::new(&policy.prefix, &policy.namespace),
            ids: Ids::new()?,
            hints: Hints::new(),
            announces: policy.near,
        })
    }

    pub(super) fn redis(&self) -> &Redis {
        &self.redis
    }

    /// Where changes are announced.
    pub(super) fn channel(&self) -> String {
        self.keys.channel()
    }

    /// Sends commands, at most [`BATCH`] at once, and gives the answers in their order.
    async fn ask_all(
        &self,
        operation: &'static str,
        mut commands: Vec<Command>,
        effect: Effect,
    ) -> Vec<Result<redis::Value>> {
        if commands.len() == 1
            && let Some(one) = commands.pop()
        {
            return vec![self.redis.query(operation, one, effect).await];
        }
        let mut answers = Vec::with_capacity(commands.len());
        for batch in commands.chunks(BATCH) {
            answers.extend(self.redis.pipeline(operation, batch, effect).await);
        }
        answers
    }

    /// Several entries with their tags, in the order of the keys.
    pub(super) async fn read_many_tagged(
        &self,
        keys: &[&str],
        look: Look<'_>,
    ) -> Vec<Result<Option<Tagged>>> {
        self.read_each(keys, look, Part::Whole).await
    }

    async fn evictions(&self) -> Result<u64> {
        let masters = self.redis.masters("cache.stats").await?;
        let asked = masters.iter().map(|master| async move {
            let info = Command::new("INFO").arg("stats");
            let info: String =
                self.redis.query_at(master, "cache.stats", info, Effect::Read).await?;
            let evicted = info.lines().find_map(|line| line.strip_prefix("evicted_keys:"));
            Ok(evicted.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(0))
        });
        join_all(asked).await.into_iter().sum()
    }
}

impl Storage for RedisStorage {
    type Ticket = RedisTicket;

    const TIMED: u64 = EVERY_READ;

    async fn read(&self, key: &str, look: Look<'_>) -> Result<Option<Found>> {
        Ok(self.read_tagged(key, look).await?.map(|read| read.found))
    }

    async fn read_many(&self, keys: &[String]) -> Vec<Result<Option<Found>>> {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let read = self.read_each(&keys, Look::default(), Part::Whole).await;
        read.into_iter().map(|read| Ok(read?.map(|read| read.found))).collect()
    }

    async fn look(&self, key: &str) -> Result<Option<Age>> {
        let look = Look { timed: true, ..Look::default() };
        let mut read = self.read_each(&[key], look, Part::Header).await;
        Ok(read.pop().unwrap_or(Ok(None))?.map(|read| read.found.age))
    }

    async fn write(&self, writes: Vec<Write>, tags: &[String], condition: Condition) -> Done {
        self.write_all(writes, tags, condition).await
    }

    async fn remove(&self, keys: &[String]) -> Done {
        self.remove_all(keys).await
    }

    async fn add(&self, key: &str, by: i64, ttl: Option<Duration>) -> Result<i64> {
        self.add_to(key, by, ttl).await
    }

    async fn expire(&self, key: &str, ttl: Option<Duration>) -> Result<bool> {
        self.expire_at(key, ttl).await
    }

    async fn begin(&self, key: &str, terms: &Terms) -> Result<Begun<RedisTicket>> {
        self.begin_turn(key, terms).await
    }

    fn keep_every(&self) -> Option<Duration> {
        Some(turn::KEEP_EVERY)
    }

    async fn keep(&self, key: &str, ticket: &RedisTicket) -> Result<()> {
        self.keep_turn(key, ticket).await
    }

    async fn finish(
        &self,
        key: &str,
        ticket: RedisTicket,
        value: &CacheValue,
        terms: &Terms,
    ) -> Result<()> {
        self.finish_turn(key, ticket, value, terms).await
    }

    async fn abandon(&self, key: &str, ticket: RedisTicket) -> Result<()> {
        self.abandon_turn(key, &ticket).await
    }

    async fn invalidate_tag(&self, tag: &str) -> Result<()> {
        self.drop_tag(tag).await
    }

    async fn remove_matching(&self, pattern: &str) -> Result<u64> {
        self.remove_matching_all(pattern).await
    }

    async fn flush(&self) -> Result<()> {
        self.flush_all().await
    }

    async fn counts(&self) -> Result<Counts> {
        Ok(Counts { evictions: self.evictions().await?, entries: None })
    }

    async fn close(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Cache;
    use base::clock::SystemClock;
    use base::store::redis::Options;

    /// As a load of a session is, and for the same reason.
    #[test]
    fn a_get_is_a_small_future() {
        let clock: SharedClock = Arc::new(SystemClock::new());
        let redis = Redis::open("redis://127.0.0.1:1", &Options::new(), clock.clone()).unwrap();
        let cache = RedisCache::new(&redis, CachePolicy::new("test"), clock).unwrap();
        let size = size_of_val(&*cache.get("key"));
        assert!(size < 1_024, "{size} bytes");
    }
}
