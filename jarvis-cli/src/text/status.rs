//! The services as a table.

use std::fmt::Write as _;

use jarvis_core::clock::WallTime;
use jarvis_core::health::aggregator::{PlatformSnapshot, ServiceSnapshot};
use jarvis_core::jarvis::StatusAnswer;
use jarvis_core::operator::{OperatorStatus, ServiceStatus};
use jarvis_core::vocabulary::{Lifecycle, Platform, ServiceId, ServiceState, Verdict};

use super::table::{Cell, Table, cut};
use super::time::{human_duration, short_duration};
use super::{counted, freshness};
use crate::printer::{Style, paint};

/// The platform in one line.
pub(crate) fn headline(platform: &Platform, colored: bool) -> String {
    let state =
        paint(&platform.state.as_str().to_uppercase(), Style::of_state(platform.state), colored);
    let mut counts = Vec::new();
    for (count, word) in [
        (platform.healthy, "healthy"),
        (platform.degraded, "degraded"),
        (platform.down, "down"),
        (platform.unknown, "unknown"),
    ] {
        if count > 0 {
            counts.push(format!("{count} {word}"));
        }
    }
    format!("{state}  {}", counts.join(", "))
}

/// What `jarvis status` shows: how old it is, the platform, what holds actions back, the services.
pub(crate) fn answer(answer: &StatusAnswer, colored: bool, width: Option<usize>) -> String {
    let mut text = freshness(&answer.source, colored);
    let Some(health) = &answer.health else { return text };
    let _ = writeln!(text, "{}", headline(&answer.platform, colored));
    if let Some(operator) = &answer.operator {
        text.push_str(&holds(operator, colored, width));
    }
    text.push('\n');
    text.push_str(&services(health, answer.operator.as_ref(), colored, width, None));
    text
}

/// A row for each service, at most `rows` of them. If there are more, the unhealthy ones come first
/// and the rest is counted.
pub(crate) fn services(
    health: &PlatformSnapshot,
    operator: Option<&OperatorStatus>,
    colored: bool,
    width: Option<usize>,
    rows: Option<usize>,
) -> String {
    let layout = Layout::of(width);
    let mut table = Table::new(layout.header());
    let mut wanted: Vec<&ServiceSnapshot> = health.services.iter().collect();
    let room = rows.map_or(usize::MAX, |rows| rows.max(1));
    let left_out = wanted.len().saturating_sub(room);
    if left_out > 0 {
        wanted.sort_by_key(|service| std::cmp::Reverse(rank(service.state)));
        wanted.truncate(room);
    }
    for service in wanted {
        let acting = operator.and_then(|operator| find(operator, &service.service));
        table.row(layout.row(service, acting, health.at));
    }
    let mut text = table.render(colored, width);
    if left_out > 0 {
        let line = format!("… and {left_out} more; `jarvis status` shows them\n");
        text.push_str(&paint(&line, Style::Faint, colored));
    }
    text
}

/// Which columns there is room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// 80 columns: half of the results, no latency.
    Narrow,
    Wide,
}

impl Layout {
    fn of(width: Option<usize>) -> Self {
        if width.is_some_and(|width| width < 110) { Self::Narrow } else { Self::Wide }
    }

