//! What waits for delivery, a queue a sink.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Alert, AlertStatus};
use base::resilience::BackoffPolicy;
use base::units;
use base::{Error, ErrorKind, Retry};

/// After that long a message is no news any more.
pub(super) const TTL: Duration = Duration::from_secs(24 * 3_600);
/// How many messages may wait for one sink.
const MAX_WAITING: usize = 1_000;
/// The longest wait that a receiver may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(6 * 3_600);

const BACKOFF: BackoffPolicy = BackoffPolicy {
    initial: Duration::from_secs(1),
    factor: 2.0,
    max: Duration::from_secs(300),
    jitter: false,
};

/// A message on its way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) alert: Alert,
    /// When it was put here.
    #[serde(with = "units::millis")]
    at: Duration,
    #[serde(skip)]
    attempts: u32,
    #[serde(skip)]
    next_at: Duration,
    /// The change of state that it came with; delivered once that was written.
    #[serde(skip)]
    generation: u64,
}

/// How the deliveries of one sink go, since this process started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SinkStats {
    /// The sink's name.
    pub sink: String,
    /// Messages that wait.
    pub waiting: usize,
    /// Messages that were taken.
    pub delivered: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Messages given up: refused for good, too old, or too many.
    pub given_up: u64,
    /// Failures since the last success.
    pub consecutive_failures: u32,
}

/// The messages of one sink.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: BTreeMap<u64, Entry>,
    paused_until: Duration,
    in_flight: Option<u64>,
    pub(super) failures: u32,
    delivered: u64,
    failed: u64,
    given_up: u64,
}

/// What a sink's worker does next.
#[derive(Debug)]
pub(super) enum Pick {
    Deliver(u64, Box<Alert>),
    WaitUntil(Duration),
    Idle,
}

/// What became of a failed delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    TriedAgain,
    GivenUp,
}

impl Queue {
    /// Puts a message at the end. Gives back what was dropped for it.
    pub(super) fn push(
        &mut self,
        seq: u64,
        alert: Alert,
        generation: u64,
        t: Duration,
    ) -> Vec<u64> {
        let mut dropped = Vec::new();
        while self.entries.len() >= MAX_WAITING {
            let oldest = self.entries.keys().find(|seq| self.in_flight != Some(**seq)).copied();
            let Some(oldest) = oldest else { break };
            self.entries.remove(&oldest);
            self.given_up += 1;
            dropped.push(oldest);
        }
        let entry = Entry { alert, at: t, attempts: 0, next_at: Duration::ZERO, generation };
        self.entries.insert(seq, entry);
        dropped
    }

    pub(super) fn restore(&mut self, seq: u64, entry: Entry) {
        self.entries.insert(seq, entry);
    }

    /// A reminder of what was not even delivered yet says nothing.
    pub(super) fn is_needless(&self, alert: &Alert) -> bool {
        alert.status == AlertStatus::Reminder
            && self.entries.values().any(|entry| entry.alert.key == alert.key)
    }

    pub(super) fn get(&self, seq: u64) -> Option<&Entry> {
        self.entries.get(&seq)
    }

    /// Messages that are too old.
    pub(super) fn expire(&mut self, t: Duration) -> Vec<(u64, String)> {
        let old: Vec<u64> = self
            .entries
            .iter()
            .filter(|(seq, entry)| entry.at + TTL <= t && self.in_flight != Some(**seq))
            .map(|(seq, _)| *seq)
            .collect();
        self.given_up += old.len() as u64;
        old.into_iter()
            .filter_map(|seq| self.entries.remove(&seq).map(|entry| (seq, entry.alert.key)))
            .collect()
    }

    /// The next message in order: of those with one key always the oldest.
    pub(super) fn pick(&mut self, t: Duration, written: u64) -> Pick {
        if self.entries.is_empty() {
            return Pick::Idle;
        }
        if self.paused_until > t {
            return Pick::WaitUntil(self.paused_until);
        }
        let mut waiting = BTreeSet::new();
        let mut due: Option<Duration> = None;
        for (seq, entry) in &self.entries {
            if entry.generation > written || waiting.contains(entry.alert.key.as_str()) {
                waiting.insert(entry.alert.key.as_str());
                continue;
            }
            if entry.next_at <= t {
                self.in_flight = Some(*seq);
                return Pick::Deliver(*seq, Box::new(entry.alert.clone()));
            }
            due = Some(due.map_or(entry.next_at, |due| due.min(entry.next_at)));
            waiting.insert(entry.alert.key.as_str());
        }
        due.map_or(Pick::Idle, Pick::WaitUntil)
    }

    pub(super) fn succeeded(&mut self, seq: u64) {
        self.entries.remove(&seq);
        self.in_flight = None;
        self.failures = 0;
        self.delivered += 1;
    }

