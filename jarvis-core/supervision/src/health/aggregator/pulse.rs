//! Are we ourselves on time and awake? A stall or a sleep of the machine must not look like the
//! targets' failure.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::health::uptime::Histogram;
use base::clock::{Clock, Monotonic};
use base::sync::{Mutex, MutexGuard};

/// The loop's own tick.
pub(super) const TICK: Duration = Duration::from_millis(250);

/// Later than this, a round says nothing about its target.
pub(super) const TOO_LATE: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct State {
    /// When the loop's tick is due; absent while the loop does not run.
    tick_due: Option<Monotonic>,
    lag: Duration,
    stalls: u64,
    last_stall_end: Option<Monotonic>,
    /// Boot time minus monotonic time: grows by the length of each suspend.
    asleep: Duration,
    suspends: u64,
    resumed_at: Monotonic,
    lateness: Histogram,
    lateness_max: Duration,
    probes: u64,
}

#[derive(Debug)]
pub(super) struct Pulse {
    state: Mutex<State>,
    /// Counts the suspends, to be compared without the lock.
    generation: AtomicU32,
}

/// What the pulse tells of itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vitals {
    pub(super) lag: Duration,
    pub(super) stalls: u64,
    pub(super) suspends: u64,
    pub(super) probes: u64,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    pub(super) max: Duration,
}

fn asleep(clock: &dyn Clock) -> Duration {
    // Read in this order a preemption between the two can only make it smaller.
    let boottime = clock.boottime();
    boottime.saturating_sub(clock.monotonic().since_start())
}

impl Pulse {
    pub(super) fn new(clock: &dyn Clock) -> Self {
        Self {
            state: Mutex::new(State {
                tick_due: None,
                lag: Duration::ZERO,
                stalls: 0,
                last_stall_end: None,
                asleep: asleep(clock),
                suspends: 0,
                resumed_at: clock.monotonic(),
                lateness: Histogram::new(),
                lateness_max: Duration::ZERO,
                probes: 0,
            }),
            generation: AtomicU32::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// How often the machine was seen to have slept.
    pub(super) fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    /// When it woke the last time.
    pub(super) fn resumed_at(&self) -> Monotonic {
        self.state().resumed_at
    }

    /// The loop ticked; the next tick is due then. `None` when it ends.
    pub(super) fn tick(&self, now: Monotonic, next: Option<Monotonic>) {
        let mut state = self.state();
        if let Some(due) = state.tick_due {
            state.lag = now.saturating_since(due);
            if state.lag > TOO_LATE {
                state.stalls += 1;
                state.last_stall_end = Some(now);
            }
        }
        state.tick_due = next;
    }

    /// A probe began in its turn, so late.
    pub(super) fn began(&self, lateness: Duration) {
        let mut state = self.state();
        state.probes += 1;
        state.lateness.record(lateness);
        state.lateness_max = state.lateness_max.max(lateness);
    }

    /// Was the loop stalled at any time since then?
    pub(super) fn stalled_since(&self, started: Monotonic, now: Monotonic) -> bool {
        let state = self.state();
        state.last_stall_end.is_some_and(|end| end >= started)
            || state.tick_due.is_some_and(|due| now.saturating_since(due) > TOO_LATE)
    }

    /// Looks whether the machine slept since the last look.
    pub(super) fn look(&self, clock: &dyn Clock) -> u32 {
        let asleep = asleep(clock);
        let mut state = self.state();
        if asleep > state.asleep + TOO_LATE {
            state.suspends += 1;
            state.resumed_at = clock.monotonic();
            self.generation.fetch_add(1, Ordering::Release);
        }
        // What is less than a second is the two clocks' own difference.
        state.asleep = asleep;
        self.generation()
    }

    pub(super) fn vitals(&self) -> Vitals {
        let state = self.state();
        let percentile = |share| state.lateness.percentile(share).unwrap_or_default();
        Vitals {
            lag: state.lag,
            stalls: state.stalls,
            suspends: state.suspends,
            probes: state.probes,
            p50: percentile(0.5).min(state.lateness_max),
            p99: percentile(0.99).min(state.lateness_max),
            max: state.lateness_max,
        }
    }
}
