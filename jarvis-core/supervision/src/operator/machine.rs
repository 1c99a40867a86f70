//! The pure machine: told what happened and when, it says what has to be on disk and what is to
//! be done then. It asks no clock, waits for nothing and touches nothing.
//!
//! Decisions are made by level, not by edge: each step applies its input and then looks at every
//! service anew. What was decided once and has to survive is in the [`Record`]; the rest of the
//! [`Live`](record::Live) facts is asked again after a restart.

mod act;
mod command;
mod decide;
mod gates;
pub(crate) mod input;
mod look;
pub(crate) mod record;
mod restore;
mod status;
mod suspicion;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use input::{Commit, Effect, Input, Output};
use record::{Globals, Held, Phase, Record, Service};
use suspicion::Suspicion;

use super::settings::OperatorSettings;
use base::clock::Stamp;
use base::events::Event;
use base::vocabulary::{FencingToken, IncidentId, IntentId, ServiceId};

/// The state of everything.
#[derive(Debug)]
pub(crate) struct Machine {
    settings: OperatorSettings,
    services: BTreeMap<ServiceId, Service>,
    /// Services that got a new name, so that answers under way still find them.
    aliases: BTreeMap<ServiceId, ServiceId>,
    globals: Globals,
    saved_globals: Option<Globals>,
    held: Option<Held>,
    kill: Option<String>,
    shutting_down: bool,
    woke: Option<Stamp>,
    suspicion: Suspicion,
    random: Random,
    deleted: Vec<ServiceId>,
    /// Services that came into maintenance or left it in this step.
    windows_changed: Vec<(ServiceId, bool)>,
    events: Vec<Event>,
    effects: Vec<Effect>,
}

/// After a suspend, nothing is begun for that long: probes have to be made anew first.
const AFTER_SUSPEND: Duration = Duration::from_secs(30);

impl Machine {
    /// A machine without services and without the lease. The seed makes identifiers unique and
    /// spreads backoffs.
    pub(crate) fn new(settings: OperatorSettings, seed: u64) -> Self {
        Self {
            settings,
            services: BTreeMap::new(),
            aliases: BTreeMap::new(),
            globals: Globals::default(),
            saved_globals: None,
            held: None,
            kill: None,
            shutting_down: false,
            woke: None,
            suspicion: Suspicion::default(),
            random: Random(seed),
            deleted: Vec::new(),
            windows_changed: Vec::new(),
            events: Vec::new(),
            effects: Vec::new(),
        }
    }

    /// Takes in what happened, and decides.
    pub(crate) fn step(&mut self, input: Input, now: &Stamp) -> Output {
        self.apply(input, now);
        self.suspect(now);
        if self.held.is_some() {
            let ids: Vec<ServiceId> = self.services.keys().cloned().collect();
            for id in &ids {
                self.evaluate(id, now);
            }
            self.announce_maintenance();
        }
        self.finish()
    }

    fn apply(&mut self, input: Input, now: &Stamp) {
        match input {
            Input::Configure { plans, settings, windows } => {
                if let Some(settings) = settings {
                    self.settings = *settings;
                }
                self.configure(plans, now);
                self.calendar(windows);
            }
            Input::Activate { holder, token, saved } => self.activate(holder, token, saved, now),
            Input::Deactivate { reason } => self.deactivate(&reason),
            Input::Health { service, report, began } => {
                self.health(&service, report, &began, now);
            }
            Input::Observed { service, look } => self.observed(&service, look, now),
            Input::Instance { service, event } => self.instance_event(&service, &event),
            Input::Reserved { service, intent, answer } => {
                self.reserved(&service, &intent, answer, now);
            }
            Input::Acted { service, intent, outcome, receipt, took } => {
                self.acted(&service, &intent, outcome, receipt, took, now);
            }
            Input::NotActed { service, intent, gate, reason } => {
                self.not_acted(&service, &intent, gate, reason, now);
            }
            Input::Verified { service, intent, running, fresh } => {
                self.verified(&service, &intent, running, fresh, now);
            }
            Input::KillSwitch(reason) => self.kill_switch(reason),
            Input::Maintenance(changes) => self.calendar(changes),
            Input::Canary(result) => self.canary(result),
            Input::Woke => self.woke(now),
            Input::Command { ticket, command } => self.command(ticket, command, now),
            Input::Tick => self.end_what_is_over(now),
            Input::Shutdown => self.shutting_down = true,
        }
    }

