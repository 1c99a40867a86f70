//! The aggregator on a clock that stands still until a test moves it.

use std::sync::Arc;

use async_trait::async_trait;

use super::*;
use crate::health::memory::{Answer, MemoryProbe};
use crate::health::{HealthProbe, Observation, ProbeContext};
use base::clock::{Clock, ClockExt, ManualClock, WallTime};
use base::events::{Backlog, Envelope, Event, Filter, Subscription};
use base::sync::Mutex;
use base::vocabulary::{FailureKind, InstanceId, Verdict};
use base::{Error, ErrorKind};

pub(super) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Keeps what was published.
#[derive(Debug, Default)]
pub(super) struct Kept(pub(super) Mutex<Vec<Event>>);

#[async_trait]
impl EventBus for Kept {
    fn instance(&self) -> &str {
        "test"
    }

    fn locality(&self) -> base::vocabulary::Locality {
        base::vocabulary::Locality::InMemory
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn backlog(&self) -> Backlog {
        Backlog::default()
    }

    async fn publish(&self, event: Event) -> Result<Arc<Envelope>> {
        self.0.lock().push(event.clone());
        Ok(Arc::new(Envelope::new(0, "test".into(), WallTime::default(), event)))
    }

    async fn subscribe(&self, _: Filter) -> Result<Box<dyn Subscription>> {
        Err(Error::new(ErrorKind::Unsupported, "nobody subscribes to this one"))
    }
}

pub(super) struct World {
    pub(super) clock: ManualClock,
    pub(super) bus: Arc<Kept>,
    pub(super) aggregator: Aggregator,
}

impl World {
    pub(super) fn new(services: Vec<ServiceSpec>) -> Self {
        let (clock, bus) = (ManualClock::new(), Arc::new(Kept::default()));
        let aggregator = Aggregator::new(Arc::new(clock.clone()), bus.clone());
        aggregator.apply(services).unwrap();
        let running = aggregator.clone();
        tokio::spawn(async move { running.run(std::future::pending()).await });
        Self { clock, bus, aggregator }
    }

    /// Lets every task run until all wait for the clock.
    pub(super) async fn settle(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    /// Time passes as it really does: each sleeper wakes at its time.
    pub(super) async fn pass(&self, duration: Duration) {
        let end = self.clock.monotonic() + duration;
        self.settle().await;
        while self.clock.monotonic() < end {
            let next = self.clock.next_wake().map_or(end, |wake| wake.min(end));
            self.clock.advance(next.saturating_since(self.clock.monotonic()));
            self.settle().await;
        }
    }

    pub(super) fn state(&self, service: &str) -> ServiceState {
        self.service(service).state
    }

    pub(super) fn service(&self, service: &str) -> ServiceSnapshot {
        self.aggregator.service(&id(service)).unwrap()
    }

    pub(super) fn events(&self) -> Vec<Event> {
        std::mem::take(&mut self.bus.0.lock())
    }
}

pub(super) fn id(name: &str) -> ServiceId {
    ServiceId::new(name).unwrap()
}

pub(super) fn service(name: &str, probe: &MemoryProbe) -> ServiceSpec {
    ServiceSpec::new(id(name), vec![check("main", probe)])
}

pub(super) fn check(name: &str, probe: &MemoryProbe) -> CheckSpec {
    CheckSpec::new(name.parse().unwrap(), Arc::new(probe.clone()))
}

pub(super) fn fail(kind: FailureKind) -> Answer {
    Answer::Say(Observation::fail(kind, "it is broken"))
}

#[test]
fn who_looks_and_who_judges_never_wait_for_each_other() {
    const TIMES: usize = 20_000;
    let probe = MemoryProbe::passing();
    let aggregator = Aggregator::new(Arc::new(ManualClock::new()), Arc::new(Kept::default()));
    aggregator.apply(vec![service("api", &probe)]).unwrap();
    let (done, ended) = std::sync::mpsc::channel();
    let (looking, told) = (aggregator.clone(), done.clone());
    std::thread::spawn(move || {
        for _ in 0..TIMES {
            let snapshot = looking.snapshot();
            assert_eq!(snapshot.services.len(), snapshot.loop_stats.targets);
        }
        told.send("looking").unwrap();
    });
    std::thread::spawn(move || {
        for n in 0..TIMES {
            let spec = service("api", &probe);
            aggregator.apply(vec![ServiceSpec { critical: n % 2 == 0, ..spec }]).unwrap();
        }
        done.send("judging").unwrap();
    });
    for _ in 0..2 {
        ended.recv_timeout(secs(60)).expect("the two wait for each other");
    }
}

/// A probe that looks at everything when it is dropped.
#[derive(Debug)]
struct Parting(Aggregator);

#[async_trait]
impl HealthProbe for Parting {
    async fn probe(&self, _: ProbeContext) -> Result<Observation> {
        Ok(Observation::pass("it is there"))
    }
}

impl Drop for Parting {
    fn drop(&mut self) {
        let _ = self.0.snapshot();
    }
}

#[test]
fn a_probe_may_look_at_its_service_while_it_is_dropped() {
    let aggregator = Aggregator::new(Arc::new(ManualClock::new()), Arc::new(Kept::default()));
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let with = |fingerprint| {
            let check =
                CheckSpec::new("main".parse().unwrap(), Arc::new(Parting(aggregator.clone())));
            vec![ServiceSpec::new(id("api"), vec![check.with_fingerprint(fingerprint)])]
        };
        // Another probe for the same check, another check, no service.
        for services in [with("1"), with("1"), with("2"), Vec::new()] {
            aggregator.apply(services).unwrap();
        }
        done.send(()).unwrap();
    });
    ended.recv_timeout(secs(60)).expect("the probe waits for whoever drops it");
}

