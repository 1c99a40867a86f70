//! Planned work: timed pauses and maintenance windows.

use super::*;
use crate::operator::command::Reply;

fn pause(seconds: u64) -> Command {
    Command::new(Action::Pause { lasting: Some(secs(seconds)) }, "ann")
}

fn maintain(services: &[&str], seconds: u64) -> Command {
    let services = services.iter().map(|name| (*name).to_owned()).collect();
    let action = Action::Maintain { services, lasting: secs(seconds) };
    Command::new(action, "ann").with_reason("new disk")
}

/// Whether windows opened (`+`) or closed (`-`), and for whom, in order.
fn windows(world: &World) -> Vec<String> {
    let told = world.events.iter().filter_map(|(_, event)| match event {
        Event::MaintenanceChanged { open, services } => {
            Some(format!("{}{}", if *open { '+' } else { '-' }, services.join(",")))
        }
        _ => None,
    });
    told.collect()
}

fn open_windows(world: &World) -> Vec<u64> {
    use base::clock::ClockExt;
    let status = world.machine.status(&world.clock.stamp());
    status.maintenance.iter().map(|window| window.window).collect()
}

#[test]
fn a_timed_pause_survives_a_crash_and_ends_by_itself() {
    let mut world = World::new(vec![plan("api")]);
    world.run(5);
    world.command(pause(120));
    world.run(20);
    world.crash();
    world.sim("api").kill();
    world.run(90);
    assert!(world.performed.is_empty(), "{:?}", world.story("api"));
    let Lifecycle::Held { hold } = lifecycle(&world, "api") else { panic!("not held") };
    assert!(hold.until.is_some() && hold.reason.contains("ann until"), "{hold:?}");
    world.run(40);
    assert_eq!(world.performed.len(), 1, "{:?}", world.story("api"));
    let told: Vec<(bool, &str)> = world
        .events
        .iter()
        .filter_map(|(_, event)| match event {
            Event::ActingChanged { acting, reason } => Some((*acting, reason.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[1], (true, "the pause is over"));
}

#[test]
fn a_pause_that_ended_while_jarvis_was_away_holds_nothing() {
    let mut world = World::new(vec![plan("api")]);
    world.run(5);
    world.command(pause(60));
    world.lose_lease();
    world.run(120);
    world.sim("api").kill();
    world.crash();
    world.run(30);
    assert_eq!(world.count("api", "held by mode"), 0, "{:?}", world.story("api"));
    assert_eq!(world.performed.len(), 1);
}

#[test]
fn a_later_pause_replaces_an_earlier_one_and_resume_ends_both() {
    let mut world = World::new(vec![plan("api")]);
    world.run(5);
    world.command(pause(10));
    world.command(Command::new(Action::Pause { lasting: None }, "bob"));
    world.run(60);
    world.sim("api").kill();
    world.run(60);
    assert!(world.performed.is_empty(), "the first one's end is not the second one's");
    world.command(Command::new(Action::Resume, "ann"));
    world.run(30);
    assert_eq!(world.performed.len(), 1);
}

#[test]
fn a_window_opened_by_hand_holds_actions_over_a_crash_and_closes_by_itself() {
    let mut world = World::new(vec![plan("api"), plan("web")]);
    world.run(5);
    let ticket = world.command(maintain(&["api"], 120));
    world.run(1);
    let answer = world.answered.iter().find(|(asked, _)| *asked == ticket).unwrap();
    let Ok(Reply::Opened { window }) = &answer.1 else { panic!("{answer:?}") };
    assert_eq!((window.window, window.reason.as_str()), (1, "new disk"));
    world.crash();
    world.sim("api").kill();
    world.sim("web").kill();
    world.run(60);
    assert_eq!(world.performed.len(), 1, "only web is acted on");
    assert_eq!(world.count("api", "incident_opened"), 0, "planned work is no incident");
    assert_eq!(open_windows(&world), [1]);
    world.run(80);
    assert_eq!(world.performed.len(), 2, "{:?}", world.story("api"));
    assert_eq!(windows(&world), ["+api", "-api"]);
    assert!(open_windows(&world).is_empty());
}

#[test]
fn of_windows_that_overlap_only_the_last_end_is_told() {
    let mut world = World::new(vec![plan("api"), plan("web")]);
    world.run(5);
    world.command(maintain(&["*"], 60));
    world.command(maintain(&["api"], 120));
    world.run(70);
    assert_eq!(windows(&world), ["+api,web", "-web"]);
    assert_eq!(open_windows(&world), [2]);
    world.maintain(&id("api"), true);
    world.command(Command::new(Action::EndMaintenance { window: Some(2) }, "ann"));
    world.run(5);
    assert_eq!(windows(&world).len(), 2, "the calendar's window is still open");
    world.maintain(&id("api"), false);
    world.run(5);
    assert_eq!(windows(&world), ["+api,web", "-web", "-api"]);
}

#[test]
fn a_window_that_ended_while_jarvis_was_away_is_told_as_closed() {
    let mut world = World::new(vec![plan("api"), plan("web")]);
    world.run(5);
    world.command(maintain(&["api"], 60));
    world.maintain(&id("web"), true);
    world.run(5);
    world.lose_lease();
    world.maintained.clear();
    world.run(120);
    world.crash();
    world.run(5);
    assert_eq!(windows(&world), ["+api", "+web", "-api,web"]);
}

#[test]
fn a_window_over_nothing_or_that_does_not_exist_is_refused() {
    let mut world = World::new(vec![plan("api")]);
    world.run(5);
    for (command, kind) in [
        (maintain(&["apj"], 60), ErrorKind::NotFound),
        (maintain(&["db-*"], 60), ErrorKind::NotFound),
        (maintain(&["["], 60), ErrorKind::NotFound),
        (maintain(&[], 60), ErrorKind::InvalidInput),
        (maintain(&["api"], 0), ErrorKind::InvalidInput),
        (pause(0), ErrorKind::InvalidInput),
        (Command::new(Action::EndMaintenance { window: Some(7) }, "ann"), ErrorKind::NotFound),
    ] {
        let ticket = world.command(command.clone());
        assert_eq!(world.refusal(ticket).map(base::Error::kind), Some(kind), "{command:?}");
    }
    assert!(windows(&world).is_empty());
}

#[test]
fn a_reload_puts_services_and_what_holds_over_them_in_force_together() {
    let mut world = World::with_settings(
        vec![plan("api")],
        OperatorSettings { mode: Mode::Observe, ..OperatorSettings::default() },
    );
    world.run(5);
    world.sim("api").kill();
    world.run(60);
    assert!(world.performed.is_empty());
    let settings = OperatorSettings {
        allow: Allow { services: Some(vec!["web".to_owned()]), actions: None },
        ..OperatorSettings::default()
    };
    let input = |world: &World, settings: OperatorSettings| Input::Configure {
        plans: world.plans.clone(),
        settings: Some(Box::new(settings)),
        windows: Vec::new(),
    };
    let narrowed = input(&world, settings);
    world.input(narrowed);
    world.run(60);
    assert!(world.performed.is_empty(), "mode and allow-list changed in one step");
    let opened = input(&world, OperatorSettings::default());
    world.input(opened);
    world.run(30);
    assert_eq!(world.performed.len(), 1, "{:?}", world.story("api"));
}

#[test]
fn a_share_of_all_services_can_be_asked_for_before_jarvis_suspects_itself() {
    let names: Vec<String> = (0..12).map(|n| format!("s{n}")).collect();
    let suspected = |share: f64| {
        let plans = names.iter().enumerate().map(|(n, name)| {
            let mut plan = plan(name);
            plan.host = Some(format!("host-{}", n % 3));
            plan
        });
        let mut settings = OperatorSettings::default();
        settings.suspicion.share = share;
        let mut world = World::with_settings(plans.collect(), settings);
        world.run(5);
        for name in &names[..6] {
            world.sim(name).hung = Some(FailureKind::Timeout);
        }
        world.run(5);
        let told = |(_, event): &(_, Event)| matches!(event, Event::SelfSuspected { .. });
        world.events.iter().any(told)
    };
    assert!(suspected(0.0), "six services on three hosts");
    assert!(suspected(0.4));
    assert!(!suspected(0.5), "six of twelve are not more than half");
}

#[test]
fn maintenance_opens_no_incident_and_ends_with_one_if_it_is_still_down() {
    let mut world = World::new(vec![plan("api")]);
    world.run(5);
    world.maintain(&id("api"), true);
    world.sim("api").kill();
    world.run(300);
    assert_eq!(world.story("api"), ["instance_exited", "held by maintenance"]);
    world.maintain(&id("api"), false);
    world.run(90);
    assert_eq!(world.count("api", "incident_resolved"), 1, "{:?}", world.story("api"));
}

#[test]
fn pause_and_resume_survive_a_restart_of_jarvis() {
    let mut world = World::new(vec![plan("api")]);
    world.run(5);
    world.command(Command::new(Action::Pause { lasting: None }, "ann"));
    world.crash();
    world.run(5);
    world.sim("api").kill();
    world.run(60);
    assert_eq!(world.count("api", "held by mode"), 1);
    assert!(world.performed.is_empty());
    world.command(Command::new(Action::Resume, "ann"));
    world.run(60);
    assert_eq!(world.performed.len(), 1);
}