    fn kill_switch(&mut self, reason: Option<String>) {
        if self.kill == reason {
            return;
        }
        let event = match &reason {
            Some(reason) => Event::ActingChanged {
                acting: false,
                reason: format!("the kill switch is on: {reason}"),
            },
            None => Event::ActingChanged {
                acting: self.globals.paused.is_none(),
                reason: "the kill switch is off".to_owned(),
            },
        };
        self.kill = reason;
        self.events.push(event);
    }

    fn woke(&mut self, now: &Stamp) {
        self.woke = Some(now.clone());
        for service in self.services.values_mut() {
            service.live.look_fresh = false;
        }
    }

    fn evaluate(&mut self, id: &ServiceId, now: &Stamp) {
        self.leave_out_maintenance(id, now);
        let Some(service) = self.services.get(id) else { return };
        if service.live.manual.is_some() && !service.record.phase.in_flight() {
            self.decide_manual(id, now);
        } else {
            match &service.record.phase {
                Phase::Acting { .. } => self.reconcile_pace(id, now),
                Phase::Waiting { .. } => self.waiting(id, now),
                Phase::Verifying { .. } => self.verifying(id, now),
                Phase::Stabilising { .. } => self.stabilising(id, now),
                Phase::BackingOff { since, wait } => {
                    if since.age(now) >= *wait {
                        self.end_backoff(id);
                    }
                    self.decide(id, now);
                }
                Phase::Idle => self.decide(id, now),
            }
        }
        let gone = |service: &Service| service.live.removed && !service.record.phase.in_flight();
        if self.services.get(id).is_some_and(gone) {
            self.forget(id, now);
        }
    }

    /// Time in maintenance is left out of the uptime.
    fn leave_out_maintenance(&mut self, id: &ServiceId, now: &Stamp) {
        let Some(service) = self.services.get(id) else { return };
        let open = self.maintenance_gate(service, now).is_some();
        if open != self.globals.maintained.contains(id) {
            self.windows_changed.push((id.clone(), open));
        }
        if open == service.live.in_maintenance {
            return;
        }
        if let Some(service) = self.services.get_mut(id) {
            service.live.in_maintenance = open;
        }
        self.effects.push(Effect::Maintenance { service: id.clone(), open });
    }

    /// Says for which services the first window opened and for which the last one closed, whether
    /// the calendar's or a person's. What was said is kept on disk together with the event: a
    /// window that ends while JARVIS is away is still announced as closed.
    fn announce_maintenance(&mut self) {
        let known = |id: &ServiceId| self.services.contains_key(id);
        let gone = self.globals.maintained.iter().filter(|id| !known(id)).cloned();
        let mut closed: Vec<ServiceId> = gone.collect();
        let mut opened = Vec::new();
        for (id, open) in std::mem::take(&mut self.windows_changed) {
            if open { opened.push(id) } else { closed.push(id) }
        }
        for (open, services) in [(true, opened), (false, closed)] {
            if services.is_empty() {
                continue;
            }
            for id in &services {
                match open {
                    true => self.globals.maintained.insert(id.clone()),
                    false => self.globals.maintained.remove(id),
                };
            }
            let services = services.iter().map(ServiceId::to_string).collect();
            self.events.push(Event::MaintenanceChanged { open, services });
        }
    }

    fn end_backoff(&mut self, id: &ServiceId) {
        if let Some(service) = self.service_mut(id) {
            service.record.phase = Phase::Idle;
            service.live.look_fresh = false;
        }
    }

    /// Hands out what changed. Without the lease nothing is persisted.
    fn finish(&mut self) -> Output {
        let mut commit = Commit { events: std::mem::take(&mut self.events), ..Commit::default() };
        let deleted = std::mem::take(&mut self.deleted);
        if self.held.is_some() {
            commit.records.extend(deleted.into_iter().map(|id| (id, None)));
            for (id, service) in &mut self.services {
                if service.saved.as_ref() != Some(&service.record) {
                    service.saved = Some(service.record.clone());
                    commit.records.insert(id.clone(), Some(service.record.clone()));
                }
            }
            if self.saved_globals.as_ref() != Some(&self.globals) {
                self.saved_globals = Some(self.globals.clone());
                commit.globals = Some(self.globals.clone());
            }
        }
        Output { commit, effects: std::mem::take(&mut self.effects) }
    }

