//! Does it change its mind too often? After Nagios: the last 21 results hold 20 possible changes,
//! weighted linearly from 0.8 (the oldest) to 1.2 (the newest).

/// So many results are looked at.
pub(super) const RESULTS: u32 = 21;
const CHANGES: u32 = RESULTS - 1;
const MASK: u32 = (1 << RESULTS) - 1;

/// It flaps from this share of changes on, in thousandths.
const ENTER: u32 = 300;
/// It stops to flap below this share.
const LEAVE: u32 = 150;

/// The last results of one check, newest in the lowest bit; 1 is a failure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Flapping {
    bits: u32,
    seen: u8,
    flapping: bool,
}

impl Flapping {
    /// Takes a result and says whether the check flaps now.
    pub(super) fn record(&mut self, failed: bool) -> bool {
        let seen = u32::from(self.seen);
        // Before the first result there was no change.
        let before = if seen == 0 && failed { MASK } else { self.bits };
        self.bits = (before << 1 | u32::from(failed)) & MASK;
        self.seen = u8::try_from((seen + 1).min(RESULTS)).unwrap_or(u8::MAX);
        let share = self.share();
        self.flapping = share >= if self.flapping { LEAVE } else { ENTER };
        self.flapping
    }

    /// Does it flap?
    pub(super) const fn is_flapping(self) -> bool {
        self.flapping
    }

    /// The weighted share of changes, in thousandths.
    fn share(self) -> u32 {
        let changes = (self.bits ^ (self.bits >> 1)) & (MASK >> 1);
        // Weights in units of 1/(20 * 190): 1.2 for bit 0 down to 0.8 for bit 19; they sum to 20.
        let weight = |bit: u32| 228 - 4 * bit;
        let sum: u32 = (0..CHANGES).filter(|bit| changes >> bit & 1 == 1).map(weight).sum();
        sum * 1_000 / (CHANGES * 190)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn weights_sum_to_one() {
        let mut flapping = Flapping::default();
        for result in 0..RESULTS {
            flapping.record(result % 2 == 0);
        }
        assert_eq!(flapping.share(), 1_000);
    }

    #[test]
    fn an_outage_is_no_flapping_and_alternation_is() {
        let mut flapping = Flapping::default();
        for failed in [false, false, true, true, true, true, false, false] {
            assert!(!flapping.record(failed));
        }
        let first = (0..40).find(|result| flapping.record(result % 2 == 0));
        assert!(first.is_some_and(|result| (3..8).contains(&result)), "{first:?}");
        let calm = (0..40).find(|_| !flapping.record(false)).unwrap();
        assert!((10..21).contains(&calm), "after {calm} equal results");
    }

    proptest! {
        #[test]
        fn equal_results_end_it_and_never_begin_it(history: Vec<bool>, last: bool) {
            let mut flapping = Flapping::default();
            for failed in history {
                flapping.record(failed);
                prop_assert!(flapping.share() <= 1_000);
            }
            for _ in 0..RESULTS {
                let before = flapping.is_flapping();
                let after = flapping.record(last);
                prop_assert!(before || !after || flapping.share() >= ENTER);
            }
            prop_assert!(!flapping.record(last));
            prop_assert_eq!(flapping.share(), 0);
        }
    }
}
