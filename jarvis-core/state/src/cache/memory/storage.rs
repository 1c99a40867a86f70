//! [`MemoryStorage`]: entries in moka, which decides who has to go; what is fresh is decided here.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use foldhash::quality::RandomState;
use moka::Expiry;
use moka::notification::RemovalCause;
use moka::sync::Cache as Moka;

use super::tags::{Tag, Tags};
use crate::cache::storage::{
    Age, Begun, Counts, Done, Found, Look, SOME_READS, Storage, Terms, Write, WriteId,
    beyond_64_bits, no_number, whole_number,
};
use crate::cache::{CacheValue, Condition, glob};
use base::Result;
use base::clock::SharedClock;
use base::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard};

/// What an entry takes beside key and value: moka's node and queues, ours and two `Arc`s.
const ENTRY_OVERHEAD: usize = 256;
/// Writers of different keys rarely meet at one of these.
const STRIPES: usize = 64;

/// One entry. Times are on the clock's boot axis, which neither stops nor steps.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) value: CacheValue,
    pub(super) fresh_until: Option<Duration>,
    pub(super) kept_until: Option<Duration>,
    /// How long after it was written moka may forget it.
    pub(super) kept_for: Option<Duration>,
    pub(super) load_took: Duration,
    pub(super) id: WriteId,
    pub(super) tags: Vec<Arc<Tag>>,
}

pub(super) type Entries = Moka<Box<str>, Arc<Held>, RandomState>;

struct Reclaim;

impl Expiry<Box<str>, Arc<Held>> for Reclaim {
    fn expire_after_create(&self, _: &Box<str>, held: &Arc<Held>, _: Instant) -> Option<Duration> {
        held.kept_for
    }

    fn expire_after_update(
        &self,
        _: &Box<str>,
        held: &Arc<Held>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        held.kept_for
    }
}

fn entries(max_bytes: u64, evictions: &Arc<AtomicU64>) -> Arc<Entries> {
    let evictions = Arc::clone(evictions);
    let entries = Moka::<Box<str>, Arc<Held>>::builder()
        .max_capacity(max_bytes)
        .weigher(|key, held| {
            let bytes = key.len() + held.value.len() + ENTRY_OVERHEAD;
            u32::try_from(bytes).unwrap_or(u32::MAX)
        })
        .expire_after(Reclaim)
        .eviction_listener(move |_, _, cause| {
            if cause == RemovalCause::Size {
                evictions.fetch_add(1, Ordering::Relaxed);
            }
        })
        .build_with_hasher(RandomState::default());
    Arc::new(entries)
}

/// Entries of one namespace in this process.
#[derive(Debug)]
pub(crate) struct MemoryStorage {
    pub(super) clock: SharedClock,
    max_bytes: u64,
    /// A flush puts an empty one in its place.
    entries: RwLock<Arc<Entries>>,
    evictions: Arc<AtomicU64>,
    pub(super) tags: Tags,
    /// Loads under way, by their key: a deletion invalidates them.
    loads: Tags,
    /// What looks at an entry and then writes it holds the lock of its key.
    stripes: Vec<Mutex<()>>,
    hasher: RandomState,
    ids: AtomicU64,
}

/// What was the case when a load began.
#[derive(Debug)]
pub(crate) struct MemoryTicket {
    entries: Arc<Entries>,
    tags: Vec<Arc<Tag>>,
    load: Arc<Tag>,
    seen: Option<WriteId>,
}

impl MemoryStorage {
    pub(crate) fn new(max_bytes: u64, clock: SharedClock) -> Self {
        let evictions = Arc::default();
        Self {
            clock,
            max_bytes,
            entries: RwLock::new(entries(max_bytes, &evictions)),
            evictions,
            tags: Tags::default(),
            loads: Tags::default(),
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            hasher: RandomState::default(),
            ids: AtomicU64::new(0),
        }
    }

