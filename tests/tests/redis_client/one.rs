//! One server.

use std::time::Duration;

use jarvis_core::store::redis::{Options, State};
use jarvis_core::testkit::redis::{
    Repeat, add_by_script, call, clock_and_version, pipeline, remove_all,
};
use jarvis_core::{ErrorKind, Retry};
use jarvis_tests::engines::{RedisServer, likely_port};

use crate::stage::{fail_at_once, fails, get, open, open_with, recovers, set, timed};

const FIRST: Duration = Duration::from_millis(1_200);
const BACK: Duration = Duration::from_millis(2_500);

fn tcp(server: &RedisServer) -> String {
    format!("redis://127.0.0.1:{}", server.port())
}

#[tokio::test]
async fn commands_scripts_pipelines_and_sweeps() {
    let server = RedisServer::start(&[]).await;
    let redis = open(&server.url());
    assert_eq!(redis.state(), State::Idle);
    set(&redis, "a", "1").await.expect("set");
    assert_eq!(get(&redis, "a").await.expect("get"), Some("1".to_owned()));
    assert_eq!(get(&redis, "none").await.expect("get"), None);
    assert_eq!(redis.state(), State::Connected);

    assert_eq!(add_by_script(&redis, "n", 2).await.expect("a new script"), 2);
    assert_eq!(add_by_script(&redis, "n", 2).await.expect("a known script"), 4);
    let _ = server.cli(&["SCRIPT", "FLUSH"]);
    assert_eq!(add_by_script(&redis, "n", 2).await.expect("a forgotten script"), 6);

    let commands: &[&[&str]] = &[&["SET", "b", "2"], &["INCR", "wrong"], &["GET", "b"]];
    set(&redis, "wrong", "text").await.expect("set");
    let answers = pipeline(&redis, commands, Repeat::Write).await;
    assert_eq!(answers[0].as_ref().expect("set").as_deref(), Some("OK"));
    assert_eq!(answers[1].as_ref().expect_err("no number").kind(), ErrorKind::InvalidInput);
    assert_eq!(answers[2].as_ref().expect("get").as_deref(), Some("2"));

    for number in 0..1_500 {
        set(&redis, &format!("sweep:{number}"), "x").await.expect("set");
    }
    assert_eq!(remove_all(&redis, "sweep:*").await.expect("a sweep"), 1_500);
    let (clock, version) = clock_and_version(&redis).await.expect("TIME and INFO");
    assert!(clock > 1_700_000_000_000 && version.starts_with("7."), "{clock} {version}");
    redis.ping().await.expect("PONG");
}