#[tokio::test]
async fn a_hang_is_down_within_45_seconds_and_a_recovery_is_seen() {
    let probe = MemoryProbe::passing();
    let world = World::new(vec![service("api", &probe)]);
    world.pass(secs(65)).await;
    assert_eq!(world.state("api"), ServiceState::Healthy);
    probe.set(fail(FailureKind::Timeout));
    let mut waited = 0;
    while world.state("api") != ServiceState::Down {
        world.pass(secs(1)).await;
        waited += 1;
        assert!(waited <= 45, "not down after {waited} s");
    }
    assert!(world.service("api").checks[0].interval == secs(5));
    probe.set(Answer::Say(Observation::pass("well")));
    world.pass(secs(11)).await;
    assert_eq!(world.state("api"), ServiceState::Healthy);
    let to: Vec<_> = world
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::ServiceChanged { to, .. } => Some(to),
            _ => None,
        })
        .collect();
    assert_eq!(to, [ServiceState::Healthy, ServiceState::Down, ServiceState::Healthy]);
}

#[tokio::test]
async fn the_grid_does_not_drift_and_a_slow_probe_skips_instead_of_bursting() {
    let probe = MemoryProbe::passing();
    let world = World::new(vec![service("api", &probe)]);
    world.pass(secs(400)).await;
    let calls = probe.calls();
    assert!(calls[0].since_start() < secs(5), "the first round comes soon");
    let gaps: Vec<_> =
        calls[1..].windows(2).map(|pair| pair[1].saturating_since(pair[0])).collect();
    assert!(gaps.len() >= 11 && gaps.iter().all(|gap| *gap == secs(30)), "{gaps:?}");

    let hangs = MemoryProbe::new(Answer::Stuck);
    let policy = CheckPolicy {
        interval: secs(1),
        interval_down: secs(1),
        timeout: secs(5),
        ..CheckPolicy::default()
    };
    let slow = ServiceSpec::new(id("slow"), vec![check("main", &hangs).with_policy(policy)]);
    world.aggregator.apply(vec![service("api", &probe), slow]).unwrap();
    world.pass(secs(60)).await;
    assert_eq!(hangs.most_in_flight(), 1);
    assert_eq!(
        hangs.calls().len(),
        10,
        "one each six seconds: five to hang, one to the next due time"
    );
    let counters = world.service("slow").checks[0].counters;
    assert!((45..=50).contains(&counters.overruns), "{counters:?}");
    assert_eq!(world.service("slow").cause.unwrap().kind, Some(FailureKind::Timeout));
}

