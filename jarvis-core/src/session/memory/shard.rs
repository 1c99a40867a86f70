//! [`Shard`]: some sessions and the order in which they expire.

use std::collections::{BTreeSet, HashMap};

use super::super::record::Record;
use super::super::{SessionHandle, SessionId};
use crate::clock::WallTime;

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
#[derive(Debug)]
pub(super) struct Shard {
    entries: HashMap<SessionId, Entry>,
    /// One for each entry: when it is looked at.
    due: BTreeSet<(WallTime, SessionId)>,
    /// The first of those, or a time before it.
    earliest: WallTime,
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            due: BTreeSet::new(),
            earliest: WallTime::from_millis(i64::MAX),
        }
    }
}

impl Shard {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get(&self, id: &SessionId) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// Adds a session that is not there.
    pub(super) fn insert(&mut self, id: &SessionId, entry: Entry) {
        self.look_at(entry.look_at, id);
        self.entries.insert(id.clone(), entry);
    }

    /// Changes one that is there.
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
            self.due.remove(&(before, id.clone()));
            self.look_at(sooner, id);
        }
        Some(changed)
    }

    pub(super) fn remove(&mut self, id: &SessionId) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
        self.due.remove(&(entry.look_at, id.clone()));
        Some(entry)
    }

    /// Takes out a session that has expired.
    pub(super) fn expired(&mut self, now: WallTime) -> Option<(SessionId, Entry)> {
        while self.earliest <= now {
            let Some((at, id)) = self.due.pop_first() else {
                self.earliest = WallTime::from_millis(i64::MAX);
                return None;
            };
            if at > now {
                self.earliest = at;
                self.due.insert((at, id));
                return None;
            }
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            if entry.record.lives(now) {
                entry.look_at = entry.record.expires_at;
                self.due.insert((entry.look_at, id));
                continue;
            }
            return self.entries.remove(&id).map(|entry| (id, entry));
        }
        None
    }

    fn look_at(&mut self, at: WallTime, id: &SessionId) {
        self.earliest = self.earliest.min(at);
        self.due.insert((at, id.clone()));
    }
}
