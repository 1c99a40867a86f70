//! How answers look to a person.

pub(crate) mod alert;
pub(crate) mod cache;
pub(crate) mod check;
pub(crate) mod config;
pub(crate) mod event;
pub(crate) mod maintenance;
pub(crate) mod problems;
pub(crate) mod session;
pub(crate) mod status;
pub(crate) mod table;
pub(crate) mod time;
pub(crate) mod uptime;

use jarvis_core::jarvis::AnswerSource;

use crate::printer::{Style, paint};

/// "1 service", "2 services".
pub(crate) fn services(count: usize) -> String {
    counted(count as u64, "service")
}

/// Says how old an answer is, unless it is live.
pub(crate) fn freshness(source: &AnswerSource, colored: bool) -> String {
    let line = match source {
        AnswerSource::Live => return String::new(),
        AnswerSource::LastSeen { at, age } => format!(
            "`jarvis up` is not running; this was recorded at {at}, {} ago\n",
            time::human_duration(*age)
        ),
        _ => "nothing is known yet: `jarvis up` has not run with this state directory\n".to_owned(),
    };
    paint(&line, Style::Warn, colored)
}

/// `1 session`, `2 sessions`.
pub(crate) fn counted(count: u64, word: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {word}{plural}")
}
