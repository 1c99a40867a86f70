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
///   `InvalidInput` or `TooLarge`, also when the cache is not strict. Only a *loaded* value over
///   the size is given to its callers, is not stored, and counts as an error.
/// - Two caches with different namespaces on one storage never see each other.
/// - Not strict: a storage that can't be reached is a miss for reads, `false`, 0 or nothing done
///   for writes, and is counted in [`CacheStats::errors`]. Strict: it is the error. Of many keys at
///   once, what fails for some is done for the others.
///   [`increment`](Cache::increment) and the invalidations are errors in both: what they promise
///   can't be left out quietly.
/// - An entry that was deleted or invalidated is never given again. One that ran out is given only
///   as a stale answer of [`get_or_load`](Cache::get_or_load) that was asked for.
/// - A load never overwrites what was written after it began, nor brings back what was deleted,
///   invalidated or flushed after it began; its callers get what it loaded.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait Cache: Debug + Send + Sync + 'static {
    /// How far away the values are kept.
    ///
    /// # Behavior
    /// - Stays the same.
    /// - With [`Locality::InMemory`] every call is complete on its first poll, and needs no
    ///   runtime; only [`get_or_load`](Cache::get_or_load) may wait for a load, and
    ///   [`close`](Cache::close) for background work.
    fn locality(&self) -> Locality;

    /// The value of a key.
    ///
    /// # Behavior
    /// - `None` when there is none, or it ran out.
    async fn get(&self, key: &str) -> Result<Option<CacheValue>>;

    /// [`get`](Cache::get) where nothing has to be waited for: no future is made, which is much of what
    /// a hit in memory costs.
    ///
    /// # Behavior
    /// - What `get` would answer, and counted so; `None` where only that can tell, and nothing is
    ///   counted then.
    /// - A server is never asked: where there are copies of its values in memory, those are looked at.
    fn get_now(&self, key: &str) -> Option<Result<Option<CacheValue>>> {
        let _ = key;
        None
    }

    /// Stores a value, and says whether it did.
    ///
    /// # Behavior
    /// - Replaces value, lifetime and tags as a whole.
    /// - `false`, and nothing changed, when its [`Condition`] does not hold.
    /// - Without a lifetime of its own it lives for the policy's: 5 minutes.
    /// - A zero lifetime is `InvalidInput`.
    /// - More than 4 tags are `InvalidInput`.
    async fn set(&self, key: &str, value: CacheValue, options: SetOptions) -> Result<bool>;

    /// Removes keys, and says how many there were.
    ///
    /// # Behavior
    /// - Idempotent; one named twice counts once.
    async fn delete(&self, keys: &[String]) -> Result<u64>;

    /// Is there a value?
    ///
    /// # Behavior
    /// - As [`get`](Cache::get), and is neither a hit nor a miss.
    async fn exists(&self, key: &str) -> Result<bool>;

    /// [`get`](Cache::get) for many keys, answered in their order.
    ///
    /// # Behavior
    /// - The same answers as one by one, in one trip to the storage, or one a node.
    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<CacheValue>>>;

    /// [`set`](Cache::set) for many entries with the same options; how many were stored.
    ///
    /// # Behavior
    /// - Each for itself: not atomic over keys.
    async fn set_many(&self, entries: Vec<Entry>, options: SetOptions) -> Result<u64>;

    /// Adds to a number, and gives the sum.
    ///
    /// # Behavior
    /// - Atomic: no addition is lost.
    /// - A key that is not there starts from 0, and `lifetime` (else the policy's) begins then;
    ///   later additions don't prolong it.
    /// - A value that is no whole number, and a sum beyond 64 bits, are `InvalidInput`; nothing
    ///   changes.
    /// - The number can be read with [`get`](Cache::get), as decimal text.
    async fn increment(&self, key: &str, by: i64, lifetime: Option<Lifetime>) -> Result<i64>;

    /// Gives a key a new lifetime, from now.
    ///
    /// # Behavior
    /// - `false` when there is no value.
    async fn expire(&self, key: &str, lifetime: Lifetime) -> Result<bool>;

    /// How long a key will still live.
    ///
    /// # Behavior
    /// - `None` when there is no value; [`Lifetime::Unlimited`] when it has no end.
    async fn lifetime(&self, key: &str) -> Result<Option<Lifetime>>;

    /// Makes every entry with this tag miss from now on.
    ///
    /// # Behavior
    /// - In constant time, however many entries there are.
    /// - What is stored with the tag afterwards is not touched. A value whose load began before
    ///   is not stored as fresh.
    async fn invalidate_tag(&self, tag: &str) -> Result<()>;

    /// Removes the keys that match a glob (`*`, `?`, `[a-z]`, `\` takes the next literally), and
    /// says how many.
    ///
    /// # Behavior
    /// - Looks at every key of the storage: O(keys). Never blocks it for others; tags are the
    ///   fast way.
    /// - Keys are matched within the namespace only, byte by byte: `?` is one byte. What people
    ///   typed goes through [`escape_pattern`].
    /// - A class without an end, and a `\` at the end, are `InvalidInput`.
    /// - Entries that ran out or were invalidated, but still take room, may be counted.
    /// - What is written while it runs, also by a load that began before, may stay or go.
    async fn invalidate_pattern(&self, pattern: &str) -> Result<u64>;

    /// Makes every entry of the namespace miss.
    ///
    /// # Behavior
    /// - Other namespaces are not touched.
    /// - What is written while it runs may stay or go.
    async fn flush(&self) -> Result<()>;

    /// What this handle's process has seen since it was opened.
    ///
    /// # Behavior
    /// - Every read is a hit, a miss or an error.
    async fn stats(&self) -> Result<CacheStats>;

    /// The value of a key, loaded when there is none.
    ///
    /// # Behavior
    /// - However many callers ask at once, in this process and in others on the same storage,
    ///   one loads and the others get what it loaded.
    /// - Callers of one process with the same key share the options and the loader of the first.
    /// - Who asks after a deletion, an invalidation or a flush of this cache joins no load that began
    ///   before it.
    /// - A failed load is given to all who waited in this process, and nothing is stored. A caller
    ///   that is dropped while it loads hands over to one who waits.
    /// - Where another process loads, this one waits for it at most
    ///   [`LoadOptions::wait`], then loads itself.
    /// - With `stale`, a value that ran out no longer ago is given at once while one refresh
    ///   runs in the background; and it is given when a load fails.
    /// - Without a tokio runtime to refresh in, and after [`close`](Cache::close), the caller
    ///   refreshes by itself, and gets the old value when that fails.
    /// - With `early`, one caller refreshes in the background shortly before the value runs out,
    ///   the sooner the longer a load takes, so that nobody has to wait (`XFetch`: Vattani,
    ///   Chierichetti, Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015).
    /// - A storage that is down makes it a load, not an error, unless strict.
    async fn get_or_load(
        &self,
        key: &str,
        options: LoadOptions,
        load: Loader,
    ) -> Result<CacheValue>;

    /// Lets background work end, for at most 5 seconds, and stops listening for invalidations.
    ///
    /// # Behavior
    /// - Idempotent. Reading and writing go on to work.
    async fn close(&self) -> Result<()>;
}

/// The default lifetime of an entry.
pub const DEFAULT_TTL: Duration = Duration::from_secs(300);

/// How many tags an entry may have.
pub const MAX_TAGS: usize = 4;
