//! [`Front`]: the part that all caches share, built on the basic operations of a [`Storage`].

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::meter::{Meter, count};
use super::policy::{check_key, check_keys, check_pattern, check_tag, checked_tags};
use super::storage::{Age, Done, Found, Look, Storage, Write};
use super::{CachePolicy, CacheStats, CacheValue, Entry, Lifetime, SetOptions};
use base::clock::{ClockExt, Monotonic, SharedClock};
use base::resilience::SingleFlight;
use base::sync::Mutex;
use base::{Error, ErrorKind, Result};

/// How long [`Front::close`] waits for background work before it ends it.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// A cache over a storage.
#[derive(Debug)]
pub(super) struct Front<S> {
    pub(super) storage: S,
    pub(super) policy: CachePolicy,
    pub(super) clock: SharedClock,
    pub(super) meter: Meter,
    pub(super) flights: SingleFlight<String, Result<CacheValue>>,
    /// The keys that are refreshed in the background now.
    pub(super) refreshing: Arc<Mutex<HashSet<String>>>,
    pub(super) background: TaskTracker,
    pub(super) ending: CancellationToken,
    closed: AtomicBool,
}

/// Is it the storage that failed, and not the caller?
fn is_failure(error: &Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::InvalidInput
            | ErrorKind::ConfigInvalid
            | ErrorKind::TooLarge
            | ErrorKind::Unsupported
    )
}

impl<S: Storage> Front<S> {
    pub(super) fn new(storage: S, policy: CachePolicy, clock: SharedClock) -> Result<Self> {
        policy.validate()?;
        Ok(Self {
            storage,
            policy,
            clock,
            meter: Meter::default(),
            flights: SingleFlight::new(),
            refreshing: Arc::default(),
            background: TaskTracker::new(),
            ending: CancellationToken::new(),
            closed: AtomicBool::new(false),
        })
    }

    /// Counts how a call of the storage went.
    fn counted<T>(&self, result: Result<T>) -> Result<T> {
        match &result {
            Ok(_) => self.meter.worked(&self.policy.namespace),
            Err(error) if is_failure(error) => self.meter.failed(&self.policy.namespace, error),
            Err(_) => {}
        }
        result
    }

    /// A failure of the storage counts and becomes `instead`, unless the cache is strict.
    pub(super) fn softened<T>(&self, result: Result<T>, instead: T) -> Result<T> {
        match self.counted(result) {
            Err(error) if is_failure(&error) && !self.policy.strict => Ok(instead),
            other => other,
        }
    }

    /// Where some were done and others not, the failure counts, and is the answer of a strict cache.
    fn softened_each(&self, done: Done) -> Result<u64> {
        let Done { count, failed } = done;
        self.softened(failed.map_or(Ok(count), Err), count)
    }

    /// Counts a read as a hit or a miss; one that failed was counted as an error.
    pub(super) fn read_counted(&self, found: Option<&Found>) {
        match found {
            Some(found) => {
                count(&self.meter.hits);
                if found.near {
                    count(&self.meter.near_hits);
                }
                if !found.is_fresh() {
                    count(&self.meter.stale_hits);
                }
            }
            None => count(&self.meter.misses),
        }
    }

    /// When a read begins, where it is one of those that are timed.
    pub(super) fn read_begins(&self) -> Option<Monotonic> {
        self.meter.is_timed(S::TIMED).then(|| self.clock.monotonic())
    }

