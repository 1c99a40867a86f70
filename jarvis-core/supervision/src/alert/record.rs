//! What is wrong now, one [`Record`] a subject, and how it is put into words.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::route::AlertKind;
use base::clock::WallTime;
use base::text::{bounded, one_line};
use base::units;
use base::vocabulary::{IncidentId, ServiceId, Severity};

/// How many lines of what was done are kept.
const MAX_LINES: usize = 12;
const MAX_TITLE: usize = 200;
const MAX_BODY: usize = 8 * 1024;
const MAX_LINE: usize = 400;

/// The moment of a step: `t` runs through restarts and stands above any wall clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) t: Duration,
    pub(super) wall: WallTime,
}

/// What one sink knows of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Notified {
    pub(super) revision: u32,
    pub(super) recovered: bool,
    /// When it was notified last.
    #[serde(with = "units::millis")]
    pub(super) at: Duration,
    /// Notified as part of this digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) digest: Option<String>,
}

/// What is wrong with one subject: a service, or a part of JARVIS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The alert's key.
    pub(super) key: String,
    #[serde(default)]
    pub(super) service: Option<ServiceId>,
    #[serde(default)]
    pub(super) incident: Option<IncidentId>,
    #[serde(with = "units::millis")]
    pub(super) opened: Duration,
    /// What holds, since when, and in words.
    pub(super) active: BTreeMap<AlertKind, Facet>,
    /// Passed verification, not yet trusted.
    #[serde(default)]
    pub(super) recovered: bool,
    /// Grows with what is worth an update.
    #[serde(default)]
    pub(super) revision: u32,
    /// The revision of the last change that is no facet's: something ended, or it is down again.
    #[serde(default)]
    pub(super) changed: u32,
    /// The last lines of its log, masked by whoever read them.
    #[serde(default)]
    pub(super) log: Vec<String>,
    /// What was done, in order.
    #[serde(default)]
    pub(super) lines: Vec<String>,
    #[serde(default)]
    pub(super) lines_dropped: u32,
    #[serde(default)]
    pub(super) because_of: Option<ServiceId>,
    /// Not told before: its dependency came back just now.
    #[serde(default, with = "units::millis")]
    pub(super) not_before: Duration,
    /// Has no end: told once and forgotten.
    #[serde(default)]
    pub(super) once: bool,
    /// Which sink it is about, so that it is not told through that one.
    #[serde(default)]
    pub(super) except: Option<String>,
    /// What each sink knows, by its name.
    #[serde(default, rename = "told")]
    pub(super) notified: BTreeMap<String, Notified>,
    /// What was applied already; announcing is at least once.
    #[serde(default)]
    pub(super) seen: Vec<String>,
}

/// One thing that holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facet {
    #[serde(with = "units::millis")]
    pub(super) since: Duration,
    pub(super) severity: Severity,
    pub(super) text: String,
    /// The record's revision when it began or changed its severity.
    #[serde(default)]
    pub(super) revision: u32,
}

impl Record {
    pub(super) fn new(key: String, service: Option<ServiceId>, now: Now) -> Self {
        Self {
            key,
            service,
            incident: None,
            opened: now.t,
            active: BTreeMap::new(),
            recovered: false,
            revision: 0,
            changed: 0,
            log: Vec::new(),
            lines: Vec::new(),
            lines_dropped: 0,
            because_of: None,
            not_before: Duration::ZERO,
            once: false,
            except: None,
            notified: BTreeMap::new(),
            seen: Vec::new(),
        }
    }

    pub(super) fn severity(&self) -> Severity {
        self.active.values().map(|facet| facet.severity).max().unwrap_or(Severity::Info)
    }

    /// Sets what holds.
    pub(super) fn set(&mut self, kind: AlertKind, severity: Severity, text: &str, now: Now) {
        let text = bounded(text, MAX_LINE);
        let known = self.active.get(&kind);
        if known.is_none_or(|facet| facet.severity != severity) && self.is_news(kind) {
            self.revision += 1;
        }
        let since = known.map_or(now.t, |facet| facet.since);
        self.active.insert(kind, Facet { since, severity, text, revision: self.revision });
    }

    pub(super) fn clear(&mut self, kind: AlertKind) {
        if self.active.remove(&kind).is_some() && self.is_news(kind) {
            self.touch();
        }
    }

    /// Down again after it had recovered.
    pub(super) fn relapse(&mut self) {
        if std::mem::take(&mut self.recovered) && self.is_news(AlertKind::Down) {
            self.touch();
            self.notified.values_mut().for_each(|notified| notified.recovered = false);
        }
    }

    fn touch(&mut self) {
        self.revision += 1;
        self.changed = self.revision;
    }

    /// While it flaps, only the flapping itself and an escalation are.
    fn is_news(&self, kind: AlertKind) -> bool {
        !self.active.contains_key(&AlertKind::Flapping)
            || matches!(kind, AlertKind::Flapping | AlertKind::Escalated)
    }

