//! The Docker restarter against a real Docker Engine.

use std::time::Duration;

use jarvis_core::clock::{Clock, ClockExt, SystemClock};
use jarvis_core::restart::docker::{
    ComposeTarget, DockerConfig, DockerHosts, DockerRestarter, discover,
};
use jarvis_core::restart::{Exit, InstanceEvent, RunState, ServiceRestarter};
use jarvis_core::vocabulary::Verdict;
use jarvis_core::{ErrorKind, Retry};
use jarvis_tests::docker::{
    BOX_1, BOX_2, Container, Fault, OwnEngine, Proxy, clock, docker, event_where, host, request,
    request_within, restarter_at, unique,
};

fn stopped_by_person(state: &RunState) -> bool {
    matches!(state, RunState::StoppedByPerson { .. })
}

fn person_says(event: &InstanceEvent, word: &str) -> bool {
    matches!(event, InstanceEvent::StoppedByPerson { evidence } if evidence.contains(word))
}

fn exited(event: &InstanceEvent) -> bool {
    matches!(event, InstanceEvent::Exited { .. })
}

fn started(event: &InstanceEvent) -> bool {
    matches!(event, InstanceEvent::Started { .. })
}

#[tokio::test]
async fn a_restart_is_a_new_life_and_an_intent_is_carried_out_once() {
    let container = Container::run("restart", &[], BOX_1);
    let restarter = container.restarter();
    let before = restarter.observe().await.unwrap();
    assert_eq!(before.state, RunState::Running);
    assert!(before.version.as_ref().unwrap().as_str().starts_with("sha256:"));
    assert!(before.started_at.is_some() && !before.native_restart);
    let asked = request();
    let receipt = restarter.restart(asked.clone()).await.unwrap();
    let after = restarter.observe().await.unwrap();
    assert_eq!(after.state, RunState::Running);
    assert_ne!(after.instance, before.instance);
    assert_eq!((&receipt.before, &receipt.after), (&before.instance, &after.instance));
    assert!(receipt.message.contains(BOX_1), "{}", receipt.message);
    assert_eq!(restarter.restart(asked).await.unwrap(), receipt);
    assert_eq!(restarter.observe().await.unwrap().instance, after.instance);
}

#[tokio::test]
async fn stop_and_start_leave_alone_what_is_so_already_and_are_not_a_persons() {
    let container = Container::run("stopstart", &[], BOX_1);
    let restarter = container.restarter();
    let first = restarter.observe().await.unwrap().instance;
    let receipt = restarter.start(request()).await.unwrap();
    assert_eq!((&receipt.before, &receipt.after), (&first, &first));
    restarter.stop(request()).await.unwrap();
    assert_eq!(container.inspect("{{.State.Running}}"), "false");
    let state = restarter.observe().await.unwrap().state;
    assert!(matches!(state, RunState::Exited { .. }), "{state:?}");
    restarter.stop(request()).await.unwrap();
    restarter.start(request()).await.unwrap();
    let second = restarter.observe().await.unwrap();
    assert_eq!(second.state, RunState::Running);
    assert_ne!(second.instance, first);
    restarter.stop(request()).await.unwrap();
    let third = restarter.restart(request()).await.unwrap();
    assert!(third.after.is_some());
    assert_eq!(restarter.observe().await.unwrap().state, RunState::Running);
}

