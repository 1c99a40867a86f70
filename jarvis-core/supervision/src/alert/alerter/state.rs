//! What the alerter keeps in memory: the policy's state, the queues, and what is not written yet.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::alert::journal::Row;
use crate::alert::outbox::{Entry, Failed, Pick, Queue, SinkStats};
use crate::alert::policy::{Dirty, Message, Policy};
use crate::alert::record::Now;
use crate::alert::route::Matcher;
use base::clock::{Stamp, WallTime};
use base::events::Event;
use base::units;
use base::vocabulary::ServiceId;
use base::{Error, Result};

/// The kind of the journal's rows for closed incidents, as stored since the first version.
const CLOSED: &str = "grave";

/// From so many failures on the other sinks are told.
const SINK_FAILS: u32 = 5;

/// Names rows that changed.
#[derive(Debug, Default)]
pub(super) struct DirtyKeys {
    policy: BTreeSet<Dirty>,
    entries: BTreeSet<(String, u64)>,
}

/// Rows that changed, and their names.
#[derive(Debug)]
pub(super) struct Changes {
    pub(super) rows: Vec<Row>,
    pub(super) keys: DirtyKeys,
}

/// Ties the policy's time, which never jumps, to the machine's clocks.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Base {
    #[serde(with = "units::millis")]
    t: Duration,
    stamp: Stamp,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) active: bool,
    policy: Policy,
    queues: BTreeMap<String, Queue>,
    dirty: BTreeSet<(String, u64)>,
    base: Option<Base>,
    next_seq: u64,
    /// Counts changes.
    generation: u64,
    /// Up to which one messages may go out.
    released: u64,
    /// The last health event of each service while we stand by.
    missed: BTreeMap<ServiceId, Event>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            active: true,
            policy: Policy::default(),
            queues: BTreeMap::new(),
            dirty: BTreeSet::new(),
            base: None,
            next_seq: 1,
            generation: 0,
            released: 0,
            missed: BTreeMap::new(),
        }
    }
}

fn json(value: &impl Serialize) -> Option<String> {
    serde_json::to_string(value).ok()
}

fn entry_key(sink: &str, seq: u64) -> String {
    format!("{sink}/{seq:020}")
}

impl State {
    pub(super) fn configure(
        &mut self,
        sinks: BTreeMap<String, Matcher>,
        depends_on: BTreeMap<ServiceId, Vec<ServiceId>>,
    ) {
        self.generation += 1;
        for (name, queue) in &mut self.queues {
            if sinks.contains_key(name) {
                queue.unpause();
            } else {
                let gone = queue.give_up_all();
                self.dirty.extend(gone.into_iter().map(|seq| (name.clone(), seq)));
            }
        }
        self.policy.configure(sinks, depends_on);
    }

    pub(super) fn is_loaded(&self) -> bool {
        self.base.is_some()
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty() || !self.policy.dirty.is_empty()
    }

    /// Takes what the journal has. Says how many rows could not be read.
    pub(super) fn load(&mut self, rows: Vec<Row>, stamp: Stamp) -> usize {
        let mut damaged = 0;
        let mut base = Base { t: Duration::ZERO, stamp: stamp.clone() };
        for row in rows {
            let taken = self.take_row(&row, &mut base);
            damaged += usize::from(taken.is_none());
        }
        base.t += base.stamp.age(&stamp);
        base.stamp = stamp;
        self.base = Some(base);
        if self.policy.meta.store.is_empty() {
            let random = getrandom::u64().unwrap_or_default();
            self.policy.meta.store = format!("{random:016x}");
            self.policy.dirty.insert(Dirty::Meta);
        }
        damaged
    }

    fn take_row(&mut self, row: &Row, base: &mut Base) -> Option<()> {
        fn read<T: DeserializeOwned>(row: &Row) -> Option<T> {
            serde_json::from_str(row.value.as_deref()?).ok()
        }
        let key = row.key.clone();
        match row.kind.as_str() {
            "time" => *base = read(row)?,
            "meta" => self.policy.meta = read(row)?,
            "record" => drop(self.policy.records.insert(key, read(row)?)),
            "digest" => drop(self.policy.digests.insert(key, read(row)?)),
            CLOSED => drop(self.policy.closed.insert(key, read(row)?)),
            "outbox" => {
                let (sink, seq) = row.key.rsplit_once('/')?;
                let seq: u64 = seq.parse().ok()?;
                let entry: Entry = read(row)?;
                self.next_seq = self.next_seq.max(seq + 1);
                self.queues.entry(sink.to_owned()).or_default().restore(seq, entry);
            }
            _ => return None,
        }
        Some(())
    }

    /// Somebody else acts from now on, or did until now.
    pub(super) fn forget(&mut self) {
        self.policy.forget();
        self.queues.clear();
        self.dirty.clear();
        self.base = None;
        self.generation += 1;
    }

    pub(super) fn activate(&mut self, stamp: &Stamp, wall: WallTime) {
        self.active = true;
        for event in std::mem::take(&mut self.missed).into_values() {
            self.apply(&event, stamp, wall);
        }
    }

    fn t(&self, stamp: &Stamp) -> Duration {
        self.base.as_ref().map_or(Duration::ZERO, |base| base.t + base.stamp.age(stamp))
    }

    fn now(&self, stamp: &Stamp, wall: WallTime) -> Now {
        Now { t: self.t(stamp), wall }
    }

