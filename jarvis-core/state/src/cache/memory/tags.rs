//! Tags in memory: an entry holds its tags, and a tag knows whether it still counts.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use base::sync::{Mutex, MutexGuard};

/// One version of a tag. What holds it is good until it is invalidated.
#[derive(Debug, Default)]
pub(crate) struct Tag {
    invalid: AtomicBool,
}

impl Tag {
    pub(crate) fn is_valid(&self) -> bool {
        !self.invalid.load(Ordering::Acquire)
    }
}

#[derive(Debug, Default)]
struct Named {
    tags: HashMap<Box<str>, Weak<Tag>>,
    /// Forgets the tags that nobody holds when there are more than this.
    sweep_at: usize,
}

/// The current version of every tag that an entry holds.
#[derive(Debug, Default)]
pub(crate) struct Tags(Mutex<Named>);

const FIRST_SWEEP: usize = 64;

impl Tags {
    fn named(&self) -> MutexGuard<'_, Named> {
        self.0.lock()
    }

    /// The current version of a tag.
    pub(crate) fn hold(&self, name: &str) -> Arc<Tag> {
        let mut named = self.named();
        if let Some(tag) = named.tags.get(name).and_then(Weak::upgrade) {
            return tag;
        }
        if named.tags.len() >= named.sweep_at {
            named.tags.retain(|_, tag| tag.strong_count() > 0);
            // Each sweep looks at no more than were added since the last one, and as many again.
            named.sweep_at = (named.tags.len() * 2).max(FIRST_SWEEP);
        }
        let tag = Arc::new(Tag::default());
        named.tags.insert(name.into(), Arc::downgrade(&tag));
        tag
    }

    /// Whoever holds this tag now is invalid from now on.
    pub(crate) fn invalidate(&self, name: &str) {
        let tag = self.named().tags.remove(name);
        if let Some(tag) = tag.and_then(|tag| tag.upgrade()) {
            tag.invalid.store(true, Ordering::Release);
        }
    }

    /// [`invalidate`](Self::invalidate) for every name that is chosen.
    pub(crate) fn invalidate_where(&self, chosen: impl Fn(&str) -> bool) {
        self.named().tags.retain(|name, tag| {
            let chosen = chosen(name);
            if chosen && let Some(tag) = tag.upgrade() {
                tag.invalid.store(true, Ordering::Release);
            }
            !chosen
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_of_before_is_invalid_and_one_of_afterwards_is_not() {
        let tags = Tags::default();
        let before = tags.hold("a");
        assert!(Arc::ptr_eq(&before, &tags.hold("a")));
        tags.invalidate("a");
        let after = tags.hold("a");
        assert!(!before.is_valid() && after.is_valid());
        tags.invalidate_where(|name| name == "a");
        assert!(!after.is_valid());
    }

    #[test]
    fn tags_that_nobody_holds_are_forgotten() {
        let tags = Tags::default();
        let held = tags.hold("held");
        for name in 0..10_000 {
            tags.hold(&name.to_string());
        }
        assert!(tags.named().tags.len() <= FIRST_SWEEP + 1, "{}", tags.named().tags.len());
        assert!(Arc::ptr_eq(&held, &tags.hold("held")));
    }
}
