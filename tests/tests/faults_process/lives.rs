//! How lives end: zombies, the unwilling, the daemonised, the reused number, the OOM killer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jarvis_core::ErrorKind;
use jarvis_core::restart::process::ProcessConfig;
use jarvis_core::restart::{Exit, InstanceEvent, Leaving, RunState, ServiceRestarter};
use jarvis_core::vocabulary::InstanceId;
use rustix::process::Signal;

use crate::stage::{
    LONG, Stage, kill, next, pid, pid_after, read, request, restart, run_state, script_config,
    started_at, state, until,
};

#[tokio::test]
async fn fault_19_a_killed_process_is_told_at_once_and_leaves_no_zombie() {
    let stage = Stage::new();
    let restarter = stage.shell("exec sleep 600");
    let mut events = restarter.watch().await.unwrap();
    let first = restart(&restarter, "a").await;
    assert_eq!(next(&mut events).await, InstanceEvent::Started { instance: first.after.clone() });
    kill(pid_after(&first), Signal::KILL);
    let exited =
        InstanceEvent::Exited { instance: first.after.clone(), exit: Exit::Signal(libc::SIGKILL) };
    assert_eq!(next(&mut events).await, exited);
    assert_eq!(state(pid_after(&first)), None, "it was reaped before it was told");
    assert_eq!(run_state(&restarter).await, RunState::Exited { exit: Exit::Signal(9) });

    let second = restart(&restarter, "b").await;
    assert_ne!(second.after, first.after);
    assert_eq!(run_state(&restarter).await, RunState::Running);
    assert_eq!(stage.until_alive(1).await, [pid_after(&second)]);
}

#[tokio::test]
async fn fault_19_who_ignores_sigterm_is_killed_with_his_children() {
    let stage = Stage::new();
    let restarter = stage.shell("trap '' TERM; sleep 600 & sleep 600 & while :; do wait; done");
    restart(&restarter, "a").await;
    stage.until_alive(3).await;
    let receipt = restarter.stop(request("b", LONG)).await.unwrap();
    assert!(stage.alive().is_empty(), "{:?}", stage.alive());
    assert!(receipt.message.contains("SIGKILL"), "{}", receipt.message);
    assert_eq!(run_state(&restarter).await, RunState::Exited { exit: Exit::Signal(9) });
}

#[tokio::test]
async fn a_clean_end_is_given_its_time_and_sigterm_is_sent_once() {
    let stage = Stage::new();
    let mut config = script_config(
        "trap 'echo term >> terms; sleep 0.3; exit 7' TERM; echo up > up; while :; do sleep 0.01; done",
    );
    config.cwd = Some(stage.folder.path().into());
    config.stop_timeout = LONG;
    let restarter = stage.restarter(config);
    restart(&restarter, "a").await;
    until("the trap", || stage.path("up").exists().then_some(())).await;
    restarter.stop(request("b", LONG)).await.unwrap();
    assert_eq!(run_state(&restarter).await, RunState::Exited { exit: Exit::Code(7) });
    assert_eq!(std::fs::read_to_string(stage.path("terms")).unwrap(), "term\n");
}

