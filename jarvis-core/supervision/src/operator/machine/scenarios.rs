//! One story a rule.

mod late;
mod planned;
mod rollback;
mod waits;

use super::input::Input;
use super::record::Phase;
use super::world::{CrashPoint, Script, World, id, plan, secs};
use crate::operator::command::{Action, Command};
use crate::operator::settings::{Allow, AllowedAction, OperatorSettings};
use crate::restart::{Exit, RunState};
use base::ErrorKind;
use base::events::Event;
use base::vocabulary::{ActionKind, FailureKind, Gate, Lifecycle, Mode};

fn restart(name: &str) -> Command {
    Command::new(Action::Restart { service: id(name) }, "ann")
}

fn lifecycle(world: &World, name: &str) -> Lifecycle {
    use base::clock::ClockExt;
    let status = world.machine.status(&world.clock.stamp());
    status.services.into_iter().find(|service| service.service.as_str() == name).unwrap().lifecycle
}

#[test]
fn a_killed_service_is_restarted_verified_and_resolved() {
    let mut world = World::new(vec![plan("api")]);
    world.run(5);
    world.sim("api").kill();
    world.run(90);
    assert_eq!(
        world.story("api"),
        [
            "instance_exited",
            "incident_opened",
            "restart (down 1)",
            "finished Done",
            "verify_passed",
            "incident_recovered",
            "incident_resolved"
        ]
    );
    let at = |kind: &str| {
        let found = world
            .events
            .iter()
            .find(|(_, event)| serde_json::to_value(event).unwrap()["type"] == kind);
        found.unwrap().0.boottime
    };
    let verified = at("verify_passed") - at("action_finished");
    assert!(
        verified >= secs(11) && verified < secs(12),
        "wait 10s, two passes 1s apart: {verified:?}"
    );
    assert!(at("incident_resolved") - at("verify_passed") >= secs(60));
    assert_eq!(lifecycle(&world, "api"), Lifecycle::Steady);
}

#[test]
fn three_attempts_then_one_escalation_then_half_open_trials_with_a_growing_cooldown() {
    let mut world = World::new(vec![plan("api")]);
    world.run(5);
    world.sim("api").scripts = std::iter::repeat_n(Script::Refuse, 100).collect();
    world.sim("api").hung = Some(FailureKind::ServerError);
    world.run(100);
    assert_eq!(world.count("api", "restart (down"), 3);
    assert_eq!(world.count("api", "escalated"), 1);
    let log = world.events.iter().find_map(|(_, event)| match event {
        Event::Escalated { last_log_lines, .. } => Some(last_log_lines.clone()),
        _ => None,
    });
    assert_eq!(log.unwrap(), ["the last line"]);
    assert_eq!(lifecycle(&world, "api"), Lifecycle::CoolingDown);
    world.run(15 * 60);
    assert_eq!(world.count("api", "restart (half_open"), 1);
    world.run(15 * 60);
    assert_eq!(world.count("api", "restart (half_open"), 1, "the cooldown doubled");
    world.run(16 * 60);
    assert_eq!(world.count("api", "restart (half_open"), 2);
    assert_eq!(world.count("api", "escalated"), 1, "no new page");
    world.sim("api").scripts.clear();
    world.run(2 * 3_600);
    assert_eq!(world.count("api", "restart (half_open"), 3);
    assert_eq!(world.count("api", "incident_resolved"), 1);
    assert_eq!(world.count("api", "incident_opened"), 1);
    assert_eq!(lifecycle(&world, "api"), Lifecycle::Steady, "the breaker closed");
}

#[test]
fn a_crash_within_the_stabilisation_is_the_same_incident() {
    let mut world = World::new(vec![plan("api")]);
    world.run(5);
    world.sim("api").dies_after = Some(secs(30));
    world.run(400);
    assert_eq!(world.count("api", "incident_opened"), 1);
    assert_eq!(world.count("api", "restart (down"), 3, "{:?}", world.story("api"));
    assert_eq!(world.count("api", "verify_failed"), 3);
    assert_eq!(world.count("api", "escalated"), 1);
    assert_eq!(world.count("api", "incident_resolved"), 0);
}

