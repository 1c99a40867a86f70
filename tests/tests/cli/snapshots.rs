//! How the output looks. Times, ports and process ids are left out.

use regex::Regex;
use serde_json::Value;

use super::stage::House;

/// The text without what changes from run to run.
fn settled(text: &str) -> String {
    let patterns = [
        (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "[time]"),
        (r"127\.0\.0\.1:\d+", "[address]"),
        (r"pid \d+( started \d+ boot [0-9a-f-]+| [0-9a-f]{8})?", "[process]"),
        (r"requested by (\S+ \((root|user \d+)\)|root|user \d+)", "requested by [user]"),
        (r"\b\d+m\d+s\b", "[span]"),
        (r"\b\d+(\.\d+)? ?(µs|ms|min|s|%)( \d+ s)?", "[span]"),
        (r"[▁▄█·]+", "[results]"),
        (r" +\d+ +\d+  ", "  [counts]  "),
        (r"/\S*/(?P<file>jarvis\.toml)", "$file"),
        (r" {2,}", "  "),
    ];
    patterns.iter().fold(text.to_owned(), |text, (pattern, name)| {
        Regex::new(pattern).unwrap().replace_all(&text, *name).into_owned()
    })
}

/// The shape of a document: names and words, no numbers and no times.
fn shape(value: &Value) -> Value {
    match value {
        Value::Number(_) => Value::from(0),
        Value::String(text) => Value::from(settled(text)),
        Value::Array(items) => items.iter().take(1).map(shape).collect(),
        Value::Object(fields) => fields
            .iter()
            // What the very first probes saw depends on who was faster.
            .filter(|(name, _)| *name != "recent")
            .map(|(name, value)| (name.clone(), shape(value)))
            .collect(),
        other => other.clone(),
    }
}

fn pretty(value: &Value) -> String {
    format!("{:#}", shape(value))
}

#[test]
fn answers_look_like_this() {
    let house = House::of(&["api"]);
    let _up = house.up(&["api"]);
    insta::assert_snapshot!("status", settled(&house.run(&["status"]).stdout));
    insta::assert_snapshot!("status_of_one", settled(&house.run(&["status", "api"]).stdout));
    insta::assert_snapshot!("check", settled(&house.run(&["check"]).stdout));
    insta::assert_snapshot!(
        "check_json",
        pretty(&house.run(&["check", "--output", "json"]).json())
    );
    insta::assert_snapshot!(
        "status_json",
        pretty(&house.run(&["status", "--output", "json"]).json())
    );
    insta::assert_snapshot!(
        "uptime_json",
        pretty(&house.run(&["uptime", "--output", "json"]).json())
    );
    insta::assert_snapshot!("restart", settled(&house.run(&["restart", "api"]).stdout));
    let incident: Vec<String> = house
        .run(&["events", "--topic", "action"])
        .stdout
        .lines()
        .map(|line| settled(line) + "\n")
        .collect();
    insta::assert_snapshot!("events_of_a_restart", incident.concat());
}

#[test]
fn a_refused_configuration_looks_like_this() {
    let house = House::of(&["api"]);
    house.configure("[jarvis]\nstate_dir = \"STATE\"\n[service.api]\ncritcal = true\n[[service.api.check]]\ntype = \"htp\"\n");
    let finished = house.run(&["check"]);
    insta::assert_snapshot!("refused", settled(&finished.stderr));
    insta::assert_snapshot!(
        "config_check_refused",
        settled(&house.run(&["config", "check"]).stdout)
    );
}

#[test]
fn sessions_look_like_this() {
    let place = jarvis_tests::cli::Workplace::with_config("[jarvis]\nstate_dir = \"STATE\"\n");
    let settled = |text: &str| {
        let names = Regex::new(r"[A-Za-z0-9_-]{45}").unwrap().replace_all(text, "[handle]");
        let names = Regex::new(r"[A-Za-z0-9_-]{34}").unwrap().replace_all(&names, "[id]");
        // A count is no span of time.
        settled(&names).replace("[span]ession", "1 session")
    };
    let data = r#"{"project":"demo","takes":[1,2]}"#;
    let made = place.run(&["session", "create", "--user", "ada", "--ttl", "30m", data]);
    insta::assert_snapshot!("session_create", settled(&made.stdout));
    insta::assert_snapshot!(
        "session_create_json",
        pretty_with(&place.run(&["session", "create", "--output", "json"]).json(), &settled)
    );
    let listed = place.run(&["session", "list", "--user", "ada"]);
    insta::assert_snapshot!("session_list", settled(&listed.stdout));
    let none = place.run(&["session", "get", "nobody"]);
    insta::assert_snapshot!("session_not_found", settled(&none.stderr));
    let memory = place.run(&["cache", "get", "song"]);
    insta::assert_snapshot!("cache_in_memory", settled(&memory.stderr));
}

/// The shape of a document, with a rule of one's own for its strings.
fn pretty_with(value: &Value, settled: &dyn Fn(&str) -> String) -> String {
    settled(&format!("{:#}", shape(value)))
}
