//! What happens between a restart and its first look.

use super::*;

#[test]
fn an_exit_during_the_wait_fails_at_once() {
    let mut world = World::new(vec![plan("api")]);
    world.run(5);
    world.sim("api").kill();
    while world.performed.is_empty() {
        world.pass(std::time::Duration::from_millis(10), secs(1));
    }
    world.run(3);
    world.sim("api").kill();
    let event = crate::restart::InstanceEvent::Exited { instance: None, exit: Exit::Code(1) };
    world.input(Input::Instance { service: id("api"), event });
    world.run(1);
    assert_eq!(world.count("api", "verify_failed"), 1);
    assert_eq!(lifecycle(&world, "api"), Lifecycle::BackingOff);
}

#[test]
fn a_person_who_stops_it_during_the_wait_ends_the_incident() {
    let mut world = World::new(vec![plan("api")]);
    world.run(5);
    world.sim("api").kill();
    world.run(3);
    assert_eq!(world.performed.len(), 1);
    world.sim("api").run = RunState::StoppedByPerson { evidence: "docker stop".to_owned() };
    world.run(300);
    assert_eq!(world.performed.len(), 1, "{:?}", world.story("api"));
    assert_eq!(lifecycle(&world, "api"), Lifecycle::Stopped);
    assert_eq!(world.count("api", "incident_resolved"), 1);
    assert_eq!(world.count("api", "verify_failed"), 0);
}

/// What did not run when its restart was decided was not stopped by us: after a crash before the
/// act, the kill switch holds it.
#[test]
fn an_intent_that_a_crash_cut_off_does_not_get_past_the_kill_switch() {
    let cut_off = |nth: u32| {
        let mut world = World::new(vec![plan("api")]);
        world.run(5);
        world.sim("api").kill();
        world.crash_in = Some((nth, CrashPoint::AfterCommit));
        for _ in 0..400 {
            if world.crashes > 0 {
                break;
            }
            world.pass(std::time::Duration::from_millis(5), secs(1));
        }
        let intended = world.count("api", "restart (down") == 1 && world.performed.is_empty();
        intended.then_some(world)
    };
    let mut world = (0..10).find_map(cut_off).expect("a crash between the intent and the act");
    world.set_kill(true);
    world.run(60);
    assert!(world.performed.is_empty(), "{:?}", world.story("api"));
    assert_eq!(world.count("api", "held by kill_switch"), 1, "{:?}", world.story("api"));
    world.set_kill(false);
    world.run(120);
    assert_eq!(world.count("api", "incident_resolved"), 1, "{:?}", world.story("api"));
}
