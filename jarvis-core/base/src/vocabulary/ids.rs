//! Identifiers. Each is validated where it is made, so that a name can go into a file name, a
//! metric label or a key without a second thought.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{Error, ErrorKind, Result};

fn check_name(what: &str, text: &str, longest: usize) -> Result<()> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if text.is_empty()
        || text.len() > longest
        || !text.bytes().all(good)
        || text.starts_with(['.', '-'])
    {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!(
                "{text:?} is not a valid {what}: use 1 to {longest} letters, digits, '-', '_' or '.', starting with a letter, digit or '_'"
            ),
        ));
    }
    Ok(())
}

fn check_text(what: &str, text: &str, longest: usize) -> Result<()> {
    if text.is_empty() || text.len() > longest || text.chars().any(char::is_control) {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!(
                "{text:?} is not a valid {what}: use 1 to {longest} bytes without control characters"
            ),
        ));
    }
    Ok(())
}

/// What may stand in a key, a channel and a pattern of a server as it is.
fn check_key(what: &str, text: &str, longest: usize) -> Result<()> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    if text.is_empty() || text.len() > longest || !text.bytes().all(good) {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!(
                "{text:?} is not a valid {what}: use 1 to {longest} letters, digits, '-', '_', '.' or ':'"
            ),
        ));
    }
    Ok(())
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:ident, $longest:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            #[doc = concat!("A ", $what, " from its text.")]
            ///
            /// # Errors
            /// `InvalidInput`, saying which characters and how many are allowed.
            pub fn new(text: impl AsRef<str>) -> Result<Self> {
                let text = text.as_ref();
                $check($what, text, $longest)?;
                Ok(Self(text.into()))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::new(text).map_err(|error| serde::de::Error::custom(error.message()))
            }
        }
    };
}

identifier!(
    /// Names a service. 1 to 64 letters, digits, `-`, `_`, `.`.
    ServiceId, "service name", check_name, 64
);
identifier!(
    /// Names one check of a service. 1 to 64 letters, digits, `-`, `_`, `.`.
    CheckName, "check name", check_name, 64
);
identifier!(
    /// Names one life of a service: a pid with its start time, a container with its start. Two
    /// observations with the same id saw the same life.
    InstanceId, "instance id", check_text, 256
);
identifier!(
    /// Names what runs: an image digest, a release.
    VersionId, "version", check_text, 256
);
identifier!(
    /// Names one incident, from first down to stabilised. Also the key that alerts deduplicate by.
    IncidentId, "incident id", check_name, 128
);
identifier!(
    /// Names one intent to act. The idempotency key of budgets and restarters.
    IntentId, "intent id", check_name, 128
);
identifier!(
    /// Names who holds a lease: one running operator.
    HolderId, "holder id", check_text, 128
);
identifier!(
    /// Names a user, as the application that made the sessions does.
    UserId, "user id", check_text, 256
);

identifier!(
    /// What the keys and channels of something on a shared server begin with, so that two that must not
    /// meet share the server all the same. 1 to 64 letters, digits, `-`, `_`, `.`, `:`; `jarvis` by
    /// default.
    KeyPrefix, "key prefix", check_key, 64
);

impl Default for KeyPrefix {
    fn default() -> Self {
        Self("jarvis".into())
    }
}

/// Grows with every change of the lease's holder. What is fenced refuses a lower token than the
/// highest it has seen.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct FencingToken(u64);

impl FencingToken {
    /// From its number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_a_folder_or_break_a_label_are_refused() {
        for text in ["", "..", ".hidden", "-rf", "a/b", "a b", "a\"b", "a\n", &"x".repeat(65)] {
            assert!(ServiceId::new(text).is_err(), "{text:?}");
        }
        for text in ["vocal-coach", "_x", "A.b_c-9"] {
            assert_eq!(ServiceId::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn a_prefix_has_no_characters_of_patterns_and_hash_tags() {
        for text in ["", "a*", "[a]", "a?", "{a}", "a b", "a\\", "é", &"x".repeat(65)] {
            assert!(KeyPrefix::new(text).is_err(), "{text:?}");
        }
        assert_eq!(KeyPrefix::new("shop:eu-1.test_").unwrap().as_str(), "shop:eu-1.test_");
        assert_eq!(KeyPrefix::new("jarvis").unwrap(), KeyPrefix::default());
    }

    #[test]
    fn deserialising_validates_too() {
        assert!(serde_json::from_str::<ServiceId>("\"a/b\"").is_err());
        assert!(serde_json::from_str::<InstanceId>("\"pid 12 started 99\"").is_ok());
    }
}