#[tokio::test]
async fn a_panic_and_a_failed_measurement_are_unknown() {
    let panics = MemoryProbe::new(Answer::Panic);
    let world = World::new(vec![service("a", &panics), service("b", &MemoryProbe::passing())]);
    world.pass(secs(100)).await;
    let broken = world.service("a");
    assert_eq!(broken.state, ServiceState::Unknown);
    assert_eq!(broken.checks[0].counters.panics, broken.checks[0].counters.probes);
    assert_eq!(broken.checks[0].message, "the probe panicked: scripted to panic");
    assert_eq!(world.state("b"), ServiceState::Healthy);
    assert!(!world.events().iter().any(
        |event| matches!(event, Event::ServiceChanged { service, .. } if *service == id("a"))
    ));
}

#[tokio::test]
async fn an_action_resets_the_counters_and_is_judged_anew() {
    let probe = MemoryProbe::passing();
    let world = World::new(vec![service("api", &probe)]);
    let mut changes = world.aggregator.changes();
    world.pass(secs(6)).await;
    assert_eq!(changes.next().await.unwrap().state, ServiceState::Healthy);
    probe.set(fail(FailureKind::Refused));
    world.pass(secs(36)).await;
    let down = changes.next().await.unwrap();
    assert_eq!((down.state, down.ever_passed), (ServiceState::Down, true));

    world.aggregator.action_began(&id("api"));
    let before = probe.calls().len();
    world.pass(secs(60)).await;
    assert_eq!(probe.calls().len(), before, "no scheduled probe during an action");
    assert_eq!(world.state("api"), ServiceState::Down);
    let results = world.aggregator.probe_now(&id("api")).await.unwrap();
    assert_eq!(results[0].observation.verdict, Verdict::Fail);

    // The action did not help: the same state is told again, once.
    world.aggregator.action_ended(&id("api"), None);
    world.pass(secs(1)).await;
    assert_eq!(changes.next().await.unwrap().state, ServiceState::Down);
    world.pass(secs(60)).await;
    probe.set(Answer::Say(Observation::pass("well")));
    world.pass(secs(11)).await;
    assert_eq!(changes.next().await.unwrap().state, ServiceState::Healthy);
}

#[tokio::test]
async fn a_result_from_before_the_action_is_thrown_away() {
    let probe = MemoryProbe::passing();
    let world = World::new(vec![service("api", &probe)]);
    world.pass(secs(6)).await;
    probe.set(Answer::Hang);
    world.aggregator.accelerate(&id("api"));
    world.pass(secs(2)).await;
    world.aggregator.action_began(&id("api"));
    world.pass(secs(10)).await;
    let check = &world.service("api").checks[0];
    assert_eq!((check.counters.discarded, check.counters.failures), (1, 0));
}

#[tokio::test]
async fn the_grace_counts_from_the_actual_start() {
    let probe = MemoryProbe::failing(FailureKind::Refused);
    let world = World::new(vec![service("api", &probe).with_start_grace(secs(40))]);
    world.pass(secs(39)).await;
    assert_eq!(world.state("api"), ServiceState::Unknown);
    world.pass(secs(10)).await;
    assert_eq!(world.state("api"), ServiceState::Down);
    // It took a minute to start it, and it runs for 30 s already when the action is over.
    world.aggregator.action_began(&id("api"));
    world.pass(secs(60)).await;
    let mut changes = world.aggregator.changes();
    changes.next().await.unwrap();
    world.aggregator.action_ended(&id("api"), Some(world.clock.monotonic() - secs(30)));
    world.pass(secs(9)).await;
    assert_eq!(world.service("api").checks[0].consecutive_failures, 0);
    world.pass(secs(6)).await;
    assert!(world.service("api").checks[0].consecutive_failures > 0);
    assert_eq!(changes.next().await.unwrap().state, ServiceState::Down);
}

