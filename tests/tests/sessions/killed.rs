//! A master that is killed in the middle of writes: behind Sentinels, in a Cluster where a replica
//! takes over, and in one where nobody does.
//!
//! Replicas hear of a write after its caller. What a killed master had acknowledged and not passed
//! on is lost, and then the version that it gave is given a second time. So with replicas a version
//! may be acknowledged twice, by the old master and by the new one; by one master never. Without
//! replicas, and with every write on the disk before its answer, all of it holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jarvis_core::clock::{Clock, Monotonic, SystemClock};
use jarvis_core::session::{Save, SaveOutcome, Session, SessionId, SessionPolicy};
use jarvis_core::{Error, ErrorKind, Retry};
use jarvis_tests::redis_sets::RedisSet;
use jarvis_tests::targets::{pause, until, within};
use tokio::sync::watch;

use crate::stage::{self, Store, add_one, id, new, number, prefix, system};

/// A call's deadline of 1 s, a session's update makes two calls; and what a busy machine needs.
const IN_TIME: Duration = Duration::from_secs(4);
/// After a new master was there: 2.5 s, and what a busy machine needs.
const BACK: Duration = Duration::from_secs(4);
/// So many counters that each master of a Cluster has some.
const COUNTERS: usize = 12;
const WRITERS: usize = 4;
/// What each writer must achieve after the new master was there.
const ENOUGH: usize = 25;

/// A write that was acknowledged, and when its call began and ended.
#[derive(Debug, Clone, Copy)]
struct Acknowledged {
    version: u64,
    begun: Monotonic,
    ended: Monotonic,
}

/// What one writer was told.
#[derive(Debug, Default)]
struct Told {
    /// Of each counter.
    counted: BTreeMap<usize, Vec<Acknowledged>>,
    /// Of each counter, how many answers left open whether one was added.
    unclear: BTreeMap<usize, u64>,
    made: BTreeMap<String, Acknowledged>,
    /// Sessions that were made and deleted, from the beginning of the first to the end of the last.
    deleted: BTreeMap<String, Acknowledged>,
    slowest_error: Duration,
}

struct Writer {
    store: Store,
    name: String,
    counters: Arc<[SessionId]>,
    /// Is the new master there?
    over: watch::Receiver<bool>,
    clock: SystemClock,
    told: Told,
}

impl Writer {
    async fn run(mut self) -> Told {
        let mut after = 0;
        for round in 0.. {
            let over = *self.over.borrow();
            let counted = self.count(round % COUNTERS).await;
            let made = self.make(&format!("{}-{round}", self.name)).await;
            after += usize::from(over && counted && made);
            if after >= ENOUGH {
                break;
            }
            pause(Duration::from_millis(2)).await;
        }
        self.told
    }

    /// What a call was told; `None` for a failure of the kind that a lost master makes.
    fn answered<T>(
        &mut self,
        begun: Monotonic,
        result: Result<T, Error>,
    ) -> Option<(T, Monotonic)> {
        let ended = self.clock.monotonic();
        match result {
            Ok(answer) => return Some((answer, ended)),
            Err(error) => {
                let known = [ErrorKind::Unavailable, ErrorKind::Timeout];
                assert!(known.contains(&error.kind()), "{error:?}");
                assert_ne!(error.retry(), Retry::Never, "{error:?}");
                let took = ended.saturating_since(begun);
                self.told.slowest_error = self.told.slowest_error.max(took);
            }
        }
        None
    }

    async fn count(&mut self, counter: usize) -> bool {
        let counters = Arc::clone(&self.counters);
        let begun = self.clock.monotonic();
        let added = add_one(&self.store, &counters[counter]).await;
        let unclear = added.as_ref().is_err_and(|error| error.retry() == Retry::Indeterminate);
        *self.told.unclear.entry(counter).or_default() += u64::from(unclear);
        let Some((n, ended)) = self.answered(begun, added) else { return false };
        let added = Acknowledged { version: n + 1, begun, ended };
        self.told.counted.entry(counter).or_default().push(added);
        true
    }

    /// Makes a session, and changes it or deletes it.
    async fn make(&mut self, name: &str) -> bool {
        let begun = self.clock.monotonic();
        let made = self.store.create(new("{}").with_id(id(name))).await;
        let Some((made, ended)) = self.answered(begun, made) else { return false };
        let mut told = Acknowledged { version: made.version, begun, ended };
        if name.ends_with(['0', '5']) {
            let since = self.clock.monotonic();
            let gone = self.store.delete(&made.id.into()).await;
            let Some((_, ended)) = self.answered(since, gone) else { return false };
            told.ended = ended;
            self.told.deleted.insert(name.to_owned(), told);
            return true;
        }
        self.told.made.insert(name.to_owned(), told);
        let since = self.clock.monotonic();
        let saved = self.store.save(Save::new(made)).await;
        let Some((saved, ended)) = self.answered(since, saved) else { return false };
        if let SaveOutcome::Saved(saved) = saved {
            told = Acknowledged { version: saved.version, begun: since, ended };
            self.told.made.insert(name.to_owned(), told);
        }
        true
    }
}

