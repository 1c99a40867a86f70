//! [`SqliteHistory`]: closed minutes in `history.db`, packed, rolled up by hour and by day.
//!
//! Up to 64 services share a row for each minute, hour or day, so that 10,000 services cost 157
//! rows a minute. Minutes are kept for 24 hours, hours for 30 days, days for a year.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::pack::{pack_number, unpack_number};
use super::{Account, ClosedMinute, History, PassedCheck};
use base::clock::WallTime;
use base::store::sqlite::{Schema, SqlResult, Sqlite, Tables};
use base::sync::Mutex;
use base::vocabulary::{CheckName, ServiceId};
use base::{Error, ErrorKind, Result};

static SCHEMA: Schema = Schema {
    component: "history",
    steps: &["
        CREATE TABLE history_service (
            number INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE
        ) STRICT;
        CREATE TABLE history_block (
            level INTEGER NOT NULL,
            block INTEGER NOT NULL,
            start INTEGER NOT NULL,
            data BLOB NOT NULL,
            PRIMARY KEY (level, block, start)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE history_passed (
            service TEXT NOT NULL,
            probe TEXT NOT NULL,
            fingerprint INTEGER NOT NULL,
            PRIMARY KEY (service, probe)
        ) STRICT, WITHOUT ROWID;
    "],
};

/// So many services share a row.
const BLOCK: i64 = 64;

/// One resolution: `start` counts its units since 1970.
struct Level {
    number: i64,
    minutes: i64,
    /// How many units are kept.
    kept: i64,
}

const MINUTES: Level = Level { number: 0, minutes: 1, kept: 24 * 60 };
const HOURS: Level = Level { number: 1, minutes: 60, kept: 30 * 24 };
const DAYS: Level = Level { number: 2, minutes: 24 * 60, kept: 365 };

impl Level {
    const fn span_ms(&self) -> u64 {
        self.minutes.unsigned_abs() * 60_000
    }
}

type Accounts = BTreeMap<i64, Account>;

/// What is rolled up next.
#[derive(Debug, Default)]
struct Due {
    /// Hours and days with new minutes, by block.
    hours: BTreeSet<(i64, i64)>,
    days: BTreeSet<(i64, i64)>,
    /// Were those found that an earlier process left behind?
    looked: bool,
    /// The hour of the last retention.
    retained: i64,
}

/// The history in a SQLite file.
#[derive(Debug)]
pub struct SqliteHistory {
    tables: Tables,
    due: Arc<Mutex<Due>>,
}

impl SqliteHistory {
    /// The history in this file. Its tables are made at the first use.
    #[must_use]
    pub fn new(sqlite: &Sqlite) -> Self {
        Self { tables: sqlite.tables(&SCHEMA), due: Arc::default() }
    }
}

#[async_trait]
impl History for SqliteHistory {
    async fn append(&self, minutes: Vec<ClosedMinute>) -> Result<()> {
        let due = Arc::clone(&self.due);
        let operation = "history.append";
        self.tables
            .write(operation, move |tx| {
                let mut due = due.lock();
                append(tx, &minutes, &mut due)
            })
            .await
    }

    async fn totals(
        &self,
        from: WallTime,
        to: WallTime,
    ) -> Result<(WallTime, BTreeMap<ServiceId, Account>)> {
        let (from, to) = (from.millis().div_euclid(60_000), to.millis().div_euclid(60_000));
        self.tables.read("history.totals", move |connection| totals(connection, from, to)).await
    }

    async fn remember_passed(&self, checks: Vec<PassedCheck>) -> Result<()> {
        let operation = "history.remember_passed";
        self.tables
            .write(operation, move |tx| {
                let mut insert = tx.prepare_cached(
                    "INSERT INTO history_passed (service, probe, fingerprint) VALUES (?1, ?2, ?3)
                     ON CONFLICT DO UPDATE SET fingerprint = excluded.fingerprint",
                )?;
                for check in &checks {
                    let fingerprint = check.fingerprint.cast_signed();
                    insert.execute(params![
                        check.service.as_str(),
                        check.check.as_str(),
                        fingerprint
                    ])?;
                }
                Ok(())
            })
            .await
    }

    async fn passed(&self) -> Result<Vec<PassedCheck>> {
        self.tables
            .read("history.passed", |connection| {
                let mut select = connection
                    .prepare_cached("SELECT service, probe, fingerprint FROM history_passed")?;
                let mut rows = select.query([])?;
                let mut checks = Vec::new();
                while let Some(row) = rows.next()? {
                    let (service, check): (String, String) = (row.get(0)?, row.get(1)?);
                    let fingerprint: i64 = row.get(2)?;
                    checks.push(PassedCheck::new(
                        ServiceId::new(service)?,
                        CheckName::new(check)?,
                        fingerprint.cast_unsigned(),
                    ));
                }
                Ok(checks)
            })
            .await
    }
}

fn append(tx: &Transaction<'_>, minutes: &[ClosedMinute], due: &mut Due) -> SqlResult<()> {
    let mut blocks: BTreeMap<(i64, i64), Accounts> = BTreeMap::new();
    for closed in minutes {
        let number = number_of(tx, &closed.service)?;
        let accounts = blocks.entry((number / BLOCK, closed.minute)).or_default();
        accounts.entry(number).or_default().merge(&closed.account);
    }
    let Some(newest) = minutes.iter().map(|closed| closed.minute).max() else { return Ok(()) };
    if !due.looked {
        find_due(tx, due)?;
        due.looked = true;
    }
    for ((block, minute), accounts) in blocks {
        let mut merged = read_block(tx, &MINUTES, block, minute)?;
        merge_all(&mut merged, accounts);
        write_block(tx, &MINUTES, block, minute, merged)?;
        due.hours.insert((minute.div_euclid(60), block));
    }
    roll_up(tx, due, newest)?;
    retain(tx, due, newest)
}

fn merge_all(into: &mut Accounts, accounts: Accounts) {
    for (number, account) in accounts {
        into.entry(number).or_default().merge(&account);
    }
}

fn number_of(tx: &Transaction<'_>, service: &ServiceId) -> SqlResult<i64> {
    let found = tx
        .prepare_cached("SELECT number FROM history_service WHERE id = ?1")?
        .query_row([service.as_str()], |row| row.get(0))
        .optional()?;
    if let Some(number) = found {
        return Ok(number);
    }
    tx.prepare_cached("INSERT INTO history_service (id) VALUES (?1)")?
        .execute([service.as_str()])?;
    Ok(tx.last_insert_rowid())
}

/// Hours and days that an earlier process wrote minutes of and did not roll up.
fn find_due(tx: &Transaction<'_>, due: &mut Due) -> SqlResult<()> {
    let left_behind = |lower: &Level, upper: &Level, into: &mut BTreeSet<(i64, i64)>| {
        let ratio = upper.minutes / lower.minutes;
        let mut select = tx.prepare(
            "SELECT DISTINCT start / ?1, block FROM history_block AS lower
             WHERE level = ?2 AND start / ?1 >= coalesce((SELECT max(start) FROM history_block AS upper
                 WHERE upper.level = ?3 AND upper.block = lower.block), 0)",
        )?;
        let mut rows = select.query(params![ratio, lower.number, upper.number])?;
        while let Some(row) = rows.next()? {
            into.insert((row.get(0)?, row.get(1)?));
        }
        SqlResult::Ok(())
    };
    left_behind(&MINUTES, &HOURS, &mut due.hours)?;
    left_behind(&HOURS, &DAYS, &mut due.days)
}

/// Sums up every hour that is over, then every day that is.
fn roll_up(tx: &Transaction<'_>, due: &mut Due, newest: i64) -> SqlResult<()> {
    let this_hour = newest.div_euclid(60);
    let waiting = due.hours.split_off(&(this_hour, i64::MIN));
    for (hour, block) in std::mem::replace(&mut due.hours, waiting) {
        sum_up(tx, &MINUTES, &HOURS, hour, block)?;
        due.days.insert((hour.div_euclid(24), block));
    }
    let waiting = due.days.split_off(&(this_hour.div_euclid(24), i64::MIN));
    for (day, block) in std::mem::replace(&mut due.days, waiting) {
        sum_up(tx, &HOURS, &DAYS, day, block)?;
    }
    Ok(())
}

fn sum_up(
    tx: &Transaction<'_>,
    lower: &Level,
    upper: &Level,
    start: i64,
    block: i64,
) -> SqlResult<()> {
    let ratio = upper.minutes / lower.minutes;
    let mut sum = Accounts::new();
    add_range(tx, lower, block, start * ratio, (start + 1) * ratio, &mut sum)?;
    write_block(tx, upper, block, start, sum)
}

fn add_range(
    connection: &Connection,
    level: &Level,
    block: i64,
    from: i64,
    to: i64,
    sum: &mut Accounts,
) -> SqlResult<()> {
    let mut select = connection.prepare_cached(
        "SELECT data FROM history_block WHERE level = ?1 AND block = ?2 AND start >= ?3 AND start < ?4",
    )?;
    let mut rows = select.query(params![level.number, block, from, to])?;
    while let Some(row) = rows.next()? {
        let accounts =
            unpack_block(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?, block)?;
        merge_all(sum, accounts);
    }
    Ok(())
}

fn read_block(
    connection: &Connection,
    level: &Level,
    block: i64,
    start: i64,
) -> SqlResult<Accounts> {
    let mut accounts = Accounts::new();
    add_range(connection, level, block, start, start + 1, &mut accounts)?;
    Ok(accounts)
}

fn write_block(
    tx: &Transaction<'_>,
    level: &Level,
    block: i64,
    start: i64,
    accounts: Accounts,
) -> SqlResult<()> {
    let mut data = Vec::with_capacity(accounts.len() * 16);
    for (number, mut account) in accounts {
        account.fit(level.span_ms());
        pack_number(&mut data, (number - block * BLOCK).unsigned_abs());
        account.pack(&mut data);
    }
    tx.prepare_cached(
        "INSERT INTO history_block (level, block, start, data) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET data = excluded.data",
    )?
    .execute(params![level.number, block, start, data])?;
    Ok(())
}

fn unpack_block(mut data: &[u8], block: i64) -> Result<Accounts> {
    let mut accounts = Accounts::new();
    while !data.is_empty() {
        let place = i64::try_from(unpack_number(&mut data)?).unwrap_or(i64::MAX);
        if place >= BLOCK {
            return Err(Error::new(
                ErrorKind::Corrupt,
                "a block of the history names a service that is not in it",
            ));
        }
        let account = Account::unpack(&mut data)?;
        accounts.entry(block * BLOCK + place).or_default().merge(&account);
    }
    Ok(accounts)
}

/// Once an hour: forgets what is older than it is kept.
fn retain(tx: &Transaction<'_>, due: &mut Due, newest: i64) -> SqlResult<()> {
    let hour = newest.div_euclid(60);
    if hour <= due.retained {
        return Ok(());
    }
    due.retained = hour;
    let blocks: i64 = tx.query_row(
        "SELECT coalesce(max(number), 0) / ?1 FROM history_service",
        [BLOCK],
        |row| row.get(0),
    )?;
    let mut delete = tx.prepare_cached(
        "DELETE FROM history_block WHERE level = ?1 AND block = ?2 AND start < ?3",
    )?;
    for level in [&MINUTES, &HOURS, &DAYS] {
        // One coarser unit more, so that what is rolled up last is still whole.
        let oldest = newest.div_euclid(level.minutes) - level.kept - DAYS.minutes / level.minutes;
        for block in 0..=blocks {
            delete.execute(params![level.number, block, oldest])?;
        }
    }
    Ok(())
}

/// Sums up `from..to` (in minutes) from the finest levels that reach back so far.
fn totals(
    connection: &Connection,
    from: i64,
    to: i64,
) -> SqlResult<(WallTime, BTreeMap<ServiceId, Account>)> {
    let coarsest = match to - from {
        window if window <= MINUTES.kept => &MINUTES,
        window if window <= HOURS.kept * HOURS.minutes => &HOURS,
        _ => &DAYS,
    };
    let from = from.div_euclid(coarsest.minutes) * coarsest.minutes;
    let mut names = BTreeMap::new();
    let mut select = connection.prepare_cached("SELECT number, id FROM history_service")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        names.insert(
            row.get::<_, i64>(0)?,
            ServiceId::new(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?,
        );
    }
    let blocks: BTreeSet<i64> = names.keys().map(|number| number / BLOCK).collect();
    let mut sum = Accounts::new();
    for block in blocks {
        let mut at = from;
        for level in [&DAYS, &HOURS, &MINUTES] {
            if level.minutes > coarsest.minutes {
                continue;
            }
            let end = match level.number {
                0 => to + 1,
                _ => rolled_up_to(connection, level, block)? * level.minutes,
            };
            if end > at {
                add_range(
                    connection,
                    level,
                    block,
                    at.div_euclid(level.minutes),
                    end.div_euclid(level.minutes),
                    &mut sum,
                )?;
                at = end;
            }
        }
    }
    let totals =
        names.into_iter().filter_map(|(number, id)| Some((id, sum.remove(&number)?))).collect();
    Ok((WallTime::from_millis(from * 60_000), totals))
}

/// The unit after the last that was rolled up.
fn rolled_up_to(connection: &Connection, level: &Level, block: i64) -> SqlResult<i64> {
    let mut select = connection.prepare_cached(
        "SELECT coalesce(max(start) + 1, 0) FROM history_block WHERE level = ?1 AND block = ?2",
    )?;
    Ok(select.query_row(params![level.number, block], |row| row.get(0))?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::health::uptime::UptimeReport;
    use base::store::sqlite::Options;

    const START: i64 = 29_000_000;

    fn id(name: &str) -> ServiceId {
        ServiceId::new(name).unwrap()
    }

    fn minute(service: &ServiceId, minute: i64, down_ms: u64) -> ClosedMinute {
        let mut account =
            Account { healthy_ms: 60_000 - down_ms, down_ms, probes: 2, ..Account::default() };
        account.latency.record(Duration::from_millis(3));
        ClosedMinute::new(service.clone(), minute, account)
    }

    fn at(minute: i64) -> WallTime {
        WallTime::from_millis(minute * 60_000)
    }

    async fn percent(history: &SqliteHistory, now: i64, window_minutes: u64) -> (f64, f64) {
        let window = Duration::from_secs(window_minutes * 60);
        let report =
            UptimeReport::new(Some(history), at(now), window, Vec::new(), None).await.unwrap();
        (report.overall.percent.unwrap(), report.overall.coverage)
    }

    #[tokio::test]
    async fn forty_days_of_minutes_roll_up_and_stay_right() {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = Sqlite::open(folder.path().join("history.db"), &Options::new()).unwrap();
        let history = SqliteHistory::new(&sqlite);
        let service = id("api");
        let end = START + 40 * 24 * 60;
        // Each hour it is down for six minutes: 90 %.
        for hour in START / 60..end / 60 {
            let minutes =
                (0..60).map(|m| minute(&service, hour * 60 + m, if m < 6 { 60_000 } else { 0 }));
            history.append(minutes.collect()).await.unwrap();
        }
        let end = end / 60 * 60;
        for window in [24 * 60, 7 * 24 * 60, 30 * 24 * 60, 39 * 24 * 60] {
            let (percent, coverage) = percent(&history, end, window).await;
            assert!((percent - 90.0).abs() < 0.2, "{window}: {percent}");
            assert!(coverage > 0.97 && coverage <= 1.0, "{window}: {coverage}");
        }
        let (hour, coverage) = percent(&history, end, 60).await;
        assert!((hour - 90.0).abs() < 1e-9 && (coverage - 1.0).abs() < 1e-9, "{hour} {coverage}");
        let rows: i64 = sqlite
            .read("test", |connection| {
                Ok(connection.query_row(
                    "SELECT count(*) FROM history_block WHERE level = 0",
                    [],
                    |row| row.get(0),
                )?)
            })
            .await
            .unwrap();
        assert!(rows <= 49 * 60, "old minutes are gone: {rows}");
    }

    #[tokio::test]
    async fn another_process_goes_on_where_the_first_was_killed() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Sqlite::open(folder.path().join("history.db"), &Options::new()).unwrap();
        let (service, first) = (id("api"), SqliteHistory::new(&open()));
        let start = START / 60 * 60;
        first.append((start..start + 50).map(|m| minute(&service, m, 0)).collect()).await.unwrap();
        drop(first);
        // Fifteen minutes nobody watched; the same minute is written by both.
        let second = SqliteHistory::new(&open());
        second.append(vec![minute(&service, start + 49, 0)]).await.unwrap();
        second
            .append((start + 65..start + 120).map(|m| minute(&service, m, 60_000)).collect())
            .await
            .unwrap();
        let window = Duration::from_secs(120 * 60);
        let report = UptimeReport::new(Some(&second), at(start + 120), window, Vec::new(), None)
            .await
            .unwrap();
        let uptime = report.services[0].uptime;
        assert_eq!(
            (uptime.up_ms, uptime.down_ms, uptime.unknown_ms),
            (50 * 60_000, 55 * 60_000, 15 * 60_000)
        );
        // By hours it is the same.
        let window = Duration::from_secs(48 * 3_600);
        let report = UptimeReport::new(Some(&second), at(start + 120), window, Vec::new(), None)
            .await
            .unwrap();
        let uptime = report.services[0].uptime;
        assert_eq!((uptime.up_ms, uptime.down_ms), (50 * 60_000, 55 * 60_000));
    }

    #[tokio::test]
    async fn many_services_share_rows_and_do_not_mix() {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = Sqlite::open(folder.path().join("history.db"), &Options::new()).unwrap();
        let history = SqliteHistory::new(&sqlite);
        let services: Vec<_> =
            (0..200_u64).map(|n| (id(&format!("service-{n:03}")), n * 100)).collect();
        let minutes =
            services.iter().map(|(service, down)| minute(service, START, *down)).collect();
        history.append(minutes).await.unwrap();
        let (_, totals) = history.totals(at(START), at(START + 1)).await.unwrap();
        for (service, down) in services {
            assert_eq!(totals[&service].down_ms, down);
        }
        let rows: i64 = sqlite
            .read("test", |connection| {
                Ok(connection
                    .query_row("SELECT count(*) FROM history_block", [], |row| row.get(0))?)
            })
            .await
            .unwrap();
        assert_eq!(rows, 4);
    }

    #[tokio::test]
    async fn what_has_passed_is_remembered_with_what_was_configured() {
        let folder = tempfile::tempdir().unwrap();
        let history = SqliteHistory::new(
            &Sqlite::open(folder.path().join("history.db"), &Options::new()).unwrap(),
        );
        let passed =
            |fingerprint| PassedCheck::new(id("api"), CheckName::new("http").unwrap(), fingerprint);
        history.remember_passed(vec![passed(1), passed(u64::MAX)]).await.unwrap();
        assert_eq!(history.passed().await.unwrap(), [passed(u64::MAX)]);
    }
}