    pub(super) fn entries(&self) -> RwLockReadGuard<'_, Arc<Entries>> {
        self.entries.read()
    }

    fn stripe(&self, key: &str) -> MutexGuard<'_, ()> {
        let stripe = self.hasher.hash_one(key) % STRIPES as u64;
        let stripe = &self.stripes[usize::try_from(stripe).unwrap_or(0)];
        stripe.lock()
    }

    fn next_id(&self) -> WriteId {
        WriteId::Drawn(self.ids.fetch_add(1, Ordering::Relaxed))
    }

    /// An entry that is kept and valid.
    fn held(&self, entries: &Entries, key: &str, now: Duration) -> Option<Arc<Held>> {
        entries
            .get(key)
            .filter(|held| held.kept_until.is_none_or(|until| now < until))
            .filter(|held| held.tags.iter().all(|tag| tag.is_valid()))
    }

    fn fresh(&self, entries: &Entries, key: &str, now: Duration) -> Option<Arc<Held>> {
        self.held(entries, key, now).filter(|held| held.is_fresh(now))
    }

    pub(crate) fn find(&self, key: &str) -> Option<Found> {
        let now = self.clock.boottime();
        self.held(&self.entries(), key, now).map(|held| held.found(now))
    }

    fn holding(&self, value: CacheValue, terms: &Terms, tags: Vec<Arc<Tag>>) -> Arc<Held> {
        let now = self.clock.boottime();
        let kept_for = terms.ttl.map(|ttl| ttl.saturating_add(terms.stale));
        Arc::new(Held {
            value,
            fresh_until: terms.ttl.map(|ttl| now.saturating_add(ttl)),
            kept_until: kept_for.map(|kept| now.saturating_add(kept)),
            kept_for,
            load_took: terms.load_took,
            id: self.next_id(),
            tags,
        })
    }

    pub(super) fn hold_tags(&self, tags: &[String]) -> Vec<Arc<Tag>> {
        tags.iter().map(|tag| self.tags.hold(tag)).collect()
    }

    fn write_one(&self, write: Write, tags: &[String], condition: Condition) -> bool {
        let Write { key, value, ttl } = write;
        let terms =
            Terms { ttl, stale: Duration::ZERO, tags: Vec::new(), load_took: Duration::ZERO };
        let _stripe = self.stripe(&key);
        let entries = self.entries();
        let holds = match condition {
            Condition::Always => true,
            Condition::IfAbsent => self.fresh(&entries, &key, self.clock.boottime()).is_none(),
            Condition::IfPresent => self.fresh(&entries, &key, self.clock.boottime()).is_some(),
        };
        if holds {
            entries.insert(key.into(), self.holding(value, &terms, self.hold_tags(tags)));
        }
        holds
    }

    fn remove_one(&self, key: &str) -> bool {
        let _stripe = self.stripe(key);
        self.loads.invalidate(key);
        let entries = self.entries();
        let was = self.fresh(&entries, key, self.clock.boottime()).is_some();
        entries.invalidate(key);
        was
    }

    fn add_here(&self, key: &str, by: i64, ttl: Option<Duration>) -> Result<i64> {
        let _stripe = self.stripe(key);
        let entries = self.entries();
        let now = self.clock.boottime();
        let Some(held) = self.fresh(&entries, key, now) else {
            let terms =
                Terms { ttl, stale: Duration::ZERO, tags: Vec::new(), load_took: Duration::ZERO };
            entries.insert(key.into(), self.holding(by.to_string().into(), &terms, Vec::new()));
            return Ok(by);
        };
        let number = whole_number(&held.value).ok_or_else(no_number)?;
        let sum = number.checked_add(by).ok_or_else(beyond_64_bits)?;
        let next = Held {
            value: sum.to_string().into(),
            kept_for: held.kept_until.map(|until| until.saturating_sub(now)),
            id: self.next_id(),
            ..Held::clone(&held)
        };
        entries.insert(key.into(), Arc::new(next));
        Ok(sum)
    }

    fn expire_here(&self, key: &str, ttl: Option<Duration>) -> bool {
        let _stripe = self.stripe(key);
        let entries = self.entries();
        let now = self.clock.boottime();
        let Some(held) = self.fresh(&entries, key, now) else { return false };
        let stale = held
            .kept_until
            .zip(held.fresh_until)
            .map_or(Duration::ZERO, |(kept, fresh)| kept.saturating_sub(fresh));
        let kept_for = ttl.map(|ttl| ttl.saturating_add(stale));
        let next = Held {
            fresh_until: ttl.map(|ttl| now.saturating_add(ttl)),
            kept_until: kept_for.map(|kept| now.saturating_add(kept)),
            kept_for,
            ..Held::clone(&held)
        };
        entries.insert(key.into(), Arc::new(next));
        true
    }

    fn begin_here(&self, key: &str, terms: &Terms) -> Begun<MemoryTicket> {
        let _stripe = self.stripe(key);
        let load = self.loads.hold(key);
        let entries = Arc::clone(&self.entries());
        let now = self.clock.boottime();
        let held = self.held(&entries, key, now);
        let ticket = MemoryTicket {
            tags: self.hold_tags(&terms.tags),
            load,
            // Also of one that no longer counts: a new writing is told from it.
            seen: entries.get(key).map(|held| held.id),
            entries,
        };
        Begun { ours: true, ticket, found: held.map(|held| held.found(now)) }
    }

    fn finish_here(&self, key: &str, ticket: MemoryTicket, value: &CacheValue, terms: &Terms) {
        let _stripe = self.stripe(key);
        let seen = ticket.entries.get(key).map(|held| held.id);
        // Without an entry there may have been one that ran out or had to go meanwhile.
        let untouched = seen.is_none() || seen == ticket.seen;
        if ticket.load.is_valid() && untouched {
            let held = self.holding(value.clone(), terms, ticket.tags);
            ticket.entries.insert(key.into(), held);
        }
    }

    pub(super) fn remove_matching_here(&self, pattern: &str) -> u64 {
        self.loads.invalidate_where(|key| glob::matches(pattern, key));
        let entries = Arc::clone(&self.entries());
        let keys = entries.iter().map(|(key, _)| key).filter(|key| glob::matches(pattern, key));
        let keys: Vec<Arc<Box<str>>> = keys.collect();
        keys.iter().map(|key| u64::from(self.remove_one(key))).sum()
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        let empty = entries(self.max_bytes, &self.evictions);
        let full = {
            let mut entries = self.entries.write();
            std::mem::replace(&mut *entries, empty)
        };
        // Freeing what it holds may take a while.
        drop(full);
    }

    pub(crate) fn counts_here(&self) -> Counts {
        let entries = Arc::clone(&self.entries());
        entries.run_pending_tasks();
        Counts {
            evictions: self.evictions.load(Ordering::Relaxed),
            entries: Some(entries.entry_count()),
        }
    }
}

