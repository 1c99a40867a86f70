//! Putting in order what comes from the channel and the stream. Pure: no time, no I/O.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::script::{Entry, Head, Name, Page};
use crate::events::{Envelope, Gap};

/// How many entries may wait for one that is missing.
const HELD: usize = 1_024;

/// How many entries are remembered, to know them again and to find where two histories part.
const KNOWN: usize = 1_024;

/// What to hand out, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Output {
    Event(Arc<Envelope>),
    /// The entries after `after`, up to `last`, can't be had any more.
    Missed {
        epoch: Arc<str>,
        after: u64,
        last: u64,
    },
    Gap(Gap),
}

/// What an entry from the channel leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It was handed out, or was known.
    Done,
    /// One before it is missing; it may still come.
    Wait,
    /// The stream has to be asked.
    Ask,
}

/// Where this instance stands in the stream.
#[derive(Debug, Default)]
pub(super) struct Order {
    epoch: Option<Arc<str>>,
    /// The last one that was handed out, or is known to be gone.
    last: u64,
    /// Its name, and those before it.
    known: VecDeque<(u64, Name)>,
    /// Entries after a hole.
    held: BTreeMap<u64, Entry>,
    /// Entries that were handed out and that the server then lost. Messages of them may still be on
    /// their way.
    gone: VecDeque<(u64, Name)>,
    /// The server's history is not ours: we look from the oldest known entry on for where they
    /// part, with `last` at the newest entry that both have.
    parting: bool,
}

impl Order {
    /// Begins after what the stream holds now.
    pub(super) fn begin(head: Option<Head>) -> Self {
        let mut order = Self::default();
        if let Some(Head { epoch, sequence, last }) = head {
            order.epoch = Some(epoch);
            order.last = sequence;
            order.known.extend(last.map(|name| (sequence, name)));
        }
        order
    }

    /// Does something wait for an entry that is missing?
    pub(super) fn is_waiting(&self) -> bool {
        !self.held.is_empty()
    }

    /// From where on the stream has to be read: from the last one known, to see whether it is
    /// still the same.
    pub(super) fn next_page(&self) -> u64 {
        if self.parting { self.last + 1 } else { self.last.max(1) }
    }

    /// Takes an entry from the channel.
    pub(super) fn offer(&mut self, entry: Entry, out: &mut Vec<Output>) -> Step {
        if self.parting || self.epoch.as_ref() != Some(&entry.epoch) {
            return self.ask();
        }
        let name = Name::of(&entry.envelope);
        if self.gone.iter().any(|(sequence, gone)| *sequence == entry.sequence && *gone == name) {
            return Step::Done;
        }
        if entry.sequence <= self.last {
            return match self.name_of(entry.sequence) {
                Some(known) if *known != name => self.ask(),
                _ => Step::Done,
            };
        }
        if entry.sequence > self.last + 1 {
            if self.held.len() >= HELD {
                return self.ask();
            }
            self.held.insert(entry.sequence, entry);
            return Step::Wait;
        }
        let mut next = Some(entry);
        while let Some(entry) = next {
            if !self.follows(&entry) {
                return self.ask();
            }
            self.hand_out(entry, out);
            next = self.held.remove(&(self.last + 1));
        }
        if self.held.is_empty() { Step::Done } else { Step::Wait }
    }

    fn ask(&mut self) -> Step {
        self.held.clear();
        Step::Ask
    }

    fn name_of(&self, sequence: u64) -> Option<&Name> {
        let at = self.known.binary_search_by_key(&sequence, |(known, _)| *known).ok()?;
        self.known.get(at).map(|(_, name)| name)
    }

    /// Is it the successor of the last one? Where we don't know that one's name we believe it.
    fn follows(&self, entry: &Entry) -> bool {
        match (self.name_of(self.last), &entry.previous) {
            (Some(last), Some(previous)) => last == previous,
            _ => true,
        }
    }

    fn hand_out(&mut self, entry: Entry, out: &mut Vec<Output>) {
        self.last = entry.sequence;
        if self.known.len() >= KNOWN {
            self.known.pop_front();
        }
        self.known.push_back((entry.sequence, Name::of(&entry.envelope)));
        out.push(Output::Event(entry.envelope));
    }

    /// Takes what the stream holds from [`next_page`](Self::next_page) on. `true` when all is
    /// handed out; else the next page is needed.
    pub(super) fn fill(&mut self, page: Page, out: &mut Vec<Output>) -> bool {
        self.held.clear();
        let before = self.last;
        let Some(head) = page.head else {
            if self.epoch.is_some() {
                *self = Self::default();
                out.push(Output::Gap(Gap::StreamLost));
            }
            return true;
        };
        if self.epoch.as_ref() != Some(&head.epoch) {
            if self.epoch.is_some() {
                out.push(Output::Gap(Gap::StreamLost));
            }
            *self = Self { epoch: Some(Arc::clone(&head.epoch)), ..Self::default() };
            return head.sequence == 0;
        }
        if head.sequence < self.last && !self.parting {
            return self.part();
        }
        for entry in page.entries {
            if entry.epoch != head.epoch {
                continue;
            }
            if self.parting {
                self.compare(entry, out);
                continue;
            }
            let known = self.name_of(entry.sequence);
            if entry.sequence <= self.last {
                if known.is_some_and(|name| *name != Name::of(&entry.envelope)) {
                    return self.part();
                }
                continue;
            }
            if entry.sequence > self.last + 1 {
                self.skip(&head.epoch, entry.sequence - 1, out);
            } else if !self.follows(&entry) {
                return self.part();
            }
            self.hand_out(entry, out);
        }
        // A page without anything of ours is no reason to read it again.
        if !page.complete && self.last > before {
            return false;
        }
        if self.parting {
            self.settle(out);
            self.last = self.last.min(head.sequence);
        }
        self.skip(&head.epoch, head.sequence, out);
        true
    }

    /// What lies between is gone.
    fn skip(&mut self, epoch: &Arc<str>, last: u64, out: &mut Vec<Output>) {
        if last > self.last {
            out.push(Output::Missed { epoch: Arc::clone(epoch), after: self.last, last });
            self.last = last;
        }
    }

    /// The server's history is not ours: reads it again from the oldest known entry on.
    fn part(&mut self) -> bool {
        self.parting = true;
        self.last = self.known.front().map_or(self.last, |(oldest, _)| oldest.saturating_sub(1));
        false
    }

    /// Looks whether both histories have this entry.
    fn compare(&mut self, entry: Entry, out: &mut Vec<Output>) {
        if self.name_of(entry.sequence).is_some_and(|name| *name == Name::of(&entry.envelope)) {
            self.last = entry.sequence;
            return;
        }
        self.settle(out);
        let epoch = Arc::clone(&entry.epoch);
        self.skip(&epoch, entry.sequence - 1, out);
        self.hand_out(entry, out);
    }

    /// Here they part: what we had beyond this point the server never had, or lost.
    fn settle(&mut self, out: &mut Vec<Output>) {
        self.parting = false;
        while self.known.back().is_some_and(|(sequence, _)| *sequence > self.last) {
            self.gone.extend(self.known.pop_back());
        }
        let excess = self.gone.len().saturating_sub(KNOWN);
        self.gone.drain(..excess);
        out.push(Output::Gap(Gap::StreamRolledBack));
    }
}

#[cfg(test)]
mod tests;
