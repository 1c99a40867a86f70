//! [`Breaker`]: stop calling what does not answer, and try again with one call at a time.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Monotonic, SharedClock};
use crate::sync::{Mutex, MutexGuard};

/// When a breaker opens and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Opens after this many failures in a row.
    pub failures: u32,
    /// How long it stays open before a trial is let through.
    pub cooldown: Duration,
    /// How long a trial may take. A trial that never reports back counts as failed then, so that
    /// a half-open breaker can't get stuck.
    pub trial_deadline: Duration,
}

/// What a breaker lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Everything.
    Closed,
    /// Nothing.
    Open,
    /// One trial.
    HalfOpen,
}

#[derive(Debug)]
enum State {
    Closed { failures: u32 },
    Open { until: Monotonic },
    Trial { id: u64, until: Monotonic },
}

#[derive(Debug)]
struct Shared {
    policy: BreakerPolicy,
    clock: SharedClock,
    state: Mutex<(State, u64)>,
}

/// A circuit breaker. Clones share the state.
#[derive(Debug, Clone)]
pub struct Breaker(Arc<Shared>);

/// Permission for one call. Report how it went; dropping it counts as a failure of a trial, and
/// as nothing while the breaker is closed.
#[derive(Debug)]
#[must_use = "report how the call went"]
pub struct Permit {
    shared: Arc<Shared>,
    trial: Option<u64>,
    reported: bool,
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(policy: BreakerPolicy, clock: SharedClock) -> Self {
        let state = Mutex::new((State::Closed { failures: 0 }, 0));
        Self(Arc::new(Shared { policy, clock, state }))
    }

    /// Asks for permission, or is told how long to wait.
    ///
    /// # Errors
    /// The time until the next trial may be made.
    pub fn try_acquire(&self) -> Result<Permit, Duration> {
        let now = self.0.clock.monotonic();
        let mut guard = self.0.lock();
        let (state, trials) = &mut *guard;
        let trial = match *state {
            State::Closed { .. } => None,
            State::Open { until } | State::Trial { until, .. } if now < until => {
                return Err(until.saturating_since(now));
            }
            State::Open { .. } | State::Trial { .. } => {
                *trials += 1;
                *state = State::Trial { id: *trials, until: now + self.0.policy.trial_deadline };
                Some(*trials)
            }
        };
        drop(guard);
        Ok(Permit { shared: Arc::clone(&self.0), trial, reported: false })
    }

    /// What it lets through now.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        let now = self.0.clock.monotonic();
        match self.0.lock().0 {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { until } if now < until => BreakerState::Open,
            State::Open { .. } | State::Trial { .. } => BreakerState::HalfOpen,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, (State, u64)> {
        self.state.lock()
    }

    fn report(&self, trial: Option<u64>, success: bool) {
        let now = self.clock.monotonic();
        let state = &mut self.lock().0;
        let open = State::Open { until: now + self.policy.cooldown };
        match (&mut *state, trial) {
            (State::Closed { failures }, None) if success => *failures = 0,
            (State::Closed { failures }, None) => {
                *failures += 1;
                if *failures >= self.policy.failures {
                    *state = open;
                }
            }
            (State::Trial { id, .. }, Some(trial)) if *id == trial => {
                *state = if success { State::Closed { failures: 0 } } else { open };
            }
            // A late report of a call from before the breaker opened, or of a trial that ran out.
            _ => {}
        }
    }
}

impl Permit {
    /// The call worked.
    pub fn success(mut self) {
        self.reported = true;
        self.shared.report(self.trial, true);
    }

    /// The call failed in a way that says something about the other side.
    pub fn failure(mut self) {
        self.reported = true;
        self.shared.report(self.trial, false);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.reported && self.trial.is_some() {
            self.shared.report(self.trial, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn breaker(clock: &ManualClock) -> Breaker {
        let policy = BreakerPolicy {
            failures: 2,
            cooldown: Duration::from_secs(10),
            trial_deadline: Duration::from_secs(5),
        };
        Breaker::new(policy, Arc::new(clock.clone()))
    }

    #[test]
    fn one_trial_at_a_time_after_the_cooldown() {
        let clock = ManualClock::new();
        let breaker = breaker(&clock);
        breaker.try_acquire().unwrap().failure();
        breaker.try_acquire().unwrap().failure();
        assert_eq!(breaker.try_acquire().unwrap_err(), Duration::from_secs(10));
        clock.advance(Duration::from_secs(10));
        let trial = breaker.try_acquire().unwrap();
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert_eq!(breaker.try_acquire().unwrap_err(), Duration::from_secs(5));
        trial.success();
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn a_trial_that_never_returns_does_not_block_the_next() {
        let clock = ManualClock::new();
        let breaker = breaker(&clock);
        breaker.try_acquire().unwrap().failure();
        breaker.try_acquire().unwrap().failure();
        clock.advance(Duration::from_secs(10));
        let lost = breaker.try_acquire().unwrap();
        clock.advance(Duration::from_secs(5));
        let trial = breaker.try_acquire().unwrap();
        lost.success();
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        drop(trial);
        assert_eq!(breaker.state(), BreakerState::Open);
    }
}
