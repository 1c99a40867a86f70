//! What these tests share: a workplace whose services are real processes.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use jarvis_tests::cli::{Finished, Running, Workplace, jarvis_binary, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

pub(crate) const LONG: Duration = Duration::from_secs(60);

/// The shortened waits, and room for more keys of `[jarvis]`.
pub(crate) const HEAD: &str = r#"[jarvis]
state_dir = "STATE"
interval = "300ms"
interval_down = "150ms"
timeout = "1500ms"
failure_threshold = 2

[defaults.restart]
wait = "300ms"
verify_interval = "150ms"
stabilise = "1s"
stop_timeout = "5s"
backoff = { initial = "200ms", factor = 2.0, max = "1s", jitter = false }
"#;

/// A workplace with services that JARVIS owns. What still runs of them is killed at the end.
pub(crate) struct House {
    pub(crate) place: Workplace,
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

impl House {
    /// Services of these names, each a stand-in behind an HTTP check.
    pub(crate) fn of(names: &[&str]) -> Self {
        Self::with(names, "")
    }

    /// As [`of`](Self::of), with more sections.
    pub(crate) fn with(names: &[&str], more: &str) -> Self {
        let house = Self { place: Workplace::empty() };
        let services: String = names.iter().map(|name| house.service(name, "")).collect();
        house.configure(&format!("{HEAD}{services}{more}"));
        house
    }

    /// Writes the configuration as a whole.
    pub(crate) fn configure(&self, text: &str) {
        let state = self.place.state_dir().display().to_string();
        self.place.write("new", &text.replace("STATE", &state));
        let folder = self.place.path();
        std::fs::rename(folder.join("new"), folder.join("jarvis.toml")).unwrap();
    }

    pub(crate) fn text(&self) -> String {
        std::fs::read_to_string(self.place.path().join("jarvis.toml")).unwrap()
    }

    /// The section of a service. It can't start while the file `NAME.broken` exists.
    pub(crate) fn service(&self, name: &str, restart_keys: &str) -> String {
        self.service_by(name, restart_keys, &[])
    }

    /// As [`service`](Self::service), started by another program.
    pub(crate) fn service_by(&self, name: &str, restart_keys: &str, by: &[&str]) -> String {
        let port = free_port();
        let binary = jarvis_binary();
        let binary = binary.to_str().unwrap();
        let broken = self.place.path().join(format!("{name}.broken"));
        let port_text = port.to_string();
        let mut command: Vec<&str> = by.to_vec();
        command.extend([binary, "stand-in", "--name", name, "--protocol", "http"]);
        command.extend(["--port", &port_text, "--broken-while", broken.to_str().unwrap()]);
        format!(
            "\n[service.{name}]\n[[service.{name}.check]]\ntype = \"http\"\nurl = \"http://127.0.0.1:{port}/health\"\n\
             [service.{name}.restart]\nvia = \"process\"\ncommand = {command:?}\n{restart_keys}\n"
        )
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        self.place.run(arguments)
    }

    /// Starts `jarvis up` and waits until these services are well.
    pub(crate) fn up(&self, names: &[&str]) -> Running {
        let running = self.place.start(&["up"]);
        for name in names {
            self.settled(name);
        }
        running
    }

    /// What `jarvis status NAME` says.
    pub(crate) fn status(&self, name: &str) -> Option<Value> {
        let finished = self.run(&["status", name, "--output", "json"]);
        serde_json::from_str(&finished.stdout).ok()
    }

    /// Waits until the loop says that.
    pub(crate) fn wait_for(&self, name: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let mut last = None;
        let found = wait_until(LONG, || {
            last = self.status(name);
            last.clone().filter(|status| status["source"]["type"] == "live" && is_it(status))
        });
        found.unwrap_or_else(|| {
            let loops = self.loops();
            panic!("{name} did not become what was waited for: {last:#?}\nloops here: {loops:#?}")
        })
    }

    /// Every `jarvis` that runs in this workplace, with what the kernel says that it does.
    fn loops(&self) -> Vec<String> {
        let here = std::fs::canonicalize(self.place.path()).unwrap();
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let ours = entries.filter(|entry| {
            std::fs::read_link(entry.path().join("cwd")).is_ok_and(|folder| folder == here)
        });
        ours.map(|process| {
            let read = |name: &str| {
                let bytes = std::fs::read(process.path().join(name)).unwrap_or_default();
                String::from_utf8_lossy(&bytes).replace('\0', " ")
            };
            let status = read("status");
            let state = status.lines().find(|line| line.starts_with("State:")).unwrap_or_default();
            let tasks = std::fs::read_dir(process.path().join("task")).into_iter().flatten();
            let waits: Vec<String> = tasks
                .flatten()
                .map(|task| {
                    let read = |name| std::fs::read_to_string(task.path().join(name));
                    let (name, waits) = (read("comm"), read("wchan"));
                    format!("{}: {}", name.unwrap_or_default().trim(), waits.unwrap_or_default())
                })
                .collect();
            format!("{} {state} {waits:?}", read("cmdline"))
        })
        .collect()
    }

    /// Waits until a service is well and trusted.
    pub(crate) fn settled(&self, name: &str) {
        self.wait_for(name, |status| {
            status["health"]["state"] == "healthy"
                && status["operator"]["lifecycle"]["phase"] == "steady"
        });
    }

    /// The processes of a service.
    pub(crate) fn pids(&self, name: &str) -> Vec<i32> {
        let broken = self.place.path().join(format!("{name}.broken"));
        processes_with(broken.to_str().unwrap())
    }

    /// Its only process.
    pub(crate) fn pid(&self, name: &str) -> i32 {
        let pids = self.pids(name);
        assert_eq!(pids.len(), 1, "{name} has the processes {pids:?}");
        pids[0]
    }

    pub(crate) fn signal(&self, name: &str, signal: Signal) -> i32 {
        let pid = self.pid(name);
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
        pid
    }

    /// Waits until it runs as another process than that and is trusted again.
    pub(crate) fn healed(&self, name: &str, before: i32) {
        let healed = wait_until(LONG, || {
            let pids = self.pids(name);
            (pids.len() == 1 && pids[0] != before).then_some(())
        });
        assert!(healed.is_some(), "{name} still has {:?}", self.pids(name));
        self.settled(name);
    }

    /// The events so far.
    pub(crate) fn events(&self) -> Vec<Value> {
        let finished = self.run(&["events", "--output", "jsonl", "--limit", "1000"]);
        assert_eq!(finished.code, 0, "{finished:?}");
        finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The events of that type, once there are so many: they are retained shortly after they
    /// happened.
    pub(crate) fn told(&self, kind: &str, count: usize) -> Vec<Value> {
        let told = wait_until(LONG, || Some(self.events_of(kind)).filter(|it| it.len() >= count));
        told.unwrap_or_else(|| panic!("{count} of {kind} were to come: {:#?}", self.events()))
    }

    /// The events of that type so far.
    pub(crate) fn events_of(&self, kind: &str) -> Vec<Value> {
        let events = self.events().into_iter().map(|envelope| envelope["event"].clone());
        events.filter(|event| event["type"] == kind).collect()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        for pid in processes_with(self.place.path().to_str().unwrap_or("none")) {
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// The stand-ins whose command line has this in it. Dead ones have none.
pub(crate) fn processes_with(text: &str) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        line.contains("stand-in") && line.contains(text)
    })
    .collect()
}
