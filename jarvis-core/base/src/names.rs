//! What to say about a name that does not exist: the nearest valid one, and the list of all.

use crate::{Error, ErrorKind};

/// How many valid names a message lists.
const LISTED: usize = 30;

/// A name that does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// `unknown key "windw", did you mean "window"? Valid keys: window`.
    pub message: String,
    /// The valid name that was probably meant.
    pub nearest: Option<String>,
}

/// Explains that `written` is not one of the `valid` names of a `what`, such as a key or a service.
pub fn unknown<S: AsRef<str>>(what: &str, written: &str, valid: &[S]) -> Unknown {
    let nearest = nearest(written, valid);
    let mut names: Vec<&str> = valid.iter().map(AsRef::as_ref).collect();
    names.sort_unstable();
    names.dedup();
    let more = names.len().saturating_sub(LISTED);
    names.truncate(LISTED);
    let mut list = names.join(", ");
    if more > 0 {
        list.push_str(&format!(" and {more} more"));
    }
    let plural = if what.ends_with('s') { "es" } else { "s" };
    let message = match &nearest {
        Some(nearest) => {
            format!(
                "unknown {what} {written:?}, did you mean {nearest:?}? Valid {what}{plural}: {list}"
            )
        }
        None if list.is_empty() => format!("unknown {what} {written:?}; none is defined"),
        None => format!("unknown {what} {written:?}; valid {what}{plural}: {list}"),
    };
    Unknown { message, nearest }
}

/// The same as a `NotFound` error.
pub fn not_found<S: AsRef<str>>(what: &str, written: &str, valid: &[S]) -> Error {
    Error::new(ErrorKind::NotFound, unknown(what, written, valid).message)
}

/// The valid name that `written` is probably a misspelling of.
fn nearest<S: AsRef<str>>(written: &str, valid: &[S]) -> Option<String> {
    let written = written.to_ascii_lowercase();
    valid
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&written, name.as_ref()), name.as_ref()))
        .filter(|(distance, name)| *distance <= 1 + name.len().min(written.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelling_is_recognised_and_nonsense_is_not() {
        let valid = ["interval", "timeout", "failure_threshold"];
        assert_eq!(nearest("intervall", &valid).as_deref(), Some("interval"));
        assert_eq!(nearest("failure_treshold", &valid).as_deref(), Some("failure_threshold"));
        assert_eq!(nearest("banana", &valid), None);
    }

    #[test]
    fn the_message_says_what_was_meant_and_what_is_valid() {
        let message = |written, valid: &[&str]| unknown("key", written, valid).message;
        assert_eq!(
            message("windw", &["window"]),
            "unknown key \"windw\", did you mean \"window\"? Valid keys: window"
        );
        assert_eq!(
            message("x", &["b", "abc", "b"]),
            "unknown key \"x\", did you mean \"b\"? Valid keys: abc, b"
        );
        assert_eq!(message("color", &["b", "a"]), "unknown key \"color\"; valid keys: a, b");
        assert_eq!(message("color", &[]), "unknown key \"color\"; none is defined");
        assert_eq!(
            not_found("bus", "a", &["mqtt"]).message(),
            "unknown bus \"a\"; valid buses: mqtt"
        );
        let many: Vec<String> = (0..40).map(|number| format!("service-{number:02}")).collect();
        let message = unknown("service", "nothing", &many).message;
        assert!(message.ends_with("service-29 and 10 more"), "{message}");
    }
}
