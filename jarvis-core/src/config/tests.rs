use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;

use super::*;

fn told(text: &str) -> Vec<String> {
    let (_, report) = Config::inspect(&Source::empty().with_text(text));
    report.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn each_mistake_is_told_with_its_place_and_what_to_write() {
    let api = "[service.api]\n[[service.api.check]]\ntype = \"tcp\"\n";
    let table: &[(&str, &[&str])] = &[
        (
            "[servce.api]\n",
            &[
                "inline:1: servce: unknown section \"servce\", did you mean \"service\"? Valid sections: alert, allow, bus, cache, defaults, heartbeat, host, include, jarvis, lease, limits, maintenance, service, session, store, template",
            ],
        ),
        (
            "[jarvis]\nmode = \"dryrun\"\n",
            &[
                "inline:2: jarvis.mode: unknown choice \"dryrun\", did you mean \"dry-run\"? Valid choices: act, dry-run, observe",
            ],
        ),
        (
            "[jarvis]\nstate_dri = \"x\"\n",
            &[
                "inline:2: jarvis.state_dri: unknown key \"state_dri\", did you mean \"state_dir\"? Valid keys: failure_threshold, http, interval, interval_down, kill_switch, mode, state_dir, success_threshold, timeout",
            ],
        ),
        (
            "[limits]\nwindow = 5\n",
            &["inline:2: limits.window: a string is expected, not integer `5`"],
        ),
        (
            "[limits]\nwindow = \"5\"\n",
            &[
                "inline:2: limits.window: \"5\" is not a duration; write a number and a unit, such as \"30s\", \"5m\" or \"250ms\"",
            ],
        ),
        (
            "[service.\"a b\"]\n",
            &[
                "inline:1: service.\"a b\": \"a b\" is not a valid service name: use 1 to 64 letters, digits, '-', '_' or '.', starting with a letter, digit or '_'",
            ],
        ),
        (
            "[service.api]\n",
            &[
                "inline:1: service.api: nothing is checked here: add a [[check]] or a [restart] section to it",
            ],
        ),
        (
            "[service.api]\ncritcal = true\n[[service.api.check]]\nurl = \"x\"\n",
            &[
                "inline:2: service.api.critcal: unknown key \"critcal\", did you mean \"critical\"? Valid keys: check, critical, depends_on, host, renamed_from, restart, restart_with_dependencies, rollback, start_grace, template, vars",
                "inline:3: service.api.check[0]: the key \"type\" is missing",
            ],
        ),
        (
            "[service.api]\nscale = { min = 2 }\n[[service.api.check]]\ntype = \"tcp\"\n",
            &[
                "inline:2: service.api.scale: unknown key \"scale\"; valid keys: check, critical, depends_on, host, renamed_from, restart, restart_with_dependencies, rollback, start_grace, template, vars",
            ],
        ),
        (
            &format!(
                "{api}[service.db]\ndepends_on = [\"apy\"]\n[[service.db.check]]\ntype = \"tcp\"\n"
            ),
            &[
                "inline:5: service.db.depends_on: unknown service \"apy\", did you mean \"api\"? Valid services: api, db",
            ],
        ),
        (
            &format!("{api}[allow]\nservices = [\"web\"]\n"),
            &["inline:5: allow.services: unknown service \"web\"; valid services: api"],
        ),
        (
            &format!("{api}[allow]\nservices = [\"web-*\"]\n"),
            &["inline:5: warning: allow.services: \"web-*\" matches no service"],
        ),
        ("[jarvis\n", &["inline:1: unclosed table, expected `]`"]),
        ("a = 1\na = 2\n", &["inline:2: duplicate key"]),
        (
            "[heartbeat]\nurl = \"${env:NOPE}\"\n",
            &["inline:2: heartbeat.url: the environment variable \"NOPE\" is not set (or empty)"],
        ),
        (
            "[heartbeat]\nurl = \"${nope}\"\n",
            &[
                "inline:2: heartbeat.url: ${nope} is unknown; use ${env:NAME}, ${file:PATH}, ${var:NAME} or ${service}, and $${ for these two characters themselves",
            ],
        ),
        (
            "[alert.ops]\ntype = \"webhook\"\nhmac_secret = \"abc\"\n",
            &[
                "inline:3: warning: alert.ops.hmac_secret: a secret stands here in plain text; use ${env:NAME} or ${file:PATH}",
            ],
        ),
        (
            "[service.a]\ntemplate = \"x\"\n",
            &["inline:2: service.a.template: unknown template \"x\"; none is defined"],
        ),
    ];
    for (text, expected) in table {
        let told = told(text);
        let first: Vec<&str> = told.iter().map(String::as_str).take(expected.len()).collect();
        assert_eq!(&first, expected, "{text}\nall: {told:#?}");
    }
}

#[test]
fn a_cycle_is_named_once() {
    let text = "[service.a]\ndepends_on = [\"b\"]\n[service.a.check]\ntype = \"tcp\"\n\
                [service.b]\ndepends_on = [\"c\"]\n[service.b.check]\ntype = \"tcp\"\n\
                [service.c]\ndepends_on = [\"a\"]\n[service.c.check]\ntype = \"tcp\"\n";
    assert_eq!(
        told(text),
        ["inline:2: service.a.depends_on: the services depend on each other: a -> b -> c -> a"]
    );
}

#[test]
fn templates_defaults_variables_and_own_keys_compose() {
    let config = Config::from_toml(
        r#"
        [jarvis]
        interval = "20s"
        [defaults.check]
        timeout = "2s"
        [defaults.restart]
        wait = "3s"
        [template.fastapi]
        critical = true
        [[template.fastapi.check]]
        type = "http"
        url = "http://127.0.0.1:${var:port}/health?by=${service}"
        [template.fastapi.restart]
        via = "docker"
        container = "dawg-${service}"
        [service.coach]
        template = "fastapi"
        vars = { port = 8000 }
        [service.brain]
        template = "fastapi"
        vars = { port = 8002 }
        critical = false
        restart.wait = "9s"
        "#,
    )
    .unwrap();
    let (coach, brain) = (config.service("coach").unwrap(), config.service("brain").unwrap());
    let check = &coach.checks[0].section;
    assert_eq!(check.text("url").unwrap(), "http://127.0.0.1:8000/health?by=coach");
    assert_eq!(check.text("interval").unwrap(), "20s");
    assert_eq!(check.text("timeout").unwrap(), "2s");
    assert!(coach.critical && !brain.critical);
    let restart = |service: &ServiceSettings, key: &str| {
        service.restart.as_ref().unwrap().section.text(key).unwrap()
    };
    assert_eq!(restart(coach, "container"), "dawg-coach");
    assert_eq!((restart(coach, "wait"), restart(brain, "wait")), ("3s".into(), "9s".into()));
}

#[test]
fn the_environment_overrides_what_it_may_and_no_more() {
    let source = Source::empty()
        .with_text("[limits]\nmax_restarts = 3\n[service.a.check]\ntype = \"tcp\"\n")
        .with_variable("JARVIS_LIMITS__MAX_RESTARTS", "7")
        .with_variable("JARVIS_JARVIS__MODE", "observe");
    let config = Config::load(&source).unwrap();
    assert_eq!(config.limits.max_restarts, 7);
    assert_eq!(config.jarvis.mode, base::vocabulary::Mode::Observe);
    let error = Config::load(&source.with_variable("JARVIS_SERVICE__A", "x")).unwrap_err();
    assert!(error.message().starts_with("environment variable JARVIS_SERVICE__A"), "{error}");
}

#[test]
fn a_setting_overrides_the_environment_and_is_named_by_what_set_it() {
    let source = Source::empty()
        .with_text("[jarvis]\nmode = \"act\"\n[service.a.check]\ntype = \"tcp\"\n")
        .with_variable("JARVIS_JARVIS__MODE", "observe")
        .with_setting("jarvis.mode", "dry-run", "--dry-run");
    let config = Config::load(&source).unwrap();
    assert_eq!(config.jarvis.mode, base::vocabulary::Mode::DryRun);
    let shown = config.show().into_iter().find(|shown| shown.key == "jarvis.mode").unwrap();
    assert_eq!(shown.origin, "--dry-run");
    let wrong = source.clone().with_setting("limits.max_restarts", "many", "--limit");
    let error = Config::load(&wrong).unwrap_err();
    assert!(error.message().starts_with("--limit: limits.max_restarts"), "{error}");
    for key in ["service.a", "mode"] {
        let error = Config::load(&source.clone().with_setting(key, "x", "--x")).unwrap_err();
        assert!(error.message().contains("jarvis, limits, store"), "{error}");
    }
}

#[test]
fn a_secret_is_in_no_message_no_debug_and_no_listing() {
    let source = Source::empty()
        .with_variable("DB", "postgres://u:hunter2@h/db")
        .with_text("[limits]\nwindow = \"${env:DB}\"\n[service.a.check]\ntype = \"${env:DB}\"\nx = \"${env:DB}\"\n");
    let (config, report) = Config::inspect(&source);
    assert!(config.is_none() && report.to_string().contains("\"[redacted]\" is not a duration"));
    let good = source.with_text(
        "[heartbeat]\nurl = \"${env:DB}\"\n[service.a.check]\ntype = \"tcp\"\nsend = \"${env:DB}\"\npassword = \"opensesame\"\n",
    );
    let config = Config::load(&good).unwrap();
    for text in [report.to_string(), format!("{config:?}"), format!("{:?}", config.effective())] {
        assert!(!text.contains("hunter2") && !text.contains("opensesame"), "{text}");
    }
}

#[test]
fn includes_are_relative_merge_and_never_run_in_circles() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("conf.d")).unwrap();
    fs::write(
        path("jarvis.toml"),
        "include = [\"conf.d/*.toml\"]\n[jarvis]\nstate_dir = \"state\"\n",
    )
    .unwrap();
    fs::write(path("conf.d/a.toml"), "[service.a.check]\ntype = \"tcp\"\n").unwrap();
    fs::write(path("conf.d/b.toml"), "[service.b.check]\ntype = \"tcp\"\n").unwrap();
    let source = Source::empty().with_directory(folder.path());
    let config = Config::load(&source).unwrap();
    assert_eq!(config.services.len(), 2);
    assert_eq!(config.jarvis.state_dir, path("state"));
    assert_eq!(config.files().len(), 3);
    fs::write(
        path("conf.d/b.toml"),
        "include = [\"../jarvis.toml\"]\n[jarvis]\nstate_dir = \"x\"\n",
    )
    .unwrap();
    let (_, report) = Config::inspect(&source);
    let told: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2, "{told:#?}");
    assert_eq!(told[0], "conf.d/b.toml:3: jarvis.state_dir: it is set already, at jarvis.toml:3");
    assert!(
        told[1].starts_with("conf.d/b.toml:1: include: the files include each other: "),
        "{told:#?}"
    );
}

