//! Uptime as a table.

use jarvis_core::health::uptime::Uptime;
use jarvis_core::jarvis::UptimeAnswer;

use super::freshness;
use super::table::{Cell, Table};
use super::time::{human_duration, short_duration};
use crate::printer::{Style, paint};

/// A row for each service, and a last one for all together.
pub(crate) fn report(answer: &UptimeAnswer, colored: bool, width: Option<usize>) -> String {
    let report = &answer.report;
    let mut table =
        Table::new(&["SERVICE", "UPTIME", "OBSERVED", "DOWN", "PROBES", "FAILED", "P50", "P95"]);
    for service in &report.services {
        table.row(row(service.service.as_str(), &service.uptime));
    }
    if report.services.len() > 1 {
        table.row(row("all", &report.overall));
    }
    // The history is kept in full minutes, hours and days, so the range may begin a little earlier.
    let span = report.to.saturating_since(report.from);
    let title = format!("The last {}", human_duration(span));
    format!(
        "{}{}\n\n{}",
        freshness(&answer.source, colored),
        paint(&title, Style::Bold, colored),
        table.render(colored, width)
    )
}

fn row(name: &str, uptime: &Uptime) -> Vec<Cell> {
    let latency =
        |pick: fn(&jarvis_core::health::aggregator::LatencyPercentiles) -> std::time::Duration| {
            Cell::new(
                uptime
                    .latency
                    .as_ref()
                    .map_or_else(|| "–".into(), |found| human_duration(pick(found))),
            )
            .right()
        };
    let down = std::time::Duration::from_millis(uptime.down_ms);
    vec![
        Cell::new(name),
        percent(uptime),
        Cell::new(share(uptime.coverage * 100.0)).right(),
        Cell::styled(
            if uptime.down_ms == 0 { "–".into() } else { short_duration(down) },
            if uptime.down_ms == 0 { Style::Plain } else { Style::Bad },
        )
        .right(),
        Cell::new(uptime.probes.to_string()).right(),
        Cell::new(uptime.failures.to_string()).right(),
        latency(|found| found.p50),
        latency(|found| found.p95),
    ]
}

fn percent(uptime: &Uptime) -> Cell {
    let Some(percent) = uptime.percent else {
        return Cell::styled("unknown", Style::Faint).right();
    };
    let style = match percent {
        percent if percent >= 99.9 => Style::Good,
        percent if percent >= 99.0 => Style::Warn,
        _ => Style::Bad,
    };
    Cell::styled(share(percent), style).right()
}

/// A percentage that never rounds up to a hundred.
fn share(percent: f64) -> String {
    let floored = (percent * 1_000.0).floor() / 1_000.0;
    if percent >= 100.0 { "100 %".into() } else { format!("{floored:.3} %") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_down_once_is_not_a_hundred_percent() {
        assert_eq!(share(100.0), "100 %");
        assert_eq!(share(99.999_9), "99.999 %");
        assert_eq!(share(0.0), "0.000 %");
    }
}
