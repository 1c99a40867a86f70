//! One round of probes as a table.

use jarvis_core::health::aggregator::CheckResult;
use jarvis_core::jarvis::{CheckAnswer, ServiceCheck};
use jarvis_core::vocabulary::Verdict;

use super::status::headline;
use super::table::{Cell, Table};
use super::time::human_duration;
use crate::printer::Style;

/// A row for each check.
pub(crate) fn round(answer: &CheckAnswer, colored: bool, width: Option<usize>) -> String {
    let mut table = Table::new(&["SERVICE", "STATE", "CHECK", "TOOK", "RESULT"]);
    for service in &answer.services {
        if service.checks.is_empty() {
            table.row(row(service, None, true));
        }
        for (index, check) in service.checks.iter().enumerate() {
            table.row(row(service, Some(check), index == 0));
        }
    }
    let took = human_duration(answer.took);
    format!(
        "{}  in {took}\n\n{}",
        headline(&answer.platform, colored),
        table.render(colored, width)
    )
}

fn row(service: &ServiceCheck, check: Option<&CheckResult>, first: bool) -> Vec<Cell> {
    let name = if service.critical {
        format!("{}*", service.service)
    } else {
        service.service.to_string()
    };
    let state = Cell::styled(service.state.as_str(), Style::of_state(service.state));
    let (name, state) =
        if first { (Cell::new(name), state) } else { (Cell::new(""), Cell::new("")) };
    let Some(check) = check else {
        return vec![
            name,
            state,
            Cell::new("–"),
            Cell::new(""),
            Cell::new("no check is configured"),
        ];
    };
    let seen = &check.observation;
    let style = match seen.verdict {
        Verdict::Pass => Style::Plain,
        Verdict::Warn => Style::Warn,
        Verdict::Fail => Style::Bad,
        Verdict::Unknown => Style::Faint,
    };
    let message = match seen.kind {
        Some(kind) => format!("{} ({kind})", seen.message),
        None => seen.message.to_string(),
    };
    vec![
        name,
        state,
        Cell::new(check.check.to_string()),
        Cell::new(human_duration(seen.latency)).right(),
        Cell::styled(message, style),
    ]
}