#[test]
fn as_root_a_file_that_others_may_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jarvis.toml");
    fs::write(&file, "[service.a.check]\ntype = \"tcp\"\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o664)).unwrap();
    let source = Source::empty().with_directory(folder.path()).with_file(&file);
    assert!(Config::load(&source).is_ok());
    let error = Config::load(&source.with_privileged(true)).unwrap_err();
    assert!(error.message().contains("`chmod go-w jarvis.toml`"), "{error}");
}

#[test]
fn as_root_a_secret_that_others_may_read_is_told_and_one_they_may_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("token");
    fs::write(&secret, "geheim\n").unwrap();
    let text = "[alert.ops]\ntype = \"webhook\"\nurl = \"${file:token}\"\n";
    let source = Source::empty().with_directory(folder.path()).with_text(text);
    let told = |mode: u32, privileged: bool| {
        fs::set_permissions(&secret, fs::Permissions::from_mode(mode)).unwrap();
        let (config, report) = Config::inspect(&source.clone().with_privileged(privileged));
        let lines: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
        assert!(!lines.concat().contains("geheim"), "{lines:?}");
        (config.is_some(), lines)
    };
    assert_eq!(told(0o600, true), (true, vec![]));
    assert_eq!(told(0o666, false), (true, vec![]), "whoever is not root knows his group");
    for mode in [0o640, 0o604, 0o444] {
        let (used, lines) = told(mode, true);
        assert!(used && lines.len() == 1, "{mode:o}: {lines:?}");
        assert!(lines[0].starts_with("inline:3: warning: alert.ops.url: "), "{lines:?}");
        assert!(lines[0].contains("chmod go-r"), "{lines:?}");
    }
    for mode in [0o620, 0o602] {
        let (used, lines) = told(mode, true);
        assert!(!used && lines[0].contains("chmod go-w"), "{mode:o}: {lines:?}");
    }
}

