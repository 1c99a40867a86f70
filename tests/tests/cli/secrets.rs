//! A secret with every character that URLs give a meaning to: it is one value, and nothing shows
//! a part of it.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use jarvis_tests::cli::Workplace;

const SECRET: &str = "Hq7v@Zr8k/Tw9m#Xw4n?p%41ss";

/// Each of its parts, wherever it is cut.
const PARTS: [&str; 5] = ["Hq7v", "Zr8k", "Tw9m", "Xw4n", "p%41ss"];

fn place() -> Workplace {
    let place = Workplace::empty();
    place.write("secret", &format!("{SECRET}\n"));
    let file = place.path().join("secret");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    place.write(
        "jarvis.toml",
        "[jarvis]\nstate_dir = \"state\"\ninterval = \"1s\"\ntimeout = \"900ms\"\nfailure_threshold = 1\n\
         [store]\nsession = \"redis://:${file:secret}@127.0.0.1:1\"\n\
         [service.redis]\n[[service.redis.check]]\ntype = \"redis\"\n\
         url = \"redis://:${file:secret}@127.0.0.1:1\"\n\
         [service.db]\n[[service.db.check]]\ntype = \"postgres\"\n\
         url = \"postgres://u:${file:secret}@127.0.0.1:1/db\"\n\
         [service.web]\n[[service.web.check]]\ntype = \"http\"\n\
         url = \"http://u:${file:secret}@127.0.0.1:1/?key=${file:secret}\"\n\
         [service.job]\n[[service.job.check]]\ntype = \"command\"\n\
         command = [\"sh\", \"-c\", \"echo it said \\\"$1\\\"; exit 1\", \"sh\", \"${file:secret}\"]\n\
         [alert.ops]\ntype = \"webhook\"\nurl = \"http://u:${file:secret}@127.0.0.1:1/hook\"\n\
         [alert.log]\ntype = \"log\"\n",
    );
    place
}

fn shows_nothing(text: &str) {
    for part in PARTS {
        assert!(!text.contains(part), "{part:?} is in {text}");
    }
}

#[test]
fn one_off_commands_use_it_whole_and_show_nothing_of_it() {
    let place = place();
    let checked = place.run(&["config", "check"]);
    assert_eq!(checked.code, 0, "{checked:?}");
    let shown = place.run(&["config", "show"]);
    assert!(
        shown.stdout.contains("${file:secret}"),
        "the listing names where it is from: {shown:?}"
    );
    let probed = place.run(&["check"]);
    assert_eq!(probed.code, 1, "{probed:?}");
    assert!(probed.stdout.contains("127.0.0.1:1"), "each is asked at its own host: {probed:?}");
    assert!(probed.stdout.contains("it said [redacted]"), "{probed:?}");
    let sessions = place.run(&["session", "list"]);
    assert_eq!(sessions.code, 3, "{sessions:?}");
    let tested = place.run(&["alert", "test"]);
    for finished in [checked, shown, probed, sessions, tested] {
        shows_nothing(&format!("{}{}", finished.stdout, finished.stderr));
    }
}

#[test]
fn a_running_loop_tells_nothing_of_it_in_its_log_its_alerts_and_its_files() {
    let place = place();
    let mut up = place.start_with(&["-vvv", "up"], &[("RUST_LOG", "trace")]);
    let patience = Duration::from_secs(20);
    let line = up.line_with("it said", patience);
    assert!(line.contains("[redacted]"), "{line}");
    let status = place.run(&["status", "--output", "json"]);
    let events = place.run(&["events", "--output", "jsonl"]);
    assert!(events.stdout.contains("it said [redacted]"), "{events:?}");
    for finished in [status, events] {
        shows_nothing(&format!("{}{}", finished.stdout, finished.stderr));
    }
    up.signal(rustix::process::Signal::INT);
    let (_, lines) = up.finish(Duration::from_secs(30));
    shows_nothing(&lines.join("\n"));
    for file in std::fs::read_dir(place.state_dir()).unwrap().flatten() {
        let bytes = std::fs::read(file.path()).unwrap_or_default();
        shows_nothing(&String::from_utf8_lossy(&bytes));
    }
}