    pub(super) fn apply(&mut self, event: &Event, stamp: &Stamp, wall: WallTime) {
        if matches!(event, Event::LeaseLost { .. }) {
            self.active = false;
        }
        if !self.active {
            if let Event::ServiceChanged { service, .. } = event {
                self.missed.insert(service.clone(), event.clone());
            }
            return;
        }
        let now = self.now(stamp, wall);
        let messages = self.policy.apply(event, now);
        self.enqueue(messages, now);
        if self.is_dirty() {
            self.generation += 1;
        }
    }

    /// Does what is due. Did anything change?
    pub(super) fn tick(&mut self, stamp: &Stamp, wall: WallTime) -> bool {
        if !self.active || !self.is_loaded() {
            return false;
        }
        let now = self.now(stamp, wall);
        for (sink, queue) in &mut self.queues {
            for (seq, _) in queue.expire(now.t) {
                self.dirty.insert((sink.clone(), seq));
            }
        }
        let messages = self.policy.tick(now);
        self.enqueue(messages, now);
        let dirty = self.is_dirty();
        self.generation += u64::from(dirty);
        dirty
    }

    fn enqueue(&mut self, messages: Vec<Message>, now: Now) {
        for Message { sink, alert } in messages {
            let queue = self.queues.entry(sink.clone()).or_default();
            if queue.is_needless(&alert) {
                continue;
            }
            let seq = self.next_seq;
            self.next_seq += 1;
            let dropped = queue.push(seq, alert, self.generation + 1, now.t);
            self.dirty.extend(dropped.into_iter().chain([seq]).map(|seq| (sink.clone(), seq)));
        }
    }

    /// How long until [`tick`](Self::tick) has something to do.
    pub(super) fn next_due(&self, stamp: &Stamp) -> Option<Duration> {
        if !self.active {
            return None;
        }
        self.policy.next_due().map(|due| due.saturating_sub(self.t(stamp)))
    }

    /// What changed since it was written.
    pub(super) fn changes(&mut self, stamp: &Stamp) -> (u64, Changes) {
        let keys = DirtyKeys {
            policy: std::mem::take(&mut self.policy.dirty),
            entries: std::mem::take(&mut self.dirty),
        };
        let mut rows: Vec<Row> = keys.policy.iter().map(|dirty| self.policy_row(dirty)).collect();
        rows.extend(keys.entries.iter().map(|(sink, seq)| {
            let entry = self.queues.get(sink).and_then(|queue| queue.get(*seq));
            Row::new("outbox", entry_key(sink, *seq), entry.and_then(json))
        }));
        let time = Base { t: self.t(stamp), stamp: stamp.clone() };
        rows.push(Row::new("time", "", json(&time)));
        (self.generation, Changes { rows, keys })
    }

    fn policy_row(&self, dirty: &Dirty) -> Row {
        let policy = &self.policy;
        match dirty {
            Dirty::Meta => Row::new("meta", "", json(&policy.meta)),
            Dirty::Record(key) => Row::new("record", key, policy.records.get(key).and_then(json)),
            Dirty::Digest(key) => Row::new("digest", key, policy.digests.get(key).and_then(json)),
            Dirty::ClosedIncident(key) => {
                Row::new(CLOSED, key, policy.closed.get(key).and_then(json))
            }
        }
    }

    pub(super) fn put_back(&mut self, mut keys: DirtyKeys) {
        self.policy.dirty.append(&mut keys.policy);
        self.dirty.append(&mut keys.entries);
    }

    pub(super) fn release(&mut self, generation: u64) {
        self.released = self.released.max(generation);
    }

    pub(super) fn pick(&mut self, sink: &str, stamp: &Stamp) -> Pick {
        if !self.active {
            return Pick::Idle;
        }
        let t = self.t(stamp);
        let released = self.released;
        match self.queues.get_mut(sink).map(|queue| queue.pick(t, released)) {
            Some(Pick::WaitUntil(until)) => Pick::WaitUntil(until.saturating_sub(t)),
            Some(pick) => pick,
            None => Pick::Idle,
        }
    }

    /// Books how a delivery ended. `None` when it was delivered.
    pub(super) fn settle(
        &mut self,
        sink: &str,
        seq: u64,
        result: &Result<()>,
        stamp: &Stamp,
        wall: WallTime,
    ) -> Option<Failed> {
        let now = self.now(stamp, wall);
        let queue = self.queues.entry(sink.to_owned()).or_default();
        let (failed, messages) = match result {
            Ok(()) => {
                queue.succeeded(seq);
                (None, self.policy.sink_works(sink, now))
            }
            Err(error) => {
                let failed = queue.failed(seq, error, now.t);
                let tell = failed == Failed::GivenUp || queue.failures == SINK_FAILS;
                let why = error.message();
                let messages =
                    if tell { self.policy.sink_fails(sink, why, now) } else { Vec::new() };
                (Some(failed), messages)
            }
        };
        self.enqueue(messages, now);
        if failed != Some(Failed::TriedAgain) {
            self.dirty.insert((sink.to_owned(), seq));
        }
        if self.is_dirty() {
            self.generation += 1;
        }
        failed
    }

    pub(super) fn stats(&self, sinks: &[String]) -> Vec<SinkStats> {
        let none = Queue::default();
        sinks.iter().map(|sink| self.queues.get(sink).unwrap_or(&none).stats(sink)).collect()
    }
}

/// What the receivers of `AlertFailed` read.
pub(super) fn reason(error: &Error) -> String {
    error.to_string()
}
