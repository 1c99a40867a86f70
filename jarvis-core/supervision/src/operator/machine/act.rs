//! From the intent to its proof, and what follows when there is none.

use super::Machine;
use super::gates::Wanted;
use super::input::{Effect, Fresh};
use super::look::own_cause;
use super::record::{Act, MAX_BAD_VERSIONS, MAX_FINISHING, Pending, Phase, Service};
use crate::restart::{Receipt, RunState, Running};
use base::clock::Stamp;
use base::events::Event;
use base::units::format_duration;
use base::vocabulary::{
    ActionKind, ActionOutcome, Gate, Hold, IntentId, ServiceId, ServiceState, Trigger,
};
use std::time::Duration;

/// What could not be measured is tried again for that long after the grace.
const UNKNOWN_FOR: Duration = Duration::from_secs(60);
/// A platform that can't say how an action ended is asked again that often, and that many times.
const ASK_AGAIN: Duration = Duration::from_secs(5);
const ASK_TIMES: u32 = 6;

impl Machine {
    /// Writes the intent down and calls the restarter, in that order.
    pub(super) fn begin(&mut self, id: &ServiceId, intent: IntentId, wanted: Wanted, now: &Stamp) {
        let counted = wanted.counted();
        let Some(service) = self.services.get_mut(id) else { return };
        let record = &mut service.record;
        let attempt = match &mut record.incident {
            Some(incident) if counted => {
                incident.attempts += 1;
                incident.since_reset += 1;
                incident.recovered = false;
                incident.attempts
            }
            None if counted => 1,
            _ => 0,
        };
        let from = record.version.as_ref().map(|seen| seen.version.clone());
        if let (ActionKind::RollBack { .. }, Some(bad)) = (&wanted.action, &from) {
            record.bad.push(bad.clone());
            let excess = record.bad.len().saturating_sub(MAX_BAD_VERSIONS);
            record.bad.drain(..excess);
        }
        match (&wanted.action, &wanted.trigger) {
            (ActionKind::Stop, Trigger::Manual { by }) => {
                record.stopped = Some(format!("stopped by {by} through JARVIS"));
            }
            _ => record.stopped = None,
        }
        let act = Act {
            intent,
            action: wanted.action,
            trigger: wanted.trigger,
            attempt,
            before: service.live.look.as_ref().and_then(|look| look.instance.clone()),
            was_running: service.runs(),
            from,
            began: now.clone(),
            finishing: 0,
        };
        self.launch(id, act);
    }

    fn launch(&mut self, id: &ServiceId, act: Act) {
        let Some(token) = self.held.as_ref().map(|held| held.token) else { return };
        let Some(service) = self.services.get_mut(id) else { return };
        self.events.push(Event::ActionStarted {
            intent: act.intent.clone(),
            service: id.clone(),
            action: act.action.clone(),
            trigger: act.trigger.clone(),
            attempt: if act.finishing == 0 { act.attempt } else { 0 },
        });
        if act.finishing == 0 {
            self.effects.push(Effect::ActionBegan { service: id.clone() });
        }
        self.effects.push(Effect::Act {
            service: id.clone(),
            intent: act.intent.clone(),
            action: act.action.clone(),
            token,
            timeout: service.plan.policy.command_timeout,
            finishing: act.finishing > 0,
        });
        service.record.pending = None;
        service.record.phase = Phase::Acting { act };
        service.begin_era();
        let live = &mut service.live;
        live.hold = None;
        live.retry = None;
        live.reconcile = false;
        live.failure = None;
        live.look_errors = 0;
        live.health.state = ServiceState::Unknown;
    }

    /// The action under way, if it is this one.
    fn current(&self, id: &ServiceId, intent: &IntentId) -> Option<Act> {
        let act = self.services.get(id)?.record.phase.act()?;
        (act.intent == *intent).then(|| act.clone())
    }

