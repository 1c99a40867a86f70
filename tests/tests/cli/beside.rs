//! Every command beside a running `jarvis up`, and what that heals.

use rustix::process::Signal;

use super::stage::{House, LONG};

#[test]
fn up_heals_what_was_killed_and_what_hangs() {
    let house = House::of(&["api"]);
    let mut up = house.place.start(&["up"]);
    let first = up.line_with("1 of them restartable", LONG);
    assert!(first.contains("watches 1 service, 1 of them restartable"), "{first}");
    assert!(first.contains("Ctrl-C stops it and the process that it runs"), "{first}");
    house.settled("api");

    let killed = house.signal("api", Signal::KILL);
    house.healed("api", killed);
    let hung = house.signal("api", Signal::STOP);
    house.healed("api", hung);

    let opened = house.told("incident_opened", 1);
    assert_eq!(opened.len(), 2, "{opened:#?}");
    assert_eq!(opened[1]["cause"]["kind"], "timeout", "{opened:#?}");
    let resolved = house.told("incident_resolved", 1);
    assert_eq!(resolved.len(), 2, "{resolved:#?}");
    assert!(resolved.iter().all(|event| event["attempts"] == 1), "{resolved:#?}");
    let passed = house.told("verify_passed", 1);
    assert!(passed.iter().all(|event| event["proven"] == true), "{passed:#?}");

    // The log lines say the same.
    let lines = up.line_with("resolved after 1 attempt", LONG);
    assert!(lines.contains("  api  "), "{lines}");
    up.signal(Signal::INT);
    let (code, _) = up.finish(LONG);
    assert_eq!(code, 0);
    assert_eq!(house.pids("api"), [] as [i32; 0], "Ctrl-C stops what it owns");
}

#[test]
fn commands_go_through_the_running_loop() {
    let sink = "[alert.sink]\ntype = \"command\"\ncommand = [\"true\"]\n";
    let house = House::with(&["api", "web"], sink);
    let up = house.up(&["api", "web"]);

    let status = house.run(&["status"]);
    assert_eq!(status.code, 0, "{status:?}");
    assert!(status.stdout.starts_with("HEALTHY  2 healthy"), "{status:?}");
    assert_eq!(house.run(&["check"]).code, 0);
    let uptime = house.run(&["uptime", "api", "--output", "json"]);
    assert_eq!(uptime.code, 0, "{uptime:?}");
    let uptime = uptime.json();
    assert_eq!(uptime["source"]["type"], "live");
    assert_eq!(uptime["services"].as_array().unwrap().len(), 1);
    assert_eq!(house.run(&["alert", "test"]).code, 0);

    // By hand, verified, and counted in no budget.
    let before = house.pid("api");
    let restarted = house.run(&["restart", "api"]);
    assert_eq!(restarted.code, 0, "{restarted:?}");
    assert!(restarted.stdout.contains("api is well: a new life"), "{restarted:?}");
    assert_ne!(house.pid("api"), before);
    let shown = house.status("api").unwrap();
    assert!(
        shown["operator"]["budget"].as_array().unwrap().iter().all(|usage| usage["used"] == 0),
        "{shown:#}"
    );

    // Stopped means stopped, until somebody starts it.
    assert_eq!(house.run(&["stop", "api"]).code, 0);
    assert_eq!(house.pids("api"), [] as [i32; 0]);
    house.wait_for("api", |status| status["operator"]["lifecycle"]["phase"] == "stopped");
    let started = house.run(&["start", "api"]);
    assert_eq!(started.code, 0, "{started:?}");
    house.settled("api");

    assert_eq!(house.run(&["pause", "--reason", "deploy"]).code, 0);
    let killed = house.signal("api", Signal::KILL);
    let held = house.wait_for("api", |status| {
        status["health"]["state"] == "down" && status["operator"]["lifecycle"]["phase"] == "held"
    });
    assert_eq!(held["operator"]["lifecycle"]["hold"]["gate"], "mode", "{held:#}");
    let status = house.run(&["status"]);
    assert_eq!(status.code, 1, "{status:?}");
    assert!(status.stdout.contains("All actions are on hold"), "{status:?}");
    assert_eq!(house.run(&["resume"]).code, 0);
    house.healed("api", killed);
    let reset = house.run(&["reset", "api"]);
    assert_eq!(reset.code, 0, "{reset:?}");
    assert_eq!(house.told("service_reset", 1).len(), 1);

    let unknown = house.run(&["restart", "apj"]);
    assert_eq!(unknown.code, 1, "{unknown:?}");
    assert!(unknown.stderr.contains("did you mean"), "{unknown:?}");
    drop(up);
}

