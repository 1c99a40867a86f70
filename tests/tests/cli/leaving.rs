//! How `jarvis up` ends, and what the next one finds.

use std::time::Duration;

use jarvis_tests::cli::{Workplace, wait_until};
use rustix::process::Signal;

use super::stage::{HEAD, House, LONG};

/// The longest time that SIGTERM may take.
const END: Duration = Duration::from_secs(30);

#[test]
fn sigterm_leaves_what_it_owns_and_the_next_up_adopts_it() {
    let house = House::of(&["api"]);
    let mut up = house.up(&["api"]);
    let pid = house.pid("api");
    up.signal(Signal::TERM);
    assert_eq!(up.finish(END).0, 0);
    assert_eq!(house.pid("api"), pid, "left running");
    let status = house.run(&["status"]);
    assert_eq!(status.code, 3, "{status:?}");
    assert!(
        status.stdout.contains("`jarvis up` is not running; this was recorded at"),
        "{status:?}"
    );
    assert_eq!(house.run(&["uptime"]).code, 0);
    assert!(house.events().iter().any(|envelope| envelope["event"]["type"] == "operator_stopped"));
    let _next = house.up(&["api"]);
    assert_eq!(house.pid("api"), pid, "adopted, not started a second time");
    let killed = house.signal("api", Signal::KILL);
    house.healed("api", killed);
}

#[test]
fn kill_9_of_jarvis_leaves_what_it_owns_and_the_next_up_adopts_it() {
    let house = House::of(&["api"]);
    let mut up = house.up(&["api"]);
    let pid = house.pid("api");
    up.signal(Signal::KILL);
    assert_eq!(up.finish(END).0, -1);
    assert_eq!(house.pid("api"), pid);
    let _next = house.up(&["api"]);
    assert_eq!(house.pid("api"), pid);
}

#[test]
fn fault_33_sigterm_in_the_middle_of_a_restart() {
    let house = House { place: Workplace::empty() };
    let deaf = ["sh", "-c", "trap '' TERM; exec \"$@\"", "sh"];
    let service = house.service_by("api", "stop_timeout = \"3s\"", &deaf);
    house.configure(&format!("{}{service}", HEAD.replace("stop_timeout = \"5s\"\n", "")));
    let mut up = house.up(&["api"]);
    let before = house.pid("api");
    assert_eq!(house.run(&["restart", "api", "--no-wait"]).code, 0);
    house.wait_for("api", |status| status["operator"]["lifecycle"]["phase"] == "acting");
    up.signal(Signal::TERM);
    let (code, lines) = up.finish(END);
    assert_eq!(code, 0, "{lines:#?}");
    let after = house.pid("api");
    assert_ne!(after, before, "the start half was not finished: {lines:#?}");
    let _next = house.up(&["api"]);
    assert_eq!(house.pid("api"), after, "adopted, not started a second time");
}

#[test]
fn a_second_ctrl_c_tells_what_it_waits_for_and_a_third_ends_at_once() {
    let house = House { place: Workplace::empty() };
    let deaf = ["sh", "-c", "trap '' INT TERM; exec \"$@\"", "sh"];
    let service = house.service_by("api", "stop_timeout = \"20s\"", &deaf);
    house.configure(&format!("{}{service}", HEAD.replace("stop_timeout = \"5s\"\n", "")));
    let mut up = house.up(&["api"]);
    let pid = house.pid("api");
    up.signal(Signal::INT);
    up.line_with("stopping after the actions under way are finished", LONG);
    up.signal(Signal::INT);
    up.line_with("still finishing", LONG);
    up.signal(Signal::INT);
    let (code, lines) = up.finish(Duration::from_secs(5));
    assert_eq!(code, 1, "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("ended at once")), "{lines:#?}");
    assert_eq!(house.pid("api"), pid, "nothing was waited for");
}

#[test]
fn up_goes_on_when_nobody_reads_its_lines() {
    let house = House::of(&["api"]);
    let mut child = house.place.command(&["up"]).spawn().unwrap();
    drop(child.stdout.take());
    house.settled("api");
    let killed = house.signal("api", Signal::KILL);
    house.healed("api", killed);
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, Signal::INT).unwrap();
    let status = wait_until(END, || child.try_wait().unwrap()).expect("it ends");
    assert_eq!(status.code(), Some(0));
}
