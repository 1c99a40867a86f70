//! Which intents were carried out, so that none is carried out twice.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::restart::Receipt;
use crate::vocabulary::{InstanceId, IntentId};
use crate::{Error, ErrorKind, Result, Retry};

/// How many are remembered. An intent is repeated within minutes, or never.
const REMEMBERED: usize = 128;

#[derive(Debug, Clone)]
enum Entry {
    Running,
    Done(Receipt),
    /// It may have been carried out; this life ran before.
    Unclear(Option<InstanceId>),
}

#[derive(Debug, Default)]
pub(super) struct Intents(Mutex<VecDeque<(IntentId, Entry)>>);

pub(super) enum Begun {
    New,
    Done(Receipt),
    Unclear(Option<InstanceId>),
}

/// An intent under way. Dropped without an end (a panic), it is unclear.
#[derive(Debug)]
pub(super) struct Guard<'a> {
    intents: &'a Intents,
    intent: IntentId,
    before: Mutex<Option<InstanceId>>,
    ended: bool,
}

impl Intents {
    fn entries(&self) -> MutexGuard<'_, VecDeque<(IntentId, Entry)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the intent, or says what became of it.
    pub(super) fn begin(&self, intent: &IntentId) -> Result<Begun> {
        let mut entries = self.entries();
        let known = entries.iter_mut().find(|(known, _)| known == intent);
        let Some((_, entry)) = known else {
            if entries.len() == REMEMBERED {
                entries.pop_front();
            }
            entries.push_back((intent.clone(), Entry::Running));
            return Ok(Begun::New);
        };
        match entry.clone() {
            Entry::Running => Err(Error::new(
                ErrorKind::Conflict,
                "this action is under way already; wait for its end",
            )
            .with_retry(Retry::Never)),
            Entry::Done(receipt) => Ok(Begun::Done(receipt)),
            Entry::Unclear(before) => {
                *entry = Entry::Running;
                Ok(Begun::Unclear(before))
            }
        }
    }

    pub(super) fn running(&self, intent: &IntentId) -> Guard<'_> {
        Guard { intents: self, intent: intent.clone(), before: Mutex::new(None), ended: false }
    }

    fn set(&self, intent: &IntentId, entry: Option<Entry>) {
        let mut entries = self.entries();
        let Some(at) = entries.iter().position(|(known, _)| known == intent) else { return };
        match entry {
            Some(entry) => entries[at].1 = entry,
            None => drop(entries.remove(at)),
        }
    }
}

impl Guard<'_> {
    /// Remembers which life ran before.
    pub(super) fn before(&self, instance: &InstanceId) {
        *self.before.lock().unwrap_or_else(PoisonError::into_inner) = Some(instance.clone());
    }

    /// What was refused, and did nothing, may be asked for again.
    pub(super) fn end(mut self, result: &Result<Receipt>) {
        self.ended = true;
        let entry = match result {
            Ok(receipt) => Some(Entry::Done(receipt.clone())),
            Err(error) if error.retry() == Retry::Indeterminate => Some(self.unclear()),
            Err(_) => None,
        };
        self.intents.set(&self.intent, entry);
    }

    fn unclear(&self) -> Entry {
        Entry::Unclear(self.before.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.intents.set(&self.intent, Some(self.unclear()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intent_is_carried_out_once() {
        let intents = Intents::default();
        let intent = IntentId::new("i-1").unwrap();
        assert!(matches!(intents.begin(&intent), Ok(Begun::New)));
        assert_eq!(intents.begin(&intent).err().unwrap().kind(), ErrorKind::Conflict);
        intents.running(&intent).end(&Ok(Receipt::new("done")));
        assert!(
            matches!(intents.begin(&intent), Ok(Begun::Done(receipt)) if receipt.message == "done")
        );
    }

    #[test]
    fn a_refused_intent_may_come_again_and_a_lost_one_knows_its_life() {
        let intents = Intents::default();
        let intent = IntentId::new("i-1").unwrap();
        let life = InstanceId::new("c@1").unwrap();
        intents.begin(&intent).unwrap();
        intents.running(&intent).end(&Err(Error::new(ErrorKind::NotFound, "gone")));
        assert!(matches!(intents.begin(&intent), Ok(Begun::New)));
        let guard = intents.running(&intent);
        guard.before(&life);
        guard.end(&Err(Error::new(ErrorKind::Timeout, "late")));
        assert!(
            matches!(intents.begin(&intent), Ok(Begun::Unclear(Some(before))) if before == life)
        );
        drop(intents.running(&intent));
        assert!(matches!(intents.begin(&intent), Ok(Begun::Unclear(None))));
    }

    #[test]
    fn memory_is_bounded() {
        let intents = Intents::default();
        for number in 0..500 {
            intents.begin(&IntentId::new(format!("i-{number}")).unwrap()).unwrap();
        }
        assert_eq!(intents.entries().len(), REMEMBERED);
    }
}
