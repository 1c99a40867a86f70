//! [`Secret`]: a value that is never printed and never serialised; and [`mask`], which takes known
//! secrets out of texts.

mod known;

use std::fmt;

pub use known::{KnownSecrets, SHORTEST, mask, mask_json, mask_owned};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::url_parts::UrlParts;

/// What is shown instead of a secret.
pub const REDACTED: &str = "[redacted]";

/// A value that no log, error, `Debug` or serialised form shows.
///
/// ```
/// use jarvis_core::Secret;
///
/// let key = Secret::new("sk-live".to_owned());
/// assert_eq!(format!("{key:?} {key}"), "[redacted] [redacted]");
/// assert_eq!(key.expose(), "sk-live");
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Every call is a place to look at in a review.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl<T> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl<T> Serialize for Secret<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self)
    }
}

/// A URL with the user information and the query's values taken out, for logs and errors.
///
/// A password with an unencoded `/`, `?` or `#` is taken out whole too: where the delimiters are
/// ambiguous, everything up to the last `@` counts as secret.
///
/// ```
/// use jarvis_core::secret::redact_url;
///
/// assert_eq!(redact_url("redis://:pw@host:6379/0"), "redis://[redacted]@host:6379/0");
/// assert_eq!(redact_url("https://h/x?token=abc&a"), "https://h/x?token=[redacted]&a");
/// assert_eq!(redact_url("postgres://u:p@ss/w#d@h/db"), "postgres://[redacted]@h/db");
/// ```
#[must_use]
pub fn redact_url(url: &str) -> String {
    let parts = UrlParts::split(url);
    let start = if parts.scheme.is_empty() { 0 } else { parts.scheme.len() + "://".len() };
    let (scheme, rest) = url.split_at(start);
    let secret_end = if parts.is_ambiguous() {
        rest.rfind('@')
    } else if parts.scheme.is_empty() && parts.password().is_none() {
        None
    } else {
        parts.user_info.map(str::len)
    };
    let (hidden, rest) = match secret_end {
        Some(at) => (format!("{REDACTED}@"), &rest[at + 1..]),
        None => (String::new(), rest),
    };
    let mut shown = format!("{scheme}{hidden}");
    let Some((base, query)) = rest.split_once('?') else { return shown + rest };
    shown.push_str(base);
    for (index, pair) in query.split('&').enumerate() {
        shown.push(if index == 0 { '?' } else { '&' });
        match pair.split_once('=') {
            Some((key, _)) => {
                shown.push_str(key);
                shown.push('=');
                shown.push_str(REDACTED);
            }
            None => shown.push_str(pair),
        }
    }
    shown
}

/// Serialises a URL as [`redact_url`] shows it.
#[cfg(any(feature = "http", feature = "redis", feature = "postgres"))]
#[doc(hidden)]
pub fn serialize_redacted<S: Serializer>(url: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&redact_url(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serialised_form_is_redacted_and_input_is_read() {
        let secret: Secret<String> = serde_json::from_str("\"pw\"").unwrap();
        assert_eq!(secret.expose(), "pw");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"[redacted]\"");
    }

    #[test]
    fn a_password_with_an_at_sign_is_redacted_whole() {
        assert_eq!(redact_url("postgres://u:p@ss@h/db"), "postgres://[redacted]@h/db");
        assert_eq!(redact_url("not a url"), "not a url");
    }

    #[test]
    fn a_password_with_any_unencoded_delimiter_is_redacted_whole() {
        for password in
            ["hunter2", "hun@ter/two#x", "a/b", "a?b", "a#b", "1/2", "@", "/@", "x?y@z/"]
        {
            let shown = redact_url(&format!("postgres://user:{password}@db.example:5432/main?a=b"));
            assert_eq!(shown, "postgres://[redacted]@db.example:5432/main?a=[redacted]");
        }
    }

    #[test]
    fn an_at_sign_elsewhere_hides_nothing() {
        for url in ["https://h/@scope/package", "https://h:80/x?mail", "unix:/run/x@y.sock"] {
            assert_eq!(redact_url(url), url);
        }
        assert_eq!(redact_url("https://h/x?mail=a@b"), "https://h/x?mail=[redacted]");
        assert_eq!(redact_url("user:hunter2@h:1"), "[redacted]@h:1");
    }
}
