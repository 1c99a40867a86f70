//! [`SqliteSessions`]: a session store in one file, for all processes of a machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::front::{Front, damaged};
use super::record::{
    Draft, Expect, Kept, Listed, Name, Origin, Record, Records, Replaced, Stored, Swapped, Terms,
    Verdict,
};
use super::store::store;
use super::{SessionHandle, SessionId, SessionPolicy};
use base::Result;
use base::clock::{SharedClock, WallTime};
use base::store::sqlite::{Schema, SqlResult, Sqlite, Tables};
use base::vocabulary::UserId;

/// How many expired sessions one write clears away, and how long after the last time. As long as
/// there are more than that, every write does, and so they go faster than they come.
const SWEPT: i64 = 100;
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// `sweep_ms` is when the sweeper looks at a session next, never later than `expires_ms`. A save
/// that prolongs leaves it alone, and so touches no index.
static SCHEMA: Schema = Schema {
    component: "session",
    steps: &["
        CREATE TABLE session (
            handle TEXT PRIMARY KEY,
            user TEXT,
            version INTEGER NOT NULL,
            created_ms INTEGER NOT NULL,
            updated_ms INTEGER NOT NULL,
            expires_ms INTEGER NOT NULL,
            sweep_ms INTEGER NOT NULL,
            ttl_ms INTEGER NOT NULL,
            data BLOB NOT NULL,
            meta BLOB NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX session_sweep ON session (sweep_ms);
        CREATE INDEX session_user ON session (user) WHERE user IS NOT NULL;
    "],
};

/// Sessions in a SQLite file, shared by all processes that open it. Clones share everything.
///
/// Durable: a session is acknowledged when it is on disk; callers that arrive together share one
/// sync. Reading never waits for writing. What expired is cleared away by later writes.
#[derive(Debug, Clone)]
pub struct SqliteSessions(Front<File>);

store!(SqliteSessions, "session.sqlite");

impl SqliteSessions {
    /// The sessions of a file. Its tables are made at the first use.
    ///
    /// # Errors
    /// `ConfigInvalid` for a policy that is invalid; the message names the field.
    pub fn new(sqlite: &Sqlite, policy: SessionPolicy, clock: SharedClock) -> Result<Self> {
        let tables = sqlite.tables(&SCHEMA);
        Front::new(policy, clock, |terms| File {
            tables,
            terms,
            sweep_at: Arc::new(AtomicI64::new(i64::MIN)),
        })
        .map(Self)
    }
}

#[derive(Debug, Clone)]
struct File {
    tables: Tables,
    terms: Terms,
    /// From when on, in wall milliseconds, the next write sweeps.
    sweep_at: Arc<AtomicI64>,
}

fn version(record: &Record) -> i64 {
    i64::try_from(record.version).unwrap_or(i64::MAX)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<WallTime> {
    row.get(column).map(WallTime::from_millis)
}

fn blob<'a>(row: &'a Row<'_>, column: usize) -> SqlResult<&'a [u8]> {
    let blob = row.get_ref(column)?.as_blob();
    blob.map_err(|_| damaged().into())
}

fn user_of(row: &Row<'_>, column: usize) -> SqlResult<Option<UserId>> {
    let text = row.get_ref(column)?.as_str_or_null().map_err(|_| damaged())?;
    Ok(text.map(UserId::new).transpose().map_err(|_| damaged())?)
}

const RECORD: &str = "SELECT user, version, created_ms, updated_ms, expires_ms, ttl_ms, data, meta
     FROM session WHERE handle = ?1 AND expires_ms > ?2";

fn find(
    connection: &Connection,
    handle: &SessionHandle,
    now: WallTime,
) -> SqlResult<Option<Record>> {
    let mut statement = connection.prepare_cached(RECORD)?;
    let mut rows = statement.query(params![handle.as_str(), now.millis()])?;
    rows.next()?.map(record).transpose()
}

fn record(row: &Row<'_>) -> SqlResult<Record> {
    Ok(Record {
        user: user_of(row, 0)?,
        version: row.get::<_, i64>(1)?.unsigned_abs(),
        created_at: time(row, 2)?,
        updated_at: time(row, 3)?,
        expires_at: time(row, 4)?,
        ttl: Duration::from_millis(row.get::<_, i64>(5)?.unsigned_abs()),
        data: Kept::<super::SessionData>::read(blob(row, 6)?)?,
        meta: Kept::<super::SessionMeta>::read(blob(row, 7)?)?,
    })
}

/// What a write must know of the session that it changes.
struct Head {
    stored: Stored,
    same_user: bool,
}

fn head(
    tx: &Transaction<'_>,
    handle: &SessionHandle,
    user: Option<&UserId>,
    now: WallTime,
) -> SqlResult<Option<Head>> {
    let head = tx
        .prepare_cached(
            "SELECT version, created_ms, updated_ms, expires_ms, user IS ?3
             FROM session WHERE handle = ?1 AND expires_ms > ?2",
        )?
        .query_row(params![handle.as_str(), now.millis(), user.map(UserId::as_str)], |row| {
            let stored = Stored {
                version: row.get::<_, i64>(0)?.unsigned_abs(),
                created_at: time(row, 1)?,
                updated_at: time(row, 2)?,
                expires_at: time(row, 3)?,
            };
            Ok(Head { stored, same_user: row.get(4)? })
        })
        .optional()?;
    Ok(head)
}

const LISTED: &str = "SELECT handle, user, version, created_ms, updated_ms, expires_ms, meta
     FROM session WHERE ";

fn listed(row: &Row<'_>) -> SqlResult<Listed> {
    let handle: String = row.get(0)?;
    Ok(Listed {
        handle: SessionHandle::new(handle).map_err(|_| damaged())?,
        user: user_of(row, 1)?,
        version: row.get::<_, i64>(2)?.unsigned_abs(),
        created_at: time(row, 3)?,
        updated_at: time(row, 4)?,
        expires_at: time(row, 5)?,
        meta: Kept::<super::SessionMeta>::read(blob(row, 6)?)?,
    })
}

fn lines(
    connection: &Connection,
    which: &str,
    parameters: &[&dyn rusqlite::ToSql],
) -> SqlResult<Vec<Listed>> {
    let mut statement = connection.prepare_cached(&format!("{LISTED}{which}"))?;
    let mut rows = statement.query(parameters)?;
    let mut lines = Vec::new();
    while let Some(row) = rows.next()? {
        lines.push(listed(row)?);
    }
    Ok(lines)
}

/// Stores a session that was not there, in place of one of its name that expired.
fn insert(tx: &Transaction<'_>, handle: &SessionHandle, record: &Record) -> SqlResult<()> {
    tx.prepare_cached(
        "INSERT OR REPLACE INTO session (handle, user, version, created_ms, updated_ms,
            expires_ms, sweep_ms, ttl_ms, data, meta)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        handle.as_str(),
        record.user.as_ref().map(UserId::as_str),
        version(record),
        record.created_at.millis(),
        record.updated_at.millis(),
        record.expires_at.millis(),
        millis(record.ttl),
        record.data.bytes(),
        record.meta.bytes()?,
    ])?;
    Ok(())
}

/// Stores over one that is there. SQLite writes the index of every column that is named, changed or
/// not, and that is another page of the log.
fn overwrite(
    tx: &Transaction<'_>,
    handle: &SessionHandle,
    before: &Head,
    record: &Record,
) -> SqlResult<()> {
    tx.prepare_cached(
        "UPDATE session SET version = ?2, updated_ms = ?3, expires_ms = ?4, ttl_ms = ?5, data = ?6,
            meta = ?7
         WHERE handle = ?1",
    )?
    .execute(params![
        handle.as_str(),
        version(record),
        record.updated_at.millis(),
        record.expires_at.millis(),
        millis(record.ttl),
        record.data.bytes(),
        record.meta.bytes()?,
    ])?;
    if !before.same_user {
        tx.prepare_cached("UPDATE session SET user = ?2 WHERE handle = ?1")?
            .execute(params![handle.as_str(), record.user.as_ref().map(UserId::as_str)])?;
    }
    sweep_by(tx, handle, before.stored.expires_at, record.expires_at)
}

/// Lets the sweeper look at a session no later than it expires. Sooner is right as well, so that
/// prolonging leaves that alone.
fn sweep_by(
    tx: &Transaction<'_>,
    handle: &SessionHandle,
    before: WallTime,
    expires_at: WallTime,
) -> SqlResult<()> {
    if expires_at < before {
        tx.prepare_cached("UPDATE session SET sweep_ms = MIN(sweep_ms, ?2) WHERE handle = ?1")?
            .execute(params![handle.as_str(), expires_at.millis()])?;
    }
    Ok(())
}

/// Prolongs a session by `ttl`, else by its own; until when it lives then.
fn prolong(
    tx: &Transaction<'_>,
    handle: &SessionHandle,
    ttl: Option<Duration>,
    now: WallTime,
    terms: &Terms,
) -> SqlResult<Option<WallTime>> {
    let found = tx
        .prepare_cached(
            "SELECT ttl_ms, created_ms, expires_ms FROM session
             WHERE handle = ?1 AND expires_ms > ?2",
        )?
        .query_row(params![handle.as_str(), now.millis()], |row| {
            Ok((row.get::<_, i64>(0)?, time(row, 1)?, time(row, 2)?))
        })
        .optional()?;
    let Some((own, created_at, before)) = found else { return Ok(None) };
    let ttl = ttl.unwrap_or(Duration::from_millis(own.unsigned_abs()));
    let expires_at = terms.expiry(now, ttl, created_at);
    tx.prepare_cached("UPDATE session SET expires_ms = ?2 WHERE handle = ?1")?
        .execute(params![handle.as_str(), expires_at.millis()])?;
    sweep_by(tx, handle, before, expires_at)?;
    Ok(Some(expires_at))
}

/// Removes a session, whether it lives or not; was it there and alive?
fn take(tx: &Transaction<'_>, handle: &SessionHandle, now: WallTime) -> SqlResult<bool> {
    let expires: Option<i64> = tx
        .prepare_cached("DELETE FROM session WHERE handle = ?1 RETURNING expires_ms")?
        .query_row([handle.as_str()], |row| row.get(0))
        .optional()?;
    Ok(expires.is_some_and(|expires| now.millis() < expires))
}

impl File {
    /// The time is asked when the write is run: one that waited must not meet a session that
    /// expired meanwhile.
    fn sweep(&self, tx: &Transaction<'_>, now: WallTime) -> SqlResult<()> {
        if now.millis() < self.sweep_at.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut swept = 0;
        for step in [
            // Those that live by now are looked at again when they expire.
            "UPDATE session SET sweep_ms = expires_ms WHERE expires_ms > ?1 AND handle IN
                (SELECT handle FROM session WHERE sweep_ms <= ?1 LIMIT ?2)",
            "DELETE FROM session WHERE expires_ms <= ?1 AND handle IN
                (SELECT handle FROM session WHERE sweep_ms <= ?1 LIMIT ?2)",
        ] {
            swept += tx.prepare_cached(step)?.execute([now.millis(), SWEPT])?;
        }
        let more = i64::try_from(swept).unwrap_or(SWEPT) >= SWEPT;
        let next = if more { now } else { now + SWEEP_EVERY };
        self.sweep_at.store(next.millis(), Ordering::Relaxed);
        Ok(())
    }

    async fn write<T, F>(&self, operation: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>, WallTime, &Terms) -> SqlResult<T> + Send + 'static,
    {
        let file = self.clone();
        self.tables
            .write(operation, move |tx| {
                let now = file.terms.now();
                let done = work(tx, now, &file.terms)?;
                file.sweep(tx, now)?;
                Ok(done)
            })
            .await
    }
}

impl Records for File {
    const AT_REST: bool = true;

    async fn swap(&self, id: &SessionId, expect: Expect, draft: Draft) -> Result<Swapped> {
        let handle = id.handle(self.terms.hash_ids);
        self.write("session.sqlite.swap", move |tx, now, terms| {
            let before = head(tx, &handle, draft.user.as_ref(), now)?;
            let stored = before.as_ref().map(|before| before.stored);
            match expect.judge(stored.map(|stored| stored.version)) {
                Verdict::Store => {
                    let record = Record::over(stored, draft, now, terms);
                    match before {
                        Some(before) => overwrite(tx, &handle, &before, &record)?,
                        None => insert(tx, &handle, &record)?,
                    }
                    Ok(Swapped::Stored(record.stored()))
                }
                Verdict::Conflict => {
                    let current = find(tx, &handle, now)?;
                    Ok(current.map_or(Swapped::Missing, |it| Swapped::Conflict(Box::new(it))))
                }
                Verdict::Missing => Ok(Swapped::Missing),
            }
        })
        .await
    }

    async fn load(&self, id: &SessionId) -> Result<Option<Record>> {
        let handle = id.handle(self.terms.hash_ids);
        let now = self.terms.now();
        self.tables
            .look_up("session.sqlite.load", move |connection| find(connection, &handle, now))
            .await
    }

    async fn remove(&self, name: Name<'_>) -> Result<bool> {
        let handle = self.terms.handle(name);
        self.write("session.sqlite.remove", move |tx, now, _| take(tx, &handle, now)).await
    }

    async fn extend(&self, name: Name<'_>, ttl: Option<Duration>) -> Result<Option<WallTime>> {
        let handle = self.terms.handle(name);
        self.write("session.sqlite.extend", move |tx, now, terms| {
            prolong(tx, &handle, ttl, now, terms)
        })
        .await
    }

    async fn load_and_extend(
        &self,
        id: &SessionId,
        ttl: Option<Duration>,
    ) -> Result<Option<Record>> {
        let handle = id.handle(self.terms.hash_ids);
        self.write("session.sqlite.load_and_extend", move |tx, now, terms| {
            match prolong(tx, &handle, ttl, now, terms)? {
                Some(_) => find(tx, &handle, now),
                None => Ok(None),
            }
        })
        .await
    }

    async fn replace(
        &self,
        old: &SessionId,
        origin: Origin,
        new: &SessionId,
        draft: Draft,
    ) -> Result<Replaced> {
        let hash_ids = self.terms.hash_ids;
        let (old, new) = (old.handle(hash_ids), new.handle(hash_ids));
        self.write("session.sqlite.replace", move |tx, now, terms| {
            let before = head(tx, &old, None, now)?.map(|before| before.stored);
            match before.map(|before| before.version) {
                None => return Ok(Replaced::Missing),
                Some(version) if version != origin.version => return Ok(Replaced::Changed),
                Some(_) => {}
            }
            let record = Record::over(before, draft, now, terms);
            insert(tx, &new, &record)?;
            take(tx, &old, now)?;
            Ok(Replaced::Stored(record.stored()))
        })
        .await
    }

    async fn list(&self, user: &UserId) -> Result<Vec<Listed>> {
        let (user, now) = (user.clone(), self.terms.now().millis());
        self.tables
            .read("session.sqlite.list", move |connection| {
                lines(connection, "user = ?1 AND expires_ms > ?2", &[&user.as_str(), &now])
            })
            .await
    }

    async fn clear(&self, user: &UserId, except: Option<SessionHandle>) -> Result<u64> {
        let user = user.clone();
        self.write("session.sqlite.clear", move |tx, now, _| {
            let except = except.as_ref().map_or("", SessionHandle::as_str);
            let cleared = tx
                .prepare_cached(
                    "DELETE FROM session WHERE user = ?1 AND handle <> ?2 AND expires_ms > ?3",
                )?
                .execute(params![user.as_str(), except, now.millis()])?;
            Ok(u64::try_from(cleared).unwrap_or(u64::MAX))
        })
        .await
    }

    async fn count(&self) -> Result<u64> {
        let now = self.terms.now().millis();
        self.tables
            .read("session.sqlite.count", move |connection| {
                let count: i64 = connection
                    .prepare_cached(
                        "SELECT (SELECT COUNT(*) FROM session)
                            - (SELECT COUNT(*) FROM session
                                WHERE sweep_ms <= ?1 AND expires_ms <= ?1)",
                    )?
                    .query_row([now], |row| row.get(0))?;
                Ok(count.unsigned_abs())
            })
            .await
    }

    /// The cursor is the last handle of the page.
    async fn page(
        &self,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Listed>, Option<String>)> {
        let after = cursor.map(SessionHandle::new).transpose()?;
        let after = after.map_or_else(String::new, |after| after.as_str().to_owned());
        let (now, rows) = (self.terms.now().millis(), i64::try_from(limit).unwrap_or(i64::MAX));
        let which = "handle > ?1 AND expires_ms > ?2 ORDER BY handle LIMIT ?3";
        let page = self
            .tables
            .read("session.sqlite.scan", move |connection| {
                lines(connection, which, &[&after, &now, &rows])
            })
            .await?;
        let next = page.last().filter(|_| page.len() >= limit);
        let next = next.map(|last| last.handle.as_str().to_owned());
        Ok((page, next))
    }
}

#[cfg(test)]
mod tests;
