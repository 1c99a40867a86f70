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

/// An entry that is remembered.
#[derive(Debug)]
struct Known {
    sequence: u64,
    name: Name,
    /// Was it handed out, or published before we began? Else only its name came to us.
    had: bool,
}

/// Where this instance stands in the stream.
#[derive(Debug, Default)]
pub(super) struct Order {
    epoch: Option<Arc<str>>,
    /// The last one that was handed out, or is known to be gone.
    last: u64,
    /// What is known of it, and of those before it.
    known: VecDeque<Known>,
    /// Entries after a hole.
    held: BTreeMap<u64, Entry>,
    /// Entries that were handed out and that the server then lost. Messages of them may still be on
    /// their way, and a publisher that heard nothing publishes its own again.
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
            order.known.extend(last.map(|name| Known { sequence, name, had: true }));
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
        let at = self.known.binary_search_by_key(&sequence, |known| known.sequence).ok()?;
        self.known.get(at).map(|known| &known.name)
    }

    /// Is it the successor of the last one? Where we don't know that one's name we believe it.
    fn follows(&self, entry: &Entry) -> bool {
        match (self.name_of(self.last), &entry.previous) {
            (Some(last), Some(previous)) => last == previous,
            _ => true,
        }
    }

    fn hand_out(&mut self, entry: Entry, out: &mut Vec<Output>) {
        let name = Name::of(&entry.envelope);
        let again = self.gone.iter().any(|(_, gone)| *gone == name);
        self.come_to(Known { sequence: entry.sequence, name, had: true });
        if !again {
            out.push(Output::Event(entry.envelope));
        }
    }

    /// The next one that is known.
    fn come_to(&mut self, next: Known) {
        self.last = next.sequence;
        if self.known.len() >= KNOWN {
            self.known.pop_front();
        }
        self.known.push_back(next);
    }

    /// Takes what the stream holds from [`next_page`](Self::next_page) on. `true` when all is
    /// handed out; else the next page is needed.
    pub(super) fn fill(&mut self, page: Page, out: &mut Vec<Output>) -> bool {
        self.held.clear();
        let before = self.last;
        let Some(head) = page.head else {
            self.start_over(None, out);
            return true;
        };
        if self.epoch.as_ref() != Some(&head.epoch) {
            self.start_over(Some(&head.epoch), out);
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
                self.skip(&entry.epoch, entry.sequence - 1, entry.previous.as_ref(), out);
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
        } else if self.ends_otherwise(&head) {
            return self.part();
        }
        self.skip(&head.epoch, head.sequence, head.last.as_ref(), out);
        true
    }

    /// Does the stream end with as many entries as we know of, and yet with another one?
    fn ends_otherwise(&self, head: &Head) -> bool {
        let both = self.name_of(head.sequence).zip(head.last.as_ref());
        head.sequence == self.last && both.is_some_and(|(ours, theirs)| ours != theirs)
    }

    /// The server's stream is another one, or none.
    fn start_over(&mut self, epoch: Option<&Arc<str>>, out: &mut Vec<Output>) {
        if self.epoch.is_some() {
            out.push(Output::Gap(Gap::StreamLost));
        }
        let known = std::mem::take(&mut self.known);
        let gone = std::mem::take(&mut self.gone);
        *self = Self { epoch: epoch.cloned(), gone, ..Self::default() };
        self.lose(known);
    }

    /// Remembers what was handed out and is no longer with the server.
    fn lose(&mut self, entries: impl IntoIterator<Item = Known>) {
        let had = entries.into_iter().filter(|known| known.had);
        self.gone.extend(had.map(|known| (known.sequence, known.name)));
        let excess = self.gone.len().saturating_sub(KNOWN);
        self.gone.drain(..excess);
    }

    /// What lies between is gone; `name` is the last of it. Where the server lost its end, published others under the same
    /// numbers and trimmed those too, nothing is left that tells so: then more is gone than this.
    fn skip(&mut self, epoch: &Arc<str>, last: u64, name: Option<&Name>, out: &mut Vec<Output>) {
        if last <= self.last {
            return;
        }
        out.push(Output::Missed { epoch: Arc::clone(epoch), after: self.last, last });
        self.last = last;
        if let Some(name) = name.cloned() {
            self.come_to(Known { sequence: last, name, had: false });
        }
    }

    /// The server's history is not ours: reads it again from the oldest known entry on.
    fn part(&mut self) -> bool {
        self.parting = true;
        self.last =
            self.known.front().map_or(self.last, |oldest| oldest.sequence.saturating_sub(1));
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
        self.skip(&epoch, entry.sequence - 1, entry.previous.as_ref(), out);
        self.hand_out(entry, out);
    }

    /// Here they part: what we had beyond this point the server never had, or lost.
    fn settle(&mut self, out: &mut Vec<Output>) {
        self.parting = false;
        let common = self.known.partition_point(|known| known.sequence <= self.last);
        let lost = self.known.split_off(common);
        self.lose(lost);
        out.push(Output::Gap(Gap::StreamRolledBack));
    }
}

#[cfg(test)]
mod tests;
