//! What becomes of one service under the real loop: 17, 18, 22, 24, 25, 33, 36, 37.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jarvis_core::events::Event;
use jarvis_core::health::Observation;
use jarvis_core::health::memory::{Answer, MemoryProbe};
use jarvis_core::operator::{Action, Command, ManagedService};
use jarvis_core::restart::memory::{MemoryRestarter, Script};
use jarvis_core::restart::{ActionRequest, Receipt, ServiceRestarter};
use jarvis_core::vocabulary::{FailureKind, Gate};
use jarvis_core::{ErrorKind, Result};
use jarvis_tests::operating::{Runs, Stage, id, quick};

use crate::stage::{Twist, Twisted, clock, halfway, managed, owned, scripted, stop_process};

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
    stage.well().await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_24_a_restarter_that_hangs_or_panics_holds_up_nobody() {
    #[derive(Debug)]
    struct Broken(bool);
    #[async_trait]
    impl Twist for Broken {
        async fn restart(&self, _: &dyn ServiceRestarter, _: ActionRequest) -> Result<Receipt> {
            assert!(self.0, "a plug-in that panics");
            std::future::pending().await
        }
        async fn last_log_lines(&self, _: &dyn ServiceRestarter, _: usize) -> Result<Vec<String>> {
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
        let broken = Twisted(Arc::new(MemoryRestarter::running(clock())), Broken(hangs));
        let service =
            ManagedService::new(id(name)).with_restarter(Arc::new(broken), policy.clone());
        stage.add(service, Arc::new(probe));
    }
    let (well, probe, _) = scripted();
    stage.add(managed("well", &well), Arc::new(probe));
    stage.start();
    stage.well().await;
    sick.store(true, Ordering::SeqCst);
    stage.seen("panics", "action_finished", 1).await;
    well.exit(jarvis_core::restart::Exit::Code(1));
    stage.seen("well", "incident_resolved", 1).await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_25_the_same_instance_after_ok_is_a_failed_verification() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(folder.path(), |_| {});
    let (restarter, probe, sick) = scripted();
    stage.add(managed("api", &restarter), Arc::new(probe));
    stage.start();
    stage.well().await;
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
        stage.operator.command(Command::new(Action::Restart { service: id("api") }, "test")).await;
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
    stage.well().await;
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
