//! What each event changes.

use std::time::Duration;

use super::{Message, Policy, subject_of};
use crate::alert::record::{Now, Record, human};
use crate::alert::route::AlertKind;
use base::events::Event;
use base::text::bounded;
use base::vocabulary::{Cause, Gate, Hold, IncidentId, ServiceId, ServiceState, Severity, Trigger};

fn cause_text(cause: Option<&Cause>) -> String {
    cause.map_or_else(
        || "no check gave a reason".to_owned(),
        |cause| format!("{} (check {})", cause.message, cause.check),
    )
}

/// Gates that a person may have to open. The others open by themselves, or are how the operator
/// was set up.
fn needs_a_person(gate: Gate) -> bool {
    matches!(
        gate,
        Gate::KillSwitch
            | Gate::NeverHealthy
            | Gate::FailureKind
            | Gate::SelfSuspicion
            | Gate::GlobalBudget
    )
}

impl Policy {
    /// Applies an event. Applying it again changes nothing.
    pub(in crate::alert) fn apply(&mut self, event: &Event, now: Now) -> Vec<Message> {
        let mut messages = self.apply_to_service(event, now);
        messages.extend(self.apply_to_jarvis(event, now));
        if let Some(service) = event.service() {
            messages.extend(self.notify(&subject_of(service), now));
        }
        messages
    }

    fn apply_to_service(&mut self, event: &Event, now: Now) -> Vec<Message> {
        match event {
            Event::ServiceChanged { service, to, cause, .. } => {
                return self.service_changed(service, *to, cause.as_ref(), now);
            }
            Event::FlappingStarted { service } => {
                let text = "is flapping: its state changes too often";
                let record = self.service_record(service, "flapping", now);
                record.set(AlertKind::Flapping, Severity::Warning, text, now);
            }
            Event::FlappingStopped { service } => {
                return self.ended(service, &[AlertKind::Flapping], "settled", None, now);
            }
            Event::IncidentOpened { incident, service, cause, because_of } => {
                let Some(record) = self.incident_record(incident, service, now) else {
                    return Vec::new();
                };
                record.set(AlertKind::Down, Severity::Critical, &cause_text(Some(cause)), now);
                record.because_of.clone_from(because_of);
            }
            Event::IncidentRecovered { incident, service, after, attempts } => {
                self.recovered(incident, service, *after, *attempts, now);
            }
            Event::IncidentResolved { incident, service, after, .. } => {
                return self.resolved(incident, service, *after, now);
            }
            Event::Escalated { incident, service, attempts, reason, last_log_lines } => {
                let Some(record) = self.incident_record(incident, service, now) else {
                    return Vec::new();
                };
                let text = format!("{reason} (after {attempts} attempts)");
                record.set(AlertKind::Escalated, Severity::Critical, &text, now);
                record.keep_log(last_log_lines);
            }
            Event::StoppedByPerson { service, evidence } => {
                return self.stopped(service, evidence, now);
            }
            Event::ActionHeld { service, hold, .. } => self.held(service, hold, now),
            _ => self.add_line(event, now),
        }
        Vec::new()
    }

    fn service_changed(
        &mut self,
        service: &ServiceId,
        to: ServiceState,
        cause: Option<&Cause>,
        now: Now,
    ) -> Vec<Message> {
        match to {
            ServiceState::Degraded => {
                let record = self.service_record(service, "degraded", now);
                let text = cause_text(cause);
                record.set(AlertKind::Degraded, Severity::Warning, &text, now);
            }
            ServiceState::Healthy => {
                self.forget_closed(format!("stopped/{service}"));
                return self.ended(service, &[AlertKind::Degraded], "well again", None, now);
            }
            ServiceState::Down => {
                if let Some(record) = self.current(service).filter(|record| record.recovered) {
                    record.relapse();
                    record.add_line(&format!("Down again: {}", cause_text(cause)));
                }
            }
            ServiceState::Unknown => {}
        }
        Vec::new()
    }

    /// Some of what held does no longer; with nothing left it is over.
    fn ended(
        &mut self,
        service: &ServiceId,
        kinds: &[AlertKind],
        reason: &str,
        lasted: Option<Duration>,
        now: Now,
    ) -> Vec<Message> {
        let subject = subject_of(service);
        let Some(record) = self.records.get_mut(&subject) else { return Vec::new() };
        kinds.iter().for_each(|kind| record.clear(*kind));
        let over = record.active.is_empty();
        self.touch(&subject);
        if over { self.close(&subject, reason, lasted, now) } else { Vec::new() }
    }

