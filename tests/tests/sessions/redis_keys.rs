//! What lies in Redis: keys that share a slot and expire, and an index that is put right.

use std::sync::Arc;
use std::time::Duration;

use jarvis_core::ErrorKind;
use jarvis_core::clock::{Clock as _, ManualClock, SharedClock, WallTime};
use jarvis_core::session::{NewSession, Save, SaveOutcome, SessionMeta, SessionPolicy};
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
    // A fresh index gets an expiry although GT alone would give it none: that of the session, or
    // an eighth of its time to live later.
    let index = ttl(&server, &indexes[0]);
    assert!((1..=67_500).contains(&index), "{index}");
    // A longer session prolongs it, a shorter one does not shorten it.
    store.create(NewSession::new().with_user(ada())).await.expect("create");
    let longer = ttl(&server, &indexes[0]);
    assert!((67_501..=4_050_000).contains(&longer), "{longer}");
    let soon = Duration::from_secs(1);
    store.create(NewSession::new().with_user(ada()).with_ttl(soon)).await.expect("create");
    store.extend(&made.id.into(), Some(soon)).await.expect("extend");
    assert!(ttl(&server, &indexes[0]) > 67_500);
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
        assert_eq!(keys(&server, "*:u:*"), Vec::<String>::new(), "foreign: {foreign}");
        // Who deleted it is known for as long as the deletion may be repeated, three times of two
        // seconds.
        for key in keys(&server, "*") {
            assert!((1..=6_000).contains(&ttl(&server, &key)), "{key}");
        }
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
async fn something_else_under_a_key_is_told_and_can_be_deleted() {
    let server = RedisServer::start(&[]).await;
    let store = stage(&server);
    let made = store.create(NewSession::new()).await.expect("create");
    let key = keys(&server, "jarvis:*:s:*").remove(0);
    // A time that is none, and no session at all.
    for change in [["SETRANGE", &key, "34", "hunter2"].as_slice(), &["SET", &key, "hunter2"]] {
        let _ = server.cli(change);
        for error in [
            store.load(&made.id).await.expect_err("load"),
            store.save(Save::new(made.clone())).await.expect_err("save"),
            store.save(Save::forced(made.clone())).await.expect_err("force"),
            store.extend(&made.id.clone().into(), None).await.expect_err("extend"),
            store.load_and_extend(&made.id, None).await.expect_err("load_and_extend"),
            store.create(NewSession::new().with_id(made.id.clone())).await.expect_err("create"),
            store.scan(None, 10).await.expect_err("scan"),
        ] {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
    assert_eq!(store.count(None).await.expect("count"), 1, "it is there");
    assert!(store.delete(&made.id.clone().into()).await.expect("delete"));
    assert_eq!(keys(&server, "*"), Vec::<String>::new());
    // What is of another type is not ours to delete.
    let _ = server.cli(&["HSET", &key, "c", "hunter2"]);
    for error in [
        store.load(&made.id).await.expect_err("no string"),
        store.delete(&made.id.clone().into()).await.expect_err("no string"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}

#[tokio::test]
async fn what_can_t_be_read_keeps_nobody_logged_in() {
    let server = RedisServer::start(&[]).await;
    let store = stage(&server);
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(store.create(NewSession::new().with_user(ada())).await.expect("create"));
    }
    let key = keys(&server, "jarvis:*:s:*").remove(1);
    let _ = server.cli(&["SETRANGE", &key, "34", "hunter2"]);
    let error = store.list(&ada()).await.expect_err("it can't be listed");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    // What it tells is a handle by which it can be looked at, or deleted.
    let told = error.context().find(|(name, _)| *name == "session").expect("a handle").1;
    assert!(made.iter().any(|it| it.id.handle(true).to_string() == told), "{error}");
    assert_eq!(store.clear(&ada(), None).await.expect("clear"), 3);
    assert!(store.list(&ada()).await.expect("list").is_empty());
    assert_eq!(store.count(None).await.expect("count"), 0);
    for session in &made {
        assert_eq!(store.load(&session.id).await.expect("load"), None);
    }
}

/// The score of a user's only session.
fn indexed_until(server: &RedisServer, index: &str) -> i64 {
    let line = server.cli(&["--raw", "ZRANGE", index, "0", "-1", "WITHSCORES"]);
    line.split_whitespace().last().and_then(|score| score.parse().ok()).expect("a score")
}

#[tokio::test]
async fn saves_write_the_index_now_and_then_and_it_is_never_behind() {
    let server = RedisServer::start(&[]).await;
    let clock = ManualClock::new();
    let policy = SessionPolicy::default().with_ttl(Duration::from_secs(80));
    let shared: SharedClock = Arc::new(clock.clone());
    let store = stage::redis(&server.url(), "jarvis", policy, shared);
    let mut session = store.create(NewSession::new().with_user(ada())).await.expect("create");
    let index = keys(&server, "jarvis:*:u:*").remove(0);
    let key = keys(&server, "jarvis:*:s:*").remove(0);
    let mut writes = std::collections::BTreeSet::new();
    for second in 0..60 {
        let saved = store.save(Save::new(session)).await.expect("save");
        let SaveOutcome::Saved(saved) = saved else { panic!("{second}: {saved:?}") };
        let (known, expires) = (indexed_until(&server, &index), saved.expires_at.millis());
        assert!((expires..=expires + 10_000).contains(&known), "{second}: {known} {expires}");
        writes.insert(known);
        // Its key stays for as long, also where that was not written: the server's time goes on.
        assert!((75_000..=90_000).contains(&ttl(&server, &key)), "{second}");
        session = *saved;
        clock.advance(Duration::from_secs(1));
    }
    assert!((6..=7).contains(&writes.len()), "an eighth of 80 s at a time: {writes:?}");
    // Extending by less moves it back, and the next save is not misled by it.
    let soon = Duration::from_secs(1);
    let until = store.extend(&session.id.clone().into(), Some(soon)).await.expect("extend");
    let (known, expires) = (indexed_until(&server, &index), until.expect("it is there").millis());
    assert!((expires..=expires + 125).contains(&known), "{known} {expires}");
    assert!((0..=1_125).contains(&ttl(&server, &key)));
    let SaveOutcome::Saved(session) = store.save(Save::new(session)).await.expect("save") else {
        panic!("it was saved")
    };
    assert!(indexed_until(&server, &index) >= session.expires_at.millis());
    assert!((75_000..=90_000).contains(&ttl(&server, &key)));
    // A session that expired is not listed, whatever the index still knows.
    clock.advance(session.ttl);
    assert!(store.list(&ada()).await.expect("list").is_empty());
    assert_eq!(store.count(Some(&ada())).await.expect("count"), 0);
}

fn scripts_run(server: &RedisServer) -> u64 {
    let stats = server.cli(&["--raw", "INFO", "commandstats"]);
    let calls = stats.split_once("cmdstat_evalsha:calls=").expect("a line").1;
    calls.split_once(',').and_then(|(calls, _)| calls.parse().ok()).expect("a number")
}

/// One in the slot of its user's index, one in another, and one of nobody.
fn one_of_each() -> [NewSession; 3] {
    let foreign = NewSession::new().with_user(ada()).with_id(id("from express"));
    [NewSession::new().with_user(ada()), foreign, NewSession::new()]
}

#[tokio::test]
async fn extending_is_one_script_until_what_keeps_it_has_to_move_and_that_is_never_behind() {
    for new in one_of_each() {
        let server = RedisServer::start(&[]).await;
        let clock = ManualClock::new();
        let policy = SessionPolicy::default().with_ttl(Duration::from_secs(80));
        let shared: SharedClock = Arc::new(clock.clone());
        let store = stage::redis(&server.url(), "jarvis", policy, shared);
        let has_user = new.user.is_some();
        let made = store.create(new).await.expect("create");
        let key = keys(&server, "jarvis:*:s:*").remove(0);
        let before = scripts_run(&server);
        for second in 1..=60_i64 {
            clock.advance(Duration::from_secs(1));
            let end = clock.wall() + made.ttl;
            if second % 2 == 0 {
                let reference = made.id.clone().into();
                assert_eq!(store.extend(&reference, None).await.expect("extend"), Some(end));
            } else {
                let loaded = store.load_and_extend(&made.id, None).await.expect("load");
                let mut expected = made.clone();
                expected.expires_at = end;
                assert_eq!(loaded, Some(expected));
            }
            let left = end.saturating_since(clock.wall()).as_millis();
            let left = i64::try_from(left).expect("a time");
            assert!(ttl(&server, &key) > left - 10_000, "{second}");
            if let Some(index) = keys(&server, "jarvis:*:u:*").first() {
                let known = indexed_until(&server, index);
                let expires = end.millis();
                assert!((expires..=expires + 10_000).contains(&known), "{known} {expires}");
                assert!(ttl(&server, index) > left - 10_000, "{second}");
            }
        }
        // Each tenth second takes another look, and where the index lies elsewhere a third.
        let most = if has_user { 60 + 2 * 7 } else { 60 };
        let run = scripts_run(&server) - before;
        assert!((60..=most).contains(&run), "{run}, at most {most}");
    }
}

#[tokio::test]
async fn what_a_session_is_kept_by_follows_who_gets_it() {
    let server = RedisServer::start(&[]).await;
    let store = stage::redis(
        &server.url(),
        "jarvis",
        SessionPolicy::default(),
        Arc::new(ManualClock::new()),
    );
    // Until when it is kept does not change, its user does.
    for new in one_of_each() {
        let mut session = store.create(new).await.expect("create");
        for name in [Some("ada"), None, Some("bob"), Some("ada")] {
            session.user = name.map(|name| UserId::new(name).expect("a user"));
            let saved = store.save(Save::new(session)).await.expect("save");
            let SaveOutcome::Saved(saved) = saved else { panic!("{saved:?}") };
            session = *saved;
            for user in ["ada", "bob"] {
                let user = UserId::new(user).expect("a user");
                let listed = store.list(&user).await.expect("list").len();
                assert_eq!(listed == 1, session.user == Some(user), "{name:?}");
            }
        }
        assert!(store.delete(&session.id.into()).await.expect("delete"));
    }
}

#[tokio::test]
async fn a_save_that_does_not_know_the_creation_keeps_it() {
    let (ttl, cap) = (Duration::from_secs(80), Duration::from_secs(100));
    let plain = SessionPolicy::default().with_ttl(ttl);
    // With a cap the end depends on the creation: it takes another look.
    for (policy, calls) in [(plain.clone(), 1), (plain.with_absolute_ttl(cap), 2)] {
        let server = RedisServer::start(&[]).await;
        let clock = ManualClock::new();
        let capped = policy.absolute_ttl.is_some();
        let shared: SharedClock = Arc::new(clock.clone());
        let store = stage::redis(&server.url(), "jarvis", policy, shared);
        let made = store.create(NewSession::new().with_user(ada())).await.expect("create");
        clock.advance(Duration::from_secs(50));
        let mut stranger = made.clone();
        stranger.created_at = WallTime::from_millis(0);
        for (version, force) in [(2, false), (3, true)] {
            let before = scripts_run(&server);
            let mut save = Save::new(stranger.clone());
            save.force = force;
            let saved = store.save(save).await.expect("save");
            let SaveOutcome::Saved(saved) = saved else { panic!("{version}: {saved:?}") };
            assert_eq!(scripts_run(&server) - before, calls, "{version}");
            assert_eq!((saved.version, saved.created_at), (version, made.created_at));
            let until = if capped { made.created_at + cap } else { clock.wall() + ttl };
            assert_eq!(saved.expires_at, until);
            assert_eq!(store.load(&made.id).await.expect("load"), Some(*saved));
        }
    }
}

#[tokio::test]
async fn a_session_that_exists_is_not_taken_out_of_its_index() {
    for new in one_of_each().into_iter().filter(|new| new.user.is_some()) {
        let server = RedisServer::start(&[]).await;
        let clock = ManualClock::new();
        let (redis, policy) = (server.url(), SessionPolicy::default());
        let early = stage::redis(&redis, "jarvis", policy.clone(), Arc::new(clock.clone()));
        // Expires between two steps of the index.
        let step = 450_001 - clock.wall().millis().unsigned_abs() % 450_000;
        clock.advance(Duration::from_millis(step));
        let made = early.create(new).await.expect("create");
        let late = ManualClock::new();
        late.advance(made.expires_at.saturating_since(late.wall()));
        let late = stage::redis(&redis, "jarvis", policy, Arc::new(late));
        // It has been written for long.
        for mark in keys(&server, "jarvis:*:p:*") {
            drop(server.cli(&["DEL", &mark]));
        }
        assert!(late.list(&ada()).await.expect("list").is_empty(), "by its clock it expired");
        assert_eq!(early.list(&ada()).await.expect("list").len(), 1, "it is still known");
        clock.advance(Duration::from_secs(1));
        early.extend(&made.id.into(), None).await.expect("extend");
        assert_eq!(late.list(&ada()).await.expect("list").len(), 1, "it was prolonged");
    }
}

#[tokio::test]
async fn a_listing_reads_on_where_a_browsers_name_is_long() {
    let server = RedisServer::start(&[]).await;
    let store = stage(&server);
    let agents = [0, 600, 900, 1_200, 5_000].map(|length| "F".repeat(length));
    for agent in &agents {
        let meta = SessionMeta::new().with_user_agent(agent.as_str());
        store.create(NewSession::new().with_user(ada()).with_meta(meta)).await.expect("create");
    }
    let listed = store.list(&ada()).await.expect("list");
    let mut found: Vec<_> = listed.into_iter().filter_map(|it| it.meta.user_agent).collect();
    found.sort();
    assert_eq!(found, agents);
    assert_eq!(store.count(None).await.expect("count"), 5);
}
