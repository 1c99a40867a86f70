//! What all commands have in common: errors, quiet, logs, Ctrl-C, options over the environment.

use std::process::Stdio;
use std::time::Duration;

use jarvis_tests::cli::{Finished, Running, Workplace};
use rustix::process::Signal;
use serde_json::Value;

use super::stage::{House, LONG};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn errors_begin_with_error_on_stderr_and_are_json_for_programs() {
    let place = Workplace::with_config("[jarvis]\nstate_dir = \"STATE\"\nintervall = \"1s\"\n");
    let cases: [(&[&str], i32); 4] = [
        (&["check"], 2),
        (&["check", "--config", "nowhere.toml"], 2),
        (&["chek"], 2),
        (&["config", "init", "jarvis.toml"], 1),
    ];
    for (arguments, code) in cases {
        let finished = place.run(arguments);
        assert_eq!(finished.code, code, "{arguments:?}: {finished:?}");
        assert!(finished.stderr.starts_with("error: "), "{arguments:?}: {finished:?}");
        assert_eq!(finished.stdout, "", "{arguments:?}");
    }
    let refused = place.run(&["check", "--output", "json"]);
    let error: Value = serde_json::from_str(&refused.stderr).unwrap();
    assert_eq!(error["error"]["code"], "ERR_JARVIS_CONFIG_INVALID");
    let colored = place.run(&["check", "--color", "always"]);
    assert!(colored.stderr.starts_with("\x1b["), "{colored:?}");
}

#[test]
fn quiet_leaves_the_results_and_the_errors() {
    let place = Workplace::empty();
    let written = place.run(&["config", "init", "one.toml"]);
    assert!(written.stdout.starts_with("wrote one.toml"), "{written:?}");
    let quiet = place.run(&["config", "init", "two.toml", "--quiet"]);
    assert_eq!((quiet.code, quiet.stdout.as_str(), quiet.stderr.as_str()), (0, "", ""));
    assert!(place.path().join("two.toml").exists());
    let json = place.run(&["-q", "config", "init", "three.toml", "--output", "json"]);
    assert_eq!(json.json()["written"], "three.toml");
    let again = place.run(&["config", "init", "two.toml", "--quiet"]);
    assert_eq!(again.code, 1);
    assert!(again.stderr.starts_with("error: two.toml already exists"), "{again:?}");

    assert!(place.run(&["check"]).stdout.contains("No configuration file"));
    let checked = place.run(&["check", "-q"]);
    assert!(checked.stdout.contains("vocal-coach"), "{checked:?}");
    assert!(!checked.stdout.contains("No configuration file"), "{checked:?}");
    assert_eq!(place.run(&["check", "-q", "-v"]).code, 2, "one or the other");
}

#[test]
fn quiet_prints_no_warnings_beside_an_answer() {
    let house = House::of(&["api"]);
    let _up = house.up(&["api"]);
    house.configure(&format!("{}\n[service.web\n", house.text()));
    assert!(house.run(&["status"]).stderr.contains("warning: jarvis.toml:"));
    let quiet = house.run(&["status", "--quiet"]);
    assert_eq!((quiet.code, quiet.stderr.as_str()), (0, ""), "{quiet:?}");
    assert!(quiet.stdout.starts_with("HEALTHY"), "{quiet:?}");
    let paused = house.run(&["pause", "--quiet"]);
    assert_eq!((paused.code, paused.stdout.as_str()), (0, ""), "{paused:?}");
    assert!(house.run(&["status"]).stdout.contains("All actions are on hold"));
}

/// The log line that says what `jarvis up` watches.
fn first_log_line(mut up: Running) -> Option<Value> {
    let line = up.line_within("watches 1 service", Duration::from_secs(3))?;
    up.signal(Signal::INT);
    assert_eq!(up.finish(LONG).0, 0);
    Some(serde_json::from_str(&line).unwrap())
}

#[test]
fn the_log_is_json_when_asked_and_rust_log_overrides_the_flags() {
    let house = House::of(&["api"]);
    // With JSON lines on stdout, what `up` says for people is in the log.
    let up = ["up", "--output", "jsonl", "--log-format", "json"];
    let verbose = [&up[..], &["-v"]].concat();
    let line = first_log_line(house.place.start(&verbose)).unwrap();
    assert_eq!(line["level"], "INFO", "{line}");
    assert!(line["timestamp"].is_string() && line["target"].is_string(), "{line}");
    assert!(line["message"].as_str().unwrap().starts_with("jarvis "), "{line}");

    assert_eq!(first_log_line(house.place.start(&up)), None, "only warnings by default");
    let louder = house.place.start_with(&up, &[("RUST_LOG", "jarvis=info")]);
    assert!(first_log_line(louder).is_some());
    let softer = house.place.start_with(&verbose, &[("RUST_LOG", "error")]);
    assert_eq!(first_log_line(softer), None);
}

