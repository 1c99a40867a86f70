//! What these tests share: whoever supervises, in a process of its own, and its one service.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jarvis_core::clock::{Clock, ClockExt, SystemClock};
use jarvis_core::lease::{Limit, RestartLedger, SqliteLedger};
use jarvis_core::store::sqlite::{Options, Sqlite};
use jarvis_tests::operating::id;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const SERVICE: &str = "api";
/// What a child's policy allows.
pub(crate) const BUDGET: u32 = 5;
pub(crate) const BACKOFF: Duration = Duration::from_millis(100);
/// Short, so that the next does not wait long for it.
pub(crate) const LEASE: Duration = Duration::from_millis(1_500);
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A state folder, and the service's own list of its lives.
pub(crate) struct Scene(TempDir);

impl Scene {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The process number of each life, oldest first. The service writes them itself.
    pub(crate) fn lives(&self) -> Vec<u32> {
        let text = std::fs::read_to_string(self.path("lives")).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// The processes that live for the service, by the environment they were started with.
    pub(crate) fn alive(&self) -> Vec<u32> {
        let marks = [self.0.path(), &self.path("disk")]
            .map(|state| format!("JARVIS_RUN={}", state.join("run/api.json").display()));
        let pids = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|pid| pid.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let ours = |part: &[u8]| marks.iter().any(|mark| mark.as_bytes() == part);
            environ.split(|byte| *byte == 0).any(ours)
        })
        .filter(|pid| runs(*pid))
        .collect()
    }

    /// Kills the latest life.
    pub(crate) fn kill_service(&self) {
        signal(*self.lives().last().unwrap(), Signal::KILL);
    }

    pub(crate) fn child(
        &self,
        backoff: Duration,
        lease: Duration,
        failpoint: Option<&str>,
    ) -> Operating {
        let mut command = Command::new(env!("CARGO_BIN_EXE_operating-child"));
        command.args(self.arguments(self.0.path(), backoff, lease)).env_remove("JARVIS_FAILPOINT");
        if let Some(failpoint) = failpoint {
            command.env("JARVIS_FAILPOINT", failpoint);
        }
        Operating::spawn(command)
    }

    fn arguments(&self, state_dir: &Path, backoff: Duration, lease: Duration) -> Vec<String> {
        let script = format!("echo $$ >> '{}'; exec sleep 600", self.path("lives").display());
        let [backoff, lease] = [backoff, lease].map(|time| time.as_millis().to_string());
        let state_dir = state_dir.display().to_string();
        let own = [state_dir, SERVICE.to_owned(), backoff, lease];
        own.into_iter().chain(["/bin/sh".to_owned(), "-c".to_owned(), script]).collect()
    }

    /// One whose state is on a file system of its own, of that size, which only it sees.
    pub(crate) fn child_on_a_small_disk(&self, kibibytes: u32) -> Operating {
        let disk = self.path("disk");
        std::fs::create_dir(&disk).unwrap();
        let mount = format!("mount -t tmpfs -o size={kibibytes}k small \"$0\" && exec \"$@\"");
        let mut command = Command::new("unshare");
        // Who is not root becomes it in a namespace.
        let how = if rustix::process::geteuid().is_root() { "-m" } else { "-rm" };
        command.args([how, "sh", "-c", &mount]).arg(&disk);
        command.arg(env!("CARGO_BIN_EXE_operating-child"));
        command.args(self.arguments(&disk, BACKOFF, LEASE)).env_remove("JARVIS_FAILPOINT");
        Operating::spawn(command)
    }

    /// The attempts that the ledger has counted.
    pub(crate) async fn attempts(&self) -> u32 {
        self.attempts_in(self.0.path()).await
    }

    /// The attempts that the ledger in that folder has counted.
    pub(crate) async fn attempts_in(&self, folder: &Path) -> u32 {
        let sqlite = Sqlite::open(folder.join("operator.db"), &Options::new()).unwrap();
        let ledger = SqliteLedger::new(&sqlite, Arc::new(SystemClock::new()));
        let limit = Limit { max: BUDGET, window: Duration::from_secs(3_600) };
        ledger.usage(&id(SERVICE), &[limit]).await.unwrap()[0].used
    }

    /// Stops the child where it has no lock on the file, which nobody could write to then.
    pub(crate) async fn stop_outside_a_write(&self, child: &Operating) {
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
    pub(crate) async fn first_life(&self) -> Vec<String> {
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
pub(crate) struct Operating {
    pub(crate) child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Operating {
    pub(crate) fn spawn(mut command: Command) -> Self {
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

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, kind: &str) -> usize {
        of_kind(&self.lines(), kind).len()
    }

    /// Has the verification of a counted action failed?
    pub(crate) fn failed_an_attempt(&self) -> bool {
        let lines = self.lines();
        let failed = of_kind(&lines, "verify_failed");
        let mut begun = of_kind(&lines, "action_started").into_iter();
        begun.any(|act| {
            act["attempt"] != 0 && failed.iter().any(|failed| failed["intent"] == act["intent"])
        })
    }

    pub(crate) fn signal(&self, which: Signal) {
        signal(self.child.id(), which);
    }

    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Everything that it said has been read.
    pub(crate) fn heard_out(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
    }

    /// Ends in order.
    pub(crate) async fn leave(&mut self) {
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
pub(crate) fn of_kind(lines: &[String], kind: &str) -> Vec<Value> {
    let lines: BTreeSet<&String> = lines.iter().collect();
    let events = lines.into_iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter(|event| event["type"] == kind).collect()
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).unwrap();
    // It may be gone already.
    let _gone = kill_process(pid, signal);
}

/// Is there such a process, and is it no zombie?
pub(crate) fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

pub(crate) async fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
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
