//! Glob patterns for keys, with Redis's rules, so that every backend matches the same keys.
//!
//! `*` is any run of bytes, `?` any one, `[a-z]` one of a class, `[^a-z]` one that is not, and `\`
//! takes the next literally. Unlike Redis, a class without an end and a `\` at the end are refused.

use base::{Error, ErrorKind, Result};

/// A pattern that matches exactly this text.
///
/// ```
/// use jarvis_core::cache::escape_pattern;
///
/// let user = "a*b";
/// assert_eq!(format!("profile:{}:*", escape_pattern(user)), r"profile:a\*b:*");
/// ```
#[must_use]
pub fn escape_pattern(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '^' | '-' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// One place of a pattern.
#[derive(Debug, Clone, Copy)]
enum Part<'a> {
    Run,
    Any,
    One(u8),
    Class { not: bool, body: &'a [u8] },
}

/// The first part, and the rest.
fn split(pattern: &[u8]) -> Option<(Part<'_>, &[u8])> {
    match pattern {
        [b'*', rest @ ..] => Some((Part::Run, rest)),
        [b'?', rest @ ..] => Some((Part::Any, rest)),
        [b'\\', byte, rest @ ..] => Some((Part::One(*byte), rest)),
        [b'\\'] | [] => None,
        [b'[', rest @ ..] => {
            let (not, rest) = match rest {
                [b'^', rest @ ..] => (true, rest),
                _ => (false, rest),
            };
            let end = class_end(rest)?;
            Some((Part::Class { not, body: &rest[..end] }, &rest[end + 1..]))
        }
        [byte, rest @ ..] => Some((Part::One(*byte), rest)),
    }
}

/// Where the class ends. Redis takes whatever follows a `-` as the end of a range, also `]` and
/// `\`; nobody means that, so that such a class has no end here.
fn class_end(class: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match class.get(at..)? {
            [b'\\', ..] => at += 2,
            [b']', ..] => return Some(at),
            [] | [_, b'-', b']' | b'\\', ..] => return None,
            [_, b'-', _, ..] => at += 3,
            [_, ..] => at += 1,
        }
    }
}

fn in_class(mut body: &[u8], byte: u8) -> bool {
    let mut found = false;
    loop {
        body = match body {
            [] => return found,
            [b'\\', one, rest @ ..] => {
                found |= *one == byte;
                rest
            }
            [from, b'-', to, rest @ ..] => {
                found |= (*from.min(to)..=*from.max(to)).contains(&byte);
                rest
            }
            [one, rest @ ..] => {
                found |= *one == byte;
                rest
            }
        };
    }
}

/// Does every part of the pattern have an end?
pub(super) fn check(pattern: &str) -> Result<()> {
    let mut rest = pattern.as_bytes();
    while !rest.is_empty() {
        let Some((_, after)) = split(rest) else {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "the pattern {pattern:?} ends within a class or after a \"\\\"; write \"\\[\" or \"\\\\\" for the character itself"
                ),
            ));
        };
        rest = after;
    }
    Ok(())
}

/// Does the text match? In time of at most the product of the lengths.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.as_bytes(), text.as_bytes());
    // Where to go on when what follows the last `*` did not fit: one byte later.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        let fits = match (split(pattern), text) {
            (Some((Part::Run, rest)), _) => {
                retry = Some((rest, text));
                pattern = rest;
                continue;
            }
            (None, []) => return pattern.is_empty(),
            (Some((part, rest)), [byte, after @ ..]) => {
                let fits = match part {
                    Part::Run | Part::Any => true,
                    Part::One(one) => one == *byte,
                    Part::Class { not, body } => in_class(body, *byte) != not,
                };
                if fits {
                    (pattern, text) = (rest, after);
                }
                fits
            }
            _ => false,
        };
        if fits {
            continue;
        }
        let Some((after_run, [_, later @ ..])) = retry else { return false };
        retry = Some((after_run, later));
        (pattern, text) = (after_run, later);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_matches_as_redis_does() {
        let rows = [
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("*", "", true),
            ("**", "x", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("user:[0-9]:*", "user:7:x", true),
            ("user:[^0-9]:*", "user:7:x", false),
            ("[z-a]", "m", true),
            ("[]x", "x", false),
            (r"a\*", "a*", true),
            (r"a\*", "ab", false),
            (r"[\]]", "]", true),
            ("*a*b*c*", "xxaxxbxxcxx", true),
            ("*ab", "aab", true),
            ("abc", "ab", false),
            ("ab", "abc", false),
            ("h?llo", "h\u{e9}llo", false),
            ("h??llo", "h\u{e9}llo", true),
        ];
        for (pattern, text, expected) in rows {
            assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn what_is_escaped_matches_itself_only() {
        for text in ["*", "a?[b]^-\\", "plain", "[^a]"] {
            let pattern = escape_pattern(text);
            assert!(check(&pattern).is_ok() && matches(&pattern, text), "{pattern}");
            assert!(!matches(&pattern, "other"), "{pattern}");
        }
    }

    #[test]
    fn a_pattern_without_an_end_is_refused() {
        for pattern in ["[a", "a\\", "[^", "[a\\]", "[a-]", "[a-\\]]"] {
            assert!(check(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_longer_than_the_product() {
        let (pattern, text) = ("*a".repeat(200) + "b", "a".repeat(512));
        assert!(!matches(&pattern, &text));
    }
}