#[test]
fn ctrl_c_cuts_a_command_short_with_exit_130() {
    let place = Workplace::with_config("[jarvis]\nstate_dir = \"STATE\"\n");
    // It waits for standard input, which never ends.
    let mut command = place.command(&["publish", "a.b", "-"]);
    let mut waiting = command.stdin(Stdio::piped()).spawn().unwrap();
    let pid = rustix::process::Pid::from_raw(waiting.id().cast_signed()).unwrap();
    handles_interrupts(pid);
    rustix::process::kill_process(pid, Signal::INT).unwrap();
    let ended = jarvis_tests::cli::wait_until(SOON, || waiting.try_wait().unwrap());
    assert_eq!(ended.expect("it ends at once").code(), Some(130));
    drop(waiting.stdin.take());
    let finished = Finished::from(waiting.wait_with_output().unwrap());
    assert_eq!((finished.stdout.as_str(), finished.stderr.as_str()), ("", ""));

    // One that waits for an answer.
    let slow = "[service.slow]\n[[service.slow.check]]\ntype = \"command\"\ncommand = [\"sleep\", \"30\"]\ntimeout = \"60s\"\ninterval = \"90s\"\n";
    let place = Workplace::with_config(&format!("[jarvis]\nstate_dir = \"STATE\"\n{slow}"));
    let mut check = place.start(&["check"]);
    handles_interrupts(rustix::process::Pid::from_raw(check.pid()).unwrap());
    check.signal(Signal::INT);
    assert_eq!(check.finish(SOON).0, 130);
}

/// Waits until the process has a handler for SIGINT, from which on it does not die by it.
fn handles_interrupts(pid: rustix::process::Pid) {
    let handled = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_pid()));
        let status = status.unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        let caught = u64::from_str_radix(caught.trim(), 16).ok()?;
        (caught & (1 << (Signal::INT.as_raw() - 1)) != 0).then_some(())
    };
    assert!(jarvis_tests::cli::wait_until(SOON, handled).is_some(), "no handler for SIGINT");
}

#[test]
fn a_follower_that_is_ended_by_ctrl_c_has_not_failed() {
    let house = House::of(&["api"]);
    let _up = house.up(&["api"]);
    let mut follower = house.place.start(&["events", "--follow", "--output", "jsonl"]);
    follower.line_with("operator_started", LONG);
    handles_interrupts(rustix::process::Pid::from_raw(follower.pid()).unwrap());
    follower.signal(Signal::INT);
    assert_eq!(follower.finish(SOON).0, 0);
}

#[test]
fn an_option_is_an_option_and_no_environment_variable() {
    let place = Workplace::with_config("[jarvis]\nstate_dir = \"STATE\"\n");
    let shown = place.run(&["config", "show", "--state-dir", "elsewhere", "--output", "json"]);
    let values = shown.json()["values"].clone();
    let values = values.as_array().unwrap();
    let found = values.iter().find(|value| value["key"] == "jarvis.state_dir").unwrap();
    assert_eq!(found["origin"], "--state-dir", "{found}");
    assert_eq!(found["value"], place.path().join("elsewhere").to_str().unwrap());
}

#[test]
fn check_and_status_judge_alike() {
    let house = House::of(&["one", "two", "three"]);
    // What can't be measured is unknown, and one unknown service of four is not the platform's state.
    let blind = "\n[service.blind]\n[[service.blind.check]]\ntype = \"command\"\ncommand = [\"sh\", \"-c\", \"exit 3\"]\nexit_codes = \"nagios\"\n";
    house.configure(&format!("{}{blind}", house.text()));
    let _up = house.up(&["one", "two", "three"]);
    house.wait_for("blind", |status| status["health"]["state"] == "unknown");
    let [checked, status] = ["check", "status"].map(|command| {
        let finished = house.run(&[command, "--output", "json"]);
        (finished.code, finished.json()["platform"].clone())
    });
    assert_eq!(checked, status);
    assert_eq!((status.0, &status.1["unknown"]), (0, &Value::from(1)), "{status:?}");
    for command in ["check", "status"] {
        assert_eq!(house.run(&[command, "blind"]).code, 3, "{command}");
        assert_eq!(house.run(&[command, "one"]).code, 0, "{command}");
    }
}