#[tokio::test]
async fn a_new_life_is_told_and_resets_what_failed_before() {
    let life = |name: &str| Some(InstanceId::new(name).unwrap());
    let probe =
        MemoryProbe::new(Answer::Say(Observation::pass("well").with_instance(life("first"))));
    let world = World::new(vec![service("api", &probe)]);
    let mut changes = world.aggregator.changes();
    world.pass(secs(6)).await;
    assert_eq!(changes.next().await.unwrap().instance, life("first"));
    probe.say(Observation::pass("well").with_instance(life("second")));
    world.pass(secs(40)).await;
    let change = changes.next().await.unwrap();
    assert_eq!((change.instance, change.state), (life("second"), ServiceState::Healthy));
}

/// It was down before the restart and passes since: until it passed often enough nothing is told,
/// above all not that it is down.
#[tokio::test]
async fn a_new_life_is_not_told_to_be_down_by_what_was_seen_of_the_old_one() {
    let life = |name: &str| Some(InstanceId::new(name).unwrap());
    let probe =
        MemoryProbe::new(Answer::Say(Observation::pass("well").with_instance(life("first"))));
    let world = World::new(vec![service("api", &probe)]);
    world.pass(secs(6)).await;
    probe.set(Answer::Say(Observation::fail(FailureKind::Timeout, "hangs")));
    world.pass(secs(120)).await;
    let mut changes = world.aggregator.changes();
    assert_eq!(changes.next().await.unwrap().state, ServiceState::Down);
    let acted = world.clock.stamp();
    world.aggregator.action_began(&id("api"));
    world.aggregator.action_ended(&id("api"), None);
    probe.say(Observation::pass("well").with_instance(life("second")));
    world.pass(secs(1)).await;
    let seen = world.service("api");
    assert_eq!(
        (seen.state, seen.instance),
        (ServiceState::Down, life("second")),
        "one pass of two"
    );
    world.pass(secs(60)).await;
    let change = changes.next().await.unwrap();
    assert_eq!((change.state, change.instance), (ServiceState::Healthy, life("second")));
    assert!(change.began.boottime >= acted.boottime);

    // A critical check that is down by its own failures since then is told, whatever the others.
    probe.set(Answer::Say(Observation::fail(FailureKind::Refused, "refused")));
    world.aggregator.action_began(&id("api"));
    world.aggregator.action_ended(&id("api"), None);
    world.pass(secs(60)).await;
    assert_eq!(changes.next().await.unwrap().state, ServiceState::Down);
}

#[tokio::test]
async fn a_reload_keeps_what_did_not_change() {
    let (kept, changed) = (MemoryProbe::passing(), MemoryProbe::passing());
    let spec = |text: &str| {
        ServiceSpec::new(id("b"), vec![check("main", &changed).with_fingerprint(text)])
    };
    let world = World::new(vec![service("a", &kept), spec("http://one"), service("gone", &kept)]);
    let mut changes = world.aggregator.changes();
    world.pass(secs(6)).await;
    assert_eq!(world.aggregator.snapshot().platform.healthy, 3);
    world.aggregator.apply(vec![service("a", &kept), spec("http://two")]).unwrap();
    assert_eq!(world.state("a"), ServiceState::Healthy);
    assert_eq!((world.state("b"), world.service("b").ever_passed), (ServiceState::Unknown, false));
    let mut last = std::collections::HashMap::new();
    for _ in 0..3 {
        let change = changes.next().await.unwrap();
        last.insert(change.service.clone(), change);
    }
    assert!(!last[&id("gone")].watched && last[&id("a")].watched);
    world.pass(secs(6)).await;
    assert_eq!(world.state("b"), ServiceState::Healthy);
    assert_eq!(world.aggregator.snapshot().platform.healthy, 2);

    let twice = vec![service("a", &kept), service("a", &kept)];
    assert_eq!(world.aggregator.apply(twice).unwrap_err().kind(), ErrorKind::ConfigInvalid);
    assert_eq!(world.aggregator.snapshot().services.len(), 2);
}

