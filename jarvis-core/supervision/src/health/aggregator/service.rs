//! One service under watch: its checks, their judges, and what it all comes to.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;

use super::judge::{Judge, Sample, worst};
use super::policy::{CheckPolicy, CheckSpec, ServiceSpec};
use super::results::{Recent, Results};
use super::snapshot::CheckCounters;
use crate::health::HealthProbe;
use crate::health::uptime::Meter;
use base::clock::Monotonic;
use base::sync::{Mutex, MutexGuard};
use base::vocabulary::{
    Cause, CheckName, FailureKind, InstanceId, ServiceId, ServiceState, Verdict,
};

/// Equal parts of the checks of one configuration, kept once: thousands of targets have a handful
/// of names and policies.
#[derive(Debug, Default)]
pub(super) struct Shares {
    names: HashSet<CheckName>,
    policies: HashSet<Arc<CheckPolicy>>,
}

impl Shares {
    fn name(&mut self, name: &CheckName) -> CheckName {
        if let Some(shared) = self.names.get(name) {
            return shared.clone();
        }
        self.names.insert(name.clone());
        name.clone()
    }

    fn policy(&mut self, policy: &CheckPolicy) -> Arc<CheckPolicy> {
        if let Some(shared) = self.policies.get(policy) {
            return Arc::clone(shared);
        }
        let shared = Arc::new(policy.clone());
        self.policies.insert(Arc::clone(&shared));
        shared
    }
}

/// What is probed. Shared by its task, by fresh probes and by the service.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) name: CheckName,
    pub(super) policy: Arc<CheckPolicy>,
    pub(super) fingerprint: u64,
    probe: Mutex<Arc<dyn HealthProbe>>,
    /// One probe at a time.
    pub(super) permit: Semaphore,
    /// Probe at once.
    pub(super) wake: Notify,
    /// The last round that it was probed in.
    pub(super) round: AtomicU32,
    pub(super) task: Mutex<Option<AbortHandle>>,
}

impl Target {
    fn new(spec: &CheckSpec, shares: &mut Shares) -> Self {
        Self {
            name: shares.name(&spec.name),
            policy: shares.policy(&spec.policy),
            fingerprint: spec.fingerprint,
            probe: Mutex::new(Arc::clone(&spec.probe)),
            permit: Semaphore::new(1),
            wake: Notify::new(),
            round: AtomicU32::new(0),
            task: Mutex::new(None),
        }
    }

    pub(super) fn probe(&self) -> Arc<dyn HealthProbe> {
        Arc::clone(&self.probe.lock())
    }

    /// Gives the one before.
    fn set_probe(&self, probe: &Arc<dyn HealthProbe>) -> Arc<dyn HealthProbe> {
        let mut place = self.probe.lock();
        std::mem::replace(&mut *place, Arc::clone(probe))
    }

    pub(super) fn abort(&self) {
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
    }
}

/// A check with what is known about it.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) target: Arc<Target>,
    pub(super) host: Option<Arc<str>>,
    pub(super) judge: Judge,
    pub(super) results: Results,
    pub(super) message: Box<str>,
    pub(super) failure: Option<(FailureKind, Box<str>)>,
    pub(super) counters: CheckCounters,
    /// The suspends that the judge has been told of.
    pub(super) resumes: u32,
    /// What the last result says, and until when (monotonic, in ms) it may be believed.
    owned: (ServiceState, u64),
}

impl Check {
    fn new(
        spec: &CheckSpec,
        grace_until: Option<Monotonic>,
        resumes: u32,
        shares: &mut Shares,
    ) -> Self {
        Self {
            target: Arc::new(Target::new(spec, shares)),
            host: spec.host.clone(),
            judge: Judge::new(false, grace_until),
            results: Results::default(),
            message: Box::default(),
            failure: None,
            counters: CheckCounters::default(),
            resumes,
            owned: (ServiceState::Unknown, 0),
        }
    }

    /// Whose state it was at that time.
    fn owned_at(&self, at_ms: u64) -> ServiceState {
        if at_ms < self.owned.1 { self.owned.0 } else { ServiceState::Unknown }
    }