    pub(super) fn acted(
        &mut self,
        id: &ServiceId,
        intent: &IntentId,
        outcome: ActionOutcome,
        receipt: Receipt,
        took: Duration,
        now: &Stamp,
    ) {
        let id = &self.name(id);
        let Some(act) = self.current(id, intent).filter(|_| self.held.is_some()) else { return };
        let Some(service) = self.services.get_mut(id) else { return };
        if !matches!(service.record.phase, Phase::Acting { .. }) || service.live.reconcile {
            return;
        }
        let message = receipt.message.clone();
        self.events.push(Event::ActionFinished {
            intent: intent.clone(),
            service: id.clone(),
            outcome,
            took,
            message: receipt.message,
        });
        match (&act.action, outcome) {
            (ActionKind::Stop, ActionOutcome::Done) => self.stopped(id, now),
            (_, ActionOutcome::Done) => self.wait(id, act, now),
            (_, outcome) => {
                let failed = outcome == ActionOutcome::Failed;
                service.begin_era();
                service.live.failure = failed.then_some(message);
                service.live.reconcile = true;
                service.live.look_errors = 0;
                self.observe(id);
            }
        }
    }

    fn wait(&mut self, id: &ServiceId, act: Act, now: &Stamp) {
        let Some(service) = self.services.get_mut(id) else { return };
        service.begin_era();
        service.live.reconcile = false;
        service.live.failure = None;
        service.live.passes = 0;
        service.live.unknowns = 0;
        service.live.verifying = false;
        service.live.verified_at = None;
        service.live.look = None;
        service.live.look_fresh = false;
        service.record.phase = Phase::Waiting { act, since: now.clone() };
        if service.live.removed {
            service.record.phase = Phase::Idle;
        }
    }

    /// A manual stop is done: nothing is wrong.
    fn stopped(&mut self, id: &ServiceId, now: &Stamp) {
        let Some(service) = self.services.get_mut(id) else { return };
        service.live.reconcile = false;
        service.live.look_fresh = false;
        service.record.phase = Phase::Idle;
        let evidence = service.record.stopped.clone().unwrap_or_else(|| "stopped".to_owned());
        self.events.push(Event::StoppedByPerson { service: id.clone(), evidence });
        self.ended(id, Duration::ZERO, now);
        self.close_incident(id, now);
    }

    fn ended(&mut self, id: &ServiceId, started_ago: Duration, now: &Stamp) {
        if let Some(service) = self.services.get_mut(id) {
            service.begin_era();
            service.live.acted = Some(now.clone());
        }
        self.effects.push(Effect::ActionEnded { service: id.clone(), started_ago });
        self.effects.push(Effect::Accelerate { service: id.clone() });
    }

    /// A gate closed between the intent and the act. The attempt stays counted.
    pub(super) fn not_acted(
        &mut self,
        id: &ServiceId,
        intent: &IntentId,
        gate: Gate,
        reason: String,
        now: &Stamp,
    ) {
        let id = &self.name(id);
        let Some(act) = self.current(id, intent).filter(|_| self.held.is_some()) else { return };
        let Some(service) = self.services.get_mut(id) else { return };
        if let (ActionKind::RollBack { .. }, Some(from)) = (&act.action, &act.from) {
            service.record.bad.retain(|bad| bad != from);
        }
        if act.action == ActionKind::Stop {
            service.record.stopped = None;
        }
        service.record.phase = Phase::Idle;
        service.live.look_fresh = false;
        self.events.push(Event::ActionFinished {
            intent: intent.clone(),
            service: id.clone(),
            outcome: ActionOutcome::Failed,
            took: act.began.age(now),
            message: format!("nothing was done: {reason}"),
        });
        self.tell(id, &act.action, Hold { gate, reason, until: None });
        self.ended(id, Duration::ZERO, now);
    }

    pub(super) fn waiting(&mut self, id: &ServiceId, now: &Stamp) {
        let Some(service) = self.services.get(id) else { return };
        let Phase::Waiting { act, since } = &service.record.phase else { return };
        let native = service.live.look.as_ref().is_some_and(|look| look.native_restart);
        if since.age(now) >= act.wait(&service.plan.policy) {
            let (act, since) = (act.clone(), since.clone());
            let Some(service) = self.services.get_mut(id) else { return };
            service.record.phase = Phase::Verifying { act, since };
            return self.verifying(id, now);
        }
        if service.exited() && !native {
            return self.attempt_failed(id, &exit_reason(service), true, now);
        }
        if self.stopped_meanwhile(id, now) {
            return;
        }
        let Some(service) = self.services.get(id) else { return };
        if service.needs_look() {
            self.observe(id);
        }
    }

    /// The action is done, and then a person stopped what it started: that ends the matter.
    fn stopped_meanwhile(&mut self, id: &ServiceId, now: &Stamp) -> bool {
        let Some(service) = self.services.get_mut(id) else { return false };
        let Some(look) = service.live.look.clone() else { return false };
        if !matches!(look.state, RunState::StoppedByPerson { .. }) {
            return false;
        }
        service.record.phase = Phase::Idle;
        self.ended(id, Duration::ZERO, now);
        self.saw_stop(id, &look, now);
        true
    }

