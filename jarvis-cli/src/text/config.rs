//! The configuration as a person sees it.

use jarvis_core::config::{Problem, Report, Shown};
use serde::Serialize;

use super::problems;
use super::table::{Cell, Table};
use crate::printer::{Style, paint};

/// The answer to `config check`.
#[derive(Debug, Serialize)]
pub(crate) struct Checked {
    pub(crate) valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    pub(crate) services: usize,
    pub(crate) restartable: usize,
    #[serde(flatten)]
    pub(crate) report: Report,
    /// What `--deep` found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) found: Vec<Problem>,
}

impl Checked {
    pub(crate) fn text(&self, colored: bool) -> String {
        let mut text = problems::list(&self.report, colored);
        text.push_str(&problems::list(&Report::from(self.found.clone()), colored));
        let count = problems::count(&self.report);
        let count = if count.is_empty() { "no problems".to_owned() } else { count };
        let file = self.file.as_deref().unwrap_or("built-in configuration");
        let (verdict, style) = if self.valid {
            let Self { services, restartable, .. } = self;
            (
                format!(
                    "{file}: {}, {restartable} of them restartable; {count}",
                    super::services(*services)
                ),
                Style::Good,
            )
        } else {
            (format!("the configuration is invalid: {count}"), Style::Bad)
        };
        text.push_str(&paint(&verdict, style, colored));
        text.push('\n');
        text
    }
}

/// A row for each value, with its origin.
pub(crate) fn values(values: &[Shown], colored: bool, width: Option<usize>) -> String {
    let mut table = Table::new(&["KEY", "VALUE", "FROM"]);
    for shown in values {
        let value = Cell::new(shown.value.to_string());
        let origin = Cell::styled(&shown.origin, Style::Faint);
        table.row(vec![Cell::new(&shown.key), value, origin]);
    }
    table.render(colored, width)
}
