//! [`Storage`]: the basic operations that a backend implements. Limits, jitter, numbers, single
//! flight, early refresh and failing open are implemented once, in the front.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use super::{CacheValue, Condition};
use base::{Error, ErrorKind, Result};

/// Tells one writing of a key from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteId {
    /// Drawn when it was written.
    Drawn(u64),
    /// A bare number: it is its own identity.
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "only Redis has bare numbers"))]
    Number(i64),
}

/// Where an entry is in its life, by the storage's own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// Still that long; without an end when `None`.
    Fresh(Option<Duration>),
    /// It ran out that long ago, and is kept for those who take stale answers.
    Stale(Duration),
}

/// An entry that was neither deleted nor invalidated.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) value: CacheValue,
    pub(super) age: Age,
    /// How long its load took.
    pub(super) load_took: Duration,
    pub(super) id: WriteId,
    /// Was it found in this process, in front of a storage elsewhere?
    pub(super) near: bool,
}

impl Found {
    pub(super) fn is_fresh(&self) -> bool {
        matches!(self.age, Age::Fresh(_))
    }
}

/// How an entry is stored.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    /// `None` is without an end.
    pub(super) ttl: Option<Duration>,
    /// How long it is kept after that.
    pub(super) stale: Duration,
    pub(super) tags: Vec<String>,
    pub(super) load_took: Duration,
}

/// One entry to be stored, with its own lifetime.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) key: String,
    pub(super) value: CacheValue,
    pub(super) ttl: Option<Duration>,
}

/// What is known about an entry besides its value before it is read.
#[derive(Debug, Clone, Copy, Default)]
#[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "memory needs no second trip"))]
pub(super) struct Look<'a> {
    /// The tags it probably has, so that their versions come in the same trip.
    pub(super) tags: &'a [String],
    /// Is the time that is left asked for?
    pub(super) timed: bool,
}

/// Whose turn it is to load.
#[derive(Debug)]
pub(super) struct Begun<T> {
    /// Is it ours? Otherwise somebody else loads, and the ticket is good only for storing a value
    /// that was loaded beside them.
    pub(super) ours: bool,
    pub(super) ticket: T,
    /// What is there now.
    pub(super) found: Option<Found>,
}

/// How many of several were done, each for itself, and what kept the first of the others from it.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) count: u64,
    pub(super) failed: Option<Error>,
}

#[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "memory does all or none"))]
impl Done {
    pub(super) fn fails(&mut self, error: Error) {
        self.failed.get_or_insert(error);
    }

    pub(super) fn add(&mut self, other: Self) {
        self.count += other.count;
        if let Some(error) = other.failed {
            self.fails(error);
        }
    }
}

impl From<Result<u64>> for Done {
    fn from(all: Result<u64>) -> Self {
        match all {
            Ok(count) => Self { count, failed: None },
            Err(error) => Self { count: 0, failed: Some(error) },
        }
    }
}

/// What a storage counts by itself.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) evictions: u64,
    pub(super) entries: Option<u64>,
}

/// Of a storage that is asked over a network.
#[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "memory times some reads"))]
pub(super) const EVERY_READ: u64 = 1;

/// Of a storage in memory: looking at a clock twice costs as much as the read.
pub(super) const SOME_READS: u64 = 16;

/// A backend. What it is given was checked.
pub(super) trait Storage: Debug + Send + Sync + 'static {
    /// What was the case when a load began: the versions of the tags, the entry, who loads.
    type Ticket: Send + Sync + 'static;

    /// One read in so many is timed.
    const TIMED: u64;

    fn read(&self, key: &str, look: Look<'_>)
    -> impl Future<Output = Result<Option<Found>>> + Send;

    /// What [`read`](Self::read) would find, where that is known without waiting.
    fn read_now(&self, key: &str) -> Option<Option<Found>> {
        let _ = key;
        None
    }

    /// In the order of the keys. Where there are several servers, some may fail.
    fn read_many(&self, keys: &[String])
    -> impl Future<Output = Vec<Result<Option<Found>>>> + Send;

    /// [`read`](Self::read) without the value.
    fn look(&self, key: &str) -> impl Future<Output = Result<Option<Age>>> + Send;

    /// How many were stored.
    fn write(
        &self,
        writes: Vec<Write>,
        tags: &[String],
        condition: Condition,
    ) -> impl Future<Output = Done> + Send;

    /// How many of these, each named once, were fresh. Loads under way of these keys are not
    /// stored.
    fn remove(&self, keys: &[String]) -> impl Future<Output = Done> + Send;

    fn add(
        &self,
        key: &str,
        by: i64,
        ttl: Option<Duration>,
    ) -> impl Future<Output = Result<i64>> + Send;

    fn expire(&self, key: &str, ttl: Option<Duration>)
    -> impl Future<Output = Result<bool>> + Send;

    /// Asks whose turn it is. Asking again while it is ours is fine, also for a caller that does
    /// not know of the first.
    fn begin(
        &self,
        key: &str,
        terms: &Terms,
    ) -> impl Future<Output = Result<Begun<Self::Ticket>>> + Send;

    /// How often [`keep`](Self::keep) has to be called while a load runs; `None` when never.
    fn keep_every(&self) -> Option<Duration>;

    /// Says that the load still runs.
    fn keep(&self, key: &str, ticket: &Self::Ticket) -> impl Future<Output = Result<()>> + Send;

    /// Stores what was loaded, unless the key was written, deleted or invalidated since the ticket
    /// was given. Ends our turn.
    fn finish(
        &self,
        key: &str,
        ticket: Self::Ticket,
        value: &CacheValue,
        terms: &Terms,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Ends our turn without a value.
    fn abandon(&self, key: &str, ticket: Self::Ticket) -> impl Future<Output = Result<()>> + Send;

    fn invalidate_tag(&self, tag: &str) -> impl Future<Output = Result<()>> + Send;

    /// How many there were.
    fn remove_matching(&self, pattern: &str) -> impl Future<Output = Result<u64>> + Send;

    fn flush(&self) -> impl Future<Output = Result<()>> + Send;

    fn counts(&self) -> impl Future<Output = Result<Counts>> + Send;

    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// A number as it is stored, if the text is one: what Redis takes for an integer.
pub(super) fn whole_number(bytes: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    // `+1`, `01` and `-0` would change by being read.
    (number.to_string().as_bytes() == bytes).then_some(number)
}

pub(super) fn no_number() -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        "the cached value is not a whole number; delete it, or count under another key",
    )
}

pub(super) fn beyond_64_bits() -> Error {
    Error::new(ErrorKind::InvalidInput, "the sum does not fit in 64 bits; the number is unchanged")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_reads_back_the_same_is_a_number() {
        for (text, number) in
            [("0", Some(0)), ("-7", Some(-7)), ("9223372036854775807", Some(i64::MAX))]
        {
            assert_eq!(whole_number(text.as_bytes()), number);
        }
        for text in ["", "+1", "01", "-0", " 1", "1.0", "9223372036854775808", "x"] {
            assert_eq!(whole_number(text.as_bytes()), None, "{text}");
        }
    }
}
