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
