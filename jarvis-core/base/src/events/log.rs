//! [`EventLog`]: an on-disk log of the events of the last days.
//!
//! The log is a subscriber like any other: its inbox on the bus is the bounded queue, so neither a
//! publisher nor a probe ever waits for storage. What it had to let go is counted in the entry
//! after the gap.

mod read;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use rusqlite::{Transaction, params};
use serde::{Deserialize, Serialize};

pub use read::{EventQuery, Follow, LogEntry, Page};

use super::{Delivery, Envelope, Subscription};
use crate::clock::{ClockExt, SharedClock, WallTime};
use crate::store::sqlite::{Schema, SqlResult, Sqlite, Tables};
use crate::vocabulary::ServiceId;
use crate::{Error, ErrorKind, Result, units};

static SCHEMA: Schema = Schema {
    component: "event_log",
    steps: &["
        CREATE TABLE event_log (
            cursor INTEGER PRIMARY KEY AUTOINCREMENT,
            at_ms INTEGER NOT NULL,
            topic TEXT NOT NULL,
            service TEXT,
            instance TEXT NOT NULL,
            sequence INTEGER NOT NULL,
            missed_before INTEGER NOT NULL,
            event TEXT NOT NULL
        ) STRICT;
        CREATE UNIQUE INDEX event_log_origin ON event_log (instance, sequence);
        CREATE INDEX event_log_at ON event_log (at_ms);
        CREATE TABLE event_log_size (
            only INTEGER PRIMARY KEY CHECK (only = 1),
            bytes INTEGER NOT NULL
        ) STRICT;
        INSERT INTO event_log_size (only, bytes) VALUES (1, 0);
        CREATE TRIGGER event_log_grows AFTER INSERT ON event_log BEGIN
            UPDATE event_log_size SET bytes = bytes + 128 + octet_length(new.event);
        END;
        CREATE TRIGGER event_log_shrinks AFTER DELETE ON event_log BEGIN
            UPDATE event_log_size SET bytes = bytes - 128 - octet_length(old.event);
        END;
    "],
};

/// How many events go to disk together.
const BATCH: usize = 256;

/// How many old events one append lets go at most, so that it stays short.
const TRIM: i64 = 2 * BATCH as i64;

/// How long a failed append waits before it tries again.
const RETRY: Duration = Duration::from_secs(5);

/// How much is kept: whichever limit is reached first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Retention {
    /// For how long. Default: 30 days.
    #[serde(with = "units::duration")]
    pub keep: Duration,
    /// How many bytes, 128 of overhead an event included. Default: 64 MiB.
    #[serde(with = "units::bytes")]
    pub max_size: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { keep: Duration::from_secs(30 * 24 * 3_600), max_size: 64 << 20 }
    }
}

impl Retention {
    /// 30 days or 64 MiB.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// For how long.
    #[must_use]
    pub fn with_keep(mut self, keep: Duration) -> Self {
        self.keep = keep;
        self
    }

    /// How many bytes.
    #[must_use]
    pub fn with_max_size(mut self, bytes: u64) -> Self {
        self.max_size = bytes;
        self
    }
}

/// The retained log in one file. Other processes may read it while one writes.
#[derive(Debug, Clone)]
pub struct EventLog {
    tables: Tables,
    clock: SharedClock,
    retention: Retention,
}

/// An event, and how many were lost just before it.
#[derive(Debug, Clone)]
struct Pending {
    envelope: Arc<Envelope>,
    missed_before: u64,
}

/// Why the recording stopped to collect.
enum Collected {
    Some,
    Ended,
}

impl EventLog {
    /// The log in this file. Its tables are made at the first use.
    #[must_use]
    pub fn new(sqlite: &Sqlite, clock: SharedClock, retention: Retention) -> Self {
        Self { tables: sqlite.tables(&SCHEMA), clock, retention }
    }

    /// Appends events, in this order, and answers when they are on disk. An event that is there
    /// already (same instance and sequence) stays as it is.
    ///
    /// # Errors
    /// The store's: `Exhausted`, `Unavailable`, `Corrupt`.
    pub async fn append(&self, events: &[Arc<Envelope>]) -> Result<()> {
        let pending = |envelope| Pending { envelope: Arc::clone(envelope), missed_before: 0 };
        self.store(events.iter().map(pending).collect()).await
    }

    /// Writes down what the subscription receives until the bus is gone or `until` completes;
    /// what had arrived by then is still written.
    ///
    /// While the disk refuses, events wait on the bus and then the oldest are lost, counted. Each
    /// failure is a warning in the program's own log; nobody else waits or fails.
    pub async fn record(
        &self,
        mut subscription: Box<dyn Subscription>,
        until: impl Future<Output = ()> + Send,
    ) {
        let mut until = Box::pin(until.fuse());
        let mut missed = 0;
        loop {
            let mut batch = Vec::new();
            let first = tokio::select! {
                biased;
                received = subscription.next() => received,
                () = &mut until => return self.finish(&mut subscription, missed).await,
            };
            let ended = match take(first, &mut missed, &mut batch) {
                Collected::Ended => Collected::Ended,
                Collected::Some => collect(&mut subscription, &mut missed, &mut batch),
            };
            if self.persist(batch, &mut until).await {
                return self.finish(&mut subscription, missed).await;
            }
            if matches!(ended, Collected::Ended) {
                return;
            }
        }
    }

