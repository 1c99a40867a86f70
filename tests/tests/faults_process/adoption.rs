//! The owner dies, its process does not: the next owner adopts it, and never starts a second.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use jarvis_core::clock::{Clock, ClockExt, SystemClock};
use jarvis_core::restart::{Exit, InstanceEvent, RunState, ServiceRestarter};
use rustix::process::Signal;

use crate::stage::{LONG, SERVICE, Stage, kill, next, pid, read, request, restart, run_state};

const SCRIPT: &str = "exec sleep 600";

fn owner(stage: &Stage, intent: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_owner"))
        .args(["own", stage.folder.path().to_str().unwrap(), SERVICE, intent])
        .args(["/bin/sh", "-c", SCRIPT])
        .current_dir(stage.folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    assert_eq!(line(&mut lines), "ready");
    (child, lines)
}

fn line(lines: &mut impl BufRead) -> String {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

#[tokio::test]
async fn a_life_is_adopted_with_its_receipt_and_its_exit_is_unknown() {
    let stage = Stage::new();
    let (mut child, mut lines) = owner(&stage, "first");
    let owns = line(&mut lines);
    child.kill().unwrap();
    child.wait().unwrap();

    let next_owner = stage.shell(SCRIPT);
    let running = next_owner.observe().await.unwrap();
    assert_eq!(running.state, RunState::Running);
    let instance = running.instance.unwrap();
    assert_eq!(owns, format!("owns {instance}"));
    let again = restart(&next_owner, "first").await;
    assert_eq!(again.after.as_ref(), Some(&instance), "the intent was carried out before");
    let started = next_owner.start(request("second", LONG)).await.unwrap();
    assert_eq!(
        (started.before.as_ref(), started.after.as_ref()),
        (Some(&instance), Some(&instance))
    );
    assert_eq!(stage.until_alive(1).await, [pid(&instance)]);

    let mut events = next_owner.watch().await.unwrap();
    kill(pid(&instance), Signal::KILL);
    let exited = InstanceEvent::Exited { instance: Some(instance.clone()), exit: Exit::Unknown };
    assert_eq!(next(&mut events).await, exited);
    let seen = next_owner.observe().await.unwrap();
    assert_eq!(seen.state, RunState::Exited { exit: Exit::Unknown });
    assert_eq!(seen.instance, Some(instance));
}

/// However early or late the owner is killed, at most one process runs, the next owner knows it,
/// and the same intent does not start another.
#[tokio::test]
async fn the_owner_may_die_at_any_moment() {
    const KILLS: u32 = 20;
    let clock = SystemClock::new();
    let calibration = Stage::new();
    let began = clock.monotonic();
    let (mut child, mut lines) = owner(&calibration, "only");
    line(&mut lines);
    let whole = clock.monotonic().saturating_since(began);
    child.kill().unwrap();
    child.wait().unwrap();

    let mut found = 0;
    for step in 0..=KILLS {
        let stage = Stage::new();
        let (mut child, mut lines) = owner(&stage, "only");
        if step < KILLS {
            clock.sleep(whole * step / KILLS).await;
        } else {
            line(&mut lines);
        }
        child.kill().unwrap();
        child.wait().unwrap();

        let next_owner = stage.shell(SCRIPT);
        match run_state(&next_owner).await {
            RunState::Running => found += 1,
            RunState::NotStarted => {}
            state => panic!("killed at step {step} of {KILLS}: {state:?}"),
        }
        let receipt = restart(&next_owner, "only").await;
        assert_eq!(
            stage.until_alive(1).await,
            [pid(receipt.after.as_ref().unwrap())],
            "step {step}"
        );
    }
    assert!(found > 0, "the last kill is after the start");
}

/// The record says "starting", the process runs: what a crash right after the start leaves.
#[tokio::test]
async fn a_lost_child_is_found_by_its_environment() {
    let stage = Stage::new();
    let first_owner = stage.shell("exec sleep 600");
    let receipt = restart(&first_owner, "lost").await;
    let mut record = read(&stage.record());
    record["phase"] = "starting".into();
    record["previous"] = serde_json::Value::Null;
    record["receipt"] = serde_json::Value::Null;
    std::fs::write(stage.record(), record.to_string()).unwrap();
    let next_owner = stage.shell("exec sleep 600");
    assert_eq!(next_owner.observe().await.unwrap().instance, receipt.after);
    assert_eq!(restart(&next_owner, "lost").await.after, receipt.after);

    // Without a record, or with a damaged one, too.
    for damage in [None, Some("{\"pha")] {
        std::fs::remove_file(stage.record()).unwrap();
        if let Some(text) = damage {
            std::fs::write(stage.record(), text).unwrap();
        }
        let next_owner = stage.shell("exec sleep 600");
        assert_eq!(next_owner.observe().await.unwrap().instance, receipt.after, "{damage:?}");
        if damage.is_none() {
            std::fs::write(stage.record(), "").unwrap();
        }
    }
    let next_owner = stage.shell("exec sleep 600");
    let second = restart(&next_owner, "more").await;
    assert_eq!(second.before, receipt.after);
    assert_eq!(stage.until_alive(1).await, [pid(second.after.as_ref().unwrap())]);
}

#[tokio::test]
async fn after_a_boot_it_is_a_first_start() {
    let stage = Stage::new();
    let owner = stage.shell("exec sleep 600");
    restart(&owner, "a").await;
    owner.stop(request("b", LONG)).await.unwrap();
    let mut record = read(&stage.record());
    record["identity"]["boot"] = "another-boot".into();
    std::fs::write(stage.record(), record.to_string()).unwrap();
    assert_eq!(run_state(&stage.shell("exec sleep 600")).await, RunState::NotStarted);
}

#[tokio::test]
async fn fault_32_without_descriptors_nothing_is_started_and_the_reason_is_told() {
    let stage = Stage::new();
    let output = Command::new("/bin/sh")
        .args(["-c", "ulimit -n 40; exec \"$0\" starved \"$1\"", env!("CARGO_BIN_EXE_owner")])
        .arg(stage.folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said.trim(), "Exhausted Exhausted NotStarted", "{output:?}");
}
