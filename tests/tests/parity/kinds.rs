//! `errors.json` is the table of [`ErrorKind`].

use jarvis_core::{Error, ErrorKind};
use libtest_mimic::Failed;
use serde::Deserialize;

#[derive(Deserialize)]
struct Table {
    kinds: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    kind: ErrorKind,
    code: String,
    retryable: bool,
}

pub(crate) fn compare(text: &str) -> Result<(), Failed> {
    let table: Table = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let listed: Vec<ErrorKind> = table.kinds.iter().map(|row| row.kind).collect();
    if listed != ErrorKind::ALL {
        return Err(format!("listed {listed:?}, there are {:?}", ErrorKind::ALL).into());
    }
    for row in &table.kinds {
        let error = Error::new(row.kind, "for the test");
        if (error.code(), error.is_retryable()) != (&row.code, row.retryable) {
            return Err(format!("{:?} is {} here", row.kind, error.code()).into());
        }
    }
    Ok(())
}
