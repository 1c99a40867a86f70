//! Whoever supervises is killed at its worst moments, or stopped for longer than its lease: 34
//! and 35, with the real loop in processes of its own.

#![expect(clippy::unwrap_used, reason = "a test that can't set its stage has to stop")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use jarvis_core::clock::{Clock, ClockExt, SystemClock};
use jarvis_core::lease::{Limit, RestartLedger, SqliteLedger};
use jarvis_core::store::sqlite::{Options, Sqlite};
use jarvis_tests::operating::id;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

const SERVICE: &str = "api";
/// What a child's policy allows.
const BUDGET: u32 = 5;
const BACKOFF: Duration = Duration::from_millis(100);
/// Short, so that the next does not wait long for it.
const LEASE: Duration = Duration::from_millis(1_500);
const LONG: Duration = Duration::from_secs(60);

/// A state folder, and the service's own list of its lives.
struct Scene(TempDir);

impl Scene {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The process number of each life, oldest first. The service writes them itself.
    fn lives(&self) -> Vec<u32> {
        let text = std::fs::read_to_string(self.path("lives")).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// The processes that live for the service, by the environment they were started with.
    fn alive(&self) -> Vec<u32> {
        let mark = format!("JARVIS_RUN={}", self.path("run").join("api.json").display());
        let pids = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|pid| pid.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ.split(|byte| *byte == 0).any(|part| part == mark.as_bytes())
        })
        .filter(|pid| runs(*pid))
        .collect()
    }

    /// Kills the latest life.
    fn kill_service(&self) {
        signal(*self.lives().last().unwrap(), Signal::KILL);
    }

    fn child(&self, backoff: Duration, lease: Duration, failpoint: Option<&str>) -> Operating {
        let mut command = Command::new(env!("CARGO_BIN_EXE_operating-child"));
        let script = format!("echo $$ >> '{}'; exec sleep 600", self.path("lives").display());
        command
            .arg(self.0.path())
            .arg(SERVICE)
            .args([backoff, lease].map(|time| time.as_millis().to_string()));
        command.args(["/bin/sh", "-c", &script]).env_remove("JARVIS_FAILPOINT");
        if let Some(failpoint) = failpoint {
            command.env("JARVIS_FAILPOINT", failpoint);
        }
        Operating::spawn(command)
    }

    /// The attempts that the ledger has counted.
    async fn attempts(&self) -> u32 {
        let sqlite = Sqlite::open(self.path("operator.db"), &Options::new()).unwrap();
        let ledger = SqliteLedger::new(&sqlite, Arc::new(SystemClock::new()));
        let limit = Limit { max: BUDGET, window: Duration::from_secs(3_600) };
        ledger.usage(&id(SERVICE), &[limit]).await.unwrap()[0].used
    }

    /// Stops the child where it has no lock on the file, which nobody could write to then.
    async fn stop_outside_a_write(&self, child: &Operating) {
        let path = self.path("operator.db");
        until("a moment without a lock", || {
            child.signal(Signal::STOP);
            let file = rusqlite::Connection::open(&path).unwrap();
            file.busy_timeout(Duration::ZERO).unwrap();
            let free = file.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok();
            if !free {
                child.signal(Signal::CONT);
            }
            free.then_some(())
        })
        .await;
    }

    /// The service runs for the first time, and who started it has left in order.
    async fn first_life(&self) -> Vec<String> {
        let mut child = self.child(BACKOFF, LEASE, None);
        until("the first life", || (child.count("verify_passed") >= 1).then_some(())).await;
        until("its own word", || (!self.lives().is_empty()).then_some(())).await;
        child.leave().await;
        assert_eq!(self.attempts().await, 0, "a first start is no attempt");
        child.lines()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for pid in self.alive() {
            signal(pid, Signal::KILL);
        }
    }
}

/// A process that supervises. Killed at the end.
struct Operating {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Operating {
    fn spawn(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&lines);
        let reader = std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                heard.lock().unwrap().push(line);
            }
        });
        Self { child, lines, reader: Some(reader) }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    fn count(&self, kind: &str) -> usize {
        of_kind(&self.lines(), kind).len()
    }

    /// Has the verification of a counted action failed?
    fn failed_an_attempt(&self) -> bool {
        let lines = self.lines();
        let failed = of_kind(&lines, "verify_failed");
        let mut begun = of_kind(&lines, "action_started").into_iter();
        begun.any(|act| {
            act["attempt"] != 0 && failed.iter().any(|failed| failed["intent"] == act["intent"])
        })
    }

    fn signal(&self, which: Signal) {
        signal(self.child.id(), which);
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Everything that it said has been read.
    fn heard_out(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
    }

    /// Ends in order.
    async fn leave(&mut self) {
        drop(self.child.stdin.take());
        let status = until("its end", || self.ended()).await;
        assert!(status.success(), "{status}");
        self.heard_out();
    }
}

