//! The supervisor's own faults, as far as the aggregator is concerned: 29 (a probe that panics or
//! blocks), 30 (clocks that jump), 39 (everything fails at once), 40 (flapping).

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't set its stage has to stop"
)]

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use jarvis_core::Result;
use jarvis_core::clock::{Clock, ManualClock, SystemClock, WallTime};
use jarvis_core::events::MemoryBus;
use jarvis_core::events::{Delivery, Event, EventBus, Filter, Subscription};
use jarvis_core::health::aggregator::{Aggregator, CheckPolicy, CheckSpec, ServiceSpec};
use jarvis_core::health::memory::{Answer, MemoryProbe};
use jarvis_core::health::{HealthProbe, HostedProbe, Observation};
use jarvis_core::hosted::{HostedCall, HostedObject, LeftBehind, Running};
use jarvis_core::vocabulary::{FailureKind, ServiceId, ServiceState};
use serde_json::Value;
use tokio::sync::oneshot;

fn id(name: &str) -> ServiceId {
    name.parse().expect("a name")
}

fn service(name: &str, probe: Arc<dyn HealthProbe>, policy: CheckPolicy) -> ServiceSpec {
    let check = CheckSpec::new("main".parse().expect("a name"), probe)
        .with_policy(policy)
        .with_host(format!("host-of-{name}"));
    ServiceSpec::new(id(name), vec![check])
}

fn every(interval: Duration) -> CheckPolicy {
    CheckPolicy {
        interval,
        interval_down: interval,
        timeout: interval * 5,
        ..CheckPolicy::default()
    }
}

fn start(aggregator: &Aggregator) -> tokio::task::JoinHandle<Result<()>> {
    let aggregator = aggregator.clone();
    tokio::spawn(async move { aggregator.run(std::future::pending()).await })
}

struct World {
    clock: ManualClock,
    aggregator: Aggregator,
    events: Box<dyn Subscription>,
}

impl World {
    async fn new(services: Vec<ServiceSpec>) -> Self {
        let clock = ManualClock::new();
        let bus = MemoryBus::new(Arc::new(clock.clone()), "test");
        let events = bus.subscribe(Filter::all()).await.expect("a subscription");
        let aggregator = Aggregator::new(Arc::new(clock.clone()), Arc::new(bus));
        aggregator.apply(services).expect("good services");
        start(&aggregator);
        Self { clock, aggregator, events }
    }

    async fn settle() {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }

    async fn pass(&self, seconds: u64) {
        let end = self.clock.monotonic() + Duration::from_secs(seconds);
        Self::settle().await;
        while self.clock.monotonic() < end {
            let next = self.clock.next_wake().map_or(end, |wake| wake.min(end));
            self.clock.advance(next.saturating_since(self.clock.monotonic()));
            Self::settle().await;
        }
    }

    fn state(&self, name: &str) -> ServiceState {
        self.aggregator.service(&id(name)).expect("a service").state
    }

    async fn happened(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        Self::settle().await;
        while let Some(delivery) = futures_util::FutureExt::now_or_never(self.events.next()) {
            match delivery {
                Some(Delivery::Event(envelope)) => events.push(envelope.event.clone()),
                other => panic!("events were lost: {other:?}"),
            }
        }
        events
    }
}

/// A plug-in that blocks its thread until it is let go.
#[derive(Debug)]
struct Blocks {
    calls: Sender<()>,
    let_go: Arc<std::sync::Mutex<Receiver<()>>>,
}

impl HostedObject for Blocks {
    fn has(&self, method: &str) -> bool {
        method == "probe"
    }

    fn call(&self, _: &'static str, _: Value, running: Running) -> HostedCall {
        self.calls.send(()).expect("the test listens");
        let (answer, answered) = oneshot::channel();
        let let_go = Arc::clone(&self.let_go);
        std::thread::spawn(move || {
            // An error means that the test is over.
            let _ = let_go.lock().expect("a lock").recv();
            drop(running);
            // Nobody waits any more.
            let _ = answer.send(Value::Null);
        });
        Box::pin(async move { Ok(answered.await.expect("an answer")) })
    }
}

