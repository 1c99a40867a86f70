//! Is it them, or is it us?

use std::collections::BTreeSet;

use super::Machine;
use super::record::Service;
use base::clock::Stamp;
use base::events::Event;
use base::vocabulary::{FailureKind, ServiceState};

#[derive(Debug, Default)]
pub(super) struct Suspicion {
    /// Since when and why.
    suspected: Option<(Stamp, String)>,
    /// What is wrong with us, by our own canary.
    canary: Option<String>,
    /// Failures from before the last suspicion ended do not raise the next one.
    ignore_before: Option<Stamp>,
}

impl Suspicion {
    pub(super) fn reason(&self) -> Option<&str> {
        self.suspected.as_ref().map(|(_, reason)| reason.as_str())
    }
}

impl Service {
    /// It fails in a way that may be our own doing: never a proven exit.
    pub(super) fn suspects_self(&self) -> bool {
        let kind = self.live.health.cause.as_ref().and_then(|cause| cause.kind);
        self.live.health.state == ServiceState::Down
            && !self.exited()
            && kind.is_some_and(FailureKind::suspects_self)
    }
}

impl Machine {
    pub(super) fn canary(&mut self, result: Result<(), String>) {
        self.suspicion.canary = result.err();
    }

    /// Begins and ends the suspicion.
    pub(super) fn suspect(&mut self, now: &Stamp) {
        let reason = self.suspicion.canary.clone().or_else(|| self.mass_failure(now));
        match (&self.suspicion.suspected, reason) {
            (None, Some(reason)) => {
                self.suspicion.suspected = Some((now.clone(), reason.clone()));
                self.events.push(Event::SelfSuspected { suspected: true, reason });
            }
            (Some((since, _)), _)
                if self.suspicion.canary.is_none()
                    && since.age(now) >= self.settings.suspicion.hold =>
            {
                self.suspicion.suspected = None;
                self.suspicion.ignore_before = Some(now.clone());
                let reason = "JARVIS's own canary is healthy, so the services themselves fail";
                self.events
                    .push(Event::SelfSuspected { suspected: false, reason: reason.to_owned() });
            }
            _ => {}
        }
    }

    /// Many services on several hosts that began to time out together.
    fn mass_failure(&self, now: &Stamp) -> Option<String> {
        let rule = &self.settings.suspicion;
        let ignored = self.suspicion.ignore_before.as_ref().map(|before| before.age(now));
        let recent = |service: &&Service| {
            service.suspects_self()
                && service.live.down_since.as_ref().is_some_and(|since| {
                    let age = since.age(now);
                    age < rule.hold && ignored.is_none_or(|ignored| age < ignored)
                })
        };
        let failing: Vec<_> = self.services.values().filter(recent).collect();
        let hosts: BTreeSet<_> = failing.iter().map(|service| &service.plan.host).collect();
        #[expect(clippy::cast_precision_loss, reason = "nobody watches 2^52 services")]
        let share = failing.len() as f64 / self.services.len().max(1) as f64;
        let enough = failing.len() >= rule.targets && hosts.len() >= rule.hosts;
        (enough && share > rule.share).then(|| {
            format!(
                "{} services on {} hosts stopped answering within {}: our own network is the likelier cause",
                failing.len(),
                hosts.len(),
                base::units::format_duration(rule.hold)
            )
        })
    }
}
