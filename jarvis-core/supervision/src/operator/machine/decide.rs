//! What is to be done with a service that no action is under way for.

use super::Machine;
use super::gates::Wanted;
use super::input::{Effect, Reserved};
use super::record::{Act, Incident, OpenBreaker, Phase, Reserving, Service};
use crate::lease::{Attempt, Limit};
use base::clock::Stamp;
use base::events::Event;
use base::units::format_duration;
use base::vocabulary::{
    ActionKind, Cause, Gate, Hold, IntentId, Mode, ServiceId, ServiceState, Trigger,
};

impl Machine {
    /// Opens incidents, asks the gates, and begins what is due.
    pub(super) fn decide(&mut self, id: &ServiceId, now: &Stamp) {
        let idle = |service: &Service| service.live.reserving.is_none() && !service.live.removed;
        if !self.services.get(id).is_some_and(idle) {
            return;
        }
        self.keep_looking(id, now);
        let Some(service) = self.services.get(id) else { return };
        if service.live.looking.is_some() || (service.is_down() && service.needs_look()) {
            return;
        }
        if service.is_down() && !self.open_incident(id, now) {
            return;
        }
        match self.services.get(id).and_then(|service| self.wanted(service, now)) {
            Some(wanted) => self.try_begin(id, wanted, now),
            None => self.at_rest(id, now),
        }
    }

    /// An incident is open, or may be opened now.
    fn open_incident(&mut self, id: &ServiceId, now: &Stamp) -> bool {
        let Some(service) = self.services.get(id) else { return false };
        if service.record.incident.is_some() {
            return true;
        }
        let suspected = self.suspicion.reason().filter(|_| service.suspects_self());
        let hold = self.maintenance_gate(service, now).or_else(|| {
            suspected.map(|reason| Hold {
                gate: Gate::SelfSuspicion,
                reason: format!("JARVIS suspects its own network or machine: {reason}"),
                until: None,
            })
        });
        if let Some(hold) = hold {
            self.tell(id, &ActionKind::Restart, hold);
            return false;
        }
        let cause = service.cause();
        self.begin_incident(id, cause, now);
        true
    }

    pub(super) fn begin_incident(&mut self, id: &ServiceId, cause: Cause, now: &Stamp) {
        let because_of = self.explains(id);
        let incident = self.new_incident(id, now);
        let Some(service) = self.services.get_mut(id) else { return };
        if let Some(version) = &mut service.record.version {
            version.healthy_since = None;
        }
        service.record.announced.clear();
        service.record.incident = Some(Incident {
            id: incident.clone(),
            opened: now.clone(),
            cause: cause.clone(),
            because_of: because_of.clone(),
            attempts: 0,
            since_reset: 0,
            failures: 0,
            failed_verifies: 0,
            first_failed: None,
            escalated: false,
            recovered: false,
        });
        let service = id.clone();
        self.events.push(Event::IncidentOpened { incident, service, cause, because_of });
    }

    /// A dependency that is down too.
    fn explains(&self, id: &ServiceId) -> Option<ServiceId> {
        let service = self.services.get(id)?;
        let bad = |on: &&ServiceId| {
            service.live.failing.contains(on)
                || self.services.get(*on).is_some_and(|parent| {
                    parent.is_down()
                        || parent.record.stopped.is_some()
                        || parent.record.phase.in_flight()
                        || parent
                            .record
                            .incident
                            .as_ref()
                            .is_some_and(|incident| !incident.recovered)
                })
        };
        service.plan.depends_on.iter().find(bad).cloned()
    }

    /// Ends an incident because there is nothing wrong any more.
    pub(super) fn close_incident(&mut self, id: &ServiceId, now: &Stamp) {
        let Some(service) = self.services.get_mut(id) else { return };
        service.record.announced.clear();
        service.record.breaker = None;
        service.live.hold = None;
        if !service.record.phase.in_flight() {
            service.record.phase = Phase::Idle;
        }
        if let Some(incident) = service.record.incident.take() {
            self.events.push(Event::IncidentResolved {
                after: incident.opened.age(now),
                attempts: incident.attempts,
                incident: incident.id,
                service: id.clone(),
            });
        }
    }

    /// What would be done with the service, gates aside.
    fn wanted(&self, service: &Service, now: &Stamp) -> Option<Wanted> {
        if service.plan.actionable
            && service.record.stopped.is_none()
            && service.record.incident.is_none()
            && service.live.look_fresh
            && service.unborn()
        {
            return Some(Wanted { action: ActionKind::Start, trigger: Trigger::FirstStart });
        }
        let pending = service.record.pending.as_ref().filter(|due| due.since.age(now) >= due.wait);
        if service.record.pending.is_some() && pending.is_none() {
            // It follows what it depends on, and its turn comes.
            return None;
        }
        if service.is_down() {
            let trigger = match (&service.record.breaker, pending) {
                (Some(_), _) => Trigger::HalfOpen,
                (None, Some(due)) => Trigger::Dependency { on: due.on.clone() },
                (None, None) => Trigger::Down { cause: service.cause() },
            };
            return Some(Wanted { action: self.remedy(service, now), trigger });
        }
        let due = pending.filter(|_| service.record.stopped.is_none() && !service.needs_look())?;
        let trigger = Trigger::Dependency { on: due.on.clone() };
        Some(Wanted { action: ActionKind::Restart, trigger })
    }