#[tokio::test]
async fn fault_29_a_panic_is_unknown_and_stays_with_its_probe() {
    let well = MemoryProbe::passing();
    let policy = every(Duration::from_secs(1));
    let mut world = World::new(vec![
        service("broken", Arc::new(MemoryProbe::new(Answer::Panic)), policy.clone()),
        service("well", Arc::new(well.clone()), policy),
    ])
    .await;
    world.pass(60).await;
    assert_eq!(world.state("broken"), ServiceState::Unknown);
    assert_eq!(world.state("well"), ServiceState::Healthy);
    assert!((59..=61).contains(&well.calls().len()), "{} probes", well.calls().len());
    let broken = world.aggregator.service(&id("broken")).expect("a service").checks[0].counters;
    assert!(broken.panics >= 59 && broken.failures == 0, "{broken:?}");
    let about_broken = |event: &Event| matches!(event, Event::ServiceChanged { service, .. } if *service == id("broken"));
    assert!(!world.happened().await.iter().any(about_broken));
}

/// In real time, on one thread: whoever blocks it stops everybody.
#[tokio::test(flavor = "current_thread")]
async fn fault_29_a_plug_in_that_blocks_its_thread_is_unknown_and_others_do_not_feel_it() {
    let ((calls, called), (let_go, held)) = (channel(), channel());
    let blocks = Arc::new(Blocks { calls, let_go: Arc::new(std::sync::Mutex::new(held)) });
    let clock: Arc<SystemClock> = Arc::new(SystemClock::new());
    let left_behind = LeftBehind::new();
    let wells: Vec<_> = (0..20).map(|_| MemoryProbe::passing()).collect();
    let interval = Duration::from_millis(50);
    let mut services: Vec<_> = wells
        .iter()
        .enumerate()
        .map(|(number, well)| {
            service(&format!("well-{number}"), Arc::new(well.clone()), every(interval))
        })
        .collect();
    let stuck = CheckPolicy { timeout: Duration::from_millis(100), ..every(interval) };
    let blocks = HostedProbe::new(blocks, clock.clone(), left_behind.clone()).expect("a probe");
    services.push(service("stuck", Arc::new(blocks), stuck));
    let aggregator =
        Aggregator::new(clock.clone(), Arc::new(MemoryBus::new(clock.clone(), "test")));
    aggregator.apply(services).expect("good services");
    let task = start(&aggregator);
    while wells.iter().any(|well| well.calls().len() < 40) {
        clock.sleep_until(clock.monotonic() + interval).await;
    }
    assert_eq!(called.try_iter().count(), 1, "it is never started twice");
    assert_eq!(left_behind.count(), 1);
    let snapshot = aggregator.service(&id("stuck")).expect("a service");
    let counters = snapshot.checks[0].counters;
    assert_eq!(snapshot.state, ServiceState::Unknown);
    // The call that passed its deadline is a failure; that it still hangs says nothing more.
    assert!(counters.unknowns > 5 && counters.failures == 1, "{counters:?}");
    for well in &wells {
        let lost: u64 = well.most_in_flight() as u64 - 1;
        assert_eq!(lost, 0);
    }
    let stats = aggregator.loop_stats();
    assert_eq!(stats.stalls, 0, "{stats:?}");
    assert_eq!(aggregator.snapshot().platform.healthy, wells.len());

    let_go.send(()).expect("it waits");
    drop(let_go);
    while aggregator.service(&id("stuck")).expect("a service").state != ServiceState::Healthy {
        clock.sleep_until(clock.monotonic() + interval).await;
    }
    assert_eq!(left_behind.count(), 0);
    task.abort();
}

#[tokio::test]
async fn fault_30_a_wall_clock_that_jumps_an_hour_changes_nothing() {
    let probe = MemoryProbe::passing();
    let mut world =
        World::new(vec![service("api", Arc::new(probe.clone()), CheckPolicy::default())]).await;
    world.pass(60).await;
    world.happened().await;
    for hours in [1, -1, -1, 1] {
        let before = probe.calls().len();
        world
            .clock
            .set_wall(WallTime::from_millis(world.clock.wall().millis() + hours * 3_600_000));
        world.pass(90).await;
        assert_eq!(probe.calls().len() - before, 3, "one probe each 30 s, as ever");
    }
    assert_eq!(world.happened().await, []);
    let day = Duration::from_secs(24 * 3_600);
    let overall = world.aggregator.uptime(day).await.expect("a report").overall;
    assert!(overall.percent.is_none_or(|percent| percent <= 100.0) && overall.coverage <= 1.0);
    assert_eq!(overall.down_ms, 0);
}