#[test]
fn a_crash_loop_that_is_slower_than_the_stabilisation_runs_into_the_windows() {
    let mut world = World::new(vec![plan("api")]);
    world.run(5);
    world.sim("api").dies_after = Some(secs(85));
    world.run(300);
    assert_eq!(world.count("api", "restart (down"), 3, "{:?}", world.story("api"));
    world.sim("api").dies_after = Some(secs(20 * 60));
    world.pass(secs(20 * 3_600), secs(5));
    let day: usize = world.intents[&id("api")].len();
    assert!(day <= 10, "{day} attempts in 20 hours");
    assert!(world.count("api", "escalated") >= 1);
}

#[test]
fn what_a_restart_cannot_mend_is_held_and_told_once() {
    for kind in [FailureKind::Auth, FailureKind::Dns, FailureKind::Tls, FailureKind::Resource] {
        let mut world = World::new(vec![plan("db")]);
        world.run(5);
        world.sim("db").hung = Some(kind);
        world.run(600);
        assert_eq!(world.story("db"), ["incident_opened", "held by failure_kind"], "{kind}");
        world.sim("db").hung = None;
        world.run(70);
        assert_eq!(world.count("db", "incident_resolved"), 1);
        assert!(world.performed.is_empty());
    }
}

#[test]
fn a_check_that_never_passed_restarts_nothing_unless_the_instance_exited() {
    let mut world = World::new(vec![plan("api")]);
    world.sim("api").ever_passed = false;
    world.sim("api").hung = Some(FailureKind::Refused);
    world.run(300);
    assert_eq!(world.story("api"), ["incident_opened", "held by never_healthy"]);
    world.sim("api").kill();
    world.run(60);
    assert_eq!(world.count("api", "restart (down"), 1, "{:?}", world.story("api"));
}

#[test]
fn the_first_pass_of_what_counts_as_down_restarts_nothing() {
    let mut world = World::new(vec![plan("api")]);
    world.sim("api").ever_passed = false;
    world.sim("api").hung = Some(FailureKind::Refused);
    world.run(60);
    // It passed once; it is well after the second pass.
    world.sim("api").ever_passed = true;
    world.run(5);
    world.sim("api").hung = None;
    world.run(120);
    assert_eq!(world.count("api", "restart (down"), 0, "{:?}", world.story("api"));
    assert_eq!(world.count("api", "incident_resolved"), 1, "{:?}", world.story("api"));
    world.sim("api").hung = Some(FailureKind::Refused);
    world.run(60);
    assert_eq!(world.count("api", "restart (down"), 1, "{:?}", world.story("api"));
}

#[test]
fn a_first_start_is_no_restart() {
    let mut world = World::new(vec![plan("api")]);
    world.sim("api").run = RunState::NotStarted;
    world.crash();
    world.run(5);
    assert_eq!(
        world.story("api")[..3],
        ["start (first_start 0)", "finished Done", "verify_passed"]
    );
    assert!(world.intents.is_empty());
}

#[test]
fn the_root_goes_first_and_dependents_follow_once_and_staggered() {
    let mut api = plan("api");
    api.depends_on = vec![id("db")];
    api.restart_with_dependency = true;
    let mut worker = plan("worker");
    worker.depends_on = vec![id("db")];
    worker.restart_with_dependency = true;
    let mut world = World::new(vec![api, worker, plan("db")]);
    world.run(5);
    for name in ["api", "worker", "db"] {
        world.sim(name).kill();
    }
    world.run(180);
    let order: Vec<&str> = world.performed.iter().map(|(_, service, _)| service.as_str()).collect();
    assert_eq!(order, ["db", "api", "worker"], "root first, each once");
    // The first is looked at once more before it follows; the second was by its turn.
    let look = std::time::Duration::from_millis(100);
    let apart = world.performed[2].0 - world.performed[1].0;
    assert!(apart + look >= secs(2), "staggered: {apart:?}");
    let opened = world.events.iter().find_map(|(_, event)| match event {
        Event::IncidentOpened { service, because_of, .. } if service.as_str() == "api" => {
            Some(because_of.clone())
        }
        _ => None,
    });
    assert_eq!(opened.unwrap(), Some(id("db")));
    assert_eq!(world.count("api", "incident_resolved"), 1);
}