    fn recovered(
        &mut self,
        incident: &IncidentId,
        service: &ServiceId,
        after: Duration,
        attempts: u32,
        now: Now,
    ) {
        let Some(record) = self.current(service) else { return };
        let repeated = record.repeats(format!("recovered {incident} {}", after.as_millis()));
        if repeated || record.incident.as_ref() != Some(incident) {
            return;
        }
        record.recovered = true;
        let how = match attempts {
            0 => "by itself".to_owned(),
            1 => "after 1 attempt".to_owned(),
            n => format!("after {n} attempts"),
        };
        record.add_line(&format!("Recovered {how}, {} after it went down", human(after)));
        self.give_grace(service, now);
    }

    fn resolved(
        &mut self,
        incident: &IncidentId,
        service: &ServiceId,
        after: Duration,
        now: Now,
    ) -> Vec<Message> {
        let ours = self.current(service).is_some_and(|it| it.incident.as_ref() == Some(incident));
        self.close_incident(incident.to_string(), now);
        if !ours {
            return Vec::new();
        }
        let subject = subject_of(service);
        let alone = self.records.get(&subject).is_some_and(|record| {
            let other = [AlertKind::Degraded, AlertKind::Flapping];
            !other.iter().any(|kind| record.active.contains_key(kind))
        });
        if alone {
            return self.close(&subject, "well again", Some(after), now);
        }
        if let Some(record) = self.records.get_mut(&subject) {
            for kind in [AlertKind::Down, AlertKind::Escalated, AlertKind::Held] {
                record.clear(kind);
            }
            (record.incident, record.recovered, record.because_of) = (None, false, None);
        }
        self.touch(&subject);
        Vec::new()
    }

    fn stopped(&mut self, service: &ServiceId, evidence: &str, now: Now) -> Vec<Message> {
        let subject = subject_of(service);
        let mut notified = std::collections::BTreeMap::new();
        if let Some(record) = self.records.get(&subject) {
            notified.clone_from(&record.notified);
        }
        let messages = self.close(&subject, "stopped by a person", None, now);
        let what = format!("stopped/{service}");
        let text = format!("stopped by a person: {evidence}");
        if let Some(record) = self.once(&what, Some(service), now) {
            record.set(AlertKind::Stopped, Severity::Info, &text, now);
            // Who was just told that the alert is over because of this knows it.
            record.notified = notified;
        }
        messages
    }

    /// A message without an end. `None` when it was told already.
    pub(super) fn once(
        &mut self,
        what: &str,
        service: Option<&ServiceId>,
        now: Now,
    ) -> Option<&mut Record> {
        if self.closed.contains_key(what) {
            return None;
        }
        self.close_incident(what.to_owned(), now);
        let subject = format!("once/{what}");
        self.touch(&subject);
        let key = bounded(&format!("{}-{}", what.replace('/', "-"), now.wall.millis()), 200);
        let mut record = Record::new(key, service.cloned(), now);
        record.once = true;
        Some(self.records.entry(subject).or_insert(record))
    }

    fn held(&mut self, service: &ServiceId, hold: &Hold, now: Now) {
        let Some(record) = self.current(service) else { return };
        if record.repeats(format!("held {} {}", hold.gate, hold.reason)) {
            return;
        }
        record.add_line(&format!("No action was taken: {}", hold.reason));
        if needs_a_person(hold.gate) {
            record.set(AlertKind::Held, Severity::Warning, &hold.reason, now);
        }
    }

    /// What was done about an incident, for the body.
    fn add_line(&mut self, event: &Event, now: Now) {
        if let Event::RolledBack { service, from, to } = event {
            let from = from.as_ref().map_or("an unknown version", |from| from.as_str());
            let text = format!("rolled back from {from} to {to}; the former is pinned as bad");
            if let Some(record) =
                self.once(&format!("rollback/{service}/{from}"), Some(service), now)
            {
                record.set(AlertKind::RolledBack, Severity::Warning, &text, now);
            }
        }
        let Some(service) = event.service() else { return };
        let Some(line) = line_of(event) else { return };
        if matches!(event, Event::ActionStarted { .. }) {
            self.forget_closed(format!("stopped/{service}"));
        }
        let Some(record) = self.current(service) else { return };
        if record.repeats(line.seen) {
            return;
        }
        match event {
            // It is held no longer; that is no news by itself.
            Event::ActionStarted { .. } => drop(record.active.remove(&AlertKind::Held)),
            Event::VerifyFailed { .. } => record.relapse(),
            _ => {}
        }
        record.add_line(&line.text);
    }

