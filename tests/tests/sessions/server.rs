//! Redis servers that stop, hang, come back, and swallow an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jarvis_core::session::{Save, SaveOutcome, SessionPolicy};
use jarvis_core::vocabulary::UserId;
use jarvis_core::{ErrorKind, Retry};
use jarvis_tests::engines::RedisServer;
use jarvis_tests::targets::{Target, pause};
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
        counters[0].fetch_update(order, order, one_less).is_err()
            && counters[1].fetch_update(order, order, one_less).is_ok()
    }
}

fn is_ours(request: &[u8]) -> bool {
    let has = |word: &[u8]| request.windows(word.len()).any(|window| window == word);
    has(b"EVAL") || has(b"HMGET")
}

async fn swallowing(server: &RedisServer, losses: Arc<Losses>) -> Target {
    let socket = server.socket();
    Target::serve(move |client: TcpStream| {
        let (socket, losses) = (socket.clone(), Arc::clone(&losses));
        async move {
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
    losses.arm(0, 1);
    store.delete(&made.id.clone().into()).await.expect("delete");
    assert_eq!((store.load(&made.id).await.expect("load"), losses.left()), (None, 0));
}

#[tokio::test]
async fn a_move_with_lost_answers_never_loses_the_session() {
    let server = RedisServer::start(&[]).await;
    let losses = Arc::new(Losses::default());
    let proxy = swallowing(&server, Arc::clone(&losses)).await;
    let url = format!("redis://{}", proxy.address());
    let store = stage::redis(&url, &prefix(), SessionPolicy::default(), system());
    let ada = UserId::new("ada").expect("a user");
    // The first lost answer is that to the reading, to the copying, or to the taking away.
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
