//! [`Durations`]: a latency histogram with fixed bounds.

use std::time::Duration;

/// Upper bounds of the buckets in microseconds: those of OpenTelemetry's
/// `http.server.request.duration`, and two below. The last bucket has no bound.
pub(super) const BOUNDS: [u64; 16] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000, 750_000,
    1_000_000, 2_500_000, 5_000_000, 7_500_000, 10_000_000,
];

/// Counted durations, by bucket.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Durations {
    pub(super) buckets: [u64; BOUNDS.len() + 1],
    pub(super) total: Duration,
    pub(super) longest: Duration,
}

impl Durations {
    pub(super) fn add(&mut self, took: Duration) {
        let at = BOUNDS.partition_point(|bound| Duration::from_micros(*bound) < took);
        self.buckets[at] += 1;
        self.total = self.total.saturating_add(took);
        self.longest = self.longest.max(took);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
        self.total = self.total.saturating_add(other.total);
        self.longest = self.longest.max(other.longest);
    }

    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The duration in seconds that this share of all does not exceed, by linear interpolation
    /// within a bucket as Prometheus' `histogram_quantile` does it; never more than the longest.
    #[expect(clippy::cast_precision_loss, reason = "2^53 requests are out of reach")]
    pub(super) fn quantile(&self, share: f64) -> f64 {
        let longest = self.longest.as_secs_f64();
        let wanted = share * self.count() as f64;
        let mut below = 0.0;
        for (at, count) in self.buckets.iter().enumerate() {
            let count = *count as f64;
            if count > 0.0 && below + count >= wanted {
                let low = at.checked_sub(1).map_or(0.0, |before| seconds(BOUNDS[before]));
                let high = BOUNDS.get(at).map_or(longest, |bound| seconds(*bound)).min(longest);
                let part = (high - low).max(0.0) * (wanted - below) / count;
                return (low + part).min(longest);
            }
            below += count;
        }
        longest
    }
}

/// Microseconds in seconds.
pub(super) fn seconds(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(all: &[u64]) -> Durations {
        let mut durations = Durations::default();
        all.iter().for_each(|micros| durations.add(Duration::from_micros(*micros)));
        durations
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let durations = of(&[1_000, 1_001, 10_000_000, 10_000_001]);
        assert_eq!(durations.buckets[0], 1);
        assert_eq!(durations.buckets[1], 1);
        assert_eq!(durations.buckets[15], 1);
        assert_eq!(durations.buckets[16], 1);
    }

    #[test]
    fn nothing_has_a_quantile_of_nothing() {
        assert_eq!(of(&[]).quantile(0.99).to_bits(), 0.0_f64.to_bits());
    }

    proptest! {
        #[test]
        fn quantiles_grow_and_end_with_the_longest(all in prop::collection::vec(0_u64..20_000_000, 1..50)) {
            let durations = of(&all);
            let (half, most, whole) = (durations.quantile(0.5), durations.quantile(0.99), durations.quantile(1.0));
            prop_assert!(0.0 <= half && half <= most && most <= whole);
            prop_assert!((whole - durations.longest.as_secs_f64()).abs() < 1e-9);
        }

        #[test]
        fn merged_is_the_same_as_counted_together(a in prop::collection::vec(0_u64..20_000_000, 0..20), b in prop::collection::vec(0_u64..20_000_000, 0..20)) {
            let mut merged = of(&a);
            merged.merge(&of(&b));
            let together = of(&[a, b].concat());
            prop_assert_eq!(merged.buckets, together.buckets);
            prop_assert_eq!((merged.total, merged.longest), (together.total, together.longest));
        }
    }
}
