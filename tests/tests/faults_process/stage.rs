//! What these tests share: an owned shell script, and a look at what really runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jarvis_core::clock::{Clock, ClockExt, SystemClock};
use jarvis_core::restart::process::{ProcessConfig, ProcessRestarter};
use jarvis_core::restart::{
    ActionRequest, InstanceEvent, InstanceEvents, Receipt, RunState, ServiceRestarter,
};
use jarvis_core::vocabulary::{FencingToken, IntentId, ServiceId};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub(crate) const SERVICE: &str = "coach";
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) fn clock() -> Arc<SystemClock> {
    Arc::new(SystemClock::new())
}

pub(crate) fn request(intent: &str, timeout: Duration) -> ActionRequest {
    let deadline = clock().monotonic() + timeout;
    ActionRequest::new(IntentId::new(intent).unwrap(), FencingToken::new(1), deadline)
}

/// A state folder of its own. Whatever still runs for it is killed at the end.
pub(crate) struct Stage {
    pub(crate) folder: TempDir,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn record(&self) -> PathBuf {
        self.path("run").join(format!("{SERVICE}.json"))
    }

    pub(crate) fn restarter(&self, config: ProcessConfig) -> ProcessRestarter {
        let service = ServiceId::new(SERVICE).unwrap();
        ProcessRestarter::new(config, &service, self.folder.path(), clock()).unwrap()
    }

    pub(crate) fn shell(&self, script: &str) -> ProcessRestarter {
        self.restarter(script_config(script))
    }

    /// The numbers of all living processes of the service, by their environment.
    pub(crate) fn alive(&self) -> Vec<u32> {
        marked(&format!("JARVIS_RUN={}", self.record().display()))
    }

    /// Waits until so many are alive. In the middle of an `exec` a process has no environment for a
    /// moment, and is not found.
    pub(crate) async fn until_alive(&self, count: usize) -> Vec<u32> {
        until("the number of processes", || {
            let alive = self.alive();
            (alive.len() == count).then_some(alive)
        })
        .await
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for pid in self.alive() {
            kill(pid, Signal::KILL);
        }
    }
}

pub(crate) fn script_config(script: &str) -> ProcessConfig {
    let mut config = ProcessConfig::new(["/bin/sh", "-c", script].map(str::to_owned).to_vec());
    config.stop_timeout = Duration::from_millis(500);
    config
}

pub(crate) fn kill(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).unwrap();
    // It may be gone already.
    let _gone = kill_process(pid, signal);
}

/// Living processes (no zombies) with this entry in the environment they were started with.
pub(crate) fn marked(entry: &str) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|pid| pid.file_name().to_str()?.parse::<u32>().ok());
    let mut found: Vec<u32> = pids
        .filter(|pid| state(*pid).is_some_and(|state| !matches!(state, 'Z' | 'X')))
        .filter(|pid| {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ.split(|byte| *byte == 0).any(|part| part == entry.as_bytes())
        })
        .collect();
    found.sort_unstable();
    found
}

/// The kernel's letter for what a process does; `None` when there is none.
pub(crate) fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// When it was started, in clock ticks since boot. It has to be there.
pub(crate) fn started_at(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').nth(19).unwrap().parse().unwrap()
}

/// Polls until there is an answer.
pub(crate) async fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let clock = SystemClock::new();
    let deadline = clock.monotonic() + LONG;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(clock.monotonic() < deadline, "{what} did not come about in time");
        clock.sleep(Duration::from_millis(2)).await;
    }
}

pub(crate) async fn restart(restarter: &dyn ServiceRestarter, intent: &str) -> Receipt {
    restarter.restart(request(intent, LONG)).await.unwrap()
}

pub(crate) async fn run_state(restarter: &dyn ServiceRestarter) -> RunState {
    restarter.observe().await.unwrap().state
}

pub(crate) async fn next(events: &mut InstanceEvents) -> InstanceEvent {
    let clock = SystemClock::new();
    let deadline = clock.monotonic() + LONG;
    clock.until(deadline, events.next()).await.expect("an event in time").expect("an open watch")
}

/// The process number in `pid N started …`.
pub(crate) fn pid(instance: &impl std::fmt::Display) -> u32 {
    instance.to_string().split(' ').nth(1).and_then(|pid| pid.parse().ok()).unwrap()
}

pub(crate) fn pid_after(receipt: &Receipt) -> u32 {
    pid(receipt.after.as_ref().unwrap())
}

pub(crate) fn read(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}
