//! Rollback of a container against a real Docker Engine: the good way, and every way it fails.

#![expect(clippy::unwrap_used, reason = "tests")]

use jarvis_core::restart::docker::DockerConfig;
use jarvis_core::restart::{RunState, ServiceRestarter};
use jarvis_core::vocabulary::VersionId;
use jarvis_core::{ErrorKind, Retry};
use jarvis_tests::docker::{BOX_1, BOX_2, Container, Fault, Proxy, docker, request, restarter_at};

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

#[tokio::test]
async fn a_rollback_that_broke_off_between_its_renames_is_an_exit_that_a_restart_mends() {
    let container = Container::run("brokeoff", &[], BOX_2);
    let id = container.id();
    let aside = |suffix: &str| format!("{}{suffix}", container.name);
    docker(&["stop", &container.name]);
    docker(&["rename", &container.name, &aside(".jarvis-kept")]);
    docker(&["create", "--network", "none", "--name", &aside(".jarvis-new"), BOX_1]);
    let restarter = container.restarter();
    let state = restarter.observe().await.unwrap().state;
    assert!(matches!(state, RunState::Exited { .. }), "{state:?}");
    restarter.restart(request()).await.unwrap();
    is_as_before(&container, &id);
}
