//! From single results to a judgement, with hysteresis. Pure: it is told the time.

use std::time::Duration;

use super::flapping::Flapping;
use super::policy::CheckPolicy;
use base::clock::Monotonic;
use base::vocabulary::{FailureKind, Platform, ServiceState, Verdict};

/// One result, as the judge sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) verdict: Verdict,
    pub(super) kind: Option<FailureKind>,
    pub(super) latency: Duration,
    /// We were late or asleep: whatever was seen is not the target's doing.
    pub(super) ours: bool,
}

/// The latencies of the last 20 answers, as far as the limit is concerned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Slowness {
    over: u32,
    seen: u8,
}

impl Slowness {
    const WINDOW: u8 = 20;

    /// Takes an answer; is it degraded by latency now?
    fn record(&mut self, slow: bool) -> bool {
        self.over = (self.over << 1 | u32::from(slow)) & ((1 << Self::WINDOW) - 1);
        self.seen = (self.seen + 1).min(Self::WINDOW);
        // By nearest rank the 95th percentile of 20 is the second largest.
        let percentile = self.seen == Self::WINDOW && self.over.count_ones() >= 2;
        percentile || self.over & 0b111 == 0b111
    }
}

/// The judgement over one check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Judge {
    state: ServiceState,
    /// What it was before it became unknown.
    known: ServiceState,
    fails: u32,
    passes: u32,
    unknowns: u32,
    slowness: Slowness,
    flapping: Flapping,
    /// Was the last known result a failure? Then the next probe comes sooner.
    failing: bool,
    ever_passed: bool,
    /// Until then failing does not count.
    grace_until: Option<Monotonic>,
    /// After a suspend: until then only passes count.
    quiet_until: Option<Monotonic>,
}

impl Judge {
    /// Nothing known yet.
    pub(super) fn new(ever_passed: bool, grace_until: Option<Monotonic>) -> Self {
        Self { ever_passed, grace_until, ..Self::default() }
    }

    pub(super) const fn state(&self) -> ServiceState {
        self.state
    }

    pub(super) const fn ever_passed(&self) -> bool {
        self.ever_passed
    }

    pub(super) const fn is_flapping(&self) -> bool {
        self.flapping.is_flapping()
    }

    pub(super) const fn consecutive_failures(&self) -> u32 {
        self.fails
    }

    /// An earlier run of JARVIS saw it pass.
    pub(super) const fn passed_before(&mut self) {
        self.ever_passed = true;
    }

    /// When to probe next, after the last.
    pub(super) fn interval(&self, policy: &CheckPolicy) -> Duration {
        let failing = self.failing || self.state == ServiceState::Down;
        if failing { policy.interval_failing() } else { policy.interval }
    }

    /// Takes a result. Gives back the verdict that it counts as: late results are unknown, slow
    /// ones warn.
    pub(super) fn observe(
        &mut self,
        policy: &CheckPolicy,
        sample: Sample,
        now: Monotonic,
    ) -> Verdict {
        if self.quiet_until.is_some_and(|until| until <= now) {
            self.quiet_until = None;
        }
        let quiet = self.quiet_until.is_some() && sample.verdict == Verdict::Fail;
        if sample.ours || quiet {
            (self.fails, self.passes) = (0, 0);
            return self.unknown(policy);
        }
        match sample.verdict {
            Verdict::Unknown => self.unknown(policy),
            Verdict::Fail => self.fail(policy, sample.kind, now),
            Verdict::Pass | Verdict::Warn => self.pass(policy, sample),
        }
    }

    fn unknown(&mut self, policy: &CheckPolicy) -> Verdict {
        self.unknowns += 1;
        if self.state != ServiceState::Unknown && self.unknowns >= policy.failure_threshold {
            (self.known, self.state) = (self.state, ServiceState::Unknown);
        }
        Verdict::Unknown
    }

    fn fail(&mut self, policy: &CheckPolicy, kind: Option<FailureKind>, now: Monotonic) -> Verdict {
        (self.unknowns, self.passes, self.failing) = (0, 0, true);
        let in_grace = self.grace_until.is_some_and(|until| now < until);
        // Nothing listens yet while it starts; that it is gone is proof at any time.
        if in_grace && kind != Some(FailureKind::Exited) {
            return Verdict::Fail;
        }
        self.grace_until = None;
        self.flapping.record(true);
        self.fails = self.fails.saturating_add(1);
        let certain = kind.is_some_and(FailureKind::is_certain);
        if certain || self.fails >= policy.failure_threshold {
            (self.state, self.known) = (ServiceState::Down, ServiceState::Down);
        }
        Verdict::Fail
    }