#[test]
fn the_state_directory_of_a_broken_configuration_is_found_or_not_guessed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jarvis.toml");
    let source = Source::empty().with_directory(folder.path()).with_variable("HOME", "/home/ann");
    let found = |text: &str| {
        fs::write(&file, text).unwrap();
        Config::state_dir(&source)
    };
    let state = Some(folder.path().join("state"));
    let usual = Some("/home/ann/.local/state/jarvis".into());
    let jarvis = "[jarvis]\nstate_dir = \"state\"\n";
    assert_eq!(found(jarvis), state);
    assert_eq!(found(&format!("{jarvis}mode = \"atc\"\n[service.a]\nchek = 1\n")), state);
    assert_eq!(found(&format!("{jarvis}[service.a\n")), state, "what can be read is read");
    assert_eq!(found("[service.a]\nchek = 1\n"), usual, "nobody named another one");
    assert_eq!(found("[jarvis\nstate_dir = \"state\"\n"), None);
    assert_eq!(found("[service.a\n"), None, "it might have been named in what can't be read");
    assert_eq!(found("[jarvis]\nstate_dir = \"${env:NOWHERE}\"\n"), None);
    assert_eq!(found("[jarvis]\nstate_dir = 3\n"), None);
    assert_eq!(found("include = [\"gone.toml\"]\n"), None);
    fs::write(&file, "[service.a\n").unwrap();
    let named = source.clone().with_variable("JARVIS_JARVIS__STATE_DIR", "/named");
    assert_eq!(Config::state_dir(&named), Some("/named".into()));
    fs::remove_file(&file).unwrap();
    assert_eq!(Config::state_dir(&source), usual);
}

