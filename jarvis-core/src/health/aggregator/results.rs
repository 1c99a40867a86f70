//! The last results of a check, 16 bytes each.

use std::time::Duration;

use super::judge::Sample;
use crate::clock::Monotonic;
use crate::vocabulary::{FailureKind, Verdict};

/// So many results of each check are kept in memory.
pub(super) const RECENT: usize = 20;

/// One result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recent {
    /// Milliseconds since the clock's start.
    at_ms: u64,
    latency_us: u32,
    verdict: Verdict,
    kind: Option<FailureKind>,
}

impl Recent {
    pub(super) fn new(at: Monotonic, verdict: Verdict, sample: &Sample) -> Self {
        Self {
            at_ms: u64::try_from(at.since_start().as_millis()).unwrap_or(u64::MAX),
            latency_us: u32::try_from(sample.latency.as_micros()).unwrap_or(u32::MAX),
            verdict,
            kind: if verdict == Verdict::Warn && sample.verdict == Verdict::Pass {
                Some(FailureKind::Slow)
            } else {
                sample.kind
            },
        }
    }

    pub(super) const fn at(&self) -> Monotonic {
        Monotonic::from_start(Duration::from_millis(self.at_ms))
    }

    pub(super) fn latency(&self) -> Duration {
        Duration::from_micros(u64::from(self.latency_us))
    }

    pub(super) const fn verdict(&self) -> Verdict {
        self.verdict
    }

    pub(super) const fn kind(&self) -> Option<FailureKind> {
        self.kind
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
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Recent> {
        let (newer, older) = self.ring.split_at(usize::from(self.oldest));
        older.iter().chain(newer)
    }

    pub(super) fn last(&self) -> Option<&Recent> {
        self.iter().next_back()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_twenty_stay_in_order_and_one_takes_sixteen_bytes() {
        assert_eq!(size_of::<Recent>(), 16);
        let sample =
            Sample { verdict: Verdict::Pass, kind: None, latency: Duration::ZERO, ours: false };
        let mut results = Results::default();
        for second in 0..53 {
            let at = Monotonic::from_start(Duration::from_secs(second));
            results.push(Recent::new(at, Verdict::Pass, &sample));
            let seen: Vec<_> = results.iter().map(|result| result.at_ms / 1_000).collect();
            let expected: Vec<_> = (second.saturating_sub(19)..=second).collect();
            assert_eq!(seen, expected);
        }
        assert_eq!(results.ring.capacity(), RECENT);
    }
}
