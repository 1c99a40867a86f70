//! [`Copies`]: what was read from the storage, for as long as changes can be heard of.
//!
//! A copy must not outlive a change. Between reading an entry and keeping its copy a change may
//! come by: so a reader takes a [`Mark`] before it reads, every change that is heard moves the
//! marks that it concerns, and a copy is kept only if its mark has not moved. What changes after
//! that finds the copy and drops it. An announcement comes after its change, so that whoever read
//! the old value took their mark before it is heard.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::cache::CachePolicy;
use crate::cache::memory::MemoryStorage;
use crate::cache::storage::{Age, Found};
use base::clock::SharedClock;
use base::sync::{Mutex, MutexGuard};

/// Keys share so many marks. Two that share one cost each other a copy now and then.
const MARKS: usize = 1_024;

/// No process has this id.
const NOBODY: u32 = 0;

/// How far the marks of a key had moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    slot: usize,
    key: u64,
    all: u64,
}

#[derive(Debug)]
struct Marks {
    /// Moved by what concerns more than a key, and by every loss of the connection.
    all: u64,
    keys: Vec<u64>,
}

#[derive(Debug)]
pub(super) struct Copies {
    entries: MemoryStorage,
    near_ttl: Duration,
    /// The process that changes are heard of in; [`NOBODY`] where they are not. Whoever hears them
    /// does not run in a child that was forked.
    hearing: AtomicU32,
    marks: Mutex<Marks>,
    hasher: RandomState,
}

impl Copies {
    pub(super) fn new(policy: &CachePolicy, clock: SharedClock) -> Self {
        Self {
            entries: MemoryStorage::new(policy.max_memory_bytes, clock),
            near_ttl: policy.near_ttl,
            hearing: AtomicU32::new(NOBODY),
            marks: Mutex::new(Marks { all: 0, keys: vec![0; MARKS] }),
            hasher: RandomState::new(),
        }
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock()
    }

    fn slot(&self, key: &str) -> usize {
        usize::try_from(self.hasher.hash_one(key) % MARKS as u64).unwrap_or(0)
    }

    /// Are changes heard of?
    pub(super) fn hear(&self) -> bool {
        match self.hearing.load(Ordering::Acquire) {
            NOBODY => false,
            process => process == std::process::id(),
        }
    }

    pub(super) fn find(&self, key: &str) -> Option<Found> {
        self.hear().then(|| self.entries.find(key)).flatten()
    }

    /// To be taken before the storage is read.
    pub(super) fn mark(&self, key: &str) -> Mark {
        let slot = self.slot(key);
        let marks = self.marks();
        Mark { slot, key: marks.keys[slot], all: marks.all }
    }

    /// Keeps a copy of what was read since the mark was taken, if nothing is known to have changed.
    pub(super) fn keep(&self, key: &str, mark: Mark, found: &Found, tags: &[String]) {
        let Age::Fresh(left) = found.age else { return };
        let kept = left.map_or(self.near_ttl, |left| left.min(self.near_ttl));
        // Nothing is heard while the marks are locked.
        let marks = self.marks();
        let unmoved = marks.keys[mark.slot] == mark.key && marks.all == mark.all;
        if unmoved && self.hear() {
            self.entries.keep_copy(key, found, tags, left, kept);
        }
    }

    pub(super) fn forget(&self, key: &str) {
        let slot = self.slot(key);
        let mut marks = self.marks();
        marks.keys[slot] += 1;
        self.entries.forget(key);
    }

    pub(super) fn forget_tag(&self, tag: &str) {
        let mut marks = self.marks();
        marks.all += 1;
        self.entries.forget_tag(tag);
    }

    pub(super) fn forget_matching(&self, pattern: &str) {
        self.marks().all += 1;
        // What is kept from now on was read after the change.
        self.entries.forget_matching(pattern);
    }

    pub(super) fn forget_all(&self) {
        let mut marks = self.marks();
        marks.all += 1;
        self.entries.clear();
    }

    /// Changes can be heard of from now on.
    pub(super) fn listen(&self) {
        self.forget_all();
        self.hearing.store(std::process::id(), Ordering::Release);
    }

    /// Changes can't be heard of any more.
    pub(super) fn deafen(&self) {
        self.hearing.store(NOBODY, Ordering::Release);
        self.forget_all();
    }
}
