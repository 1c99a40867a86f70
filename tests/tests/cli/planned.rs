//! Planned work by hand: timed pauses and maintenance windows, over a crash of JARVIS.

use jarvis_tests::cli::wait_until;
use rustix::process::Signal;
use serde_json::Value;

use super::stage::{House, LONG};

fn operator(house: &House) -> Value {
    house.run(&["status", "--output", "json"]).json()["operator"].clone()
}

#[test]
fn a_pause_and_a_window_survive_kill_9_of_jarvis() {
    let house = House::of(&["api", "web"]);
    let mut up = house.up(&["api", "web"]);
    let paused = house.run(&["pause", "--for", "1h", "--reason", "deploy"]);
    assert_eq!(paused.code, 0, "{paused:?}");
    assert!(paused.stdout.contains("until"), "{paused:?}");
    let added = house.run(&[
        "maintenance",
        "add",
        "api",
        "--for",
        "1h",
        "--reason",
        "new disk",
        "--output",
        "json",
    ]);
    assert_eq!(added.code, 0, "{added:?}");
    assert_eq!(added.json()["maintenance"]["window"], 1, "{added:?}");
    house.told("maintenance_changed", 1);

    up.signal(Signal::KILL);
    let _ = up.finish(LONG);
    let _up = house.up(&["api", "web"]);
    // The lease of the one that was killed has to run out first.
    let leads = || Some(operator(&house)).filter(|state| state["lease"].is_object());
    let state = wait_until(LONG, leads).expect("the lease");
    assert!(state["hold"]["until"].is_string(), "{state:#}");
    assert!(state["hold"]["reason"].as_str().unwrap().contains("deploy until"), "{state:#}");
    let listed = house.run(&["maintenance", "list"]);
    assert_eq!(listed.code, 0, "{listed:?}");
    assert!(listed.stdout.contains("new disk"), "{listed:?}");
    let status = house.run(&["status"]);
    assert!(status.stdout.contains("Maintenance window 1 for api until"), "{status:?}");
    assert!(house.status("api").unwrap()["operator"]["maintenance_until"].is_string());

    // Resumed, web is healed and api is still planned work.
    assert_eq!(house.run(&["resume"]).code, 0);
    let (api, web) = (house.signal("api", Signal::KILL), house.signal("web", Signal::KILL));
    house.healed("web", web);
    house
        .wait_for("api", |status| status["operator"]["lifecycle"]["hold"]["gate"] == "maintenance");
    assert_eq!(house.events_of("maintenance_changed").len(), 1, "told once, not once a life");
    assert_eq!(house.run(&["maintenance", "delete", "7"]).code, 1);
    assert_eq!(house.run(&["maintenance", "delete", "1"]).code, 0);
    house.healed("api", api);
    let told = house.told("maintenance_changed", 2);
    assert_eq!((told.len(), &told[1]["open"]), (2, &Value::Bool(false)), "{told:#?}");
}

#[test]
fn a_timed_pause_ends_by_itself() {
    let house = House::of(&["api"]);
    let mut up = house.up(&["api"]);
    assert_eq!(house.run(&["pause", "--for", "2s"]).code, 0);
    let killed = house.signal("api", Signal::KILL);
    up.line_with("the pause is over", LONG);
    house.healed("api", killed);
}

#[test]
fn without_a_loop_no_window_is_opened() {
    let house = House::of(&["api"]);
    let added = house.run(&["maintenance", "add", "--all", "--for", "1h"]);
    assert_eq!(added.code, 3, "{added:?}");
    assert!(added.stderr.contains("start `jarvis up`"), "{added:?}");
    assert_eq!(house.run(&["maintenance", "add", "--for", "1h"]).code, 2);
}