    pub(super) fn read_took(&self, started: Option<Monotonic>) {
        if let Some(started) = started {
            self.meter.took(self.clock.monotonic().saturating_since(started));
        }
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<CacheValue>> {
        check_key(key)?;
        let started = self.read_begins();
        let read = self.storage.read(key, Look::default()).await;
        self.read_took(started);
        self.answered(read)
    }

    pub(super) fn get_now(&self, key: &str) -> Option<Result<Option<CacheValue>>> {
        if let Err(error) = check_key(key) {
            return Some(Err(error));
        }
        let started = self.read_begins();
        let found = self.storage.read_now(key)?;
        self.read_took(started);
        Some(self.answered(Ok(found)))
    }

    fn answered(&self, read: Result<Option<Found>>) -> Result<Option<CacheValue>> {
        let Some(found) = self.softened(read.map(Some), None)? else { return Ok(None) };
        let found = found.filter(Found::is_fresh);
        self.read_counted(found.as_ref());
        Ok(found.map(|found| found.value))
    }

    pub(super) async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<CacheValue>>> {
        check_keys(keys)?;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let started = self.read_begins();
        let read = self.storage.read_many(keys).await;
        self.read_took(started);
        read.into_iter().map(|read| self.answered(read)).collect()
    }

    pub(super) async fn exists(&self, key: &str) -> Result<bool> {
        Ok(self.lifetime(key).await?.is_some())
    }

    pub(super) async fn lifetime(&self, key: &str) -> Result<Option<Lifetime>> {
        check_key(key)?;
        Ok(match self.softened(self.storage.look(key).await, None)? {
            Some(Age::Fresh(Some(left))) => Some(Lifetime::For(left)),
            Some(Age::Fresh(None)) => Some(Lifetime::Unlimited),
            Some(Age::Stale(_)) | None => None,
        })
    }

    pub(super) async fn set(
        &self,
        key: &str,
        value: CacheValue,
        options: SetOptions,
    ) -> Result<bool> {
        Ok(self.set_many(vec![Entry::new(key, value)], options).await? == 1)
    }

    pub(super) async fn set_many(&self, entries: Vec<Entry>, options: SetOptions) -> Result<u64> {
        let lifetime = self.policy.lifetime(options.lifetime)?;
        let tags = checked_tags(&options)?;
        let mut writes = Vec::with_capacity(entries.len());
        for Entry { key, value } in entries {
            check_key(&key)?;
            self.policy.check_value(&value)?;
            writes.push(Write { key, value, ttl: self.policy.jittered(lifetime) });
        }
        if writes.is_empty() {
            return Ok(0);
        }
        self.softened_each(self.storage.write(writes, &tags, options.condition).await)
    }

    pub(super) async fn delete(&self, keys: &[String]) -> Result<u64> {
        check_keys(keys)?;
        let mut each = keys.to_vec();
        each.sort_unstable();
        each.dedup();
        if each.is_empty() {
            return Ok(0);
        }
        let removed = self.storage.remove(&each).await;
        self.flights.forget(each.iter());
        self.softened_each(removed)
    }

    pub(super) async fn increment(
        &self,
        key: &str,
        by: i64,
        lifetime: Option<Lifetime>,
    ) -> Result<i64> {
        check_key(key)?;
        let ttl = self.policy.lifetime(lifetime)?;
        self.counted(self.storage.add(key, by, ttl).await)
    }

    pub(super) async fn expire(&self, key: &str, lifetime: Lifetime) -> Result<bool> {
        check_key(key)?;
        let ttl = self.policy.lifetime(Some(lifetime))?;
        self.softened(self.storage.expire(key, ttl).await, false)
    }

    pub(super) async fn invalidate_tag(&self, tag: &str) -> Result<()> {
        check_tag(tag)?;
        let done = self.storage.invalidate_tag(tag).await;
        self.flights.forget_all();
        self.counted(done)
    }

    pub(super) async fn invalidate_pattern(&self, pattern: &str) -> Result<u64> {
        check_pattern(pattern)?;
        let removed = self.storage.remove_matching(pattern).await;
        self.flights.forget_all();
        self.counted(removed)
    }

    pub(super) async fn flush(&self) -> Result<()> {
        let done = self.storage.flush().await;
        self.flights.forget_all();
        self.counted(done)
    }

    pub(super) async fn stats(&self) -> Result<CacheStats> {
        let counts = self.softened(self.storage.counts().await, Default::default())?;
        Ok(CacheStats {
            evictions: counts.evictions,
            entries: counts.entries,
            ..self.meter.stats()
        })
    }

    /// May something be started in the background?
    pub(super) fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Acquire)
    }

    pub(super) async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        self.background.close();
        if !self.background.is_empty() {
            // Without a runtime around us nobody wakes us at a deadline.
            if tokio::runtime::Handle::try_current().is_ok() {
                let deadline = self.clock.monotonic() + CLOSE_WITHIN;
                self.clock.until(deadline, self.background.wait()).await;
            }
            self.ending.cancel();
            self.background.wait().await;
        }
        self.storage.close().await;
        Ok(())
    }
}

/// The trait for a public handle over an `Arc<Front<…>>`.
macro_rules! cache_over_front {
    ($handle:ty, $locality:ident) => {
        #[async_trait::async_trait]
        impl $crate::cache::Cache for $handle {
            fn locality(&self) -> ::base::vocabulary::Locality {
                ::base::vocabulary::Locality::$locality
            }

            async fn get(&self, key: &str) -> Result<Option<CacheValue>> {
                self.0.get(key).await
            }

            fn get_now(&self, key: &str) -> Option<Result<Option<CacheValue>>> {
                self.0.get_now(key)
            }

            async fn set(&self, key: &str, value: CacheValue, options: SetOptions) -> Result<bool> {
                self.0.set(key, value, options).await
            }

            async fn delete(&self, keys: &[String]) -> Result<u64> {
                self.0.delete(keys).await
            }

            async fn exists(&self, key: &str) -> Result<bool> {
                self.0.exists(key).await
            }

            async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<CacheValue>>> {
                self.0.get_many(keys).await
            }

            async fn set_many(&self, entries: Vec<Entry>, options: SetOptions) -> Result<u64> {
                self.0.set_many(entries, options).await
            }

            async fn increment(
                &self,
                key: &str,
                by: i64,
                lifetime: Option<Lifetime>,
            ) -> Result<i64> {
                self.0.increment(key, by, lifetime).await
            }

            async fn expire(&self, key: &str, lifetime: Lifetime) -> Result<bool> {
                self.0.expire(key, lifetime).await
            }

            async fn lifetime(&self, key: &str) -> Result<Option<Lifetime>> {
                self.0.lifetime(key).await
            }

            async fn invalidate_tag(&self, tag: &str) -> Result<()> {
                self.0.invalidate_tag(tag).await
            }

            async fn invalidate_pattern(&self, pattern: &str) -> Result<u64> {
                self.0.invalidate_pattern(pattern).await
            }

            async fn flush(&self) -> Result<()> {
                self.0.flush().await
            }

            async fn stats(&self) -> Result<CacheStats> {
                self.0.stats().await
            }

            async fn get_or_load(
                &self,
                key: &str,
                options: LoadOptions,
                load: Loader,
            ) -> Result<CacheValue> {
                self.0.get_or_load(key, options, load).await
            }

            async fn close(&self) -> Result<()> {
                self.0.close().await
            }
        }
    };
}
pub(super) use cache_over_front;
