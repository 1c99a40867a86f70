//! What the machine says about itself.

use super::Machine;
use super::record::{OneOff, Phase, Service};
use crate::lease::Limit;
use crate::operator::status::{
    IncidentStatus, LeaseStatus, MaintenanceStatus, OperatorStatus, ServiceStatus,
};
use base::clock::{Stamp, WallTime};
use base::vocabulary::{Gate, Lifecycle, ServiceId};

impl Machine {
    pub(crate) fn status(&self, now: &Stamp) -> OperatorStatus {
        let hold = self.global_gate(now);
        OperatorStatus {
            at: now.wall,
            mode: self.settings.mode,
            acting: hold.is_none(),
            hold,
            lease: self
                .held
                .as_ref()
                .map(|held| LeaseStatus { holder: held.holder.clone(), token: held.token }),
            maintenance: self.globals.one_off.iter().map(|window| window.status(now)).collect(),
            suspected: self.suspicion.reason().map(str::to_owned),
            services: self
                .services
                .values()
                .map(|service| {
                    let window = self.maintenance_gate(service, now);
                    service.status(window.and_then(|hold| hold.until), now)
                })
                .collect(),
        }
    }

    /// The limits of what may be restarted, to ask the ledger about.
    pub(crate) fn limits(&self) -> Vec<(ServiceId, Vec<Limit>)> {
        let limits = |service: &Service| (service.plan.id.clone(), service.plan.policy.limits());
        self.services.values().filter(|service| service.plan.actionable).map(limits).collect()
    }
}

impl OneOff {
    pub(super) fn status(&self, now: &Stamp) -> MaintenanceStatus {
        MaintenanceStatus {
            window: self.id,
            services: self.services.clone(),
            since: self.span.since.wall,
            until: now.wall + self.span.left(now),
            by: self.by.clone(),
            reason: self.reason.clone(),
        }
    }
}

impl Service {
    fn status(&self, maintenance_until: Option<WallTime>, now: &Stamp) -> ServiceStatus {
        let record = &self.record;
        ServiceStatus {
            service: self.plan.id.clone(),
            state: self.live.health.state,
            lifecycle: self.lifecycle(),
            restartable: self.plan.actionable,
            incident: record.incident.as_ref().map(|incident| IncidentStatus {
                id: incident.id.clone(),
                opened_at: incident.opened.wall,
                cause: incident.cause.clone(),
                because_of: incident.because_of.clone(),
                attempts: incident.attempts,
                escalated: incident.escalated,
            }),
            budget: Vec::new(),
            instance: record.instance.clone(),
            version: record.version.as_ref().map(|seen| seen.version.clone()),
            last_good_version: record.good.clone(),
            bad_versions: record.bad.clone(),
            maintenance_until,
            next_at: self.next_due(now).map(|due| now.wall + due),
        }
    }

    fn lifecycle(&self) -> Lifecycle {
        let held = |gate: Gate| self.live.hold.as_ref().filter(|hold| hold.gate != gate).cloned();
        let or_held = |gate: Gate, otherwise: Lifecycle| match held(gate) {
            Some(hold) => Lifecycle::Held { hold },
            None => otherwise,
        };
        match &self.record.phase {
            Phase::Acting { .. } => Lifecycle::Acting,
            Phase::Waiting { .. } => Lifecycle::Waiting,
            Phase::Verifying { .. } => Lifecycle::Verifying,
            Phase::Stabilising { .. } => Lifecycle::Stabilising,
            _ if self.record.stopped.is_some() => Lifecycle::Stopped,
            Phase::BackingOff { .. } => or_held(Gate::Backoff, Lifecycle::BackingOff),
            Phase::Idle if self.record.breaker.is_some() => {
                or_held(Gate::Cooldown, Lifecycle::CoolingDown)
            }
            Phase::Idle => or_held(Gate::Backoff, Lifecycle::Steady),
        }
    }
}
