//! A bad version goes back to the good one, once.

use super::*;
use crate::operator::policy::RollbackPolicy;
use base::vocabulary::VersionId;

fn versions() -> (VersionId, VersionId) {
    (VersionId::new("v1").unwrap(), VersionId::new("v2").unwrap())
}

/// v1 proved itself, then v2 is deployed, which is bad.
fn bad_deploy(settings: OperatorSettings) -> World {
    let (good, bad) = versions();
    let mut api = plan("api");
    api.rollback = Some(RollbackPolicy::default());
    let mut world = World::with_settings(vec![api], settings);
    world.sim("api").version = Some(good);
    world.run(700);
    let sim = world.sim("api");
    sim.kill();
    sim.version = Some(bad.clone());
    sim.bad_versions.insert(bad);
    sim.start();
    world
}

#[test]
fn a_bad_version_is_rolled_back_once_and_pinned() {
    let (good, bad) = versions();
    let mut world = bad_deploy(OperatorSettings::default());
    world.run(300);
    let actions: Vec<_> = world.performed.iter().map(|(_, _, action)| action.clone()).collect();
    assert_eq!(
        actions,
        [ActionKind::Restart, ActionKind::Restart, ActionKind::RollBack { to: good.clone() }]
    );
    assert_eq!(world.count("api", "rolled_back"), 1, "{:?}", world.story("api"));
    assert_eq!(world.count("api", "incident_resolved"), 1);
    let sim = world.sim("api");
    assert_eq!(sim.version, Some(good));
    sim.kill();
    sim.version = Some(bad);
    sim.start();
    world.run(1_200);
    let rollbacks = world
        .performed
        .iter()
        .filter(|(_, _, action)| matches!(action, ActionKind::RollBack { .. }));
    assert_eq!(rollbacks.count(), 1, "once a bad version");
}

#[test]
fn without_permission_there_is_no_rollback() {
    let allow = Allow { services: None, actions: Some(vec![AllowedAction::Restart]) };
    let mut world = bad_deploy(OperatorSettings { allow, ..OperatorSettings::default() });
    world.run(300);
    assert!(world.performed.iter().all(|(_, _, action)| *action == ActionKind::Restart));
    assert_eq!(world.count("api", "escalated"), 1);
}
