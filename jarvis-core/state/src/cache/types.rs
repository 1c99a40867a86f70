//! Argument and result types of a cache.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::CacheValue;

/// How long an entry lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Lifetime {
    /// This long from now.
    For(Duration),
    /// Until it is deleted, or the storage needs its room.
    Unlimited,
}

/// When a value is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Condition {
    /// Always.
    #[default]
    Always,
    /// Only when there is none (`NX`).
    IfAbsent,
    /// Only when there is one (`XX`).
    IfPresent,
}

/// How a value is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetOptions {
    /// How long it lives; the policy's time when absent.
    pub lifetime: Option<Lifetime>,
    /// Whether at all.
    pub condition: Condition,
    /// What it can be invalidated by; at most 4.
    pub tags: Vec<String>,
}

impl SetOptions {
    /// Always, for the policy's time, without tags.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// For this long.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.lifetime = Some(Lifetime::For(ttl));
        self
    }

    /// For that lifetime.
    #[must_use]
    pub fn with_lifetime(mut self, lifetime: Lifetime) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// Only if.
    #[must_use]
    pub fn with_condition(mut self, condition: Condition) -> Self {
        self.condition = condition;
        self
    }

    /// With this tag, beside those already named.
    #[must_use]
    pub fn with_tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: CacheValue,
}

impl Entry {
    /// An entry.
    #[must_use]
    pub fn new(key: impl Into<String>, value: impl Into<CacheValue>) -> Self {
        Self { key: key.into(), value: value.into() }
    }
}

/// How a missing value is loaded.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LoadOptions {
    /// How a loaded value is stored. Its condition is not looked at.
    pub set: SetOptions,
    /// How long after it ran out a value may still be given while a new one is loaded. Not at all
    /// unless told. The storage keeps a loaded value that much longer; one that was stored with
    /// [`set`](super::Cache::set) is never given after its time.
    pub stale: Duration,
    /// Refreshes shortly before a value runs out; 1.0 is the usual weight of a load's duration,
    /// 0 switches it off (the default). 0 to 100.
    pub early: f64,
    /// How long another process may take to load before this one does it itself. 2 s.
    pub wait: Duration,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            set: SetOptions::new(),
            stale: Duration::ZERO,
            early: 0.0,
            wait: Duration::from_secs(2),
        }
    }
}

impl LoadOptions {
    /// Without stale answers and early refresh.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Loaded values are stored so.
    #[must_use]
    pub fn with_set(mut self, set: SetOptions) -> Self {
        self.set = set;
        self
    }

    /// Values that ran out no longer ago may be given.
    #[must_use]
    pub fn with_stale(mut self, stale: Duration) -> Self {
        self.stale = stale;
        self
    }

    /// Values are refreshed early, with this weight.
    #[must_use]
    pub fn with_early(mut self, weight: f64) -> Self {
        self.early = weight;
        self
    }

    /// Another process may take that long.
    #[must_use]
    pub fn with_wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }
}

/// What a cache has seen, in this process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CacheStats {
    /// Reads that found a value.
    pub hits: u64,
    /// Of those, how many found it in this process, where a near cache is in front.
    pub near_hits: u64,
    /// Of those, how many gave a value that had run out.
    pub stale_hits: u64,
    /// Reads that found none.
    pub misses: u64,
    /// Loads that succeeded.
    pub loads: u64,
    /// Loads that failed.
    pub load_failures: u64,
    /// Calls of the storage that failed.
    pub errors: u64,
    /// Entries evicted before they expired; the storage's own count where it has one.
    pub evictions: u64,
    /// How many entries there are, where that can be told without a walk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<u64>,
    /// Half of the reads took no longer than this, in microseconds. In memory one read in sixteen is
    /// timed, on a server each.
    pub read_p50_us: u64,
    /// 99 of 100 reads took no longer than this, in microseconds.
    pub read_p99_us: u64,
}

impl CacheStats {
    /// The share of reads that found something, 0 to 1; `None` before the first read.
    #[must_use]
    pub fn hit_rate(&self) -> Option<f64> {
        let reads = self.hits + self.misses;
        #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
        let rate = self.hits as f64 / reads as f64;
        (reads > 0).then_some(rate)
    }
}