    fn is_unchanged(&self, spec: &CheckSpec) -> bool {
        self.target.name == spec.name
            && self.target.fingerprint == spec.fingerprint
            && *self.target.policy == spec.policy
    }
}

/// What a service is at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reported {
    pub(super) state: ServiceState,
    pub(super) cause: Option<Cause>,
    pub(super) ever_passed: bool,
    pub(super) flapping: bool,
}

impl Reported {
    /// Is there anything new that an operator decides by? The message alone is not.
    fn differs(&self, other: &Self) -> bool {
        let key =
            |cause: &Option<Cause>| cause.as_ref().map(|cause| (cause.check.clone(), cause.kind));
        self.state != other.state
            || self.flapping != other.flapping
            || self.ever_passed != other.ever_passed
            || key(&self.cause) != key(&other.cause)
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) critical: bool,
    pub(super) start_grace: Duration,
    pub(super) checks: Vec<Check>,
    pub(super) reported: Reported,
    pub(super) since: Monotonic,
    /// When the last probe began whose result counts.
    pub(super) probed: Monotonic,
    pub(super) instance: Option<InstanceId>,
    pub(super) maintenance: bool,
    /// Not judged yet since an action ended: the next judgement is told even when it is the same.
    pub(super) fresh: bool,
    pub(super) removed: bool,
    pub(super) meter: Meter,
}

#[derive(Debug)]
pub(super) struct Service {
    pub(super) id: ServiceId,
    state: Mutex<State>,
    /// Counts actions begun and ended: a probe that saw it change is thrown away.
    pub(super) generation: AtomicU32,
    /// An action is under way.
    pub(super) acting: AtomicBool,
}

/// What a changed configuration has no use for. Probes are the embedding program's, and may do
/// anything when they are dropped: also look at the service that they were of.
#[derive(Debug, Default)]
#[must_use = "it is dropped once no lock is held"]
pub(super) struct Discarded {
    _checks: Vec<Check>,
    _probes: Vec<Arc<dyn HealthProbe>>,
}

/// What a result changed, to be told.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The state before, when it is another one now.
    pub(super) from: Option<ServiceState>,
    /// The flapping, when it began or ended.
    pub(super) flapping: Option<bool>,
    /// Does an operator want to know?
    pub(super) tell: bool,
}

