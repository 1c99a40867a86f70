//! A master that is killed under load, behind Sentinels and in a Cluster: what it takes with it is
//! filled from its replica or told, nothing comes twice, and each publisher is heard in its order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use jarvis_core::Retry;
use jarvis_core::events::{BusPolicy, Delivery, Event, EventBus, RedisBus, Subscription};
use jarvis_core::vocabulary::KeyPrefix;
use jarvis_tests::redis_sets::RedisSet;
use jarvis_tests::targets::{pause, until, within};
use tokio::sync::watch;

use crate::{LONG, bus_at, clock, message, next, number, roomy, trouble};

const PUBLISHERS: u64 = 3;
/// What each publisher has to achieve after the new master was there.
const ENOUGH: usize = 200;
/// After a new master was there: 2.5 s, and what a busy machine needs.
const BACK: Duration = Duration::from_secs(4);
/// A call's deadline of 1 s and one look whether it arrived; and what a busy machine needs.
const IN_TIME: Duration = Duration::from_secs(4);
/// Keeps the numbers of publishers apart. The first one's begin here.
const APART: u64 = 1_000_000;
/// What asks whether messages are taken again.
const PROBE: u64 = 0;

/// How far the scene is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Before,
    Killed,
    Over,
}

/// What a publisher was told, by number.
#[derive(Debug, Default)]
struct Told {
    published: BTreeSet<u64>,
    /// Those of them that the old master may have taken.
    early: BTreeSet<u64>,
    unclear: BTreeSet<u64>,
    /// JARVIS's own, said while there was no master and after.
    own: BTreeSet<u64>,
}

async fn publish(bus: RedisBus, who: u64, phase: watch::Receiver<Phase>) -> Told {
    let (mut told, mut after) = (Told::default(), 0);
    for count in who * APART.. {
        let begun = *phase.borrow();
        if count % 20 == 0 {
            bus.publish(trouble(count)).await.expect("it waits for nobody");
            if begun > Phase::Before {
                told.own.insert(count);
            }
        }
        let before = clock().monotonic();
        match bus.publish(message(count)).await {
            Ok(_) => {
                told.published.insert(count);
                if begun != Phase::Over {
                    told.early.insert(count);
                }
                after += usize::from(begun == Phase::Over);
            }
            Err(error) => {
                let took = clock().monotonic().saturating_since(before);
                assert!(took < IN_TIME, "{took:?}: {error:?}");
                assert_ne!(error.retry(), Retry::Never, "{error:?}");
                if error.retry() == Retry::Indeterminate {
                    told.unclear.insert(count);
                }
                pause(Duration::from_millis(5)).await;
            }
        }
        if after >= ENOUGH {
            break;
        }
        pause(Duration::from_millis(1)).await;
    }
    told
}

/// What one subscriber got.
#[derive(Debug, Default)]
struct Heard {
    messages: Vec<u64>,
    /// Of each instance.
    own: BTreeMap<String, Vec<u64>>,
    /// How often it was told that something is missing.
    told_missing: u32,
}

impl Heard {
    /// Until it has these messages and own events.
    async fn all(
        mut from: Box<dyn Subscription>,
        messages: &BTreeSet<u64>,
        own: &BTreeSet<u64>,
    ) -> Self {
        let mut heard = Self::default();
        let (mut messages, mut own) = (messages.clone(), own.clone());
        while !(messages.is_empty() && own.is_empty()) {
            match next(&mut from).await {
                Delivery::Event(envelope) => match &envelope.event {
                    Event::OperatorTrouble { message, .. } => {
                        let number = message.parse().expect("nothing was dropped");
                        own.remove(&number);
                        let instance = envelope.instance.to_string();
                        heard.own.entry(instance).or_default().push(number);
                    }
                    _ if number(&envelope) == PROBE => {}
                    _ => {
                        messages.remove(&number(&envelope));
                        heard.messages.push(number(&envelope));
                    }
                },
                Delivery::Gap(_) | Delivery::Missed(_) => heard.told_missing += 1,
                other => panic!("{other:?}"),
            }
        }
        heard
    }

    fn is_in_order(&self) {
        for who in 1..=PUBLISHERS {
            let of = self.messages.iter().filter(|number| **number / APART == who);
            let of: Vec<u64> = of.copied().collect();
            let wrong = of.windows(2).find(|pair| pair[0] >= pair[1]);
            assert_eq!(wrong, None, "twice, or in another order than it was published");
        }
        for (instance, numbers) in &self.own {
            let wrong = numbers.windows(2).find(|pair| pair[0] >= pair[1]);
            assert_eq!(wrong, None, "own events of {instance}");
        }
    }