    /// Tries until it is written. `true` when `until` completed first.
    async fn persist(
        &self,
        batch: Vec<Pending>,
        until: &mut (impl Future<Output = ()> + Send + Unpin),
    ) -> bool {
        while let Err(error) = self.store(batch.clone()).await {
            tracing::warn!(%error, events = batch.len(), "events could not be logged yet");
            tokio::select! {
                biased;
                () = self.clock.sleep(RETRY) => {}
                () = &mut *until => {
                    if let Err(error) = self.store(batch).await {
                        tracing::error!(%error, "events were not logged");
                    }
                    return true;
                }
            }
        }
        false
    }

    /// Writes what had arrived when the end came.
    async fn finish(&self, subscription: &mut Box<dyn Subscription>, mut missed: u64) {
        loop {
            let mut batch = Vec::new();
            let ended = collect(subscription, &mut missed, &mut batch);
            if batch.is_empty() {
                return;
            }
            if let Err(error) = self.store(batch).await {
                tracing::error!(%error, "the last events were not logged");
                return;
            }
            if matches!(ended, Collected::Ended) {
                return;
            }
        }
    }

    async fn store(&self, batch: Vec<Pending>) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let (clock, retention) = (self.clock.clone(), self.retention.clone());
        let work = move |tx: &Transaction<'_>| {
            for pending in &batch {
                insert(tx, pending)?;
            }
            trim(tx, clock.wall(), &retention)
        };
        self.tables.write("events.log.append", work).await
    }
}

fn take(delivery: Option<Delivery>, missed: &mut u64, batch: &mut Vec<Pending>) -> Collected {
    match delivery {
        None => return Collected::Ended,
        Some(Delivery::Missed(count)) => *missed += count,
        // At least one, as far as anybody knows.
        Some(Delivery::Gap(_)) => *missed += 1,
        Some(Delivery::TooSlow) => {}
        Some(Delivery::Event(envelope)) => {
            batch.push(Pending { envelope, missed_before: std::mem::take(missed) });
        }
    }
    Collected::Some
}

/// Takes what waits, without waiting.
fn collect(
    subscription: &mut Box<dyn Subscription>,
    missed: &mut u64,
    batch: &mut Vec<Pending>,
) -> Collected {
    while batch.len() < BATCH {
        let Some(delivery) = subscription.next().now_or_never() else { break };
        if let Collected::Ended = take(delivery, missed, batch) {
            return Collected::Ended;
        }
    }
    Collected::Some
}

fn insert(tx: &Transaction<'_>, pending: &Pending) -> SqlResult<()> {
    let envelope = &pending.envelope;
    let event = serde_json::to_string(&envelope.event).map_err(|error| {
        Error::new(ErrorKind::Internal, "failed to serialize an event as JSON").with_source(error)
    })?;
    tx.prepare_cached(
        "INSERT INTO event_log (at_ms, topic, service, instance, sequence, missed_before, event)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (instance, sequence) DO NOTHING",
    )?
    .execute(params![
        envelope.at.millis(),
        envelope.topic.as_str(),
        envelope.event.service().map(ServiceId::as_str),
        &*envelope.instance,
        envelope.sequence.cast_signed(),
        pending.missed_before.cast_signed(),
        event,
    ])?;
    Ok(())
}

/// Lets go of what is too old or too much, oldest first. A log that is far over its limits
/// shrinks over several appends.
fn trim(tx: &Transaction<'_>, now: WallTime, retention: &Retention) -> SqlResult<()> {
    let oldest = (now - retention.keep).millis();
    tx.prepare_cached(
        "DELETE FROM event_log WHERE cursor IN
            (SELECT cursor FROM event_log WHERE at_ms < ?1 ORDER BY at_ms LIMIT ?2)",
    )?
    .execute(params![oldest, TRIM])?;
    let max = i64::try_from(retention.max_size).unwrap_or(i64::MAX);
    let bytes: i64 =
        tx.prepare_cached("SELECT bytes FROM event_log_size")?.query_row([], |row| row.get(0))?;
    if bytes <= max {
        return Ok(());
    }
    tx.prepare_cached(
        "DELETE FROM event_log WHERE cursor IN (
            SELECT cursor FROM (
                SELECT cursor,
                    sum(128 + octet_length(event)) OVER (ORDER BY cursor) AS running,
                    128 + octet_length(event) AS own
                FROM (SELECT cursor, event FROM event_log ORDER BY cursor LIMIT ?2)
            ) WHERE running - own < ?1)",
    )?
    .execute(params![bytes - max, TRIM])?;
    Ok(())
}

#[cfg(test)]
mod tests;
