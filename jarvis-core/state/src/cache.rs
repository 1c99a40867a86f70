//! Cache: values kept by key for a limited time. [`Cache`] offers single flight, early refresh, stale
//! answers and tags.
//!
//! A cache fails open: while its storage is down, reads are misses and failures are counted in
//! [`CacheStats`], unless it was opened `strict`. Data that must not be lost belongs in a store.

mod ext;
mod front;
mod glob;
mod load;
mod memory;
mod meter;
#[cfg(feature = "redis")]
mod near;
mod policy;
#[cfg(feature = "redis")]
mod redis;
mod storage;
mod types;
mod value;

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

#[cfg(feature = "redis")]
pub use self::redis::RedisCache;
pub use ext::{CacheExt, json_loader};
pub use glob::escape_pattern;
pub use memory::MemoryCache;
#[cfg(feature = "redis")]
pub use near::NearCache;
pub use policy::CachePolicy;
pub use types::{CacheStats, Condition, Entry, Lifetime, LoadOptions, SetOptions};
pub use value::CacheValue;

use base::Result;
use base::vocabulary::Locality;

/// A load under way.
pub type Loading = Pin<Box<dyn Future<Output = Result<CacheValue>> + Send + 'static>>;

/// Computes the value of a key that is not in the cache. It is called for every load, possibly
/// after its caller has returned: a refresh runs in the background.
pub type Loader = Arc<dyn Fn() -> Loading + Send + Sync + 'static>;

/// A [`Loader`] from an async closure.
pub fn loader<F, Fut>(load: F) -> Loader
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<CacheValue>> + Send + 'static,
{
    Arc::new(move || Box::pin(load()))
}

