//! [`Backoff`]: how long to wait before the next try.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units;

/// Exponential backoff with a cap.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BackoffPolicy {
    /// The wait after the first failure.
    #[serde(with = "units::duration")]
    pub initial: Duration,
    /// What each further failure multiplies it by; at least 1.
    pub factor: f64,
    /// The longest wait.
    #[serde(with = "units::duration")]
    pub max: Duration,
    /// Full jitter: anywhere between nothing and the wait, so that many waiters spread out.
    pub jitter: bool,
}

impl Default for BackoffPolicy {
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(10),
            factor: 2.0,
            max: Duration::from_secs(300),
            jitter: true,
        }
    }
}

impl BackoffPolicy {
    /// The longest wait after that many failures (0 failures: no wait).
    #[must_use]
    pub fn ceiling(&self, failures: u32) -> Duration {
        if failures == 0 {
            return Duration::ZERO;
        }
        let exponent = i32::try_from(failures - 1).unwrap_or(i32::MAX);
        let factor = if self.factor.is_finite() { self.factor.max(1.0) } else { 1.0 };
        let seconds = self.initial.as_secs_f64() * factor.powi(exponent);
        Duration::try_from_secs_f64(seconds).unwrap_or(self.max).min(self.max)
    }

    /// The wait after that many failures; `random` is uniform in 0..1 and used with jitter only.
    #[must_use]
    pub fn wait(&self, failures: u32, random: f64) -> Duration {
        let ceiling = self.ceiling(failures);
        if self.jitter { ceiling.mul_f64(random.clamp(0.0, 1.0)) } else { ceiling }
    }
}

/// A [`BackoffPolicy`] with its own count of failures.
#[derive(Debug, Clone)]
pub struct Backoff {
    policy: BackoffPolicy,
    failures: u32,
}

impl Backoff {
    /// No failure yet.
    #[must_use]
    pub const fn new(policy: BackoffPolicy) -> Self {
        Self { policy, failures: 0 }
    }

    /// Counts a failure and says how long to wait.
    pub fn failed(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.policy.wait(self.failures, random_fraction())
    }

    /// It worked: the next failure is the first again.
    pub const fn succeeded(&mut self) {
        self.failures = 0;
    }
}

/// Uniform in 0..1, from the operating system; 1 when it has none to give.
#[must_use]
pub fn random_fraction() -> f64 {
    const BITS: u32 = 53;
    getrandom::u64().map_or(1.0, |random| {
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64")]
        let fraction = (random >> (u64::BITS - BITS)) as f64 / (1_u64 << BITS) as f64;
        fraction
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_the_cap() {
        let policy = BackoffPolicy { jitter: false, ..BackoffPolicy::default() };
        let waits: Vec<u64> = (0..8).map(|n| policy.wait(n, 0.0).as_secs()).collect();
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(policy.wait(u32::MAX, 0.0), policy.max);
    }

    #[test]
    fn jitter_stays_below_the_ceiling() {
        let mut backoff = Backoff::new(BackoffPolicy::default());
        for ceiling in [10, 20, 40] {
            assert!(backoff.failed() <= Duration::from_secs(ceiling));
        }
        backoff.succeeded();
        assert!(backoff.failed() <= Duration::from_secs(10));
    }
}