#[test]
fn commands_are_answered_in_the_middle_of_a_restart() {
    let house = House { place: jarvis_tests::cli::Workplace::empty() };
    // It takes no notice of SIGTERM, so its restart lasts for the stop timeout.
    let deaf = ["sh", "-c", "trap '' TERM; exec \"$@\"", "sh"];
    let slow = house.service_by("slow", "stop_timeout = \"4s\"", &deaf);
    let fast = house.service("fast", "");
    house.configure(&format!(
        "{}{slow}{fast}",
        super::stage::HEAD.replace("stop_timeout = \"5s\"\n", "")
    ));
    let _up = house.up(&["slow", "fast"]);
    let before = house.pid("slow");
    let accepted = house.run(&["restart", "slow", "--no-wait"]);
    assert_eq!(accepted.code, 0, "{accepted:?}");
    house.wait_for("slow", |status| status["operator"]["lifecycle"]["phase"] == "acting");
    assert_eq!(house.run(&["check", "fast"]).code, 0);
    assert!(matches!(house.run(&["status"]).code, 0 | 1));
    assert_eq!(house.run(&["uptime"]).code, 0);
    assert_eq!(house.run(&["events"]).code, 0);
    // Another service does not wait for it, a second wish for the same one is told why not.
    assert_eq!(house.run(&["restart", "fast"]).code, 0);
    let twice = house.run(&["restart", "slow", "--no-wait"]);
    assert_eq!(house.pid("slow"), before, "all that went on in the middle of the restart");
    assert_eq!(twice.code, 1, "{twice:?}");
    house.healed("slow", before);
}

#[test]
fn a_second_up_on_the_same_state_only_watches() {
    let house = House::of(&["api"]);
    let _first = house.up(&["api"]);
    let pid = house.pid("api");
    let mut second = house.place.start(&["up"]);
    second.line_with("this one runs without a control socket", LONG);
    assert_eq!(house.pid("api"), pid, "the second one started a process");
    let killed = house.signal("api", Signal::KILL);
    house.healed("api", killed);
    assert_eq!(house.told("incident_resolved", 1).len(), 1);
    let healed = house.pid("api");
    second.signal(Signal::INT);
    let (code, lines) = second.finish(LONG);
    assert_eq!(code, 0, "{lines:#?}");
    assert_eq!(house.pid("api"), healed, "the one that only watched stopped a process");
}

#[test]
fn dry_run_says_what_it_would_do() {
    let house = House { place: jarvis_tests::cli::Workplace::empty() };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let touched = house.place.path().join("touched");
    let head = super::stage::HEAD.replace("stop_timeout = \"5s\"\n", "");
    house.configure(&format!(
        "{head}\n[service.api]\n[[service.api.check]]\ntype = \"tcp\"\naddress = \"{address}\"\n[service.api.restart]\nvia = \"command\"\ncommand = [\"touch\", {touched:?}]\n"
    ));
    let mut up = house.place.start(&["up", "--dry-run"]);
    up.line_with("reports the actions it would take and takes none", LONG);
    house.wait_for("api", |status| status["health"]["state"] == "healthy");
    drop(listener);
    up.line_with("dry run: would restart now", LONG);
    assert!(!touched.exists());
}

#[test]
fn what_fails_for_good_is_given_up_and_told_once() {
    let told = "[alert.file]\ntype = \"command\"\ncommand = [\"sh\", \"-c\", \"cat >> TOLD\"]\ngroup_wait = \"200ms\"\n";
    let house = House::of(&["api"]);
    let file = house.place.path().join("told");
    let text = house.text();
    house.configure(&format!("{text}{}", told.replace("TOLD", file.to_str().unwrap())));
    let mut up = house.up(&["api"]);
    house.place.write("api.broken", "");
    house.signal("api", Signal::KILL);
    let line = up.line_with("ESCALATED after 3 attempts", LONG);
    assert!(line.contains("manual action needed"), "{line}");
    assert!(line.contains("weights are damaged"), "the last log line is missing: {line}");
    let status = house.run(&["status", "api"]);
    assert_eq!(status.code, 1);
    assert!(status.stdout.contains("escalated"), "{status:?}");
    assert_eq!(house.told("escalated", 1).len(), 1);
    up.line_with("alert delivered through file: api", LONG);
    // A person mends it; a restart by hand does not wait for the cooldown.
    std::fs::remove_file(house.place.path().join("api.broken")).unwrap();
    let restarted = house.run(&["restart", "api"]);
    assert_eq!(restarted.code, 0, "{restarted:?}");
    house.settled("api");
}
