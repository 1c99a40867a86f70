//! The names of the keys, with the policy's prefix in place of `jarvis`. An entry and the lock of its load share a hash tag, and so a slot of a
//! Cluster.
//!
//! | key | holds |
//! |---|---|
//! | `jarvis:c:{NAMESPACE:KEY}` | an entry |
//! | `jarvis:l:{NAMESPACE:KEY}` | who loads it: without this key nothing that was loaded is stored |
//! | `jarvis:t:{NAMESPACE:TAG}` | the version of a tag |
//! | `jarvis:near:NAMESPACE` | the channel on which changes are announced |

use std::sync::atomic::{AtomicU64, Ordering};

use base::vocabulary::KeyPrefix;
use base::{Error, ErrorKind, Result};

/// Names within one namespace.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: KeyPrefix,
    namespace: String,
}

impl Keys {
    pub(super) fn new(prefix: &KeyPrefix, namespace: &str) -> Self {
        Self { prefix: prefix.clone(), namespace: namespace.to_owned() }
    }

    fn name(&self, kind: &str, name: &str) -> String {
        format!("{}:{kind}:{{{}:{name}}}", self.prefix, self.namespace)
    }

    pub(super) fn entry(&self, key: &str) -> String {
        self.name("c", key)
    }

    pub(super) fn lock(&self, key: &str) -> String {
        self.name("l", key)
    }

    pub(super) fn tag(&self, tag: &str) -> String {
        self.name("t", tag)
    }

    /// Of the entries and locks whose key matches. A namespace has no characters of a pattern.
    pub(super) fn matching(&self, pattern: &str) -> String {
        self.name("[cl]", pattern)
    }

    /// Of all there is.
    pub(super) fn everything(&self) -> String {
        self.name("[clt]", "*")
    }

    pub(super) fn channel(&self) -> String {
        format!("{}:near:{}", self.prefix, self.namespace)
    }

    /// Is it the name of a lock?
    pub(super) fn is_lock(&self, name: &[u8]) -> bool {
        name.strip_prefix(self.prefix.as_str().as_bytes())
            .is_some_and(|rest| rest.starts_with(b":l:"))
    }
}

/// Draws numbers that nobody else draws: a random start of the process' own, and from there on
/// SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014), which
/// repeats none within 2^64.
#[derive(Debug)]
pub(super) struct Ids {
    next: AtomicU64,
    /// Names this handle among all that use the storage.
    pub(super) instance: String,
}

impl Ids {
    pub(super) fn new() -> Result<Self> {
        let random = || {
            getrandom::u64().map_err(|error| {
                Error::new(ErrorKind::Internal, "the operating system provided no random numbers")
                    .with_source(std::io::Error::other(error.to_string()))
            })
        };
        Ok(Self { next: AtomicU64::new(random()?), instance: format!("{:016x}", random()?) })
    }

    pub(super) fn draw(&self) -> u64 {
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.next.fetch_add(GAMMA, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Names one turn to load. It begins with the [`instance`](Self::instance).
    pub(super) fn token(&self) -> String {
        format!("{}:{:016x}", self.instance, self.draw())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_differ_in_one_process_and_between_two() {
        let (one, two) = (Ids::new().unwrap(), Ids::new().unwrap());
        let mut drawn: Vec<u64> = (0..1_000).flat_map(|_| [one.draw(), two.draw()]).collect();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), 2_000);
        assert!(one.token().starts_with(&one.instance) && one.instance != two.instance);
    }

    /// What of a name a Cluster hashes.
    fn hashed(name: &str) -> &str {
        let tag = name.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        tag.map(|(tag, _)| tag).filter(|tag| !tag.is_empty()).unwrap_or(name)
    }

    #[test]
    fn entry_and_lock_share_a_slot_whatever_the_key() {
        let keys = Keys::new(&KeyPrefix::default(), "shop");
        for key in ["a", "}", "{}", "{user}:1", "a}b", "*[?]\n\0\u{e9}"] {
            let (entry, lock) = (keys.entry(key), keys.lock(key));
            assert_eq!(hashed(&entry), hashed(&lock));
            assert_ne!(hashed(&entry), entry, "{key}");
            assert!(keys.is_lock(lock.as_bytes()) && !keys.is_lock(entry.as_bytes()));
        }
    }
}
