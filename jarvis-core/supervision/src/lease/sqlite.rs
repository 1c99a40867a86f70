//! [`SqliteLease`] and [`SqliteLedger`]: in one file, for all processes of a machine.
//!
//! Both live in the operator's file and share a fence and a time axis: the ledger refuses an old
//! token as soon as a newer lease is granted, and each renewal re-anchors the axis that the
//! ledger's windows lie on. All stored times are nanoseconds on that axis.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::axis::Axis;
use super::process::Process;
use super::rules::{self, REMEMBERED};
use super::{Attempt, Grant, Lease, Limit, Reservation, RestartLedger, Usage};
use base::Result;
use base::clock::{BootId, ClockExt, SharedClock, Stamp, WallTime};
use base::resilience::SlidingWindow;
use base::store::sqlite::{Schema, SqlResult, Sqlite, Tables};
use base::vocabulary::{FencingToken, HolderId, ServiceId};

static SCHEMA: Schema = Schema {
    component: "lease",
    steps: &[
        "
        CREATE TABLE lease_axis (
            only INTEGER PRIMARY KEY CHECK (only = 1),
            at_ns INTEGER NOT NULL,
            boot TEXT NOT NULL,
            boottime_ns INTEGER NOT NULL,
            wall_ms INTEGER NOT NULL,
            longest_ns INTEGER NOT NULL DEFAULT 0
        ) STRICT;
        CREATE TABLE lease_fence (
            only INTEGER PRIMARY KEY CHECK (only = 1),
            token INTEGER NOT NULL
        ) STRICT;
        INSERT INTO lease_fence (only, token) VALUES (1, 0);
        CREATE TABLE lease_held (
            only INTEGER PRIMARY KEY CHECK (only = 1),
            holder TEXT NOT NULL,
            token INTEGER NOT NULL,
            since_ms INTEGER NOT NULL,
            expires_ns INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE ledger_attempt (
            intent TEXT PRIMARY KEY,
            service TEXT,
            at_ns INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX ledger_attempt_at ON ledger_attempt (at_ns);
    ",
        "
        ALTER TABLE lease_held ADD COLUMN process TEXT;
    ",
    ],
};

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

fn duration(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

fn load_axis(connection: &Connection) -> rusqlite::Result<Option<Axis>> {
    connection
        .prepare_cached("SELECT at_ns, boot, boottime_ns, wall_ms FROM lease_axis")?
        .query_row([], |row| {
            let stamp = Stamp {
                boot: BootId::new(row.get::<_, String>(1)?),
                boottime: duration(row.get(2)?),
                wall: WallTime::from_millis(row.get(3)?),
            };
            Ok(Axis { at: duration(row.get(0)?), stamp })
        })
        .optional()
}

/// Where the axis stands, to the nanosecond that a row can hold.
fn now(connection: &Connection, clock: &SharedClock) -> rusqlite::Result<Duration> {
    let at = load_axis(connection)?.map_or(Duration::ZERO, |axis| axis.peek(&clock.stamp()));
    Ok(duration(nanos(at)))
}

/// Moves the axis to now and says where it stands.
fn tick(tx: &Transaction<'_>, clock: &SharedClock) -> rusqlite::Result<Duration> {
    let stamp = clock.stamp();
    let mut axis = load_axis(tx)?.unwrap_or_else(|| Axis::new(stamp.clone()));
    let at = axis.advance(stamp);
    tx.prepare_cached(
        "INSERT INTO lease_axis (only, at_ns, boot, boottime_ns, wall_ms)
         VALUES (1, ?1, ?2, ?3, ?4)
         ON CONFLICT (only) DO UPDATE SET at_ns = excluded.at_ns, boot = excluded.boot,
            boottime_ns = excluded.boottime_ns, wall_ms = excluded.wall_ms",
    )?
    .execute(params![
        nanos(axis.at),
        axis.stamp.boot.as_str(),
        nanos(axis.stamp.boottime),
        axis.stamp.wall.millis(),
    ])?;
    Ok(duration(nanos(at)))
}

fn highest(connection: &Connection) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT token FROM lease_fence")?
        .query_row([], |row| row.get::<_, i64>(0))
        .map(i64::cast_unsigned)
}

fn raise(tx: &Transaction<'_>, token: u64) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE lease_fence SET token = ?1 WHERE token < ?1")?
        .execute([token.cast_signed()])
        .map(|_| ())
}

/// The lease in force at that time.
fn held(connection: &Connection, now: Duration) -> SqlResult<Option<Grant>> {
    let row: Option<(String, i64, i64)> = connection
        .prepare_cached("SELECT holder, token, since_ms FROM lease_held WHERE expires_ns > ?1")?
        .query_row([nanos(now)], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((holder, token, since)) = row else { return Ok(None) };
    let token = FencingToken::new(token.cast_unsigned());
    Ok(Some(Grant::new(HolderId::new(holder)?, token, WallTime::from_millis(since))))
}

/// Has the process that holds the lease ended for certain?
fn holder_is_gone(tx: &Transaction<'_>, clock: &SharedClock) -> rusqlite::Result<bool> {
    let process: Option<String> = tx
        .prepare_cached("SELECT process FROM lease_held")?
        .query_row([], |row| row.get(0))
        .optional()?
        .flatten();
    let process = process.and_then(|text| text.parse::<Process>().ok());
    Ok(process.is_some_and(|process| process.is_gone(&**clock)))
}

fn extend(tx: &Transaction<'_>, expires: Duration) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE lease_held SET expires_ns = ?1")?
        .execute([nanos(expires)])
        .map(|_| ())
}

/// A lease in a file: for all processes of one machine, never across machines.
///
/// A holder that was killed need not be waited for: when its process has ended for certain (the
/// same boot, the same process namespace, and its number is nobody's or another process's), the
/// lease can be taken at once. The new token fences the old one as after an expiry.
#[derive(Debug, Clone)]
pub struct SqliteLease {
    tables: Tables,
    clock: SharedClock,
}

impl SqliteLease {
    /// The one lease of this file.
    #[must_use]
    pub fn new(sqlite: &Sqlite, clock: SharedClock) -> Self {
        Self { tables: sqlite.tables(&SCHEMA), clock }
    }
}

#[async_trait]
impl Lease for SqliteLease {
    async fn acquire(&self, holder: &HolderId, ttl: Duration) -> Result<Option<Grant>> {
        let (clock, holder) = (self.clock.clone(), holder.clone());
        let work = move |tx: &Transaction<'_>| {
            let now = tick(tx, &clock)?;
            let expires = now.saturating_add(ttl);
            if let Some(grant) = held(tx, now)? {
                if grant.holder == holder {
                    extend(tx, expires)?;
                    return Ok(Some(grant));
                }
                if !holder_is_gone(tx, &clock)? {
                    return Ok(None);
                }
            }
            let token = rules::next_token(highest(tx)?, clock.wall());
            raise(tx, token)?;
            let grant = Grant::new(holder, FencingToken::new(token), clock.wall());
            tx.prepare_cached(
                "INSERT OR REPLACE INTO lease_held
                    (only, holder, token, since_ms, expires_ns, process)
                 VALUES (1, ?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                grant.holder.as_str(),
                token.cast_signed(),
                grant.since.millis(),
                nanos(expires),
                Process::own(&*clock).map(|process| process.to_string()),
            ])?;
            Ok(Some(grant))
        };
        self.tables.write("lease.sqlite.acquire", work).await
    }

    async fn renew(&self, grant: &Grant, ttl: Duration) -> Result<bool> {
        let (clock, grant) = (self.clock.clone(), grant.clone());
        let work = move |tx: &Transaction<'_>| {
            let now = tick(tx, &clock)?;
            let ours = held(tx, now)?
                .is_some_and(|held| held.token == grant.token && held.holder == grant.holder);
            if ours {
                extend(tx, now.saturating_add(ttl))?;
            }
            Ok(ours)
        };
        self.tables.write("lease.sqlite.renew", work).await
    }

    async fn release(&self, grant: &Grant) -> Result<()> {
        let grant = grant.clone();
        let work = move |tx: &Transaction<'_>| {
            tx.prepare_cached("DELETE FROM lease_held WHERE holder = ?1 AND token = ?2")?
                .execute(params![grant.holder.as_str(), grant.token.number().cast_signed()])?;
            Ok(())
        };
        self.tables.write("lease.sqlite.release", work).await
    }

    async fn current(&self) -> Result<Option<Grant>> {
        let clock = self.clock.clone();
        let work = move |connection: &Connection| {
            let now = now(connection, &clock)?;
            held(connection, now)
        };
        self.tables.read("lease.sqlite.current", work).await
    }
}

