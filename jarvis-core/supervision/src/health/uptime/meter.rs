//! Time-weighted accounting of one service: each sample owns the time until the next one, and at
//! most two intervals; the rest is unknown. Pure: it is told the time.

use super::Account;
use base::vocabulary::ServiceState;

const MINUTE_MS: i64 = 60_000;

/// The account of the open minute, and of closed ones that were not fetched yet.
#[derive(Debug, Default)]
pub(in crate::health) struct Meter {
    /// Accounted up to here, on the monotonic axis in milliseconds.
    settled_ms: u64,
    /// Minutes since 1970, of the open one.
    minute: i64,
    open: Account,
    closed: Vec<(i64, Account)>,
}

impl Meter {
    /// Accounts from now on.
    pub(in crate::health) fn new(now_ms: u64, offset_ms: i64) -> Self {
        Self { settled_ms: now_ms, minute: minute_of(now_ms, offset_ms), ..Self::default() }
    }

    /// Accounts the time up to `now_ms`. `state_at` says what holds at a time, and until when;
    /// `offset_ms` is the wall time of the monotonic axis' start.
    pub(in crate::health) fn settle(
        &mut self,
        now_ms: u64,
        offset_ms: i64,
        excluded: bool,
        state_at: impl Fn(u64) -> (ServiceState, u64),
    ) {
        loop {
            let minute = minute_of(self.settled_ms, offset_ms);
            if minute != self.minute {
                self.close(minute);
            }
            if self.settled_ms >= now_ms {
                return;
            }
            let next_minute = (minute + 1) * MINUTE_MS - offset_ms;
            let (state, until) = state_at(self.settled_ms);
            let end = now_ms.min(until).min(u64::try_from(next_minute).unwrap_or(0));
            let end = end.max(self.settled_ms + 1);
            self.open.spend(state, end - self.settled_ms, excluded);
            self.settled_ms = end;
        }
    }

    fn close(&mut self, next: i64) {
        let closed = std::mem::take(&mut self.open);
        if !closed.is_empty() {
            self.closed.push((self.minute, closed));
        }
        self.minute = next;
    }

    /// The open minute, to count probes in. Settle first.
    pub(in crate::health) const fn open_mut(&mut self) -> &mut Account {
        &mut self.open
    }

    /// The minutes that are known here and nowhere else.
    pub(in crate::health) fn unsaved(&self) -> impl Iterator<Item = (i64, &Account)> {
        let open = (self.minute, &self.open);
        self.closed.iter().map(|(minute, account)| (*minute, account)).chain([open])
    }

    /// Takes the closed minutes away, and with `all` the open one too.
    pub(in crate::health) fn take(&mut self, all: bool) -> Vec<(i64, Account)> {
        if all {
            self.close(self.minute);
        }
        std::mem::take(&mut self.closed)
    }
}

fn minute_of(at_ms: u64, offset_ms: i64) -> i64 {
    i64::try_from(at_ms).unwrap_or(i64::MAX).saturating_add(offset_ms).div_euclid(MINUTE_MS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use base::vocabulary::ServiceState::{Degraded, Down, Healthy, Unknown};

    /// Feeds samples (time, state), each owning at most `owns` ms, and gives all minutes.
    fn account(
        samples: &[(u64, ServiceState)],
        owns: u64,
        end: u64,
        offset: i64,
    ) -> Vec<(i64, Account)> {
        let mut meter = Meter::new(0, offset);
        let (mut state, mut until) = (Unknown, 0);
        for (at, next) in samples.iter().copied().chain([(end, Unknown)]) {
            meter.settle(at, offset, false, |t| {
                if t < until { (state, until) } else { (Unknown, u64::MAX) }
            });
            (state, until) = (next, at + owns);
        }
        meter.take(true)
    }

    fn total(minutes: &[(i64, Account)]) -> Account {
        minutes.iter().fold(Account::default(), |mut sum, (_, account)| {
            sum.merge(account);
            sum
        })
    }

    #[test]
    fn down_is_from_the_first_failing_sample_to_the_first_pass() {
        let samples = [
            (0, Healthy),
            (30_000, Down),
            (35_000, Down),
            (40_000, Down),
            (70_000, Healthy),
            (75_000, Healthy),
        ];
        let minutes = account(&samples, 60_000, 90_000, 0);
        let sum = total(&minutes);
        assert_eq!((sum.healthy_ms, sum.down_ms), (50_000, 40_000));
        assert_eq!(minutes.iter().map(|(minute, _)| *minute).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn a_gap_is_unknown_beyond_two_intervals() {
        let sum = total(&account(
            &[(0, Healthy), (5 * 3_600_000, Healthy)],
            60_000,
            5 * 3_600_000 + 30_000,
            0,
        ));
        assert_eq!(sum.known_ms(), 90_000);
    }

    #[test]
    fn a_wall_clock_that_steps_back_yields_the_same_minute_twice_and_fits() {
        let mut meter = Meter::new(0, 0);
        meter.settle(60_000, 0, false, |_| (Healthy, u64::MAX));
        meter.settle(120_000, -60_000, false, |_| (Degraded, u64::MAX));
        let minutes = meter.take(true);
        assert_eq!(minutes.iter().map(|(minute, _)| *minute).collect::<Vec<_>>(), [0, 0]);
        let mut sum = total(&minutes);
        sum.fit(60_000);
        assert_eq!((sum.healthy_ms, sum.degraded_ms), (30_000, 30_000));
    }

    proptest! {
        /// Against the definition, millisecond by millisecond.
        #[test]
        fn each_millisecond_is_counted_once(
            gaps in prop::collection::vec((0_u64..9_000, 0_usize..4), 1..30),
            owns in 1_u64..5_000,
            offset in 0_i64..120_000,
        ) {
            let states = [Healthy, Degraded, Down, Unknown];
            let mut at = 0;
            let samples: Vec<_> = gaps.iter().map(|(gap, state)| { at += gap; (at, states[*state]) }).collect();
            let end = at + 3_000;
            let minutes = account(&samples, owns, end, offset);
            for (_, account) in &minutes {
                prop_assert!(account.known_ms() <= 60_000);
            }
            let mut expected = Account::default();
            for millisecond in 0..end {
                let owner = samples.iter().rev().find(|(at, _)| *at <= millisecond);
                if let Some((at, state)) = owner && millisecond < at + owns {
                    expected.spend(*state, 1, false);
                }
            }
            prop_assert_eq!(total(&minutes), expected);
        }
    }
}
