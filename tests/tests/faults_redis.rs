//! Fault 35 across machines: operators with a state directory each, and lease and ledger in one
//! Redis.

#![expect(clippy::unwrap_used, reason = "a test that can't set its stage has to stop")]

use std::sync::Arc;
use std::time::Duration;

use jarvis_core::ErrorKind;
use jarvis_core::clock::{ClockExt, SharedClock, SystemClock};
use jarvis_core::events::Event;
use jarvis_core::health::Observation;
use jarvis_core::health::memory::{Answer, MemoryProbe};
use jarvis_core::lease::{Attempt, Limit, RedisLeaseConfig};
use jarvis_core::operator::ManagedService;
use jarvis_core::registry::Leadership;
use jarvis_core::restart::Exit;
use jarvis_core::restart::memory::MemoryRestarter;
use jarvis_core::vocabulary::{FailureKind, FencingToken, IntentId};
use jarvis_tests::engines::RedisServer;
use jarvis_tests::operating::{Stage, id, quick};
use jarvis_tests::proxy::Proxy;
use tempfile::TempDir;

fn clock() -> SharedClock {
    Arc::new(SystemClock::new())
}

/// A service that both machines see, whose probe passes while it runs.
fn scripted() -> (MemoryRestarter, MemoryProbe) {
    let restarter = MemoryRestarter::running(clock());
    let seen = restarter.clone();
    let probe = MemoryProbe::new(Answer::ask(move || {
        if seen.is_running() {
            Observation::pass("HTTP 200")
        } else {
            Observation::fail(FailureKind::Refused, "nobody listens")
        }
    }));
    (restarter, probe)
}

fn leadership(port: u16) -> Leadership {
    let config = RedisLeaseConfig::new(format!("redis://127.0.0.1:{port}"));
    let (lease, ledger) = config.open(clock()).unwrap();
    (Arc::new(lease), Arc::new(ledger))
}

struct Machine {
    stage: Stage,
    _folder: TempDir,
}

impl Machine {
    fn new(
        port: u16,
        lease_ttl: Duration,
        (restarter, probe): &(MemoryRestarter, MemoryProbe),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let change =
            |settings: &mut jarvis_core::operator::OperatorSettings| settings.lease_ttl = lease_ttl;
        let mut stage = Stage::with_leadership(folder.path(), leadership(port), change);
        let service =
            ManagedService::new(id("api")).with_restarter(Arc::new(restarter.clone()), quick());
        stage.add(service, Arc::new(probe.clone()));
        stage.start();
        Self { stage, _folder: folder }
    }

    fn token(&self) -> Option<FencingToken> {
        self.stage.events.events().iter().rev().find_map(|event| match event {
            Event::LeaseAcquired { token, .. } => Some(*token),
            _ => None,
        })
    }

    async fn leads(&self) -> FencingToken {
        self.stage.until("the lease", |_| self.token().is_some()).await;
        self.token().unwrap()
    }

    fn count(&self, kind: &str) -> usize {
        self.stage.events.count("api", kind)
    }
}

