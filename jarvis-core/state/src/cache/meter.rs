//! Counters of a cache, shared by many callers without a lock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::CacheStats;
use base::Error;

/// Four buckets to each power of two of microseconds: a percentile is right within 25 %.
const PRECISION: u32 = 2;
const LINEAR: u64 = 1 << (PRECISION + 1);
/// Up to 2^30 microseconds, 18 minutes; what took longer counts there.
const BUCKETS: usize = 116;

fn bucket_of(latency: Duration) -> usize {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    let index = if micros < LINEAR {
        micros
    } else {
        let shift = micros.ilog2() - PRECISION;
        u64::from(shift + 1) * (LINEAR / 2) + (micros >> shift) - LINEAR / 2
    };
    usize::try_from(index).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The longest latency of a bucket, in microseconds.
fn upper_bound(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < LINEAR {
        return bucket;
    }
    let shift = bucket / (LINEAR / 2) - 1;
    let mantissa = LINEAR / 2 + bucket % (LINEAR / 2);
    ((mantissa + 1) << shift) - 1
}

/// Counters of one cache.
#[derive(Debug)]
pub(super) struct Meter {
    pub(super) hits: AtomicU64,
    pub(super) near_hits: AtomicU64,
    pub(super) stale_hits: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) loads: AtomicU64,
    pub(super) load_failures: AtomicU64,
    errors: AtomicU64,
    latencies: [AtomicU64; BUCKETS],
    failing: AtomicBool,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            hits: AtomicU64::new(0),
            near_hits: AtomicU64::new(0),
            stale_hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            loads: AtomicU64::new(0),
            load_failures: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            latencies: [const { AtomicU64::new(0) }; BUCKETS],
            failing: AtomicBool::new(false),
        }
    }
}

/// One more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Meter {
    /// Is the read that begins one of those whose latency counts? One in so many is, and the first.
    pub(super) fn is_timed(&self, one_in: u64) -> bool {
        let ended = || self.hits.load(Ordering::Relaxed) + self.misses.load(Ordering::Relaxed);
        one_in <= 1 || ended().is_multiple_of(one_in)
    }

    pub(super) fn took(&self, latency: Duration) {
        count(&self.latencies[bucket_of(latency)]);
    }

    /// A call of the storage failed. The first one is told, not every one.
    pub(super) fn failed(&self, namespace: &str, error: &Error) {
        count(&self.errors);
        if !self.failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(namespace, %error, "the cache's storage fails; going on without it");
        }
    }

    /// A call of the storage worked.
    pub(super) fn worked(&self, namespace: &str) {
        if self.failing.load(Ordering::Relaxed) && self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!(namespace, "the cache's storage works again");
        }
    }

    pub(super) fn stats(&self) -> CacheStats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let latencies: Vec<u64> = self.latencies.iter().map(of).collect();
        CacheStats {
            hits: of(&self.hits),
            near_hits: of(&self.near_hits),
            stale_hits: of(&self.stale_hits),
            misses: of(&self.misses),
            loads: of(&self.loads),
            load_failures: of(&self.load_failures),
            errors: of(&self.errors),
            read_p50_us: percentile(&latencies, 50),
            read_p99_us: percentile(&latencies, 99),
            ..CacheStats::default()
        }
    }
}

fn percentile(buckets: &[u64], percent: u64) -> u64 {
    let total: u64 = buckets.iter().sum();
    let rank = (total * percent).div_ceil(100);
    let mut seen = 0;
    for (bucket, count) in buckets.iter().enumerate() {
        seen += count;
        if seen >= rank && *count > 0 {
            return upper_bound(bucket);
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_never_below_what_was_measured_and_at_most_a_quarter_above() {
        for micros in [0, 1, 7, 8, 100, 999, 1_000, 123_456, 900_000_000] {
            let meter = Meter::default();
            (0..100).for_each(|_| meter.took(Duration::from_micros(micros)));
            let stats = meter.stats();
            assert!((micros..=micros + micros / 4).contains(&stats.read_p99_us), "{stats:?}");
            assert_eq!(stats.read_p50_us, stats.read_p99_us);
        }
        assert_eq!(Meter::default().stats().read_p99_us, 0);
        assert_eq!(bucket_of(Duration::from_secs(1 << 40)), BUCKETS - 1);
    }

    #[test]
    fn the_slowest_hundredth_is_seen() {
        let meter = Meter::default();
        (0..97).for_each(|_| meter.took(Duration::from_micros(10)));
        (0..3).for_each(|_| meter.took(Duration::from_micros(5_000)));
        let stats = meter.stats();
        assert!(stats.read_p50_us < 13 && stats.read_p99_us >= 5_000, "{stats:?}");
    }
}
