//! Faults of the operator itself, on the real loop, with real time and a real `operator.db`.

#![expect(clippy::unwrap_used, reason = "a test that can't set its stage has to stop")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jarvis_core::clock::{ClockExt, SharedClock, SystemClock};
use jarvis_core::events::Event;
use jarvis_core::health::Observation;
use jarvis_core::health::memory::{Answer, MemoryProbe};
use jarvis_core::lease::{Attempt, Lease, RestartLedger, SqliteLease, SqliteLedger};
use jarvis_core::operator::{Command, ManagedService};
use jarvis_core::restart::memory::{MemoryRestarter, Script};
use jarvis_core::restart::process::{ProcessConfig, ProcessRestarter};
use jarvis_core::restart::{
    ActionRequest, InstanceEvents, Receipt, RunState, Running, ServiceRestarter,
};
use jarvis_core::store::sqlite::{Options, Sqlite};
use jarvis_core::vocabulary::{FailureKind, Gate, HolderId, IntentId, VersionId};
use jarvis_core::{Error, ErrorKind, Result};
use jarvis_tests::operating::{Runs, Stage, id, quick};

fn clock() -> SharedClock {
    Arc::new(SystemClock::new())
}

/// A scripted service whose probe passes while it runs and is not sick.
fn scripted() -> (MemoryRestarter, MemoryProbe, Arc<AtomicBool>) {
    let restarter = MemoryRestarter::running(clock());
    let sick = Arc::new(AtomicBool::new(false));
    let (seen, ill) = (restarter.clone(), Arc::clone(&sick));
    let probe = MemoryProbe::new(Answer::ask(move || {
        if !seen.is_running() {
            Observation::fail(FailureKind::Refused, "nobody listens")
        } else if ill.load(Ordering::SeqCst) {
            Observation::fail(FailureKind::ServerError, "HTTP 500")
        } else {
            Observation::pass("HTTP 200")
        }
    }));
    (restarter, probe, sick)
}

fn managed(name: &str, restarter: &MemoryRestarter) -> ManagedService {
    ManagedService::new(id(name)).with_restarter(Arc::new(restarter.clone()), quick())
}

fn owned(folder: &std::path::Path, name: &str, script: &str) -> Arc<dyn ServiceRestarter> {
    let command = ["sh", "-c", script].map(str::to_owned).to_vec();
    Arc::new(
        ProcessRestarter::new(ProcessConfig::new(command), &id(name), folder, clock()).unwrap(),
    )
}

