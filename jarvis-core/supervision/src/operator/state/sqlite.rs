//! The state in `operator.db`.

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Transaction, params};

use super::{Journal, Loaded, fenced};
use crate::operator::machine::input::Commit;
use base::store::sqlite::{Schema, SqlResult, Sqlite, Tables};
use base::vocabulary::{FencingToken, ServiceId};
use base::{Error, ErrorKind, Result};

static SCHEMA: Schema = Schema {
    component: "operator",
    steps: &["CREATE TABLE operator_state (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        token INTEGER NOT NULL,
        globals TEXT
    ) STRICT;
    INSERT INTO operator_state (only, token) VALUES (1, 0);
    CREATE TABLE operator_service (
        service TEXT PRIMARY KEY,
        record TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE operator_event (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        event TEXT NOT NULL
    ) STRICT"],
};

#[derive(Debug)]
pub(super) struct SqliteJournal(Tables);

impl SqliteJournal {
    pub(super) fn new(sqlite: &Sqlite) -> Self {
        Self(sqlite.tables(&SCHEMA))
    }
}

fn fence(tx: &Transaction<'_>, token: FencingToken) -> SqlResult<()> {
    let highest: i64 =
        tx.query_row("SELECT token FROM operator_state WHERE only = 1", [], |row| row.get(0))?;
    let highest = FencingToken::new(highest.cast_unsigned());
    if token < highest {
        return Err(fenced(highest, token).into());
    }
    if token > highest {
        tx.prepare_cached("UPDATE operator_state SET token = ?1 WHERE only = 1")?
            .execute([token.number().cast_signed()])?;
    }
    Ok(())
}

fn json(value: &impl serde::Serialize) -> SqlResult<String> {
    let explain = |error: serde_json::Error| {
        Error::new(ErrorKind::Internal, "failed to serialize the operator's state as JSON")
            .with_source(error)
    };
    Ok(serde_json::to_string(value).map_err(explain)?)
}

fn read(tx: &Transaction<'_>) -> SqlResult<Loaded> {
    let mut loaded = Loaded::default();
    let globals: Option<String> = tx
        .query_row("SELECT globals FROM operator_state WHERE only = 1", [], |row| row.get(0))
        .optional()?
        .flatten();
    if let Some(text) = globals {
        match serde_json::from_str(&text) {
            Ok(globals) => loaded.saved.globals = globals,
            Err(error) => loaded.damaged.push(format!("the pause and the open windows: {error}")),
        }
    }
    let mut statement = tx.prepare("SELECT service, record FROM operator_service")?;
    let rows =
        statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    for row in rows {
        let (name, text) = row?;
        let record = serde_json::from_str(&text);
        match (ServiceId::new(&name), record) {
            (Ok(id), Ok(record)) => drop(loaded.saved.records.insert(id, record)),
            (_, Err(error)) => loaded.damaged.push(format!("service {name}: {error}")),
            (Err(error), _) => loaded.damaged.push(error.to_string()),
        }
    }
    let mut statement = tx.prepare("SELECT id, event FROM operator_event ORDER BY id")?;
    let rows =
        statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
    for row in rows {
        let (id, text) = row?;
        match serde_json::from_str(&text) {
            Ok(event) => loaded.unannounced.push((id, event)),
            Err(error) => loaded.damaged.push(format!("event {id}: {error}")),
        }
    }
    Ok(loaded)
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn load(&self, token: FencingToken) -> Result<Loaded> {
        let work = move |tx: &Transaction<'_>| {
            fence(tx, token)?;
            read(tx)
        };
        self.0.write("operator.load", work).await
    }

    async fn commit(&self, token: FencingToken, commit: Commit) -> Result<Vec<i64>> {
        let work = move |tx: &Transaction<'_>| {
            fence(tx, token)?;
            if let Some(globals) = &commit.globals {
                tx.prepare_cached("UPDATE operator_state SET globals = ?1 WHERE only = 1")?
                    .execute([json(globals)?])?;
            }
            for (service, record) in &commit.records {
                match record {
                    Some(record) => tx
                        .prepare_cached(
                            "INSERT OR REPLACE INTO operator_service (service, record) VALUES (?1, ?2)",
                        )?
                        .execute(params![service.as_str(), json(record)?])?,
                    None => tx
                        .prepare_cached("DELETE FROM operator_service WHERE service = ?1")?
                        .execute([service.as_str()])?,
                };
            }
            let mut ids = Vec::with_capacity(commit.events.len());
            for event in &commit.events {
                tx.prepare_cached("INSERT INTO operator_event (event) VALUES (?1)")?
                    .execute([json(event)?])?;
                ids.push(tx.last_insert_rowid());
            }
            Ok(ids)
        };
        self.0.write("operator.commit", work).await
    }

    async fn announced(&self, up_to: i64) -> Result<()> {
        let work = move |tx: &Transaction<'_>| {
            tx.prepare_cached("DELETE FROM operator_event WHERE id <= ?1")?.execute([up_to])?;
            Ok(())
        };
        self.0.write("operator.announced", work).await
    }
}
