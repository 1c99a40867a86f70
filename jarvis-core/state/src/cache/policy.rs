//! [`CachePolicy`]: settings of a whole cache, and the limits that follow from them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{CacheValue, DEFAULT_TTL, Lifetime, LoadOptions, MAX_TAGS, SetOptions, glob};
use base::resilience::random_fraction;
use base::units::{self, MAX_DURATION};
use base::vocabulary::KeyPrefix;
use base::{Error, ErrorKind, Result};

const MAX_NAMESPACE_BYTES: usize = 64;
const MAX_KEY_BYTES: usize = 512;
const MAX_TAG_BYTES: usize = 128;
/// What Redis takes for a string.
const MAX_VALUE_BYTES: u64 = 512 << 20;
const MAX_JITTER: f64 = 50.0;
const MAX_EARLY: f64 = 100.0;
/// The smallest lifetime a storage can tell from none.
const TICK: Duration = Duration::from_millis(1);

/// What holds for a whole cache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct CachePolicy {
    /// Keeps the keys of two applications apart. 1 to 64 letters, digits, `-`, `_`, `.`.
    pub namespace: String,
    /// What keys and the channel begin with on a Redis. `jarvis`.
    pub prefix: KeyPrefix,
    /// How long an entry lives. 5 minutes.
    #[serde(with = "units::duration")]
    pub ttl: Duration,
    /// Makes lifetimes shorter by up to this share, so that what was stored together does not run
    /// out together. In percent, 0 to 50; none unless told.
    #[serde(with = "units::percent")]
    pub jitter: f64,
    /// Are failures of the storage errors instead of misses?
    pub strict: bool,
    /// How long one call of the storage may take. 150 ms: a cache that is slower than that is in
    /// the way.
    #[serde(with = "units::duration")]
    pub deadline: Duration,
    /// Values over this are refused. 1 MiB.
    #[serde(with = "units::bytes")]
    pub max_value_bytes: u64,
    /// What the values in this process's memory may take together, keys included. 64 MiB.
    #[serde(with = "units::bytes")]
    pub max_memory_bytes: u64,
    /// Does anybody keep copies of this namespace in memory? Then every change is announced to
    /// them, which costs a message for each write. All who write to the namespace must agree.
    pub near: bool,
    /// How long such a copy may be used without asking the storage. It bounds what a network that
    /// died without a word can hide. 1 minute.
    #[serde(with = "units::duration")]
    pub near_ttl: Duration,
}

impl Default for CachePolicy {
    fn default() -> Self {
        Self {
            namespace: "default".to_owned(),
            prefix: KeyPrefix::default(),
            ttl: DEFAULT_TTL,
            jitter: 0.0,
            strict: false,
            deadline: Duration::from_millis(150),
            max_value_bytes: 1 << 20,
            max_memory_bytes: 64 << 20,
            near: false,
            near_ttl: Duration::from_secs(60),
        }
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::ConfigInvalid, message)
}

impl CachePolicy {
    /// The default policy for this namespace.
    #[must_use]
    pub fn new(namespace: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), ..Self::default() }
    }

    /// For another namespace.
    #[must_use]
    pub fn with_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// With keys that begin with this on a Redis.
    #[must_use]
    pub fn with_prefix(mut self, prefix: KeyPrefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// With failures of the storage as errors.
    #[must_use]
    pub fn with_strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// With this lifetime where none is given.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// With lifetimes shorter by up to this share, in percent.
    #[must_use]
    pub fn with_jitter(mut self, percent: f64) -> Self {
        self.jitter = percent;
        self
    }

    /// With this deadline for each call of the storage.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// With values of at most that many bytes.
    #[must_use]
    pub fn with_max_value_bytes(mut self, bytes: u64) -> Self {
        self.max_value_bytes = bytes;
        self
    }

    /// With at most that many bytes in this process's memory.
    #[must_use]
    pub fn with_max_memory_bytes(mut self, bytes: u64) -> Self {
        self.max_memory_bytes = bytes;
        self
    }

    /// With every change announced to near caches.
    #[must_use]
    pub fn with_near(mut self, near: bool) -> Self {
        self.near = near;
        self
    }

    /// With near copies used that long at most.
    #[must_use]
    pub fn with_near_ttl(mut self, ttl: Duration) -> Self {
        self.near_ttl = ttl;
        self
    }

    /// Can a cache be made of it? Every constructor asks.
    ///
    /// # Errors
    /// `ConfigInvalid` that names the key and what it may be.
    pub fn validate(&self) -> Result<()> {
        let names = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
        let length = self.namespace.len();
        if !(1..=MAX_NAMESPACE_BYTES).contains(&length) || !self.namespace.bytes().all(names) {
            return Err(invalid(format!(
                "namespace = {:?} must be 1 to {MAX_NAMESPACE_BYTES} letters, digits, \"-\", \"_\" or \".\"",
                self.namespace
            )));
        }
        for (name, duration) in
            [("ttl", self.ttl), ("deadline", self.deadline), ("near_ttl", self.near_ttl)]
        {
            if duration < TICK || duration > MAX_DURATION {
                return Err(invalid(format!("{name} must be from 1ms to ten years")));
            }
        }
        if !(0.0..=MAX_JITTER).contains(&self.jitter) {
            return Err(invalid(format!("jitter must be from 0% to {MAX_JITTER}%")));
        }
        if !(1..=MAX_VALUE_BYTES).contains(&self.max_value_bytes) {
            return Err(invalid("max_value_bytes must be from 1 to 512 MiB".to_owned()));
        }
        if self.max_memory_bytes < self.max_value_bytes {
            return Err(invalid(format!(
                "max_memory_bytes is {}, less than one value of max_value_bytes, {}; raise it or lower the other",
                self.max_memory_bytes, self.max_value_bytes
            )));
        }
        Ok(())
    }

    /// How long an entry is to live; `None` is without end.
    pub(super) fn lifetime(&self, asked: Option<Lifetime>) -> Result<Option<Duration>> {
        match asked {
            None => Ok(Some(self.ttl)),
            Some(Lifetime::Unlimited) => Ok(None),
            Some(Lifetime::For(ttl)) if ttl.is_zero() => Err(Error::new(
                ErrorKind::InvalidInput,
                "a lifetime of zero stores nothing; delete the key, or use Lifetime::Unlimited for no end",
            )),
            Some(Lifetime::For(ttl)) if ttl > MAX_DURATION => Err(Error::new(
                ErrorKind::InvalidInput,
                "a lifetime is at most ten years; use Lifetime::Unlimited for no end",
            )),
            Some(Lifetime::For(ttl)) => Ok(Some(ttl.max(TICK))),
        }
    }

    /// The lifetime, shortened at random by the policy's share.
    pub(super) fn jittered(&self, lifetime: Option<Duration>) -> Option<Duration> {
        if self.jitter == 0.0 {
            return lifetime;
        }
        let share = 1.0 - self.jitter / 100.0 * random_fraction();
        lifetime.map(|lifetime| lifetime.mul_f64(share).max(TICK))
    }

    pub(super) fn check_value(&self, value: &CacheValue) -> Result<()> {
        if value.len() as u64 > self.max_value_bytes {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "a value has {} bytes, and max_value_bytes is {}; store it elsewhere, or raise the limit",
                    value.len(),
                    self.max_value_bytes
                ),
            ));
        }
        Ok(())
    }
}

