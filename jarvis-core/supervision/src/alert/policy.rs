//! From events to messages. Pure: no clock, no I/O; what it keeps is written down by the caller.
//!
//! One [`Record`] a subject holds what is wrong with it now, and what each sink was told of it.
//! A new record waits `group_wait`, so that a dependency's verdict can come first and a mass
//! failure becomes one digest; the first critical one of a service without dependencies goes at
//! once. Suppression concerns the beginning of an alert only: what was told
//! is updated and ended whatever happens.

mod apply;
mod digest;
mod flush;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::record::{Notified, Now, Record};
use super::route::{AlertKind, Matcher};
use super::{Alert, AlertStatus};
use base::units;
use base::vocabulary::{IncidentId, ServiceId, Severity};
use digest::Digest;

/// How long a dependent has to come back by itself once its dependency is well.
const DEPENDENT_GRACE: Duration = Duration::from_secs(60);
/// How long a closed incident is remembered.
const CLOSED_TTL: Duration = Duration::from_secs(7 * 24 * 3_600);
const MAX_CLOSED: usize = 4_096;

/// A message for one sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) sink: String,
    pub(super) alert: Alert,
}

/// What is not about one record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    /// Makes the ids of this store unlike those of any other.
    pub(super) store: String,
    pub(super) next_id: u64,
    /// The services in maintenance.
    #[serde(default)]
    pub(super) muted: BTreeSet<ServiceId>,
}

/// When an incident ended, so that an event that is announced again doesn't open it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ClosedIncident {
    #[serde(with = "units::millis")]
    pub(super) at: Duration,
}

/// A row that changed and has to be written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dirty {
    Meta,
    Record(String),
    Digest(String),
    ClosedIncident(String),
}

#[derive(Debug, Default)]
pub(super) struct Policy {
    pub(super) meta: Meta,
    pub(super) records: BTreeMap<String, Record>,
    pub(super) digests: BTreeMap<String, Digest>,
    pub(super) closed: BTreeMap<String, ClosedIncident>,
    pub(super) dirty: BTreeSet<Dirty>,
    sinks: BTreeMap<String, Matcher>,
    depends_on: BTreeMap<ServiceId, Vec<ServiceId>>,
}

fn subject_of(service: &ServiceId) -> String {
    format!("service/{service}")
}

impl Policy {
    /// Sets the routes and the dependencies; on a reload too.
    pub(super) fn configure(
        &mut self,
        sinks: BTreeMap<String, Matcher>,
        depends_on: BTreeMap<ServiceId, Vec<ServiceId>>,
    ) {
        self.sinks = sinks;
        self.depends_on = depends_on;
    }

    /// Everything but the configuration.
    pub(super) fn forget(&mut self) {
        let (sinks, depends_on) =
            (std::mem::take(&mut self.sinks), std::mem::take(&mut self.depends_on));
        *self = Self { sinks, depends_on, ..Self::default() };
    }

    fn touch(&mut self, subject: &str) {
        self.dirty.insert(Dirty::Record(subject.to_owned()));
    }

    fn close_incident(&mut self, what: String, now: Now) {
        if self.closed.len() >= MAX_CLOSED {
            let stale = |closed: &ClosedIncident| now.t.saturating_sub(closed.at) > CLOSED_TTL;
            let oldest = self.closed.iter().min_by_key(|(_, closed)| closed.at);
            let oldest = oldest.map(|(what, _)| what.clone());
            let gone: Vec<String> = self
                .closed
                .iter()
                .filter(|(what, closed)| stale(closed) || oldest.as_ref() == Some(what))
                .map(|(what, _)| what.clone())
                .collect();
            gone.into_iter().for_each(|what| self.forget_closed(what));
        }
        self.dirty.insert(Dirty::ClosedIncident(what.clone()));
        self.closed.insert(what, ClosedIncident { at: now.t });
    }

    fn forget_closed(&mut self, what: String) {
        if self.closed.remove(&what).is_some() {
            self.dirty.insert(Dirty::ClosedIncident(what));
        }
    }