    /// Asks for the next verification when it is due.
    pub(super) fn verifying(&mut self, id: &ServiceId, now: &Stamp) {
        let Some(service) = self.services.get_mut(id) else { return };
        let Phase::Verifying { act, .. } = &service.record.phase else { return };
        let interval = service.plan.policy.verify_interval;
        let due = service.live.verified_at.as_ref().is_none_or(|at| at.age(now) >= interval);
        if service.live.verifying || !due {
            return;
        }
        service.live.verifying = true;
        self.effects.push(Effect::Verify { service: id.clone(), intent: act.intent.clone() });
    }

    pub(super) fn verified(
        &mut self,
        id: &ServiceId,
        intent: &IntentId,
        running: Result<Running, String>,
        fresh: Fresh,
        now: &Stamp,
    ) {
        let id = &self.name(id);
        let Some(act) = self.current(id, intent).filter(|_| self.held.is_some()) else { return };
        let Some(service) = self.services.get_mut(id) else { return };
        let Phase::Verifying { since, .. } = &service.record.phase else { return };
        let since = since.clone();
        service.live.verifying = false;
        service.live.verified_at = Some(now.clone());
        service.live.looked = Some(now.clone());
        service.live.look_fresh = true;
        service.live.look = running.ok();
        if self.stopped_meanwhile(id, now) {
            return;
        }
        let Some(service) = self.services.get_mut(id) else { return };
        if let Some(failure) = lifeless(service, &act) {
            return self.attempt_failed(id, &failure, true, now);
        }
        let patience = service.plan.start_grace.max(act.wait(&service.plan.policy)).max(
            if act.trigger == Trigger::FirstStart {
                service.plan.policy.wait
            } else {
                Duration::ZERO
            },
        );
        let waited = since.age(now);
        match fresh {
            Fresh::Pass => {
                service.live.passes += 1;
                if service.live.passes >= service.plan.policy.verify_passes {
                    self.proved(id, act, &since, now);
                }
            }
            Fresh::Fail(reason) => {
                service.live.passes = 0;
                if waited >= patience {
                    self.attempt_failed(id, &reason, true, now);
                }
            }
            Fresh::Unknown(reason) => {
                if waited >= patience + UNKNOWN_FOR {
                    let reason = format!("it could not be verified: {reason}");
                    self.attempt_failed(id, &reason, true, now);
                }
            }
        }
    }

    /// Fresh checks pass on a new life, or on one that can't be told apart.
    fn proved(&mut self, id: &ServiceId, act: Act, since: &Stamp, now: &Stamp) {
        let Some(service) = self.services.get_mut(id) else { return };
        let look = service.live.look.clone();
        let instance = look.as_ref().and_then(|look| look.instance.clone());
        let proven = instance.is_some()
            && (act.before != instance)
            && (act.before.is_some() || !act.was_running);
        if let Some(instance) = &instance {
            service.record.instance = Some(instance.clone());
        }
        if let Some(version) = look.and_then(|look| look.version)
            && service.record.version.as_ref().is_none_or(|seen| seen.version != version)
        {
            let since = now.clone();
            service.record.version =
                Some(super::record::SeenVersion { version, since, healthy_since: None });
        }
        service.record.ever_passed = true;
        service.live.health.state = ServiceState::Healthy;
        service.live.health.cause = None;
        service.live.up_since = Some(now.clone());
        self.events.push(Event::VerifyPassed {
            intent: act.intent.clone(),
            service: id.clone(),
            instance,
            proven,
        });
        if let ActionKind::RollBack { to } = &act.action {
            let (from, to) = (act.from.clone(), to.clone());
            self.events.push(Event::RolledBack { service: id.clone(), from, to });
        }
        self.ended(id, since.age(now), now);
        self.came_back(id);
        if act.renews() && act.trigger != Trigger::FirstStart {
            self.restart_dependents(id, now);
        }
        self.recovered(id, Some(act), now);
    }