    const fn header(self) -> &'static [&'static str] {
        match self {
            Self::Narrow => &["SERVICE", "STATE", "FOR", "LAST 10", "OPERATOR", "DETAIL"],
            Self::Wide => &["SERVICE", "STATE", "FOR", "P95", "LAST 20", "OPERATOR", "DETAIL"],
        }
    }

    fn row(
        self,
        service: &ServiceSnapshot,
        acting: Option<&ServiceStatus>,
        now: WallTime,
    ) -> Vec<Cell> {
        let name = if service.critical {
            format!("{}*", service.service)
        } else {
            service.service.to_string()
        };
        let state = if service.flapping { "flapping" } else { service.state.as_str() };
        let since = now.saturating_since(service.since);
        let mut cells = vec![
            Cell::new(name),
            Cell::styled(state, Style::of_state(service.state)),
            Cell::new(short_duration(since)).right(),
        ];
        if self == Self::Wide {
            let latencies = service.checks.iter().filter_map(|check| check.latency);
            let p95 = latencies.map(|latency| latency.p95).max();
            cells.push(Cell::new(p95.map_or_else(|| "–".into(), human_duration)).right());
        }
        let results = if self == Self::Wide { 20 } else { 10 };
        cells.extend([
            Cell::new(strip(service, results)),
            lifecycle(acting),
            Cell::new(detail(service, acting)),
        ]);
        cells
    }
}

fn find<'a>(operator: &'a OperatorStatus, service: &ServiceId) -> Option<&'a ServiceStatus> {
    operator.services.iter().find(|status| status.service == *service)
}

/// The last results of the first check, oldest first.
fn strip(service: &ServiceSnapshot, length: usize) -> String {
    let Some(check) = service.checks.first() else { return String::new() };
    let skip = check.recent.len().saturating_sub(length);
    check
        .recent
        .iter()
        .skip(skip)
        .map(|result| match result.verdict {
            Verdict::Pass => '▁',
            Verdict::Warn => '▄',
            Verdict::Fail => '█',
            Verdict::Unknown => '·',
        })
        .collect()
}

/// Has it no restart section? Then the gates do not matter.
const fn is_only_watched(status: &ServiceStatus) -> bool {
    !status.restartable && matches!(status.lifecycle, Lifecycle::Steady | Lifecycle::Held { .. })
}

fn lifecycle(acting: Option<&ServiceStatus>) -> Cell {
    let Some(status) = acting else { return Cell::new("–") };
    let style = match &status.lifecycle {
        _ if is_only_watched(status) => Style::Faint,
        Lifecycle::Steady if status.maintenance_until.is_some() => Style::Warn,
        Lifecycle::Steady => Style::Faint,
        Lifecycle::CoolingDown => Style::Bad,
        Lifecycle::Held { .. } | Lifecycle::BackingOff => Style::Warn,
        _ => Style::Bold,
    };
    let word = match &status.lifecycle {
        _ if is_only_watched(status) => "watch only".to_owned(),
        Lifecycle::Held { hold } => format!("held: {}", hold.gate),
        Lifecycle::Steady if status.maintenance_until.is_some() => "maintenance".to_owned(),
        other => other.as_str().replace('_', " "),
    };
    Cell::styled(word, style)
}

fn attempts(count: u32) -> String {
    counted(u64::from(count), "attempt")
}

fn detail(service: &ServiceSnapshot, acting: Option<&ServiceStatus>) -> String {
    let mut text = match &service.cause {
        Some(cause) => cause.message.clone(),
        None if service.checks.is_empty() => "no check is configured".into(),
        None => String::new(),
    };
    if let Some(incident) = acting.and_then(|status| status.incident.as_ref())
        && incident.attempts > 0
    {
        // The most important first: the column may be cut.
        let escalated = if incident.escalated { "escalated after " } else { "" };
        text = format!("{escalated}{}; {text}", attempts(incident.attempts));
        text.truncate(text.trim_end_matches([';', ' ']).len());
    }
    if let Some(status) = acting
        && !is_only_watched(status)
        && let Lifecycle::Held { hold } = &status.lifecycle
    {
        let _ = write!(text, "{}{}", if text.is_empty() { "" } else { "; " }, hold.reason);
    }
    text
}

