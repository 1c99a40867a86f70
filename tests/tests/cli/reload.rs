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
    let line = up.line_with("configuration rejected, the current one stays", LONG);
    assert!(line.contains("jarvis.toml:"), "{line}");
    assert_eq!(house.pid("web"), web, "the old configuration is in force");
    let status = house.run(&["status", "web"]);
    // The loop is asked all the same, and the file's trouble is told beside its answer.
    assert_eq!(status.code, 0, "{status:?}");
    assert!(status.stderr.contains("warning: jarvis.toml:"), "{status:?}");
    assert!(status.stderr.contains("keeps its last valid configuration"), "{status:?}");

    house.configure(&text);
    up.signal(Signal::HUP);
    up.line_with("web is gone", LONG);
    let killed = house.signal("api", Signal::KILL);
    house.healed("api", killed);
}

#[test]
fn a_broken_file_keeps_nobody_from_asking_the_loop() {
    let house = House::of(&["api"]);
    let _up = house.up(&["api"]);
    let text = house.text();
    house.configure(&format!("{text}\n[service.web\n"));
    for arguments in [
        &["status"][..],
        &["uptime", "api"],
        &["events"],
        &["maintenance", "add", "api", "--for", "1m"],
        &["maintenance", "list"],
        &["maintenance", "delete", "--all"],
        &["pause"],
        &["resume"],
        &["restart", "api"],
        &["reset", "api"],
    ] {
        let finished = house.run(arguments);
        assert_eq!(finished.code, 0, "{arguments:?}: {finished:?}");
        assert!(finished.stderr.contains("warning: jarvis.toml:"), "{finished:?}");
    }
    let unknown = house.run(&["restart", "apj"]);
    assert_eq!(unknown.code, 1, "the loop knows its services: {unknown:?}");
    assert_eq!(house.run(&["uptime", "apj"]).code, 1);

    // Where even the state directory can't be read, none is guessed; a person can name it.
    house.configure("[jarvis\n");
    let lost = house.run(&["status"]);
    assert_eq!(lost.code, 2, "{lost:?}");
    assert!(lost.stderr.contains("--state-dir"), "{lost:?}");
    let state = house.place.state_dir();
    let named = house.run(&["status", "--state-dir", state.to_str().unwrap()]);
    assert_eq!(named.code, 0, "{named:?}");
    let relative = house.run(&["status", "--state-dir", "state"]);
    assert_eq!(relative.code, 0, "relative to the working directory: {relative:?}");
    // Without a loop there a broken configuration is an error.
    assert_eq!(house.run(&["status", "--state-dir", "elsewhere"]).code, 2);
}

#[test]
fn what_holds_over_all_services_is_in_force_after_a_reload() {
    let house = House::of(&["api"]);
    let mut up = house.up(&["api"]);
    let text = house.text();
    let observing = text.replacen("[jarvis]\n", "[jarvis]\nmode = \"observe\"\n", 1);
    house.configure(&format!("{observing}\n[lease]\ntype = \"file\"\n"));
    up.signal(Signal::HUP);
    let told = up.line_with("configuration reloaded", LONG);
    assert!(told.contains("mode is observe now"), "{told}");
    assert!(told.contains("[lease] changed; it takes effect at the next start"), "{told}");
    let killed = house.signal("api", Signal::KILL);
    house.wait_for("api", |status| status["operator"]["lifecycle"]["hold"]["gate"] == "mode");

    // Planned work from the calendar instead: no incident while it lasts.
    let window = "\n[[maintenance]]\ncron = \"* * * * *\"\nduration = \"1h\"\n";
    house.configure(&format!("{text}{window}"));
    up.signal(Signal::HUP);
    let told = up.line_with("configuration reloaded", LONG);
    assert!(told.contains("mode is act now") && told.contains("[maintenance] changed"), "{told}");
    house.wait_for("api", |status| status["operator"]["maintenance_until"].is_string());

    // A narrower [allow] takes effect too.
    house.configure(&format!("{text}\n[allow]\nactions = []\n"));
    up.signal(Signal::HUP);
    up.line_with("[allow] changed", LONG);
    house.wait_for("api", |status| status["operator"]["lifecycle"]["hold"]["gate"] == "allow_list");
    house.configure(&text);
    up.signal(Signal::HUP);
    house.healed("api", killed);
}

#[test]
fn a_heartbeat_begins_and_moves_with_a_reload() {
    let house = House::of(&["api"]);
    let mut up = house.up(&["api"]);
    let text = house.text();
    for _ in 0..2 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heartbeat = format!("\n[heartbeat]\nurl = \"http://{address}/ping\"\nevery = \"1s\"\n");
        house.configure(&format!("{text}{heartbeat}"));
        up.signal(Signal::HUP);
        up.line_with("[heartbeat] changed", LONG);
        listener.set_nonblocking(true).unwrap();
        let pinged = jarvis_tests::cli::wait_until(LONG, || listener.accept().ok());
        assert!(pinged.is_some(), "no ping came to {address}");
    }
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
    up.line_with("configuration rejected", LONG);
    house.configure(&text);
    up.line_with("web is gone", LONG);
    house.settled("api");
}
