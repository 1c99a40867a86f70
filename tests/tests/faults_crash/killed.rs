//! Killed at its worst moments, or stopped for longer than its lease: 34, 35, 36.

use std::time::Duration;

use futures_util::future::join_all;
use rustix::process::Signal;

use crate::scene::{BACKOFF, BUDGET, LEASE, Scene, of_kind, until};

/// Kills the service, and each of its next lives, up to `kills` in all, until the child has died
/// by its own hand.
async fn doom(scene: &Scene, failpoint: &str, kills: usize) -> Vec<String> {
    let mut child = scene.child(BACKOFF, LEASE, Some(failpoint));
    until("its start", || {
        (child.count("operator_started") > 0 || child.ended().is_some()).then_some(())
    })
    .await;
    let mut killed = 0;
    let status = until(failpoint, || {
        if killed < kills && scene.lives().len() > killed {
            scene.kill_service();
            killed += 1;
        }
        child.ended()
    })
    .await;
    let how = std::os::unix::process::ExitStatusExt::signal(&status);
    assert_eq!(how, Some(Signal::KILL.as_raw()), "{failpoint}: {status}");
    child.heard_out();
    child.lines()
}

async fn crash(name: &str, nth: usize, kills: usize) {
    let failpoint = format!("{name}:{nth}");
    let scene = Scene::new();
    let mut lines = scene.first_life().await;
    lines.extend(doom(&scene, &failpoint, kills).await);

    let mut next = scene.child(BACKOFF, LEASE, None);
    until(&failpoint, || (next.count("incident_resolved") > 0).then_some(())).await;
    next.leave().await;
    lines.extend(next.lines());

    let lives = scene.lives();
    assert_eq!(scene.alive(), [*lives.last().unwrap()], "{failpoint}: one life, the latest");
    let acted = u32::try_from(lives.len() - 1).unwrap();
    let attempts = scene.attempts().await;
    assert!(acted >= 1, "{failpoint}");
    assert!(acted <= attempts && attempts <= BUDGET, "{failpoint}: {acted} of {attempts}");
    assert!(attempts <= acted + 1, "{failpoint}: one crash loses one attempt at most: {attempts}");
    let opened = of_kind(&lines, "incident_opened");
    let resolved = of_kind(&lines, "incident_resolved");
    assert_eq!((opened.len(), resolved.len()), (1, 1), "{failpoint}:\n{}", lines.join("\n"));
    assert_eq!(opened[0]["incident"], resolved[0]["incident"], "{failpoint}");
    assert_eq!(of_kind(&lines, "escalated").len(), 0, "{failpoint}");
}

#[tokio::test]
async fn fault_34_killed_after_a_reservation() {
    join_all((1..=3).map(|nth| crash("reserved", nth, nth))).await;
}

#[tokio::test]
async fn fault_34_killed_before_an_action() {
    join_all((1..=3).map(|nth| crash("before_act", nth, nth))).await;
}

#[tokio::test]
async fn fault_34_killed_after_an_action() {
    join_all((1..=3).map(|nth| crash("acted", nth, nth))).await;
}

#[tokio::test]
async fn fault_34_killed_after_a_commit() {
    join_all((1..=10).map(|nth| crash("committed", nth, 1))).await;
}

/// The first is stopped while it waits to try again, for longer than its lease; when it goes on,
/// its next attempt is overdue, and another has acted since.
#[tokio::test]
async fn fault_35_who_was_stopped_past_its_lease_does_not_act() {
    const PAUSE: Duration = Duration::from_secs(4);
    let scene = Scene::new();
    scene.first_life().await;
    let mut first = scene.child(PAUSE, LEASE, None);
    until("the first", || (first.count("operator_started") > 0).then_some(())).await;
    scene.kill_service();
    until("the second life", || (scene.lives().len() == 2).then_some(())).await;
    scene.kill_service();
    until("the backing off", || first.failed_an_attempt().then_some(())).await;
    scene.stop_outside_a_write(&first).await;
    assert_eq!((scene.lives().len(), scene.attempts().await), (2, 1));

    let mut second = scene.child(PAUSE, LEASE * 6, None);
    until("the second's success", || (second.count("incident_resolved") > 0).then_some(())).await;
    assert_eq!((scene.lives().len(), scene.attempts().await), (3, 2));

    first.signal(Signal::CONT);
    until("the loss of the lease", || (first.count("lease_lost") > 0).then_some(())).await;
    scene.kill_service();
    until("another success", || (second.count("incident_resolved") > 1).then_some(())).await;
    second.leave().await;
    assert_eq!(first.count("action_started"), 1, "{}", first.lines().join("\n"));
    first.leave().await;
    let lives = scene.lives();
    assert_eq!((lives.len(), scene.attempts().await), (4, 3));
    assert_eq!(scene.alive(), [lives[3]]);
}

/// Killed between the intent and the act, and the kill switch is on when the next one starts: the
/// intent is no licence. What it had begun to do is done once it may.
#[tokio::test]
async fn fault_36_a_crash_between_intent_and_act_does_not_get_past_the_switch() {
    let scene = Scene::new();
    let mut lines = scene.first_life().await;
    lines.extend(doom(&scene, "before_act:1", 1).await);
    assert_eq!(of_kind(&lines, "incident_opened").len(), 1);
    assert_eq!((scene.lives().len(), scene.attempts().await), (1, 1), "intended, not done");
    let switch = scene.path("STOP");
    std::fs::write(&switch, "").unwrap();

    let mut next = scene.child(BACKOFF, LEASE, None);
    until("the hold", || {
        let held = of_kind(&next.lines(), "action_held");
        held.iter().any(|held| held["hold"]["gate"] == "kill_switch").then_some(())
    })
    .await;
    // Ten times the backoff after which it would act.
    let clock = jarvis_core::clock::SystemClock::new();
    jarvis_core::clock::ClockExt::sleep(&clock, BACKOFF * 10).await;
    assert_eq!((scene.lives().len(), scene.attempts().await), (1, 1));
    // What the one before had decided is still announced; nothing was begun since.
    let begun = of_kind(&next.lines(), "action_started");
    assert!(begun.iter().all(|act| act["trigger"]["type"] == "down"), "{begun:#?}");
    assert!(begun.len() <= 1, "{begun:#?}");

    std::fs::remove_file(&switch).unwrap();
    until("the end", || (next.count("incident_resolved") > 0).then_some(())).await;
    next.leave().await;
    assert_eq!((scene.lives().len(), scene.attempts().await), (2, 2));
    assert_eq!(scene.alive(), [scene.lives()[1]]);
}
