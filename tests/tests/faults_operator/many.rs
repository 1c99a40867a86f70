//! Many services at once: 39, 40.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use jarvis_core::events::Event;
use jarvis_core::health::Observation;
use jarvis_core::health::memory::{Answer, MemoryProbe};
use jarvis_core::operator::{Action, Command};
use jarvis_core::restart::Exit;
use jarvis_core::restart::memory::MemoryRestarter;
use jarvis_core::vocabulary::{FailureKind, Gate, ServiceState};
use jarvis_tests::operating::{Recorder, Stage, id};

use crate::stage::{clock, managed, scripted};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_39_when_everything_times_out_we_suspect_ourselves_and_hold() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(folder.path(), |_| {});
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
    let (proven, probe, _) = scripted();
    stage.add(managed("proven", &proven), Arc::new(probe));
    stage.start();
    stage.well().await;
    broken.store(true, Ordering::SeqCst);
    stage
        .until("the suspicion", |events| {
            events
                .events()
                .iter()
                .any(|e| matches!(e, Event::SelfSuspected { suspected: true, .. }))
        })
        .await;
    // What ended for certain is none of our imagination, and shows that we could act.
    proven.exit(Exit::Code(1));
    stage.seen("proven", "verify_passed", 1).await;
    let events = stage.events.events();
    let count = |test: fn(&Event) -> bool| events.iter().filter(|event| test(event)).count();
    assert_eq!(count(|e| matches!(e, Event::SelfSuspected { .. })), 1);
    assert_eq!(count(|e| matches!(e, Event::ActionStarted { .. })), 1, "only of what is proven");
    assert!(count(|e| matches!(e, Event::IncidentOpened { .. })) < 10, "no page a service");
    broken.store(false, Ordering::SeqCst);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_40_twenty_dependents_wait_for_their_root_and_come_back_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    // More than a check takes to see them well again, also on a busy machine.
    let grace = Duration::from_secs(10);
    let mut stage = Stage::new(folder.path(), |settings| settings.dependency_grace = grace);
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
    stage.well().await;
    root.exit(Exit::Signal(9));
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

/// What this process has in memory, in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * u64::try_from(rustix::param::page_size()).unwrap()
}

const ALONE: &str = "JARVIS_TEST_ALONE";

