//! Reading the log: pages, and following its end.

use std::time::Duration;

use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};

use super::super::{Envelope, Event, Topic};
use super::EventLog;
use crate::Result;
use crate::clock::{ClockExt, WallTime};
use crate::store::sqlite::SqlResult;
use crate::vocabulary::ServiceId;

/// The most entries that one page gives.
const LIMIT: usize = 10_000;

/// How often a follower looks for new entries.
const POLL: Duration = Duration::from_millis(200);

/// Which entries are wanted. All conditions hold together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventQuery {
    /// Only these topics; empty means all.
    pub topics: Vec<Topic>,
    /// Only events about this service.
    pub service: Option<ServiceId>,
    /// Only entries after this cursor.
    pub after: Option<u64>,
    /// Only events at this time or later.
    pub since: Option<WallTime>,
    /// Only events before this time.
    pub until: Option<WallTime>,
    /// How many at most, up to 10,000. Default: 1,000.
    pub limit: Option<usize>,
    /// Of more than `limit`, the newest instead of the oldest. The order stays oldest first.
    pub newest: bool,
}

impl EventQuery {
    /// Every entry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only this topic, beside those already named.
    #[must_use]
    pub fn with_topic(mut self, topic: Topic) -> Self {
        self.topics.push(topic);
        self
    }

    /// Only events about this service.
    #[must_use]
    pub fn with_service(mut self, service: ServiceId) -> Self {
        self.service = Some(service);
        self
    }

    /// Only entries after this cursor.
    #[must_use]
    pub fn with_after(mut self, cursor: u64) -> Self {
        self.after = Some(cursor);
        self
    }

    /// Only events at this time or later.
    #[must_use]
    pub fn with_since(mut self, since: WallTime) -> Self {
        self.since = Some(since);
        self
    }

    /// Only events before this time.
    #[must_use]
    pub fn with_until(mut self, until: WallTime) -> Self {
        self.until = Some(until);
        self
    }

    /// The oldest that many.
    #[must_use]
    pub fn with_first(mut self, limit: usize) -> Self {
        (self.limit, self.newest) = (Some(limit), false);
        self
    }

    /// The newest that many, oldest first.
    #[must_use]
    pub fn with_last(mut self, limit: usize) -> Self {
        (self.limit, self.newest) = (Some(limit), true);
        self
    }
}

/// One event of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LogEntry {
    /// Its place in the log. Grows, never used twice.
    pub cursor: u64,
    /// How many events were lost just before it, because storage was too slow.
    #[serde(default)]
    pub missed_before: u64,
    /// The event.
    #[serde(flatten)]
    pub envelope: Envelope,
}

/// Some entries, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// The entries.
    pub entries: Vec<LogEntry>,
    /// The cursor of the last row that was looked at; go on after it.
    pub last: Option<u64>,
    /// Rows that a newer program wrote and this one can't read.
    pub unreadable: u64,
}

impl EventLog {
    /// Reads a page. Does not wait for a writer.
    ///
    /// # Errors
    /// The store's.
    pub async fn read(&self, query: EventQuery) -> Result<Page> {
        let work = move |connection: &Connection| page(connection, &query);
        self.tables.read("events.log.read", work).await
    }

    /// Reads what the query asks for, then goes on with what is appended, by this process or
    /// another. The query's `limit` and `newest` say where to begin; `until` is left out.
    #[must_use]
    pub fn follow(&self, query: EventQuery) -> Follow {
        Follow { log: self.clone(), query: EventQuery { until: None, ..query }, ready: Vec::new() }
    }
}

/// A reader at the end of the log.
#[derive(Debug)]
pub struct Follow {
    log: EventLog,
    query: EventQuery,
    /// Newest first, so that the next is popped.
    ready: Vec<LogEntry>,
}

impl Follow {
    /// The next entry; waits for one. Cancel-safe.
    ///
    /// # Errors
    /// The store's; calling again goes on where it stopped.
    pub async fn next(&mut self) -> Result<LogEntry> {
        loop {
            if let Some(entry) = self.ready.pop() {
                return Ok(entry);
            }
            let page = self.log.read(self.query.clone()).await?;
            let first = self.query.newest;
            self.query.after = page.last.or(self.query.after).or(Some(0));
            (self.query.newest, self.query.limit) = (false, None);
            self.ready = page.entries;
            self.ready.reverse();
            if self.ready.is_empty() && page.last.is_none() && !first {
                self.log.clock.sleep(POLL).await;
            }
        }
    }
}

fn page(connection: &Connection, query: &EventQuery) -> SqlResult<Page> {
    if query.newest && query.limit == Some(0) {
        return end(connection);
    }
    let limit = query.limit.unwrap_or(1_000).min(LIMIT);
    let topics: Vec<&str> = query.topics.iter().map(Topic::as_str).collect();
    let order = if query.newest { "DESC" } else { "ASC" };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT cursor, missed_before, at_ms, instance, sequence, event FROM event_log
         WHERE (?1 IS NULL OR cursor > ?1) AND (?2 IS NULL OR at_ms >= ?2)
            AND (?3 IS NULL OR at_ms < ?3) AND (?4 IS NULL OR service = ?4)
            AND (?5 = '' OR instr(?5, ',' || topic || ',') > 0)
         ORDER BY cursor {order} LIMIT ?6"
    ))?;
    let wanted = if topics.is_empty() { String::new() } else { format!(",{},", topics.join(",")) };
    let mut rows = statement.query(params![
        query.after.map(u64::cast_signed),
        query.since.map(WallTime::millis),
        query.until.map(WallTime::millis),
        query.service.as_ref().map(ServiceId::as_str),
        wanted,
        i64::try_from(limit).unwrap_or(i64::MAX),
    ])?;
    let mut page = Page::default();
    while let Some(row) = rows.next()? {
        let cursor = row.get::<_, i64>(0)?.cast_unsigned();
        page.last = page.last.max(Some(cursor));
        match entry(cursor, row)? {
            Some(entry) => page.entries.push(entry),
            None => page.unreadable += 1,
        }
    }
    if query.newest {
        page.entries.reverse();
    }
    Ok(page)
}

/// None of the entries, and where they end: whoever follows goes on from there.
fn end(connection: &Connection) -> SqlResult<Page> {
    let newest = "SELECT max(cursor) FROM event_log";
    let last: Option<i64> = connection.prepare_cached(newest)?.query_row([], |row| row.get(0))?;
    Ok(Page { last: last.map(i64::cast_unsigned), ..Page::default() })
}

fn entry(cursor: u64, row: &Row<'_>) -> rusqlite::Result<Option<LogEntry>> {
    let Ok(event) = serde_json::from_str::<Event>(row.get_ref(5)?.as_str()?) else {
        return Ok(None);
    };
    let at = WallTime::from_millis(row.get(2)?);
    let instance: String = row.get(3)?;
    let sequence = row.get::<_, i64>(4)?.cast_unsigned();
    Ok(Some(LogEntry {
        cursor,
        missed_before: row.get::<_, i64>(1)?.cast_unsigned(),
        envelope: Envelope::new(sequence, instance.into(), at, event),
    }))
}