/// A cache: stores values by key for a limited time, within one namespace.
///
/// # Contract
/// - Keys have 1 to 512 bytes, tags 1 to 128, values up to the policy's size; anything else is
///   `InvalidInput` or `TooLarge`, even if the cache is not strict. A *loaded* value over the size
///   is returned to its callers, is not stored, and counts as an error.
/// - Caches with different namespaces on one storage are independent.
/// - When the storage is unreachable, a cache that is not strict misses on reads, returns `false`,
///   0 or nothing for writes, and counts the failure in [`CacheStats::errors`]; a strict cache
///   returns the error. In calls with many keys, a failure of some keys does not affect the others.
///   [`increment`](Cache::increment) and the invalidations return errors in both modes, because
///   skipping them would break their promise.
/// - A deleted or invalidated entry is never returned again. An expired entry is returned only as a
///   stale answer that the caller of [`get_or_load`](Cache::get_or_load) allowed.
/// - A load never overwrites a value that was written after the load began, and never restores an
///   entry that was deleted, invalidated or flushed after it began. Its callers still receive the
///   loaded value.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait Cache: Debug + Send + Sync + 'static {
    /// Where the values are stored: in memory or on a server.
    ///
    /// # Behavior
    /// - The answer never changes.
    /// - With [`Locality::InMemory`] every call completes on its first poll and needs no
    ///   runtime; only [`get_or_load`](Cache::get_or_load) may wait for a load, and
    ///   [`close`](Cache::close) for background work.
    fn locality(&self) -> Locality;

    /// The value of a key.
    ///
    /// # Behavior
    /// - `None` if it does not exist or has expired.
    async fn get(&self, key: &str) -> Result<Option<CacheValue>>;

    /// [`get`](Cache::get) where nothing has to be waited for: no future is made, which is much of what
    /// a hit in memory costs.
    ///
    /// # Behavior
    /// - The same result and counters as `get`; `None`, without counting, if only `get` can answer.
    /// - It never contacts a server; it may use copies of the server's values in memory.
    fn get_now(&self, key: &str) -> Option<Result<Option<CacheValue>>> {
        let _ = key;
        None
    }

    /// Stores a value, and returns whether it was stored.
    ///
    /// # Behavior
    /// - Replaces value, lifetime and tags as a whole.
    /// - `false`, without any change, if its [`Condition`] does not hold.
    /// - The default lifetime is the policy's: 5 minutes.
    /// - A zero lifetime is `InvalidInput`.
    /// - More than 4 tags are `InvalidInput`.
    async fn set(&self, key: &str, value: CacheValue, options: SetOptions) -> Result<bool>;

    /// Removes keys, and returns how many of them existed.
    ///
    /// # Behavior
    /// - Idempotent; a key that is given twice counts once.
    async fn delete(&self, keys: &[String]) -> Result<u64>;

    /// Returns whether a key has a value.
    ///
    /// # Behavior
    /// - As [`get`](Cache::get), but counts neither as a hit nor as a miss.
    async fn exists(&self, key: &str) -> Result<bool>;

    /// [`get`](Cache::get) for many keys; the results are in the order of the keys.
    ///
    /// # Behavior
    /// - One round trip to the storage, or one to each node of a cluster.
    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<CacheValue>>>;

    /// [`set`](Cache::set) for many entries with the same options; returns how many were stored.
    ///
    /// # Behavior
    /// - Each entry is stored separately: not atomic across keys.
    async fn set_many(&self, entries: Vec<Entry>, options: SetOptions) -> Result<u64>;

    /// Adds to a number, and returns the sum.
    ///
    /// # Behavior
    /// - Atomic: no addition is lost.
    /// - A missing key starts from 0 with the given `lifetime` (or the policy's); later additions
    ///   do not extend it.
    /// - A value that is not a whole number, and a sum beyond 64 bits, are `InvalidInput`; nothing
    ///   changes.
    /// - [`get`](Cache::get) returns the number as decimal text.
    async fn increment(&self, key: &str, by: i64, lifetime: Option<Lifetime>) -> Result<i64>;

    /// Sets a new lifetime for a key, from now.
    ///
    /// # Behavior
    /// - `false` if the key has no value.
    async fn expire(&self, key: &str, lifetime: Lifetime) -> Result<bool>;

    /// The remaining lifetime of a key.
    ///
    /// # Behavior
    /// - `None` if the key has no value; [`Lifetime::Unlimited`] if it never expires.
    async fn lifetime(&self, key: &str) -> Result<Option<Lifetime>>;

    /// Invalidates all entries with this tag.
    ///
    /// # Behavior
    /// - Takes constant time, independent of the number of entries.
    /// - Entries that are stored with the tag afterwards are not affected. A value whose load began
    ///   before is not stored as fresh.
    async fn invalidate_tag(&self, tag: &str) -> Result<()>;

    /// Removes the keys that match a glob (`*`, `?`, `[a-z]`; `\` escapes the next character), and
    /// returns their number.
    ///
    /// # Behavior
    /// - Scans every key of the storage: O(keys), without blocking it for others. Tags are faster.
    /// - Matches only keys of the namespace, byte by byte: `?` is one byte. Escape user input with
    ///   [`escape_pattern`].
    /// - A class without an end, and a `\` at the end, are `InvalidInput`.
    /// - Expired or invalidated entries that still occupy space may be counted.
    /// - Entries that are written during the call, also by a load that began before, may or may not
    ///   be removed.
    async fn invalidate_pattern(&self, pattern: &str) -> Result<u64>;

    /// Invalidates all entries of the namespace.
    ///
    /// # Behavior
    /// - Other namespaces are not affected.
    /// - Entries that are written during the call may or may not be removed.
    async fn flush(&self) -> Result<()>;

    /// Counters of this process since the cache was opened.
    ///
    /// # Behavior
    /// - Every read is a hit, a miss or an error.
    async fn stats(&self) -> Result<CacheStats>;

    /// The value of a key; it is loaded if absent.
    ///
    /// # Behavior
    /// - Single flight: of all concurrent callers, in this process and in others on the same
    ///   storage, one loads and the others receive its value.
    /// - Concurrent callers of one process with the same key share the options and the loader of
    ///   the first.
    /// - A caller that starts after a deletion, an invalidation or a flush of this cache never joins
    ///   a load that began before it.
    /// - A load error goes to all waiting callers in this process, and nothing is stored. If a
    ///   caller is dropped while it loads, a waiting caller takes over.
    /// - If another process loads, this one waits up to [`LoadOptions::wait`], then loads itself.
    /// - With `stale`, a value that expired within that time is returned at once while one refresh
    ///   runs in the background; it is also returned if a load fails.
    /// - Without a Tokio runtime for the refresh, and after [`close`](Cache::close), the caller
    ///   itself refreshes, and receives the old value if that fails.
    /// - With `early`, one caller refreshes in the background shortly before the value expires,
    ///   earlier for slower loads, so that no caller waits (`XFetch`: Vattani, Chierichetti,
    ///   Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015).
    /// - While the storage is down, the value is loaded; a strict cache returns the error.
    async fn get_or_load(
        &self,
        key: &str,
        options: LoadOptions,
        load: Loader,
    ) -> Result<CacheValue>;

    /// Waits up to 5 seconds for background work to end, and stops listening for invalidations.
    ///
    /// # Behavior
    /// - Idempotent. Reads and writes continue to work.
    async fn close(&self) -> Result<()>;
}

/// The default lifetime of an entry.
pub const DEFAULT_TTL: Duration = Duration::from_secs(300);

/// How many tags an entry may have.
pub const MAX_TAGS: usize = 4;
