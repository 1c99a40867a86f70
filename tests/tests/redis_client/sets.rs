//! A Cluster, and what Sentinels watch: servers go, and others take over.

use std::time::Duration;

use jarvis_core::clock::{Clock, ClockExt, SystemClock};
use jarvis_core::store::redis::Redis;
use jarvis_core::testkit::redis::{
    ListenerEvent, Repeat, add_by_script, call, pipeline, remove_all, subscribe,
};
use jarvis_core::{ErrorKind, Retry};
use jarvis_tests::redis_sets::RedisSet;

use crate::stage::{get, open, set, timed};

/// A failover takes the servers 1 to 3 s here; then the client has 2.5 s to find the new master.
const FAILOVER: Duration = Duration::from_secs(10);

/// Writes numbered keys one after the other, for as long as `work` takes and until ten more are
/// acknowledged after it. Gives the numbers that were acknowledged before, and after.
async fn writing<T>(
    redis: &Redis,
    key: impl Fn(usize) -> String,
    work: impl Future<Output = T>,
) -> (Vec<usize>, Vec<usize>) {
    let clock = SystemClock::new();
    let (mut before, mut after, mut number) = (Vec::new(), Vec::new(), 0);
    let mut work = std::pin::pin!(work);
    let mut done = false;
    let mut since_done = clock.monotonic();
    while after.len() < 10 {
        if done {
            let waited = clock.monotonic().saturating_since(since_done);
            assert!(waited < FAILOVER, "nobody took over: {:?}", redis.state());
        } else if futures_util::poll!(&mut work).is_ready() {
            (done, since_done) = (true, clock.monotonic());
        }
        number += 1;
        match set(redis, &key(number), "x").await {
            Ok(()) if done => after.push(number),
            Ok(()) => before.push(number),
            Err(error) => {
                let known = [ErrorKind::Unavailable, ErrorKind::Timeout];
                assert!(known.contains(&error.kind()), "{error:?}");
                assert_ne!(error.retry(), Retry::Never, "{error:?}");
                clock.sleep(Duration::from_millis(5)).await;
            }
        }
    }
    (before, after)
}

async fn present(redis: &Redis, key: impl Fn(usize) -> String, numbers: &[usize]) -> usize {
    let mut there = 0;
    for number in numbers {
        there += usize::from(get(redis, &key(*number)).await.expect("get").is_some());
    }
    there
}

