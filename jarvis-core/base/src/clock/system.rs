//! [`SystemClock`]: the machine's own time.

#![expect(clippy::disallowed_methods, reason = "this is the one place that asks the machine")]

use std::sync::OnceLock;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

use super::{BootId, Clock, Monotonic, Sleep, WallTime};

/// A wait beyond what the machine's clock can name ends no sooner.
const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The machine's clocks, waiting through tokio's timer (resolution 1 ms).
///
/// All instances of a process share one start, so that their [`Monotonic`] points compare.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The machine's clock.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

fn wall_of(clock: ClockId) -> WallTime {
    let now = clock_gettime(clock);
    WallTime::from_millis(now.tv_sec.saturating_mul(1_000).saturating_add(now.tv_nsec / 1_000_000))
}

fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Monotonic {
        let start = start();
        Monotonic::from_start(Instant::now().saturating_duration_since(start))
    }

    fn boottime(&self) -> Duration {
        let now = clock_gettime(ClockId::Boottime);
        Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
    }

    fn boot_id(&self) -> BootId {
        static BOOT: OnceLock<BootId> = OnceLock::new();
        BOOT.get_or_init(|| {
            let text = std::fs::read_to_string(BOOT_ID).unwrap_or_default();
            BootId::new(text.trim())
        })
        .clone()
    }

    fn wall(&self) -> WallTime {
        wall_of(ClockId::Realtime)
    }

    fn wall_lately(&self) -> WallTime {
        wall_of(ClockId::RealtimeCoarse)
    }

    fn sleep_until(&self, at: Monotonic) -> Sleep {
        let until = start().checked_add(at.since_start());
        Box::pin(tokio::time::sleep_until(until.unwrap_or_else(|| start() + FAR)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_may_be_without_an_end() {
        let clock = SystemClock::new();
        for long in [Duration::MAX, Duration::MAX / 2, Duration::from_secs(u64::MAX / 4)] {
            let wait = clock.sleep_until(clock.monotonic() + long);
            assert!(futures_util::FutureExt::now_or_never(wait).is_none());
        }
    }

    #[test]
    fn the_axes_move_and_the_boot_has_a_name() {
        let clock = SystemClock::new();
        let before = clock.monotonic();
        assert!(clock.monotonic() >= before);
        assert!(clock.boottime() > Duration::ZERO);
        assert!(!clock.boot_id().as_str().is_empty());
        assert!(clock.wall() > WallTime::from_millis(1_700_000_000_000));
        for _ in 0..1_000 {
            let lately = clock.wall_lately();
            let now = clock.wall();
            assert!(lately <= now && now.saturating_since(lately) < Duration::from_secs(1));
        }
    }
}
