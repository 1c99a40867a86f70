//! A master that is killed under load, behind Sentinels and in a Cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use jarvis_core::cache::{Cache, CachePolicy, LoadOptions, RedisCache, SetOptions, loader};
use jarvis_tests::redis_sets::RedisSet;
use jarvis_tests::targets::{pause, until, within};
use tokio::sync::{Notify, watch};

use crate::near::{copied, copying, near, near_hits, seen};
use crate::{cache, text, timed};

/// A call asks at most five times, 150 ms each; and what a busy machine needs.
const IN_TIME: Duration = Duration::from_secs(3);
/// After a new master was there: 2.5 s, and what a busy machine needs.
const BACK: Duration = Duration::from_secs(4);
/// Who want one value at the same time.
const CALLERS: u64 = 50;

/// Reads, stores and loads, one after the other, until it is over and 50 more are done. Gives how
/// many values it read.
async fn work(cache: RedisCache, name: String, over: watch::Receiver<bool>) -> u32 {
    let (mut found, mut after) = (0, 0);
    for round in 0.. {
        let key = format!("{name}:{}", round % 20);
        let value = format!("{name} {round}");
        let (stored, took) = timed(cache.set(&key, value.clone().into(), SetOptions::new())).await;
        let stored = stored.expect("it fails open");
        assert!(took < IN_TIME, "{took:?}");
        let (read, took) = timed(text(&cache, &key)).await;
        assert!(took < IN_TIME, "{took:?}");
        // Nobody else writes it: what is there is of this writer, and never of the future.
        if let Some(read) = read {
            let (its, number) = read.rsplit_once(' ').expect("a value of ours");
            let number: u32 = number.parse().expect("a number");
            assert!(its == name && number <= round, "{read:?} in round {round}");
            found += u32::from(stored && number == round);
        }
        let load = loader(|| async { Ok("loaded".into()) });
        let name = format!("{key}:loaded:{round}");
        let loading = cache.get_or_load(&name, LoadOptions::new(), load);
        let (loaded, took) = timed(loading).await;
        assert_eq!(loaded.expect("a load").as_str(), Some("loaded"));
        assert!(took < IN_TIME, "{took:?}");
        after += u32::from(*over.borrow());
        if after >= 50 {
            break;
        }
        // What fails open at once waits for nothing, and would let nobody else run.
        pause(Duration::from_millis(1)).await;
    }
    found
}

/// A load that begins with the old master and ends without it, for many callers at once.
struct Flight {
    gate: Arc<Notify>,
    loads: Arc<AtomicU32>,
    callers: Vec<tokio::task::JoinHandle<String>>,
}

impl Flight {
    async fn begin(cache: RedisCache) -> Self {
        let (gate, loads) = (Arc::new(Notify::new()), Arc::new(AtomicU32::new(0)));
        let load = loader({
            let (gate, loads) = (Arc::clone(&gate), Arc::clone(&loads));
            move || {
                let (gate, loads) = (Arc::clone(&gate), Arc::clone(&loads));
                async move {
                    loads.fetch_add(1, Ordering::SeqCst);
                    gate.notified().await;
                    Ok("landed".into())
                }
            }
        });
        let call = || {
            let (cache, load) = (cache.clone(), Arc::clone(&load));
            tokio::spawn(async move {
                let value = cache.get_or_load("flight", LoadOptions::new(), load).await;
                value.expect("a load").as_str().expect("UTF-8").to_owned()
            })
        };
        let callers = (0..CALLERS).map(|_| call()).collect();
        until("the load begins", async || loads.load(Ordering::SeqCst) > 0).await;
        let missed = async || cache.stats().await.expect("numbers").misses == CALLERS;
        until("all wait for it", missed).await;
        Self { gate, loads, callers }
    }

    async fn land(self) {
        self.gate.notify_one();
        let landed = within(IN_TIME, join_all(self.callers)).await.expect("nobody hangs");
        assert!(landed.into_iter().all(|value| value.expect("no panic") == "landed"));
        assert_eq!(self.loads.load(Ordering::SeqCst), 1, "one load for all");
    }
}