#[tokio::test]
async fn fault_20_a_reused_number_is_another_life_and_is_never_signalled() {
    let stage = Stage::new();
    let restarter = stage.shell("exec sleep 600");
    let receipt = restart(&restarter, "a").await;
    kill(pid_after(&receipt), Signal::KILL);
    stage.until_alive(0).await;

    // A stranger has the number now, as far as the record can tell.
    until("the end on record", || (read(&stage.record())["phase"] == "ended").then_some(())).await;
    let mut record = read(&stage.record());
    let mut stranger = stranger_born_after(record["identity"]["start"].as_u64().unwrap()).await;
    record["phase"] = "running".into();
    record["identity"]["pid"] = stranger.id().into();
    std::fs::write(stage.record(), record.to_string()).unwrap();

    let next_start = stage.shell("exec sleep 600");
    assert_eq!(run_state(&next_start).await, RunState::Exited { exit: Exit::Unknown });
    next_start.stop(request("b", LONG)).await.unwrap();
    let second = restart(&next_start, "c").await;
    assert_ne!(pid_after(&second), stranger.id());
    assert_eq!(stranger.try_wait().unwrap(), None, "the stranger lives");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

/// A process that JARVIS has never seen, started in a later tick of the kernel than that one: the
/// kernel counts in hundredths of a second, and what it starts within one can't be told apart.
async fn stranger_born_after(tick: u64) -> std::process::Child {
    until("a start in a later tick", || {
        let mut stranger = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        if started_at(stranger.id()) > tick {
            return Some(stranger);
        }
        stranger.kill().unwrap();
        stranger.wait().unwrap();
        None
    })
    .await
}

#[tokio::test]
async fn fault_21_what_put_itself_into_the_background_is_stopped_and_told() {
    let stage = Stage::new();
    let mut config = script_config("setsid sh -c 'echo $$ > daemon; exec sleep 600' & exit 0");
    config.cwd = Some(stage.folder.path().into());
    let restarter = stage.restarter(config);
    restart(&restarter, "a").await;
    let daemon = until("the daemon", || {
        std::fs::read_to_string(stage.path("daemon")).ok()?.trim().parse::<u32>().ok()
    })
    .await;
    until("the end of the launcher", || (stage.alive() == [daemon]).then_some(())).await;
    // The life that was started has ended; what it left behind is no life.
    assert_eq!(run_state(&restarter).await, RunState::Exited { exit: Exit::Code(0) });

    let receipt = restart(&restarter, "b").await;
    assert!(!stage.alive().contains(&daemon), "it would hold the port");
    assert!(receipt.message.contains("foreground"), "{}", receipt.message);

    // A child of the group that outlives its leader goes, too.
    restarter.stop(request("c", LONG)).await.unwrap();
    stage.until_alive(0).await;
}

/// A memory cgroup of our own, version 2 or 1, removed at the end.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(limit: u64) -> Self {
        let name = format!("jarvis-test-{}", std::process::id());
        let roots =
            [("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")];
        let made = roots.iter().find_map(|(root, key)| {
            let path = Path::new(root).join(&name);
            std::fs::create_dir(&path).ok()?;
            // Where version 1 is mounted, the root is a plain folder that takes any file.
            if !path.join("cgroup.procs").exists()
                || std::fs::write(path.join(key), limit.to_string()).is_err()
            {
                std::fs::remove_dir(&path).ok()?;
                return None;
            }
            // Without swap, or the kernel swaps first.
            let _no_swap = std::fs::write(path.join("memory.swap.max"), "0");
            Some(Self(path))
        });
        made.expect("this test makes a memory cgroup: run it as root, with /sys/fs/cgroup writable")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _best_effort = std::fs::remove_dir(&self.0);
    }
}

#[tokio::test]
async fn fault_22_an_oom_kill_is_told_from_another_sigkill() {
    let cgroup = Cgroup::new(16 << 20);
    let stage = Stage::new();
    let script = format!("echo $$ > {}/cgroup.procs && exec tail /dev/zero", cgroup.0.display());
    let restarter = stage.shell(&script);
    let mut events = restarter.watch().await.unwrap();
    let receipt = restart(&restarter, "a").await;
    let started = InstanceEvent::Started { instance: receipt.after.clone() };
    assert_eq!(next(&mut events).await, started);
    let exited = InstanceEvent::Exited { instance: receipt.after, exit: Exit::OutOfMemory };
    assert_eq!(next(&mut events).await, exited);
}

#[tokio::test]
async fn what_cannot_be_started_is_missing_and_what_runs_stays() {
    let stage = Stage::new();
    let restarter = stage.shell("exec sleep 600");
    let before = restart(&restarter, "a").await;
    let plain = stage.path("plain");
    std::fs::write(&plain, "no program").unwrap();
    for (argv, cwd, kind) in [
        ("/no/such/program", None, ErrorKind::NotFound),
        (plain.to_str().unwrap(), None, ErrorKind::Forbidden),
        ("/bin/sleep", Some(stage.path("gone")), ErrorKind::NotFound),
    ] {
        let mut config = ProcessConfig::new(vec![argv.to_owned()]);
        config.cwd = cwd.map(Into::into);
        let broken = stage.restarter(config);
        let error = broken.restart(request("b", LONG)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(run_state(&broken).await, RunState::Running);
        assert_eq!(stage.until_alive(1).await, [pid_after(&before)]);
    }
    let other = Stage::new();
    let never = other.restarter(ProcessConfig::new(vec!["/no/such/program".to_owned()]));
    assert_eq!(run_state(&never).await, RunState::Missing);
}

/// The end of the life before goes on record in its own time: at the same moment as the next start
/// as often as not. Each of the two replaces the whole record through one file beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_record_has_one_writer_at_a_time() {
    let stage = Stage::new();
    let restarter = stage.shell("exec sleep 600");
    let mut life = pid_after(&restart(&restarter, "first").await);
    for nth in 0..100 {
        let mut events = restarter.watch().await.unwrap();
        kill(life, Signal::KILL);
        // Told before it is written down.
        while !matches!(next(&mut events).await, InstanceEvent::Exited { .. }) {}
        life = pid_after(&restart(&restarter, &format!("nth-{nth}")).await);
        let record = read(&stage.record());
        assert_eq!(
            (&record["phase"], &record["identity"]["pid"]),
            (&"running".into(), &life.into())
        );
    }
    assert_eq!(stage.until_alive(1).await, [life]);
}