fn within(what: &str, text: &str, most: usize) -> Result<()> {
    if (1..=most).contains(&text.len()) {
        return Ok(());
    }
    let message = format!("a {what} must have 1 to {most} bytes, but this one has {}", text.len());
    Err(Error::new(ErrorKind::InvalidInput, message))
}

pub(super) fn check_key(key: &str) -> Result<()> {
    within("key", key, MAX_KEY_BYTES)
}

pub(super) fn check_keys(keys: &[String]) -> Result<()> {
    keys.iter().try_for_each(|key| check_key(key))
}

pub(super) fn check_tag(tag: &str) -> Result<()> {
    within("tag", tag, MAX_TAG_BYTES)
}

pub(super) fn check_pattern(pattern: &str) -> Result<()> {
    within("pattern", pattern, MAX_KEY_BYTES)?;
    glob::check(pattern)
}

/// The tags, each once.
pub(super) fn checked_tags(options: &SetOptions) -> Result<Vec<String>> {
    let mut tags = options.tags.clone();
    tags.iter().try_for_each(|tag| check_tag(tag))?;
    tags.sort_unstable();
    tags.dedup();
    if tags.len() > MAX_TAGS {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("an entry can have at most {MAX_TAGS} tags, but this one has {}", tags.len()),
        ));
    }
    Ok(tags)
}

pub(super) fn check_load(options: &LoadOptions) -> Result<()> {
    if !(0.0..=MAX_EARLY).contains(&options.early) {
        let message = format!("the weight of an early refresh must be from 0 to {MAX_EARLY}");
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    if options.stale > MAX_DURATION || options.wait > MAX_DURATION {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "stale and wait of a load must be at most ten years",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_can_not_hold_is_refused_by_the_name_of_its_key() {
        let policies = [
            ("namespace", CachePolicy::new("")),
            ("namespace", CachePolicy::new("a:b")),
            ("namespace", CachePolicy::new("n".repeat(65))),
            ("ttl", CachePolicy::default().with_ttl(Duration::ZERO)),
            ("deadline", CachePolicy::default().with_deadline(Duration::ZERO)),
            ("near_ttl", CachePolicy::default().with_near_ttl(Duration::ZERO)),
            ("jitter", CachePolicy::default().with_jitter(51.0)),
            ("jitter", CachePolicy::default().with_jitter(f64::NAN)),
            ("max_value_bytes", CachePolicy::default().with_max_value_bytes(0)),
            ("max_memory_bytes", CachePolicy::default().with_max_memory_bytes(1_000)),
        ];
        assert!(CachePolicy::default().validate().is_ok());
        for (name, policy) in policies {
            let error = policy.validate().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
            assert!(error.message().contains(name), "{error} names {name}");
        }
    }

    #[test]
    fn jitter_only_shortens_and_no_further_than_its_share() {
        let policy = CachePolicy::default().with_jitter(10.0);
        let whole = Duration::from_secs(100);
        let lifetimes: Vec<_> = (0..100).filter_map(|_| policy.jittered(Some(whole))).collect();
        assert!(lifetimes.iter().all(|got| (Duration::from_secs(90)..=whole).contains(got)));
        assert!(lifetimes.iter().any(|got| *got != lifetimes[0]), "all are {:?}", lifetimes[0]);
        assert_eq!(policy.jittered(None), None);
    }

    #[test]
    fn a_policy_reads_as_it_was_written() {
        let policy = CachePolicy::new("shop").with_jitter(12.5).with_near(true);
        let text = toml::to_string(&policy).unwrap();
        assert_eq!(toml::from_str::<CachePolicy>(&text).unwrap(), policy);
        assert!(toml::from_str::<CachePolicy>("ttll = \"5m\"").is_err());
    }
}
