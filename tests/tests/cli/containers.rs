//! `jarvis up` and `config init` on real containers.

use std::time::Duration;

use jarvis_tests::cli::{Workplace, wait_until};
use jarvis_tests::docker::{BOX_1, Container, docker, host};

use super::stage::{HEAD, House, LONG};

/// A web server that can be killed and can hang, on a port of this machine.
fn server(port: u16) -> Container {
    let port = port.to_string();
    let command = [
        "sh",
        "-c",
        "mkdir -p /www && echo '{\"status\":\"ok\"}' > /www/health && exec httpd -f -p 127.0.0.1:$0 -h /www",
        &port,
    ];
    Container::run_command("cli-web", &["--network", "host"], BOX_1, &command)
}

fn started_at(container: &Container) -> String {
    container.inspect("{{.State.StartedAt}} {{.State.Running}}")
}

fn restarted(container: &Container, before: &str) {
    let found = wait_until(LONG, || {
        let now = started_at(container);
        (now != before && now.ends_with("true")).then_some(())
    });
    assert!(found.is_some(), "still {before}");
}

#[test]
fn up_heals_a_container_that_was_killed_and_one_that_hangs() {
    let port = super::stage::free_port();
    let container = server(port);
    let house = House { place: Workplace::empty() };
    house.configure(&format!(
        "{}\n[service.web]\n[[service.web.check]]\ntype = \"http\"\nurl = \"http://127.0.0.1:{port}/health\"\n\
         [service.web.restart]\nvia = \"docker\"\ncontainer = \"{}\"\nhost = \"{}\"\n",
        HEAD.replace("stop_timeout = \"5s\"\n", ""),
        container.name,
        host()
    ));
    let _up = house.up(&["web"]);
    let before = started_at(&container);
    container.kill_process();
    restarted(&container, &before);
    house.settled("web");
    let before = started_at(&container);
    let pid = container.inspect("{{.State.Pid}}").parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    restarted(&container, &before);
    house.settled("web");
    // The log is written beside the loop, a moment later.
    let resolved = || (house.events_of("incident_resolved").len() == 2).then_some(());
    assert!(wait_until(LONG, resolved).is_some(), "two incidents, both resolved");

    // What a person stops stays stopped, and nobody is paged.
    docker(&["stop", "-t", "1", &container.name]);
    house.wait_for("web", |status| {
        status["operator"]["lifecycle"]["hold"]["gate"] == "stopped_by_person"
            || status["operator"]["lifecycle"]["phase"] == "stopped"
    });
    assert_eq!(house.events_of("escalated").len(), 0);
    docker(&["start", &container.name]);
    house.settled("web");
}

#[test]
fn a_container_is_restarted_by_hand_without_a_loop() {
    let port = super::stage::free_port();
    let container = server(port);
    let house = House { place: Workplace::empty() };
    house.configure(&format!(
        "{}\n[service.web]\n[[service.web.check]]\ntype = \"http\"\nurl = \"http://127.0.0.1:{port}/health\"\n\
         [service.web.restart]\nvia = \"docker\"\ncontainer = \"{}\"\nhost = \"{}\"\n",
        HEAD.replace("stop_timeout = \"5s\"\n", ""),
        container.name,
        host()
    ));
    let up =
        wait_until(Duration::from_secs(30), || (house.run(&["check"]).code == 0).then_some(()));
    assert!(up.is_some(), "{:?}", house.run(&["check"]));
    let before = started_at(&container);
    let finished = house.run(&["restart", "web"]);
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(finished.stdout.contains("a new life"), "{finished:?}");
    assert_ne!(started_at(&container), before);
}

#[test]
fn a_deep_check_tells_of_double_supervision_and_of_what_is_not_there() {
    let port = super::stage::free_port().to_string();
    let command = ["sh", "-c", "mkdir -p /www && exec httpd -f -p 127.0.0.1:$0 -h /www", &port];
    let options = ["--network", "host", "--restart", "unless-stopped"];
    let container = Container::run_command("cli-twice", &options, BOX_1, &command);
    let place = Workplace::with_config(&format!(
        "[jarvis]\nstate_dir = \"STATE\"\n[service.web]\n[[service.web.check]]\ntype = \"tcp\"\n\
         address = \"127.0.0.1:{port}\"\n[service.web.restart]\nvia = \"docker\"\ncontainer = \"{}\"\nhost = \"{}\"\n",
        container.name,
        host()
    ));
    let there = || (place.run(&["check"]).code == 0).then_some(());
    assert!(wait_until(LONG, there).is_some(), "{:?}", place.run(&["check"]));
    let before = container.inspect("{{.State.StartedAt}} {{.RestartCount}}");
    let checked = place.run(&["config", "check", "--deep"]);
    assert_eq!(checked.code, 0, "a warning is no error: {checked:?}");
    assert!(
        checked.stdout.contains("jarvis.toml:8: warning: service.web.restart.via"),
        "{checked:?}"
    );
    assert!(checked.stdout.contains("restart policy \"unless-stopped\""), "{checked:?}");
    assert!(checked.stdout.contains("docker update --restart=no"), "{checked:?}");
    assert_eq!(container.inspect("{{.State.StartedAt}} {{.RestartCount}}"), before);
    assert_eq!(place.run(&["config", "check"]).code, 0);

    docker(&["rm", "-f", &container.name]);
    let gone = place.run(&["config", "check", "--deep", "--output", "json"]);
    assert_eq!(gone.code, 1, "{gone:?}");
    let found = gone.json()["found"].clone();
    let keys: Vec<&str> =
        found.as_array().unwrap().iter().map(|it| it["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["service.web.restart.via", "service.web.check[0].address"], "{found:#}");
}

#[test]
fn config_init_writes_the_containers_that_run() {
    let container = server(super::stage::free_port());
    let place = Workplace::empty();
    let written = place.run(&["config", "init", "--from-docker", "--docker-host", &host()]);
    assert_eq!(written.code, 0, "{written:?}");
    let text = std::fs::read_to_string(place.path().join("jarvis.toml")).unwrap();
    assert!(text.contains(&format!("container = \"{}\"", container.name)), "{text}");
    let checked = place.run(&["config", "check"]);
    assert_eq!(checked.code, 0, "{checked:?}");
}
