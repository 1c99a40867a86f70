//! [`Secret`]: a value that is never printed and never serialised; and [`mask`], which takes known
//! secrets out of texts.

mod known;

use std::fmt;

pub use known::{KnownSecrets, SHORTEST, mask, mask_json, mask_owned};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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
/// ```
/// use jarvis_core::secret::redact_url;
///
/// assert_eq!(redact_url("redis://:pw@host:6379/0"), "redis://[redacted]@host:6379/0");
/// assert_eq!(redact_url("https://h/x?token=abc&a"), "https://h/x?token=[redacted]&a");
/// ```
#[must_use]
pub fn redact_url(url: &str) -> String {
    let (base, query) =
        url.split_once('?').map_or((url, None), |(base, query)| (base, Some(query)));
    let mut shown = match base.split_once("://") {
        None => base.to_owned(),
        Some((scheme, rest)) => {
            let end = rest.find('/').unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            match authority.rsplit_once('@') {
                None => base.to_owned(),
                Some((_, host)) => format!("{scheme}://{REDACTED}@{host}{path}"),
            }
        }
    };
    if let Some(query) = query {
        let pairs: Vec<String> = query
            .split('&')
            .map(|pair| match pair.split_once('=') {
                Some((key, _)) => format!("{key}={REDACTED}"),
                None => pair.to_owned(),
            })
            .collect();
        shown.push('?');
        shown.push_str(&pairs.join("&"));
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
}
