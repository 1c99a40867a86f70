//! What near caches are told: which of their copies to drop.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// A change of the storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cache) enum Change<'a> {
    Key(#[serde(borrow)] Cow<'a, str>),
    Tag(#[serde(borrow)] Cow<'a, str>),
    Pattern(#[serde(borrow)] Cow<'a, str>),
    Everything,
}

impl<'a> Change<'a> {
    pub(super) fn key(key: &'a str) -> Self {
        Self::Key(Cow::Borrowed(key))
    }

    pub(super) fn tag(tag: &'a str) -> Self {
        Self::Tag(Cow::Borrowed(tag))
    }

    pub(super) fn pattern(pattern: &'a str) -> Self {
        Self::Pattern(Cow::Borrowed(pattern))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        // Texts always have a form in JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// `None` of what a newer version may announce.
    pub(in crate::cache) fn decode(payload: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_announced_is_understood() {
        let changes = [
            Change::key("a\"\\\n\u{e9}"),
            Change::tag("t"),
            Change::pattern("*"),
            Change::Everything,
        ];
        for change in changes {
            assert_eq!(Change::decode(&change.encode()), Some(change));
        }
        assert_eq!(Change::decode(b"{\"moon\":1}"), None);
        assert_eq!(Change::decode(b""), None);
    }
}
