//! How answers look to a person.

pub(crate) mod cache;
pub(crate) mod check;
pub(crate) mod event;
pub(crate) mod problems;
pub(crate) mod session;
pub(crate) mod status;
pub(crate) mod uptime;

use jarvis_core::jarvis::AnswerSource;

use crate::printer::{Style, human_duration, paint};

/// "1 service", "2 services".
pub(crate) fn services(count: usize) -> String {
    format!("{count} {}", if count == 1 { "service" } else { "services" })
}

/// Says how fresh an answer is, unless it is live.
pub(crate) fn freshness(source: &AnswerSource, colored: bool) -> String {
    let line = match source {
        AnswerSource::Live => return String::new(),
        AnswerSource::LastSeen { at, age } => {
            format!("`jarvis up` does not run; this is from {at}, {} ago\n", human_duration(*age))
        }
        _ => "`jarvis up` has not run here yet: nothing is known\n".to_owned(),
    };
    paint(&line, Style::Warn, colored)
}

/// `1 session`, `2 sessions`.
pub(crate) fn counted(count: u64, word: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {word}{plural}")
}