impl Drop for Operating {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// The events of this type; one that was announced twice counts once.
fn of_kind(lines: &[String], kind: &str) -> Vec<Value> {
    let lines: BTreeSet<&String> = lines.iter().collect();
    let events = lines.into_iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter(|event| event["type"] == kind).collect()
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).unwrap();
    // It may be gone already.
    let _gone = kill_process(pid, signal);
}

/// Is there such a process, and is it no zombie?
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

async fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let clock = SystemClock::new();
    let deadline = clock.monotonic() + LONG;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(clock.monotonic() < deadline, "{what} did not come about in time");
        clock.sleep(Duration::from_millis(5)).await;
    }
}

/// Kills the service, and each of its next lives, up to `kills` in all, until the child has died
/// by its own hand.
async fn doom(scene: &Scene, failpoint: &str, kills: usize) -> Vec<String> {
    let mut child = scene.child(BACKOFF, LEASE, Some(failpoint));
    until("its start", || {
        (child.count("operator_started") > 0 || child.ended().is_some()).then_some(())
    })
    .await;
    let mut killed = 0;
    let status = until(failpoint, || {
        if killed < kills && scene.lives().len() > killed {
            scene.kill_service();
            killed += 1;
        }
        child.ended()
    })
    .await;
    let how = std::os::unix::process::ExitStatusExt::signal(&status);
    assert_eq!(how, Some(Signal::KILL.as_raw()), "{failpoint}: {status}");
    child.heard_out();
    child.lines()
}

async fn crash(name: &str, nth: usize, kills: usize) {
    let failpoint = format!("{name}:{nth}");
    let scene = Scene::new();
    let mut lines = scene.first_life().await;
    lines.extend(doom(&scene, &failpoint, kills).await);

    let mut next = scene.child(BACKOFF, LEASE, None);
    until(&failpoint, || (next.count("incident_resolved") > 0).then_some(())).await;
    next.leave().await;
    lines.extend(next.lines());

    let lives = scene.lives();
    assert_eq!(scene.alive(), [*lives.last().unwrap()], "{failpoint}: one life, the latest");
    let acted = u32::try_from(lives.len() - 1).unwrap();
    let attempts = scene.attempts().await;
    assert!(acted >= 1, "{failpoint}");
    assert!(acted <= attempts && attempts <= BUDGET, "{failpoint}: {acted} of {attempts}");
    assert!(attempts <= acted + 1, "{failpoint}: one crash loses one attempt at most: {attempts}");
    let opened = of_kind(&lines, "incident_opened");
    let resolved = of_kind(&lines, "incident_resolved");
    assert_eq!((opened.len(), resolved.len()), (1, 1), "{failpoint}:\n{}", lines.join("\n"));
    assert_eq!(opened[0]["incident"], resolved[0]["incident"], "{failpoint}");
    assert_eq!(of_kind(&lines, "escalated").len(), 0, "{failpoint}");
}

#[tokio::test]
async fn fault_34_killed_after_a_reservation() {
    join_all((1..=3).map(|nth| crash("reserved", nth, nth))).await;
}

#[tokio::test]
async fn fault_34_killed_before_an_action() {
    join_all((1..=3).map(|nth| crash("before_act", nth, nth))).await;
}

#[tokio::test]
async fn fault_34_killed_after_an_action() {
    join_all((1..=3).map(|nth| crash("acted", nth, nth))).await;
}

#[tokio::test]
async fn fault_34_killed_after_a_commit() {
    join_all((1..=10).map(|nth| crash("committed", nth, 1))).await;
}

/// The first is stopped while it waits to try again, for longer than its lease; when it goes on,
/// its next attempt is overdue, and another has acted since.
#[tokio::test]
async fn fault_35_who_was_stopped_past_its_lease_does_not_act() {
    const PAUSE: Duration = Duration::from_secs(4);
    let scene = Scene::new();
    scene.first_life().await;
    let mut first = scene.child(PAUSE, LEASE, None);
    until("the first", || (first.count("operator_started") > 0).then_some(())).await;
    scene.kill_service();
    until("the second life", || (scene.lives().len() == 2).then_some(())).await;
    scene.kill_service();
    until("the backing off", || first.failed_an_attempt().then_some(())).await;
    scene.stop_outside_a_write(&first).await;
    assert_eq!((scene.lives().len(), scene.attempts().await), (2, 1));

    let mut second = scene.child(PAUSE, LEASE * 6, None);
    until("the second's success", || (second.count("incident_resolved") > 0).then_some(())).await;
    assert_eq!((scene.lives().len(), scene.attempts().await), (3, 2));

    first.signal(Signal::CONT);
    until("the loss of the lease", || (first.count("lease_lost") > 0).then_some(())).await;
    scene.kill_service();
    until("another success", || (second.count("incident_resolved") > 1).then_some(())).await;
    second.leave().await;
    assert_eq!(first.count("action_started"), 1, "{}", first.lines().join("\n"));
    first.leave().await;
    let lives = scene.lives();
    assert_eq!((lives.len(), scene.attempts().await), (4, 3));
    assert_eq!(scene.alive(), [lives[3]]);
}
