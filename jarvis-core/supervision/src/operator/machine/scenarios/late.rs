//! What arrives late, and was seen before the life that it is taken for.

use super::super::input::Input;
use super::super::record::HealthReport;
use super::super::world::{World, id, plan, secs};
use crate::restart::InstanceEvent;
use base::clock::ClockExt;
use base::vocabulary::{Cause, CheckName, FailureKind, ServiceState};

/// A look is slow, or the word of the checks: what they saw of the life before arrives after the
/// new one was verified.
#[test]
fn what_was_seen_of_the_life_before_says_nothing_about_the_new_one() {
    for late in [secs(9), secs(12), secs(20), secs(60)] {
        let mut world = World::new(vec![plan("api")]);
        world.run(5);
        world.sim("api").kill();
        world.run(1);
        // It is being restarted, and a probe that sees the old life takes its time to say so.
        world.run(3);
        world.sim("api").slow = late;
        let now = world.clock.stamp();
        let cause = Cause {
            check: CheckName::new("http").unwrap(),
            kind: Some(FailureKind::Refused),
            message: "refused".to_owned(),
        };
        let report = HealthReport {
            state: ServiceState::Down,
            cause: Some(cause),
            ever_passed: true,
            flapping: false,
        };
        let told = Input::Health { service: id("api"), report, began: now };
        world.later(late, told);
        world.run(200);
        assert_eq!(world.count("api", "verify_passed"), 1, "{:?}", world.story("api"));
        assert_eq!(world.count("api", "verify_failed"), 0, "{:?}", world.story("api"));
        assert_eq!(world.count("api", "incident_resolved"), 1, "{:?}", world.story("api"));
    }
}

/// A look that began before the restart and arrives after its verification.
#[test]
fn a_look_at_the_life_before_is_not_believed() {
    let mut world = World::new(vec![plan("api")]);
    world.run(5);
    world.sim("api").slow = secs(40);
    // It looks now, sees it run, and says so in 40 seconds.
    let gap = InstanceEvent::Gap;
    world.input(Input::Instance { service: id("api"), event: gap });
    world.run(1);
    world.sim("api").slow = secs(0);
    world.sim("api").kill();
    world.run(20);
    assert_eq!(world.count("api", "restart (down"), 0, "the look comes first");
    world.run(120);
    assert_eq!(world.count("api", "restart (down 1"), 1, "{:?}", world.story("api"));
    assert_eq!(world.count("api", "verify_failed"), 0, "{:?}", world.story("api"));
    assert_eq!(world.count("api", "incident_resolved"), 1, "{:?}", world.story("api"));
}

/// A dependent that ended with its root follows as soon as the root is back, not at its next
/// routine look.
#[test]
fn a_dependent_follows_its_root_at_once() {
    let mut api = plan("api");
    api.depends_on = vec![id("db")];
    let mut world = World::new(vec![plan("db"), api]);
    world.run(5);
    world.sim("db").kill();
    world.sim("api").kill();
    while world.count("db", "verify_passed") == 0 {
        world.run(1);
    }
    world.run(2);
    assert_eq!(world.count("api", "restart (down 1"), 1, "{:?}", world.story("api"));
    world.run(100);
    assert_eq!(world.count("api", "incident_resolved"), 1, "{:?}", world.story("api"));
}
