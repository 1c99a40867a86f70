//! [`SessionPolicy`]: limits and lifetimes of all sessions of a store, and their enforcement.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{SessionData, SessionMeta};
use base::secret::Secret;
use base::units;
use base::vocabulary::KeyPrefix;
use base::{Error, ErrorKind, Result};

/// No session lives longer, so that no sum of times overflows anywhere. Ten years.
pub const LONGEST_TTL: Duration = Duration::from_secs(10 * 365 * 86_400);

/// What JSON readers of this crate accept; `max_depth` can't be more.
const DEEPEST: u32 = 127;

/// Settings of all sessions of a store. Stores that share storage must use the same policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct SessionPolicy {
    /// How long a session lives after its creation, a save, or an extension. Default: 1 h.
    #[serde(with = "units::duration")]
    pub ttl: Duration,
    /// The longest lifetime of a session, including extensions. Default: no limit.
    #[serde(with = "units::optional_duration")]
    pub absolute_ttl: Option<Duration>,
    /// Whether loading a session extends it. Default: no.
    pub rolling: bool,
    /// Whether storage receives only hashes of ids. Default: yes. Turn it off for frameworks that
    /// must list ids.
    pub hash_ids: bool,
    /// Larger data is reported in the log. Default: 64 KiB.
    #[serde(with = "units::bytes")]
    pub warn_bytes: u64,
    /// Larger data is refused. Default: 1 MiB.
    #[serde(with = "units::bytes")]
    pub max_bytes: u64,
    /// Data that is nested deeper is refused. Default: 64; at most 127.
    pub max_depth: u32,
    /// The prefix of all keys in Redis. Default: `jarvis`.
    pub prefix: KeyPrefix,
    /// Keys that encrypt data at rest (XChaCha20-Poly1305), 32 bytes each as base64 or hex. The
    /// first key encrypts and all keys decrypt, so a key is rotated by adding a new one in front.
    /// Default: none, data is not encrypted. User ids and times are never encrypted.
    pub encryption_keys: Vec<Secret<String>>,
}

impl Default for SessionPolicy {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(3_600),
            absolute_ttl: None,
            rolling: false,
            hash_ids: true,
            warn_bytes: 64 << 10,
            max_bytes: 1 << 20,
            max_depth: 64,
            prefix: KeyPrefix::default(),
            encryption_keys: Vec::new(),
        }
    }
}

impl SessionPolicy {
    /// The usual one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How long a session lives after its creation, a save, or an extension.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// How long it lives at most.
    #[must_use]
    pub fn with_absolute_ttl(mut self, ttl: Duration) -> Self {
        self.absolute_ttl = Some(ttl);
        self
    }

    /// Reading prolongs it.
    #[must_use]
    pub fn rolling(mut self) -> Self {
        self.rolling = true;
        self
    }

    /// Ids themselves reach storage, so that listings have them.
    #[must_use]
    pub fn with_plain_ids(mut self) -> Self {
        self.hash_ids = false;
        self
    }

    /// Data over this is refused.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Data nested deeper is refused.
    #[must_use]
    pub fn with_max_depth(mut self, depth: u32) -> Self {
        self.max_depth = depth;
        self
    }