#[test]
fn a_watch_only_dependency_holds_and_a_degraded_one_does_not() {
    let mut db = plan("db");
    db.actionable = false;
    let mut api = plan("api");
    api.depends_on = vec![id("db")];
    let mut world = World::new(vec![api, db]);
    world.run(5);
    world.sim("db").kill();
    world.sim("api").kill();
    world.run(120);
    assert!(world.performed.is_empty());
    assert_eq!(world.count("api", "held by dependency"), 1);
    world.sim("db").start();
    world.run(60);
    assert_eq!(world.performed.len(), 1, "{:?}", world.story("api"));
}

#[test]
fn dependents_get_time_to_follow_by_themselves() {
    let mut api = plan("api");
    api.depends_on = vec![id("db")];
    let mut world = World::new(vec![api, plan("db")]);
    world.run(5);
    world.sim("db").kill();
    world.sim("api").hung = Some(FailureKind::ServerError);
    world.run(20);
    world.sim("api").hung = None;
    world.run(120);
    assert_eq!(world.performed.len(), 1, "only db: {:?}", world.performed);
    assert_eq!(world.count("api", "incident_resolved"), 1);
}

#[test]
fn stopped_by_a_person_is_told_not_paged_and_not_touched() {
    let mut world = World::new(vec![plan("api")]);
    world.run(5);
    world.sim("api").run = RunState::StoppedByPerson { evidence: "docker stop".to_owned() };
    world.run(600);
    assert_eq!(world.story("api"), ["stopped_by_person"]);
    assert_eq!(lifecycle(&world, "api"), Lifecycle::Stopped);
    world.sim("api").start();
    world.run(90);
    assert_eq!(lifecycle(&world, "api"), Lifecycle::Steady);
    world.sim("api").run = RunState::Missing;
    world.run(90);
    assert_eq!(world.count("api", "stopped_by_person"), 2, "removed by a person");
    assert!(world.performed.is_empty());
}

#[test]
fn the_platforms_own_restart_policy_goes_first() {
    let mut world = World::new(vec![plan("api")]);
    world.sim("api").native = true;
    world.run(5);
    world.sim("api").kill();
    world.run(120);
    assert!(world.performed.is_empty(), "Docker restarts exits: {:?}", world.story("api"));
    assert_eq!(world.count("api", "incident_resolved"), 1);
    world.sim("api").hung = Some(FailureKind::Timeout);
    world.run(60);
    assert_eq!(world.performed.len(), 1, "running but unhealthy is ours: {:?}", world.story("api"));
}

#[test]
fn the_same_instance_after_ok_is_a_failed_verification() {
    let mut world = World::new(vec![plan("api")]);
    world.run(5);
    world.sim("api").hung = Some(FailureKind::Timeout);
    world.sim("api").scripts = [Script::Lie].into();
    world.run(100);
    assert_eq!(world.count("api", "verify_failed"), 1);
    assert_eq!(world.count("api", "restart (down"), 2);
    assert_eq!(world.count("api", "incident_resolved"), 1);
}

#[test]
fn without_an_identity_it_is_told_as_not_proven() {
    let mut world = World::new(vec![plan("api")]);
    world.sim("api").no_identity = true;
    world.run(5);
    world.sim("api").hung = Some(FailureKind::Timeout);
    world.run(100);
    let proven = world.events.iter().find_map(|(_, event)| match event {
        Event::VerifyPassed { proven, .. } => Some(*proven),
        _ => None,
    });
    assert_eq!(proven, Some(false));
}

#[test]
fn an_unknown_result_is_read_from_the_identity_and_still_counts() {
    let mut world = World::new(vec![plan("api")]);
    world.run(5);
    world.sim("api").hung = Some(FailureKind::Timeout);
    world.sim("api").scripts = [Script::LoseAnswer].into();
    world.run(100);
    assert_eq!(world.performed.len(), 1, "it was restarted, only the answer got lost");
    assert_eq!(world.count("api", "verify_passed"), 1);
    assert_eq!(world.intents[&id("api")].len(), 1);
}

#[test]
fn what_jarvis_stopped_it_starts_whatever_the_kill_switch_says() {
    for script in [Script::StopsOnly, Script::LoseHalf] {
        let mut world = World::new(vec![plan("api")]);
        world.run(5);
        world.sim("api").hung = Some(FailureKind::Timeout);
        world.sim("api").scripts = [script].into();
        while world.performed.is_empty() {
            world.pass(std::time::Duration::from_millis(10), secs(1));
        }
        world.set_kill(true);
        world.run(60);
        assert_eq!(world.sim("api").run, RunState::Running, "{script:?}");
        assert_eq!(world.performed.len(), 2);
        assert_eq!(world.performed[1].2, ActionKind::Start);
        world.sim("api").kill();
        world.run(60);
        assert_eq!(world.performed.len(), 2, "but nothing new is begun");
        assert_eq!(world.count("api", "held by kill_switch"), 1);
    }
}

