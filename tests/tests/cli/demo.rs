//! `jarvis demo`: what a newcomer sees first.

use std::time::Duration;

use jarvis_tests::cli::{Workplace, wait_until};
use rustix::process::Signal;

use super::stage::processes_with;

/// The demo's own promise.
const PROMISE: Duration = Duration::from_secs(45);

fn stand_ins_of(pid: i32) -> Vec<i32> {
    processes_with(&format!("--exit-with\0{pid}\0"))
}

fn gone(pid: i32) {
    let gone = wait_until(Duration::from_secs(10), || stand_ins_of(pid).is_empty().then_some(()));
    assert!(gone.is_some(), "left behind: {:?}", stand_ins_of(pid));
}

#[test]
fn the_demo_shows_detection_restart_verification_escalation_and_the_books() {
    let place = Workplace::empty();
    let mut demo = place.start(&["demo"]);
    let pid = demo.pid();
    let (code, lines) = demo.finish(PROMISE);
    let text = lines.join("\n");
    assert_eq!(code, 0, "{text}");
    gone(pid);
    let shown = [
        "Only the waiting times are shorter",
        "vocal-coach is killed: SIGKILL to pid",
        "exited: signal 9",
        "restarting (",
        "verified on fresh connections: new instance",
        "resolved after 1 attempt",
        "ESCALATED after 3 attempts",
        "weights",
        "alert delivered through",
        "ai-producer-",
        "UPTIME",
        "jarvis config init",
    ];
    // What was not started yet was not down.
    let first_chapter = &text[..text.find("is killed: SIGKILL").unwrap_or(text.len())];
    assert!(!first_chapter.contains("down"), "{first_chapter}");
    let books = text.rfind("UPTIME").map_or("", |at| &text[at..]);
    for service in ["postgres", "redis", "daw-backend", "daw-ui", "ai-brain"] {
        let row = books.lines().find(|line| line.contains(service)).unwrap_or_default();
        assert!(row.contains("100"), "{service} was never down: {row:?}\n{books}");
    }
    let mut from = 0;
    for wanted in shown {
        let found = text[from..].find(wanted);
        from += found.unwrap_or_else(|| panic!("no {wanted:?} after byte {from} of:\n{text}"));
    }
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "over 80 columns:\n{text}");
    let temporary = std::fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    let left = temporary.filter(|entry| {
        let owner = std::fs::read_to_string(entry.path().join("jarvis.toml")).unwrap_or_default();
        owner.contains(&format!("\"--exit-with\", \"{pid}\""))
    });
    assert_eq!(left.count(), 0, "its folder is left behind");
}

#[test]
fn the_demo_leaves_nothing_behind_after_ctrl_c_and_after_kill_9() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::KILL, -1)] {
        let place = Workplace::empty();
        let temporary = place.path().join("tmp");
        std::fs::create_dir(&temporary).unwrap();
        let mut demo = place.start_with(&["demo"], &[("TMPDIR", temporary.to_str().unwrap())]);
        demo.line_with("verified on fresh connections", PROMISE);
        let pid = demo.pid();
        assert!(!stand_ins_of(pid).is_empty());
        demo.signal(signal);
        assert_eq!(demo.finish(PROMISE).0, code, "{signal:?}");
        gone(pid);
        let left: Vec<_> = std::fs::read_dir(&temporary).unwrap().flatten().collect();
        assert!(left.is_empty(), "{signal:?}: {left:?}");
    }
}

#[test]
fn a_demo_that_is_kept_answers_commands_until_ctrl_c() {
    let place = Workplace::empty();
    let mut demo = place.start(&["demo", "--keep"]);
    let line = demo.line_with("export JARVIS_CONFIG=", PROMISE);
    let config = line.trim().trim_start_matches("export JARVIS_CONFIG=").to_owned();
    let restarted = place.run(&["--config", &config, "restart", "daw-ui"]);
    assert_eq!(restarted.code, 0, "{restarted:?}");
    let pid = demo.pid();
    demo.signal(Signal::INT);
    assert_eq!(demo.finish(PROMISE).0, 0);
    gone(pid);
}