#[tokio::test]
async fn rounds_are_told_when_every_target_had_its_turn() {
    let probe = MemoryProbe::passing();
    let quick = CheckPolicy { interval: secs(1), interval_down: secs(1), ..CheckPolicy::default() };
    let quick = ServiceSpec::new(id("quick"), vec![check("main", &probe).with_policy(quick)]);
    let world = World::new(vec![quick, service("slow", &MemoryProbe::new(Answer::Hang))]);
    let mut rounds = world.aggregator.rounds();
    world.pass(secs(15)).await;
    let first = rounds.next().await.unwrap();
    assert!(first.number >= 1);
    assert_eq!(world.aggregator.loop_stats().last_round, Some(first.at));
    world.pass(secs(60)).await;
    assert!(rounds.next().await.unwrap().number > first.number);
}

#[tokio::test]
async fn suspicion_counts_hosts_and_tells_proof_apart() {
    let spec = |name: &str, kind, host: &str| {
        ServiceSpec::new(id(name), vec![check("main", &MemoryProbe::failing(kind)).with_host(host)])
    };
    let world = World::new(vec![
        spec("a", FailureKind::Timeout, "one"),
        spec("b", FailureKind::Dns, "two"),
        spec("c", FailureKind::Timeout, "two"),
        spec("d", FailureKind::Refused, "three"),
        service("e", &MemoryProbe::passing()),
    ]);
    world.pass(secs(6)).await;
    let facts = world.aggregator.suspicion();
    assert_eq!((facts.observed, facts.suspicious, facts.hosts, facts.proven), (5, 3, 2, 1));
}

#[tokio::test]
async fn uptime_counts_from_the_first_failure_to_the_first_pass_and_leaves_maintenance_out() {
    let probe = MemoryProbe::passing();
    let policy =
        CheckPolicy { interval: secs(5), interval_down: secs(5), ..CheckPolicy::default() };
    let spec = ServiceSpec::new(id("api"), vec![check("main", &probe).with_policy(policy)]);
    let world = World::new(vec![spec]);
    let mut probes = 0;
    let mut next = async |world: &World| {
        while probe.calls().len() == probes {
            world.pass(Duration::from_millis(100)).await;
        }
        probes = probe.calls().len();
    };
    next(&world).await;
    next(&world).await;
    probe.set(fail(FailureKind::Body));
    next(&world).await;
    next(&world).await;
    probe.set(Answer::Say(Observation::pass("well")));
    next(&world).await;
    let uptime = |report: &UptimeReport| report.services[0].uptime;
    let report = world.aggregator.uptime(secs(3_600)).await.unwrap();
    assert_eq!(
        uptime(&report).down_ms,
        10_000,
        "two results of five seconds each, below the threshold"
    );
    assert_eq!((uptime(&report).probes, uptime(&report).failures), (5, 2));
    assert!(uptime(&report).coverage < 0.02, "an hour was asked for, not watched");
    let before = uptime(&report);

    // All within the first minute: without a history only the open one is known.
    world.aggregator.maintenance(&id("api"), true);
    probe.set(fail(FailureKind::Body));
    world.pass(secs(25)).await;
    let after = uptime(&world.aggregator.uptime(secs(3_600)).await.unwrap());
    assert_eq!((after.down_ms, after.up_ms), (before.down_ms, before.up_ms));
    assert_eq!(after.excluded_ms, 25_000);
}

