//! [`SqliteJournal`].

use async_trait::async_trait;
use rusqlite::params;
use tokio::sync::OnceCell;

use super::{AlertJournal, Row};
use base::Result;
use base::store::sqlite::{Schema, Sqlite};

const SCHEMA: Schema = Schema {
    component: "alert",
    steps: &["CREATE TABLE alert_state (
        kind TEXT NOT NULL,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (kind, key)
    ) STRICT, WITHOUT ROWID"],
};

/// Keeps rows in the table `alert_state` of a SQLite file.
#[derive(Debug)]
pub struct SqliteJournal {
    sqlite: Sqlite,
    migrated: OnceCell<()>,
}

impl SqliteJournal {
    /// In this file, usually `operator.db`. Nothing is touched before it is needed.
    #[must_use]
    pub fn new(sqlite: Sqlite) -> Self {
        Self { sqlite, migrated: OnceCell::new() }
    }

    async fn migrate(&self) -> Result<()> {
        self.migrated.get_or_try_init(|| self.sqlite.migrate(&SCHEMA)).await.copied()
    }
}

#[async_trait]
impl AlertJournal for SqliteJournal {
    async fn load(&self) -> Result<Vec<Row>> {
        self.migrate().await?;
        self.sqlite
            .read("alert.journal.load", |connection| {
                let mut statement =
                    connection.prepare("SELECT kind, key, value FROM alert_state")?;
                let rows = statement.query_map([], |row| {
                    Ok(Row { kind: row.get(0)?, key: row.get(1)?, value: row.get(2)? })
                })?;
                Ok(rows.collect::<rusqlite::Result<Vec<Row>>>()?)
            })
            .await
    }

    async fn commit(&self, rows: Vec<Row>) -> Result<()> {
        self.migrate().await?;
        self.sqlite
            .write("alert.journal.commit", move |tx| {
                let mut put = tx.prepare_cached(
                    "INSERT INTO alert_state (kind, key, value) VALUES (?1, ?2, ?3)
                     ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value",
                )?;
                let mut remove =
                    tx.prepare_cached("DELETE FROM alert_state WHERE kind = ?1 AND key = ?2")?;
                for row in rows {
                    match row.value {
                        Some(value) => put.execute(params![row.kind, row.key, value])?,
                        None => remove.execute(params![row.kind, row.key])?,
                    };
                }
                Ok(())
            })
            .await
    }
}
