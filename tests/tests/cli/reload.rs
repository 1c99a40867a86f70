//! A changed configuration: put in force, or refused as a whole.

use rustix::process::Signal;

use super::stage::{House, LONG};

#[test]
fn sighup_reloads_a_valid_configuration_and_refuses_an_invalid_one() {
    let house = House::of(&["api"]);
    let mut up = house.up(&["api"]);
    let (text, pid) = (house.text(), house.pid("api"));

    house.configure(&format!("{text}{}", house.service("web", "")));
    up.signal(Signal::HUP);
    up.line_with("configuration reloaded: web is new", LONG);
    house.settled("web");
    assert_eq!(house.pid("api"), pid, "what did not change was left alone");
    let web = house.pid("web");

    house.configure(&format!("{text}\n[service.web]\nchek = 1\n"));
    up.signal(Signal::HUP);
    let line = up.line_with("configuration refused, the old one stays", LONG);
    assert!(line.contains("jarvis.toml:"), "{line}");
    assert_eq!(house.pid("web"), web, "the old configuration is in force");
    let status = house.run(&["status", "web"]);
    // The command reads the file as it is now, and says so.
    assert_eq!(status.code, 2, "{status:?}");

    house.configure(&text);
    up.signal(Signal::HUP);
    up.line_with("web is gone", LONG);
    let killed = house.signal("api", Signal::KILL);
    house.healed("api", killed);
}

#[test]
fn a_saved_file_is_reloaded_by_itself() {
    let house = House::of(&["api"]);
    let mut up = house.up(&["api"]);
    let text = house.text();
    // Written in place, as some editors do.
    std::fs::write(
        house.place.path().join("jarvis.toml"),
        format!("{text}{}", house.service("web", "")),
    )
    .unwrap();
    up.line_with("web is new", LONG);
    // Replaced, as others do.
    house.configure("broken");
    up.line_with("configuration refused", LONG);
    house.configure(&text);
    up.line_with("web is gone", LONG);
    house.settled("api");
}