    /// Dependents that ask for it follow, once and one after the other.
    fn restart_dependents(&mut self, id: &ServiceId, now: &Stamp) {
        let stagger = self.settings.stagger;
        let asks = |service: &&mut Service| {
            service.plan.restart_with_dependency
                && service.plan.actionable
                && service.plan.depends_on.contains(id)
                && service.record.stopped.is_none()
                && !service.record.phase.in_flight()
        };
        for (nth, service) in (0_u32..).zip(self.services.values_mut().filter(asks)) {
            let wait = stagger.saturating_mul(nth);
            service.record.pending = Some(Pending { on: id.clone(), since: now.clone(), wait });
        }
    }

    /// Verified; a crash now is the same incident.
    pub(super) fn stabilising(&mut self, id: &ServiceId, now: &Stamp) {
        self.keep_looking(id, now);
        let Some(service) = self.services.get(id) else { return };
        let Phase::Stabilising { act, since } = &service.record.phase else { return };
        if service.is_down() {
            if service.needs_look() {
                return;
            }
            let after = format_duration(Duration::from_secs(since.age(now).as_secs()));
            let reason = format!(
                "it went down again {after} after it came back: {}",
                service.cause().message
            );
            return self.attempt_failed(id, &reason, act.is_some(), now);
        }
        let due = service.record.pending.as_ref().is_some_and(|due| due.since.age(now) >= due.wait);
        if due {
            self.decide(id, now);
        }
        self.stabilised(id, now);
    }

    /// It stayed well for long enough.
    fn stabilised(&mut self, id: &ServiceId, now: &Stamp) {
        let Some(service) = self.services.get_mut(id) else { return };
        let Phase::Stabilising { act, since } = &service.record.phase else { return };
        let over = since.age(now) >= service.plan.policy.stabilise;
        if !over || !service.is_up() || service.live.reserving.is_some() {
            return;
        }
        if act.as_ref().is_some_and(|act| matches!(act.action, ActionKind::RollBack { .. })) {
            self.effects.push(Effect::Settle { service: id.clone(), keep: true });
        }
        service.record.phase = Phase::Idle;
        self.close_incident(id, now);
    }

    /// An attempt did not help, or what helped did not last.
    pub(super) fn attempt_failed(
        &mut self,
        id: &ServiceId,
        reason: &str,
        verify: bool,
        now: &Stamp,
    ) {
        let Some(service) = self.services.get_mut(id) else { return };
        let act = service.record.phase.act().cloned();
        let in_flight = service.record.phase.in_flight();
        service.record.phase = Phase::Idle;
        service.live.reconcile = false;
        service.live.look_fresh = false;
        if in_flight {
            let cause = own_cause(None, reason.to_owned());
            service.live.health.state = ServiceState::Down;
            let known = service.record.incident.as_ref().map(|incident| incident.cause.clone());
            service.live.health.cause = Some(known.unwrap_or(cause));
            service.live.down_since = Some(now.clone());
        }
        if service.record.incident.is_none() && !service.live.removed {
            let cause = own_cause(None, reason.to_owned());
            self.begin_incident(id, cause, now);
        }
        if let Some(act) = &act {
            self.tell_failure(id, act, reason.to_owned(), verify);
        }
        if in_flight {
            self.ended(id, Duration::ZERO, now);
        }
        self.next_attempt(id, act.is_some(), verify, reason, now);
    }

    fn tell_failure(&mut self, id: &ServiceId, act: &Act, reason: String, verify: bool) {
        if matches!(act.action, ActionKind::RollBack { .. }) {
            self.effects.push(Effect::Settle { service: id.clone(), keep: false });
        }
        if verify {
            let (intent, service) = (act.intent.clone(), id.clone());
            self.events.push(Event::VerifyFailed { intent, service, reason });
        }
    }

    fn next_attempt(
        &mut self,
        id: &ServiceId,
        acted: bool,
        verify: bool,
        reason: &str,
        now: &Stamp,
    ) {
        let random = self.random.fraction();
        let Some(service) = self.services.get_mut(id) else { return };
        let policy = &service.plan.policy;
        let Some(incident) = &mut service.record.incident else { return };
        incident.recovered = false;
        if acted {
            incident.failures += 1;
        }
        if verify {
            incident.failed_verifies += 1;
            incident.first_failed.get_or_insert_with(|| now.clone());
        }
        let wait = policy.backoff.wait(incident.failures, random);
        if service.record.breaker.is_some() {
            if acted {
                self.trial_failed(id, now);
            }
        } else if incident.since_reset >= policy.max_restarts {
            let attempts = incident.since_reset;
            self.escalate(id, format!("{attempts} attempts did not help; the last: {reason}"), now);
        } else if acted {
            service.record.phase = Phase::BackingOff { since: now.clone(), wait };
        }
    }