    fn pass(&mut self, policy: &CheckPolicy, sample: Sample) -> Verdict {
        (self.unknowns, self.fails, self.failing) = (0, 0, false);
        self.flapping.record(false);
        self.grace_until = None;
        self.ever_passed = true;
        let slow =
            policy.degraded_above.is_some_and(|limit| self.slowness.record(sample.latency > limit));
        let warn = slow || sample.verdict == Verdict::Warn;
        let before = if self.state == ServiceState::Unknown { self.known } else { self.state };
        let bad = match before {
            ServiceState::Down => true,
            // To be degraded needs one result, to be well again as many as after being down.
            ServiceState::Degraded => !warn,
            ServiceState::Healthy | ServiceState::Unknown => false,
        };
        self.passes = if bad { self.passes.saturating_add(1) } else { 0 };
        if bad && self.passes < policy.success_threshold {
            self.state = before;
        } else {
            self.passes = 0;
            self.state = if warn { ServiceState::Degraded } else { ServiceState::Healthy };
            self.known = self.state;
        }
        if warn { Verdict::Warn } else { Verdict::Pass }
    }

    /// The service was acted on, or a new life of it was seen: what failed before says nothing
    /// about it. The state stays until new results change it.
    pub(super) fn started_anew(&mut self, grace_until: Option<Monotonic>) {
        (self.fails, self.passes, self.unknowns) = (0, 0, 0);
        self.flapping = Flapping::default();
        self.slowness = Slowness::default();
        self.grace_until = grace_until;
    }

    /// The machine slept: half a streak from before says nothing, and the network may need a
    /// moment.
    pub(super) fn resumed(&mut self, quiet_until: Monotonic) {
        (self.fails, self.passes) = (0, 0);
        self.quiet_until = Some(quiet_until);
    }
}

/// The order of badness. What is not known may be down, so it is worse than degraded.
const fn badness(state: ServiceState) -> u8 {
    match state {
        ServiceState::Healthy => 0,
        ServiceState::Degraded => 1,
        ServiceState::Unknown => 2,
        ServiceState::Down => 3,
    }
}

/// A service is what the worst of its critical checks is; the others degrade it at most.
pub(super) fn worst(checks: impl IntoIterator<Item = (ServiceState, bool)>) -> ServiceState {
    let mut worst = None;
    let mut degraded = false;
    for (state, critical) in checks {
        if critical {
            worst = Some(match worst {
                Some(so_far) if badness(so_far) >= badness(state) => so_far,
                _ => state,
            });
        } else {
            degraded |= matches!(state, ServiceState::Down | ServiceState::Degraded);
            // A service without a critical check is what can be seen of the others.
            if worst.is_none() && state != ServiceState::Unknown {
                worst = Some(ServiceState::Healthy);
            }
        }
    }
    match worst {
        Some(ServiceState::Healthy) if degraded => ServiceState::Degraded,
        worst => worst.unwrap_or_default(),
    }
}

/// The services as one, counted up and down as they change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    platform: Platform,
    critical_down: usize,
}

impl Tally {
    fn count(&mut self, state: ServiceState) -> &mut usize {
        match state {
            ServiceState::Healthy => &mut self.platform.healthy,
            ServiceState::Degraded => &mut self.platform.degraded,
            ServiceState::Down => &mut self.platform.down,
            ServiceState::Unknown => &mut self.platform.unknown,
        }
    }

    /// A service came.
    pub(super) fn add(&mut self, state: ServiceState, critical: bool) {
        *self.count(state) += 1;
        self.critical_down += usize::from(critical && state == ServiceState::Down);
        self.platform.state = self.judge();
    }

    /// A service went.
    pub(super) fn remove(&mut self, state: ServiceState, critical: bool) {
        *self.count(state) -= 1;
        self.critical_down -= usize::from(critical && state == ServiceState::Down);
        self.platform.state = self.judge();
    }

    /// What it comes to.
    pub(super) const fn platform(&self) -> &Platform {
        &self.platform
    }

    fn judge(&self) -> ServiceState {
        let Platform { healthy, degraded, down, unknown, .. } = self.platform;
        let all = healthy + degraded + down + unknown;
        if self.critical_down > 0 || (all > 0 && down == all) {
            ServiceState::Down
        } else if unknown * 2 > all || all == 0 {
            ServiceState::Unknown
        } else if down + degraded > 0 {
            ServiceState::Degraded
        } else {
            ServiceState::Healthy
        }
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
