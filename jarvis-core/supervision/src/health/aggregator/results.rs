//! The last results of a check, 8 bytes each.

use std::time::Duration;

use super::judge::Sample;
use base::clock::Monotonic;
use base::vocabulary::{FailureKind, Verdict};

/// So many results of each check are kept in memory.
pub(super) const RECENT: usize = 20;

const VERDICTS: [Verdict; 4] = [Verdict::Pass, Verdict::Warn, Verdict::Fail, Verdict::Unknown];

/// Bits of the milliseconds since the clock's start: two years.
const AT: u32 = 36;
/// Bits of the latency: microseconds, shifted right until they fit.
const MANTISSA: u32 = 16;
/// Bits that say how far.
const SHIFT: u32 = 5;
/// Bits of the kind, 0 for none.
const KIND: u32 = 5;

/// One result. From the lowest bit: the time, the latency (exact below 65 ms, else within
/// 1/32,768), the kind, the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recent(u64);

const fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

impl Recent {
    pub(super) fn new(at: Monotonic, verdict: Verdict, sample: &Sample) -> Self {
        let kind = if verdict == Verdict::Warn && sample.verdict == Verdict::Pass {
            Some(FailureKind::Slow)
        } else {
            sample.kind
        };
        let at_ms = u64::try_from(at.since_start().as_millis()).unwrap_or(u64::MAX);
        let micros = u64::try_from(sample.latency.as_micros()).unwrap_or(u64::MAX);
        let shift = u64::from(u64::BITS - micros.leading_zeros()).saturating_sub(MANTISSA.into());
        let shift = shift.min(mask(SHIFT));
        let kind = kind.map_or(0, |kind| kind as u64 + 1);
        let mut packed = verdict as u64;
        packed = packed << KIND | kind;
        packed = packed << SHIFT | shift;
        packed = packed << MANTISSA | (micros >> shift).min(mask(MANTISSA));
        Self(packed << AT | at_ms.min(mask(AT)))
    }

    const fn field(self, lowest: u32, bits: u32) -> u64 {
        self.0 >> lowest & mask(bits)
    }

    pub(super) const fn at(self) -> Monotonic {
        Monotonic::from_start(Duration::from_millis(self.field(0, AT)))
    }

    pub(super) const fn latency(self) -> Duration {
        let shift = self.field(AT + MANTISSA, SHIFT);
        Duration::from_micros(self.field(AT, MANTISSA) << shift)
    }

    pub(super) fn verdict(self) -> Verdict {
        let code = self.field(AT + MANTISSA + SHIFT + KIND, 2);
        usize::try_from(code).map_or(Verdict::Unknown, |code| VERDICTS[code])
    }

    pub(super) fn kind(self) -> Option<FailureKind> {
        let code = usize::try_from(self.field(AT + MANTISSA + SHIFT, KIND)).ok()?;
        FailureKind::ALL.get(code.checked_sub(1)?).copied()
    }
}

/// A ring of the last results.
#[derive(Debug, Default)]
pub(super) struct Results {
    ring: Vec<Recent>,
    oldest: u8,
}

impl Results {
    pub(super) fn push(&mut self, result: Recent) {
        if self.ring.len() < RECENT {
            if self.ring.len() == self.ring.capacity() {
                self.ring.reserve_exact(if self.ring.is_empty() {
                    4
                } else {
                    RECENT - self.ring.len()
                });
            }
            self.ring.push(result);
        } else {
            self.ring[usize::from(self.oldest)] = result;
            self.oldest = (self.oldest + 1) % u8::try_from(RECENT).unwrap_or(u8::MAX);
        }
    }

    /// Oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = Recent> {
        let (newer, older) = self.ring.split_at(usize::from(self.oldest));
        older.iter().chain(newer).copied()
    }

    pub(super) fn last(&self) -> Option<Recent> {
        self.iter().next_back()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(verdict: Verdict, kind: Option<FailureKind>, latency: Duration) -> Sample {
        Sample { verdict, kind, latency, ours: false }
    }

    #[test]
    fn the_last_twenty_stay_in_order_and_one_takes_eight_bytes() {
        assert_eq!(size_of::<Recent>(), 8);
        let sample = sample(Verdict::Pass, None, Duration::ZERO);
        let mut results = Results::default();
        for second in 0..53 {
            let at = Monotonic::from_start(Duration::from_secs(second));
            results.push(Recent::new(at, Verdict::Pass, &sample));
            let seen: Vec<_> =
                results.iter().map(|result| result.at().since_start().as_secs()).collect();
            let expected: Vec<_> = (second.saturating_sub(19)..=second).collect();
            assert_eq!(seen, expected);
        }
        assert_eq!(results.ring.capacity(), RECENT);
    }

    #[test]
    fn every_verdict_and_kind_fits() {
        let kinds = FailureKind::ALL.iter().copied().map(Some).chain([None]);
        assert!(FailureKind::ALL.len() as u64 <= mask(KIND));
        for (kind, verdict) in kinds.flat_map(|kind| VERDICTS.map(|verdict| (kind, verdict))) {
            let sample = sample(verdict, kind, Duration::MAX);
            let packed = Recent::new(Monotonic::from_start(Duration::MAX), verdict, &sample);
            assert_eq!((packed.verdict(), packed.kind()), (verdict, kind));
        }
    }

    #[test]
    fn a_pass_that_counts_as_a_warning_was_slow() {
        let sample = sample(Verdict::Pass, None, Duration::from_secs(1));
        let packed = Recent::new(Monotonic::default(), Verdict::Warn, &sample);
        assert_eq!(packed.kind(), Some(FailureKind::Slow));
    }

    proptest! {
        #[test]
        fn times_are_kept_and_latencies_nearly(at in 0..=mask(AT), micros in 0_u64..1 << 40) {
            let at = Monotonic::from_start(Duration::from_millis(at));
            let sample = sample(Verdict::Pass, None, Duration::from_micros(micros));
            let packed = Recent::new(at, Verdict::Pass, &sample);
            let latency = u64::try_from(packed.latency().as_micros()).unwrap();
            prop_assert_eq!(packed.at(), at);
            prop_assert!(latency <= micros && micros - latency <= micros >> (MANTISSA - 1));
            prop_assert!(micros >= 1 << MANTISSA || latency == micros);
        }
    }
}
