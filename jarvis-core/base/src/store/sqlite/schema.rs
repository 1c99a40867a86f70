//! Migrations: each component of a file has its own version.

use rusqlite::{OptionalExtension, Transaction, params};

use super::SqlResult;
use crate::{Error, ErrorKind};

/// The tables of one component, as the steps that led to them. Step `n` leads to version `n + 1`;
/// a step that was released is never changed, a change is a new step.
#[derive(Debug)]
pub struct Schema {
    /// Names the component in the file, such as `lease`.
    pub component: &'static str,
    /// SQL scripts.
    pub steps: &'static [&'static str],
}

pub(super) const TABLE: &str = "CREATE TABLE IF NOT EXISTS jarvis_schema (
    component TEXT PRIMARY KEY,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID";

impl Schema {
    /// Runs the missing steps. The caller's transaction holds the write lock, so of several
    /// processes one migrates and the others find it done.
    pub(super) fn apply(&self, tx: &Transaction<'_>) -> SqlResult<()> {
        let known = self.steps.len();
        let found: Option<i64> = tx
            .query_row(
                "SELECT version FROM jarvis_schema WHERE component = ?1",
                [self.component],
                |row| row.get(0),
            )
            .optional()?;
        let at = usize::try_from(found.unwrap_or(0)).unwrap_or(usize::MAX);
        if at > known {
            return Err(self.too_new(at).into());
        }
        for step in self.steps.iter().skip(at) {
            tx.execute_batch(step)?;
        }
        if at < known {
            tx.execute(
                "INSERT INTO jarvis_schema (component, version) VALUES (?1, ?2)
                 ON CONFLICT (component) DO UPDATE SET version = excluded.version",
                params![self.component, i64::try_from(known).unwrap_or(i64::MAX)],
            )?;
        }
        Ok(())
    }

    fn too_new(&self, found: usize) -> Error {
        Error::new(
            ErrorKind::Corrupt,
            format!(
                "the tables of {:?} have version {found}, but this program supports version {}; use the newer program that wrote them",
                self.component,
                self.steps.len()
            ),
        )
        .with_context("component", self.component)
    }
}