    /// A restart, or the way back to the version that worked.
    fn remedy(&self, service: &Service, now: &Stamp) -> ActionKind {
        let roll_back = || {
            let rule = service.plan.rollback.as_ref()?;
            let incident = service.record.incident.as_ref()?;
            let (good, seen) = (service.record.good.as_ref()?, service.record.version.as_ref()?);
            let into = seen.since.age(now).saturating_sub(incident.first_failed.as_ref()?.age(now));
            let action = ActionKind::RollBack { to: good.clone() };
            (incident.failed_verifies >= rule.after_failed_verifies
                && seen.version != *good
                && !service.record.bad.contains(&seen.version)
                && into <= rule.within
                && self.settings.allow.permits(&service.plan.id, &action))
            .then_some(action)
        };
        roll_back().unwrap_or(ActionKind::Restart)
    }

    /// Nothing is to be done: it is well, came back by itself, or nobody knows.
    fn at_rest(&mut self, id: &ServiceId, now: &Stamp) {
        let Some(service) = self.services.get_mut(id) else { return };
        let well = service.is_up() && !service.needs_look();
        if !well {
            return;
        }
        service.live.hold = None;
        if service.record.incident.is_some() {
            self.recovered(id, None, now);
        } else {
            service.record.announced.clear();
            self.remember_version(id, now);
        }
    }

    fn remember_version(&mut self, id: &ServiceId, now: &Stamp) {
        let Some(service) = self.services.get_mut(id) else { return };
        let healthy = service.live.health.state == ServiceState::Healthy;
        let Some(seen) = service.record.version.as_mut().filter(|_| healthy) else { return };
        let healthy_for = service.plan.rollback.clone().unwrap_or_default().healthy_for;
        match &seen.healthy_since {
            None => seen.healthy_since = Some(now.clone()),
            Some(since) if since.age(now) >= healthy_for => {
                service.record.good = Some(seen.version.clone());
            }
            Some(_) => {}
        }
    }

    /// It works again, by itself or by us. Not trusted yet.
    pub(super) fn recovered(&mut self, id: &ServiceId, act: Option<Act>, now: &Stamp) {
        let Some(service) = self.services.get_mut(id) else { return };
        service.record.phase = Phase::Stabilising { act, since: now.clone() };
        if let Some(incident) = &mut service.record.incident {
            incident.recovered = true;
            self.events.push(Event::IncidentRecovered {
                incident: incident.id.clone(),
                service: id.clone(),
                after: incident.opened.age(now),
                attempts: incident.attempts,
            });
        }
    }

    /// Keeps the hold for the status, and tells it once for each gate and incident.
    pub(super) fn tell(&mut self, id: &ServiceId, action: &ActionKind, hold: Hold) {
        let Some(service) = self.services.get_mut(id) else { return };
        // Both follow from an event that was told already; and that a service is only watched is
        // no news.
        let silent =
            matches!(hold.gate, Gate::Cooldown | Gate::Backoff) || !service.plan.actionable;
        if !silent && service.record.announced.insert(hold.gate) {
            let (service, action, hold) = (id.clone(), action.clone(), hold.clone());
            self.events.push(Event::ActionHeld { service, action, hold });
        }
        service.live.hold = Some(hold);
    }

    fn try_begin(&mut self, id: &ServiceId, wanted: Wanted, now: &Stamp) {
        let Some(service) = self.services.get(id) else { return };
        if let Some(hold) = self.gate(service, &wanted, now) {
            let used = service.record.incident.as_ref().map_or(0, |incident| incident.since_reset);
            let capped = hold.gate == Gate::Budget && used >= service.plan.policy.max_restarts;
            if capped {
                return self.out_of_budget(id, hold.reason, now);
            }
            return self.tell(id, &wanted.action, hold);
        }
        if self.settings.mode == Mode::DryRun {
            return self.simulate(id, wanted);
        }
        if !wanted.counted() {
            let intent = self.new_intent(id, now);
            return self.begin(id, intent, wanted, now);
        }
        self.reserve(id, wanted, now);
    }

    fn simulate(&mut self, id: &ServiceId, wanted: Wanted) {
        let Some(service) = self.services.get_mut(id) else { return };
        let reason = format!("dry-run: it would {} now", wanted.action);
        service.live.hold = Some(Hold { gate: Gate::Mode, reason, until: None });
        if service.record.announced.insert(Gate::Mode) {
            let Wanted { action, trigger } = wanted;
            self.events.push(Event::ActionSimulated { service: id.clone(), action, trigger });
        }
    }