/// Kills `victim` of a set of the test's own; one of the `heirs` takes over.
async fn a_killed_master_costs_misses(set: RedisSet, victim: &str, heirs: &[&str]) {
    let policy = || CachePolicy::new("shop");
    let (one, other) = (cache(set.url(), policy()), cache(set.url(), policy()));
    until("it is there", async || {
        one.set("k", "v".into(), SetOptions::new()).await.expect("no error")
    })
    .await;
    let (over, _) = watch::channel(false);
    let workers: Vec<_> = (0..4)
        .map(|n| {
            let cache = if n % 2 == 0 { &one } else { &other };
            tokio::spawn(work(cache.clone(), format!("w{n}"), over.subscribe()))
        })
        .collect();
    pause(Duration::from_millis(200)).await;
    let flight = Flight::begin(cache(set.url(), policy())).await;
    set.signal(victim, "KILL");
    flight.land().await;
    set.taken_over(victim, heirs).await;
    // Whose turn it was to load is nobody's now, or runs out: another process loads soon.
    let load = loader(|| async { Ok("landed".into()) });
    let (value, took) = timed(other.get_or_load("flight", LoadOptions::new(), load)).await;
    assert_eq!(value.expect("a load").as_str(), Some("landed"));
    assert!(took < Duration::from_secs(2) + IN_TIME, "{took:?}");
    let back = within(BACK, async {
        for n in 0..12 {
            let key = format!("back:{n}");
            until("it is stored", async || {
                one.set(&key, "v".into(), SetOptions::new()).await.expect("no error")
                    && text(&other, &key).await.is_some()
            })
            .await;
        }
    });
    assert!(back.await.is_some(), "nothing stored {BACK:?} after there was a master again");
    over.send_replace(true);
    let found = within(Duration::from_secs(60), join_all(workers)).await.expect("it goes on");
    assert!(found.into_iter().all(|found| found.expect("no panic") >= 50), "it is used again");
    let stats = one.stats().await.expect("numbers");
    assert!(stats.errors > 0 && stats.hits > 0 && stats.load_failures == 0, "{stats:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_master_behind_sentinels_costs_misses_and_nothing_else() {
    a_killed_master_costs_misses(RedisSet::sentinel(), "0", &["1", "2"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_of_a_cluster_costs_misses_and_nothing_else() {
    a_killed_master_costs_misses(RedisSet::cluster(), "0", &["3"]).await;
}

/// Copies are dropped with the connection that their changes would be heard over, and made again.
/// `listened_to` tells at which master they are heard, and who takes over from it.
async fn copies_go_with_the_master(
    set: RedisSet,
    listened_to: impl FnOnce(&RedisSet) -> (String, Vec<String>),
) {
    // Long enough that it is never the reason.
    let policy = || CachePolicy::new("shop").with_near_ttl(Duration::from_secs(3_600));
    let reader = near(set.url(), policy()).await;
    let writer = cache(set.url(), policy().with_near(true));
    let keys: Vec<String> = (0..12).map(|n| format!("k{n}")).collect();
    let store = async |key: &str, value: &str| {
        until("it is stored", async || {
            writer.set(key, value.into(), SetOptions::new()).await.expect("no error")
        })
        .await;
    };
    for key in &keys {
        store(key, "old").await;
        seen(&reader, key, Some("old")).await;
        copied(&reader, key).await;
    }
    let (victim, heirs) = listened_to(&set);
    let heirs: Vec<&str> = heirs.iter().map(String::as_str).collect();
    set.replicated(&[&victim]).await;
    set.signal(&victim, "KILL");
    // It may listen elsewhere a moment later, and makes new copies then.
    until("the copies are gone", async || {
        let before = near_hits(&reader).await;
        text(&reader, "k0").await;
        near_hits(&reader).await == before
    })
    .await;
    let before = near_hits(&reader).await;
    for key in &keys {
        text(&reader, key).await;
    }
    if !reader.is_copying() {
        assert_eq!(near_hits(&reader).await, before, "none of them is heard of any more");
    }
    set.taken_over(&victim, &heirs).await;
    within(BACK, copying(&reader)).await.expect("it listens to the new master");
    for key in &keys {
        store(key, "new").await;
        seen(&reader, key, Some("new")).await;
        copied(&reader, key).await;
        assert_eq!(text(&reader, key).await.as_deref(), Some("new"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn near_copies_go_with_a_master_that_sentinels_replace() {
    let the_only_one = |_: &RedisSet| ("0".to_owned(), vec!["1".to_owned(), "2".to_owned()]);
    copies_go_with_the_master(RedisSet::sentinel(), the_only_one).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn near_copies_go_with_the_node_of_a_cluster_that_is_listened_to() {
    // Whichever was connected to first.
    let any = |set: &RedisSet| {
        let has_listeners = |node: &usize| {
            let channels = RedisSet::cli(set.port(&node.to_string()), &["PUBSUB", "CHANNELS"]);
            !channels.trim().is_empty()
        };
        let node = (0..3).find(has_listeners).expect("one of the masters");
        (node.to_string(), vec![(node + 3).to_string()])
    };
    copies_go_with_the_master(RedisSet::cluster(), any).await;
}