impl Service {
    pub(super) fn new(
        spec: &ServiceSpec,
        now: Monotonic,
        resumes: u32,
        offset_ms: i64,
        shares: &mut Shares,
    ) -> Self {
        let grace = grace(spec.start_grace, now);
        let checks = spec.checks.iter().map(|check| Check::new(check, grace, resumes, shares));
        Self {
            id: spec.id.clone(),
            state: Mutex::new(State {
                critical: spec.critical,
                start_grace: spec.start_grace,
                checks: checks.collect(),
                reported: Reported {
                    state: ServiceState::Unknown,
                    cause: None,
                    ever_passed: false,
                    flapping: false,
                },
                since: now,
                probed: now,
                instance: None,
                maintenance: false,
                fresh: false,
                removed: false,
                meter: Meter::new(millis(now), offset_ms),
            }),
            generation: AtomicU32::new(0),
            acting: AtomicBool::new(false),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn is_acting(&self) -> bool {
        self.acting.load(Ordering::Acquire)
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }
}

/// The end of the grace of a service that started then.
pub(super) fn grace(grace: Duration, started: Monotonic) -> Option<Monotonic> {
    (!grace.is_zero()).then(|| started + grace)
}

/// A moment in milliseconds of the monotonic axis.
pub(super) fn millis(at: Monotonic) -> u64 {
    u64::try_from(at.since_start().as_millis()).unwrap_or(u64::MAX)
}

impl State {
    /// Accounts the time up to now, with what held until now.
    pub(super) fn settle(&mut self, now: Monotonic, offset_ms: i64) {
        let checks = &self.checks;
        self.meter.settle(millis(now), offset_ms, self.maintenance, |at| {
            let critical = |check: &Check| check.target.policy.critical;
            let state = worst(checks.iter().map(|check| (check.owned_at(at), critical(check))));
            let ends = checks.iter().map(|check| check.owned.1).filter(|end| *end > at);
            (state, ends.min().unwrap_or(u64::MAX))
        });
    }

    /// Accounts a result.
    pub(super) fn account(
        &mut self,
        target: &Arc<Target>,
        verdict: Verdict,
        latency: Duration,
        now: Monotonic,
    ) {
        let account = self.meter.open_mut();
        if verdict != Verdict::Unknown {
            account.probes += 1;
            account.failures += u64::from(verdict == Verdict::Fail);
        }
        if matches!(verdict, Verdict::Pass | Verdict::Warn) {
            account.latency.record(latency);
        }
        let owns = target.policy.interval.max(target.policy.timeout) * 2;
        let Some(check) = self.check_mut(target) else { return };
        let state = match verdict {
            Verdict::Pass => ServiceState::Healthy,
            Verdict::Warn => ServiceState::Degraded,
            // Nobody has judged it yet: it may not have been started for the first time.
            Verdict::Fail if check.judge.state() == ServiceState::Unknown => ServiceState::Unknown,
            Verdict::Fail => ServiceState::Down,
            Verdict::Unknown => ServiceState::Unknown,
        };
        check.owned = (state, millis(now + owns));
    }

    /// Takes over a changed configuration. Checks that did not change keep what is known.
    pub(super) fn reconfigure(
        &mut self,
        spec: &ServiceSpec,
        now: Monotonic,
        resumes: u32,
        shares: &mut Shares,
    ) -> Discarded {
        (self.critical, self.start_grace) = (spec.critical, spec.start_grace);
        let mut old = std::mem::take(&mut self.checks);
        let mut probes = Vec::new();
        for spec in &spec.checks {
            let kept = old.iter().position(|check| check.is_unchanged(spec));
            self.checks.push(match kept {
                Some(at) => {
                    let mut check = old.swap_remove(at);
                    probes.push(check.target.set_probe(&spec.probe));
                    check.host.clone_from(&spec.host);
                    check
                }
                None => Check::new(spec, grace(self.start_grace, now), resumes, shares),
            });
        }
        old.iter().for_each(|check| check.target.abort());
        Discarded { _checks: old, _probes: probes }
    }

    pub(super) fn check_mut(&mut self, target: &Arc<Target>) -> Option<&mut Check> {
        self.checks.iter_mut().find(|check| Arc::ptr_eq(&check.target, target))
    }

    /// Another life of the service than the one before: what failed before is not its doing.
    pub(super) fn saw(&mut self, instance: Option<&InstanceId>, now: Monotonic) -> bool {
        let Some(instance) = instance.filter(|instance| self.instance.as_ref() != Some(instance))
        else {
            return false;
        };
        if self.instance.replace(instance.clone()).is_some() {
            let grace = grace(self.start_grace, now);
            self.checks.iter_mut().for_each(|check| check.judge.started_anew(grace));
        }
        true
    }

    /// Works out what the service is now, and what of it is to be told.
    pub(super) fn judge(&mut self, now: Monotonic) -> Outcome {
        let reported = self.work_out();
        let before = &self.reported;
        let settled = self.is_settled(reported.state);
        // Down from before the action, and not contradicted often enough yet: no news.
        let old = self.fresh && !settled && reported.state == ServiceState::Down;
        let outcome = Outcome {
            from: (before.state != reported.state).then_some(before.state),
            flapping: (before.flapping != reported.flapping).then_some(reported.flapping),
            tell: (before.differs(&reported) && !old) || (self.fresh && settled),
        };
        self.fresh &= !settled;
        if outcome.from.is_some() {
            self.since = now;
        }
        self.reported = reported;
        outcome
    }

    /// Is it that by what was seen since the last action?
    fn is_settled(&self, state: ServiceState) -> bool {
        let critical = self.checks.iter().any(|check| check.target.policy.critical);
        match state {
            ServiceState::Unknown => false,
            ServiceState::Down => self
                .checks
                .iter()
                .filter(|check| check.target.policy.critical || !critical)
                .any(|check| check.judge.state() == ServiceState::Down && check.is_settled()),
            ServiceState::Healthy | ServiceState::Degraded => {
                self.checks.iter().all(Check::is_settled)
            }
        }
    }

    fn work_out(&self) -> Reported {
        let states =
            self.checks.iter().map(|check| (check.judge.state(), check.target.policy.critical));
        let mut state = worst(states);
        let flapping = self
            .checks
            .iter()
            .any(|check| check.judge.is_flapping() && check.target.policy.critical);
        // What changes all the time is neither up nor down, and a restart can't mend it.
        if flapping && state != ServiceState::Unknown {
            state = ServiceState::Degraded;
        }
        let deciding = self.deciding(state);
        let ever_passed = match deciding {
            Some(check) => check.judge.ever_passed(),
            None => self
                .checks
                .iter()
                .filter(|check| check.target.policy.critical)
                .all(|check| check.judge.ever_passed()),
        };
        Reported { state, cause: deciding.map(Check::cause), ever_passed, flapping }
    }

    /// The check that makes the service what it is: critical before not critical, the worst, then
    /// what is certain, then what a restart may mend.
    fn deciding(&self, state: ServiceState) -> Option<&Check> {
        if state == ServiceState::Healthy {
            return None;
        }
        let rank = |check: &&Check| {
            let kind = check.failure.as_ref().map(|(kind, _)| *kind);
            (
                check.target.policy.critical,
                check.judge.state() == ServiceState::Down,
                kind.is_some_and(FailureKind::is_certain),
                kind.is_some_and(FailureKind::may_restart),
            )
        };
        // The first of equals: `max_by_key` would take the last.
        self.checks
            .iter()
            .rev()
            .filter(|check| {
                check.judge.state() != ServiceState::Healthy || check.judge.is_flapping()
            })
            .filter(|check| check.failure.is_some())
            .max_by_key(rank)
    }
}

impl Check {
    /// Enough results since the action for a judgement of its own?
    fn is_settled(&self) -> bool {
        let fails = self.judge.consecutive_failures();
        match self.judge.state() {
            ServiceState::Down => {
                fails >= self.target.policy.failure_threshold
                    || (fails > 0
                        && self.failure.as_ref().is_some_and(|(kind, _)| kind.is_certain()))
            }
            ServiceState::Healthy | ServiceState::Degraded => fails == 0,
            ServiceState::Unknown => !self.target.policy.critical,
        }
    }

    fn cause(&self) -> Cause {
        let (kind, message) = match &self.failure {
            Some((kind, message)) => (Some(*kind), message.to_string()),
            None => (None, self.message.to_string()),
        };
        Cause { check: self.target.name.clone(), kind, message }
    }

    /// Takes a result and gives back the verdict that it counts as.
    pub(super) fn observe(&mut self, sample: &Sample, message: &str, now: Monotonic) -> Verdict {
        let verdict = self.judge.observe(&self.target.policy, *sample, now);
        let recent = Recent::new(now, verdict, sample);
        self.counters.probes += 1;
        self.counters.failures += u64::from(verdict == Verdict::Fail);
        self.counters.unknowns += u64::from(verdict == Verdict::Unknown);
        if *self.message != *message {
            self.message = message.into();
        }
        let slow = recent.kind() == Some(FailureKind::Slow) && sample.verdict == Verdict::Pass;
        match recent.kind() {
            // A failure stays the reason until something better is known than "can't tell".
            Some(kind) if verdict != Verdict::Unknown || self.failure.is_none() => {
                let message =
                    if slow { self.slow_message(sample.latency).into() } else { message.into() };
                self.failure = Some((kind, message));
            }
            None if self.judge.state() == ServiceState::Healthy => self.failure = None,
            _ => {}
        }
        self.results.push(recent);
        verdict
    }

    fn slow_message(&self, latency: Duration) -> String {
        let limit = self.target.policy.degraded_above.unwrap_or_default();
        format!("slower than {} ms of late, now {} ms", limit.as_millis(), latency.as_millis())
    }
}
