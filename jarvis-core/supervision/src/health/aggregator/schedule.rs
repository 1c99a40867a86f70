//! When the next probe is due. Pure.

use std::time::Duration;

use base::clock::Monotonic;

/// The first round is spread over this, or over the interval where that is shorter.
const FIRST_ROUND: Duration = Duration::from_secs(5);

/// FNV-1a, 64 bit, with a final mix (the last step of MurmurHash3), so that the low bits are as
/// good as the high ones. Stable over restarts, machines and versions; not for untrusted keys.
pub(super) fn fingerprint(parts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for byte in part.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn spread(hash: u64, over: Duration) -> Duration {
    Duration::from_nanos(hash % nanos(over).max(1))
}

/// The times at which one target is probed: a first probe soon, then a fixed grid whose phase
/// follows from the target's name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    /// The first point of the grid after the start.
    origin: Monotonic,
    /// The interval of the grid.
    interval: Duration,
    /// When the next probe is due.
    due: Monotonic,
}

impl Schedule {
    /// A schedule from `now` on. The grid lies on boot time, so that a restart of JARVIS does not
    /// move it.
    pub(super) fn new(hash: u64, interval: Duration, now: Monotonic, boottime: Duration) -> Self {
        let step = nanos(interval).max(1);
        let past = nanos(boottime) % step;
        let phase = nanos(spread(hash, interval));
        Self {
            origin: now + Duration::from_nanos((step + phase - past) % step),
            interval,
            due: now + spread(hash.rotate_left(32), interval.min(FIRST_ROUND)),
        }
    }

    /// When the next probe is due.
    pub(super) const fn due(&self) -> Monotonic {
        self.due
    }

    /// The probe that was due is over at `now`; the next one comes after `interval`. Says how many
    /// due times passed meanwhile: they are skipped, never made up for.
    pub(super) fn advance(&mut self, now: Monotonic, interval: Duration) -> u64 {
        let step = nanos(interval).max(1);
        let missed = nanos(now.saturating_since(self.due)) / step;
        if interval == self.interval {
            // The first point of the grid that is after now and not right after the last probe.
            let earliest = now.max(self.due + interval / 10);
            let points = match nanos(earliest.saturating_since(self.origin)) {
                0 if earliest < self.origin => 0,
                since => since / step + 1,
            };
            self.due = self.origin + Duration::from_nanos(points.saturating_mul(step));
        } else {
            self.due = self.due + Duration::from_nanos((missed + 1).saturating_mul(step));
        }
        missed
    }

    /// A probe was made out of turn at `now`. The next one comes in its turn, or after `interval`
    /// when that is sooner.
    pub(super) fn out_of_turn(&mut self, now: Monotonic, interval: Duration) {
        self.due = self.due.min(now + interval);
        if self.due <= now {
            self.advance(now, interval);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn at(millis: u64) -> Monotonic {
        Monotonic::from_start(Duration::from_millis(millis))
    }

    #[test]
    fn the_phase_stays_over_a_restart() {
        let (hash, interval) = (fingerprint(&["api", "http"]), Duration::from_secs(30));
        let due = |now: u64, boottime: u64| {
            let boot = Duration::from_millis(boottime);
            let mut schedule = Schedule::new(hash, interval, at(now), boot);
            schedule.advance(schedule.due(), interval);
            // On the axis of boot time, modulo the interval.
            (schedule.due().since_start() + boot)
                .checked_sub(at(now).since_start())
                .unwrap()
                .as_nanos()
                % interval.as_nanos()
        };
        assert_eq!(due(0, 3_600_000), due(977, 9_123_456));
    }

    #[test]
    fn names_spread_evenly() {
        let mut buckets = [0_u32; 10];
        for index in 0..10_000 {
            let hash = fingerprint(&[&format!("service-{index}"), "http"]);
            let phase = spread(hash, Duration::from_secs(10));
            buckets[usize::try_from(phase.as_secs()).unwrap()] += 1;
        }
        assert!(buckets.iter().all(|count| (850..1_150).contains(count)), "{buckets:?}");
    }

    proptest! {
        #[test]
        fn no_drift_no_burst_no_second_probe(
            hash: u64,
            interval in 1_u64..60_000,
            boottime in 0_u64..1_000_000_000,
            took in prop::collection::vec(0_u64..200_000, 1..60),
        ) {
            let interval = Duration::from_millis(interval);
            let mut schedule = Schedule::new(hash, interval, at(0), Duration::from_millis(boottime));
            prop_assert!(schedule.due() < at(0) + interval.min(FIRST_ROUND));
            let mut first = None;
            for took in took {
                let due = schedule.due();
                let over = due + Duration::from_millis(took);
                schedule.advance(over, interval);
                prop_assert!(schedule.due() > over, "the past is never made up for");
                prop_assert!(schedule.due() <= over.max(due + interval / 10) + interval);
                let first = *first.get_or_insert(schedule.due());
                let drift = schedule.due().saturating_since(first).as_nanos() % interval.as_nanos();
                prop_assert_eq!(drift, 0);
            }
        }

        #[test]
        fn failing_probes_follow_at_the_shorter_interval(hash: u64, took in 0_u64..4_000) {
            let (interval, down) = (Duration::from_secs(30), Duration::from_secs(5));
            let mut schedule = Schedule::new(hash, interval, at(0), Duration::ZERO);
            let first = schedule.due();
            prop_assert_eq!(schedule.advance(first + Duration::from_millis(took), down), 0);
            prop_assert_eq!(schedule.due(), first + down);
            prop_assert_eq!(schedule.advance(first + down + Duration::from_secs(11), down), 2);
            prop_assert_eq!(schedule.due(), first + down * 4);
        }
    }
}
