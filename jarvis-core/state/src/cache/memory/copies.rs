//! What a near cache does with a memory: it keeps copies whose time another storage decides.

use std::sync::Arc;
use std::time::Duration;

use super::storage::{Held, MemoryStorage};
use crate::cache::storage::Found;

impl MemoryStorage {
    /// Keeps what was found elsewhere, fresh for `left`, and no longer than `kept`.
    pub(in crate::cache) fn keep_copy(
        &self,
        key: &str,
        found: &Found,
        tags: &[String],
        left: Option<Duration>,
        kept: Duration,
    ) {
        let now = self.clock.boottime();
        let held = Held {
            value: found.value.clone(),
            fresh_until: left.map(|left| now.saturating_add(left)),
            kept_until: Some(now.saturating_add(kept)),
            kept_for: Some(kept),
            load_took: found.load_took,
            id: found.id,
            tags: self.hold_tags(tags),
        };
        self.entries().insert(key.into(), Arc::new(held));
    }

    pub(in crate::cache) fn forget(&self, key: &str) {
        self.entries().invalidate(key);
    }

    pub(in crate::cache) fn forget_tag(&self, tag: &str) {
        self.tags.invalidate(tag);
    }

    pub(in crate::cache) fn forget_matching(&self, pattern: &str) {
        self.remove_matching_here(pattern);
    }
}