    /// Keys begin with this on a Redis.
    #[must_use]
    pub fn with_prefix(mut self, prefix: KeyPrefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// Data is encrypted with the first of these keys.
    #[must_use]
    pub fn with_encryption_keys(mut self, keys: impl IntoIterator<Item = Secret<String>>) -> Self {
        self.encryption_keys = keys.into_iter().collect();
        self
    }

    /// What a store asks when it is made.
    pub(super) fn check(&self) -> Result<()> {
        check_ttl("ttl", self.ttl).map_err(|error| as_config(&error))?;
        if let Some(cap) = self.absolute_ttl {
            check_ttl("absolute_ttl", cap).map_err(|error| as_config(&error))?;
        }
        if self.max_bytes < 2 {
            return Err(config("max_bytes must be at least 2, which is what {} takes"));
        }
        if !(1..=DEEPEST).contains(&self.max_depth) {
            return Err(config(format!("max_depth must be 1 to {DEEPEST}")));
        }
        Ok(())
    }

    /// The time to live that is asked for, else the policy's.
    pub(super) fn ttl(&self, asked: Option<Duration>) -> Result<Duration> {
        let ttl = asked.unwrap_or(self.ttl);
        check_ttl("a session's ttl", ttl).map(|()| ttl)
    }

    /// Refuses what is too large or too deep; says how many bytes it is.
    pub(super) fn admit(&self, data: &SessionData, meta: &SessionMeta) -> Result<u64> {
        let [agent, prefix] =
            [&meta.user_agent, &meta.prefix].map(|text| text.as_ref().map_or(0, String::len));
        let bytes = u64::try_from(data.as_str().len() + agent + prefix).unwrap_or(u64::MAX);
        if bytes > self.max_bytes {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "a session of {bytes} bytes is over the limit of {} (max_bytes); keep large things elsewhere and their keys in the session",
                    self.max_bytes
                ),
            ));
        }
        if is_deeper(data.as_str(), self.max_depth) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("session data is nested deeper than {} (max_depth)", self.max_depth),
            ));
        }
        Ok(bytes)
    }
}

fn config(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::ConfigInvalid, message)
}

fn as_config(error: &Error) -> Error {
    config(error.message().to_owned())
}

fn check_ttl(what: &str, ttl: Duration) -> Result<()> {
    if ttl < Duration::from_millis(1) || ttl > LONGEST_TTL {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("{what} must be at least 1 ms and at most 10 years"),
        ));
    }
    Ok(())
}

/// Is JSON nested deeper than that? Nothing is deeper than it has opening brackets, and counting
/// those, also in strings, is many times faster than reading: few sessions have so many.
fn is_deeper(json: &str, most: u32) -> bool {
    let opening = json.bytes().filter(|byte| matches!(byte, b'{' | b'[')).count();
    opening > usize::try_from(most).unwrap_or(usize::MAX) && depth(json) > most
}

/// How deep JSON is nested: `{}` is 1. Only for text that is known to be JSON.
fn depth(json: &str) -> u32 {
    let (mut depth, mut deepest) = (0_u32, 0);
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
    }
    deepest
}

fn skip_string(bytes: &mut std::str::Bytes<'_>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_objects_and_lists_and_not_what_is_in_strings() {
        for (json, expected) in [
            ("{}", 1),
            (r#"{"a":[1,{"b":2}],"c":3}"#, 3),
            (r#"{"a":"[[[{","b":"\"[[","c":"\\","d":[]}"#, 2),
        ] {
            assert_eq!(depth(json), expected, "{json}");
            assert!(is_deeper(json, expected - 1), "{json}");
            assert!(!is_deeper(json, expected), "{json}");
        }
    }

    #[test]
    fn a_policy_that_no_session_could_keep_is_refused() {
        let good = SessionPolicy::default();
        good.check().unwrap();
        for bad in [
            good.clone().with_ttl(Duration::ZERO),
            good.clone().with_ttl(LONGEST_TTL * 2),
            good.clone().with_absolute_ttl(Duration::ZERO),
            good.clone().with_max_bytes(1),
            good.clone().with_max_depth(0),
            good.clone().with_max_depth(200),
        ] {
            assert_eq!(bad.check().unwrap_err().kind(), ErrorKind::ConfigInvalid, "{bad:?}");
        }
    }

    #[test]
    fn the_browsers_name_counts_towards_the_size() {
        let policy = SessionPolicy::default().with_max_bytes(10);
        let meta = SessionMeta::new().with_user_agent("123456789");
        let error = policy.admit(&SessionData::empty(), &meta).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert_eq!(policy.admit(&SessionData::empty(), &SessionMeta::new()).unwrap(), 2);
    }
}
