//! Rollback of a container against a real Docker Engine: the good way, and every way it fails.

#![expect(clippy::unwrap_used, reason = "tests")]

use jarvis_core::restart::docker::{ComposeTarget, DockerConfig, discover};
use jarvis_core::restart::{RunState, ServiceRestarter};
use jarvis_core::vocabulary::VersionId;
use jarvis_core::{ErrorKind, Retry};
use jarvis_tests::docker::{
    BOX_1, BOX_2, Container, Fault, Network, Proxy, clock, docker, host, request, restarter_at,
};

fn image_id(image: &str) -> VersionId {
    VersionId::new(docker(&["image", "inspect", "-f", "{{.Id}}", image])).unwrap()
}

fn exists(name: &str) -> bool {
    !docker(&["ps", "-aq", "-f", &format!("name=^/{name}$")]).is_empty()
}

fn is_as_before(container: &Container, id: &str) {
    assert_eq!(container.id(), id, "the container that ran before has the name");
    assert_eq!(container.inspect("{{.State.Running}}"), "true");
    for suffix in [".jarvis-kept", ".jarvis-new"] {
        assert!(!exists(&format!("{}{suffix}", container.name)), "{suffix} is left");
    }
}

#[tokio::test]
async fn a_rollback_is_the_same_container_from_the_other_image_until_it_is_settled() {
    let options =
        ["-v", "/data", "-e", "MODE=prod", "-l", "team=music", "-m", "64m", "--restart", "always"];
    let container = Container::run("rollback", &options, BOX_2);
    docker(&["exec", &container.name, "sh", "-c", "echo kept > /data/file"]);
    let restarter = container.restarter();
    let good = image_id(BOX_1);
    assert_eq!(restarter.observe().await.unwrap().version, Some(image_id(BOX_2)));
    let receipt = restarter.roll_back(request(), good.clone()).await.unwrap();
    let now = restarter.observe().await.unwrap();
    assert_eq!((&now.version, &now.state), (&Some(good), &RunState::Running));
    assert_eq!(receipt.after, now.instance);
    let cat = |file| docker(&["exec", &container.name, "cat", file]);
    assert_eq!((cat("/version"), cat("/data/file")), ("1".to_owned(), "kept".to_owned()));
    let settings =
        "{{.Config.Labels.team}} {{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}}";
    assert_eq!(container.inspect(settings), "music 67108864 always");
    assert!(container.inspect("{{.Config.Env}}").contains("MODE=prod"));
    let kept = format!("{}.jarvis-kept", container.name);
    let policy = "{{.HostConfig.RestartPolicy.Name}} {{.State.Running}}";
    assert_eq!(docker(&["inspect", "-f", policy, &kept]), "no false");
    let error = restarter.roll_back(request(), image_id(BOX_2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "the first is not settled");
    restarter.settle_roll_back(true).await.unwrap();
    assert!(!exists(&kept));
    assert_eq!(cat("/data/file"), "kept");
    restarter.settle_roll_back(true).await.unwrap();
}

#[tokio::test]
async fn a_rollback_keeps_networks_addresses_aliases_and_ports_also_when_it_is_undone() {
    // A range of this process's own: others test on the same machine.
    let pid = std::process::id();
    let range = format!("10.{}.{}", 200 + pid % 50, pid / 50 % 250);
    let front = Network::new("front", Some(&format!("{range}.0/24")));
    let back = Network::new("back", None);
    let address = format!("{range}.77");
    let options = ["--network", &front.name, "--ip", &address, "--network-alias", "coach"];
    let ports = ["-p", "127.0.0.1::8000"];
    let container = Container::run("networks", &[options.as_slice(), &ports].concat(), BOX_2);
    docker(&["network", "connect", "--alias", "store", &back.name, &container.name]);
    let id = container.id();
    let check = || {
        let of = |network: &str, field: &str| {
            container
                .inspect(&format!("{{{{(index .NetworkSettings.Networks {network:?}).{field}}}}}"))
        };
        assert_eq!(of(&front.name, "IPAddress"), address);
        assert!(of(&front.name, "Aliases").contains("coach"));
        assert!(of(&back.name, "Aliases").contains("store"));
        assert!(!of(&back.name, "IPAddress").is_empty());
    };
    let found = discover(Some(&host()), clock()).await.unwrap();
    let found = found.iter().find(|found| found.name == container.name).unwrap();
    assert_eq!(found.network_mode, front.name);
    assert_eq!(found.ports.len(), 1);
    assert_eq!((&*found.ports[0].host_ip, found.ports[0].container_port), ("127.0.0.1", 8000));

    let proxy = Proxy::start();
    proxy.fail("POST", "/connect", 0, Fault::Refuse);
    let restarter = restarter_at(&proxy.host(), DockerConfig::container(&container.name));
    let error = restarter.roll_back(request(), image_id(BOX_1)).await.unwrap_err();
    assert!(proxy.is_used_up() && error.message().contains("is as before"), "{error}");
    is_as_before(&container, &id);
    check();
    restarter.roll_back(request(), image_id(BOX_1)).await.unwrap();
    assert_ne!(container.id(), id);
    check();
    restarter.settle_roll_back(false).await.unwrap();
    is_as_before(&container, &id);
    check();
}

#[tokio::test]
async fn a_rollback_that_is_given_up_brings_back_what_ran_before() {
    let container = Container::run("giveup", &["--restart", "unless-stopped"], BOX_2);
    let id = container.id();
    let restarter = container.restarter();
    restarter.roll_back(request(), image_id(BOX_1)).await.unwrap();
    assert_ne!(container.id(), id);
    restarter.settle_roll_back(false).await.unwrap();
    is_as_before(&container, &id);
    assert_eq!(container.inspect("{{.HostConfig.RestartPolicy.Name}}"), "unless-stopped");
    assert_eq!(restarter.observe().await.unwrap().state, RunState::Running);
}

#[tokio::test]
async fn what_cannot_be_rolled_back_is_refused_before_anything_is_touched() {
    let container = Container::run("refused", &[], BOX_2);
    let life = container.restarter().observe().await.unwrap().instance;
    let gone = VersionId::new(format!("sha256:{}", "0".repeat(64))).unwrap();
    let error = container.restarter().roll_back(request(), gone).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(container.restarter().observe().await.unwrap().instance, life);
    let volatile = Container::run("volatile", &["--rm"], BOX_2);
    let error = volatile.restarter().roll_back(request(), image_id(BOX_1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(volatile.restarter().observe().await.unwrap().state, RunState::Running);
}

#[tokio::test]
async fn a_version_that_cannot_start_is_undone() {
    let container = Container::run("broken", &[], BOX_2);
    let id = container.id();
    let to = image_id("jarvis-test/box:broken");
    let error = container.restarter().roll_back(request(), to).await.unwrap_err();
    assert!(error.message().contains("is as before"), "{error}");
    assert_eq!(error.retry(), Retry::Never);
    is_as_before(&container, &id);
}

#[tokio::test]
async fn a_rollback_that_fails_at_any_step_is_undone() {
    for fault in [Fault::Refuse, Fault::LoseAnswer] {
        for (path, skip) in
            [("/containers/create", 0), ("/stop", 0), ("/rename", 0), ("/rename", 1), ("/start", 0)]
        {
            let step = format!("{fault:?} {path} {skip}");
            let container = Container::run("step", &[], BOX_2);
            let id = container.id();
            let proxy = Proxy::start();
            proxy.fail("POST", path, skip, fault);
            let config = DockerConfig::container(&container.name);
            let restarter = restarter_at(&proxy.host(), config);
            let error = restarter.roll_back(request(), image_id(BOX_1)).await.unwrap_err();
            assert!(proxy.is_used_up(), "{step}: {error}");
            assert!(error.message().contains("is as before"), "{step}: {error:?}");
            is_as_before(&container, &id);
        }
    }
}

fn is_an_exit(state: &RunState) -> bool {
    matches!(state, RunState::Exited { .. })
}

#[tokio::test]
async fn a_rollback_that_broke_off_is_an_exit_that_a_restart_mends() {
    let project = Container::run("brokeoff-project", &[], BOX_1).name.clone();
    let labels = ["project", "service"].map(|key| format!("com.docker.compose.{key}={project}"));
    let options = ["-l", &*labels[0], "-l", &*labels[1]];
    for renamed in [false, true] {
        let container = Container::run("brokeoff", &options, BOX_2);
        let id = container.id();
        let aside = |suffix: &str| format!("{}{suffix}", container.name);
        let mut create = vec!["create", "--network", "none"];
        create.extend(options);
        let new = aside(".jarvis-new");
        create.extend(["--name", &new, BOX_1]);
        docker(&create);
        let compose = DockerConfig::compose(ComposeTarget::new(&*project, &*project));
        for config in [DockerConfig::container(&container.name), compose] {
            docker(&["stop", &container.name]);
            if renamed {
                docker(&["rename", &container.name, &aside(".jarvis-kept")]);
            }
            let restarter = restarter_at(&host(), config);
            let state = restarter.observe().await.unwrap().state;
            assert!(is_an_exit(&state), "renamed: {renamed}: {state:?}");
            restarter.restart(request()).await.unwrap();
            assert_eq!(container.id(), id);
            assert_eq!(restarter.observe().await.unwrap().state, RunState::Running);
        }
    }
}
