//! The problems of a configuration.

use std::fmt::Write as _;

use jarvis_core::config::{Report, Weight};

use super::counted;
use crate::printer::{Style, paint};

/// A line for each problem: file, line, key and message.
pub(crate) fn list(report: &Report, colored: bool) -> String {
    let mut text = String::new();
    for problem in &report.problems {
        let style = match problem.weight {
            Weight::Error => Style::Bad,
            Weight::Warning => Style::Warn,
        };
        let _ = writeln!(text, "{}", paint(&problem.to_string(), style, colored));
    }
    text
}

/// `2 errors, 1 warning`; empty if there are none.
pub(crate) fn count(report: &Report) -> String {
    let counted = |count: usize, word: &str| (count > 0).then(|| counted(count as u64, word));
    let parts =
        [counted(report.errors().count(), "error"), counted(report.warnings().count(), "warning")];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
