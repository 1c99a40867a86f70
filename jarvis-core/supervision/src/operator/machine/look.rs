//! Facts about a service: what its checks say, what its platform says.

use super::Machine;
use super::input::{Effect, Look};
use super::record::{HealthReport, Phase, SeenVersion, Service};
use crate::restart::{InstanceEvent, RunState, Running};
use base::clock::Stamp;
use base::events::Event;
use base::vocabulary::{Cause, CheckName, FailureKind, ServiceId, ServiceState};

/// How often a platform that can't be asked, or a dependency that fails, is asked again while it
/// matters.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_secs(5);

/// How often in a row a look is repeated because something happened while it was under way.
const LOOKS_REPEATED: u8 = 3;

impl Service {
    /// The platform says that its life ended.
    pub(super) fn exited(&self) -> bool {
        self.live.look_fresh
            && matches!(
                self.live.look.as_ref().map(|look| &look.state),
                Some(RunState::Exited { .. })
            )
    }

    /// Down, and nobody wanted that.
    pub(super) fn is_down(&self) -> bool {
        let native = self.live.look.as_ref().is_some_and(|look| look.native_restart);
        // What was never started is not down; it is started first.
        let unborn = self.unborn() && self.record.incident.is_none();
        self.record.stopped.is_none()
            && !unborn
            && (self.live.health.state == ServiceState::Down || (self.exited() && !native))
    }

    pub(super) fn runs(&self) -> bool {
        self.live.look.as_ref().is_some_and(Running::is_running)
    }

    /// Its checks say that it works.
    pub(super) const fn is_up(&self) -> bool {
        matches!(self.live.health.state, ServiceState::Healthy | ServiceState::Degraded)
    }

    /// Why it is down.
    pub(super) fn cause(&self) -> Cause {
        let exit = match self.live.look.as_ref().map(|look| &look.state) {
            Some(RunState::Exited { exit }) if self.exited() => Some(exit.to_string()),
            _ => None,
        };
        match (&self.live.health.cause, exit) {
            (Some(cause), Some(exit)) if self.live.health.state == ServiceState::Down => Cause {
                check: cause.check.clone(),
                kind: Some(FailureKind::Exited),
                message: format!("it exited ({exit}); {}", cause.message),
            },
            (Some(cause), None) => cause.clone(),
            (_, Some(exit)) => own_cause(Some(FailureKind::Exited), format!("it exited ({exit})")),
            (None, None) => own_cause(None, "it is down".to_owned()),
        }
    }

    /// Something happened: what the last look found may be over.
    pub(super) const fn outdate(&mut self) {
        self.live.look_fresh = false;
        self.live.look_again = self.live.looking.is_some();
    }

    /// An action on it begins, turns or is over: a look under way tells of what was before.
    pub(super) const fn begin_era(&mut self) {
        self.live.era += 1;
    }

    /// Did a probe that began then see the life before the last action?
    fn was_before_the_action(&self, began: &Stamp, now: &Stamp) -> bool {
        self.live.acted.as_ref().is_some_and(|acted| began.age(now) > acted.age(now))
    }

    /// A look is under way or wanted before anything may be decided.
    pub(super) const fn needs_look(&self) -> bool {
        self.plan.actionable && !self.live.look_fresh
    }
}

/// A cause that no check of the service names.
pub(super) fn own_cause(kind: Option<FailureKind>, message: String) -> Cause {
    let check = CheckName::new("instance").unwrap_or_else(|_| super::unreachable_id());
    Cause { check, kind, message }
}

