//! No id and no data in any log line, error or `Debug`.

use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jarvis_core::Secret;
use jarvis_core::session::{NewSession, Save, SessionMeta, SessionPolicy};
use jarvis_core::vocabulary::UserId;
use jarvis_tests::engines::RedisServer;
use tracing_subscriber::fmt::MakeWriter;

use crate::stage::{self, Store, data, id, system};

const ID: &str = "sid-4711-of-the-visitor";
const DATA: &str = "hunter2";
const KEY: &str = "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1";

#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Everything that a visitor can bring about, and what of it shows in `Debug`.
async fn everything(store: &Store, said: &mut String) {
    let ada = UserId::new("ada").expect("a user");
    let secret = format!("{{\"k\":\"{DATA}\"}}");
    let large = data(&format!("{{\"k\":\"{DATA}{}\"}}", "x".repeat(70_000)));
    let new = || {
        let meta = SessionMeta::new().with_user_agent("Firefox");
        NewSession::new().with_id(id(ID)).with_user(ada.clone()).with_meta(meta)
    };
    let made = store.create(new().with_data(data(&secret))).await;
    let _ = write!(said, "{store:?} {made:?}");
    let _ = write!(said, "{:?}", store.create(new().with_data(large.clone())).await);
    let _ = write!(said, "{:?}", store.load(&id(ID)).await);
    if let Ok(session) = made {
        let mut warned = session.clone();
        warned.data = large;
        let _ = write!(said, "{:?}", store.save(Save::new(warned.clone())).await);
        let _ = write!(said, "{:?}", store.save(Save::new(warned)).await);
        let _ = write!(said, "{:?}", store.save_many(vec![Save::forced(session)]).await);
    }
    let change =
        &mut |session: &mut jarvis_core::session::Session| session.data.get::<Vec<u8>>().map(drop);
    let _ = write!(said, "{:?}", store.update(&id(ID), Duration::from_secs(1), change).await);
    let _ = write!(said, "{:?}", store.list(&ada).await);
    let _ = write!(said, "{:?}", store.scan(Some(ID), 10).await);
    let _ = write!(said, "{:?}", store.extend(&id(ID).into(), Some(Duration::ZERO)).await);
    let _ = write!(said, "{:?}", store.load_and_extend(&id(ID), None).await);
    let _ = write!(said, "{:?}", store.regenerate(&id(ID), None).await);
    let _ = write!(said, "{:?}", store.delete(&id(ID).into()).await);
    let _ = write!(said, "{:?}", store.clear(&ada, None).await);
}

#[tokio::test]
async fn no_id_and_no_data_in_any_log_error_or_debug() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(lines.clone())
        .finish();
    let _guard = tracing_subscriber::util::SubscriberInitExt::set_default(subscriber);
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = RedisServer::with_port(&[]).await;
    let url = format!("redis://127.0.0.1:{}", server.port());
    let mut said = String::new();
    let plain = SessionPolicy::default().with_plain_ids();
    let sealed = SessionPolicy::default().with_encryption_keys([Secret::new(KEY.to_owned())]);
    let _ = write!(said, "{plain:?} {sealed:?}");
    let _ = write!(said, "{}", serde_json::to_string(&sealed).expect("JSON"));
    for (at, policy) in [plain, SessionPolicy::default(), sealed].into_iter().enumerate() {
        let prefix = format!("secrecy-{at}");
        let below = tempfile::tempdir_in(&folder).expect("a folder");
        let stores = [
            stage::memory(policy.clone(), system()),
            stage::sqlite(&below, policy.clone(), system()),
            stage::redis(&url, &prefix, policy, system()),
        ];
        for store in &stores {
            everything(store, &mut said).await;
        }
    }
    server.crash();
    let down = stage::redis(&url, "down", SessionPolicy::default().with_plain_ids(), system());
    everything(&down, &mut said).await;
    let logged = lines.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let logged = String::from_utf8_lossy(&logged).into_owned();
    assert!(logged.contains("a session is large"), "something was logged: {logged}");
    assert!(said.contains("ERR_JARVIS_UNAVAILABLE") && said.contains("ERR_JARVIS_CONFLICT"));
    for secret in [ID, "4711", DATA, KEY] {
        assert!(!said.contains(secret), "{secret} in {said}");
        assert!(!logged.contains(secret), "{secret} in {logged}");
    }
}
