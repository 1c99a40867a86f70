//! What these tests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jarvis_core::clock::{Clock, SharedClock, SystemClock};
use jarvis_core::session::{
    MemorySessions, NewSession, RedisSessions, Session, SessionData, SessionId, SessionPolicy,
    SessionStore, SqliteSessions,
};
use jarvis_core::store::redis::{self, Redis};
use jarvis_core::store::sqlite::{self, Sqlite};
use jarvis_core::vocabulary::KeyPrefix;
use tempfile::TempDir;

pub(crate) type Store = Arc<dyn SessionStore>;

pub(crate) fn system() -> SharedClock {
    Arc::new(SystemClock::new())
}

/// The address of a real server that `tests/run` started.
pub(crate) fn address(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set; `tests/run` starts the servers"))
}

/// A prefix that no other test uses.
pub(crate) fn prefix() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("test-sessions-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn memory(policy: SessionPolicy, clock: SharedClock) -> Store {
    Arc::new(MemorySessions::new(policy, clock).expect("a policy"))
}

pub(crate) fn sqlite(folder: &TempDir, policy: SessionPolicy, clock: SharedClock) -> Store {
    let path = folder.path().join("jarvis.db");
    let sqlite = Sqlite::open(path, &sqlite::Options::new()).expect("a file");
    Arc::new(SqliteSessions::new(&sqlite, policy, clock).expect("a policy"))
}

pub(crate) fn redis(url: &str, prefix: &str, policy: SessionPolicy, clock: SharedClock) -> Store {
    let redis = Redis::open(url, &redis::Options::new(), system()).expect("a URL");
    let policy = policy.with_prefix(KeyPrefix::new(prefix).expect("a prefix"));
    Arc::new(RedisSessions::new(&redis, policy, clock).expect("a policy"))
}

pub(crate) fn id(text: &str) -> SessionId {
    SessionId::new(text).expect("an id")
}

pub(crate) fn data(text: &str) -> SessionData {
    SessionData::parse(text).expect("an object")
}

pub(crate) fn new(text: &str) -> NewSession {
    NewSession::new().with_data(data(text))
}

/// The number in `{"n":…}`.
pub(crate) fn number(session: &Session) -> u64 {
    #[derive(serde::Deserialize)]
    struct Counter {
        n: u64,
    }
    session.data.get::<Counter>().expect("a counter").n
}

pub(crate) async fn add_one(store: &Store, id: &SessionId) -> jarvis_core::Result<u64> {
    let mut change = |session: &mut Session| {
        session.data = data(&format!("{{\"n\":{}}}", number(session) + 1));
        Ok(())
    };
    let updated = store.update(id, Duration::from_secs(60), &mut change).await?;
    Ok(number(&updated.expect("the counter is there")))
}

/// How long something took.
pub(crate) async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let clock = SystemClock::new();
    let before = clock.monotonic();
    let output = work.await;
    (output, clock.monotonic().saturating_since(before))
}