    fn apply_to_jarvis(&mut self, event: &Event, now: Now) -> Vec<Message> {
        match event {
            Event::SelfSuspected { suspected, reason } => {
                let text = format!("suspects its own network or machine: {reason}");
                self.standing("self-suspicion", suspected.then_some(&text), now)
            }
            Event::ActingChanged { acting, reason } => {
                let text = format!("takes no actions: {reason}");
                self.standing("acting", (!acting).then_some(&text), now)
            }
            Event::ConfigRefused { reason } => {
                let text =
                    format!("rejected the changed configuration and keeps the old one: {reason}");
                self.standing("config", Some(&text), now)
            }
            Event::ConfigReloaded { .. } => self.standing("config", None, now),
            Event::OperatorTrouble { severity, message } => {
                // Told again when it is told again an hour later.
                let hour = now.t.as_secs() / 3_600;
                let what = format!("trouble/{hour}/{}", bounded(message, 120));
                if let Some(record) = self.once(&what, None, now) {
                    record.set(AlertKind::Operator, *severity, message, now);
                }
                Vec::new()
            }
            Event::MaintenanceChanged { open, services } => self.maintenance(*open, services, now),
            _ => Vec::new(),
        }
    }

    /// A trouble of JARVIS's own that begins (with a text) or ends.
    fn standing(&mut self, word: &str, text: Option<&String>, now: Now) -> Vec<Message> {
        let subject = format!("operator/{word}");
        let Some(text) = text else { return self.close(&subject, "over", None, now) };
        let record = self.records.entry(subject.clone()).or_insert_with(|| {
            Record::new(format!("operator-{word}-{}", now.wall.millis()), None, now)
        });
        record.set(AlertKind::Operator, Severity::Warning, text, now);
        self.touch(&subject);
        self.notify(&subject, now)
    }

    /// A sink does not deliver: the others are told.
    pub(in crate::alert) fn sink_fails(&mut self, sink: &str, why: &str, now: Now) -> Vec<Message> {
        let text = format!("alerts through {sink:?} are not delivered: {why}");
        let messages = self.standing(&format!("sink-{sink}"), Some(&text), now);
        if let Some(record) = self.records.get_mut(&format!("operator/sink-{sink}")) {
            record.except = Some(sink.to_owned());
        }
        messages
    }

    /// It delivers again.
    pub(in crate::alert) fn sink_works(&mut self, sink: &str, now: Now) -> Vec<Message> {
        self.standing(&format!("sink-{sink}"), None, now)
    }

    fn maintenance(&mut self, open: bool, services: &[String], now: Now) -> Vec<Message> {
        let mut changed = Vec::new();
        for service in services.iter().filter_map(|name| ServiceId::new(name).ok()) {
            let news = match open {
                true => self.meta.muted.insert(service.clone()),
                false => self.meta.muted.remove(&service),
            };
            if news {
                changed.push(subject_of(&service));
            }
        }
        if !changed.is_empty() {
            self.dirty.insert(super::Dirty::Meta);
        }
        // What changed in the meantime is told to those who knew the state before.
        changed.iter().flat_map(|subject| self.notify(subject, now)).collect()
    }
}

/// A line of the body, and what names it when it comes twice.
struct Line {
    text: String,
    seen: String,
}

fn line_of(event: &Event) -> Option<Line> {
    let (text, seen) = match event {
        Event::ActionStarted { intent, action, trigger, attempt, .. } => {
            let attempt = if *attempt > 0 { format!("Attempt {attempt}: ") } else { String::new() };
            let why = match trigger {
                Trigger::Manual { by } => format!(", asked for by {by}"),
                Trigger::Dependency { on } => format!(", after {on}"),
                Trigger::HalfOpen => ", the one trial after the cooldown".to_owned(),
                _ => String::new(),
            };
            (format!("{attempt}{action}{why}"), format!("started {intent}"))
        }
        Event::ActionFinished { intent, message, took, .. } => {
            (format!("{message} ({})", human(*took)), format!("finished {intent}"))
        }
        Event::VerifyPassed { intent, proven, .. } => {
            let text = if *proven {
                "Verified: a new life passes its checks"
            } else {
                "Verified: the checks pass, but a new instance was not confirmed"
            };
            (text.to_owned(), format!("passed {intent}"))
        }
        Event::VerifyFailed { intent, reason, .. } => {
            (format!("Unhealthy after the action: {reason}"), format!("failed {intent}"))
        }
        Event::ActionSimulated { action, .. } => {
            (format!("Dry run: would {action}"), format!("simulated {action}"))
        }
        Event::RolledBack { to, .. } => {
            (format!("Rolled back to {to}"), format!("rolled back {to}"))
        }
        Event::InstanceExited { exit, instance, .. } => {
            let instance = instance.as_ref().map_or("", |instance| instance.as_str());
            (format!("Exited: {exit}"), format!("exited {instance} {exit}"))
        }
        Event::ServiceReset { by, .. } => {
            (format!("Budgets cleared by {by}"), format!("reset {by}"))
        }
        _ => return None,
    };
    Some(Line { text, seen })
}
