//! What lies in Redis: keys that share a slot and expire, and an index that is put right.

use std::time::Duration;

use jarvis_core::session::{NewSession, Save, SaveOutcome, SessionPolicy};
use jarvis_core::vocabulary::UserId;
use jarvis_tests::engines::RedisServer;

use crate::stage::{self, Store, id, system};

fn stage(server: &RedisServer) -> Store {
    stage::redis(&server.url(), "jarvis", SessionPolicy::default(), system())
}

fn keys(server: &RedisServer, pattern: &str) -> Vec<String> {
    let mut keys: Vec<String> =
        server.cli(&["--raw", "KEYS", pattern]).lines().map(str::to_owned).collect();
    keys.retain(|key| !key.is_empty());
    keys.sort();
    keys
}

fn ttl(server: &RedisServer, key: &str) -> i64 {
    server.cli(&["PTTL", key]).trim().parse().expect("milliseconds")
}

fn slot(key: &str) -> &str {
    key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).expect("a hash tag").0
}

fn ada() -> UserId {
    UserId::new("ada").expect("a user")
}

#[tokio::test]
async fn a_session_and_its_users_index_share_a_slot_and_both_expire() {
    let server = RedisServer::start(&[]).await;
    let store = stage(&server);
    let short = NewSession::new().with_user(ada()).with_ttl(Duration::from_secs(60));
    let made = store.create(short).await.expect("create");
    let (sessions, indexes) = (keys(&server, "jarvis:*:s:*"), keys(&server, "jarvis:*:u:*"));
    assert_eq!((sessions.len(), indexes.len()), (1, 1));
    assert_eq!(slot(&sessions[0]), slot(&indexes[0]));
    assert!(!sessions[0].contains(&made.id.expose()[..32]), "the id itself is not there");
    // A fresh index gets an expiry although GT alone would give it none.
    let index = ttl(&server, &indexes[0]);
    assert!((1..=60_000).contains(&index), "{index}");
    // A longer session prolongs it, a shorter one does not shorten it.
    store.create(NewSession::new().with_user(ada())).await.expect("create");
    let longer = ttl(&server, &indexes[0]);
    assert!((60_001..=3_600_000).contains(&longer), "{longer}");
    let soon = Duration::from_secs(1);
    store.create(NewSession::new().with_user(ada()).with_ttl(soon)).await.expect("create");
    store.extend(&made.id.into(), Some(soon)).await.expect("extend");
    assert!(ttl(&server, &indexes[0]) > 60_000);
    assert_eq!(keys(&server, "*").len(), 4, "three sessions and an index, no marks");
}

#[tokio::test]
async fn the_last_session_takes_the_index_with_it() {
    let server = RedisServer::start(&[]).await;
    let store = stage(&server);
    for foreign in [false, true] {
        let mut new = NewSession::new().with_user(ada());
        if foreign {
            new = new.with_id(id("from express"));
        }
        let made = store.create(new).await.expect("create");
        let _ = server.cli(&[
            "--raw",
            "EVAL",
            "for _,k in ipairs(redis.call('KEYS','*:p:*')) do redis.call('DEL', k) end",
            "0",
        ]);
        store.delete(&made.id.into()).await.expect("delete");
        assert_eq!(keys(&server, "*"), Vec::<String>::new(), "foreign: {foreign}");
    }
}

#[tokio::test]
async fn an_index_that_knows_too_much_is_put_right_when_it_is_read() {
    let server = RedisServer::start(&[]).await;
    let store = stage(&server);
    let made = store.create(NewSession::new().with_user(ada())).await.expect("create");
    let index = keys(&server, "jarvis:*:u:*").remove(0);
    // A session that was never written, as a crash between two slots leaves it, and one of
    // somebody else.
    let bob = UserId::new("bob").expect("a user");
    let other = NewSession::new().with_user(bob.clone()).with_id(id("a foreign one"));
    let other = store.create(other).await.expect("create");
    let theirs = store.list(&bob).await.expect("list").remove(0).handle;
    for stranger in ["AAnever-written", theirs.as_str()] {
        let _ = server.cli(&["ZADD", &index, "99999999999999", stranger]);
    }
    let listed = store.list(&ada()).await.expect("list");
    assert_eq!(listed.len(), 1);
    assert_eq!(server.cli(&["ZCARD", &index]).trim(), "1", "the strangers are taken out");
    assert_eq!(store.clear(&ada(), None).await.expect("clear"), 1);
    assert_eq!(store.load(&made.id).await.expect("load"), None);
    assert_eq!(store.load(&other.id).await.expect("load"), Some(other));
}

#[tokio::test]
async fn an_entry_whose_session_is_being_written_stays() {
    let server = RedisServer::start(&[]).await;
    let store = stage(&server);
    let new = NewSession::new().with_user(ada()).with_id(id("from express"));
    let made = store.create(new).await.expect("create");
    let (session, index) =
        (keys(&server, "jarvis:*:s:*").remove(0), keys(&server, "jarvis:*:u:*").remove(0));
    let mark = keys(&server, "jarvis:*:p:*").remove(0);
    assert!((1..=30_000).contains(&ttl(&server, &mark)));
    assert_ne!(slot(&session), slot(&index));
    // As between the two writes: the index is there, the session not yet.
    let _ = server.cli(&["RENAME", &session, "elsewhere"]);
    assert!(store.list(&ada()).await.expect("list").is_empty());
    assert_eq!(server.cli(&["ZCARD", &index]).trim(), "1", "it is not taken out");
    let _ = server.cli(&["RENAME", "elsewhere", &session]);
    assert_eq!(store.list(&ada()).await.expect("list").len(), 1);
    let mut session = made;
    session.user = None;
    let saved = store.save(Save::new(session)).await.expect("save");
    assert!(matches!(saved, SaveOutcome::Saved(_)));
    assert!(store.list(&ada()).await.expect("list").is_empty());
}

#[tokio::test]
async fn something_else_under_a_key_is_told() {
    let server = RedisServer::start(&[]).await;
    let store = stage(&server);
    let made = store.create(NewSession::new()).await.expect("create");
    let key = keys(&server, "jarvis:*:s:*").remove(0);
    let _ = server.cli(&["HSET", &key, "c", "hunter2"]);
    let error = store.load(&made.id).await.expect_err("no time");
    assert_eq!(error.kind(), jarvis_core::ErrorKind::Corrupt);
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    let _ = server.cli(&["SET", &key, "hunter2"]);
    let error = store.load(&made.id).await.expect_err("no hash");
    assert_eq!(error.kind(), jarvis_core::ErrorKind::Corrupt);
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
}

#[test]
fn a_prefix_that_would_break_the_slots_is_refused() {
    let redis = jarvis_core::store::redis::Redis::open(
        "redis://127.0.0.1:1",
        &jarvis_core::store::redis::Options::new(),
        system(),
    )
    .expect("a URL");
    for bad in ["", "a{b}", "a b", "*", &"x".repeat(65)] {
        let store = jarvis_core::session::RedisSessions::with_prefix(
            &redis,
            bad,
            SessionPolicy::default(),
            system(),
        );
        let error = store.expect_err("refused");
        assert_eq!(error.kind(), jarvis_core::ErrorKind::ConfigInvalid, "{bad}");
    }
}