/// A ledger in a file: for all processes of one machine.
#[derive(Debug, Clone)]
pub struct SqliteLedger {
    tables: Tables,
    clock: SharedClock,
}

impl SqliteLedger {
    /// The one ledger of this file.
    #[must_use]
    pub fn new(sqlite: &Sqlite, clock: SharedClock) -> Self {
        Self { tables: sqlite.tables(&SCHEMA), clock }
    }
}

/// The attempts of a service, or of all, that are younger than `longest`.
fn window(
    connection: &Connection,
    service: Option<&ServiceId>,
    now: Duration,
    longest: Duration,
) -> rusqlite::Result<SlidingWindow> {
    let mut window = SlidingWindow::new();
    let mut statement = connection.prepare_cached(
        "SELECT at_ns FROM ledger_attempt
         WHERE at_ns >= ?1 AND (?2 IS NULL OR service = ?2) ORDER BY at_ns",
    )?;
    let from = nanos(now.saturating_sub(longest));
    let mut rows = statement.query(params![from, service.map(ServiceId::as_str)])?;
    while let Some(row) = rows.next()? {
        window.record(duration(row.get(0)?));
    }
    Ok(window)
}

/// Forgets what no limit asks about any more. The longest window is remembered, since a service
/// with a short one must not make another's attempts forgotten.
fn prune(tx: &Transaction<'_>, now: Duration, longest: Duration) -> rusqlite::Result<()> {
    let known: i64 = tx
        .prepare_cached(
            "UPDATE lease_axis SET longest_ns = max(longest_ns, ?1) RETURNING longest_ns",
        )?
        .query_row([nanos(longest)], |row| row.get(0))?;
    let keep = duration(known).max(REMEMBERED);
    if let Some(from) = now.checked_sub(keep) {
        tx.prepare_cached("DELETE FROM ledger_attempt WHERE at_ns < ?1")?.execute([nanos(from)])?;
    }
    Ok(())
}