    /// A master that is killed takes with it what no replica had yet. Where no instance had heard of
    /// that either, and others have its numbers now, nothing is left that shows it; else it is told.
    fn is_what_was_published(&self, told: &[Told], heard_by_any: &BTreeSet<u64>) {
        let published = |it: &u64| told.iter().any(|told| told.published.contains(it));
        let unclear = |it: &u64| told.iter().any(|told| told.unclear.contains(it));
        let wrong = self.messages.iter().find(|it| !published(it) && !unclear(it));
        assert_eq!(wrong, None, "its publisher was told that it is with nobody");
        let heard: BTreeSet<u64> = self.messages.iter().copied().collect();
        let all = told.iter().flat_map(|told| &told.published);
        let unseen = |it: &u64| {
            !heard_by_any.contains(it) && told.iter().any(|told| told.early.contains(it))
        };
        let lost: Vec<&u64> = all.filter(|it| !heard.contains(it) && !unseen(it)).collect();
        assert!(lost.is_empty() || self.told_missing > 0, "lost and not told: {lost:?}");
    }
}

/// Kills `victim` of a set of the test's own; one of the `heirs` takes over.
async fn a_killed_master_is_filled_or_told(
    set: &RedisSet,
    prefix: &str,
    victim: &str,
    heirs: &[&str],
) {
    let policy = BusPolicy::new().with_prefix(KeyPrefix::new(prefix).expect("a prefix"));
    let instance = || bus_at(set.url(), policy.clone());
    let (reader, another) = (instance(), instance());
    let mut subscriptions = Vec::new();
    for bus in [&reader, &another, &another] {
        subscriptions.push(bus.subscribe(roomy()).await.expect("a bus"));
    }
    let (phase, _) = watch::channel(Phase::Before);
    let buses: Vec<RedisBus> = (0..PUBLISHERS).map(|_| instance()).collect();
    let publishing: Vec<_> = (1..)
        .zip(&buses)
        .map(|(who, bus)| tokio::spawn(publish(bus.clone(), who, phase.subscribe())))
        .collect();
    pause(Duration::from_millis(300)).await;
    set.signal(victim, "KILL");
    phase.send_replace(Phase::Killed);
    set.taken_over(victim, heirs).await;
    let back = within(BACK, async {
        until("it is published to", async || another.publish(message(PROBE)).await.is_ok()).await;
    });
    assert!(back.await.is_some(), "no answer {BACK:?} after there was a master again");
    phase.send_replace(Phase::Over);
    let told = within(LONG, join_all(publishing)).await.expect("publishing goes on");
    let told: Vec<Told> = told.into_iter().map(|told| told.expect("no panic")).collect();
    until("nothing waits", async || buses.iter().all(|bus| bus.backlog().events == 0)).await;
    assert!(buses.iter().all(|bus| bus.backlog().dropped == 0));
    assert!(told.iter().all(|told| !told.own.is_empty() && told.published.len() > ENOUGH));

    // What was said while nobody was there and after arrives. So do the last messages.
    let own = told.iter().flat_map(|told| told.own.iter().copied()).collect();
    let last = told.iter().filter_map(|told| told.published.last().copied()).collect();
    let mut heard = Vec::new();
    for subscription in subscriptions {
        let all = within(LONG, Heard::all(subscription, &last, &own)).await;
        heard.push(all.unwrap_or_else(|| panic!("not all of {last:?} and {own:?} arrived")));
    }
    let by_any = heard.iter().flat_map(|one| one.messages.iter().copied()).collect();
    for one in &heard {
        one.is_in_order();
        one.is_what_was_published(&told, &by_any);
    }
    if heard.iter().all(|one| one.told_missing == 0) {
        let all: Vec<&Vec<u64>> = heard.iter().map(|one| &one.messages).collect();
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "not in one order");
    }
}

/// A prefix whose stream lies with this master of a Cluster.
fn prefix_at(set: &RedisSet, master: u64) -> String {
    let port = set.port("0");
    let mut prefixes = (0..).map(|number| format!("bus-{number}"));
    let at = |prefix: &String| {
        let slot = RedisSet::cli(port, &["CLUSTER", "KEYSLOT", &format!("{{{prefix}:bus}}")]);
        slot.parse::<u64>().expect("a slot") * 3 / 16_384 == master
    };
    prefixes.find(at).expect("one of them")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_master_behind_sentinels_is_filled_or_told() {
    let set = RedisSet::sentinel();
    a_killed_master_is_filled_or_told(&set, "jarvis", "0", &["1", "2"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_killed_master_of_the_stream_in_a_cluster_is_filled_or_told() {
    let set = RedisSet::cluster();
    let prefix = prefix_at(&set, 2);
    a_killed_master_is_filled_or_told(&set, &prefix, "2", &["5"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_killed_node_that_subscribers_listen_to_is_filled_or_told() {
    let set = RedisSet::cluster();
    let prefix = prefix_at(&set, 1);
    a_killed_master_is_filled_or_told(&set, &prefix, "0", &["3"]).await;
}
