//! `memory:`: a cache within one process; the reference implementation.

#[cfg(feature = "redis")]
mod copies;
mod storage;
mod tags;

use std::sync::Arc;

pub(super) use storage::MemoryStorage;

use super::front::{Front, cache_over_front};
use super::{
    CachePolicy, CacheStats, CacheValue, Entry, Lifetime, LoadOptions, Loader, SetOptions,
};
use base::Result;
use base::clock::SharedClock;

/// A cache in this process. Clones share it.
///
/// - Every call but a load completes on its first poll and needs no runtime. Without one, a value
///   that should be refreshed in the background is loaded by the caller.
/// - Lifetimes follow the clock's boot time: they go on while the machine sleeps, and a step of
///   the wall clock changes nothing.
/// - When [`CachePolicy::max_memory_bytes`] is used up, what is asked for least goes (W-TinyLFU);
///   that may be what was stored last.
///
/// ```
/// use std::sync::Arc;
/// use jarvis_core::cache::{Cache, CachePolicy, MemoryCache, SetOptions};
/// use jarvis_core::clock::SystemClock;
///
/// # async fn example() -> jarvis_core::Result<()> {
/// let cache = MemoryCache::new(CachePolicy::new("shop"), Arc::new(SystemClock::new()))?;
/// cache.set("greeting", "hello".into(), SetOptions::new()).await?;
/// assert_eq!(cache.get("greeting").await?.as_deref(), Some(&b"hello"[..]));
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(example()).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct MemoryCache(Arc<Front<MemoryStorage>>);

impl MemoryCache {
    /// An empty cache.
    ///
    /// # Errors
    /// `ConfigInvalid` for a policy that can't hold.
    pub fn new(policy: CachePolicy, clock: SharedClock) -> Result<Self> {
        let storage = MemoryStorage::new(policy.max_memory_bytes, Arc::clone(&clock));
        Ok(Self(Arc::new(Front::new(storage, policy, clock)?)))
    }
}

cache_over_front!(MemoryCache, InMemory);

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
