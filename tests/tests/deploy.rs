//! What stands in `examples/deploy`: read by the programs that will read it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails has to stop")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use jarvis_tests::cli::{Finished, Workplace, jarvis_binary, wait_until};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn deploy(name: &str) -> PathBuf {
    root().join("examples/deploy").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(deploy(name)).unwrap()
}

/// Reads arguments with the real parser, which does nothing because help is asked for.
fn parsed(arguments: &[String]) -> Finished {
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.push("--help");
    Workplace::empty().run(&arguments)
}

fn accepted(arguments: &[String]) {
    assert_eq!(arguments[0], "up", "{arguments:?}");
    let finished = parsed(arguments);
    assert_eq!(finished.code, 0, "{arguments:?}: {finished:?}");
    assert!(finished.stdout.contains("Usage: jarvis up"), "{finished:?}");
}

/// What follows `--config` in a command.
fn config_of(arguments: &[String]) -> &str {
    let at = arguments.iter().position(|it| it == "--config").unwrap();
    &arguments[at + 1]
}

/// A document as Python reads it: ours has no YAML of its own.
fn yaml(name: &str) -> Value {
    let script = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    let mut tried = Vec::new();
    for python in ["python3", "/usr/bin/python3"] {
        let output = Command::new(python).args(["-c", script]).arg(deploy(name)).output().unwrap();
        if output.status.success() {
            return serde_json::from_slice(&output.stdout).unwrap();
        }
        tried.push(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    panic!("no Python reads {name}; `tests/run --install` installs python3-yaml: {tried:#?}")
}

fn words(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// The JSON list after an instruction of the Dockerfile.
fn instruction(name: &str) -> Vec<String> {
    let text = text("Dockerfile");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    words(&serde_json::from_str(line.trim()).unwrap())
}

fn exec_start() -> Vec<String> {
    let text = text("jarvis.service");
    let line = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn the_units_command_is_one_that_jarvis_understands() {
    let command = exec_start();
    assert_eq!(command[0], "/usr/local/bin/jarvis");
    accepted(&command[1..]);
    let mut wrong = command[1..].to_vec();
    wrong.push("--no-such-flag".to_owned());
    assert_eq!(parsed(&wrong).code, 2, "the parser reads what comes before --help");
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let found = Command::new("systemd-analyze").arg("--version").output();
    assert!(
        found.is_ok_and(|found| found.status.success()),
        "systemd-analyze is missing; `tests/run --install` installs it (Debian: systemd)"
    );
    let place = Workplace::empty();
    let installed = jarvis_binary().display().to_string();
    place.write(
        "jarvis.service",
        &text("jarvis.service").replace("/usr/local/bin/jarvis", &installed),
    );
    let verify = |name: &str| {
        let unit = place.path().join(name);
        Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(unit).output().unwrap()
    };
    let output = verify("jarvis.service");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let ours: Vec<&str> = told.lines().filter(|line| line.contains("jarvis.service")).collect();
    assert!(ours.is_empty(), "{told}");

    let wrong = text("jarvis.service").replace("WatchdogSec=60s", "WatchdogSecs=60s");
    place.write("wrong.service", &wrong);
    let told = String::from_utf8_lossy(&verify("wrong.service").stderr).into_owned();
    assert!(told.contains("WatchdogSecs"), "it would have told: {told}");
}

#[test]
fn the_configuration_in_the_folder_is_right() {
    let file = deploy("jarvis.docker.toml");
    let place = Workplace::empty();
    let finished = place.run(&["config", "check", "--config", file.to_str().unwrap()]);
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(finished.stdout.contains("no problems"), "{finished:?}");
}

#[test]
fn the_compose_file_starts_what_the_dockerfile_builds_with_that_configuration() {
    let document = yaml("compose.yaml");
    let jarvis = &document["services"]["jarvis"];
    let command = words(&jarvis["command"]);
    accepted(&command);

    let folder = root().join("examples/deploy");
    let context = folder.join(jarvis["build"]["context"].as_str().unwrap());
    assert_eq!(context.canonicalize().unwrap(), root());
    let dockerfile = context.join(jarvis["build"]["dockerfile"].as_str().unwrap());
    assert_eq!(dockerfile.canonicalize().unwrap(), deploy("Dockerfile"));

    let mounts: Vec<Vec<String>> = words(&jarvis["volumes"])
        .iter()
        .map(|mount| mount.split(':').map(str::to_owned).collect())
        .collect();
    let mounted = |target: &str| {
        let mount = mounts.iter().find(|mount| mount[1] == target);
        mount.unwrap_or_else(|| panic!("nothing is mounted at {target}: {mounts:?}"))[0].clone()
    };
    let configuration = folder.join(mounted(config_of(&command)));
    assert_eq!(configuration.canonicalize().unwrap(), deploy("jarvis.docker.toml"));
    let settings: toml::Table = std::fs::read_to_string(configuration).unwrap().parse().unwrap();
    let state = mounted(settings["jarvis"]["state_dir"].as_str().unwrap());
    assert!(document["volumes"].as_object().unwrap().contains_key(&state), "{state}");
    assert_eq!(mounted("/var/run/docker.sock"), "/var/run/docker.sock");

    // An action in flight has 25 s, its owned processes 20 more at worst within 30 s in all.
    let grace = jarvis["stop_grace_period"].as_str().unwrap();
    assert!(jarvis_core::units::parse_duration(grace).unwrap() >= Duration::from_secs(30));

    assert_eq!(instruction("ENTRYPOINT"), ["jarvis"]);
    let usual = instruction("CMD");
    accepted(&usual);
    assert_eq!(config_of(&usual), config_of(&command));
}

#[test]
fn the_health_check_of_the_image_tells_whether_a_loop_answers() {
    let dockerfile = text("Dockerfile");
    let line = dockerfile.lines().find(|line| line.starts_with("HEALTHCHECK")).unwrap();
    let check = line.split_once(" CMD ").unwrap().1;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Workplace::with_config(&format!(
        "[jarvis]\nstate_dir = \"STATE\"\ninterval = \"300ms\"\ntimeout = \"200ms\"\n[service.a.check]\ntype = \"tcp\"\naddress = \"{}\"\n",
        listener.local_addr().unwrap()
    ));
    let binary = jarvis_binary();
    let run = || {
        let path = format!("{}:/usr/bin:/bin", binary.parent().unwrap().display());
        let mut command = Command::new("sh");
        command.args(["-c", check]).current_dir(place.path()).env_clear();
        command.env("PATH", path).env("HOME", place.path());
        command.status().unwrap().code()
    };
    assert_ne!(run(), Some(0), "no loop runs");
    let _up = place.start(&["up"]);
    let healthy = wait_until(Duration::from_secs(60), || (run() == Some(0)).then_some(()));
    assert!(healthy.is_some(), "a loop runs, and the check says {:?}", run());
}
