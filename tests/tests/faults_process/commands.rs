//! Restarting by somebody else's program: a command, and a stand-in for `systemctl`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jarvis_core::restart::command::{CommandConfig, CommandRestarter};
use jarvis_core::restart::systemd::{SystemdConfig, SystemdRestarter};
use jarvis_core::restart::{RunState, ServiceRestarter};
use jarvis_core::vocabulary::{ServiceId, VersionId};
use jarvis_core::{ErrorKind, Retry};
use tempfile::TempDir;

use crate::stage::{LONG, clock, marked, request, restart, run_state};

fn shell(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
}

fn command(config: CommandConfig) -> CommandRestarter {
    CommandRestarter::new(config, &ServiceId::new("coach").unwrap(), clock()).unwrap()
}

/// Our own resident memory, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}

#[tokio::test]
async fn fault_24_a_command_that_hangs_and_ignores_sigterm_is_killed_with_its_group() {
    let restarter = command(CommandConfig::new(shell("trap '' TERM; sleep 600 & sleep 600")));
    let error =
        restarter.restart(request("hung-24", Duration::from_millis(300))).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Timeout, Retry::Indeterminate));
    crate::stage::until("the end of the group", || {
        marked("JARVIS_INTENT=hung-24").is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn fault_24_a_command_that_writes_a_gigabyte_costs_no_memory() {
    let before = resident();
    let script = "head -c 1000000000 /dev/zero; echo; echo the end >&2";
    let restarter = command(CommandConfig::new(shell(script)));
    let receipt = restart(&restarter, "loud").await;
    assert!(receipt.message.ends_with("the end"), "{}", receipt.message);
    let grown = resident().saturating_sub(before);
    assert!(grown < 100_000_000, "{grown} bytes");
}

#[tokio::test]
async fn fault_25_a_command_that_did_nothing_is_seen_by_the_identity() {
    let folder = tempfile::tempdir().unwrap();
    let life = folder.path().join("life");
    std::fs::write(&life, "one\n").unwrap();
    let mut config = CommandConfig::new(shell("exit 0"));
    config.identity = Some(vec!["cat".to_owned(), life.display().to_string()]);
    let receipt = restart(&command(config.clone()), "lie").await;
    assert!(receipt.before.is_some());
    assert_eq!(receipt.before, receipt.after);

    config.command = shell(&format!("echo two > {}", life.display()));
    let receipt = restart(&command(config.clone()), "honest").await;
    assert_ne!(receipt.before, receipt.after);

    std::fs::remove_file(&life).unwrap();
    assert!(matches!(run_state(&command(config)).await, RunState::Exited { .. }));
    let unnamed = restart(&command(CommandConfig::new(shell("exit 0"))), "unproven").await;
    assert_eq!((unnamed.before, unnamed.after), (None, None), "not proven");
}

#[tokio::test]
async fn a_failing_command_says_why_without_its_secrets() {
    let mut config = CommandConfig::new(shell("echo no entry for $DEPLOY_TOKEN >&2; exit 4"));
    config.env.insert("DEPLOY_TOKEN".to_owned(), "tok-12345".to_owned().into());
    let error = command(config).restart(request("fails", LONG)).await.unwrap_err();
    assert_eq!(error.retry(), Retry::Indeterminate);
    let text = error.to_string();
    assert!(text.contains("exit code 4") && text.contains("no entry for [redacted]"), "{text}");

    let missing = command(CommandConfig::new(vec!["/no/such/script".to_owned()]));
    let error = missing.restart(request("missing", LONG)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_rollback_command_is_given_the_version() {
    let folder = tempfile::tempdir().unwrap();
    let current = folder.path().join("version");
    std::fs::write(&current, "v2\n").unwrap();
    let mut config = CommandConfig::new(shell("exit 0"));
    config.version = Some(vec!["cat".to_owned(), current.display().to_string()]);
    let script = format!("echo $0 > {}", current.display());
    config.rollback = Some(["/bin/sh", "-c", &script, "{version}"].map(str::to_owned).to_vec());
    let restarter = command(config);
    let version = |text: &str| VersionId::new(text).unwrap();
    assert_eq!(restarter.observe().await.unwrap().version, Some(version("v2")));
    restarter.roll_back(request("back", LONG), version("v1; reboot")).await.unwrap();
    let now = restarter.observe().await.unwrap().version;
    assert_eq!(now, Some(version("v1; reboot")), "an argument, never a shell's text");
}

/// The unit of the stand-in `systemctl`.
struct UnitFolder(TempDir);

impl UnitFolder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn set(&self, name: &str, value: &str) {
        std::fs::write(self.0.path().join(name), value).unwrap();
    }

    fn calls(&self, verb: &str) -> usize {
        let calls = std::fs::read_to_string(self.0.path().join("calls")).unwrap_or_default();
        calls.lines().filter(|line| *line == verb).count()
    }

    fn restarter(&self, reset_failed: bool) -> SystemdRestarter {
        let fixture: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/systemctl");
        let mut config = SystemdConfig::new("app.service");
        config.systemctl =
            [fixture, self.0.path().to_owned()].map(|path| path.display().to_string()).to_vec();
        config.reset_failed = reset_failed;
        SystemdRestarter::new(config, clock()).unwrap()
    }
}

#[tokio::test]
async fn fault_26_start_limit_hit_is_told_and_reset_once_only_when_allowed() {
    let unit = UnitFolder::new();
    unit.set("limited", "");
    let error = unit.restarter(false).restart(request("a", LONG)).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::RateLimited, Retry::Never));
    assert!(error.to_string().contains("reset-failed"), "{error}");
    assert_eq!(unit.calls("reset-failed"), 0);
    let receipt = restart(&unit.restarter(true), "b").await;
    assert!(receipt.after.is_some());
    assert_eq!((unit.calls("reset-failed"), unit.calls("restart")), (1, 3));
}

#[tokio::test]
async fn fault_26_masked_missing_and_stopped_units_are_told_apart() {
    let unit = UnitFolder::new();
    let restarter = unit.restarter(true);
    assert_eq!(run_state(&restarter).await, RunState::NotStarted);
    restart(&restarter, "a").await;
    assert_eq!(run_state(&restarter).await, RunState::Running);

    // `systemctl stop` by a person.
    unit.set("active", "inactive");
    unit.set("code", "1");
    assert!(matches!(run_state(&restarter).await, RunState::StoppedByPerson { .. }));

    unit.set("load", "masked");
    assert!(matches!(run_state(&restarter).await, RunState::StoppedByPerson { .. }));
    let error = restarter.restart(request("b", LONG)).await.unwrap_err();
    assert!(
        error.kind() == ErrorKind::Forbidden && error.to_string().contains("unmask"),
        "{error}"
    );

    unit.set("load", "not-found");
    assert_eq!(run_state(&restarter).await, RunState::Missing);
    let error = restarter.restart(request("c", LONG)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(unit.calls("restart"), 1, "what is refused is not tried");
}

#[tokio::test]
async fn fault_26_without_a_bus_nothing_is_known_and_nothing_is_done() {
    let unit = UnitFolder::new();
    unit.set("no-bus", "");
    let restarter = unit.restarter(true);
    let error = restarter.observe().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("connect to bus"), "{error}");
    let error = restarter.restart(request("a", LONG)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(unit.calls("restart"), 0);
    let mut config = SystemdConfig::new("app.service");
    config.systemctl = vec!["/no/such/systemctl".to_owned()];
    let error = SystemdRestarter::new(config, clock()).unwrap().observe().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_unit_that_systemd_restarts_says_so_and_a_lie_is_seen() {
    let unit = UnitFolder::new();
    unit.set("restart", "always");
    let restarter = unit.restarter(false);
    restart(&restarter, "a").await;
    assert!(restarter.observe().await.unwrap().native_restart);
    unit.set("lies", "");
    let receipt = restart(&restarter, "b").await;
    assert_eq!(receipt.before, receipt.after);
    unit.set("hangs", "");
    let error = restarter.restart(request("c", Duration::from_millis(300))).await.unwrap_err();
    assert_eq!(error.retry(), Retry::Indeterminate);
}
