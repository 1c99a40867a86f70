//! Redis servers that stop, hang, come back, and swallow an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use jarvis_core::session::{NewSession, Save, SaveOutcome, SessionId, SessionPolicy};
use jarvis_core::vocabulary::UserId;
use jarvis_core::{ErrorKind, Retry};
use jarvis_tests::engines::RedisServer;
use jarvis_tests::targets::{Target, pause, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::stage::{self, Store, new, number, prefix, system, timed};

const FIRST: Duration = Duration::from_millis(1_200);
const AT_ONCE: Duration = Duration::from_millis(5);
const BACK: Duration = Duration::from_millis(2_500);
const DURABLE: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];

fn open(server: &RedisServer) -> Store {
    let url = format!("redis://127.0.0.1:{}", server.port());
    stage::redis(&url, &prefix(), SessionPolicy::default(), system())
}

/// Loads until there is an answer; how long that took.
async fn recovers(store: &Store) -> Duration {
    let trying = async {
        for _ in 0..2_000 {
            if store.load(&stage::id("any")).await.is_ok() {
                return;
            }
            pause(Duration::from_millis(5)).await;
        }
        panic!("it does not come back");
    };
    timed(trying).await.1
}

/// Every method fails, and none answers as if there were nothing.
async fn fails_closed(store: &Store, made: &jarvis_core::session::Session) {
    let ada = UserId::new("ada").expect("a user");
    let gone = made.id.clone().into();
    let errors = [
        store.load(&made.id).await.err(),
        store.create(new("{}")).await.err(),
        store.save(Save::new(made.clone())).await.err(),
        store.delete(&gone).await.err(),
        store.extend(&gone, None).await.err(),
        store.load_and_extend(&made.id, None).await.err(),
        store.regenerate(&made.id, None).await.err(),
        store.list(&ada).await.err(),
        store.clear(&ada, None).await.err(),
        store.count(None).await.err(),
        store.count(Some(&ada)).await.err(),
        store.load_many(std::slice::from_ref(&made.id)).await.err(),
        store.delete_many(&[gone]).await.err(),
        store.scan(None, 10).await.err(),
        store.update(&made.id, Duration::from_secs(5), &mut |_| Ok(())).await.err(),
    ];
    for (method, error) in errors.into_iter().enumerate() {
        let error = error.unwrap_or_else(|| panic!("method {method} gave an answer"));
        assert_eq!(error.kind(), ErrorKind::Unavailable, "method {method}: {error:?}");
    }
}

#[tokio::test]
async fn a_server_that_was_killed_is_refused_at_once_and_loses_nothing() {
    let mut server = RedisServer::with_port(DURABLE).await;
    let store = open(&server);
    let mut made = Vec::new();
    for n in 0..50 {
        made.push(store.create(new(&format!("{{\"n\":{n}}}"))).await.expect("create"));
    }
    let gone = made.pop().expect("one of them");
    assert!(store.delete(&gone.id.clone().into()).await.expect("delete"));
    server.crash();
    let (error, took) = timed(store.load(&made[0].id)).await;
    assert_eq!(error.expect_err("it is down").kind(), ErrorKind::Unavailable);
    assert!(took < FIRST, "{took:?}");
    let (error, took) = timed(store.load(&made[0].id)).await;
    assert!(error.is_err() && took < AT_ONCE, "{took:?}");
    fails_closed(&store, &made[0]).await;
    server.restart(DURABLE);
    let took = recovers(&store).await;
    assert!(took < BACK, "{took:?}");
    for session in &made {
        assert_eq!(store.load(&session.id).await.expect("load").as_ref(), Some(session));
    }
    assert_eq!(store.load(&gone.id).await.expect("load"), None);
    assert_eq!(store.count(None).await.expect("count"), 49);
}

