//! [`Shard`]: some sessions and the order in which they expire.

use std::collections::{BTreeSet, HashMap};

use super::super::record::Record;
use super::super::{SessionHandle, SessionId};
use base::clock::WallTime;

/// A session.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) handle: SessionHandle,
    pub(super) record: Record,
    /// When it is looked at again: never later than it expires. Prolonging leaves it alone, so
    /// that a save costs no more than it must.
    look_at: WallTime,
}

impl Entry {
    pub(super) fn new(handle: SessionHandle, record: Record) -> Self {
        Self { handle, look_at: record.expires_at, record }
    }
}

/// Sessions under one lock.
#[derive(Debug, Default)]
pub(super) struct Shard {
    /// What is asked for comes from outside, what is in here does not: nobody can choose ids that
    /// collide, and a fast hash does.
    entries: HashMap<SessionId, Entry, foldhash::fast::RandomState>,
    due: Due,
}

impl Shard {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// May there be one that has expired?
    pub(super) fn is_due(&self, now: WallTime) -> bool {
        self.due.earliest <= now
    }

    pub(super) fn get(&self, id: &SessionId) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// Adds a session that is not there.
    pub(super) fn insert(&mut self, id: &SessionId, entry: Entry) {
        self.due.add(entry.look_at, id.clone());
        self.entries.insert(id.clone(), entry);
    }

    /// Changes one, where it is there.
    pub(super) fn change<T>(
        &mut self,
        id: &SessionId,
        change: impl FnOnce(&mut Record) -> T,
    ) -> Option<T> {
        let entry = self.entries.get_mut(id)?;
        let changed = change(&mut entry.record);
        let (sooner, before) = (entry.record.expires_at, entry.look_at);
        if sooner < before {
            entry.look_at = sooner;
            self.due.move_up(before, sooner, id);
        }
        Some(changed)
    }

    pub(super) fn remove(&mut self, id: &SessionId) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
        self.due.remove(entry.look_at, id);
        Some(entry)
    }

    /// Takes out a session that has expired.
    pub(super) fn expired(&mut self, now: WallTime) -> Option<(SessionId, Entry)> {
        while let Some(id) = self.due.next(now) {
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            if entry.record.lives(now) {
                entry.look_at = entry.record.expires_at;
                self.due.add(entry.look_at, id);
                continue;
            }
            return self.entries.remove(&id).map(|entry| (id, entry));
        }
        None
    }
}

/// When sessions are looked at: one time for each.
#[derive(Debug)]
struct Due {
    order: BTreeSet<(WallTime, SessionId)>,
    /// The first of those, or a time before it.
    earliest: WallTime,
}

impl Default for Due {
    fn default() -> Self {
        Self { order: BTreeSet::new(), earliest: WallTime::from_millis(i64::MAX) }
    }
}

impl Due {
    fn add(&mut self, at: WallTime, id: SessionId) {
        self.earliest = self.earliest.min(at);
        self.order.insert((at, id));
    }

    fn remove(&mut self, at: WallTime, id: &SessionId) {
        self.order.remove(&(at, id.clone()));
    }

    fn move_up(&mut self, from: WallTime, to: WallTime, id: &SessionId) {
        self.remove(from, id);
        self.add(to, id.clone());
    }

    /// The next whose time has come.
    fn next(&mut self, now: WallTime) -> Option<SessionId> {
        if self.earliest > now {
            return None;
        }
        let first = self.order.first().map_or(WallTime::from_millis(i64::MAX), |(at, _)| *at);
        self.earliest = first;
        if first > now {
            return None;
        }
        self.order.pop_first().map(|(_, id)| id)
    }
}
