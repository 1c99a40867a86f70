//! Time as a dependency: [`Clock`], the real [`SystemClock`] and the tests' [`ManualClock`].
//!
//! Nothing else in this crate asks the machine for the time or waits on its own (a clippy rule
//! holds us to that). Three axes exist, and each has one use:
//!
//! | axis | type | runs during suspend | use |
//! |---|---|---|---|
//! | monotonic | [`Monotonic`] | no | deadlines and intervals inside one process |
//! | boot time | [`Duration`] since boot | yes | the age of something persisted, same boot |
//! | wall | [`WallTime`] | steps with NTP and people | what a person reads, calendars, TTLs, the age across boots |
//!
//! What is persisted carries a [`Stamp`], all three at once, so that its age can be told later
//! without trusting a wall clock that jumped.

mod manual;
mod system;

use std::fmt;
use std::future::Future;
use std::ops::{Add, Sub};
use std::pin::{Pin, pin};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use manual::ManualClock;
pub use system::SystemClock;

use crate::{Error, ErrorKind, Result};

/// A boxed future that waits.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// Where time comes from.
///
/// # Contract
/// - [`monotonic`](Clock::monotonic) and [`boottime`](Clock::boottime) never go back.
/// - [`wall_lately`](Clock::wall_lately) is never later than [`wall`](Clock::wall).
/// - [`sleep_until`](Clock::sleep_until) is complete on its first poll when the time has come, and
///   dropping it cancels the wait.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Time since an arbitrary start, of this process only. Stands still during suspend.
    fn monotonic(&self) -> Monotonic;
    /// Time since the machine booted, suspend included.
    fn boottime(&self) -> Duration;
    /// Names the boot that [`boottime`](Clock::boottime) counts from.
    fn boot_id(&self) -> BootId;
    /// The calendar's time.
    fn wall(&self) -> WallTime;
    /// The calendar's time now or a moment ago: as the kernel last noted it, at its tick. Costs a
    /// fifth of [`wall`](Clock::wall), for who only wants to know that something is far from due.
    fn wall_lately(&self) -> WallTime {
        self.wall()
    }
    /// Completes at that time.
    fn sleep_until(&self, at: Monotonic) -> Sleep;
}

/// Sugar over any [`Clock`].
pub trait ClockExt: Clock {
    /// All three axes, to be persisted.
    fn stamp(&self) -> Stamp {
        Stamp { boot: self.boot_id(), boottime: self.boottime(), wall: self.wall() }
    }

    /// Completes after that long.
    fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(self.monotonic() + duration)
    }

    /// The future's output, or `None` when the deadline came first. The future is dropped then.
    fn until<F: Future + Send>(
        &self,
        deadline: Monotonic,
        future: F,
    ) -> impl Future<Output = Option<F::Output>> + Send {
        let sleep = self.sleep_until(deadline);
        async move {
            match select(pin!(future), sleep).await {
                Either::Left((output, _)) => Some(output),
                Either::Right(((), _)) => None,
            }
        }
    }
}

impl<C: Clock + ?Sized> ClockExt for C {}

/// The clock that everything shares.
pub type SharedClock = Arc<dyn Clock>;

/// A point on the monotonic axis of one [`Clock`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(Duration);

impl Monotonic {
    /// A point this long after the clock's start.
    #[must_use]
    pub const fn from_start(since: Duration) -> Self {
        Self(since)
    }

    /// How long after the clock's start.
    #[must_use]
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// How long after `earlier`; zero when it is not.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Monotonic {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

impl Sub<Duration> for Monotonic {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration))
    }
}

/// Names one boot of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(Arc<str>);

impl BootId {
    /// From the kernel's text (`/proc/sys/kernel/random/boot_id`).
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Milliseconds since 1970-01-01 UTC. Serialised as RFC 3339 with milliseconds.
///
/// ```
/// use jarvis_core::clock::WallTime;
///
/// let time = WallTime::from_millis(1_795_219_200_250);
/// assert_eq!(time.to_string(), "2026-11-21T00:00:00.250Z");
/// assert_eq!("2026-11-21T01:00:00.250+01:00".parse::<WallTime>()?, time);
/// # Ok::<(), jarvis_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(i64);

impl WallTime {
    /// From milliseconds since the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// In milliseconds since the epoch.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// How long after `earlier`; zero when it is not.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        let millis = self.0.saturating_sub(earlier.0);
        if millis > 0 { Duration::from_millis(millis.unsigned_abs()) } else { Duration::ZERO }
    }
}

impl Add<Duration> for WallTime {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for WallTime {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => write!(f, "{time:.3}"),
            Err(_) => write!(f, "{} ms since 1970", self.0),
        }
    }
}

impl FromStr for WallTime {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        text.parse::<jiff::Timestamp>().map(|time| Self(time.as_millisecond())).map_err(|error| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("{text:?} is not a time such as 2026-11-21T09:30:00Z"),
            )
            .with_source(error)
        })
    }
}

impl Serialize for WallTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WallTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A moment as it is persisted: enough to tell its age after a restart of the process or of the
/// machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The boot it was taken in.
    pub boot: BootId,
    /// Since that boot, suspend included.
    pub boottime: Duration,
    /// The calendar's time then.
    pub wall: WallTime,
}

impl Stamp {
    /// How old this stamp is at `now`.
    ///
    /// In the same boot the boot time decides, so that a step of the wall clock changes nothing.
    /// Across boots the wall clock has to do; the age is then at least the time since this boot,
    /// so that a clock set back neither stretches nor shortens a window below what is certain.
    #[must_use]
    pub fn age(&self, now: &Self) -> Duration {
        if self.boot == now.boot {
            now.boottime.saturating_sub(self.boottime)
        } else {
            now.wall.saturating_since(self.wall).max(now.boottime)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(boot: &str, boottime: u64, wall: i64) -> Stamp {
        Stamp {
            boot: BootId::new(boot),
            boottime: Duration::from_secs(boottime),
            wall: WallTime::from_millis(wall * 1_000),
        }
    }

    #[test]
    fn a_wall_clock_step_changes_no_age_within_a_boot() {
        let then = stamp("a", 100, 1_000_000);
        assert_eq!(then.age(&stamp("a", 130, 1_003_630)), Duration::from_secs(30));
        assert_eq!(then.age(&stamp("a", 130, 996_430)), Duration::from_secs(30));
    }

    #[test]
    fn across_boots_the_age_is_at_least_the_time_since_boot() {
        let then = stamp("a", 100, 1_000_000);
        assert_eq!(then.age(&stamp("b", 20, 1_000_090)), Duration::from_secs(90));
        assert_eq!(then.age(&stamp("b", 20, 900_000)), Duration::from_secs(20));
    }

    #[test]
    fn times_a_person_writes_are_read() {
        assert!("2026-11-21 09:00".parse::<WallTime>().is_err());
        let time: WallTime = serde_json::from_str("\"2026-11-21T09:00:00Z\"").unwrap();
        assert_eq!(serde_json::to_string(&time).unwrap(), "\"2026-11-21T09:00:00.000Z\"");
    }

    #[tokio::test]
    async fn until_gives_the_output_or_none() {
        let clock = ManualClock::new();
        let past = clock.monotonic();
        assert_eq!(clock.until(past + Duration::from_secs(1), async { 7 }).await, Some(7));
        assert_eq!(clock.until(past, std::future::pending::<()>()).await, None);
    }
}