#[test]
fn a_manual_restart_overrides_budgets_and_windows_but_not_the_kill_switch() {
    let mut world = World::new(vec![plan("api")]);
    world.run(5);
    world.sim("api").scripts = std::iter::repeat_n(Script::Refuse, 3).collect();
    world.sim("api").hung = Some(FailureKind::ServerError);
    world.run(200);
    assert_eq!(world.count("api", "escalated"), 1);
    world.maintain(&id("api"), true);
    world.set_kill(true);
    let refused = world.command(restart("api"));
    world.run(1);
    let error = world.refusal(refused).unwrap();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert!(error.context().any(|(key, value)| (key, value) == ("gate", "kill_switch")), "{error}");
    world.set_kill(false);
    world.command(restart("api"));
    world.run(100);
    assert_eq!(world.count("api", "restart (manual 0)"), 1);
    assert_eq!(world.count("api", "incident_resolved"), 1);
    assert_eq!(world.intents[&id("api")].len(), 3, "it did not eat the budget");
}

#[test]
fn a_manual_stop_is_left_stopped_and_a_manual_start_ends_that() {
    let mut world = World::new(vec![plan("api")]);
    world.run(5);
    world.command(Command::new(Action::Stop { service: id("api") }, "ann"));
    world.run(300);
    assert!(matches!(world.sim("api").run, RunState::Exited { .. }));
    assert_eq!(lifecycle(&world, "api"), Lifecycle::Stopped);
    assert_eq!(world.count("api", "incident_opened"), 0);
    world.crash();
    world.run(60);
    assert_eq!(world.performed.len(), 1, "also after a restart of JARVIS");
    world.command(Command::new(Action::Start { service: id("api") }, "ann"));
    world.run(90);
    assert_eq!(world.sim("api").run, RunState::Running);
    assert_eq!(lifecycle(&world, "api"), Lifecycle::Steady);
}

#[test]
fn reset_clears_budget_and_breaker() {
    let mut world = World::new(vec![plan("api")]);
    world.run(5);
    world.sim("api").scripts = std::iter::repeat_n(Script::Refuse, 3).collect();
    world.sim("api").hung = Some(FailureKind::ServerError);
    world.run(200);
    assert_eq!(lifecycle(&world, "api"), Lifecycle::CoolingDown);
    world.command(Command::new(Action::Reset { service: id("api") }, "ann"));
    world.run(100);
    assert_eq!(world.count("api", "incident_resolved"), 1, "{:?}", world.story("api"));
}

#[test]
fn dry_run_says_once_what_it_would_do() {
    let settings = OperatorSettings { mode: Mode::DryRun, ..OperatorSettings::default() };
    let mut world = World::with_settings(vec![plan("api")], settings);
    world.run(5);
    world.sim("api").kill();
    world.run(100);
    assert_eq!(world.story("api"), ["instance_exited", "incident_opened", "action_simulated"]);
    assert!(world.performed.is_empty());
}

#[test]
fn the_allow_list_and_a_missing_restart_section_hold() {
    let allow = Allow { services: Some(vec!["other".to_owned()]), actions: None };
    let settings = OperatorSettings { allow, ..OperatorSettings::default() };
    let mut world = World::with_settings(vec![plan("api")], settings);
    world.run(5);
    world.sim("api").kill();
    world.run(60);
    assert_eq!(world.count("api", "held by allow_list"), 1);
    assert!(world.performed.is_empty());
}

