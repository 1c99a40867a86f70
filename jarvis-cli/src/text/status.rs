//! The services as a table.

use std::fmt::Write as _;

use jarvis_core::clock::WallTime;
use jarvis_core::health::aggregator::{PlatformSnapshot, ServiceSnapshot};
use jarvis_core::operator::{OperatorStatus, ServiceStatus};
use jarvis_core::vocabulary::{Lifecycle, Platform, ServiceId, ServiceState, Verdict};

use crate::printer::{Cell, Style, Table, human_duration, paint};

/// How wide the strip of recent results is.
const STRIP: usize = 20;

/// The platform in one line.
pub(crate) fn headline(platform: &Platform, colored: bool) -> String {
    let state = paint(&platform.state.as_str().to_uppercase(), Style::of_state(platform.state), colored);
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

/// Every service in a line.
pub(crate) fn services(
    health: &PlatformSnapshot,
    operator: Option<&OperatorStatus>,
    colored: bool,
    width: Option<usize>,
) -> String {
    let mut table = Table::new(&["SERVICE", "STATE", "FOR", "P95", "LAST 20", "LOOP", "WHY"]);
    for service in &health.services {
        let acting = operator.and_then(|operator| find(operator, &service.service));
        table.row(row(service, acting, health.at));
    }
    table.render(colored, width)
}

fn find<'a>(operator: &'a OperatorStatus, service: &ServiceId) -> Option<&'a ServiceStatus> {
    operator.services.iter().find(|status| status.service == *service)
}

fn row(service: &ServiceSnapshot, acting: Option<&ServiceStatus>, now: WallTime) -> Vec<Cell> {
    let name = if service.critical { format!("{}*", service.service) } else { service.service.to_string() };
    let state = if service.flapping { "flapping" } else { service.state.as_str() };
    let since = now.saturating_since(service.since);
    let p95 = service.checks.iter().filter_map(|check| check.latency).map(|latency| latency.p95).max();
    vec![
        Cell::new(name),
        Cell::styled(state, Style::of_state(service.state)),
        Cell::new(human_duration(since)).right(),
        Cell::new(p95.map_or_else(|| "–".into(), human_duration)).right(),
        Cell::new(strip(service)),
        lifecycle(acting),
        Cell::new(why(service, acting)),
    ]
}

/// The last results of the first check, oldest first.
fn strip(service: &ServiceSnapshot) -> String {
    let Some(check) = service.checks.first() else { return String::new() };
    let skip = check.recent.len().saturating_sub(STRIP);
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

fn lifecycle(acting: Option<&ServiceStatus>) -> Cell {
    let Some(status) = acting else { return Cell::new("–") };
    let style = match &status.lifecycle {
        Lifecycle::Steady => Style::Faint,
        Lifecycle::CoolingDown => Style::Bad,
        Lifecycle::Held { .. } | Lifecycle::BackingOff => Style::Warn,
        _ => Style::Bold,
    };
    let word = match &status.lifecycle {
        Lifecycle::Steady if !status.restartable => "watched".to_owned(),
        Lifecycle::Held { hold } => format!("held: {}", hold.gate),
        other => other.as_str().replace('_', " "),
    };
    Cell::styled(word, style)
}

fn why(service: &ServiceSnapshot, acting: Option<&ServiceStatus>) -> String {
    let mut text = match &service.cause {
        Some(cause) => cause.message.clone(),
        None if service.checks.is_empty() => "no check".into(),
        None => String::new(),
    };
    if let Some(incident) = acting.and_then(|status| status.incident.as_ref())
        && incident.attempts > 0
    {
        let _ = write!(text, "{}{} attempts", if text.is_empty() { "" } else { "; " }, incident.attempts);
        if incident.escalated {
            text.push_str(", a person was called");
        }
    }
    if let Some(Lifecycle::Held { hold }) = acting.map(|status| &status.lifecycle) {
        let _ = write!(text, "{}{}", if text.is_empty() { "" } else { "; " }, hold.reason);
    }
    text
}

/// What holds every service back, in a line; empty when nothing does.
pub(crate) fn holds(operator: &OperatorStatus, colored: bool) -> String {
    let mut text = String::new();
    if let Some(hold) = &operator.hold {
        let line = format!("Nothing is acted on: {} ({})\n", hold.reason, hold.gate);
        text.push_str(&paint(&line, Style::Warn, colored));
    }
    if let Some(reason) = &operator.suspected {
        text.push_str(&paint(&format!("JARVIS suspects itself: {reason}\n"), Style::Warn, colored));
    }
    text
}

/// One service, with everything about it.
pub(crate) fn service(
    health: &ServiceSnapshot,
    acting: Option<&ServiceStatus>,
    now: WallTime,
    colored: bool,
) -> String {
    let mut text = String::new();
    let state = paint(health.state.as_str(), Style::of_state(health.state), colored);
    let since = human_duration(now.saturating_since(health.since));
    let _ = writeln!(text, "{}  {state} for {since}", health.service);
    if let Some(cause) = &health.cause {
        let _ = writeln!(text, "  because  {} (check {})", cause.message, cause.check);
    }
    if let Some(status) = acting {
        loop_lines(&mut text, status);
    }
    text.push('\n');
    let mut table = Table::new(&["CHECK", "STATE", "P50", "P95", "PROBES", "FAILED", "LAST"]);
    for check in &health.checks {
        let percentile = |pick: fn(&jarvis_core::health::aggregator::LatencyPercentiles) -> std::time::Duration| {
            Cell::new(check.latency.as_ref().map_or_else(|| "–".into(), |latency| human_duration(pick(latency)))).right()
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
    text.push_str(&table.render(colored, None));
    text
}

fn loop_lines(text: &mut String, status: &ServiceStatus) {
    let _ = writeln!(text, "  loop     {}", lifecycle_words(status));
    if let Some(incident) = &status.incident {
        let called = if incident.escalated { ", a person was called" } else { "" };
        let _ = writeln!(
            text,
            "  incident {} since {}, {} attempts{called}",
            incident.id, incident.opened_at, incident.attempts
        );
    }
    if let Some(instance) = &status.instance {
        let _ = writeln!(text, "  instance {instance}");
    }
    if let Some(version) = &status.version {
        let _ = writeln!(text, "  version  {version}");
    }
    for usage in &status.budget {
        let _ = writeln!(
            text,
            "  budget   {} of {} restarts used in {}",
            usage.used,
            usage.limit.max,
            human_duration(usage.limit.window)
        );
    }
}

fn lifecycle_words(status: &ServiceStatus) -> String {
    match &status.lifecycle {
        Lifecycle::Steady if !status.restartable => "watched only".into(),
        Lifecycle::Held { hold } => format!("held by {}: {}", hold.gate, hold.reason),
        other => other.as_str().replace('_', " "),
    }
}

/// The exit state of a list of services: the worst that is asked for.
pub(crate) fn worst<'a>(services: impl IntoIterator<Item = &'a ServiceSnapshot>) -> ServiceState {
    let rank = |state: ServiceState| match state {
        ServiceState::Healthy => 0,
        ServiceState::Degraded => 1,
        ServiceState::Unknown => 2,
        ServiceState::Down => 3,
    };
    services.into_iter().map(|service| service.state).max_by_key(|state| rank(*state)).unwrap_or_default()
}