    fn service_record(&mut self, service: &ServiceId, word: &str, now: Now) -> &mut Record {
        let subject = subject_of(service);
        self.touch(&subject);
        self.records.entry(subject).or_insert_with(|| {
            let key = format!("{word}-{service}-{}", now.wall.millis());
            Record::new(key, Some(service.clone()), now)
        })
    }

    /// The record that an incident belongs to, begun if it is not known, unless it is over.
    fn incident_record(
        &mut self,
        incident: &IncidentId,
        service: &ServiceId,
        now: Now,
    ) -> Option<&mut Record> {
        if self.closed.contains_key(incident.as_str()) {
            return None;
        }
        let subject = subject_of(service);
        let replaced = self.records.get(&subject).and_then(|record| record.incident.clone());
        if let Some(replaced) = replaced.filter(|replaced| replaced != incident) {
            // Its end was never told to us; the new one is the same alert.
            self.close_incident(replaced.to_string(), now);
        }
        self.touch(&subject);
        let record = self
            .records
            .entry(subject)
            .or_insert_with(|| Record::new(incident.to_string(), Some(service.clone()), now));
        if record.incident.as_ref() != Some(incident) {
            record.incident = Some(incident.clone());
            record.recovered = false;
        }
        Some(record)
    }

    /// The record of a service that has an incident now.
    fn current(&mut self, service: &ServiceId) -> Option<&mut Record> {
        let subject = subject_of(service);
        let record = self.records.get_mut(&subject).filter(|record| record.incident.is_some())?;
        self.dirty.insert(Dirty::Record(subject));
        Some(record)
    }

    fn id(&mut self) -> String {
        self.meta.next_id += 1;
        self.dirty.insert(Dirty::Meta);
        format!("{}-{}", self.meta.store, self.meta.next_id)
    }

    /// In maintenance: nothing new about it.
    fn is_muted(&self, record: &Record) -> bool {
        record.service.as_ref().is_some_and(|service| self.meta.muted.contains(service))
    }

    fn is_down(&self, service: &ServiceId) -> bool {
        self.records.get(&subject_of(service)).is_some_and(Record::is_down)
    }

    /// The services that one depends on, as configured and as its incident says.
    fn dependencies<'a>(&'a self, record: &'a Record) -> impl Iterator<Item = &'a ServiceId> {
        let configured = record.service.as_ref().and_then(|service| self.depends_on.get(service));
        configured.into_iter().flatten().chain(&record.because_of)
    }

    /// A dependency is down, and is what a person should hear of.
    fn is_suppressed(&self, record: &Record) -> bool {
        let Some(service) = &record.service else { return false };
        self.dependencies(record).any(|on| {
            // In a cycle everybody is down because of everybody: the first name is told.
            on != service && self.is_down(on) && (!self.explains(service, on) || on < service)
        })
    }

    /// Is `service` down because `by` is, over any number of steps?
    fn explains(&self, by: &ServiceId, service: &ServiceId) -> bool {
        let mut seen = BTreeSet::new();
        let mut next = vec![service];
        while let Some(at) = next.pop() {
            let Some(record) = self.records.get(&subject_of(at)).filter(|it| it.is_down()) else {
                continue;
            };
            for on in self.dependencies(record) {
                if on == by {
                    return true;
                }
                if seen.insert(on) {
                    next.push(on);
                }
            }
        }
        false
    }

    /// Those that are down and not told because of this one.
    fn dependents_down(&self, service: &ServiceId) -> Vec<ServiceId> {
        self.records
            .values()
            .filter(|record| record.is_down() && self.dependencies(record).any(|on| on == service))
            .filter_map(|record| record.service.clone())
            .filter(|dependent| dependent != service)
            .collect()
    }

    fn message(
        &mut self,
        sink: &str,
        subject: &str,
        status: AlertStatus,
        now: Now,
    ) -> Option<Message> {
        let id = self.id();
        let record = self.records.get(subject)?;
        let also = match (&record.service, record.is_down()) {
            (Some(service), true) => self.dependents_down(service),
            _ => Vec::new(),
        };
        let title = match status {
            AlertStatus::Recovered => record.recovered_title(),
            _ => record.title(),
        };
        let alert = Alert {
            service: record.service.clone(),
            body: record.body(&also),
            ..Alert::new(id, record.key.clone(), status, record.severity(), title, now.wall)
        };
        Some(Message { sink: sink.to_owned(), alert })
    }