#[test]
fn many_that_time_out_together_make_us_suspect_ourselves_for_a_minute() {
    let plans: Vec<_> = (0..6).map(|n| plan(&format!("s{n}"))).collect();
    let mut world = World::new(plans);
    world.run(5);
    for n in 0..6 {
        world.sim(&format!("s{n}")).hung = Some(FailureKind::Timeout);
    }
    world.run(30);
    let suspected = |world: &World, on: bool| {
        world.events.iter().filter(|(_, event)| matches!(event, Event::SelfSuspected { suspected, .. } if *suspected == on)).count()
    };
    assert_eq!(suspected(&world, true), 1);
    assert!(world.performed.len() < 6, "those after the fifth are held");
    world.run(60);
    assert_eq!((suspected(&world, true), suspected(&world, false)), (1, 1));
    world.run(300);
    assert_eq!(suspected(&world, true), 1, "the same failures raise it once");
    for n in 0..6 {
        assert_eq!(world.count(&format!("s{n}"), "incident_resolved"), 1, "s{n}");
    }
}

#[test]
fn seven_killed_at_once_heal_two_at_a_time() {
    let plans: Vec<_> = (0..7).map(|n| plan(&format!("s{n}"))).collect();
    let mut world = World::new(plans);
    world.run(5);
    for n in 0..7 {
        world.sim(&format!("s{n}")).kill();
    }
    world.run(200);
    for n in 0..7 {
        assert_eq!(
            world.count(&format!("s{n}"), "incident_resolved"),
            1,
            "s{n}: {:?}",
            world.story(&format!("s{n}"))
        );
    }
    assert_eq!(world.performed.len(), 7);
    for begun in &world.performed {
        let at_once = world
            .performed
            .iter()
            .filter(|other| other.0 >= begun.0 && other.0 < begun.0 + secs(10));
        assert!(at_once.count() <= 2);
    }
}

#[test]
fn a_failing_canary_holds_timeouts_but_never_a_proven_exit() {
    let mut world = World::new(vec![plan("api"), plan("db")]);
    world.run(5);
    world.input(Input::Canary(Err("our loopback is broken".to_owned())));
    world.sim("api").hung = Some(FailureKind::Timeout);
    world.sim("db").kill();
    world.run(120);
    assert_eq!(world.count("api", "held by self_suspicion"), 1);
    assert_eq!(world.count("api", "incident_opened"), 0);
    assert_eq!(world.count("db", "incident_resolved"), 1);
    world.input(Input::Canary(Ok(())));
    world.run(120);
    assert_eq!(world.count("api", "incident_resolved"), 1);
}

#[test]
fn after_a_suspend_nothing_is_begun_for_a_while() {
    let mut world = World::new(vec![plan("api")]);
    world.run(5);
    world.sim("api").hung = Some(FailureKind::Timeout);
    world.input(Input::Woke);
    world.run(25);
    assert!(world.performed.is_empty());
    world.run(30);
    assert_eq!(world.performed.len(), 1);
}

#[test]
fn a_renamed_service_keeps_its_incident_and_its_budget() {
    let mut world = World::new(vec![plan("api")]);
    world.run(5);
    world.sim("api").scripts = std::iter::repeat_n(Script::Refuse, 9).collect();
    world.sim("api").hung = Some(FailureKind::ServerError);
    world.run(200);
    assert_eq!(world.count("api", "escalated"), 1);
    let sim = world.sims.remove(&id("api")).unwrap();
    world.sims.insert(id("backend"), sim);
    let mut renamed = plan("backend");
    renamed.target = Some("test:api".to_owned());
    world.plans = vec![renamed];
    world.input(Input::Configure {
        plans: world.plans.clone(),
        settings: None,
        windows: Vec::new(),
    });
    world.run(200);
    assert!(world.story("backend").is_empty(), "{:?}", world.story("backend"));
    assert_eq!(lifecycle(&world, "backend"), Lifecycle::CoolingDown);
    world.crash();
    world.run(60);
    assert_eq!(lifecycle(&world, "backend"), Lifecycle::CoolingDown);
}

#[test]
fn a_service_that_says_what_it_was_called_keeps_its_budget_with_another_target() {
    let mut world = World::new(vec![plan("api")]);
    world.run(5);
    world.sim("api").scripts = std::iter::repeat_n(Script::Refuse, 9).collect();
    world.sim("api").hung = Some(FailureKind::ServerError);
    world.run(200);
    assert_eq!(lifecycle(&world, "api"), Lifecycle::CoolingDown);
    let sim = world.sims.remove(&id("api")).unwrap();
    world.sims.insert(id("backend"), sim);
    let mut renamed = plan("backend");
    renamed.renamed_from = Some(id("api"));
    world.plans = vec![renamed];
    world.input(Input::Configure {
        plans: world.plans.clone(),
        settings: None,
        windows: Vec::new(),
    });
    world.run(60);
    assert_eq!(lifecycle(&world, "backend"), Lifecycle::CoolingDown);
}

