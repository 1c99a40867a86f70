//! One message for a mass failure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Dirty, Message, Policy};
use crate::alert::record::{Now, listed, title_line};
use crate::alert::{Alert, AlertStatus};
use base::units;
use base::vocabulary::Severity;

/// What fails this long after the last one that joined belongs to the same storm.
const JOIN: Duration = Duration::from_secs(60);
/// And a storm is not stretched beyond this.
const LONGEST_JOIN: Duration = Duration::from_secs(300);

/// Alerts that one sink was notified of together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::alert) struct Digest {
    pub(super) sink: String,
    #[serde(with = "units::millis")]
    pub(super) opened: Duration,
    #[serde(with = "units::millis")]
    pub(super) last_join: Duration,
    pub(super) joined: usize,
    pub(super) escalated: usize,
    /// When the sink is notified of all changes up to then.
    #[serde(default, with = "units::optional_millis")]
    pub(super) update_at: Option<Duration>,
    /// When the sink was notified last.
    #[serde(rename = "told_at", with = "units::millis")]
    pub(super) notified_at: Duration,
    pub(super) severity: Severity,
}

impl Digest {
    fn takes(&self, now: Now) -> bool {
        now.t < self.last_join + JOIN && now.t < self.opened + LONGEST_JOIN
    }

    fn plan_update(&mut self, now: Now) {
        self.update_at.get_or_insert(now.t + JOIN);
    }
}

impl Policy {
    /// The digest that new alerts of this sink join, if a storm goes on.
    pub(super) fn open_digest(&self, sink: &str, now: Now) -> Option<String> {
        let found = self.digests.iter().find(|(_, it)| it.sink == sink && it.takes(now))?;
        Some(found.0.clone())
    }

    pub(super) fn join_digest(&mut self, key: &str, subjects: &[String], now: Now) {
        let Some(digest) = self.digests.get_mut(key) else { return };
        digest.joined += subjects.len();
        digest.last_join = now.t;
        digest.plan_update(now);
        let sink = digest.sink.clone();
        self.dirty.insert(Dirty::Digest(key.to_owned()));
        self.fill_digest(&sink, key, subjects, now);
    }

    pub(super) fn begin_digest(&mut self, sink: &str, subjects: &[String], now: Now) -> Message {
        let key = format!("storm-{}-{}", now.wall.millis(), self.id());
        let digest = Digest {
            sink: sink.to_owned(),
            opened: now.t,
            last_join: now.t,
            joined: subjects.len(),
            escalated: 0,
            update_at: None,
            notified_at: now.t,
            severity: Severity::Info,
        };
        self.digests.insert(key.clone(), digest);
        self.fill_digest(sink, &key, subjects, now);
        self.digest_message(&key, AlertStatus::Triggered, now)
    }

    fn fill_digest(&mut self, sink: &str, key: &str, subjects: &[String], now: Now) {
        let mut severity = Severity::Info;
        for subject in subjects {
            self.mark_notified(sink, subject, Some(key.to_owned()), now);
            if let Some(record) = self.records.get(subject) {
                severity = severity.max(record.severity());
            }
        }
        if let Some(digest) = self.digests.get_mut(key) {
            digest.severity = digest.severity.max(severity);
        }
    }

    pub(super) fn digest_escalated(&mut self, key: &str, now: Now) {
        if let Some(digest) = self.digests.get_mut(key) {
            digest.escalated += 1;
            digest.plan_update(now);
            self.dirty.insert(Dirty::Digest(key.to_owned()));
        }
    }

    fn members(&self, key: &str) -> Vec<&str> {
        let in_digest = |notified: &super::Notified| notified.digest.as_deref() == Some(key);
        let members =
            self.records.values().filter(|record| record.notified.values().any(in_digest));
        let mut names: Vec<&str> = members
            .map(|record| record.service.as_ref().map_or("JARVIS itself", |it| it.as_str()))
            .collect();
        names.sort_unstable();
        names
    }

    /// One of them is over; with the last one the digest is.
    pub(super) fn digest_left(&mut self, key: &str, now: Now) -> Option<Message> {
        let in_digest = |notified: &super::Notified| notified.digest.as_deref() == Some(key);
        let others = self.records.values().any(|record| record.notified.values().any(in_digest));
        if others {
            return None;
        }
        let message = self.digest_message(key, AlertStatus::Resolved, now);
        self.digests.remove(key);
        self.dirty.insert(Dirty::Digest(key.to_owned()));
        Some(message)
    }

    fn digest_message(&mut self, key: &str, status: AlertStatus, now: Now) -> Message {
        let id = self.id();
        let members = self.members(key);
        let left = members.len();
        let mut body = listed(members.iter(), 20);
        let suspicion = self.records.get("operator/self-suspicion").map(super::Record::title);
        if let Some(suspicion) = suspicion {
            body = format!("{suspicion}\n{body}");
        }
        let Some(digest) = self.digests.get_mut(key) else {
            let alert = Alert::new(id, key, status, Severity::Info, "over", now.wall);
            return Message { sink: String::new(), alert };
        };
        digest.notified_at = now.t;
        digest.update_at = None;
        self.dirty.insert(Dirty::Digest(key.to_owned()));
        let title = match status {
            AlertStatus::Resolved => format!("all {} problems are over", digest.joined),
            AlertStatus::Triggered => format!("{left} problems at once"),
            _ => format!("{left} of {} problems still hold", digest.joined),
        };
        if digest.escalated > 0 && status != AlertStatus::Resolved {
            body = format!("JARVIS gave up on {} of them\n{body}", digest.escalated);
        }
        let mut alert = Alert::new(id, key, status, digest.severity, title_line(&title), now.wall)
            .with_body(body);
        if status == AlertStatus::Resolved {
            alert = alert.with_lasted(now.t.saturating_sub(digest.opened));
        }
        Message { sink: digest.sink.clone(), alert }
    }

    /// When the next digest is due for an update or a reminder.
    pub(super) fn digest_due(&self, digest: &Digest) -> Option<Duration> {
        let route = &self.sinks.get(&digest.sink)?.route;
        let reminder = (!route.reminder.is_zero()).then(|| digest.notified_at + route.reminder);
        digest.update_at.into_iter().chain(reminder).min()
    }

    pub(super) fn tick_digests(&mut self, now: Now) -> Vec<Message> {
        let due: Vec<(String, AlertStatus)> = self
            .digests
            .iter()
            .filter(|(_, digest)| self.digest_due(digest).is_some_and(|due| due <= now.t))
            .map(|(key, digest)| {
                let update = digest.update_at.is_some_and(|at| at <= now.t);
                let status = if update { AlertStatus::Updated } else { AlertStatus::Reminder };
                (key.clone(), status)
            })
            .collect();
        due.into_iter().map(|(key, status)| self.digest_message(&key, status, now)).collect()
    }
}