#[tokio::test]
async fn fault_30_after_a_suspend_nothing_is_down_because_of_it() {
    let probe = MemoryProbe::passing();
    let mut world =
        World::new(vec![service("api", Arc::new(probe.clone()), CheckPolicy::default())]).await;
    world.pass(60).await;
    world.happened().await;
    // Two failures of three, then the machine sleeps in the middle of the third probe.
    probe.then(Answer::Say(Observation::fail(FailureKind::Body, "half")));
    probe.then(Answer::Say(Observation::fail(FailureKind::Body, "half")));
    probe.then(Answer::Hang);
    while world.aggregator.service(&id("api")).expect("a service").checks[0].consecutive_failures
        < 2
    {
        world.pass(1).await;
    }
    world.pass(6).await;
    world.clock.suspend(Duration::from_secs(8 * 3_600));
    world.pass(5).await;
    // Without its network yet, for twenty seconds.
    probe.set(Answer::Say(Observation::fail(FailureKind::Unreachable, "no route")));
    world.pass(20).await;
    probe.say(Observation::pass("well"));
    world.pass(60).await;
    // Unknown meanwhile, which is the truth; never down, so nothing acts.
    let down =
        |event: &Event| matches!(event, Event::ServiceChanged { to: ServiceState::Down, .. });
    assert!(!world.happened().await.iter().any(down));
    assert_eq!(world.state("api"), ServiceState::Healthy);
    assert_eq!(world.aggregator.loop_stats().suspends, 1);
    // A failure that lasts is seen as ever.
    probe.set(Answer::Say(Observation::fail(FailureKind::Timeout, "hangs")));
    world.pass(46).await;
    assert_eq!(world.state("api"), ServiceState::Down);
}

#[tokio::test]
async fn fault_39_a_thousand_targets_fail_at_once_and_the_facts_tell_why() {
    let probes: Vec<_> = (0..1_000).map(|_| MemoryProbe::passing()).collect();
    let services = probes.iter().enumerate().map(|(number, probe)| {
        service(&format!("target-{number}"), Arc::new(probe.clone()), CheckPolicy::default())
    });
    let mut world = World::new(services.collect()).await;
    world.pass(6).await;
    assert_eq!(world.aggregator.snapshot().platform.healthy, 1_000);
    world.happened().await;
    for probe in &probes {
        probe.set(Answer::Say(Observation::fail(FailureKind::Unreachable, "no route to host")));
    }
    world.pass(46).await;
    let facts = world.aggregator.suspicion();
    assert_eq!(
        (facts.observed, facts.suspicious, facts.hosts, facts.proven),
        (1_000, 1_000, 1_000, 0)
    );
    assert_eq!(world.aggregator.snapshot().platform.state, ServiceState::Down);
    assert_eq!(world.aggregator.loop_stats().dropped_events, 0);
}

#[tokio::test]
async fn fault_40_flapping_is_told_once_each_way() {
    let probe = MemoryProbe::passing();
    let policy = every(Duration::from_secs(5));
    let mut world = World::new(vec![service("api", Arc::new(probe.clone()), policy)]).await;
    world.pass(30).await;
    for _ in 0..40 {
        probe.then(Answer::Say(Observation::fail(FailureKind::Refused, "nobody listens")));
        world.pass(10).await;
    }
    assert_eq!(world.state("api"), ServiceState::Degraded);
    assert!(world.aggregator.service(&id("api")).expect("a service").flapping);
    world.pass(150).await;
    assert_eq!(world.state("api"), ServiceState::Healthy);
    let events = world.happened().await;
    let count = |wanted: fn(&Event) -> bool| events.iter().filter(|event| wanted(event)).count();
    assert_eq!(count(|event| matches!(event, Event::FlappingStarted { .. })), 1);
    assert_eq!(count(|event| matches!(event, Event::FlappingStopped { .. })), 1);
}