#[test]
fn a_service_removed_in_the_middle_of_a_restart_is_still_started() {
    let mut world = World::new(vec![plan("api")]);
    world.run(5);
    world.sim("api").hung = Some(FailureKind::Timeout);
    world.sim("api").scripts = [Script::LoseHalf].into();
    while world.performed.is_empty() {
        world.pass(std::time::Duration::from_millis(10), secs(1));
    }
    world.plans.clear();
    world.input(Input::Configure { plans: Vec::new(), settings: None, windows: Vec::new() });
    world.run(30);
    assert_eq!(world.sim("api").run, RunState::Running);
    assert_eq!(world.machine.count(), 0);
    assert_eq!(world.count("api", "incident_resolved"), 1, "its alert is closed");
}

#[test]
fn a_flapping_service_is_held_unless_it_has_exited() {
    let mut world = World::new(vec![plan("api")]);
    world.sim("api").flapping = true;
    world.run(5);
    world.sim("api").hung = Some(FailureKind::Timeout);
    world.run(60);
    assert_eq!(world.count("api", "held by flapping"), 1);
    assert!(world.performed.is_empty());
    world.sim("api").kill();
    world.run(30);
    assert_eq!(world.performed.len(), 1);
}

#[test]
fn a_crash_of_jarvis_between_intent_and_act_is_reconciled() {
    for point in [CrashPoint::BeforeCommit, CrashPoint::AfterCommit] {
        for nth in 0..12 {
            let mut world = World::new(vec![plan("api")]);
            world.run(5);
            world.sim("api").hung = Some(FailureKind::Timeout);
            world.sim("api").scripts = [Script::LoseHalf].into();
            world.crash_in = Some((nth, point));
            world.run(900);
            assert_eq!(
                world.sims[&id("api")].run,
                RunState::Running,
                "{point:?} {nth}: {:?}",
                world.story("api")
            );
            assert_eq!(
                world.count("api", "incident_opened"),
                1,
                "{point:?} {nth}: {:?}",
                world.story("api")
            );
            assert_eq!(
                world.count("api", "incident_resolved"),
                1,
                "{point:?} {nth}: {:?}",
                world.story("api")
            );
        }
    }
}

#[test]
fn an_operator_without_the_lease_decides_nothing() {
    let mut world = World::new(vec![plan("api")]);
    world.run(5);
    world.lose_lease();
    world.sim("api").kill();
    world.run(300);
    assert!(world.performed.is_empty() && world.count("api", "incident_opened") == 0);
    let ticket = world.command(restart("api"));
    assert_eq!(world.refusal(ticket).unwrap().kind(), ErrorKind::Forbidden);
    world.lead();
    world.run(100);
    assert_eq!(world.count("api", "incident_resolved"), 1);
}

#[test]
fn a_platform_that_cannot_be_asked_escalates_with_its_reason() {
    let mut world = World::new(vec![plan("api")]);
    world.run(5);
    let sim = world.sim("api");
    sim.hung = Some(FailureKind::Timeout);
    sim.blind = true;
    sim.scripts = std::iter::repeat_n(Script::Refuse, 9).collect();
    world.run(400);
    assert_eq!(world.count("api", "escalated"), 1, "{:?}", world.story("api"));
    assert_eq!(world.intents[&id("api")].len(), 3);
}

#[test]
fn the_gate_order_is_the_vocabularys() {
    let mut world = World::new(vec![plan("api")]);
    world.run(5);
    world.sim("api").flapping = true;
    world.sim("api").hung = Some(FailureKind::Auth);
    world.set_kill(true);
    world.run(10);
    let Lifecycle::Held { hold } = lifecycle(&world, "api") else { panic!("not held") };
    assert_eq!(hold.gate, Gate::KillSwitch);
    world.set_kill(false);
    world.run(10);
    let Lifecycle::Held { hold } = lifecycle(&world, "api") else { panic!("not held") };
    assert_eq!(hold.gate, Gate::FailureKind, "before flapping");
    assert!(matches!(world.machine.services[&id("api")].record.phase, Phase::Idle));
}