async fn settle(time: Duration) {
    jarvis_tests::targets::pause(time).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_answers_in_order_wherever_the_keys_are() {
    let url = std::env::var("JARVIS_TEST_REDIS_CLUSTER_URL").expect("tests/run starts the servers");
    let redis = open(&url);
    let prefix = format!("client-{}", std::process::id());
    let keys: Vec<String> = (0..1_000).map(|number| format!("{prefix}:{number}")).collect();
    let sets: Vec<[&str; 3]> = keys.iter().map(|key| ["SET", key.as_str(), key.as_str()]).collect();
    let sets: Vec<&[&str]> = sets.iter().map(<[&str; 3]>::as_slice).collect();
    for answer in pipeline(&redis, &sets, Repeat::Idempotent).await {
        answer.expect("set");
    }
    let gets: Vec<[&str; 2]> = keys.iter().map(|key| ["GET", key.as_str()]).collect();
    let gets: Vec<&[&str]> = gets.iter().map(<[&str; 2]>::as_slice).collect();
    let answers = pipeline(&redis, &gets, Repeat::Read).await;
    for (key, answer) in keys.iter().zip(answers) {
        assert_eq!(answer.expect("get").as_ref(), Some(key));
    }
    // A script that one node knows is unknown to the others.
    for number in 0..16 {
        let key = format!("{prefix}:counter-{number}");
        assert_eq!(add_by_script(&redis, &key, 1).await.expect("a script"), 1);
    }
    let removed = remove_all(&redis, &format!("{prefix}:*")).await.expect("a sweep");
    assert_eq!(removed, 1_016);
    redis.ping().await.expect("every master answers");
    let cross = call(&redis, &["MGET", "a", "b"], Repeat::Read).await.expect_err("two slots");
    assert_eq!(cross.kind(), ErrorKind::Internal, "{cross}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moves_is_followed() {
    let set_of = RedisSet::cluster();
    let redis = open(set_of.url());
    set(&redis, "foo", "old").await.expect("set");
    // Slot 12182 ("foo") is the third master's; it goes to the first.
    let (to, from) = (set_of.ports()[0], set_of.ports()[2]);
    let ids = [to, from].map(|port| RedisSet::cli(port, &["CLUSTER", "MYID"]));
    let ok = |port, words: &[&str]| assert_eq!(RedisSet::cli(port, words), "OK", "{words:?}");
    ok(to, &["CLUSTER", "SETSLOT", "12182", "IMPORTING", &ids[1]]);
    ok(from, &["CLUSTER", "SETSLOT", "12182", "MIGRATING", &ids[0]]);
    assert_eq!(get(&redis, "foo").await.expect("still there").as_deref(), Some("old"));
    // A key that is not there any more is asked for where the slot goes (ASK).
    set(&redis, "{foo}new", "1").await.expect("set at the new place");
    assert_eq!(get(&redis, "{foo}new").await.expect("get").as_deref(), Some("1"));
    assert_eq!(add_by_script(&redis, "{foo}counter", 1).await.expect("a script"), 1);
    ok(from, &["MIGRATE", "127.0.0.1", &to.to_string(), "foo", "0", "1000"]);
    for port in [to, from] {
        ok(port, &["CLUSTER", "SETSLOT", "12182", "NODE", &ids[0]]);
    }
    // From now on the old one says MOVED.
    assert_eq!(get(&redis, "foo").await.expect("moved").as_deref(), Some("old"));
    assert_eq!(get(&redis, "{foo}new").await.expect("get").as_deref(), Some("1"));
    let commands: &[&[&str]] = &[&["GET", "foo"], &["GET", "bar"], &["GET", "{foo}counter"]];
    let answers = pipeline(&redis, commands, Repeat::Read).await;
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.expect("get")).collect();
    assert_eq!(answers, [Some("old".to_owned()), None, Some("1".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_loses_a_master_goes_on_and_gets_its_slots_back() {
    let set_of = RedisSet::cluster();
    let redis = open(set_of.url());
    let mut listener = subscribe(&redis, &["c"], &[], 1_000).expect("a runtime");
    assert_eq!(listener.next().await, ListenerEvent::Restored);
    // "foo" is the third master's, "b" the first's.
    set(&redis, "foo", "1").await.expect("set");
    set(&redis, "b", "1").await.expect("set");
    let loss = Box::pin(async {
        settle(Duration::from_millis(200)).await;
        set_of.signal("2", "KILL");
        // The other masters answer as if nothing had happened.
        let (answer, took) = timed(get(&redis, "b")).await;
        assert_eq!(answer.expect("another master").as_deref(), Some("1"));
        assert!(took < Duration::from_millis(500), "{took:?}");
    });
    let (_, after) = writing(&redis, |number| format!("{{foo}}:{number}"), loss).await;
    assert_eq!(present(&redis, |number| format!("{{foo}}:{number}"), &after).await, after.len());
    assert_eq!(get(&redis, "b").await.expect("get").as_deref(), Some("1"));
    redis.ping().await.expect("all slots have a master again");
    call(&redis, &["PUBLISH", "c", "on"], Repeat::Write).await.expect("publish");
    loop {
        match listener.next().await {
            ListenerEvent::Message(_, text) => break assert_eq!(text, "on"),
            ListenerEvent::Lost(_) | ListenerEvent::Restored => {}
            other @ ListenerEvent::Dropped(_) => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_in_the_middle_of_writes_is_followed() {
    let set_of = RedisSet::sentinel();
    let redis = open(set_of.url());
    let key = |number: usize| format!("k:{number}");
    let (before, after) = writing(&redis, key, async {
        settle(Duration::from_millis(500)).await;
        set_of.signal("0", "KILL");
    })
    .await;
    assert!(!before.is_empty(), "it was written to");
    assert_eq!(present(&redis, key, &after).await, after.len(), "what the new master acknowledged");
    assert!(
        call(&redis, &["ROLE"], Repeat::Read)
            .await
            .expect("role")
            .expect("one")
            .starts_with("master")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_hangs_is_replaced_and_not_written_to_when_it_wakes() {
    let set_of = RedisSet::sentinel();
    let redis = open(set_of.url());
    let key = |number: usize| format!("k:{number}");
    let (_, after) = writing(&redis, key, async {
        settle(Duration::from_millis(200)).await;
        set_of.signal("0", "STOP");
    })
    .await;
    set_of.signal("0", "CONT");
    let (_, later) = writing(&redis, key, settle(Duration::from_millis(2_000))).await;
    for numbers in [after, later] {
        assert_eq!(present(&redis, key, &numbers).await, numbers.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_is_demoted_is_left() {
    let set_of = RedisSet::sentinel();
    let redis = open(set_of.url());
    set(&redis, "a", "1").await.expect("set");
    let sentinel = set_of.ports()[0];
    let asked = || RedisSet::cli(sentinel, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"]);
    let old = asked();
    let key = |number: usize| format!("k:{number}");
    let (_, after) = writing(&redis, key, async {
        assert_eq!(RedisSet::cli(sentinel, &["SENTINEL", "FAILOVER", "main"]), "OK");
        while asked() == old {
            settle(Duration::from_millis(50)).await;
        }
        settle(Duration::from_millis(1_500)).await;
    })
    .await;
    assert_eq!(present(&redis, key, &after).await, after.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sentinels_are_believed_even_while_the_old_master_answers() {
    let set_of = RedisSet::sentinel();
    let redis = open(set_of.url());
    set(&redis, "before", "1").await.expect("set");
    let mut listener = subscribe(&redis, &["news"], &[], 100).expect("a runtime");
    assert_eq!(listener.next().await, ListenerEvent::Restored);
    let sentinels = set_of.ports();
    let address = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"];
    let old = RedisSet::cli(sentinels[0], &address);
    let old: u16 = old.lines().nth(1).expect("a port").parse().expect("a port");
    let replicas = RedisSet::cli(old, &["INFO", "replication"]);
    let new = replicas.lines().find_map(|line| line.strip_prefix("slave0:")).expect("a replica");
    let new = new.split(',').find_map(|part| part.strip_prefix("port=")).expect("its port");
    // As after a partition: they watch another master, and the old one does not know.
    assert_eq!(RedisSet::cli(new.parse().expect("a port"), &["REPLICAOF", "NO", "ONE"]), "OK");
    for &sentinel in &sentinels {
        assert_eq!(RedisSet::cli(sentinel, &["SENTINEL", "REMOVE", "main"]), "OK");
    }
    for &sentinel in &sentinels {
        let words = ["SENTINEL", "MONITOR", "main", "127.0.0.1", new, "2"];
        assert_eq!(RedisSet::cli(sentinel, &words), "OK");
    }
    let there = async {
        loop {
            let port = call(&redis, &["CONFIG", "GET", "port"], Repeat::Read).await;
            if port.is_ok_and(|port| port.is_some_and(|port| port.contains(new))) {
                return;
            }
            settle(Duration::from_millis(20)).await;
        }
    };
    let clock = SystemClock::new();
    let deadline = clock.monotonic() + FAILOVER;
    assert!(clock.until(deadline, there).await.is_some(), "it stays with the old one");
    let heard = async {
        assert!(matches!(listener.next().await, ListenerEvent::Lost(_)));
        assert_eq!(listener.next().await, ListenerEvent::Restored);
        call(&redis, &["PUBLISH", "news", "new"], Repeat::Write).await.expect("publish");
        assert_eq!(
            listener.next().await,
            ListenerEvent::Message("news".to_owned(), "new".to_owned())
        );
    };
    let deadline = clock.monotonic() + FAILOVER;
    assert!(clock.until(deadline, heard).await.is_some(), "it listens to the old one");
}