    /// Nobody knows how the action ended: asks the platform, again and again.
    pub(super) fn reconcile_pace(&mut self, id: &ServiceId, now: &Stamp) {
        let Some(service) = self.services.get(id) else { return };
        if !service.live.reconcile || service.live.looking.is_some() {
            return;
        }
        if service.live.looked.as_ref().is_none_or(|at| at.age(now) >= ASK_AGAIN) {
            self.observe(id);
        }
    }

    /// Reads the identity before judging an action whose end nobody knows, and finishes what we
    /// began.
    pub(super) fn reconcile(&mut self, id: &ServiceId, now: &Stamp) {
        let Some(service) = self.services.get(id) else { return };
        let Phase::Acting { act } = &service.record.phase else { return };
        if !service.live.reconcile {
            return;
        }
        let (act, failure) = (act.clone(), service.live.failure.clone());
        let Some(look) = service.live.look.clone() else {
            if service.live.look_errors >= ASK_TIMES {
                let reason = failure
                    .unwrap_or_else(|| "its platform could not report how it ended".to_owned());
                self.attempt_failed(id, &reason, false, now);
            }
            return;
        };
        let same = look.instance.is_some() && look.instance == act.before;
        match (&act.action, look.is_running()) {
            (ActionKind::Stop, false) => self.stopped(id, now),
            (ActionKind::Stop, true) => self.still_runs(id, now),
            (_, true) if same && act.renews() => {
                let reason = failure.unwrap_or_else(|| {
                    "nothing was restarted: the same instance still runs".to_owned()
                });
                self.attempt_failed(id, &reason, false, now);
            }
            (_, true) if failure.is_some() && look.instance.is_none() => {
                self.attempt_failed(id, &failure.unwrap_or_default(), false, now);
            }
            (_, true) => self.wait(id, act, now),
            (_, false) => {
                // It did not run when this was decided, so there is nothing of ours to finish.
                let ours = act.was_running || act.finishing > 0 || failure.is_some();
                match self.global_gate(now).filter(|_| !ours) {
                    Some(hold) => self.not_acted(id, &act.intent, hold.gate, hold.reason, now),
                    None => self.finish_start(id, act, failure, now),
                }
            }
        }
    }

    /// A manual stop that did not stop it.
    fn still_runs(&mut self, id: &ServiceId, now: &Stamp) {
        let Some(service) = self.services.get_mut(id) else { return };
        service.record.stopped = None;
        service.record.phase = Phase::Idle;
        service.live.reconcile = false;
        service.live.look_fresh = false;
        self.ended(id, Duration::ZERO, now);
    }

    /// What we stopped, or may have stopped, is started, whatever the kill switch says now.
    fn finish_start(&mut self, id: &ServiceId, act: Act, failure: Option<String>, now: &Stamp) {
        if act.finishing >= MAX_FINISHING
            || !(act.was_running || act.finishing > 0 || failure.is_none())
        {
            let reason = failure.unwrap_or_else(|| "it does not run after the action".to_owned());
            return self.attempt_failed(id, &reason, false, now);
        }
        if matches!(act.action, ActionKind::RollBack { .. }) {
            self.effects.push(Effect::Settle { service: id.clone(), keep: false });
        }
        let intent = self.new_intent(id, now);
        self.launch(
            id,
            Act {
                intent,
                action: ActionKind::Start,
                trigger: Trigger::Reconcile,
                attempt: act.attempt,
                was_running: false,
                finishing: act.finishing + 1,
                ..act
            },
        );
    }
}

fn exit_reason(service: &Service) -> String {
    match service.live.look.as_ref().map(|look| &look.state) {
        Some(RunState::Exited { exit }) => format!("it exited again ({exit})"),
        _ => "it does not run".to_owned(),
    }
}

/// Why the life that is being verified is none, or not a new one.
fn lifeless(service: &Service, act: &Act) -> Option<String> {
    let look = service.live.look.as_ref()?;
    if !look.is_running() && !look.native_restart {
        return Some(exit_reason(service));
    }
    let same = look.instance.is_some() && look.instance == act.before;
    (same && act.renews()).then(|| {
        "the restarter reported success, but the same instance still runs: nothing was restarted".to_owned()
    })
}