async fn stop_process(restarter: &Arc<dyn ServiceRestarter>) {
    let clock = clock();
    let request = ActionRequest::new(
        IntentId::new("tidy").unwrap(),
        jarvis_core::vocabulary::FencingToken::new(u64::MAX >> 1),
        clock.monotonic() + Duration::from_secs(15),
    );
    restarter.stop(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_17_a_crash_loop_is_given_up_after_three_attempts() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(folder.path(), |_| {});
    let restarter = owned(folder.path(), "api", "echo about to fail; exit 3");
    let service = ManagedService::new(id("api")).with_restarter(Arc::clone(&restarter), quick());
    stage.add(service, Arc::new(Runs(restarter)));
    stage.start();
    stage.seen("api", "escalated", 1).await;
    stage.linger(Duration::from_secs(1)).await;
    let started = stage
        .events
        .events()
        .into_iter()
        .filter(|event| matches!(event, Event::ActionStarted { attempt, .. } if *attempt > 0));
    assert_eq!(started.count(), 3);
    assert_eq!(stage.events.count("api", "escalated"), 1);
    assert_eq!(stage.events.count("api", "incident_opened"), 1);
    let lines = stage.events.events().into_iter().find_map(|event| match event {
        Event::Escalated { last_log_lines, .. } => Some(last_log_lines),
        _ => None,
    });
    assert!(lines.unwrap().iter().any(|line| line.contains("about to fail")));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_18_a_crash_after_the_verification_is_the_same_incident() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(folder.path(), |_| {});
    let (restarter, probe, _) = scripted();
    stage.add(managed("api", &restarter), Arc::new(probe));
    stage.start();
    stage
        .until("the lease", |events| {
            events.events().iter().any(|e| matches!(e, Event::LeaseAcquired { .. }))
        })
        .await;
    stage.linger(Duration::from_millis(500)).await;
    restarter.exit(jarvis_core::restart::Exit::Code(1));
    stage.seen("api", "verify_passed", 1).await;
    restarter.exit(jarvis_core::restart::Exit::Code(1));
    stage.seen("api", "verify_failed", 1).await;
    stage.seen("api", "incident_resolved", 1).await;
    assert_eq!(stage.events.count("api", "incident_opened"), 1);
    assert_eq!(stage.events.count("api", "action_started"), 2);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_25_the_same_instance_after_ok_is_a_failed_verification() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(folder.path(), |_| {});
    let (restarter, probe, sick) = scripted();
    stage.add(managed("api", &restarter), Arc::new(probe));
    stage.start();
    stage.linger(Duration::from_millis(500)).await;
    restarter.then(Script::Lie);
    sick.store(true, Ordering::SeqCst);
    stage.seen("api", "verify_failed", 1).await;
    let reason = stage.events.events().into_iter().find_map(|event| match event {
        Event::VerifyFailed { reason, .. } => Some(reason),
        _ => None,
    });
    assert!(reason.unwrap().contains("the same instance"));
    sick.store(false, Ordering::SeqCst);
    stage.seen("api", "incident_resolved", 1).await;
    stage.stop().await;
}

/// Stops at once, starts after a while, as a real service does.
#[derive(Debug)]
struct Slow {
    inner: MemoryRestarter,
    takes: Duration,
    half: Arc<AtomicBool>,
}

#[async_trait]
impl ServiceRestarter for Slow {
    async fn observe(&self) -> Result<Running> {
        self.inner.observe().await
    }
    async fn restart(&self, request: ActionRequest) -> Result<Receipt> {
        let half = ActionRequest::new(
            IntentId::new(format!("{}-half", request.intent))?,
            request.token,
            request.deadline,
        );
        self.inner.stop(half).await?;
        self.half.store(true, Ordering::SeqCst);
        clock().sleep(self.takes).await;
        self.inner.start(request).await
    }
    async fn start(&self, request: ActionRequest) -> Result<Receipt> {
        self.inner.start(request).await
    }
    async fn stop(&self, request: ActionRequest) -> Result<Receipt> {
        self.inner.stop(request).await
    }
    async fn roll_back(&self, request: ActionRequest, to: VersionId) -> Result<Receipt> {
        self.inner.roll_back(request, to).await
    }
    async fn settle_roll_back(&self, keep: bool) -> Result<()> {
        self.inner.settle_roll_back(keep).await
    }
    async fn watch(&self) -> Result<InstanceEvents> {
        Err(Error::new(ErrorKind::Unsupported, "no events"))
    }
    async fn last_log_lines(&self, lines: usize) -> Result<Vec<String>> {
        self.inner.last_log_lines(lines).await
    }
}

/// A stage in the middle of a restart: stopped, not started yet.
async fn halfway(
    folder: &std::path::Path,
    takes: Duration,
) -> (Stage, MemoryRestarter, MemoryProbe) {
    let mut stage = Stage::new(folder, |_| {});
    let (restarter, probe, sick) = scripted();
    let half = Arc::new(AtomicBool::new(false));
    let slow = Slow { inner: restarter.clone(), takes, half: Arc::clone(&half) };
    let service = ManagedService::new(id("api")).with_restarter(Arc::new(slow), quick());
    stage.add(service.with_target("test:api"), Arc::new(probe.clone()));
    stage.start();
    stage.linger(Duration::from_millis(500)).await;
    sick.store(true, Ordering::SeqCst);
    stage.seen("api", "action_started", 1).await;
    while !half.load(Ordering::SeqCst) {
        stage.linger(Duration::from_millis(5)).await;
    }
    sick.store(false, Ordering::SeqCst);
    assert!(!restarter.is_running());
    (stage, restarter, probe)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_33_an_end_in_the_middle_of_a_restart_finishes_it_and_the_next_start_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (mut stage, restarter, probe) = halfway(folder.path(), Duration::from_secs(2)).await;
    stage.stop().await;
    assert!(restarter.is_running(), "the start half was finished before the end");
    assert_eq!(stage.events.count("api", "incident_resolved"), 0);
    let mut next = Stage::new(folder.path(), |_| {});
    next.add(managed("api", &restarter), Arc::new(probe));
    next.start();
    next.seen("api", "incident_resolved", 1).await;
    assert_eq!(next.events.count("api", "incident_opened"), 0, "the incident kept its id");
    assert_eq!(restarter.lives(), 2);
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_36_the_kill_switch_lets_nothing_begin_and_what_was_stopped_start() {
    let folder = tempfile::tempdir().unwrap();
    let (mut stage, restarter, _) = halfway(folder.path(), Duration::from_millis(1_500)).await;
    std::fs::write(folder.path().join("STOP"), "").unwrap();
    stage.seen("api", "verify_passed", 1).await;
    assert!(restarter.is_running(), "between stop and start: it is started");
    stage
        .until("the switch", |events| {
            events.events().iter().any(|e| matches!(e, Event::ActingChanged { acting: false, .. }))
        })
        .await;
    restarter.exit(jarvis_core::restart::Exit::Code(1));
    stage
        .until("the hold", |events| {
            events.events().iter().any(
                |e| matches!(e, Event::ActionHeld { hold, .. } if hold.gate == Gate::KillSwitch),
            )
        })
        .await;
    let refused =
        stage.operator.command(Command::Restart { service: id("api"), by: "test".into() }).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Forbidden);
    stage.linger(Duration::from_millis(500)).await;
    assert!(!restarter.is_running());
    std::fs::remove_file(folder.path().join("STOP")).unwrap();
    stage.seen("api", "incident_resolved", 1).await;
    assert!(restarter.is_running());
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_37_a_service_removed_in_the_middle_is_started_and_a_renamed_one_keeps_its_budget() {
    let folder = tempfile::tempdir().unwrap();
    let (mut stage, restarter, probe) = halfway(folder.path(), Duration::from_secs(1)).await;
    let service = stage.remove("api");
    stage.apply();
    stage.seen("api", "incident_resolved", 1).await;
    assert!(restarter.is_running());
    assert!(stage.operator.status().await.services.is_empty());

    let mut renamed = ManagedService::new(id("backend"))
        .with_restarter(Arc::new(restarter.clone()), quick())
        .with_target(service.target.clone().unwrap());
    stage.add(renamed.clone(), Arc::new(probe.clone()));
    stage.apply();
    stage.linger(Duration::from_millis(500)).await;
    restarter.exit(jarvis_core::restart::Exit::Code(1));
    stage.seen("backend", "verify_passed", 1).await;
    stage.remove("backend");
    renamed.id = id("gateway");
    stage.add(renamed, Arc::new(probe));
    stage.apply();
    stage.seen("gateway", "incident_resolved", 1).await;
    let status = stage.operator.status().await;
    assert_eq!(status.services.len(), 1);
    let begun = stage.events.events().into_iter().filter(|event| {
        let ours = event.service().is_some_and(|service| *service != id("api"));
        ours && matches!(event, Event::ActionStarted { attempt, .. } if *attempt > 0)
    });
    let begun = u32::try_from(begun.count()).unwrap();
    assert!(begun >= 1);
    assert_eq!(status.services[0].budget[0].used, begun, "the attempts moved with the name");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_39_when_everything_times_out_we_suspect_ourselves_and_hold() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage =
        Stage::new(folder.path(), |settings| settings.limits.max_concurrent_restarts = 0);
    let broken = Arc::new(AtomicBool::new(false));
    for n in 0..200 {
        let cut = Arc::clone(&broken);
        let probe = MemoryProbe::new(Answer::ask(move || {
            if cut.load(Ordering::SeqCst) {
                Observation::fail(FailureKind::Unreachable, "no route to host")
            } else {
                Observation::pass("HTTP 200")
            }
        }));
        let restarter = MemoryRestarter::running(clock());
        let name = format!("s{n}");
        stage.add(managed(&name, &restarter).with_host(format!("host-{}", n % 7)), Arc::new(probe));
    }
    stage.start();
    stage.linger(Duration::from_secs(1)).await;
    broken.store(true, Ordering::SeqCst);
    stage
        .until("the suspicion", |events| {
            events
                .events()
                .iter()
                .any(|e| matches!(e, Event::SelfSuspected { suspected: true, .. }))
        })
        .await;
    stage.linger(Duration::from_secs(1)).await;
    let events = stage.events.events();
    let count = |test: fn(&Event) -> bool| events.iter().filter(|event| test(event)).count();
    assert_eq!(count(|e| matches!(e, Event::SelfSuspected { .. })), 1);
    assert_eq!(count(|e| matches!(e, Event::ActionStarted { .. })), 0);
    assert!(count(|e| matches!(e, Event::IncidentOpened { .. })) < 10, "no page a service");
    broken.store(false, Ordering::SeqCst);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_40_twenty_dependents_wait_for_their_root_and_come_back_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(folder.path(), |_| {});
    let (root, probe, _) = scripted();
    stage.add(managed("db", &root), Arc::new(probe));
    let mut dependents = Vec::new();
    for n in 0..20 {
        let db = root.clone();
        let restarter = MemoryRestarter::running(clock());
        let probe = MemoryProbe::new(Answer::ask(move || {
            if db.is_running() {
                Observation::pass("HTTP 200")
            } else {
                Observation::fail(FailureKind::ServerError, "HTTP 503")
            }
        }));
        let service = managed(&format!("app{n}"), &restarter).with_dependencies([id("db")]);
        stage.add(service, Arc::new(probe));
        dependents.push(restarter);
    }
    stage.start();
    stage.linger(Duration::from_secs(1)).await;
    root.exit(jarvis_core::restart::Exit::Signal(9));
    stage.seen("db", "incident_resolved", 1).await;
    stage
        .until("their end", |events| {
            (0..20).all(|n| {
                let name = format!("app{n}");
                events.count(&name, "incident_opened") == events.count(&name, "incident_resolved")
            })
        })
        .await;
    assert!(
        dependents.iter().all(|restarter| restarter.lives() == 1),
        "only the root was restarted"
    );
    assert_eq!(root.lives(), 2);
    let explained = stage.events.events().into_iter().all(|event| match event {
        Event::IncidentOpened { service, because_of, .. } => {
            service == id("db") || because_of == Some(id("db"))
        }
        _ => true,
    });
    assert!(explained, "their alerts name the root");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_24_a_restarter_that_hangs_or_panics_holds_up_nobody() {
    #[derive(Debug)]
    struct Broken(bool);
    #[async_trait]
    impl ServiceRestarter for Broken {
        async fn observe(&self) -> Result<Running> {
            Ok(Running::new(RunState::Running))
        }
        async fn restart(&self, _: ActionRequest) -> Result<Receipt> {
            assert!(self.0, "a plug-in that panics");
            std::future::pending().await
        }
        async fn start(&self, request: ActionRequest) -> Result<Receipt> {
            self.restart(request).await
        }
        async fn stop(&self, request: ActionRequest) -> Result<Receipt> {
            self.restart(request).await
        }
        async fn roll_back(&self, request: ActionRequest, _: VersionId) -> Result<Receipt> {
            self.restart(request).await
        }
        async fn settle_roll_back(&self, _: bool) -> Result<()> {
            Ok(())
        }
        async fn watch(&self) -> Result<InstanceEvents> {
            Err(Error::new(ErrorKind::Unsupported, "no events"))
        }
        async fn last_log_lines(&self, _: usize) -> Result<Vec<String>> {
            std::future::pending().await
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(folder.path(), |settings| {
        settings.limits.max_concurrent_restarts = 4;
        settings.shutdown_deadline = Duration::from_secs(1);
    });
    let mut policy = quick();
    policy.command_timeout = Duration::from_secs(1);
    let sick = Arc::new(AtomicBool::new(false));
    for (name, hangs) in [("hangs", true), ("panics", false)] {
        let ill = Arc::clone(&sick);
        let probe = MemoryProbe::new(Answer::ask(move || {
            if ill.load(Ordering::SeqCst) {
                Observation::fail(FailureKind::ServerError, "HTTP 500")
            } else {
                Observation::pass("HTTP 200")
            }
        }));
        let service =
            ManagedService::new(id(name)).with_restarter(Arc::new(Broken(hangs)), policy.clone());
        stage.add(service, Arc::new(probe));
    }
    let (well, probe, _) = scripted();
    stage.add(managed("well", &well), Arc::new(probe));
    stage.start();
    stage.linger(Duration::from_millis(500)).await;
    sick.store(true, Ordering::SeqCst);
    stage.seen("panics", "action_finished", 1).await;
    well.exit(jarvis_core::restart::Exit::Code(1));
    stage.seen("well", "incident_resolved", 1).await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_31_without_a_disk_nothing_is_begun_and_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage =
        Stage::new(folder.path(), |settings| settings.lease_ttl = Duration::from_secs(60));
    let (restarter, probe, _) = scripted();
    stage.add(managed("api", &restarter), Arc::new(probe));
    stage.start();
    stage
        .until("the lease", |events| {
            events.events().iter().any(|e| matches!(e, Event::LeaseAcquired { .. }))
        })
        .await;
    stage.linger(Duration::from_millis(500)).await;
    let intruder = rusqlite::Connection::open(folder.path().join("operator.db")).unwrap();
    intruder.execute_batch("BEGIN IMMEDIATE").unwrap();
    restarter.exit(jarvis_core::restart::Exit::Code(1));
    stage
        .until("the trouble", |events| {
            events.events().iter().any(|e| matches!(e, Event::OperatorTrouble { .. }))
        })
        .await;
    assert!(!restarter.is_running(), "no act without an intent on disk");
    intruder.execute_batch("ROLLBACK").unwrap();
    stage.seen("api", "incident_resolved", 1).await;
    assert!(restarter.is_running());
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_35_an_old_token_is_refused_by_the_ledger_and_two_operators_act_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = Sqlite::open(folder.path().join("operator.db"), &Options::new()).unwrap();
    let lease = SqliteLease::new(&sqlite, clock());
    let ledger = SqliteLedger::new(&sqlite, clock());
    let old = lease
        .acquire(&HolderId::new("old").unwrap(), Duration::from_millis(1))
        .await
        .unwrap()
        .unwrap();
    clock().sleep(Duration::from_millis(20)).await;

    let (restarter, probe, _) = scripted();
    let mut stages = [Stage::new(folder.path(), |_| {}), Stage::new(folder.path(), |_| {})];
    for stage in &mut stages {
        stage.add(managed("api", &restarter), Arc::new(probe.clone()));
        stage.start();
    }
    let [one, two] = &stages;
    while one
        .events
        .events()
        .iter()
        .chain(&two.events.events())
        .all(|e| !matches!(e, Event::LeaseAcquired { .. }))
    {
        one.linger(Duration::from_millis(20)).await;
    }
    one.linger(Duration::from_millis(500)).await;
    restarter.exit(jarvis_core::restart::Exit::Code(1));
    let resolved = |stage: &Stage| stage.events.count("api", "incident_resolved");
    let deadline = one.clock.monotonic() + Duration::from_secs(30);
    while resolved(one) + resolved(two) == 0 && one.clock.monotonic() < deadline {
        one.linger(Duration::from_millis(50)).await;
    }
    assert_eq!(resolved(one) + resolved(two), 1);
    assert_eq!(restarter.lives(), 2, "one of the two acted");

    let attempt = Attempt::new(id("api"), IntentId::new("stale").unwrap(), old.token);
    assert_eq!(ledger.reserve(attempt).await.unwrap_err().kind(), ErrorKind::Forbidden);
    for stage in &mut stages {
        stage.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_22_a_killed_process_is_brought_back_and_its_signal_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(folder.path(), |_| {});
    let restarter = owned(folder.path(), "api", "exec sleep 600");
    let service = ManagedService::new(id("api")).with_restarter(Arc::clone(&restarter), quick());
    stage.add(service, Arc::new(Runs(Arc::clone(&restarter))));
    stage.start();
    stage.seen("api", "verify_passed", 1).await;
    let before = restarter.observe().await.unwrap().instance.unwrap();
    let pid: i32 = before
        .as_str()
        .split(|c: char| !c.is_ascii_digit())
        .find(|word| !word.is_empty())
        .unwrap()
        .parse()
        .unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    stage.seen("api", "incident_resolved", 1).await;
    let exit = stage.events.events().into_iter().find_map(|event| match event {
        Event::InstanceExited { exit, .. } => Some(exit),
        _ => None,
    });
    assert_eq!(exit.unwrap(), "signal 9");
    assert_ne!(restarter.observe().await.unwrap().instance.unwrap(), before);
    stage.stop().await;
    stop_process(&restarter).await;
}