impl Held {
    fn is_fresh(&self, now: Duration) -> bool {
        self.fresh_until.is_none_or(|until| now < until)
    }

    fn found(&self, now: Duration) -> Found {
        let age = match self.fresh_until {
            None => Age::Fresh(None),
            Some(until) if now < until => Age::Fresh(Some(until.saturating_sub(now))),
            Some(until) => Age::Stale(now.saturating_sub(until)),
        };
        Found {
            value: self.value.clone(),
            age,
            load_took: self.load_took,
            id: self.id,
            near: false,
        }
    }
}

impl Storage for MemoryStorage {
    type Ticket = MemoryTicket;

    const TIMED: u64 = SOME_READS;

    async fn read(&self, key: &str, _: Look<'_>) -> Result<Option<Found>> {
        Ok(self.find(key))
    }

    fn read_now(&self, key: &str) -> Option<Option<Found>> {
        Some(self.find(key))
    }

    async fn read_many(&self, keys: &[String]) -> Vec<Result<Option<Found>>> {
        keys.iter().map(|key| Ok(self.find(key))).collect()
    }

    async fn look(&self, key: &str) -> Result<Option<Age>> {
        Ok(self.find(key).map(|found| found.age))
    }

    async fn write(&self, writes: Vec<Write>, tags: &[String], condition: Condition) -> Done {
        let stored = writes.into_iter().map(|write| self.write_one(write, tags, condition));
        Ok(stored.map(u64::from).sum()).into()
    }

    async fn remove(&self, keys: &[String]) -> Done {
        Ok(keys.iter().map(|key| u64::from(self.remove_one(key))).sum()).into()
    }

    async fn add(&self, key: &str, by: i64, ttl: Option<Duration>) -> Result<i64> {
        self.add_here(key, by, ttl)
    }

    async fn expire(&self, key: &str, ttl: Option<Duration>) -> Result<bool> {
        Ok(self.expire_here(key, ttl))
    }

    async fn begin(&self, key: &str, terms: &Terms) -> Result<Begun<MemoryTicket>> {
        Ok(self.begin_here(key, terms))
    }

    fn keep_every(&self) -> Option<Duration> {
        None
    }

    async fn keep(&self, _: &str, _: &MemoryTicket) -> Result<()> {
        Ok(())
    }

    async fn finish(
        &self,
        key: &str,
        ticket: MemoryTicket,
        value: &CacheValue,
        terms: &Terms,
    ) -> Result<()> {
        self.finish_here(key, ticket, value, terms);
        Ok(())
    }

    async fn abandon(&self, _: &str, _: MemoryTicket) -> Result<()> {
        Ok(())
    }

    async fn invalidate_tag(&self, tag: &str) -> Result<()> {
        self.tags.invalidate(tag);
        Ok(())
    }

    async fn remove_matching(&self, pattern: &str) -> Result<u64> {
        Ok(self.remove_matching_here(pattern))
    }

    async fn flush(&self) -> Result<()> {
        self.clear();
        Ok(())
    }

    async fn counts(&self) -> Result<Counts> {
        Ok(self.counts_here())
    }

    async fn close(&self) {}
}
