//! Latencies in log-linear buckets: sixteen to each power of two, so that a percentile is right
//! within 6.25 %. Only buckets in use are kept. Histograms merge by adding; percentiles never do.

use std::time::Duration;

/// Bits below the leading one that select the bucket.
const PRECISION: u32 = 4;
const LINEAR: u64 = 1 << (PRECISION + 1);

/// Counts of latencies, in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Bucket and count, ordered by bucket.
    buckets: Vec<(u16, u32)>,
}

/// The bucket of a latency.
fn bucket_of(latency: Duration) -> u16 {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    if micros < LINEAR {
        return u16::try_from(micros).unwrap_or(u16::MAX);
    }
    let shift = micros.ilog2() - PRECISION;
    let index = u64::from(shift + 1) * (LINEAR / 2) + (micros >> shift) - LINEAR / 2;
    u16::try_from(index).unwrap_or(u16::MAX)
}

/// The largest latency of a bucket.
fn upper_bound(bucket: u16) -> Duration {
    let bucket = u64::from(bucket);
    if bucket < LINEAR {
        return Duration::from_micros(bucket);
    }
    let shift = bucket / (LINEAR / 2) - 1;
    let mantissa = LINEAR / 2 + bucket % (LINEAR / 2);
    let next = u128::from(mantissa + 1) << shift;
    Duration::from_micros(u64::try_from(next - 1).unwrap_or(u64::MAX))
}

impl Histogram {
    /// Nothing counted.
    #[must_use]
    pub const fn new() -> Self {
        Self { buckets: Vec::new() }
    }

    /// Counts a latency.
    pub fn record(&mut self, latency: Duration) {
        self.add(bucket_of(latency), 1);
    }

    pub(super) fn add(&mut self, bucket: u16, count: u32) {
        match self.buckets.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(count),
            Err(at) => {
                if self.buckets.len() == self.buckets.capacity() {
                    self.buckets.reserve_exact(2 + self.buckets.len() / 2);
                }
                self.buckets.insert(at, (bucket, count));
            }
        }
    }

    /// Adds all that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.buckets {
            self.add(*bucket, *count);
        }
    }

    /// How many latencies were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    /// Was nothing counted?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// The latency that this share (0 to 1) of all does not exceed, by nearest rank; the upper
    /// bound of its bucket. `None` when nothing was counted.
    #[must_use]
    pub fn percentile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank; 2^53 probes are out of reach"
        )]
        let rank = ((share.clamp(0.0, 1.0) * count as f64).ceil() as u64).max(1);
        let mut so_far = 0;
        self.buckets
            .iter()
            .find(|(_, in_bucket)| {
                so_far += u64::from(*in_bucket);
                so_far >= rank
            })
            .map(|(bucket, _)| upper_bound(*bucket))
    }

    /// Buckets in use with their counts, ordered by bucket, as they are packed.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (u16, u32)> + '_ {
        self.buckets.iter().copied()
    }

    /// From buckets with their counts.
    #[must_use]
    pub fn from_entries(entries: impl IntoIterator<Item = (u16, u32)>) -> Self {
        let mut histogram = Self::new();
        entries.into_iter().for_each(|(bucket, count)| histogram.add(bucket, count));
        histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bucket_holds_what_it_says(micros: u64) {
            let bucket = bucket_of(Duration::from_micros(micros));
            let upper = u64::try_from(upper_bound(bucket).as_micros()).unwrap();
            prop_assert!(upper >= micros && upper - micros <= micros / 16);
            prop_assert!(bucket == 0 || upper_bound(bucket - 1) < Duration::from_micros(micros));
        }

        #[test]
        fn merged_is_the_same_as_counted_together(a: Vec<u32>, b: Vec<u32>) {
            let of = |all: &[u32]| {
                let mut histogram = Histogram::new();
                all.iter().for_each(|micros| histogram.record(Duration::from_micros(u64::from(*micros))));
                histogram
            };
            let mut merged = of(&a);
            merged.merge(&of(&b));
            let together = of(&[a, b].concat());
            prop_assert_eq!(&merged, &together);
            prop_assert_eq!(Histogram::from_entries(merged.entries()), together);
        }

        #[test]
        fn a_percentile_is_the_nearest_rank_within_a_sixteenth(mut all in prop::collection::vec(0_u64..10_000_000, 1..200), share in 0.0..=1.0_f64) {
            let mut histogram = Histogram::new();
            all.iter().for_each(|micros| histogram.record(Duration::from_micros(*micros)));
            all.sort_unstable();
            let rank = ((share * all.len() as f64).ceil() as usize).max(1);
            let exact = all[rank - 1];
            let found = u64::try_from(histogram.percentile(share).unwrap().as_micros()).unwrap();
            prop_assert!(found >= exact && found - exact <= exact / 16);
        }
    }

    #[test]
    fn nothing_has_no_percentile() {
        assert_eq!(Histogram::new().percentile(0.5), None);
    }
}
