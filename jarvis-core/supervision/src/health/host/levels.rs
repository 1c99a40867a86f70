//! Two levels with hysteresis.

use super::LevelsConfig;
use base::{Error, ErrorKind, Result};

/// Where a gauge stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Clear,
    Degraded,
    Down,
}

/// When to change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Levels {
    degraded: f64,
    down: f64,
    clear: f64,
    /// Below this down becomes degraded.
    down_clear: f64,
}

impl Levels {
    pub(super) fn new(config: &LevelsConfig) -> Result<Self> {
        let LevelsConfig { degraded, down, clear } = *config;
        if !(clear < degraded && degraded <= down) {
            return Err(Error::new(
                ErrorKind::ConfigInvalid,
                format!(
                    "the levels must rise: clear ({clear}%) < degraded ({degraded}%) <= down ({down}%)"
                ),
            ));
        }
        Ok(Self { degraded, down, clear, down_clear: down - (degraded - clear) })
    }

    /// The next level, from the one before and what is measured.
    pub(super) fn step(&self, before: Level, percent: f64) -> Level {
        let rising = if percent >= self.down {
            Level::Down
        } else if percent >= self.degraded {
            Level::Degraded
        } else {
            Level::Clear
        };
        let held = match before {
            Level::Down if percent >= self.down_clear => Level::Down,
            Level::Down | Level::Degraded if percent >= self.clear => Level::Degraded,
            Level::Down | Level::Degraded | Level::Clear => Level::Clear,
        };
        rising.max(held)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A value that moves within less than the gap between enter and leave never toggles.
        #[test]
        fn what_wobbles_within_the_gap_does_not_flap(
            centre in 0.0_f64..100.0,
            wobble in proptest::collection::vec(-2.4_f64..2.4, 2..50),
        ) {
            let levels = Levels::new(&LevelsConfig::new(85.0, 95.0, 80.0)).unwrap();
            let mut level = Level::Clear;
            let mut changes = 0;
            for offset in wobble {
                let next = levels.step(level, centre + offset);
                changes += usize::from(next != level);
                level = next;
            }
            prop_assert!(changes <= 2, "{} changes", changes);
        }

        #[test]
        fn over_a_level_is_at_least_that_level(percent in 0.0_f64..100.0, before in 0..3_u8) {
            let before = [Level::Clear, Level::Degraded, Level::Down][usize::from(before)];
            let levels = Levels::new(&LevelsConfig::default()).unwrap();
            let level = levels.step(before, percent);
            prop_assert!(percent < 95.0 || level == Level::Down);
            prop_assert!(percent < 85.0 || level >= Level::Degraded);
            prop_assert!(percent >= 80.0 || level == Level::Clear);
        }
    }

    #[test]
    fn levels_that_do_not_rise_are_refused() {
        for (degraded, down, clear) in [(80.0, 70.0, 60.0), (80.0, 90.0, 80.0)] {
            assert!(Levels::new(&LevelsConfig::new(degraded, down, clear)).is_err());
        }
    }
}
