//! A time axis that survives restarts of the process and of the machine.

use std::time::Duration;

use base::clock::Stamp;

/// Where an axis stood when it was last looked at.
///
/// Each look adds the age of the look before. Within a boot that is boot time, so that a wall
/// clock that jumps changes nothing; across boots it is the wall clock's step, at least the time
/// since boot. Because every look re-anchors the axis, of a wall clock's jumps only one can count
/// that falls between the last look before a reboot and the reboot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Axis {
    /// Since the axis was made.
    pub(super) at: Duration,
    /// The moment that `at` belongs to.
    pub(super) stamp: Stamp,
}

impl Axis {
    pub(super) const fn new(stamp: Stamp) -> Self {
        Self { at: Duration::ZERO, stamp }
    }

    /// Where the axis stands at `now`.
    pub(super) fn peek(&self, now: &Stamp) -> Duration {
        self.at.saturating_add(self.stamp.age(now))
    }

    /// Moves to `now`. A look from the past, by a process that read its clock earlier, moves
    /// nothing, or the time between would be counted twice.
    pub(super) fn advance(&mut self, now: Stamp) -> Duration {
        let at = self.peek(&now);
        if now.boot != self.stamp.boot || now.boottime >= self.stamp.boottime {
            *self = Self { at, stamp: now };
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::clock::{Clock, ClockExt, ManualClock};

    #[test]
    fn a_jump_before_a_reboot_adds_nothing_once_it_was_seen() {
        let clock = ManualClock::new();
        let mut axis = Axis::new(clock.stamp());
        clock.advance(Duration::from_secs(10));
        clock.set_wall(clock.wall() + Duration::from_secs(3_600));
        assert_eq!(axis.advance(clock.stamp()), Duration::from_secs(10));
        clock.reboot(Duration::from_secs(20));
        assert_eq!(axis.advance(clock.stamp()), Duration::from_secs(30));
    }

    #[test]
    fn a_look_from_the_past_moves_nothing() {
        let clock = ManualClock::new();
        let mut axis = Axis::new(clock.stamp());
        let early = clock.stamp();
        clock.advance(Duration::from_secs(5));
        assert_eq!(axis.advance(clock.stamp()), Duration::from_secs(5));
        assert_eq!(axis.advance(early), Duration::from_secs(5));
        clock.advance(Duration::from_secs(5));
        assert_eq!(axis.advance(clock.stamp()), Duration::from_secs(10));
    }
}
