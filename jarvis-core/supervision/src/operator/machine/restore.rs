//! Coming and going: configuration, lease, and what an earlier life left behind.

use std::collections::BTreeMap;

use super::Machine;
use super::input::{Effect, Saved};
use super::record::{Held, Phase, Plan, Record, Service};
use base::clock::Stamp;
use base::events::Event;
use base::vocabulary::{FencingToken, HolderId, ServiceId};
use base::{Error, ErrorKind};

impl Machine {
    /// The services, at first and after a reload.
    pub(super) fn configure(&mut self, plans: Vec<Plan>, now: &Stamp) {
        let mut plans: BTreeMap<ServiceId, Plan> =
            plans.into_iter().map(|plan| (plan.id.clone(), plan)).collect();
        self.rename_by_target(&plans);
        let gone: Vec<ServiceId> =
            self.services.keys().filter(|id| !plans.contains_key(*id)).cloned().collect();
        for id in gone {
            if let Some(service) = self.services.get_mut(&id) {
                service.live.removed = true;
            }
            if !self.services.get(&id).is_some_and(|service| service.record.phase.in_flight()) {
                self.forget(&id, now);
            }
        }
        for (id, plan) in std::mem::take(&mut plans) {
            match self.services.get_mut(&id) {
                Some(service) => service.reconfigure(plan),
                None => {
                    let mut service = Service::new(plan);
                    service.live.first_seen = Some(now.clone());
                    self.services.insert(id, service);
                }
            }
        }
    }

    /// A new name for the same target is the same service: it keeps its history and its budget.
    fn rename_by_target(&mut self, plans: &BTreeMap<ServiceId, Plan>) {
        let renamed: Vec<(ServiceId, ServiceId)> = self
            .services
            .iter()
            .filter(|(id, _)| !plans.contains_key(*id))
            .filter_map(|(id, service)| {
                let target = service.record.target.as_ref();
                let heir = plans.values().find(|plan| {
                    plan.succeeds(id, target) && !self.services.contains_key(&plan.id)
                })?;
                Some((id.clone(), heir.id.clone()))
            })
            .collect();
        for (from, to) in renamed {
            if let Some(mut service) = self.services.remove(&from) {
                service.plan.id = to.clone();
                service.saved = None;
                self.services.insert(to.clone(), service);
                self.moved(from, to);
            }
        }
    }

    fn moved(&mut self, from: ServiceId, to: ServiceId) {
        for name in self.aliases.values_mut().filter(|name| **name == from) {
            *name = to.clone();
        }
        self.aliases.remove(&to);
        self.deleted.push(from.clone());
        self.effects.push(Effect::RenameLedger { from: from.clone(), to: to.clone() });
        self.aliases.insert(from, to);
    }

    /// It left the configuration, and nothing of it is under way any more.
    pub(super) fn forget(&mut self, id: &ServiceId, now: &Stamp) {
        self.refuse_manual(
            id,
            Some(Error::new(ErrorKind::NotFound, "it was removed from the configuration")),
        );
        self.close_incident(id, now);
        self.services.remove(id);
        self.deleted.push(id.clone());
    }

    /// The lease is ours: what was persisted is the truth, whoever wrote it.
    pub(super) fn activate(
        &mut self,
        holder: HolderId,
        token: FencingToken,
        saved: Saved,
        now: &Stamp,
    ) {
        let Saved { globals, mut records } = saved;
        self.saved_globals = Some(globals.clone());
        self.globals = globals;
        self.held = Some(Held { holder: holder.clone(), token });
        self.events.push(Event::LeaseAcquired { holder, token });
        let ids: Vec<ServiceId> = self.services.keys().cloned().collect();
        for id in &ids {
            let record = records.remove(id);
            self.restore(id, record);
        }
        self.adopt_orphans(records, now);
    }

    fn restore(&mut self, id: &ServiceId, record: Option<Record>) {
        let Some(service) = self.services.get_mut(id) else { return };
        let known = service.live.health.ever_passed;
        service.saved.clone_from(&record);
        service.record = record.unwrap_or_default();
        if service.record.fingerprint != service.plan.fingerprint {
            service.record.ever_passed = false;
            service.record.fingerprint.clone_from(&service.plan.fingerprint);
        }
        service.record.target.clone_from(&service.plan.target);
        service.record.ever_passed |= known;
        service.begin_era();
        let live = &mut service.live;
        live.look_fresh = false;
        // One that was asked for may have been dropped with the lease that it was asked under.
        live.looking = None;
        live.reserving = None;
        live.verifying = false;
        live.verified_at = None;
        live.passes = 0;
        live.failure = None;
        live.look_errors = 0;
        live.looked = None;
        live.reconcile = matches!(service.record.phase, Phase::Acting { .. });
        if service.record.phase.in_flight() {
            self.effects.push(Effect::ActionBegan { service: id.clone() });
        }
    }

    /// Records of services that are not configured any more: a new name for the same target, or
    /// gone.
    fn adopt_orphans(&mut self, orphans: BTreeMap<ServiceId, Record>, now: &Stamp) {
        for (from, record) in orphans {
            let heir = self.services.iter().find(|(_, service)| {
                service.saved.is_none() && service.plan.succeeds(&from, record.target.as_ref())
            });
            if let Some(to) = heir.map(|(id, _)| id.clone()) {
                self.restore(&to, Some(record));
                if let Some(service) = self.services.get_mut(&to) {
                    service.saved = None;
                }
                self.moved(from, to);
                continue;
            }
            if let Some(incident) = record.incident {
                self.events.push(Event::IncidentResolved {
                    incident: incident.id,
                    service: from.clone(),
                    after: incident.opened.age(now),
                    attempts: incident.attempts,
                });
            }
            self.deleted.push(from);
        }
    }

    /// The lease is lost: whoever has it decides now.
    pub(super) fn deactivate(&mut self, reason: &str) {
        if self.held.take().is_none() {
            return;
        }
        self.saved_globals = None;
        self.events.push(Event::LeaseLost { reason: reason.to_owned() });
        let ids: Vec<ServiceId> = self.services.keys().cloned().collect();
        for id in ids {
            let error = Error::new(ErrorKind::Forbidden, reason.to_owned());
            self.refuse_manual(&id, Some(error.with_context("gate", "lease")));
            if let Some(service) = self.services.get_mut(&id) {
                service.saved = None;
                service.live.reserving = None;
                if service.record.phase.in_flight() {
                    self.effects
                        .push(Effect::ActionEnded { service: id, started_ago: Default::default() });
                }
            }
        }
    }
}

impl Service {
    fn reconfigure(&mut self, plan: Plan) {
        self.live.removed = false;
        if plan.fingerprint != self.record.fingerprint {
            self.record.ever_passed = false;
            self.record.fingerprint.clone_from(&plan.fingerprint);
        }
        if plan.actionable != self.plan.actionable || plan.target != self.record.target {
            self.live.look = None;
            self.live.look_fresh = false;
            self.live.looked = None;
        }
        self.record.target.clone_from(&plan.target);
        self.plan = plan;
    }
}