#[tokio::test]
async fn a_killed_process_is_an_exit_and_told_at_once() {
    let container = Container::run("killed", &[], BOX_1);
    let restarter = container.restarter();
    let mut events = restarter.watch().await.unwrap();
    let life = restarter.observe().await.unwrap().instance;
    let clock = SystemClock::new();
    let killed = clock.monotonic();
    container.kill_process();
    let wanted = InstanceEvent::Exited { instance: life, exit: Exit::Signal(9) };
    let (_, before) = event_where(&mut events, |event| *event == wanted).await;
    let took = clock.monotonic().saturating_since(killed);
    assert!(before.is_empty(), "{before:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    println!("kill -9 to event: {took:?}");
    let state = restarter.observe().await.unwrap().state;
    assert_eq!(state, RunState::Exited { exit: Exit::Signal(9) });
    let fresh = container.restarter().observe().await.unwrap().state;
    assert_eq!(fresh, RunState::Exited { exit: Exit::Signal(9) });
    restarter.restart(request()).await.unwrap();
    event_where(&mut events, started).await;
}

#[tokio::test]
async fn a_persons_stop_or_kill_is_told_and_seen_also_by_one_who_came_later() {
    for command in [["stop", "-t", "5"].as_slice(), ["kill"].as_slice()] {
        let container = Container::run("person", &[], BOX_1);
        let restarter = container.restarter();
        let mut events = restarter.watch().await.unwrap();
        docker(&[command, &[&container.name]].concat());
        let ended = |event: &InstanceEvent| exited(event) || person_says(event, "");
        let (event, _) = event_where(&mut events, ended).await;
        assert!(person_says(&event, "stopped"), "{command:?}: {event:?}");
        let seen = restarter.observe().await.unwrap().state;
        assert!(stopped_by_person(&seen), "{command:?}: {seen:?}");
        let later = container.restarter().observe().await.unwrap().state;
        assert!(stopped_by_person(&later), "{command:?}: {later:?}");
        docker(&["start", &container.name]);
        assert_eq!(restarter.observe().await.unwrap().state, RunState::Running);
        container.kill_process();
        container.wait_for("{{.State.Status}}", "exited").await;
        let crashed = restarter.observe().await.unwrap().state;
        assert_eq!(crashed, RunState::Exited { exit: Exit::Signal(9) }, "the life after it");
    }
}

#[tokio::test]
async fn a_signal_that_is_no_stop_does_not_make_a_crash_a_persons() {
    let command = ["sh", "-c", "trap 'exit 7' USR2; while :; do sleep 0.05; done"];
    let container = Container::run_command("usr2", &[], BOX_1, &command);
    docker(&["kill", "-s", "USR2", &container.name]);
    container.wait_for("{{.State.Status}}", "exited").await;
    let state = container.restarter().observe().await.expect("it can be looked at").state;
    assert!(matches!(state, RunState::Exited { .. }), "{state:?}");
}

#[tokio::test]
async fn fault_23_paused_renamed_and_removed_are_a_persons_doing() {
    let container = Container::run("touched", &[], BOX_1);
    let restarter = container.restarter();
    let mut events = restarter.watch().await.unwrap();
    docker(&["pause", &container.name]);
    assert!(stopped_by_person(&restarter.observe().await.unwrap().state));
    event_where(&mut events, |event| person_says(event, "paused")).await;
    restarter.start(request()).await.unwrap();
    assert_eq!(restarter.observe().await.unwrap().state, RunState::Running);

    let says = |state: &RunState, word: &str| matches!(state, RunState::StoppedByPerson { evidence } if evidence.contains(word));
    let other = unique("renamed");
    docker(&["rename", &container.name, &other]);
    let state = restarter.observe().await.unwrap().state;
    assert!(says(&state, &other), "{state:?}");
    docker(&["rename", &other, &container.name]);
    assert_eq!(restarter.observe().await.unwrap().state, RunState::Running);

    docker(&["rm", "-f", &container.name]);
    event_where(&mut events, |event| person_says(event, "removed")).await;
    let state = restarter.observe().await.unwrap().state;
    assert!(says(&state, "removed"), "{state:?}");
    let never_seen = container.restarter();
    assert_eq!(never_seen.observe().await.unwrap().state, RunState::Missing);
    for restarter in [restarter, never_seen] {
        assert_eq!(restarter.restart(request()).await.unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[tokio::test]
async fn a_container_that_removes_itself_is_missing_not_stopped() {
    let container = Container::run("rm", &["--rm"], BOX_1);
    let restarter = container.restarter();
    let mut events = restarter.watch().await.unwrap();
    assert_eq!(restarter.observe().await.unwrap().state, RunState::Running);
    container.kill_process();
    event_where(&mut events, |event| *event == InstanceEvent::Gap).await;
    assert_eq!(restarter.observe().await.unwrap().state, RunState::Missing);
}

#[tokio::test]
async fn compose_labels_find_the_service_and_only_it() {
    let project = unique("project");
    let run = |service: &str, number: &str, more: &[&str]| {
        let labels: Vec<String> =
            [("project", project.as_str()), ("service", service), ("container-number", number)]
                .iter()
                .map(|(key, value)| format!("com.docker.compose.{key}={value}"))
                .collect();
        let mut options: Vec<&str> = labels.iter().flat_map(|label| ["-l", label]).collect();
        options.extend(more);
        Container::run("compose", &options, BOX_1)
    };
    let is = |container: &Container, life: &str| life.starts_with(&container.id()[..12]);
    let target = ComposeTarget::new(&project, "coach");
    let restarter = restarter_at(&host(), DockerConfig::compose(target.clone()));
    assert_eq!(restarter.observe().await.unwrap().state, RunState::Missing);
    let first = run("coach", "1", &[]);
    let _other = run("producer", "1", &[]);
    let _one_off = run("coach", "9", &["-l", "com.docker.compose.oneoff=True"]);
    let life = restarter.observe().await.unwrap().instance.unwrap();
    assert!(is(&first, life.as_str()), "{life}");
    let receipt = restarter.restart(request()).await.unwrap();
    assert!(receipt.message.contains(&first.name), "{}", receipt.message);

    let second = run("coach", "2", &[]);
    let error = restarter.observe().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains(&second.name), "{error}");
    let mut numbered = target;
    numbered.number = Some(2);
    let numbered = restarter_at(&host(), DockerConfig::compose(numbered));
    let life = numbered.observe().await.unwrap().instance.unwrap();
    assert!(is(&second, life.as_str()), "{life}");

    // Compose makes a new container when its file changes.
    let mut events = numbered.watch().await.unwrap();
    drop(second);
    let third = run("coach", "2", &[]);
    let id = third.id();
    let its_start = |event: &InstanceEvent| {
        matches!(event, InstanceEvent::Started { instance: Some(life) }
            if life.as_str().starts_with(&id[..12]))
    };
    event_where(&mut events, its_start).await;
}

#[tokio::test]
async fn dockers_own_restart_policy_is_told_and_a_stop_against_it_is_a_persons() {
    let container = Container::run("policy", &["--restart", "unless-stopped"], BOX_1);
    let restarter = container.restarter();
    let before = restarter.observe().await.unwrap();
    assert!(before.native_restart);
    let mut events = restarter.watch().await.unwrap();
    container.kill_process();
    event_where(&mut events, exited).await;
    let (event, _) = event_where(&mut events, started).await;
    let after = restarter.observe().await.unwrap();
    assert_eq!(after.state, RunState::Running);
    assert_ne!(after.instance, before.instance);
    assert_eq!(event, InstanceEvent::Started { instance: after.instance });
    docker(&["stop", &container.name]);
    assert!(stopped_by_person(&container.restarter().observe().await.unwrap().state));
}

#[tokio::test]
async fn fault_23_a_container_that_crashes_for_ever_is_starting() {
    let container = Container::run("loop", &["--restart", "always"], "jarvis-test/box:exits");
    let restarter = container.restarter();
    // Docker waits longer from exit to exit; soon most of the time is waiting.
    let clock = SystemClock::new();
    let deadline = clock.monotonic() + Duration::from_secs(20);
    loop {
        let state = restarter.observe().await.unwrap().state;
        assert!(matches!(state, RunState::Starting | RunState::Running), "{state:?}");
        if state == RunState::Starting {
            break;
        }
        assert!(clock.monotonic() < deadline);
    }
}

#[tokio::test]
async fn a_health_check_of_the_container_is_native_health() {
    let check = ["--health-cmd", "cat /tmp/well", "--health-interval", "200ms"];
    let options = [check.as_slice(), &["--health-retries", "1"]].concat();
    let container = Container::run("health", &options, BOX_1);
    let restarter = container.restarter();
    let mut events = restarter.watch().await.unwrap();
    container.wait_for("{{.State.Health.Status}}", "unhealthy").await;
    assert_eq!(restarter.observe().await.unwrap().native_health, Some(Verdict::Fail));
    docker(&["exec", &container.name, "touch", "/tmp/well"]);
    event_where(&mut events, |event| *event == InstanceEvent::NativeHealth(Verdict::Pass)).await;
    assert_eq!(restarter.observe().await.unwrap().native_health, Some(Verdict::Pass));
    docker(&["exec", &container.name, "rm", "/tmp/well"]);
    event_where(&mut events, |event| *event == InstanceEvent::NativeHealth(Verdict::Fail)).await;
}

#[tokio::test]
async fn fault_22_out_of_memory_is_told_as_such() {
    // The engine hears of it on another way than of the end, and on a busy machine now and then
    // not at all: then a kill is all that it knows itself.
    for _ in 0..10 {
        if out_of_memory_is_noticed().await {
            return;
        }
    }
    panic!("the engine never noticed that a container ran out of memory");
}

/// Lets a container run out of memory. Did the engine notice why it ended?
async fn out_of_memory_is_noticed() -> bool {
    let container = Container::run_command(
        "oom",
        &["-m", "8m", "--memory-swap", "8m"],
        BOX_1,
        &["dd", "if=/dev/zero", "of=/dev/null", "bs=200M"],
    );
    container.wait_for("{{.State.Status}}", "exited").await;
    let clock = SystemClock::new();
    let deadline = clock.monotonic() + Duration::from_secs(3);
    loop {
        let noticed = container.inspect("{{.State.OOMKilled}}") == "true";
        let observed = container.restarter().observe().await;
        if noticed {
            let state = observed.map(|observed| observed.state).ok();
            assert_eq!(state, Some(RunState::Exited { exit: Exit::OutOfMemory }));
            return true;
        }
        if clock.monotonic() >= deadline {
            return false;
        }
        clock.sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn the_last_lines_are_few_whole_and_bounded() {
    let command = ["sh", "-c", "for i in 1 2 3 4; do echo line $i; done; echo oops >&2; exit 1"];
    let quiet = Container::run_command("quiet", &[], BOX_1, &command);
    quiet.wait_for("{{.State.Status}}", "exited").await;
    let lines = quiet.restarter().last_log_lines(10).await.unwrap();
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert!(lines.contains(&"line 1".to_owned()) && lines.contains(&"oops".to_owned()));
    assert_eq!(quiet.restarter().last_log_lines(2).await.unwrap().len(), 2);

    let command = ["sh", "-c", "yes 0123456789012345678901234567890123456789 | head -n 20000"];
    let loud = Container::run_command("loud", &[], BOX_1, &command);
    loud.wait_for("{{.State.Status}}", "exited").await;
    let lines = loud.restarter().last_log_lines(10_000).await.unwrap();
    let bytes: usize = lines.iter().map(|line| line.len() + 1).sum();
    assert!(bytes <= 4_096 && bytes > 3_000, "{bytes}");
    let nobody = restarter_at(&host(), DockerConfig::container("no-such-one"));
    assert!(nobody.last_log_lines(5).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_runs_is_discovered() {
    let labels = ["-l", "com.docker.compose.project=p", "-l", "com.docker.compose.service=s"];
    let own = ["--network", "host", "--restart", "on-failure:3", "--health-cmd", "true"];
    let container = Container::run("found", &[own.as_slice(), &labels].concat(), BOX_2);
    let found = discover(Some(&host()), clock()).await.unwrap();
    let found = found.iter().find(|found| found.name == container.name).expect("it");
    assert_eq!(found.image, BOX_2);
    assert_eq!(found.compose, Some(("p".to_owned(), "s".to_owned())));
    assert_eq!(found.network_mode, "host");
    assert_eq!(found.restart_policy, "on-failure");
    assert!(found.has_healthcheck && found.ports.is_empty());
}

#[tokio::test]
async fn fault_23_an_engine_that_is_gone_or_silent_is_an_error_in_time() {
    let clock = SystemClock::new();
    let folder = tempfile::tempdir().unwrap();
    let config = || DockerConfig::container("api");
    let absent = format!("unix://{}/none.sock", folder.path().display());
    let error = restarter_at(&absent, config()).observe().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("is dockerd running"), "{error}");
    let error = restarter_at(&absent, config()).restart(request()).await.unwrap_err();
    assert!(error.is_retryable(), "nothing was done: {error:?}");

    let path = folder.path().join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let dead = format!("unix://{}", path.display());
    let error = restarter_at(&dead, config()).observe().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);

    let path = folder.path().join("silent.sock");
    let _accepts_and_says_nothing = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let silent = restarter_at(&format!("unix://{}", path.display()), config());
    let began = clock.monotonic();
    let error = silent.observe().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let took = clock.monotonic().saturating_since(began);
    assert!(took >= Duration::from_secs(4) && took < Duration::from_secs(8), "{took:?}");
    let began = clock.monotonic();
    let error = silent.restart(request_within(Duration::from_millis(300))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(clock.monotonic().saturating_since(began) < Duration::from_secs(3));
    // A watch begins nevertheless; it tells of the gap when the engine is back.
    silent.watch().await.unwrap();
}

#[tokio::test]
async fn fault_23_a_restart_whose_answer_is_lost_is_indeterminate_and_not_repeated() {
    let container = Container::run("lost", &[], BOX_1);
    let proxy = Proxy::start();
    proxy.fail("POST", "/restart", 0, Fault::LoseAnswer);
    let restarter = restarter_at(&proxy.host(), DockerConfig::container(&container.name));
    let before = restarter.observe().await.unwrap().instance;
    let asked = request();
    let error = restarter.restart(asked.clone()).await.unwrap_err();
    assert_eq!(error.retry(), Retry::Indeterminate, "{error:?}");
    let after = restarter.observe().await.unwrap().instance;
    assert_ne!(after, before, "the engine did it");
    let receipt = restarter.restart(asked).await.unwrap();
    assert_eq!(receipt.after, after);
    assert_eq!(restarter.observe().await.unwrap().instance, after, "and not again");
}

#[tokio::test]
async fn an_action_goes_on_without_its_caller() {
    let command = ["sh", "-c", "trap 'sleep 1; exit 0' TERM; while :; do sleep 0.1; done"];
    let container = Container::run_command("caller", &[], BOX_1, &command);
    let restarter = container.restarter();
    let before = restarter.observe().await.unwrap().instance;
    let clock = SystemClock::new();
    let soon = clock.monotonic() + Duration::from_millis(300);
    assert!(clock.until(soon, restarter.restart(request())).await.is_none());
    let deadline = clock.monotonic() + Duration::from_secs(20);
    loop {
        let now = restarter.observe().await.unwrap();
        if now.instance != before && now.state == RunState::Running {
            break;
        }
        assert!(clock.monotonic() < deadline, "{now:?}");
        clock.sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn events_go_on_after_a_gap_with_what_was_missed() {
    let container = Container::run("gap", &[], BOX_1);
    let proxy = Proxy::start();
    let restarter = restarter_at(&proxy.host(), DockerConfig::container(&container.name));
    let mut events = restarter.watch().await.unwrap();
    proxy.cut();
    container.kill_process();
    container.wait_for("{{.State.Status}}", "exited").await;
    let error = restarter.observe().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    proxy.mend();
    let (_, before) = event_where(&mut events, |event| *event == InstanceEvent::Gap).await;
    assert!(before.is_empty(), "{before:?}");
    let (event, _) = event_where(&mut events, exited).await;
    assert!(matches!(event, InstanceEvent::Exited { exit: Exit::Signal(9), .. }), "{event:?}");
}

#[tokio::test]
async fn restarters_of_one_engine_share_one_event_connection() {
    let first = Container::run("share", &[], BOX_1);
    let second = Container::run("share", &[], BOX_1);
    let proxy = Proxy::start();
    let hosts = DockerHosts::new(clock());
    let mut watches = Vec::new();
    for container in [&first, &second] {
        let config = DockerConfig::container(&container.name).with_host(Some(proxy.host()));
        let restarter = DockerRestarter::new(config, &hosts).unwrap();
        watches.push(restarter.watch().await.unwrap());
    }
    second.kill_process();
    event_where(&mut watches[1], exited).await;
    first.kill_process();
    let (_, before) = event_where(&mut watches[0], exited).await;
    assert!(before.is_empty(), "another container's events: {before:?}");
    assert_eq!(proxy.requests("/events"), 1);
}

#[tokio::test]
async fn fault_23_an_engine_that_crashes_and_comes_back_is_found_again() {
    let engine = OwnEngine::start();
    let container = Container::run_at(&engine.host, "survivor", &[], BOX_1, &[]);
    let restarter = container.restarter();
    let mut events = restarter.watch().await.unwrap();
    let life = restarter.observe().await.unwrap().instance;
    engine.crash();
    assert_eq!(restarter.observe().await.unwrap_err().kind(), ErrorKind::Unavailable);
    engine.resume();
    event_where(&mut events, |event| *event == InstanceEvent::Gap).await;
    let now = restarter.observe().await.unwrap();
    assert_eq!((now.state, now.instance), (RunState::Running, life), "live-restore keeps it");
    container.kill_process();
    event_where(&mut events, exited).await;
    drop(container);
}
