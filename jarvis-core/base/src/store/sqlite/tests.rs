use std::sync::mpsc;

use futures_util::FutureExt;
use futures_util::future::join;
use tempfile::TempDir;

use super::*;

static NOTES: Schema = Schema { component: "notes", steps: &["CREATE TABLE note (text TEXT)"] };
static NOTES_2: Schema = Schema {
    component: "notes",
    steps: &["CREATE TABLE note (text TEXT)", "ALTER TABLE note ADD COLUMN author TEXT"],
};

fn open() -> (TempDir, Sqlite) {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = Sqlite::open(folder.path().join("deep/state/x.db"), &Options::new()).unwrap();
    (folder, sqlite)
}

fn note(tx: &Transaction<'_>, text: &str) -> SqlResult<()> {
    tx.execute("INSERT INTO note (text) VALUES (?1)", [text])?;
    Ok(())
}

async fn notes(sqlite: &Sqlite) -> Vec<String> {
    let all = |connection: &Connection| {
        let mut statement = connection.prepare("SELECT text FROM note ORDER BY rowid")?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<rusqlite::Result<Vec<String>>>()?)
    };
    sqlite.read("test", all).await.unwrap()
}

/// Keeps the writer busy until the returned sender is used, so that what comes next shares a
/// commit.
async fn held(sqlite: &Sqlite) -> (mpsc::Sender<()>, impl Future<Output = Result<()>>) {
    let (go, wait) = mpsc::channel::<()>();
    let (started, running) = oneshot::channel();
    let handle = sqlite.clone();
    let mut first = Box::pin(async move {
        let work = move |_: &Transaction<'_>| {
            let _ = started.send(());
            let _ = wait.recv();
            Ok(())
        };
        handle.write("test.first", work).await
    });
    assert!(first.as_mut().now_or_never().is_none());
    running.await.unwrap();
    (go, first)
}

#[tokio::test]
async fn a_failure_or_a_panic_in_a_commit_undoes_only_itself() {
    let (_folder, sqlite) = open();
    sqlite.migrate(&NOTES).await.unwrap();
    let (go, first) = held(&sqlite).await;
    let refuse = |tx: &Transaction<'_>| -> SqlResult<()> {
        note(tx, "refused")?;
        Err(Error::new(ErrorKind::Conflict, "no").into())
    };
    let break_down = |tx: &Transaction<'_>| -> SqlResult<()> {
        note(tx, "panicked")?;
        panic!("on purpose")
    };
    let mut one = Box::pin(sqlite.write("test.one", |tx| note(tx, "one")));
    let mut refused = Box::pin(sqlite.write("test.refused", refuse));
    let mut panicked = Box::pin(sqlite.write("test.panicked", break_down));
    let mut two = Box::pin(sqlite.write("test.two", |tx| note(tx, "two")));
    assert!(one.as_mut().now_or_never().is_none());
    assert!(refused.as_mut().now_or_never().is_none());
    assert!(panicked.as_mut().now_or_never().is_none());
    assert!(two.as_mut().now_or_never().is_none());
    go.send(()).unwrap();
    first.await.unwrap();
    let (one, two) = join(one, two).await;
    one.and(two).unwrap();
    let error = refused.await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Conflict, Some("test.refused")));
    assert_eq!(panicked.await.unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(notes(&sqlite).await, ["one", "two"]);
    sqlite.write("test", |tx| note(tx, "the writer lives")).await.unwrap();
}

#[tokio::test]
async fn a_caller_that_goes_away_is_still_served() {
    let (_folder, sqlite) = open();
    sqlite.migrate(&NOTES).await.unwrap();
    let (go, first) = held(&sqlite).await;
    assert!(sqlite.write("test", |tx| note(tx, "gone")).now_or_never().is_none());
    go.send(()).unwrap();
    first.await.unwrap();
    sqlite.write("test", |tx| note(tx, "stayed")).await.unwrap();
    assert_eq!(notes(&sqlite).await, ["gone", "stayed"]);
}

#[tokio::test]
async fn a_reader_can_not_write() {
    let (_folder, sqlite) = open();
    sqlite.migrate(&NOTES).await.unwrap();
    let write = |connection: &Connection| {
        connection.execute("INSERT INTO note (text) VALUES ('x')", [])?;
        Ok(())
    };
    assert_eq!(sqlite.read("test", write).await.unwrap_err().kind(), ErrorKind::Forbidden);
    let panics = |_: &Connection| -> SqlResult<()> { panic!("on purpose") };
    assert_eq!(sqlite.read("test", panics).await.unwrap_err().kind(), ErrorKind::Internal);
    assert!(notes(&sqlite).await.is_empty());
}

#[tokio::test]
async fn schemas_grow_step_by_step_and_a_newer_one_is_refused() {
    let (_folder, sqlite) = open();
    sqlite.migrate(&NOTES).await.unwrap();
    sqlite.write("test", |tx| note(tx, "kept")).await.unwrap();
    sqlite.migrate(&NOTES_2).await.unwrap();
    sqlite.migrate(&NOTES_2).await.unwrap();
    assert_eq!(notes(&sqlite).await, ["kept"]);
    let error = sqlite.migrate(&NOTES).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(
        error.message().contains("\"notes\" have version 2, but this program supports version 1"),
        "{error}"
    );
}

#[test]
fn a_file_has_one_writer_in_a_process() {
    let (folder, sqlite) = open();
    let again = Sqlite::open(folder.path().join("deep/../deep/state/x.db"), &Options::new());
    assert!(Arc::ptr_eq(&sqlite.shared, &again.unwrap().shared));
    let missing = Sqlite::open(folder.path().join("y.db"), &Options::new().existing());
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!folder.path().join("y.db").exists());
}

#[tokio::test]
async fn look_ups_that_wait_together_see_what_was_committed_before_each() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::new().with_readers(1);
    let sqlite = Sqlite::open(folder.path().join("x.db"), &options).unwrap();
    let tables = sqlite.tables(&NOTES);
    tables.write("test", |tx| note(tx, "one")).await.unwrap();
    // Keeps the only reader busy, so that what comes next waits together.
    let (go, wait) = mpsc::channel::<()>();
    let (started, running) = oneshot::channel();
    let mut first = Box::pin(sqlite.read("test.first", move |_| {
        let _ = started.send(());
        let _ = wait.recv();
        Ok(())
    }));
    assert!(first.as_mut().now_or_never().is_none());
    running.await.unwrap();
    let count = |connection: &Connection| {
        let count: i64 = connection.query_row("SELECT COUNT(*) FROM note", [], |row| row.get(0))?;
        Ok(count)
    };
    let panics = |_: &Connection| -> SqlResult<i64> { panic!("on purpose") };
    let mut before = Box::pin(tables.look_up("test.before", count));
    let mut broken = Box::pin(tables.look_up("test.broken", panics));
    assert!(before.as_mut().now_or_never().is_none());
    assert!(broken.as_mut().now_or_never().is_none());
    tables.write("test", |tx| note(tx, "two")).await.unwrap();
    let mut after = Box::pin(tables.look_up("test.after", count));
    assert!(after.as_mut().now_or_never().is_none());
    go.send(()).unwrap();
    first.await.unwrap();
    assert_eq!(after.await.unwrap(), 2);
    assert_eq!(before.await.unwrap(), 2, "the snapshot is taken when the read is run");
    assert_eq!(broken.await.unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(tables.look_up("test", count).await.unwrap(), 2, "the reader lives");
}
