//! [`BusPolicy`]: settings of a bus on a server.

use serde::{Deserialize, Serialize};

use crate::vocabulary::KeyPrefix;
use crate::{Error, ErrorKind, Result};

/// The most entries that a stream may be told to keep.
const MOST_HISTORY: usize = 1_000_000;

/// What holds for a bus on a server. Instances that share it must share the prefix; a bus within one
/// process has no use for any of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct BusPolicy {
    /// What its keys and its channel begin with. `jarvis`, which makes the channel
    /// `jarvis:broadcasts`.
    pub prefix: KeyPrefix,
    /// How many entries are kept to fill gaps from, about: 1 to a million. 10,000. The last publisher
    /// decides.
    pub history: usize,
    /// Names this instance, as [`EventBus::instance`](super::EventBus::instance): 1 to 64 letters,
    /// digits, `-`, `_`, `.` or `:`; made of the process id and a random number unless told. Two that
    /// are alive must never share it, so that no configuration can set it: several processes read
    /// one.
    #[serde(skip)]
    pub instance: Option<String>,
}

impl Default for BusPolicy {
    fn default() -> Self {
        Self { prefix: KeyPrefix::default(), history: 10_000, instance: None }
    }
}

impl BusPolicy {
    /// The usual one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What its keys and its channel begin with.
    #[must_use]
    pub fn with_prefix(mut self, prefix: KeyPrefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// How many entries are kept, about.
    #[must_use]
    pub fn with_history(mut self, entries: usize) -> Self {
        self.history = entries;
        self
    }

    /// Names this instance.
    #[must_use]
    pub fn with_instance(mut self, instance: impl Into<String>) -> Self {
        self.instance = Some(instance.into());
        self
    }

    /// Can a bus be made of it? Every constructor asks.
    ///
    /// # Errors
    /// `ConfigInvalid` that names the field and what it may be.
    pub fn validate(&self) -> Result<()> {
        if !(1..=MOST_HISTORY).contains(&self.history) {
            let message = format!("history must be 1 to {MOST_HISTORY} entries");
            return Err(Error::new(ErrorKind::ConfigInvalid, message));
        }
        // It goes into JSON and keys as it is.
        match self.instance.as_ref().map(KeyPrefix::new) {
            Some(Err(_)) => Err(Error::new(
                ErrorKind::ConfigInvalid,
                "instance must be 1 to 64 letters, digits, '-', '_', '.' or ':'",
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_can_not_hold_is_refused_by_the_name_of_its_field() {
        BusPolicy::new().with_instance("backend-1").validate().unwrap();
        for (field, policy) in [
            ("history", BusPolicy::new().with_history(0)),
            ("history", BusPolicy::new().with_history(MOST_HISTORY + 1)),
            ("instance", BusPolicy::new().with_instance("a \"b\"")),
        ] {
            let error = policy.validate().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
            assert!(error.message().starts_with(field), "{error}");
        }
    }

    #[test]
    fn a_configuration_can_not_name_the_instance() {
        let policy: BusPolicy = toml::from_str("prefix = \"shop\"\nhistory = 5\n").unwrap();
        let prefix = KeyPrefix::new("shop").unwrap();
        assert_eq!(policy, BusPolicy::new().with_prefix(prefix).with_history(5));
        for wrong in ["instance = \"a\"", "prefix = \"a b\"", "histroy = 5"] {
            assert!(toml::from_str::<BusPolicy>(wrong).is_err(), "{wrong}");
        }
    }
}
