//! [`ManualClock`]: time that moves only when a test says so.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::sync::{Mutex, MutexGuard};

use super::{BootId, Clock, Monotonic, Sleep, WallTime};

#[derive(Debug)]
struct State {
    monotonic: Duration,
    boottime: Duration,
    wall: WallTime,
    boot: u32,
    next_sleeper: u64,
    sleepers: BTreeMap<(Monotonic, u64), Waker>,
}

/// A clock that stands still until it is told to move. Clones share the time.
///
/// ```
/// use std::time::Duration;
/// use jarvis_core::clock::{Clock, ManualClock};
///
/// let clock = ManualClock::new();
/// let before = clock.monotonic();
/// clock.advance(Duration::from_secs(30));
/// assert_eq!(clock.monotonic().saturating_since(before), Duration::from_secs(30));
/// ```
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Mutex<State>>);

impl ManualClock {
    /// A clock at 2026-01-01T00:00:00Z, one hour after boot.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            monotonic: Duration::ZERO,
            boottime: Duration::from_secs(3_600),
            wall: WallTime::from_millis(1_767_225_600_000),
            boot: 1,
            next_sleeper: 0,
            sleepers: BTreeMap::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// Moves all three axes and wakes whoever is due.
    pub fn advance(&self, duration: Duration) {
        let mut state = self.state();
        state.monotonic += duration;
        state.boottime += duration;
        state.wall = state.wall + duration;
        Self::wake(state);
    }

    /// Moves to the next sleeper's time and wakes it. Says how far, or `None` without a sleeper.
    pub fn advance_to_next(&self) -> Option<Duration> {
        let next = self.next_wake()?;
        let step = next.saturating_since(self.monotonic());
        self.advance(step);
        Some(step)
    }

    /// When the next sleeper wants to wake; `None` without a sleeper.
    #[must_use]
    pub fn next_wake(&self) -> Option<Monotonic> {
        self.state().sleepers.keys().next().map(|(at, _)| *at)
    }

    /// Sets the wall clock, as NTP or a person would. The other axes stay.
    pub fn set_wall(&self, wall: WallTime) {
        self.state().wall = wall;
    }

    /// The machine sleeps: boot time and wall clock move, the monotonic axis does not.
    pub fn suspend(&self, duration: Duration) {
        let mut state = self.state();
        state.boottime += duration;
        state.wall = state.wall + duration;
    }

    /// The machine boots anew after `off`.
    pub fn reboot(&self, off: Duration) {
        let mut state = self.state();
        state.boot += 1;
        state.boottime = Duration::ZERO;
        state.wall = state.wall + off;
    }

    /// How many futures wait for this clock now.
    #[must_use]
    pub fn sleepers(&self) -> usize {
        self.state().sleepers.len()
    }

    fn wake(mut state: MutexGuard<'_, State>) {
        let now = Monotonic::from_start(state.monotonic);
        let later = state.sleepers.split_off(&(now, u64::MAX));
        let due = std::mem::replace(&mut state.sleepers, later);
        drop(state);
        due.into_values().for_each(Waker::wake);
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn monotonic(&self) -> Monotonic {
        Monotonic::from_start(self.state().monotonic)
    }

    fn boottime(&self) -> Duration {
        self.state().boottime
    }

    fn boot_id(&self) -> BootId {
        BootId::new(format!("manual-{}", self.state().boot))
    }

    fn wall(&self) -> WallTime {
        self.state().wall
    }

    fn sleep_until(&self, at: Monotonic) -> Sleep {
        let mut state = self.state();
        state.next_sleeper += 1;
        let key = (at, state.next_sleeper);
        drop(state);
        Box::pin(ManualSleep { clock: self.clone(), key })
    }
}

struct ManualSleep {
    clock: ManualClock,
    key: (Monotonic, u64),
}

impl Future for ManualSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.clock.state();
        if state.monotonic >= self.key.0.since_start() {
            return Poll::Ready(());
        }
        state.sleepers.insert(self.key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for ManualSleep {
    fn drop(&mut self) {
        self.clock.state().sleepers.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sleepers_wake_in_order_and_a_dropped_one_is_forgotten() {
        let clock = ManualClock::new();
        let woken = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for seconds in [3_u64, 1, 2] {
            let (sleep, woken) = (
                clock.sleep_until(clock.monotonic() + Duration::from_secs(seconds)),
                Arc::clone(&woken),
            );
            tasks.push(tokio::spawn(async move {
                sleep.await;
                woken.lock().push(seconds);
            }));
        }
        while clock.sleepers() < 3 {
            tokio::task::yield_now().await;
        }
        tasks.remove(0).abort();
        while clock.sleepers() > 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(clock.advance_to_next(), Some(Duration::from_secs(1)));
        tasks.remove(0).await.unwrap();
        assert_eq!(clock.advance_to_next(), Some(Duration::from_secs(1)));
        tasks.remove(0).await.unwrap();
        assert_eq!(*woken.lock(), [1, 2]);
        assert_eq!(clock.advance_to_next(), None);
    }

    #[test]
    fn suspend_and_reboot_are_told_apart() {
        let clock = ManualClock::new();
        let (monotonic, boot) = (clock.monotonic(), clock.boot_id());
        clock.suspend(Duration::from_secs(60));
        assert_eq!((clock.monotonic(), clock.boot_id()), (monotonic, boot.clone()));
        clock.reboot(Duration::from_secs(60));
        assert_ne!(clock.boot_id(), boot);
        assert_eq!(clock.boottime(), Duration::ZERO);
    }
}