/// A moment, as the shortest time that it is in.
#[derive(Debug, Clone, Copy)]
struct Moment {
    after: Monotonic,
    before: Monotonic,
}

/// What has been written to before the master is killed, and by whom it is during that.
struct Scene {
    set: RedisSet,
    prefix: String,
    store: Store,
    counters: Arc<[SessionId]>,
    settled: Vec<Session>,
    gone: Vec<Session>,
    over: watch::Sender<bool>,
    writers: Vec<tokio::task::JoinHandle<Told>>,
}

impl Scene {
    async fn new(set: RedisSet) -> Self {
        let prefix = prefix();
        let store = stage::redis(set.url(), &prefix, SessionPolicy::default(), system());
        let mut counters = Vec::new();
        for _ in 0..COUNTERS {
            counters.push(store.create(new(r#"{"n":0}"#)).await.expect("create").id);
        }
        let (mut settled, mut gone) = (Vec::new(), Vec::new());
        for n in 0..60 {
            let made = store.create(new("{}").with_id(id(&format!("before-{n}")))).await;
            let made = made.expect("create");
            if n % 2 == 0 {
                assert!(store.delete(&made.id.clone().into()).await.expect("delete"));
                gone.push(made);
            } else {
                settled.push(made);
            }
        }
        let (over, _) = watch::channel(false);
        let counters = counters.into();
        Self { set, prefix, store, counters, settled, gone, over, writers: Vec::new() }
    }

    /// Each with connections and a queue of its own, as in a process of its own.
    fn write(&mut self) {
        for number in 0..WRITERS {
            let policy = SessionPolicy::default();
            let writer = Writer {
                store: stage::redis(self.set.url(), &self.prefix, policy, system()),
                name: format!("during-{number}"),
                counters: Arc::clone(&self.counters),
                over: self.over.subscribe(),
                clock: SystemClock::new(),
                told: Told::default(),
            };
            self.writers.push(tokio::spawn(writer.run()));
        }
    }

    /// Kills a master some time after the writing began.
    async fn kill(&self, process: &str) -> Moment {
        pause(Duration::from_millis(300)).await;
        let clock = SystemClock::new();
        let after = clock.monotonic();
        self.set.signal(process, "KILL");
        Moment { after, before: clock.monotonic() }
    }

    /// There is a master for everything again: soon it is written to. In a Cluster each master has
    /// to answer: so many sessions lie with all of them.
    async fn is_over(&mut self) -> Vec<Told> {
        self.over.send_replace(true);
        let settled = self.settled.iter().map(|session| &session.id);
        let probes = self.counters.iter().chain(settled).map(|session| {
            let (store, session) = (self.store.clone(), session.clone());
            tokio::spawn(async move {
                while store.load(&session).await.is_err() {
                    pause(Duration::from_millis(5)).await;
                }
            })
        });
        let answer = within(BACK, futures_util::future::join_all(probes)).await;
        assert!(answer.is_some(), "no answer {BACK:?} after there was a master again");
        let writers = futures_util::future::join_all(self.writers.drain(..));
        let told = within(Duration::from_secs(60), writers).await.expect("writing goes on");
        told.into_iter().map(|told| told.expect("no panic")).collect()
    }

    async fn load(&self, name: &str) -> Option<Session> {
        self.store.load(&id(name)).await.expect("load")
    }

    /// What was there, or deleted, and on the replicas before the kill.
    async fn keeps_what_was_settled(&self) {
        for session in &self.settled {
            assert_eq!(self.load(session.id.expose()).await.as_ref(), Some(session));
        }
        for session in &self.gone {
            self.is_gone(session.id.expose()).await;
            let late = self.store.save(Save::forced(session.clone())).await.expect("save");
            assert_eq!(late, SaveOutcome::NotFound, "a late save brings nothing back");
        }
    }

    async fn is_gone(&self, name: &str) {
        assert_eq!(self.load(name).await, None, "{name} was deleted, and is back");
    }

    /// What was told apart from the kill is there. `lost` says what else may be lost.
    async fn keeps_what_was_told(&self, told: &[Told], lost: impl Fn(&Acknowledged) -> bool) {
        for (name, made) in told.iter().flat_map(|told| &told.made) {
            let stored = self.load(name).await.map_or(0, |session| session.version);
            assert!(stored >= made.version || lost(made), "{name} is lost: {made:?}");
        }
        for (index, counted) in told.iter().flat_map(|told| &told.counted) {
            let stored = self.store.load(&self.counters[*index]).await.expect("load");
            let version = stored.map_or(0, |session| session.version);
            let beyond = |told: &&Acknowledged| told.version > version && !lost(told);
            let beyond: Vec<_> = counted.iter().filter(beyond).collect();
            assert!(beyond.is_empty(), "counter {index} is at {version}, told were {beyond:?}");
        }
        for (name, deleted) in told.iter().flat_map(|told| &told.deleted) {
            if !lost(deleted) {
                self.is_gone(name).await;
            }
        }
    }

    /// Every one that was added is in the sum once, and no version was given twice but by
    /// different masters.
    async fn counted_exactly(&self, told: &[Told], other_master: Option<Moment>) {
        for (index, counter) in self.counters.iter().enumerate() {
            let stored = self.store.load(counter).await.expect("load").expect("it is there");
            assert_eq!(number(&stored) + 1, stored.version, "one more with each version");
            let mut versions: BTreeMap<u64, Vec<&Acknowledged>> = BTreeMap::new();
            for one in told.iter().filter_map(|told| told.counted.get(&index)).flatten() {
                versions.entry(one.version).or_default().push(one);
            }
            for (version, given) in versions.iter().filter(|(_, given)| given.len() > 1) {
                let [one, two] = given.as_slice() else { panic!("{version}: {given:?}") };
                let apart = other_master.is_some_and(|kill| {
                    let first = one.begun.min(two.begun) <= kill.before;
                    first && one.ended.max(two.ended) >= kill.after
                });
                assert!(apart, "version {version} of counter {index} twice: {given:?}");
            }
            let unclear: u64 = told.iter().filter_map(|told| told.unclear.get(&index)).sum();
            let by_nobody = |version: &u64| !versions.contains_key(version);
            let untold = (2..=stored.version).filter(by_nobody).count();
            assert!(untold as u64 <= unclear, "{untold} additions by nobody, {unclear} unclear");
        }
    }
}

fn in_time(told: &[Told]) {
    let slowest = told.iter().map(|told| told.slowest_error).max().unwrap_or_default();
    assert!(slowest > Duration::ZERO, "the kill was not noticed");
    assert!(slowest < IN_TIME, "an error took {slowest:?}");
}

/// Kills `victim` of a set with replicas; `heirs` are those of which one takes over.
async fn a_replica_takes_over(set: RedisSet, masters: &[&str], victim: &str, heirs: &[&str]) {
    let mut scene = Scene::new(set).await;
    scene.set.replicated(masters).await;
    scene.write();
    let kill = scene.kill(victim).await;
    scene.set.taken_over(victim, heirs).await;
    // The old master comes back, with all that it had, and is not asked.
    scene.set.restart(victim);
    let told = scene.is_over().await;
    in_time(&told);
    scene.keeps_what_was_settled().await;
    scene.counted_exactly(&told, Some(kill)).await;
    // What was begun after the kill is the new master's. What was acknowledged just before it may
    // be lost; how much of that the replicas had by then is nobody's promise.
    scene.keeps_what_was_told(&told, |told| told.begun <= kill.before).await;
    let made = told.iter().flat_map(|told| told.made.values());
    let after = made.filter(|made| made.begun > kill.before).count();
    assert!(after >= WRITERS * ENOUGH / 2, "{after} sessions");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_killed_behind_sentinels_loses_no_more_than_its_replicas_had_not() {
    let set = RedisSet::durable_sentinel();
    a_replica_takes_over(set, &["0"], "0", &["1", "2"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_killed_in_a_cluster_loses_no_more_than_its_replica_had_not() {
    let set = RedisSet::durable_cluster(1);
    a_replica_takes_over(set, &["0", "1", "2"], "2", &["5"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_killed_in_a_cluster_without_replicas_loses_nothing_that_was_on_its_disk() {
    let set = RedisSet::durable_cluster(0);
    let mut scene = Scene::new(set).await;
    scene.write();
    scene.kill("1").await;
    let ports = scene.set.ports();
    // The others notice, and then refuse for all slots: a cluster answers whole or not at all.
    until("the others notice", async || {
        !RedisSet::is_whole(ports[0]) && !RedisSet::is_whole(ports[2])
    })
    .await;
    for counter in scene.counters.iter() {
        let (error, took) = stage::timed(scene.store.load(counter)).await;
        let error = error.expect_err("it lacks a master");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(took < IN_TIME, "{took:?}");
    }
    scene.set.restart("1");
    until("it is whole again", async || ports.iter().all(|port| RedisSet::is_whole(*port))).await;
    let told = scene.is_over().await;
    in_time(&told);
    scene.keeps_what_was_settled().await;
    scene.counted_exactly(&told, None).await;
    scene.keeps_what_was_told(&told, |_| false).await;
}