/// In a process of its own, where nothing else takes memory.
#[test]
fn fault_39_a_thousand_services_that_fail_for_good_take_a_bounded_memory() {
    let name = "many::fault_39_a_thousand_services_that_fail_for_good_take_a_bounded_memory";
    if std::env::var_os(ALONE).is_none() {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
        return;
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(a_thousand_fail());
}

async fn a_thousand_fail() {
    const SERVICES: u32 = 1_000;
    const ROUNDS: u32 = 20;
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(folder.path(), |_| {});
    stage.with_checks(|checks| {
        checks.interval = Duration::from_secs(1);
        checks.interval_down = Duration::from_millis(300);
        checks.timeout = Duration::from_secs(5);
    });
    let (broken, probed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    for n in 0..SERVICES {
        let (cut, probed) = (Arc::clone(&broken), Arc::clone(&probed));
        let probe = MemoryProbe::new(Answer::ask(move || {
            probed.fetch_add(1, Ordering::SeqCst);
            if cut.load(Ordering::SeqCst) {
                Observation::fail(FailureKind::Unreachable, format!("no route to host {n}"))
            } else {
                Observation::pass("HTTP 200")
            }
        }));
        let service = managed(&format!("s{n}"), &MemoryRestarter::running(clock()));
        stage.add(service.with_host(format!("host-{}", n % 7)), Arc::new(probe));
    }
    let (proven, probe, _) = scripted();
    stage.add(managed("proven", &proven), Arc::new(probe));
    stage.start();
    stage.well().await;
    let rounds = |rounds: u32| {
        let (probed, from) = (Arc::clone(&probed), probed.load(Ordering::SeqCst));
        move || probed.load(Ordering::SeqCst) >= from + rounds * SERVICES
    };
    stage.wait("a few rounds", rounds(3)).await;
    let well = resident();
    broken.store(true, Ordering::SeqCst);
    // The last 20 results of each are kept; from then on the newer replace the older.
    stage.wait("the failure of all", rounds(25)).await;
    let failed = resident();
    stage.wait("more rounds", rounds(ROUNDS)).await;
    let later = resident();
    proven.exit(Exit::Code(1));
    stage.seen("proven", "verify_passed", 1).await;

    let events = stage.events.events();
    let count = |test: fn(&Event) -> bool| events.iter().filter(|event| test(event)).count();
    assert_eq!(count(|e| matches!(e, Event::SelfSuspected { suspected: true, .. })), 1);
    assert_eq!(count(|e| matches!(e, Event::ActionStarted { .. })), 1, "only of what is proven");
    let each = |bytes: u64| bytes / u64::from(SERVICES);
    let (fault, growth) = (failed.saturating_sub(well), later.saturating_sub(failed));
    assert!(each(fault) <= 16 << 10, "{fault} bytes for the fault of {SERVICES}");
    // A result that was kept would be 100 bytes and more, twenty times.
    assert!(each(growth) <= 1_024, "{growth} bytes more in {ROUNDS} rounds of {SERVICES}");
    broken.store(false, Ordering::SeqCst);
    stage.stop().await;
}

/// One service flaps, two depend on each other and are down: nobody restarts what a restart does
/// not mend, everybody is told why, and who is healthy otherwise is healed beside them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_40_a_flapping_service_and_a_cycle_are_held_and_hold_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(folder.path(), |_| {});
    let [(one, one_probe, _), (two, two_probe, _), (well, well_probe, _)] =
        [scripted(), scripted(), scripted()];
    stage.add(managed("one", &one).with_dependencies([id("two")]), Arc::new(one_probe));
    stage.add(managed("two", &two).with_dependencies([id("one")]), Arc::new(two_probe));
    stage.add(managed("well", &well), Arc::new(well_probe));
    let (flaps, asked) = (Arc::new(AtomicBool::new(false)), AtomicU32::new(0));
    let (flapping, flapper) = (Arc::clone(&flaps), MemoryRestarter::running(clock()));
    let probe = MemoryProbe::new(Answer::ask(move || {
        let odd = asked.fetch_add(1, Ordering::SeqCst) % 2 == 1;
        if odd && flapping.load(Ordering::SeqCst) {
            Observation::fail(FailureKind::ServerError, "HTTP 500")
        } else {
            Observation::pass("HTTP 200")
        }
    }));
    stage.add(managed("flapper", &flapper), Arc::new(probe));
    stage.start();
    stage.well().await;

    // Both of the cycle are down before either may be acted on.
    let by = || "a test".to_owned();
    stage.operator.command(Command::new(Action::Pause { lasting: None }, by())).await.unwrap();
    flaps.store(true, Ordering::SeqCst);
    one.exit(Exit::Code(1));
    two.exit(Exit::Code(1));
    stage.seen("one", "incident_opened", 1).await;
    stage.seen("two", "incident_opened", 1).await;
    while state(&stage, "flapper").await != ServiceState::Degraded {
        stage.linger(Duration::from_millis(10)).await;
    }
    stage.operator.command(Command::new(Action::Resume, by())).await.unwrap();
    let held = |events: &Recorder, of: &str| {
        events.events().iter().any(|event| {
            matches!(event, Event::ActionHeld { service, hold, .. }
                if service.as_str() == of && hold.gate == Gate::Dependency)
        })
    };
    stage.until("both holds", |events| held(events, "one") && held(events, "two")).await;
    well.exit(Exit::Code(1));
    stage.seen("well", "incident_resolved", 1).await;
    assert_eq!((one.lives(), two.lives(), flapper.lives()), (1, 1, 1));

    // Who breaks the cycle by hand helps both.
    let restart = Command::new(Action::Restart { service: id("one") }, by());
    stage.operator.command(restart).await.unwrap();
    stage.seen("one", "incident_resolved", 1).await;
    stage.seen("two", "incident_resolved", 1).await;
    assert_eq!((one.lives(), two.lives(), flapper.lives()), (2, 2, 1));
    stage.stop().await;
}

async fn state(stage: &Stage, name: &str) -> ServiceState {
    let status = stage.operator.status().await;
    status.services.iter().find(|service| service.service == id(name)).unwrap().state
}