#[test]
fn fault_37_what_is_no_configuration_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jarvis.toml");
    let source = Source::empty().with_directory(folder.path());
    let huge = "# filler\n".repeat(1_200_000);
    let good = "[service.a]\ncritical = true\n[service.a.check]\ntype = \"tcp\"\n";
    for (what, content) in [
        ("malformed", b"[service".as_slice()),
        ("half-written", &good.as_bytes()[..20]),
        ("not UTF-8", b"a = \"\xff\"".as_slice()),
        ("10 MB", huge.as_bytes()),
    ] {
        fs::write(&file, content).unwrap();
        let error = Config::load(&source).expect_err(what);
        assert_eq!(error.kind(), base::ErrorKind::ConfigInvalid, "{what}");
        assert!(error.message().starts_with("jarvis.toml"), "{what}: {error}");
    }
}

#[test]
fn what_init_writes_loads() {
    let config = Config::from_toml(&ai_dawg()).unwrap();
    assert_eq!(config.services.len(), 7);
    assert!(config.services.iter().all(|service| service.restart.is_none()));
    assert!(config.warnings().problems.is_empty(), "{}", config.warnings());
    let built_in = Config::load(&Source::empty()).unwrap();
    assert!(built_in.is_built_in() && built_in.files().is_empty());
    assert_eq!(built_in.services.len(), 7);
}

#[test]
fn what_init_writes_for_containers_loads_whatever_they_are_called() {
    let mut web = Container::new("we\"ird ${env:X}\n[x]", "img");
    web.ports = vec![("0.0.0.0".into(), 8080, 80), ("::".into(), 5433, 5432)];
    web.restart_policy = "always".into();
    let mut coach = Container::new("dawg-coach-1", "coach:1");
    coach.compose = Some(("dawg".into(), "coach".into()));
    let text = from_containers(&[web.clone(), web, coach], Some("unix:///x"));
    let config = Config::from_toml(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(config.services.len(), 3);
    let restart = config.services[0].restart.as_ref().unwrap();
    assert_eq!(restart.section.text("container").unwrap(), "we\"ird ${env:X}\n[x]");
}

#[test]
fn what_is_shown_says_where_it_comes_from() {
    let source = Source::empty()
        .with_text("[service.a.check]\ntype = \"tcp\"\naddress = \"h:1\"\n")
        .with_variable("JARVIS_LIMITS__WINDOW", "1m");
    let shown = Config::load(&source).unwrap().show();
    let lines: Vec<String> = shown
        .iter()
        .map(|shown| format!("{} {} {}", shown.key, shown.value, shown.origin))
        .collect();
    assert_eq!(
        lines,
        [
            "limits.window \"1m\" environment variable JARVIS_LIMITS__WINDOW",
            "service.a.check.address \"h:1\" inline:3",
            "service.a.check.type \"tcp\" inline:2",
        ]
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in any::<String>()) {
        drop(Config::inspect(&Source::empty().with_text(text)));
    }

    #[test]
    fn no_toml_panics(words in proptest::collection::vec(
        prop_oneof![
            Just("[service.a]"), Just("[[service.a.check]]"), Just("[service.a.restart]"),
            Just("[jarvis]"), Just("[allow]"), Just("[[maintenance]]"), Just("[template.t]"),
            Just("[defaults.check]"), Just("type = \"tcp\""), Just("via = 3"), Just("services = [1, \"*\"]"),
            Just("template = \"t\""), Just("depends_on = [\"a\", \"b\"]"), Just("interval = {}"),
            Just("check = [[1], {type = \"x\"}]"), Just("x = \"${\""), Just("url = \"${var:x}\""),
            Just("include = [\"*\", 3]"), Just("[service]"), Just("a = 1"), Just("mode = [1]"),
            Just("[service.a.vars]"), Just("name = 7"), Just("[alert.x]"), Just("[host.h]"),
        ],
        0..24,
    )) {
        drop(Config::inspect(&Source::empty().with_text(words.join("\n"))));
    }
}
