//! Every command without a running `jarvis up`.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use jarvis_tests::cli::Workplace;

use super::stage::House;

#[test]
fn without_a_loop_the_answer_is_that_nothing_is_known() {
    let house = House::of(&["api"]);
    let status = house.run(&["status"]);
    assert_eq!(status.code, 3, "{status:?}");
    assert!(status.stdout.contains("has not run with this state directory"), "{status:?}");
    for command in [&["uptime"][..], &["events"]] {
        let finished = house.run(command);
        assert_eq!(finished.code, 1, "{finished:?}");
        assert!(finished.stderr.contains("start `jarvis up`"), "{finished:?}");
    }
    assert!(!house.place.state_dir().exists(), "a question left files behind");
}

#[test]
fn owned_processes_and_the_loops_own_commands_need_a_loop() {
    let house = House::of(&["api"]);
    let commands: [&[&str]; 6] = [
        &["restart", "api"],
        &["stop", "api"],
        &["start", "api"],
        &["reset", "api"],
        &["pause"],
        &["resume"],
    ];
    for command in commands {
        let finished = house.run(command);
        assert_eq!(finished.code, 3, "{command:?}: {finished:?}");
        assert!(finished.stderr.contains("start `jarvis up`"), "{command:?}: {finished:?}");
    }
}

#[test]
fn a_service_that_another_program_runs_is_acted_on_without_a_loop() {
    let house = House { place: Workplace::empty() };
    house.configure(&format!(
        "{}\n[service.job]\n[[service.job.check]]\ntype = \"command\"\ncommand = [\"true\"]\n\
         [service.job.restart]\nvia = \"command\"\ncommand = [\"touch\", \"{}\"]\n",
        super::stage::HEAD.replace("stop_timeout = \"5s\"\n", ""),
        house.place.path().join("touched").display()
    ));
    let finished = house.run(&["restart", "job"]);
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(finished.stdout.contains("not proven"), "{finished:?}");
    assert!(house.place.path().join("touched").exists());
    // The kill switch is never overridden.
    house.place.write("state/STOP", "");
    let finished = house.run(&["restart", "job"]);
    assert_eq!(finished.code, 1, "{finished:?}");
    assert!(finished.stderr.contains("kill"), "{finished:?}");
}

#[test]
fn an_unknown_service_is_named_with_the_nearest_one() {
    let house = House::of(&["vocal-coach", "ai-brain"]);
    for command in
        [&["check", "vocal-coch"][..], &["restart", "vocal-coch"], &["uptime", "vocal-coch"]]
    {
        let finished = house.run(command);
        assert_eq!(finished.code, 1, "{finished:?}");
        assert!(finished.stderr.contains("did you mean \"vocal-coach\"?"), "{finished:?}");
    }
}

#[test]
fn wrong_usage_is_exit_2_and_names_what_exists() {
    let place = Workplace::empty();
    let cases: [(&[&str], &str); 10] = [
        (&["chek"], "check"),
        (&["check", "--frobnicate"], "--frobnicate"),
        (&["check", "a/b"], "a/b"),
        (&["events", "--topic", "incidents"], "incident"),
        (&["events", "--since", "5"], "\"24h\""),
        (&["events", "--since", "2999-01-01"], "in the future"),
        (&["uptime", "--since", "yesterday"], "\"24h\""),
        (&["uptime", "--since", "2999-01-01T00:00:00Z"], "in the future"),
        (&["events", "--follow", "--output", "json"], "--output jsonl"),
        (&["demo", "--output", "json"], "no JSON output"),
    ];
    for (command, hint) in cases {
        let finished = place.run(command);
        assert_eq!(finished.code, 2, "{command:?}: {finished:?}");
        let begins = if command.contains(&"json") { "{\"error\":" } else { "error: " };
        assert!(finished.stderr.starts_with(begins), "{command:?}: {finished:?}");
        assert!(finished.stderr.contains(hint), "{command:?}: {finished:?}");
        assert_eq!(finished.stdout, "", "{command:?}");
    }
    assert_eq!(place.run(&["--help"]).code, 0);
    assert_eq!(place.run(&["--version"]).code, 0);
}

#[test]
fn a_wrong_configuration_is_explained_whole_by_every_command() {
    let house = House::of(&["api"]);
    house.configure(
        "[jarvis]\nstate_dir = \"STATE\"\nintervall = \"1s\"\n\n[service.api]\ndepends_on = [\"db\"]\n[[service.api.check]]\ntype = \"htp\"\nurl = \"http://127.0.0.1:1/\"\n",
    );
    for command in [&["check"][..], &["up"], &["status"], &["restart", "api"], &["config", "show"]]
    {
        let finished = house.run(command);
        assert_eq!(finished.code, 2, "{command:?}: {finished:?}");
        assert!(finished.stderr.contains("jarvis.toml:3"), "{command:?}: {finished:?}");
        assert!(
            finished.stderr.contains("did you mean \"interval\"?"),
            "{command:?}: {finished:?}"
        );
    }
    let checked = house.run(&["config", "check"]);
    assert_eq!(checked.code, 2);
    assert!(checked.stdout.contains("the configuration is invalid"), "{checked:?}");
    let checked = house.run(&["config", "check", "--output", "json"]).json();
    assert_eq!(checked["valid"], false);
    assert!(checked["problems"].as_array().unwrap().iter().any(|problem| problem["line"] == 3));
    let error = house.run(&["check", "--output", "json"]);
    let error: serde_json::Value = serde_json::from_str(&error.stderr).unwrap();
    assert_eq!(error["error"]["code"], "ERR_JARVIS_CONFIG_INVALID");
    assert_eq!(error["error"]["problems"][0]["did_you_mean"], "interval");
    let missing = house.run(&["check", "--config", "nowhere.toml"]);
    assert_eq!(missing.code, 2, "{missing:?}");
    assert!(missing.stderr.contains("nowhere.toml"), "{missing:?}");
}

