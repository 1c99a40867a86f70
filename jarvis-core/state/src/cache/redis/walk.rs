//! What looks at every key: invalidation by pattern, and the flush.
//!
//! A flush walks too. A version of the namespace that every read compares would make it O(1), and
//! every read pay for it: one more key, and in a Cluster one more node. A flush is rare and an
//! operator's; reads are not.

use std::time::Duration;

use futures_util::future::try_join_all;

use super::RedisStorage;
use super::announce::Change;
use base::store::redis::{Command, Effect, Redis};
use base::{Error, Result};

/// About how many keys the server looks at before it serves others again. Measured on a million
/// keys (Redis 7.0): 100 takes twice as long, 10,000 holds others up for 11 ms.
const COUNT: usize = 1_000;
/// A step of a walk is longer than a look-up, and nobody's request waits for it.
const STEP_DEADLINE: Duration = Duration::from_secs(1);

impl RedisStorage {
    /// Removes what the pattern matches on every master at once; how many entries.
    async fn walk(&self, operation: &'static str, pattern: &str) -> Result<u64> {
        let redis = self.redis.clone().with_deadline(self.deadline.max(STEP_DEADLINE));
        let masters = redis.masters(operation).await?;
        let walks = masters.iter().map(|master| async {
            let (mut cursor, mut removed) = (0, 0);
            loop {
                let step = redis.scan(master, operation, (cursor, COUNT), pattern);
                let (next, names) = step.await?;
                removed += self.clear(&redis, operation, names).await?;
                if next == 0 {
                    return Ok::<u64, Error>(removed);
                }
                cursor = next;
            }
        });
        Ok(try_join_all(walks).await?.into_iter().sum())
    }

    pub(super) async fn remove_matching_all(&self, pattern: &str) -> Result<u64> {
        let removed = self.walk("cache.invalidate_pattern", &self.keys.matching(pattern)).await?;
        self.announce(Change::pattern(pattern)).await?;
        Ok(removed)
    }

    pub(super) async fn flush_all(&self) -> Result<()> {
        self.walk("cache.flush", &self.keys.everything()).await?;
        self.announce(Change::Everything).await
    }

    /// Afterwards: what was read before and is copied later was removed by then.
    async fn announce(&self, change: Change<'_>) -> Result<()> {
        let (channel, message) = self.announcement(&change);
        if channel.is_empty() {
            return Ok(());
        }
        let publish = Command::new("PUBLISH").arg(channel).arg(message);
        let _: i64 = self.redis.query("cache.announce", publish, Effect::Idempotent).await?;
        Ok(())
    }
    /// Removes these keys, and says how many of them were entries. Locks first: a load that lost its
    /// ticket stores nothing any more.
    async fn clear(
        &self,
        redis: &Redis,
        operation: &'static str,
        names: Vec<Vec<u8>>,
    ) -> Result<u64> {
        let (locks, entries): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|name| self.keys.is_lock(name));
        redis.unlink(operation, &locks).await?;
        redis.unlink(operation, &entries).await
    }
}