/// How often the server has read from a socket.
fn reads(server: &RedisServer) -> usize {
    let stats = server.cli(&["--raw", "INFO", "stats"]);
    let line = stats.lines().find_map(|line| line.strip_prefix("total_reads_processed:"));
    line.and_then(|number| number.trim().parse().ok()).expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_at_once_go_out_together_and_each_gets_its_own_answer() {
    const CALLERS: usize = 64;
    const ROUNDS: usize = 30;
    let server = RedisServer::start(&[]).await;
    let redis = open(&server.url());
    set(&redis, "text", "none").await.expect("set");
    let before = reads(&server);
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let redis = redis.clone();
        callers.spawn(async move {
            let key = format!("key-{caller}");
            for round in 0..ROUNDS {
                // A long one now and then, which goes alone.
                let length = if (caller + round) % 32 == 0 { 20_000 } else { 1 };
                let value = format!("{caller}-{round}-").repeat(length);
                set(&redis, &key, &value).await.expect("set");
                assert_eq!(get(&redis, &key).await.expect("get"), Some(value));
                let error = call(&redis, &["INCR", "text"], Repeat::Write).await.expect_err("text");
                assert_eq!(error.kind(), ErrorKind::InvalidInput);
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done.expect("each got its own");
    }
    let (calls, reads) = (CALLERS * ROUNDS * 3, reads(&server) - before);
    assert!(reads * 2 < calls, "{reads} reads for {calls} calls");
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let server = RedisServer::start(&["--requirepass", "right", "--databases", "2"]).await;
    let url = server.url();
    for (query, kind) in [
        ("", ErrorKind::Unauthorized),
        ("?password=hunter2", ErrorKind::Unauthorized),
        ("?password=right&db=7", ErrorKind::InvalidInput),
    ] {
        let error = get(&open(&format!("{url}{query}")), "a").await.expect_err("refused");
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
    let redis = open(&format!("{url}?password=right&db=1"));
    call(&redis, &["HSET", "hash", "f", "v"], Repeat::Write).await.expect("hset");
    let error = get(&redis, "hash").await.expect_err("another type");
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Corrupt, Retry::Never), "{error}");
    let error = call(&redis, &["NOSUCH", "hunter2"], Repeat::Read).await.expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");

    call(&redis, &["CONFIG", "SET", "maxmemory", "1"], Repeat::Write).await.expect("config");
    let error = set(&redis, "a", "1").await.expect_err("no memory");
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
    assert!(error.is_retryable(), "it was not applied: {error:?}");
    call(&redis, &["CONFIG", "SET", "maxmemory", "0"], Repeat::Write).await.expect("config");

    call(&redis, &["ACL", "SETUSER", "low", "on", ">pw", "+@read", "~*"], Repeat::Write)
        .await
        .expect("acl");
    let low = open(&format!("{url}?user=low&password=pw"));
    let error = set(&low, "a", "1").await.expect_err("not allowed");
    assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");

    call(&redis, &["REPLICAOF", "127.0.0.1", "1"], Repeat::Write).await.expect("replicaof");
    let error = set(&redis, "a", "1").await.expect_err("a replica");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.is_retryable(), "{error:?}");
}

#[tokio::test]
async fn nobody_there_is_told_at_once_and_noticed_when_it_comes() {
    let port = likely_port();
    let redis = open(&format!("redis://127.0.0.1:{port}"));
    let (error, took) = fails(set(&redis, "a", "1")).await;
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true), "{error}");
    assert!(took < FIRST, "{took:?}");
    fail_at_once(&redis).await;
    let State::Down { why, .. } = redis.state() else { panic!("{:?}", redis.state()) };
    assert!(why.contains("refused"), "{why}");
}

#[tokio::test]
async fn a_stopped_server_is_refused_at_once_and_taken_back_by_itself() {
    let mut server = RedisServer::with_port(&[]).await;
    let redis = open(&tcp(&server));
    let mut changes = redis.changes();
    set(&redis, "a", "1").await.expect("set");
    assert_eq!(changes.changed().await, Some(State::Connected));
    server.crash();
    let (_, took) = fails(set(&redis, "a", "2")).await;
    assert!(took < FIRST, "the first error came after {took:?}");
    for error in fail_at_once(&redis).await {
        assert!(error.is_retryable(), "nothing was sent: {error:?}");
    }
    assert!(matches!(changes.changed().await, Some(State::Down { .. })));
    server.restart(&[]);
    let took = recovers(&redis).await;
    assert!(took < BACK, "{took:?}");
    assert_eq!(redis.state(), State::Connected);
    assert_eq!(changes.changed().await, Some(State::Connected));
}

#[tokio::test]
async fn a_restart_between_two_calls_is_not_seen_by_the_second() {
    let mut server = RedisServer::with_port(&[]).await;
    let redis = open(&tcp(&server));
    set(&redis, "a", "1").await.expect("set");
    let mut changes = redis.changes();
    server.restart(&[]);
    while !matches!(redis.state(), State::Connected) || !server.cli(&["PING"]).contains("PONG") {
        jarvis_tests::targets::pause(Duration::from_millis(5)).await;
    }
    assert!(changes.changed().await.is_some(), "both changes were told");
    assert_eq!(call(&redis, &["INCR", "n"], Repeat::Write).await.expect("incr"), Some("1".into()));
}

#[tokio::test]
async fn a_hung_server_costs_one_deadline_and_then_nothing() {
    let server = RedisServer::with_port(&[]).await;
    let redis = open(&tcp(&server));
    set(&redis, "a", "1").await.expect("set");
    server.signal("STOP");
    let (error, took) = fails(set(&redis, "a", "2")).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Timeout, Retry::Indeterminate));
    assert!(took < FIRST, "the first error came after {took:?}");
    for error in fail_at_once(&redis).await {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
    server.signal("CONT");
    let took = recovers(&redis).await;
    assert!(took < BACK, "{took:?}");
}