#[test]
fn check_tells_by_its_exit_code_what_it_saw() {
    let place = Workplace::with_config(
        "[jarvis]\nstate_dir = \"STATE\"\n[service.good]\n[[service.good.check]]\ntype = \"command\"\ncommand = [\"true\"]\n\
         [service.bad]\n[[service.bad.check]]\ntype = \"command\"\ncommand = [\"false\"]\n\
         [service.blind]\n[[service.blind.check]]\ntype = \"command\"\ncommand = [\"/no/such/program\"]\n",
    );
    assert_eq!(place.run(&["check", "good"]).code, 0);
    assert_eq!(place.run(&["check", "bad"]).code, 1);
    assert_eq!(place.run(&["check", "good", "bad"]).code, 1);
    let all = place.run(&["check", "--output", "json"]);
    assert_eq!(all.code, 1);
    assert_eq!(all.json()["services"].as_array().unwrap().len(), 3);
    let text = place.run(&["check"]).stdout;
    for line in ["good", "bad", "blind"] {
        assert!(text.contains(line), "{text}");
    }
    assert!(!text.contains('\x1b'), "colours without a terminal");
    assert!(place.run(&["check", "--color", "always"]).stdout.contains('\x1b'));
}

#[test]
fn without_a_file_ai_dawg_is_checked() {
    let place = Workplace::empty();
    let finished = place.run(&["check", "--output", "json"]);
    let names: Vec<String> = finished.json()["services"]
        .as_array()
        .unwrap()
        .iter()
        .map(|service| service["service"].as_str().unwrap().to_owned())
        .collect();
    let known =
        ["daw-backend", "daw-ui", "vocal-coach", "ai-producer", "ai-brain", "postgres", "redis"];
    assert_eq!(names, known);
    assert!(place.run(&["check"]).stdout.contains("No configuration file was found"));
}

#[test]
fn config_init_writes_a_file_for_its_owner_only_and_never_over_another() {
    let place = Workplace::empty();
    assert_eq!(place.run(&["config", "init"]).code, 0);
    let file = place.path().join("jarvis.toml");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let written = std::fs::read_to_string(&file).unwrap();
    let again = place.run(&["config", "init"]);
    assert_eq!(again.code, 1, "{again:?}");
    assert!(again.stderr.contains("--force"), "{again:?}");
    std::fs::write(&file, "broken").unwrap();
    assert_eq!(place.run(&["config", "init", "--force"]).code, 0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), written);
    assert_eq!(place.run(&["config", "init", "-"]).stdout, written);
    let checked = place.run(&["config", "check"]);
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(checked.stdout.contains("7 services"), "{checked:?}");
}

#[test]
fn config_show_names_the_origin_and_keeps_secrets() {
    let place = Workplace::with_config(
        "[jarvis]\nstate_dir = \"STATE\"\n[service.db]\n[[service.db.check]]\ntype = \"postgres\"\nurl = \"postgres://u:hunter2@127.0.0.1:1\"\n",
    );
    for format in ["text", "json"] {
        let shown = place.run(&["config", "show", "--output", format]);
        assert_eq!(shown.code, 0, "{shown:?}");
        assert!(!shown.stdout.contains("hunter2"), "{shown:?}");
        assert!(shown.stdout.contains("jarvis.toml:"), "{shown:?}");
    }
}

#[test]
fn alert_test_says_how_each_sink_took_it() {
    let house = House::of(&["api"]);
    let none = house.run(&["alert", "test"]);
    assert_eq!(none.code, 1, "{none:?}");
    assert!(none.stderr.contains("[alert.NAME]"), "{none:?}");
    let good = "[alert.good]\ntype = \"command\"\ncommand = [\"true\"]\n";
    let bad = "[alert.bad]\ntype = \"command\"\ncommand = [\"false\"]\n";
    let house = House::with(&["api"], &format!("{good}{bad}"));
    assert_eq!(house.run(&["alert", "test", "good"]).code, 0);
    let both = house.run(&["alert", "test", "--output", "json"]);
    assert_eq!(both.code, 1, "{both:?}");
    let both = both.json();
    let failed = both.as_array().unwrap().iter().filter(|answer| !answer["error"].is_null());
    assert_eq!(failed.count(), 1, "{both}");
    assert_eq!(house.run(&["alert", "test", "nobody"]).code, 1);
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let place = Workplace::empty();
    let mut child = place.command(&["completions", "bash"]).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let whole = place.command(&["completions", "zsh"]).stderr(Stdio::inherit()).output().unwrap();
    assert!(String::from_utf8_lossy(&whole.stdout).contains("_jarvis"));
}