fn count(tx: &Transaction<'_>, clock: &SharedClock, attempt: &Attempt) -> SqlResult<Reservation> {
    let now = tick(tx, clock)?;
    let highest = FencingToken::new(highest(tx)?);
    if attempt.token < highest {
        return Err(rules::fenced(&attempt.service, attempt.token, highest).into());
    }
    raise(tx, attempt.token.number())?;
    let longest = rules::longest(attempt);
    prune(tx, now, longest)?;
    let known = tx
        .prepare_cached("SELECT 1 FROM ledger_attempt WHERE intent = ?1")?
        .exists([attempt.intent.as_str()])?;
    if known {
        return Ok(Reservation::Granted);
    }
    let own = window(tx, Some(&attempt.service), now, longest)?;
    let answer = rules::judge(attempt, now, &own, &window(tx, None, now, longest)?);
    if answer == Reservation::Granted {
        tx.prepare_cached(
            "INSERT INTO ledger_attempt (intent, service, at_ns) VALUES (?1, ?2, ?3)",
        )?
        .execute(params![
            attempt.intent.as_str(),
            attempt.service.as_str(),
            nanos(now)
        ])?;
    }
    Ok(answer)
}

#[async_trait]
impl RestartLedger for SqliteLedger {
    async fn reserve(&self, attempt: Attempt) -> Result<Reservation> {
        let clock = self.clock.clone();
        let work = move |tx: &Transaction<'_>| count(tx, &clock, &attempt);
        self.tables.write("lease.sqlite.reserve", work).await
    }

    async fn usage(&self, service: &ServiceId, limits: &[Limit]) -> Result<Vec<Usage>> {
        let (clock, service, limits) = (self.clock.clone(), service.clone(), limits.to_vec());
        let work = move |connection: &Connection| {
            let now = now(connection, &clock)?;
            let longest = limits.iter().map(|limit| limit.window).max().unwrap_or_default();
            let counted = window(connection, Some(&service), now, longest)?;
            Ok(rules::usage(&limits, now, &counted))
        };
        self.tables.read("lease.sqlite.usage", work).await
    }

    async fn reset(&self, service: &ServiceId) -> Result<()> {
        let service = service.clone();
        let work = move |tx: &Transaction<'_>| {
            tx.prepare_cached("UPDATE ledger_attempt SET service = NULL WHERE service = ?1")?
                .execute([service.as_str()])?;
            Ok(())
        };
        self.tables.write("lease.sqlite.reset", work).await
    }

    async fn rename(&self, from: &ServiceId, to: &ServiceId) -> Result<()> {
        let (from, to) = (from.clone(), to.clone());
        let work = move |tx: &Transaction<'_>| {
            tx.prepare_cached("UPDATE ledger_attempt SET service = ?2 WHERE service = ?1")?
                .execute([from.as_str(), to.as_str()])?;
            Ok(())
        };
        self.tables.write("lease.sqlite.rename", work).await
    }
}