impl Machine {
    pub(super) fn health(
        &mut self,
        id: &ServiceId,
        report: HealthReport,
        began: &Stamp,
        now: &Stamp,
    ) {
        let Some(service) = self.service_mut(id) else { return };
        // The first pass of what counts as down is its way up, and no reason to restart it now.
        let before = &service.live.health;
        let first_pass = before.state == ServiceState::Down && !before.ever_passed;
        let comes_up = first_pass && report.state == ServiceState::Down;
        service.record.ever_passed |= report.ever_passed && !comes_up;
        if service.record.phase.in_flight() || service.was_before_the_action(began, now) {
            // What is said during an action is about the life before, or not meant seriously; what
            // was seen before its end and arrives late, too.
            service.live.health.flapping = report.flapping;
            return;
        }
        let (was, is) = (service.live.health.state, report.state);
        if was != is {
            // While an attempt is being counted, news that it is down only confirm it.
            if service.live.reserving.is_none() || is != ServiceState::Down {
                service.outdate();
            }
            service.live.retry = None;
            if is == ServiceState::Down {
                service.live.down_since = Some(now.clone());
            } else if was == ServiceState::Down && is != ServiceState::Unknown {
                service.live.up_since = Some(now.clone());
            }
        }
        service.live.health = report;
        if was == ServiceState::Down && service.is_up() {
            self.came_back(&self.name(id));
        }
    }

    /// Whoever depends on it may have been held because of it: their looks are over.
    pub(super) fn came_back(&mut self, id: &ServiceId) {
        let dependents = self.services.values_mut().filter(|it| it.plan.depends_on.contains(id));
        dependents.for_each(Service::outdate);
    }

    pub(super) fn instance_event(&mut self, id: &ServiceId, event: &InstanceEvent) {
        let id = self.name(id);
        let Some(service) = self.services.get_mut(&id) else { return };
        let confirms =
            matches!(event, InstanceEvent::Exited { .. } | InstanceEvent::NativeHealth(_));
        if !confirms || service.live.reserving.is_none() {
            service.outdate();
        }
        service.live.retry = None;
        let accelerate = !matches!(event, InstanceEvent::Gap);
        if accelerate && !service.record.phase.in_flight() {
            self.effects.push(Effect::Accelerate { service: id });
        }
    }

    /// Asks the platform, unless it is being asked.
    pub(super) fn observe(&mut self, id: &ServiceId) {
        let Some(service) = self.services.get_mut(id) else { return };
        if !service.plan.actionable || service.live.looking.is_some() {
            return;
        }
        service.live.looking = Some(service.live.era);
        service.live.look_again = false;
        let down = service.is_down() || service.record.incident.is_some();
        let dependencies = if down { service.plan.depends_on.clone() } else { Vec::new() };
        let era = service.live.era;
        self.effects.push(Effect::Observe {
            service: id.clone(),
            era,
            with_log: down,
            dependencies,
        });
    }

    /// Looks when a look is wanted, and now and then anyway.
    pub(super) fn keep_looking(&mut self, id: &ServiceId, now: &Stamp) {
        let Some(service) = self.services.get(id) else { return };
        let age = service.live.looked.as_ref().map(|at| at.age(now));
        let unknown = service.live.look.is_none() && (service.is_down() || !service.is_up());
        // A look also asks what it depends on, and it waits for that.
        let waits = service.is_down() && !service.live.failing.is_empty();
        let every = if unknown || waits { LOOK_AGAIN } else { self.settings.observe_every };
        if service.needs_look() || age.is_none_or(|age| age >= every) {
            self.observe(id);
        }
    }

    pub(super) fn observed(&mut self, id: &ServiceId, look: Look, now: &Stamp) {
        let id = self.name(id);
        let Some(service) = self.services.get_mut(&id) else { return };
        service.live.looking.take_if(|era| *era == look.era);
        if look.era != service.live.era {
            // Whatever it saw, an action came in between.
            if service.live.reconcile {
                self.observe(&id);
            }
            return;
        }
        service.live.looked = Some(now.clone());
        // Under a storm of news, what was seen last has to do.
        let again = service.live.look_again && service.live.looks_repeated < LOOKS_REPEATED;
        service.live.looks_repeated = if again { service.live.looks_repeated + 1 } else { 0 };
        service.live.look_fresh = !again;
        service.live.failing = look.failing;
        if !look.log.is_empty() {
            service.live.log = look.log;
        }
        match look.running {
            Err(_) => {
                service.live.look = None;
                service.live.look_errors = service.live.look_errors.saturating_add(1);
            }
            Ok(running) => {
                service.live.look_errors = 0;
                self.saw(&id, &running, now);
            }
        }
        if self.held.is_some() {
            self.reconcile(&id, now);
        }
    }