    /// How long until a step is due although nothing happens.
    pub(crate) fn next_due(&self, now: &Stamp) -> Option<Duration> {
        self.services.values().filter_map(|service| service.next_due(now)).min()
    }

    /// Is an action between its intent and its result?
    pub(crate) fn acting(&self) -> bool {
        let acting = |service: &Service| matches!(service.record.phase, Phase::Acting { .. });
        self.held.is_some() && self.services.values().any(acting)
    }

    /// Our fencing token, while the lease is ours.
    pub(crate) fn token(&self) -> Option<FencingToken> {
        self.held.as_ref().map(|held| held.token)
    }

    /// The services, those on their way out included.
    pub(crate) fn names(&self) -> BTreeSet<ServiceId> {
        self.services.keys().cloned().collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.services.len()
    }

    /// Adds an event of the loop's own to the next step.
    pub(crate) fn say(&mut self, event: Event) {
        self.events.push(event);
    }

    fn service(&self, id: &ServiceId) -> Option<&Service> {
        self.services.get(self.aliases.get(id).unwrap_or(id))
    }

    fn service_mut(&mut self, id: &ServiceId) -> Option<&mut Service> {
        self.services.get_mut(self.aliases.get(id).unwrap_or(id))
    }

    /// The name it has now.
    fn name(&self, id: &ServiceId) -> ServiceId {
        self.aliases.get(id).unwrap_or(id).clone()
    }

    fn new_intent(&mut self, id: &ServiceId, now: &Stamp) -> IntentId {
        let text = self.unique(id, now);
        IntentId::new(&text).unwrap_or_else(|_| unreachable_id())
    }

    fn new_incident(&mut self, id: &ServiceId, now: &Stamp) -> IncidentId {
        let text = self.unique(id, now);
        match IncidentId::new(&text) {
            Ok(id) => id,
            Err(_) => unreachable_id(),
        }
    }

    fn unique(&mut self, id: &ServiceId, now: &Stamp) -> String {
        format!("{id}-{}-{:08x}", now.wall.millis().max(0), self.random.next() >> 32)
    }
}

/// A service name of at most 64 bytes, a number and eight digits always make an identifier.
fn unreachable_id<T: std::str::FromStr<Err = base::Error>>() -> T {
    #[expect(clippy::unreachable, reason = "the parts are valid and short")]
    "id".parse().unwrap_or_else(|_| unreachable!())
}

impl Service {
    fn new(plan: record::Plan) -> Self {
        let record = Record {
            fingerprint: plan.fingerprint.clone(),
            target: plan.target.clone(),
            ..Record::default()
        };
        Self { plan, record, saved: None, live: record::Live::default() }
    }

    fn next_due(&self, now: &Stamp) -> Option<Duration> {
        let left = |since: &Stamp, wait: Duration| wait.saturating_sub(since.age(now));
        let policy = &self.plan.policy;
        let phase = match &self.record.phase {
            Phase::Waiting { act, since } => Some(left(since, act.wait(policy))),
            Phase::Verifying { .. } if !self.live.verifying => {
                self.live.verified_at.as_ref().map(|at| left(at, policy.verify_interval))
            }
            Phase::Stabilising { since, .. } => Some(left(since, policy.stabilise)),
            Phase::BackingOff { since, wait } => Some(left(since, *wait)),
            _ => None,
        };
        let breaker = self.record.breaker.as_ref().map(|open| left(&open.since, open.cooldown));
        let pending = self.record.pending.as_ref().map(|due| left(&due.since, due.wait));
        let retry = self.live.retry.as_ref().map(|(since, wait)| left(since, *wait));
        [phase, breaker, pending, retry].into_iter().flatten().filter(|due| !due.is_zero()).min()
    }
}

/// `SplitMix64`: good enough to spread waits and to tell identifiers apart.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in 0..1.
    fn fraction(&mut self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64")]
        let fraction = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        fraction
    }
}