    fn reserve(&mut self, id: &ServiceId, wanted: Wanted, now: &Stamp) {
        let intent = self.new_intent(id, now);
        let Some(token) = self.held.as_ref().map(|held| held.token) else { return };
        let limits = &self.settings.limits;
        let global = Limit { max: limits.max_restarts, window: limits.window };
        let Some(service) = self.services.get_mut(id) else { return };
        let mut attempt = Attempt::new(id.clone(), intent.clone(), token).with_global_limit(global);
        attempt.limits = service.plan.policy.limits();
        let Wanted { action, trigger } = wanted;
        service.live.retry = None;
        service.live.reserving = Some(Reserving { intent, action, trigger });
        self.effects.push(Effect::Reserve(attempt));
    }

    pub(super) fn reserved(
        &mut self,
        id: &ServiceId,
        intent: &IntentId,
        answer: Reserved,
        now: &Stamp,
    ) {
        let id = self.name(id);
        let Some(service) = self.services.get_mut(&id) else { return };
        let Some(asked) = service.live.reserving.take_if(|asked| asked.intent == *intent) else {
            return;
        };
        match answer {
            Reserved::Granted => self.granted(&id, asked, now),
            Reserved::Fenced => self.deactivate("a newer operator holds the lease"),
            Reserved::Failed(reason) => {
                service.live.retry = Some((now.clone(), std::time::Duration::from_secs(5)));
                let reason = format!("failed to count the attempts, so none is made: {reason}");
                self.tell(&id, &asked.action, Hold { gate: Gate::Budget, reason, until: None });
            }
            Reserved::Refused { gate: Gate::GlobalBudget, limit, retry_in } => {
                service.live.retry = Some((now.clone(), retry_in));
                let reason = format!(
                    "{} restarts over all services in {} are used up",
                    limit.max,
                    format_duration(limit.window)
                );
                let until = Some(now.wall + retry_in);
                self.tell(&id, &asked.action, Hold { gate: Gate::GlobalBudget, reason, until });
            }
            Reserved::Refused { limit, .. } => {
                let reason = format!(
                    "the budget of {} restarts in {} is used up",
                    limit.max,
                    format_duration(limit.window)
                );
                self.out_of_budget(&id, reason, now);
            }
        }
    }

    /// Counted. What was wanted may have passed while the ledger was asked; the attempt stays
    /// counted then.
    fn granted(&mut self, id: &ServiceId, asked: Reserving, now: &Stamp) {
        let Some(service) = self.services.get(id) else { return };
        if service.record.phase.in_flight() || service.needs_look() {
            return;
        }
        let still = self.wanted(service, now).filter(|wanted| wanted.action == asked.action);
        let Some(wanted) = still else { return };
        if self.gate(service, &wanted, now).is_none() {
            self.begin(id, asked.intent, wanted, now);
        }
    }

    fn out_of_budget(&mut self, id: &ServiceId, reason: String, now: &Stamp) {
        let Some(service) = self.services.get_mut(id) else { return };
        service.record.pending = None;
        if service.record.incident.is_none() || !service.is_down() {
            // It only was to follow a dependency, and works.
            let hold = Hold { gate: Gate::Budget, reason, until: None };
            return self.tell(id, &ActionKind::Restart, hold);
        }
        if service.record.breaker.is_some() {
            return self.trial_failed(id, now);
        }
        self.escalate(id, reason, now);
    }

    /// Calls a person, once an incident, and gives up for a while.
    pub(super) fn escalate(&mut self, id: &ServiceId, reason: String, now: &Stamp) {
        let Some(service) = self.services.get_mut(id) else { return };
        let cooldown = service.plan.policy.cooldown;
        service.record.phase = Phase::Idle;
        service.record.breaker = Some(OpenBreaker { since: now.clone(), cooldown });
        let Some(incident) = service.record.incident.as_mut().filter(|open| !open.escalated) else {
            return;
        };
        incident.escalated = true;
        self.events.push(Event::Escalated {
            incident: incident.id.clone(),
            service: id.clone(),
            attempts: incident.attempts,
            reason,
            last_log_lines: service.live.log.clone(),
        });
    }

    /// The one trial of the half-open breaker did not help: a longer cooldown, no new page.
    pub(super) fn trial_failed(&mut self, id: &ServiceId, now: &Stamp) {
        let Some(service) = self.services.get_mut(id) else { return };
        service.record.phase = Phase::Idle;
        let longest = service.plan.policy.max_cooldown.max(service.plan.policy.cooldown);
        if let Some(open) = &mut service.record.breaker {
            open.since = now.clone();
            open.cooldown = open.cooldown.saturating_mul(2).min(longest);
        }
    }
}