    /// Takes in what runs now.
    fn saw(&mut self, id: &ServiceId, running: &Running, now: &Stamp) {
        let active = self.held.is_some();
        let Some(service) = self.services.get_mut(id) else { return };
        let before = service.live.look.replace(running.clone());
        if service.record.phase.in_flight() || !active {
            return;
        }
        self.saw_exit(id, before.as_ref(), running);
        self.saw_stop(id, running, now);
        self.saw_version(id, running, now);
        self.saw_instance(id, running, now);
    }

    fn saw_exit(&mut self, id: &ServiceId, before: Option<&Running>, running: &Running) {
        let RunState::Exited { exit } = &running.state else { return };
        let known = before.is_some_and(|before| {
            before.state == running.state && before.instance == running.instance
        });
        let stopped = self.services.get(id).is_some_and(|service| service.record.stopped.is_some());
        if !known && !stopped {
            self.events.push(Event::InstanceExited {
                service: id.clone(),
                instance: running.instance.clone(),
                exit: exit.to_string(),
            });
        }
    }

    pub(super) fn saw_stop(&mut self, id: &ServiceId, running: &Running, now: &Stamp) {
        let Some(service) = self.services.get_mut(id) else { return };
        let another_life = running.instance.is_some()
            && service.record.instance.is_some()
            && running.instance != service.record.instance;
        let evidence = match &running.state {
            RunState::StoppedByPerson { evidence } => Some(evidence.clone()),
            RunState::Missing if service.record.instance.is_some() => {
                Some("it was removed; its platform does not know it any more".to_owned())
            }
            _ => None,
        };
        match evidence {
            Some(evidence) if service.record.stopped.is_none() => {
                service.record.stopped = Some(evidence.clone());
                service.record.pending = None;
                self.events.push(Event::StoppedByPerson { service: id.clone(), evidence });
                self.close_incident(id, now);
            }
            // It runs, or another life of it ended since: somebody started it again.
            None if running.is_running() || another_life => service.record.stopped = None,
            _ => {}
        }
    }

    fn saw_version(&mut self, id: &ServiceId, running: &Running, now: &Stamp) {
        let Some(service) = self.services.get_mut(id) else { return };
        let Some(version) = running.version.clone().filter(|_| running.is_running()) else {
            return;
        };
        if service.record.version.as_ref().is_none_or(|seen| seen.version != version) {
            let since = now.clone();
            service.record.version = Some(SeenVersion { version, since, healthy_since: None });
        }
    }

    /// Another life than the last one we know of: somebody else began it.
    fn saw_instance(&mut self, id: &ServiceId, running: &Running, now: &Stamp) {
        let Some(service) = self.services.get_mut(id) else { return };
        let Some(to) = running.instance.clone().filter(|_| running.is_running()) else { return };
        let from = service.record.instance.replace(to.clone());
        if from.as_ref() == Some(&to) || from.is_none() {
            return;
        }
        let proved = matches!(service.record.phase, Phase::Stabilising { act: Some(_), .. });
        let evidence = if running.native_restart {
            "its platform restarts it by itself"
        } else {
            "JARVIS did not begin it"
        };
        self.events.push(Event::InstanceChanged {
            service: id.clone(),
            from,
            to,
            evidence: evidence.to_owned(),
        });
        if proved {
            let reason = "the verified instance ended within the stabilisation time";
            self.attempt_failed(id, reason, true, now);
        }
    }
}