#[tokio::test]
async fn a_suspend_discards_what_was_in_flight_and_waits_an_interval_before_it_judges() {
    let probe = MemoryProbe::passing();
    let world = World::new(vec![service("api", &probe)]);
    world.pass(secs(40)).await;
    probe.set(Answer::Hang);
    world.aggregator.accelerate(&id("api"));
    world.pass(secs(1)).await;
    world.clock.suspend(secs(3_600));
    world.pass(secs(6)).await;
    let check = world.service("api").checks[0].clone();
    assert_eq!((check.counters.discarded, check.counters.failures), (1, 0));
    probe.set(fail(FailureKind::Refused));
    world.aggregator.accelerate(&id("api"));
    world.pass(secs(1)).await;
    assert_eq!(world.state("api"), ServiceState::Healthy, "the network may need a moment");
    world.pass(secs(60)).await;
    assert_eq!(world.state("api"), ServiceState::Down);
    assert_eq!(world.aggregator.loop_stats().suspends, 1);
    let report = world.aggregator.uptime(secs(2 * 3_600)).await.unwrap();
    assert!(report.overall.unknown_ms > 3_590_000, "nobody watched while it slept");
}

#[tokio::test]
async fn a_wall_clock_that_jumps_changes_no_judgement_and_never_makes_more_than_100_percent() {
    let probe = MemoryProbe::passing();
    let world = World::new(vec![service("api", &probe)]);
    world.pass(secs(100)).await;
    let calls = probe.calls().len();
    for jump in [3_600_i64, -7_200, 3_600] {
        world.clock.set_wall(WallTime::from_millis(world.clock.wall().millis() + jump * 1_000));
        world.pass(secs(90)).await;
    }
    assert_eq!(probe.calls().len(), calls + 9, "the schedule did not notice");
    assert_eq!(world.state("api"), ServiceState::Healthy);
    let report = world.aggregator.uptime(secs(24 * 3_600)).await.unwrap();
    assert!(report.overall.percent.unwrap() <= 100.0 && report.overall.coverage <= 1.0);
    assert_eq!(world.aggregator.loop_stats().suspends, 0);
}

#[tokio::test]
async fn a_round_that_was_late_is_unknown_and_counts_for_nothing() {
    let probe = MemoryProbe::passing();
    let world = World::new(vec![service("api", &probe)]);
    world.pass(secs(40)).await;
    probe.set(fail(FailureKind::Refused));
    // Nothing ran for a while: every timer is late.
    world.clock.advance(secs(31));
    world.settle().await;
    let check = world.service("api").checks[0].clone();
    assert_eq!((check.counters.unknowns, check.counters.failures), (1, 0));
    assert_eq!(world.state("api"), ServiceState::Healthy);
    assert!(world.aggregator.loop_stats().stalls >= 1);
    world.pass(secs(31)).await;
    assert_eq!(world.state("api"), ServiceState::Down);
}

#[tokio::test]
async fn flapping_is_told_once_and_is_degraded() {
    let probe = MemoryProbe::passing();
    let policy = CheckPolicy { interval: secs(5), ..CheckPolicy::default() };
    let spec = ServiceSpec::new(id("api"), vec![check("main", &probe).with_policy(policy)]);
    let world = World::new(vec![spec]);
    for _ in 0..30 {
        world.pass(secs(5)).await;
        probe.then(fail(FailureKind::Refused));
        world.pass(secs(5)).await;
    }
    assert_eq!((world.state("api"), world.service("api").flapping), (ServiceState::Degraded, true));
    world.pass(secs(200)).await;
    assert_eq!((world.state("api"), world.service("api").flapping), (ServiceState::Healthy, false));
    let events = world.events();
    let count = |wanted: fn(&Event) -> bool| events.iter().filter(|event| wanted(event)).count();
    assert_eq!(count(|event| matches!(event, Event::FlappingStarted { .. })), 1);
    assert_eq!(count(|event| matches!(event, Event::FlappingStopped { .. })), 1);
    assert!(count(|event| matches!(event, Event::ServiceChanged { .. })) < 12);
}