/// What holds actions back, a line each; empty when nothing does.
pub(crate) fn holds(operator: &OperatorStatus, colored: bool, width: Option<usize>) -> String {
    let hold = operator.hold.as_ref();
    let hold = hold.map(|hold| format!("All actions are on hold: {} ({})", hold.reason, hold.gate));
    let suspected = operator.suspected.as_ref();
    let suspected =
        suspected.map(|reason| format!("The cause may be this machine or its network: {reason}"));
    let mut text = String::new();
    let windows = operator.maintenance.iter().map(|window| {
        let why = if window.reason.is_empty() { "" } else { ": " };
        format!(
            "Maintenance window {} for {} until {}, by {}{why}{}",
            window.window,
            window.services.join(", "),
            window.until,
            window.by,
            window.reason
        )
    });
    for line in hold.into_iter().chain(suspected).chain(windows) {
        let line = cut(&line, width.unwrap_or(usize::MAX));
        let _ = writeln!(text, "{}", paint(&line, Style::Warn, colored));
    }
    text
}

/// One service in detail.
pub(crate) fn service(
    health: &ServiceSnapshot,
    acting: Option<&ServiceStatus>,
    now: WallTime,
    colored: bool,
    width: Option<usize>,
) -> String {
    let mut text = String::new();
    let state = paint(health.state.as_str(), Style::of_state(health.state), colored);
    let since = human_duration(now.saturating_since(health.since));
    let _ = writeln!(text, "{}  {state} for {since}", health.service);
    if let Some(cause) = &health.cause {
        let _ = writeln!(text, "  cause        {} (check {})", cause.message, cause.check);
    }
    if let Some(status) = acting {
        operator_lines(&mut text, status);
    }
    text.push('\n');
    let mut table = Table::new(&["CHECK", "STATE", "P50", "P95", "PROBES", "FAILED", "LAST"]);
    for check in &health.checks {
        let percentile = |pick: fn(
            &jarvis_core::health::aggregator::LatencyPercentiles,
        ) -> std::time::Duration| {
            Cell::new(
                check
                    .latency
                    .as_ref()
                    .map_or_else(|| "–".into(), |latency| human_duration(pick(latency))),
            )
            .right()
        };
        table.row(vec![
            Cell::new(check.check.to_string()),
            Cell::styled(check.state.as_str(), Style::of_state(check.state)),
            percentile(|latency| latency.p50),
            percentile(|latency| latency.p95),
            Cell::new(check.counters.probes.to_string()).right(),
            Cell::new(check.counters.failures.to_string()).right(),
            Cell::new(check.message.clone()),
        ]);
    }
    text.push_str(&table.render(colored, width));
    text
}

fn operator_lines(text: &mut String, status: &ServiceStatus) {
    let _ = writeln!(text, "  operator     {}", lifecycle_words(status));
    if let Some(incident) = &status.incident {
        let escalated = if incident.escalated { ", escalated" } else { "" };
        let _ = writeln!(
            text,
            "  incident     {} since {}, {}{escalated}",
            incident.id,
            incident.opened_at,
            attempts(incident.attempts)
        );
    }
    if let Some(instance) = &status.instance {
        let _ = writeln!(text, "  instance     {instance}");
    }
    if let Some(version) = &status.version {
        let _ = writeln!(text, "  version      {version}");
    }
    if let Some(until) = status.maintenance_until {
        let _ = writeln!(text, "  maintenance  a window is open until {until}");
    }
    for usage in &status.budget {
        let _ = writeln!(
            text,
            "  budget       {} of {} restarts used in {}",
            usage.used,
            usage.limit.max,
            human_duration(usage.limit.window)
        );
    }
}

fn lifecycle_words(status: &ServiceStatus) -> String {
    match &status.lifecycle {
        _ if is_only_watched(status) => "watch only: no restart section".into(),
        Lifecycle::Held { hold } => format!("held by {}: {}", hold.gate, hold.reason),
        other => other.as_str().replace('_', " "),
    }
}

/// The order in which services are shown when there is not room for all.
const fn rank(state: ServiceState) -> u8 {
    match state {
        ServiceState::Healthy => 0,
        ServiceState::Unknown => 1,
        ServiceState::Degraded => 2,
        ServiceState::Down => 3,
    }
}
