//! [`Rows`]: the barest backend there is, for tests and benches of the store itself.

use rusqlite::Connection;

use base::Result;
use base::store::sqlite::{Schema, Sqlite, Tables};

static SCHEMA: Schema = Schema {
    component: "testkit_rows",
    steps: &["CREATE TABLE testkit_rows (id INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT"],
};

/// A table of texts that only grows.
#[derive(Debug, Clone)]
pub struct Rows {
    tables: Tables,
}

impl Rows {
    /// The rows of this file.
    #[must_use]
    pub fn new(sqlite: &Sqlite) -> Self {
        Self { tables: sqlite.tables(&SCHEMA) }
    }

    /// Adds a row, and answers with its number when it is on disk.
    ///
    /// # Errors
    /// The store's.
    pub async fn append(&self, body: impl Into<String> + Send) -> Result<i64> {
        let body = body.into();
        let write = move |tx: &rusqlite::Transaction<'_>| {
            tx.prepare_cached("INSERT INTO testkit_rows (body) VALUES (?1)")?.execute([body])?;
            Ok(tx.last_insert_rowid())
        };
        self.tables.write("testkit.rows.append", write).await
    }

    /// Every row, in the order they were added.
    ///
    /// # Errors
    /// The store's.
    pub async fn all(&self) -> Result<Vec<String>> {
        let read = |connection: &Connection| {
            let mut statement = connection.prepare("SELECT body FROM testkit_rows ORDER BY id")?;
            let bodies = statement.query_map([], |row| row.get(0))?;
            Ok(bodies.collect::<rusqlite::Result<Vec<String>>>()?)
        };
        self.tables.read("testkit.rows.all", read).await
    }
}