#[tokio::test]
async fn who_waits_for_less_does_not_shut_out_who_waits_for_more() {
    let server = RedisServer::with_port(&[]).await;
    let patient = open_with(&tcp(&server), &Options::new().with_deadline(Duration::from_secs(20)));
    let hasty = patient.clone().with_deadline(Duration::from_millis(50));
    set(&patient, "a", "1").await.expect("set");
    server.signal("STOP");
    for _ in 0..3 {
        let error = get(&hasty, "a").await.expect_err("it hangs");
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    }
    assert_eq!(patient.state(), State::Connected, "nobody waited for as long as it may take");
    let asking = get(&patient, "a");
    let waking = async {
        jarvis_tests::targets::pause(Duration::from_millis(50)).await;
        server.signal("CONT");
    };
    let (answer, ()) = tokio::join!(asking, waking);
    assert_eq!(answer.expect("it only had a pause"), Some("1".to_owned()));
}

#[tokio::test]
async fn hasty_calls_together_find_out_that_a_server_hangs() {
    let server = RedisServer::with_port(&[]).await;
    let redis = open_with(&tcp(&server), &Options::new().with_deadline(Duration::from_millis(300)));
    let hasty = redis.clone().with_deadline(Duration::from_millis(50));
    set(&redis, "a", "1").await.expect("set");
    server.signal("STOP");
    let mut late = 0;
    while get(&hasty, "a").await.is_err_and(|error| error.kind() == ErrorKind::Timeout) {
        late += 1;
        assert!(late < 20, "300 ms have passed long since");
    }
    assert!(matches!(redis.state(), State::Down { .. }), "{:?}", redis.state());
    assert!(late >= 2, "one late answer of 50 ms is no proof");
    server.signal("CONT");
    recovers(&redis).await;
}

#[tokio::test]
async fn a_slow_command_of_one_does_not_shut_out_the_others() {
    let server = RedisServer::start(&[]).await;
    let options = Options::new().with_deadline(Duration::from_millis(300)).with_connections(2);
    let redis = open_with(&server.url(), &options);
    // It blocks its own connection; the server answers over the other.
    let blocked = call(&redis, &["BLPOP", "nothing", "1"], Repeat::Write);
    let others = async {
        for _ in 0..100 {
            get(&redis, "a").await.ok();
            jarvis_tests::targets::pause(Duration::from_millis(1)).await;
        }
    };
    let (blocked, ()) = tokio::join!(blocked, others);
    assert_eq!(blocked.expect_err("it blocks").kind(), ErrorKind::Timeout);
    let took = recovers(&redis).await;
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[tokio::test]
async fn callers_over_the_limit_are_refused_and_the_others_answered() {
    let server = RedisServer::start(&[]).await;
    let redis = open_with(&server.url(), &Options::new().with_max_waiting(8));
    set(&redis, "a", "1").await.expect("set");
    let calls = (0..64).map(|_| get(&redis, "a"));
    let answers = futures_util::future::join_all(calls).await;
    let answered = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!((8..64).contains(&answered), "{answered} of 64");
    let refused = answers.into_iter().find_map(Result::err).expect("some were refused");
    assert_eq!((refused.kind(), refused.is_retryable()), (ErrorKind::Unavailable, true));
    get(&redis, "a").await.expect("there is room again");
}

#[test]
fn a_handle_outlives_the_runtime_that_connected_it() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime")
    };
    let first = runtime();
    let server = first.block_on(RedisServer::start(&[]));
    let redis = open(&server.url());
    first.block_on(set(&redis, "a", "1")).expect("set");
    drop(first);
    let second = runtime();
    assert_eq!(second.block_on(get(&redis, "a")).expect("get"), Some("1".to_owned()));
    let (pong, took) = second.block_on(timed(redis.ping()));
    pong.expect("PONG");
    assert!(took < FIRST, "{took:?}");
}
