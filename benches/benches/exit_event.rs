//! How soon an owned process's death is told: SIGKILL to exit event, against supervisor (Debian's
//! `supervisor`) and its own event listener, in the same run.
//!
//! `cargo bench -p jarvis-benches --bench exit_event`
//!
//! Five interleaved rounds of 40 kills (supervisor: 6, for each takes it about a second). Ends
//! with exit code 1 when JARVIS's 99th percentile is over 5 ms.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench talks to a person")]

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use jarvis_core::clock::{Clock, SystemClock};
use jarvis_core::restart::process::{ProcessConfig, ProcessRestarter};
use jarvis_core::restart::{ActionRequest, InstanceEvent, InstanceEvents, ServiceRestarter};
use jarvis_core::vocabulary::{FencingToken, IntentId, ServiceId};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};

const ROUNDS: usize = 5;
const KILLS: usize = 40;
const PEER_KILLS: usize = 6;
const LIMIT: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(30);

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("exit_event: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool, Failure> {
    let folder = tempfile::tempdir()?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut jarvis = runtime.block_on(Jarvis::begin(folder.path()))?;
    let mut supervisor = Supervisor::begin(folder.path())?;
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let one = runtime.block_on(jarvis.kills(KILLS))?;
        let two = supervisor.kills(PEER_KILLS)?;
        let ratio = percentile(&two, 50).as_secs_f64() / percentile(&one, 50).as_secs_f64();
        println!(
            "round {round}: jarvis {:.3} ms, supervisor {:.1} ms, ratio {ratio:.0}",
            millis(percentile(&one, 50)),
            millis(percentile(&two, 50))
        );
        ours.extend(one);
        theirs.extend(two);
        ratios.push(ratio);
    }
    runtime.block_on(jarvis.end())?;
    ratios.sort_by(f64::total_cmp);
    for (name, times) in [("jarvis", &ours), ("supervisor", &theirs)] {
        println!(
            "{name}: {} kills, median {:.3} ms, p99 {:.3} ms, worst {:.3} ms",
            times.len(),
            millis(percentile(times, 50)),
            millis(percentile(times, 99)),
            millis(percentile(times, 100))
        );
    }
    println!(
        "supervisor / jarvis: median {:.0}, from {:.0} to {:.0}",
        ratios[ROUNDS / 2],
        ratios[0],
        ratios[ROUNDS - 1]
    );
    let reached = percentile(&ours, 99) <= LIMIT;
    println!(
        "p99 at most {} ms: {}",
        LIMIT.as_millis(),
        if reached { "reached" } else { "MISSED" }
    );
    Ok(reached)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// The nearest rank.
fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).clamp(1, sorted.len());
    sorted[rank - 1]
}

fn kill(pid: i32) -> Result<(), Failure> {
    let pid = Pid::from_raw(pid).ok_or("no process number")?;
    Ok(kill_process(pid, Signal::KILL)?)
}

struct Jarvis {
    clock: SystemClock,
    restarter: ProcessRestarter,
    events: InstanceEvents,
    intents: u64,
}

impl Jarvis {
    async fn begin(folder: &Path) -> Result<Self, Failure> {
        let config = ProcessConfig::new(vec!["sleep".to_owned(), "600".to_owned()]);
        let (service, clock) = (ServiceId::new("victim")?, Arc::new(SystemClock::new()));
        let restarter = ProcessRestarter::new(config, &service, folder, clock)?;
        let events = restarter.watch().await?;
        Ok(Self { clock: SystemClock::new(), restarter, events, intents: 0 })
    }

    fn request(&mut self) -> Result<ActionRequest, Failure> {
        self.intents += 1;
        let intent = IntentId::new(format!("bench-{}", self.intents))?;
        let deadline = self.clock.monotonic() + PATIENCE;
        Ok(ActionRequest::new(intent, FencingToken::new(1), deadline))
    }

    async fn kills(&mut self, count: usize) -> Result<Vec<Duration>, Failure> {
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let request = self.request()?;
            let instance = self.restarter.start(request).await?.after.ok_or("no life")?;
            let pid = instance.as_str().split(' ').nth(1).ok_or("no process number")?.parse()?;
            let began = self.clock.monotonic();
            kill(pid)?;
            loop {
                match self.events.next().await.ok_or("the watch ended")? {
                    InstanceEvent::Exited { .. } => break,
                    _ => continue,
                }
            }
            times.push(self.clock.monotonic().saturating_since(began));
        }
        Ok(times)
    }

    async fn end(&mut self) -> Result<(), Failure> {
        let request = self.request()?;
        self.restarter.stop(request).await?;
        Ok(())
    }
}

/// What an event listener of supervisor does: say that it is ready, read a line and a body, pass
/// the event on, say that it was taken.
const LISTENER: &str = r#"#!/bin/sh
while :; do
    echo READY
    read -r header || exit 0
    event=${header##*eventname:}
    body=$(dd bs=1 count="${header##*len:}" 2>/dev/null)
    echo "${event%% *} ${body##*pid:}" >&3
    printf 'RESULT 2\nOK'
done
"#;

struct Supervisor {
    clock: SystemClock,
    daemon: Child,
    lines: Receiver<String>,
}

impl Supervisor {
    fn begin(folder: &Path) -> Result<Self, Failure> {
        let (fifo, listener) = (folder.join("events"), folder.join("listener"));
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        File::create(&listener)?.write_all(LISTENER.as_bytes())?;
        let config = folder.join("supervisord.conf");
        let text = format!(
            "[supervisord]\nnodaemon=true\nlogfile={0}/supervisord.log\npidfile={0}/supervisord.pid\nchildlogdir={0}\n\
             [program:victim]\ncommand=sleep 600\nautorestart=true\nstartsecs=0\n\
             [eventlistener:events]\ncommand=/bin/sh -c \"exec 3>{1}; exec /bin/sh {2}\"\nevents=PROCESS_STATE_RUNNING,PROCESS_STATE_EXITED\n",
            folder.display(),
            fifo.display(),
            listener.display()
        );
        File::create(&config)?.write_all(text.as_bytes())?;
        let events = File::options().read(true).write(true).open(&fifo)?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(events).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let daemon = Command::new("supervisord")
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("supervisord: {error}; install Debian's supervisor"))?;
        Ok(Self { clock: SystemClock::new(), daemon, lines })
    }

    /// The process number in the next event of this name about the victim.
    fn next(&self, event: &str) -> Result<i32, Failure> {
        loop {
            let line = self.lines.recv_timeout(PATIENCE)?;
            if let Some((name, pid)) = line.split_once(' ')
                && name == event
            {
                return Ok(pid.trim().parse()?);
            }
        }
    }

    fn kills(&mut self, count: usize) -> Result<Vec<Duration>, Failure> {
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let pid = self.next("PROCESS_STATE_RUNNING")?;
            let began = self.clock.monotonic();
            kill(pid)?;
            let exited = self.next("PROCESS_STATE_EXITED")?;
            times.push(self.clock.monotonic().saturating_since(began));
            if exited != pid {
                return Err(format!("killed {pid}, and {exited} exited").into());
            }
        }
        Ok(times)
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // SIGTERM, so that it stops what it started.
        let pid = i32::try_from(self.daemon.id()).ok().and_then(Pid::from_raw);
        let _gone = pid.map(|pid| kill_process(pid, Signal::TERM));
        let _reaped = self.daemon.wait();
    }
}
