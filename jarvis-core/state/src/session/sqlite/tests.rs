use std::path::Path;

use super::*;
use crate::session::{NewSession, Save, Session, SessionData, SessionMeta, SessionStore};
use base::clock::ManualClock;
use base::secret::Secret;
use base::store::sqlite::Options;

struct Stage {
    folder: tempfile::TempDir,
    clock: ManualClock,
}

impl Stage {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), clock: ManualClock::new() }
    }

    fn open(&self, policy: SessionPolicy) -> SqliteSessions {
        let sqlite = Sqlite::open(self.folder.path().join("jarvis.db"), &Options::new()).unwrap();
        SqliteSessions::new(&sqlite, policy, Arc::new(self.clock.clone())).unwrap()
    }

    fn rows(&self) -> i64 {
        let file = Connection::open(self.folder.path().join("jarvis.db")).unwrap();
        file.query_row("SELECT COUNT(*) FROM session", [], |row| row.get(0)).unwrap()
    }

    /// All that is on disk.
    fn bytes(&self) -> Vec<u8> {
        let read = |path: &Path| std::fs::read(path).unwrap_or_default();
        ["jarvis.db", "jarvis.db-wal"]
            .iter()
            .flat_map(|name| read(&self.folder.path().join(name)))
            .collect()
    }

    fn on_disk(&self, text: &str) -> bool {
        self.bytes().windows(text.len()).any(|window| window == text.as_bytes())
    }
}

fn secret() -> NewSession {
    NewSession::new()
        .with_id(SessionId::new("sid-of-the-visitor").unwrap())
        .with_user(UserId::new("ada").unwrap())
        .with_data(SessionData::parse(r#"{"k":"hunter2"}"#).unwrap())
        .with_meta(SessionMeta::new().with_user_agent("Netscape Navigator"))
}

#[tokio::test]
async fn ids_reach_the_disk_as_hashes_only() {
    let stage = Stage::new();
    stage.open(SessionPolicy::default()).create(secret()).await.unwrap();
    assert!(!stage.on_disk("sid-of-the-visitor"));
    assert!(stage.on_disk("hunter2") && stage.on_disk("Netscape"), "data is not encrypted");
    let plain = Stage::new();
    plain.open(SessionPolicy::default().with_plain_ids()).create(secret()).await.unwrap();
    assert!(plain.on_disk("sid-of-the-visitor"));
}

#[tokio::test]
async fn with_a_key_data_and_meta_are_unreadable_and_the_user_is_not() {
    let stage = Stage::new();
    let policy = SessionPolicy::default().with_encryption_keys([Secret::new("a1".repeat(32))]);
    let made = stage.open(policy.clone()).create(secret()).await.unwrap();
    assert!(!stage.on_disk("hunter2") && !stage.on_disk("Netscape"));
    assert!(stage.on_disk("ada"));
    assert_eq!(stage.open(policy).load(&made.id).await.unwrap(), Some(made.clone()));
    let without = stage.open(SessionPolicy::default()).load(&made.id).await.unwrap_err();
    assert_eq!(without.kind(), base::ErrorKind::Corrupt);
    assert!(without.message().contains("encryption_keys"), "{without}");
}

#[tokio::test]
async fn sessions_from_before_the_first_key_are_read_and_sealed_by_the_next_save() {
    let stage = Stage::new();
    let made = stage.open(SessionPolicy::default()).create(secret()).await.unwrap();
    let policy = SessionPolicy::default().with_encryption_keys([Secret::new("a1".repeat(32))]);
    let store = stage.open(policy);
    assert_eq!(store.load(&made.id).await.unwrap().unwrap().data, made.data);
    store.update(&made.id, Duration::from_secs(5), &mut |_| Ok(())).await.unwrap().unwrap();
    let file = Connection::open(stage.folder.path().join("jarvis.db")).unwrap();
    let data: Vec<u8> = file.query_row("SELECT data FROM session", [], |row| row.get(0)).unwrap();
    assert_eq!(data[0], 1);
}

#[tokio::test]
async fn what_expired_is_swept_by_later_writes() {
    let stage = Stage::new();
    let store = stage.open(SessionPolicy::default());
    let saves = (0..1_000).map(|_| store.create(NewSession::new()));
    futures_util::future::try_join_all(saves).await.unwrap();
    stage.clock.advance(Duration::from_secs(3_600));
    for _ in 0..12 {
        store.create(NewSession::new()).await.unwrap();
    }
    assert_eq!(stage.rows(), 12);
    assert_eq!(store.count(None).await.unwrap(), 12);
}

#[tokio::test]
async fn the_sweeper_comes_by_no_later_than_a_session_expires_however_that_moved() {
    let stage = Stage::new();
    let store = stage.open(SessionPolicy::default());
    let file = Connection::open(stage.folder.path().join("jarvis.db")).unwrap();
    let new = || store.create(NewSession::new());
    let (saved, short, shorter, left) =
        (new().await.unwrap(), new().await.unwrap(), new().await.unwrap(), new().await.unwrap());
    stage.clock.advance(Duration::from_secs(1_800));
    let minute = Some(Duration::from_secs(60));
    store.save(Save::new(saved.clone())).await.unwrap();
    store.extend(&short.id.into(), minute).await.unwrap();
    let ttl = Duration::from_secs(30);
    store.save(Save::new(Session { ttl, ..shorter })).await.unwrap();
    let late = || -> i64 {
        let late = "SELECT COUNT(*) FROM session WHERE sweep_ms > expires_ms";
        file.query_row(late, [], |row| row.get(0)).unwrap()
    };
    assert_eq!((late(), stage.rows()), (0, 4));
    // At each of these times one of the four expires, and a new one comes.
    for seconds in [30, 30, 1_740, 1_800] {
        stage.clock.advance(Duration::from_secs(seconds));
        assert_eq!(store.count(None).await.unwrap(), 3, "after {seconds} s");
        new().await.unwrap();
        assert_eq!((late(), stage.rows()), (0, 4), "after {seconds} s");
        assert_eq!(store.count(None).await.unwrap(), 4);
    }
    assert_eq!(store.load(&left.id).await.unwrap(), None);
    assert_eq!(store.load(&saved.id).await.unwrap(), None);
}

#[tokio::test]
async fn a_row_that_something_else_changed_is_told_without_what_is_in_it() {
    let stage = Stage::new();
    let store = stage.open(SessionPolicy::default());
    let made = store.create(secret()).await.unwrap();
    let file = Connection::open(stage.folder.path().join("jarvis.db")).unwrap();
    file.execute("UPDATE session SET data = x'FFFE68756e74657232'", []).unwrap();
    let error = store.load(&made.id).await.unwrap_err();
    assert_eq!(error.kind(), base::ErrorKind::Corrupt);
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    assert!(store.delete(&made.id.into()).await.unwrap(), "it can still be deleted");
}