    /// Is there something that this reader was not told, among the kinds that it wants?
    pub(super) fn news_since(&self, revision: u32, wants: impl Fn(AlertKind) -> bool) -> bool {
        self.changed > revision
            || self.active.iter().any(|(kind, facet)| facet.revision > revision && wants(*kind))
    }

    pub(super) fn is_down(&self) -> bool {
        self.active.contains_key(&AlertKind::Down) && !self.recovered
    }

    /// Was this applied already? Remembers it.
    pub(super) fn repeats(&mut self, what: String) -> bool {
        if self.seen.contains(&what) {
            return true;
        }
        if self.seen.len() >= 64 {
            self.seen.remove(0);
        }
        self.seen.push(what);
        false
    }

    pub(super) fn add_line(&mut self, line: &str) {
        let line = bounded(line, MAX_LINE);
        if self.lines.last().is_some_and(|last| *last == line) {
            return;
        }
        if self.lines.len() >= MAX_LINES {
            self.lines.remove(0);
            self.lines_dropped += 1;
        }
        self.lines.push(line);
    }

    fn name(&self) -> &str {
        self.service.as_ref().map_or("JARVIS", ServiceId::as_str)
    }

    /// What weighs most.
    fn headline(&self) -> Option<(AlertKind, &Facet)> {
        const ORDER: [AlertKind; 8] = [
            AlertKind::Escalated,
            AlertKind::Down,
            AlertKind::Flapping,
            AlertKind::Degraded,
            AlertKind::Held,
            AlertKind::RolledBack,
            AlertKind::Stopped,
            AlertKind::Operator,
        ];
        ORDER.iter().find_map(|kind| self.active.get(kind).map(|facet| (*kind, facet)))
    }

    pub(super) fn title(&self) -> String {
        let name = self.name();
        let title = match self.headline() {
            Some((AlertKind::Down, facet)) => format!("{name} is down: {}", facet.text),
            Some((AlertKind::Escalated, facet)) => {
                format!("{name} is down and needs a person: {}", facet.text)
            }
            Some((AlertKind::Degraded, facet)) => format!("{name} is degraded: {}", facet.text),
            Some((AlertKind::Flapping, facet)) => format!("{name} {}", facet.text),
            Some((_, facet)) => format!("{name}: {}", facet.text),
            None => format!("{name} is well again"),
        };
        title_line(&title)
    }

    pub(super) fn recovered_title(&self) -> String {
        title_line(&format!("{} has recovered; watching it for a while", self.name()))
    }

    pub(super) fn resolved_title(&self, lasted: Duration, reason: &str) -> String {
        let name = self.name();
        title_line(&format!("{name}: {reason} after {}", human(lasted)))
    }

    /// The details: what else holds, what was done.
    pub(super) fn body(&self, also_down: &[ServiceId]) -> String {
        let mut lines: Vec<String> = Vec::new();
        let headline = self.headline().map(|(kind, _)| kind);
        for (kind, facet) in &self.active {
            if Some(*kind) == headline {
                continue;
            }
            lines.push(match kind {
                AlertKind::Down => format!("Down: {}", facet.text),
                AlertKind::Held => format!("Held: {}", facet.text),
                AlertKind::Degraded => format!("Degraded: {}", facet.text),
                _ => facet.text.clone(),
            });
        }
        if self.lines_dropped > 0 {
            lines.push(format!("({} earlier lines left out)", self.lines_dropped));
        }
        lines.extend(self.lines.iter().cloned());
        if !also_down.is_empty() {
            lines.push(format!("Affected by it: {}", listed(also_down.iter(), 20)));
        }
        if !self.log.is_empty() {
            lines.push("Last lines of its log:".to_owned());
            lines.extend(self.log.iter().map(|line| format!("| {line}")));
        }
        bounded(&lines.join("\n"), MAX_BODY)
    }

    /// Keeps the end of a log: at most 20 lines and 4 KiB.
    pub(super) fn keep_log(&mut self, lines: &[String]) {
        let mut room = 4 * 1024_usize;
        self.log.clear();
        for line in lines.iter().rev().take(20) {
            let line = bounded(line, MAX_LINE);
            if line.len() > room {
                break;
            }
            room -= line.len();
            self.log.insert(0, line);
        }
    }
}

/// At most `most` names, then how many more.
pub(super) fn listed<T: std::fmt::Display>(
    names: impl ExactSizeIterator<Item = T>,
    most: usize,
) -> String {
    let more = names.len().saturating_sub(most);
    let shown: Vec<String> = names.take(most).map(|name| name.to_string()).collect();
    let shown = shown.join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

/// To the second, as people say it.
pub(super) fn human(duration: Duration) -> String {
    units::format_duration(Duration::from_secs(duration.as_secs()))
}

/// A title: one line, bounded.
pub(super) fn title_line(text: &str) -> String {
    one_line(text, MAX_TITLE)
}