#[tokio::test]
async fn a_dropped_caller_does_not_leave_the_service_stopped() {
    let stage = Stage::new();
    let mut config =
        script_config("trap 'sleep 0.2; exit 0' TERM; echo up >> up; while :; do sleep 0.01; done");
    config.cwd = Some(stage.folder.path().into());
    config.stop_timeout = LONG;
    let restarter = stage.restarter(config);
    let lives = || std::fs::read_to_string(stage.path("up")).unwrap_or_default().lines().count();
    let first = restart(&restarter, "a").await;
    until("the first life", || (lives() == 1).then_some(())).await;
    {
        let call = restarter.restart(request("b", LONG));
        tokio::select! {
            biased;
            _ = call => panic!("the stop takes longer than this"),
            () = until("the stop has begun", || {
                (read(&stage.record())["phase"] == "starting").then_some(())
            }) => {}
        }
    }
    until("the second life", || (lives() == 2).then_some(())).await;
    let instance = restarter.observe().await.unwrap().instance;
    assert_ne!(instance, first.after);
    // The same intent again is the answer of the first call, not a third life.
    let again = restart(&restarter, "b").await;
    assert_eq!((again.before, again.after), (first.after, instance));
    assert_eq!(lives(), 2);
}

#[tokio::test]
async fn an_older_operator_is_refused_by_the_record() {
    use jarvis_core::clock::Clock;
    use jarvis_core::restart::ActionRequest;
    use jarvis_core::vocabulary::{FencingToken, IntentId};
    let stage = Stage::new();
    let deadline = crate::stage::clock().monotonic() + LONG;
    let ask = |intent: &str, token: u64| {
        ActionRequest::new(IntentId::new(intent).unwrap(), FencingToken::new(token), deadline)
    };
    let (new, old) = (stage.shell("exec sleep 600"), stage.shell("exec sleep 600"));
    old.restart(ask("a", 1)).await.unwrap();
    let life = new.restart(ask("b", 2)).await.unwrap().after;
    let refused = old.restart(ask("c", 1)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Forbidden);
    assert_eq!(old.observe().await.unwrap().instance, life, "and it sees the new life");
}

#[tokio::test]
async fn the_log_outlives_us_is_capped_and_masked() {
    let stage = Stage::new();
    let mut config = script_config("echo token is $API_TOKEN; while :; do echo line; done");
    config.env.insert("API_TOKEN".to_owned(), "very-secret-1".to_owned().into());
    config.log_max = 100_000;
    let restarter = stage.restarter(config);
    restart(&restarter, "a").await;
    let old = stage.path("log").join("coach.log.1");
    until("the rotation", || old.exists().then_some(())).await;
    restarter.stop(request("b", LONG)).await.unwrap();
    assert!(old.metadata().unwrap().len() <= 100_000);
    let lines = restarter.last_log_lines(3).await.unwrap();
    assert_eq!(lines, ["line", "line", "line"]);

    let quiet = Stage::new();
    let mut config = script_config("echo token is $API_TOKEN; echo bye; exit 3");
    config.env.insert("API_TOKEN".to_owned(), "very-secret-1".to_owned().into());
    let restarter = quiet.restarter(config);
    let mut events = restarter.watch().await.unwrap();
    restart(&restarter, "a").await;
    while !matches!(next(&mut events).await, InstanceEvent::Exited { .. }) {}
    let lines = restarter.last_log_lines(9).await.unwrap();
    assert_eq!(lines, ["token is [redacted]", "bye"]);
}

#[tokio::test]
async fn leaving_stops_or_leaves_as_configured() {
    let stage = Stage::new();
    let restarter = stage.shell("exec sleep 600");
    let life: Option<InstanceId> = restart(&restarter, "a").await.after;
    restarter.release(Leaving::Terminated).await.unwrap();
    assert_eq!(stage.until_alive(1).await, [pid(life.as_ref().unwrap())]);
    restarter.release(Leaving::Interrupted).await.unwrap();
    assert!(stage.alive().is_empty());
    // What we stopped on leaving is a first start next time, not a crash.
    let next_start = stage.shell("exec sleep 600");
    assert_eq!(run_state(&next_start).await, RunState::NotStarted);
    let started = next_start.start(request("b", LONG)).await.unwrap();
    assert_eq!((started.before, run_state(&next_start).await), (None, RunState::Running));
}

#[tokio::test]
async fn the_deadline_ends_the_wait_and_not_the_action() {
    let stage = Stage::new();
    let mut config = script_config("trap '' TERM; while :; do sleep 0.01; done");
    config.stop_timeout = Duration::from_millis(600);
    let restarter = stage.restarter(config);
    let first = restart(&restarter, "a").await;
    let error = restarter.restart(request("b", Duration::from_millis(100))).await.unwrap_err();
    assert_eq!(error.retry(), jarvis_core::Retry::Indeterminate, "{error}");
    let busy = restarter.restart(request("b", LONG)).await.unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Conflict);
    until("the new life", || {
        (!stage.alive().contains(&pid_after(&first)) && stage.alive().len() == 1).then_some(())
    })
    .await;
}