#[tokio::test]
async fn a_hung_server_costs_one_deadline_and_a_save_is_told_to_be_unknown() {
    let server = RedisServer::with_port(&[]).await;
    let store = open(&server);
    let made = store.create(new(r#"{"n":1}"#)).await.expect("create");
    server.signal("STOP");
    let mut changed = made.clone();
    changed.data = stage::data(r#"{"n":2}"#);
    let (error, took) = timed(store.save(Save::new(changed.clone()))).await;
    let error = error.expect_err("it hangs");
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Timeout, Retry::Indeterminate));
    assert!(took < FIRST, "{took:?}");
    let (error, took) = timed(store.load(&made.id)).await;
    assert_eq!(error.expect_err("it hangs").kind(), ErrorKind::Unavailable);
    assert!(took < AT_ONCE, "{took:?}");
    server.signal("CONT");
    let took = recovers(&store).await;
    assert!(took < BACK, "{took:?}");
    // Whether the save came through is not known. Repeated, it is there exactly once.
    match store.save(Save::new(changed)).await.expect("save") {
        SaveOutcome::Saved(session) => assert_eq!((session.version, number(&session)), (2, 2)),
        SaveOutcome::Conflict(session) => assert_eq!((session.version, number(&session)), (2, 2)),
        other => panic!("{other:?}"),
    }
}

/// Which answers to sessions' commands get lost: so many pass, then so many are swallowed, each
/// with its connection.
#[derive(Debug, Default)]
struct Losses {
    pass: AtomicUsize,
    lose: AtomicUsize,
    /// Is the first lost answer the end, so that nothing comes through from then on?
    deadly: AtomicBool,
    dead: AtomicBool,
    /// New connections wait while this is held.
    gate: tokio::sync::RwLock<()>,
}

impl Losses {
    fn arm(&self, pass: usize, lose: usize) {
        self.pass.store(pass, Ordering::SeqCst);
        self.lose.store(lose, Ordering::SeqCst);
    }

    fn left(&self) -> usize {
        self.lose.load(Ordering::SeqCst)
    }

    fn swallow(&self) -> bool {
        let one_less = |left: usize| left.checked_sub(1);
        let (order, counters) = (Ordering::SeqCst, [&self.pass, &self.lose]);
        let swallowed = counters[0].fetch_update(order, order, one_less).is_err()
            && counters[1].fetch_update(order, order, one_less).is_ok();
        self.dead.fetch_or(swallowed && self.deadly.load(order), order);
        swallowed
    }
}

fn is_ours(request: &[u8]) -> bool {
    let has = |word: &[u8]| request.windows(word.len()).any(|window| window == word);
    has(b"EVAL") || has(b"\r\nGET\r\n")
}

async fn swallowing(server: &RedisServer, losses: Arc<Losses>) -> Target {
    let socket = server.socket();
    Target::serve(move |client: TcpStream| {
        let (socket, losses) = (socket.clone(), Arc::clone(&losses));
        async move {
            if losses.dead.load(Ordering::SeqCst) {
                return Ok(());
            }
            drop(losses.gate.read().await);
            let server = UnixStream::connect(&socket).await?;
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            let asked = AtomicUsize::new(0);
            let there = async {
                let mut buffer = [0; 65_536];
                loop {
                    let length = from_client.read(&mut buffer).await?;
                    if length == 0 {
                        return Ok::<(), std::io::Error>(());
                    }
                    asked.store(usize::from(is_ours(&buffer[..length])), Ordering::SeqCst);
                    to_server.write_all(&buffer[..length]).await?;
                }
            };
            let back = async {
                let mut buffer = [0; 65_536];
                loop {
                    let length = from_server.read(&mut buffer).await?;
                    let ours = asked.swap(0, Ordering::SeqCst) == 1;
                    if length == 0 || (ours && losses.swallow()) {
                        return Ok::<(), std::io::Error>(());
                    }
                    to_client.write_all(&buffer[..length]).await?;
                }
            };
            tokio::select! { done = there => done, done = back => done }
        }
    })
    .await
}

#[tokio::test]
async fn what_is_repeated_after_a_lost_answer_is_applied_once() {
    let server = RedisServer::start(&[]).await;
    let losses = Arc::new(Losses::default());
    let proxy = swallowing(&server, Arc::clone(&losses)).await;
    let url = format!("redis://{}", proxy.address());
    let store = stage::redis(&url, &prefix(), SessionPolicy::default(), system());
    let ada = UserId::new("ada").expect("a user");
    let warm = store.create(new("{}")).await.expect("create");
    store.delete(&warm.id.into()).await.expect("delete");

    losses.arm(0, 1);
    let made = store.create(new(r#"{"n":0}"#).with_user(ada.clone())).await.expect("create");
    assert_eq!((made.version, losses.left()), (1, 0), "its own session is no conflict");
    for round in 1..=10 {
        losses.arm(1, 1);
        let n = stage::add_one(&store, &made.id).await.expect("update");
        assert_eq!((n, losses.left()), (round, 0), "added once");
    }
    let mut session = store.load(&made.id).await.expect("load").expect("it is there");
    assert_eq!(session.version, 11);
    session.data = stage::data(r#"{"n":99}"#);
    losses.arm(0, 1);
    match store.save(Save::new(session)).await.expect("save") {
        SaveOutcome::Saved(session) => assert_eq!(session.version, 12),
        other => panic!("it collided with itself: {other:?}"),
    }
    // The first question is whose it is, where that is not known.
    for pass in [0, 1] {
        let made = store.create(new("{}").with_user(ada.clone())).await.expect("create");
        losses.arm(pass, 1);
        let deleted = store.delete(&made.id.clone().into()).await.expect("delete");
        assert!(deleted, "its own doing is told as done");
        assert_eq!((store.load(&made.id).await.expect("load"), losses.left()), (None, 0));
        assert!(!store.delete(&made.id.clone().into()).await.expect("delete"), "another's is not");
        // The id can be taken again at once, and ended again.
        let again = NewSession::new().with_id(made.id.clone()).with_user(ada.clone());
        assert_eq!(store.create(again).await.expect("create").version, 1);
        assert!(store.delete(&made.id.into()).await.expect("delete"));
    }
    assert_eq!(store.list(&ada).await.expect("list").len(), 1);
    losses.arm(1, 1);
    assert_eq!(store.clear(&ada, None).await.expect("clear"), 1);
    assert_eq!(losses.left(), 0);
    assert!(store.list(&ada).await.expect("list").is_empty());
}

#[tokio::test]
async fn what_others_have_changed_since_a_lost_answer_is_not_changed_twice() {
    let server = RedisServer::start(&[]).await;
    let losses = Arc::new(Losses::default());
    let proxy = swallowing(&server, Arc::clone(&losses)).await;
    let url = format!("redis://{}", proxy.address());
    let prefix = prefix();
    let store = stage::redis(&url, &prefix, SessionPolicy::default(), system());
    let other = stage::redis(&server.url(), &prefix, SessionPolicy::default(), system());
    let made = store.create(new(r#"{"n":0}"#)).await.expect("create");

    // Its save is applied, the answer lost, and somebody else comes before it can ask again.
    let held = losses.gate.write().await;
    losses.arm(1, 1);
    let between = async {
        until("the answer is lost", async || losses.left() == 0).await;
        let n = stage::add_one(&other, &made.id).await.expect("update");
        drop(held);
        n
    };
    let (told, n) = futures_util::join!(stage::add_one(&store, &made.id), between);
    let error = told.expect_err("nobody knows whether it was applied");
    let expected = (ErrorKind::Unavailable, Retry::Indeterminate);
    assert_eq!((error.kind(), error.retry()), expected, "{error:?}");
    let found = store.load(&made.id).await.expect("load").expect("it is there");
    assert_eq!((n, number(&found), found.version), (2, 2, 3), "each once");

    // Where the version tells that it was not applied, it is a conflict.
    let held = losses.gate.write().await;
    let _ = server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    let between = async {
        let n = stage::add_one(&other, &made.id).await.expect("update");
        drop(held);
        n
    };
    let (told, n) = futures_util::join!(store.save(Save::new(found)), between);
    match told.expect("save") {
        SaveOutcome::Conflict(session) => assert_eq!((n, number(&session)), (3, 3)),
        SaveOutcome::Saved(session) => panic!("over somebody's: {session:?}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_move_that_may_have_been_made_is_told_to_be_unknown() {
    let server = RedisServer::start(&[]).await;
    let losses = Arc::new(Losses::default());
    let proxy = swallowing(&server, Arc::clone(&losses)).await;
    let url = format!("redis://{}", proxy.address());
    let store = stage::redis(&url, &prefix(), SessionPolicy::default(), system());
    let made = store.create(new(r#"{"n":1}"#)).await.expect("create");
    // The session is read; its move is made, not answered, and nobody can be asked any more.
    losses.deadly.store(true, Ordering::SeqCst);
    losses.arm(1, 1);
    let error = store.regenerate(&made.id, None).await.expect_err("nobody answers");
    assert_eq!((losses.left(), error.retry()), (0, Retry::Indeterminate), "{error:?}");
    assert_eq!(living(&server), 1, "under another id");
}

/// How many sessions live, counted in one step.
fn living(server: &RedisServer) -> i64 {
    let script = "local living = 0
        for _, key in ipairs(redis.call('KEYS', '*:s:*')) do
          if redis.call('GETRANGE', key, 0, 1) == 's1' then living = living + 1 end
        end
        return living";
    let answer = server.cli(&["EVAL", script, "0"]);
    answer.trim().parse().unwrap_or_else(|_| panic!("{answer:?} is no number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn on_one_server_a_session_moves_in_one_step() {
    let server = RedisServer::start(&[]).await;
    let store = stage::redis(&server.url(), &prefix(), SessionPolicy::default(), system());
    let mut session = store.create(new("{}")).await.expect("create");
    let enough = Arc::new(AtomicBool::new(false));
    let done = Arc::clone(&enough);
    let moving = tokio::spawn(async move {
        let mut rounds = 0;
        while !done.load(Ordering::SeqCst) {
            let user = UserId::new(format!("user-{}", rounds % 7)).expect("a user");
            let moved = store.regenerate(&session.id, Some(user)).await.expect("regenerate");
            session = moved.expect("the session is never lost");
            rounds += 1;
        }
        rounds
    });
    for _ in 0..50 {
        assert_eq!(living(&server), 1, "neither two nor none");
    }
    enough.store(true, Ordering::SeqCst);
    assert!(moving.await.expect("it moved on and on") > 0);
}

/// Makes a Cluster of one server, whose clients go through a proxy. Its URL.
async fn cluster_behind(server: &RedisServer, proxy: &Target) -> String {
    let address = proxy.address();
    for words in [
        &["CLUSTER", "ADDSLOTSRANGE", "0", "16383"][..],
        &["CONFIG", "SET", "cluster-announce-ip", &address.ip().to_string()],
        &["CONFIG", "SET", "cluster-announce-port", &address.port().to_string()],
    ] {
        assert_eq!(server.cli(words).trim(), "OK", "{words:?}");
    }
    until("the cluster is made", async || {
        server.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
    })
    .await;
    format!("redis+cluster://{address}")
}

const CLUSTER: &[&str] = &["--cluster-enabled", "yes"];

#[tokio::test]
async fn a_move_with_lost_answers_never_loses_the_session() {
    let losses = Arc::new(Losses::default());
    let server = RedisServer::start(&[]).await;
    let proxy = swallowing(&server, Arc::clone(&losses)).await;
    never_loses(&format!("redis://{}", proxy.address()), &losses).await;
    // On a Cluster it takes two steps.
    let server = RedisServer::with_port(CLUSTER).await;
    let proxy = swallowing(&server, Arc::clone(&losses)).await;
    never_loses(&cluster_behind(&server, &proxy).await, &losses).await;
}

async fn never_loses(url: &str, losses: &Losses) {
    let store = stage::redis(url, &prefix(), SessionPolicy::default(), system());
    let ada = UserId::new("ada").expect("a user");
    // The first lost answer is that to the reading, to the copying, or to the taking away; or to the
    // one step that is both.
    for (pass, lose) in [(0, 1), (1, 1), (2, 1), (0, 2), (1, 2), (2, 2), (1, 3), (2, 3)] {
        let before = store.create(new(r#"{"n":7}"#)).await.expect("create");
        losses.arm(pass, lose);
        let mut moved = store.regenerate(&before.id, Some(ada.clone())).await;
        losses.arm(0, 0);
        if let Err(error) = moved {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
            recovers(&store).await;
            let there = store.load(&before.id).await.expect("load");
            assert!(there.is_some(), "({pass}, {lose}): an error leaves it where it was");
            moved = store.regenerate(&before.id, Some(ada.clone())).await;
        }
        let moved = moved.expect("it works").expect("the session is never lost");
        assert_eq!(number(&moved), 7);
        assert_eq!(store.load(&moved.id).await.expect("load").as_ref(), Some(&moved));
        assert_eq!(store.load(&before.id).await.expect("load"), None, "the old id is gone");
        let listed = store.list(&ada).await.expect("list");
        assert_eq!(listed.len(), 1, "({pass}, {lose}): no copy stayed");
        assert_eq!(store.clear(&ada, None).await.expect("clear"), 1);
    }
}

#[tokio::test]
async fn who_dies_between_the_two_steps_of_a_move_leaves_the_session_and_a_copy_of_nobodys() {
    let server = RedisServer::with_port(CLUSTER).await;
    let losses = Arc::new(Losses::default());
    let proxy = swallowing(&server, Arc::clone(&losses)).await;
    let url = cluster_behind(&server, &proxy).await;
    let prefix = prefix();
    let store = stage::redis(&url, &prefix, SessionPolicy::default(), system());
    let direct = format!("redis://127.0.0.1:{}", server.port());
    let looking = stage::redis(&direct, &prefix, SessionPolicy::default(), system());
    let ada = UserId::new("ada").expect("a user");
    let slot = |id: &SessionId| id.handle(true).as_str()[..2].to_owned();
    let id = |user| SessionId::generate(user).expect("an id");
    let theirs = slot(&id(Some(&ada)));
    let elsewhere = std::iter::repeat_with(|| id(None)).find(|id| slot(id) != theirs);
    let new = new(r#"{"n":7}"#).with_id(elsewhere.expect("one of many"));
    let before = store.create(new).await.expect("create");

    // It is read, it is copied, and nothing that comes after the copy arrives.
    losses.deadly.store(true, Ordering::SeqCst);
    losses.arm(1, 1);
    store.regenerate(&before.id, Some(ada.clone())).await.expect_err("it died");
    assert_eq!(losses.left(), 0);
    let there = looking.load(&before.id).await.expect("load");
    assert_eq!(there.as_ref(), Some(&before), "it is as it was");
    let copies = looking.list(&ada).await.expect("list");
    assert_eq!(copies.len(), 1, "a copy, under an id that nobody was told");
    assert_ne!(copies[0].handle, before.id.handle(true));

    losses.deadly.store(false, Ordering::SeqCst);
    losses.dead.store(false, Ordering::SeqCst);
    recovers(&store).await;
    let moved = store.regenerate(&before.id, Some(ada.clone())).await.expect("regenerate");
    assert_eq!(number(&moved.expect("it was there")), 7);
    assert_eq!(store.load(&before.id).await.expect("load"), None);
    assert_eq!(store.clear(&ada, None).await.expect("clear"), 2, "a logout ends the copy too");
}
