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

/// A change and who made it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cache) struct Announcement<'a> {
    #[serde(borrow)]
    pub(in crate::cache) from: Cow<'a, str>,
    #[serde(borrow)]
    pub(in crate::cache) change: Change<'a>,
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

    pub(super) fn encode(self, from: &'a str) -> Vec<u8> {
        let announcement = Announcement { from: Cow::Borrowed(from), change: self };
        // Texts always have a form in JSON.
        serde_json::to_vec(&announcement).unwrap_or_default()
    }
}

impl<'a> Announcement<'a> {
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
            let bytes = change.clone().encode("me");
            let decoded = Announcement::decode(&bytes).unwrap();
            assert_eq!((decoded.from.as_ref(), decoded.change), ("me", change));
        }
        assert_eq!(Announcement::decode(b"{\"from\":\"me\",\"change\":{\"moon\":1}}"), None);
        assert_eq!(Announcement::decode(b""), None);
    }
}
