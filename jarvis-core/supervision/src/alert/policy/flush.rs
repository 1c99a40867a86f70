//! What time brings: beginnings whose wait is over, reminders, digests.

use std::time::Duration;

use super::{Message, Policy};
use crate::alert::AlertStatus;
use crate::alert::record::{Now, Record};
use crate::alert::route::Matcher;
use base::vocabulary::Severity;

impl Policy {
    /// Does what is due.
    pub(in crate::alert) fn tick(&mut self, now: Now) -> Vec<Message> {
        let names: Vec<String> = self.sinks.keys().cloned().collect();
        let mut messages: Vec<Message> =
            names.iter().flat_map(|sink| self.begin(sink, now)).collect();
        messages.extend(self.remind(now));
        messages.extend(self.tick_digests(now));
        self.forget_notified(now);
        messages
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(in crate::alert) fn next_due(&self) -> Option<Duration> {
        let mut due: Vec<Duration> = Vec::new();
        for record in self.records.values() {
            if record.once {
                due.push(record.opened + self.longest_wait());
            }
            let quiet = self.is_muted(record);
            let suppressed = self.is_suppressed(record);
            for (sink, matcher) in &self.sinks {
                if record.notified.contains_key(sink) {
                    due.extend(self.reminder_due(record, sink, matcher, quiet));
                } else if !quiet && !suppressed {
                    due.extend(self.begins(record, sink, matcher).map(|begin| begin.ripe));
                }
            }
        }
        due.extend(self.digests.values().filter_map(|digest| self.digest_due(digest)));
        due.into_iter().min()
    }

    fn longest_wait(&self) -> Duration {
        let waits = self.sinks.values().map(|it| it.route.after + it.route.group_wait);
        waits.max().unwrap_or_default()
    }

    fn begin(&mut self, sink: &str, now: Now) -> Vec<Message> {
        let Some(matcher) = self.sinks.get(sink) else { return Vec::new() };
        let digest_from = matcher.route.digest_from;
        let waiting: Vec<(String, Begin)> = self
            .records
            .iter()
            .filter(|(_, record)| !record.notified.contains_key(sink))
            .filter_map(|(subject, record)| {
                let begin = self.begins(record, sink, matcher)?;
                let due = begin.earliest <= now.t
                    && !self.is_muted(record)
                    && !self.is_suppressed(record);
                due.then(|| (subject.clone(), begin))
            })
            .collect();
        if !waiting.iter().any(|(_, begin)| begin.ripe <= now.t) {
            return Vec::new();
        }
        let all = |waiting: Vec<(String, Begin)>| -> Vec<String> {
            waiting.into_iter().map(|(subject, _)| subject).collect()
        };
        if let Some(digest) = self.open_digest(sink, now) {
            self.join_digest(&digest, &all(waiting), now);
            return Vec::new();
        }
        if waiting.len() >= digest_from {
            return vec![self.begin_digest(sink, &all(waiting), now)];
        }
        let ripe = waiting.into_iter().filter(|(_, begin)| begin.ripe <= now.t).collect();
        let mut messages = Vec::new();
        for subject in all(ripe) {
            messages.extend(self.message(sink, &subject, AlertStatus::Triggered, now));
            self.mark_notified(sink, &subject, None, now);
        }
        messages
    }

    /// The beginning of an alert for one sink, without regard to maintenance and suppression.
    ///
    /// What is new waits `group_wait` for what belongs to it. The first critical alert does not:
    /// it goes at once, and what follows it within `group_wait` is grouped. Only where the
    /// service depends on others their verdict is waited for, because it decides what is told.
    fn begins(&self, record: &Record, sink: &str, matcher: &Matcher) -> Option<Begin> {
        let route = &matcher.route;
        let excluded = record.recovered || record.except.as_deref() == Some(sink);
        if excluded || !matcher.covers(record.service.as_ref()) {
            return None;
        }
        let since = |at_least: Severity| {
            let wanted = record.active.iter().filter(|(kind, facet)| {
                route.wants(**kind) && facet.severity >= route.min_severity.max(at_least)
            });
            let begin = wanted.map(|(_, facet)| facet.since).min()?;
            Some(begin + route.after)
        };
        let earliest = since(Severity::Info)?;
        let mut ripe = earliest + route.group_wait;
        if self.dependencies(record).next().is_none()
            && let Some(critical) = since(Severity::Critical)
        {
            ripe = ripe.min(critical.max(self.grouped_until(sink, route.group_wait)));
        }
        let not_before = record.not_before;
        Some(Begin { earliest: earliest.max(not_before), ripe: ripe.max(not_before) })
    }

    /// Until then what is new belongs to the last critical alert that this sink was told of.
    fn grouped_until(&self, sink: &str, group_wait: Duration) -> Duration {
        let critical = self.records.values().filter(|it| it.severity() == Severity::Critical);
        let notified = critical.filter_map(|record| Some(record.notified.get(sink)?.at));
        notified.max().map_or(Duration::ZERO, |at| at + group_wait)
    }

    fn reminder_due(
        &self,
        record: &Record,
        sink: &str,
        matcher: &Matcher,
        quiet: bool,
    ) -> Option<Duration> {
        let notified = record.notified.get(sink)?;
        let remind = !matcher.route.reminder.is_zero()
            && !quiet
            && !record.once
            && !record.recovered
            && notified.digest.is_none()
            && record.severity() >= Severity::Warning;
        remind.then(|| notified.at + matcher.route.reminder)
    }

    fn remind(&mut self, now: Now) -> Vec<Message> {
        let mut due = Vec::new();
        for (subject, record) in &self.records {
            let quiet = self.is_muted(record);
            for (sink, matcher) in &self.sinks {
                let at = self.reminder_due(record, sink, matcher, quiet);
                if at.is_some_and(|at| at <= now.t) {
                    due.push((sink.clone(), subject.clone()));
                }
            }
        }
        let mut messages = Vec::new();
        for (sink, subject) in due {
            messages.extend(self.message(&sink, &subject, AlertStatus::Reminder, now));
            self.mark_notified(&sink, &subject, None, now);
        }
        messages
    }

    /// What has no end is forgotten once everybody had his turn.
    fn forget_notified(&mut self, now: Now) {
        let wait = self.longest_wait();
        let old: Vec<String> = self
            .records
            .iter()
            .filter(|(_, record)| record.once && record.opened + wait <= now.t)
            .map(|(subject, _)| subject.clone())
            .collect();
        for subject in old {
            self.touch(&subject);
            let Some(record) = self.records.remove(&subject) else { continue };
            let digests: Vec<String> =
                record.notified.into_values().filter_map(|notified| notified.digest).collect();
            for digest in digests {
                self.digest_without_end(&digest);
            }
        }
    }

    /// A digest of nothing but messages without an end has none either.
    fn digest_without_end(&mut self, key: &str) {
        let in_digest = |notified: &super::Notified| notified.digest.as_deref() == Some(key);
        if !self.records.values().any(|record| record.notified.values().any(in_digest)) {
            self.digests.remove(key);
            self.dirty.insert(super::Dirty::Digest(key.to_owned()));
        }
    }
}

/// When a sink may hear of a record, and when it must.
struct Begin {
    /// From then on it may be told together with others.
    earliest: Duration,
    /// Then it is told.
    ripe: Duration,
}