    pub(super) fn failed(&mut self, seq: u64, error: &Error, t: Duration) -> Failed {
        self.in_flight = None;
        self.failures = self.failures.saturating_add(1);
        self.failed += 1;
        let Some(entry) = self.entries.get_mut(&seq) else { return Failed::GivenUp };
        entry.attempts = entry.attempts.saturating_add(1);
        if error.retry() == Retry::Never {
            self.entries.remove(&seq);
            self.given_up += 1;
            return Failed::GivenUp;
        }
        let asked = error.retry_after().unwrap_or_default().min(MAX_RETRY_AFTER);
        let wait = BACKOFF.wait(entry.attempts, 0.0).max(asked);
        entry.next_at = t + wait;
        // A receiver that is not there is not there for the other messages either: all wait, in
        // order. Else it is this message, and those with other keys may pass it.
        let receiver = matches!(
            error.kind(),
            ErrorKind::Unavailable | ErrorKind::RateLimited | ErrorKind::Timeout
        );
        self.paused_until = t + if receiver { wait } else { BACKOFF.initial.min(wait) };
        Failed::TriedAgain
    }

    /// Another sink stands behind the name now: it deserves a try at once.
    pub(super) fn unpause(&mut self) {
        self.paused_until = Duration::ZERO;
        self.entries.values_mut().for_each(|entry| entry.next_at = Duration::ZERO);
    }

    /// The sink is gone.
    pub(super) fn give_up_all(&mut self) -> Vec<u64> {
        let all: Vec<u64> = std::mem::take(&mut self.entries).into_keys().collect();
        self.given_up += all.len() as u64;
        all
    }

    pub(super) fn stats(&self, sink: &str) -> SinkStats {
        SinkStats {
            sink: sink.to_owned(),
            waiting: self.entries.len(),
            delivered: self.delivered,
            failed: self.failed,
            given_up: self.given_up,
            consecutive_failures: self.failures,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::clock::WallTime;
    use base::vocabulary::Severity;

    fn alert(key: &str, status: AlertStatus) -> Alert {
        Alert::new("id", key, status, Severity::Critical, "title", WallTime::default())
    }

    fn picked(queue: &mut Queue, t: u64) -> Option<u64> {
        match queue.pick(Duration::from_secs(t), 1) {
            Pick::Deliver(seq, _) => Some(seq),
            Pick::WaitUntil(_) | Pick::Idle => None,
        }
    }

    #[test]
    fn a_receiver_that_is_gone_stops_all_one_message_stops_its_key() {
        let mut queue = Queue::default();
        for (seq, key) in [(1, "a"), (2, "a"), (3, "b")] {
            queue.push(seq, alert(key, AlertStatus::Triggered), 1, Duration::ZERO);
        }
        assert_eq!(picked(&mut queue, 0), Some(1));
        let gone = Error::new(ErrorKind::Unavailable, "refused");
        assert_eq!(queue.failed(1, &gone, Duration::ZERO), Failed::TriedAgain);
        assert_eq!(picked(&mut queue, 0), None);
        assert_eq!(picked(&mut queue, 1), Some(1));
        let odd = Error::new(ErrorKind::Internal, "500").with_retry(Retry::Safe { after: None });
        queue.failed(1, &odd, Duration::from_secs(1));
        assert_eq!(picked(&mut queue, 2), Some(3), "the other key passes");
        queue.succeeded(3);
        assert_eq!(picked(&mut queue, 2), None, "the second of the key waits for the first");
        assert_eq!(picked(&mut queue, 3), Some(1));
        queue.succeeded(1);
        assert_eq!(picked(&mut queue, 3), Some(2));
    }

    #[test]
    fn retry_after_is_kept_and_a_final_refusal_is_final() {
        let mut queue = Queue::default();
        queue.push(1, alert("a", AlertStatus::Triggered), 1, Duration::ZERO);
        let busy = Error::new(ErrorKind::RateLimited, "429")
            .with_retry(Retry::Safe { after: Some(Duration::from_secs(90)) });
        assert_eq!(picked(&mut queue, 0), Some(1));
        queue.failed(1, &busy, Duration::ZERO);
        assert_eq!(picked(&mut queue, 89), None);
        assert_eq!(picked(&mut queue, 90), Some(1));
        let refused = Error::new(ErrorKind::InvalidInput, "400");
        assert_eq!(queue.failed(1, &refused, Duration::from_secs(90)), Failed::GivenUp);
        let stats = queue.stats("ops");
        assert_eq!((stats.waiting, stats.failed, stats.given_up), (0, 2, 1));
    }

    #[test]
    fn it_is_bounded_in_number_and_age() {
        let mut queue = Queue::default();
        for seq in 0..MAX_WAITING as u64 + 3 {
            queue.push(seq, alert("a", AlertStatus::Triggered), 1, Duration::from_secs(seq));
        }
        assert_eq!(queue.stats("x").waiting, MAX_WAITING);
        assert_eq!(queue.stats("x").given_up, 3);
        assert!(queue.is_needless(&alert("a", AlertStatus::Reminder)));
        assert!(!queue.is_needless(&alert("b", AlertStatus::Reminder)));
        assert_eq!(queue.expire(TTL + Duration::from_secs(4)).len(), 2);
        assert!(matches!(queue.pick(Duration::ZERO, 0), Pick::Idle), "not written yet");
    }
}