    /// Tells those who know of a record what changed.
    fn notify(&mut self, subject: &str, now: Now) -> Vec<Message> {
        let Some(record) = self.records.get(subject) else { return Vec::new() };
        if self.is_muted(record) {
            return Vec::new();
        }
        let mut due = Vec::new();
        let mut escalated = Vec::new();
        for (sink, notified) in &record.notified {
            let Some(matcher) = self.sinks.get(sink) else { continue };
            let news = record.news_since(notified.revision, |kind| matcher.route.wants(kind));
            let flapping = record.active.contains_key(&AlertKind::Flapping);
            let recovered = record.recovered && !notified.recovered && !flapping;
            if let Some(digest) = &notified.digest {
                let facet = record.active.get(&AlertKind::Escalated);
                if facet.is_some_and(|facet| facet.revision > notified.revision) {
                    escalated.push((sink.clone(), digest.clone()));
                }
            } else if recovered && matcher.route.wants(AlertKind::Recovered) {
                due.push((sink.clone(), AlertStatus::Recovered));
            } else if news && !record.recovered {
                due.push((sink.clone(), AlertStatus::Updated));
            }
        }
        for (sink, digest) in escalated {
            self.mark_notified(&sink, subject, Some(digest.clone()), now);
            self.digest_escalated(&digest, now);
        }
        due.into_iter()
            .filter_map(|(sink, status)| {
                let message = self.message(&sink, subject, status, now);
                self.mark_notified(&sink, subject, None, now);
                message
            })
            .collect()
    }

    fn mark_notified(&mut self, sink: &str, subject: &str, digest: Option<String>, now: Now) {
        if let Some(record) = self.records.get_mut(subject) {
            let notified = Notified {
                revision: record.revision,
                recovered: record.recovered,
                at: now.t,
                digest,
            };
            record.notified.insert(sink.to_owned(), notified);
            self.touch(subject);
        }
    }

    /// It is over: tells it to everybody who was told the beginning.
    fn close(
        &mut self,
        subject: &str,
        reason: &str,
        lasted: Option<Duration>,
        now: Now,
    ) -> Vec<Message> {
        let Some(record) = self.records.remove(subject) else { return Vec::new() };
        self.touch(subject);
        if let Some(incident) = &record.incident {
            self.close_incident(incident.to_string(), now);
        }
        let lasted = lasted.unwrap_or_else(|| now.t.saturating_sub(record.opened));
        let mut messages = Vec::new();
        for (sink, notified) in &record.notified {
            if let Some(digest) = &notified.digest {
                messages.extend(self.digest_left(digest, now));
                continue;
            }
            let id = self.id();
            let title = record.resolved_title(lasted, reason);
            let severity = record.severity().max(Severity::Info);
            let alert = Alert {
                service: record.service.clone(),
                body: record.body(&[]),
                lasted: Some(lasted),
                ..Alert::new(
                    id,
                    record.key.clone(),
                    AlertStatus::Resolved,
                    severity,
                    title,
                    now.wall,
                )
            };
            messages.push(Message { sink: sink.clone(), alert });
        }
        if let Some(service) = &record.service {
            self.give_grace(service, now);
        }
        messages
    }

    /// A dependency is well: its dependents get time to follow before they are told by themselves.
    fn give_grace(&mut self, service: &ServiceId, now: Now) {
        let waiting: Vec<String> = self
            .records
            .iter()
            .filter(|(_, record)| record.notified.is_empty())
            .filter(|(_, record)| self.dependencies(record).any(|on| on == service))
            .map(|(subject, _)| subject.clone())
            .collect();
        for subject in waiting {
            if let Some(record) = self.records.get_mut(&subject) {
                record.not_before = now.t + DEPENDENT_GRACE;
            }
            self.touch(&subject);
        }
    }
}