/// Waits until it is so.
async fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let clock = clock();
    let deadline = clock.monotonic() + Duration::from_secs(30);
    while !so() {
        assert!(clock.monotonic() < deadline, "{what} never came");
        clock.sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_35_two_machines_restart_three_times_together_and_one_acts() {
    let server = RedisServer::with_port(&[]).await;
    let service = scripted();
    let ttl = Duration::from_secs(2);
    let mut machines =
        [Machine::new(server.port(), ttl, &service), Machine::new(server.port(), ttl, &service)];
    eventually("a leader", || machines.iter().any(|machine| machine.token().is_some())).await;
    let resolved = |machines: &[Machine; 2]| {
        machines.iter().map(|m| m.count("incident_resolved")).sum::<usize>()
    };
    for time in 1..=2 {
        service.0.exit(Exit::Code(1));
        eventually("a restart", || resolved(&machines) == time).await;
        assert_eq!(service.0.lives(), 1 + time as u64, "one of the two acted");
    }
    assert!(machines.iter().any(|machine| machine.token().is_none()), "the other one watched");

    // The leader's machine goes; the other one counts on where it was.
    let leader = machines.iter().position(|machine| machine.token().is_some()).unwrap();
    machines[leader].stage.stop().await;
    let other = &machines[1 - leader];
    other.leads().await;
    service.0.exit(Exit::Code(1));
    eventually("the third restart", || resolved(&machines) == 3).await;
    assert_eq!(service.0.lives(), 4);
    service.0.exit(Exit::Code(1));
    eventually("a hold", || other.count("action_held") > 0 || other.count("escalated") > 0).await;
    other.stage.linger(Duration::from_secs(1)).await;
    assert_eq!(service.0.lives(), 4, "three in five minutes, whoever acts");

    let (_, ledger) = leadership(server.port());
    let limit = Limit { max: 3, window: Duration::from_secs(300) };
    let usage = ledger.usage(&id("api"), &[limit]).await.unwrap();
    assert_eq!(usage[0].used, 3);
    machines[1 - leader].stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_35_a_machine_that_is_cut_off_does_not_act_and_its_token_is_refused() {
    let server = RedisServer::with_port(&[]).await;
    let wire = Proxy::to(server.port()).await;
    let service = scripted();
    let ttl = Duration::from_secs(2);
    let mut far = Machine::new(wire.port(), ttl, &service);
    let old = far.leads().await;
    let mut near = Machine::new(server.port(), ttl, &service);
    wire.cut();
    service.0.exit(Exit::Code(1));
    let new = near.leads().await;
    assert!(new > old, "{new} after {old}");
    eventually("a restart", || near.count("incident_resolved") == 1).await;
    assert_eq!(service.0.lives(), 2, "one of the two acted");
    assert_eq!(far.count("incident_resolved"), 0);
    eventually("the loss", || {
        far.stage.events.events().iter().any(|event| matches!(event, Event::LeaseLost { .. }))
    })
    .await;

    let (_, ledger) = leadership(server.port());
    let stale = Attempt::new(id("api"), IntentId::new("stale").unwrap(), old);
    assert_eq!(ledger.reserve(stale).await.unwrap_err().kind(), ErrorKind::Forbidden);
    wire.mend();
    service.0.exit(Exit::Code(1));
    eventually("another restart", || near.count("incident_resolved") == 2).await;
    assert_eq!(service.0.lives(), 3, "the one that came back watches only");
    far.stage.stop().await;
    near.stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_35_without_redis_nobody_acts_and_a_redis_that_forgot_gives_a_newer_token() {
    let mut server = RedisServer::with_port(&[]).await;
    let service = scripted();
    let mut machine = Machine::new(server.port(), Duration::from_secs(2), &service);
    let before = machine.leads().await;
    server.crash();
    eventually("the loss", || {
        machine.stage.events.events().iter().any(|event| matches!(event, Event::LeaseLost { .. }))
    })
    .await;
    service.0.exit(Exit::Code(1));
    machine.stage.linger(Duration::from_secs(1)).await;
    assert_eq!(service.0.lives(), 1, "nothing is acted on without the lease");
    // It kept nothing on disk.
    server.restart(&[]);
    eventually("a newer token", || machine.token().is_some_and(|token| token > before)).await;
    eventually("a restart", || machine.count("incident_resolved") == 1).await;
    assert_eq!(service.0.lives(), 2);
    machine.stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_changes_its_kind_of_lease_and_back() {
    let server = RedisServer::with_port(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    for of in ["file", "redis", "file"] {
        let mut stage = match of {
            "file" => Stage::new(folder.path(), |_| {}),
            _ => Stage::with_leadership(folder.path(), leadership(server.port()), |_| {}),
        };
        stage.start();
        let led = |event: &Event| matches!(event, Event::LeaseAcquired { .. });
        stage.until(of, |events| events.events().iter().any(led)).await;
        stage.stop().await;
    }
}
