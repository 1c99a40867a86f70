//! Backends of `HealthProbe` that look at this machine, and the reference.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jarvis_core::clock::{SharedClock, SystemClock};
use jarvis_core::health::HealthProbe;
use jarvis_core::health::command::{CommandConfig, CommandProbe};
use jarvis_core::health::dns::{DnsConfig, DnsProbe, Lookup, Resolver};
use jarvis_core::health::host::{HostConfig, HostProbe, LevelsConfig};
use jarvis_core::health::memory::{Answer, MemoryProbe};
use jarvis_core::health::process::{ProcessConfig, ProcessProbe};
use jarvis_core::testkit::health::{CASES, Mood, ProbeEnv, SECRET};
use jarvis_core::vocabulary::FailureKind;
use jarvis_core::{Result, Secret};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::harness::Suite;

fn system() -> SharedClock {
    Arc::new(SystemClock::new())
}

#[derive(Debug, Default)]
struct Memory(Mutex<Vec<MemoryProbe>>);

#[async_trait]
impl ProbeEnv for Memory {
    async fn probe(&self, mood: Mood) -> Result<Option<Arc<dyn HealthProbe>>> {
        let probe = match mood {
            Mood::Well => MemoryProbe::passing(),
            Mood::Sick => MemoryProbe::failing(FailureKind::Refused),
            Mood::Hung => MemoryProbe::new(Answer::Hang),
            _ => return Ok(None),
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(probe.clone());
        Ok(Some(Arc::new(probe)))
    }

    fn clock(&self) -> SharedClock {
        system()
    }

    async fn open(&self) -> Result<Option<usize>> {
        let probes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Some(probes.iter().map(MemoryProbe::in_flight).sum()))
    }
}

/// Scripts that leave a file with the number of each of their processes.
#[derive(Debug)]
struct Scripts(TempDir);

#[async_trait]
impl ProbeEnv for Scripts {
    async fn probe(&self, mood: Mood) -> Result<Option<Arc<dyn HealthProbe>>> {
        let script = match mood {
            Mood::Well => "echo well",
            Mood::Sick => "echo \"the token is $CHECK_TOKEN\"; exit 1",
            Mood::Hung => {
                "trap '' TERM; echo $CHECK_TOKEN; sleep 600 & touch pid.$$ pid.$!; wait; wait"
            }
            // It has an end, which is far beyond what anybody should keep.
            _ => "head -c 300000000 /dev/zero | tr '\\0' x",
        };
        let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let mut config = CommandConfig::new(argv);
        config.cwd = Some(self.0.path().into());
        config.env.insert("CHECK_TOKEN".to_owned(), Secret::new(SECRET.to_owned()));
        Ok(Some(Arc::new(CommandProbe::new(config)?)))
    }

    fn clock(&self) -> SharedClock {
        system()
    }

    async fn open(&self) -> Result<Option<usize>> {
        let mut alive = 0;
        for entry in std::fs::read_dir(self.0.path())? {
            let name = entry?.file_name();
            let pid = name.to_string_lossy().strip_prefix("pid.").map(str::to_owned);
            let stat = pid.map(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")));
            alive += usize::from(matches!(stat, Some(Ok(stat)) if !stat.contains(") Z ")));
        }
        Ok(Some(alive))
    }
}

/// A process of our own, and the file with its number.
#[derive(Debug)]
struct Process {
    folder: TempDir,
    child: Mutex<Child>,
}

impl Process {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let child = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn()?;
        std::fs::write(folder.path().join("pid"), child.id().to_string())?;
        Ok(Self { folder, child: Mutex::new(child) })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        child.kill().ok();
        child.wait().ok();
    }
}

#[async_trait]
impl ProbeEnv for Process {
    async fn probe(&self, mood: Mood) -> Result<Option<Arc<dyn HealthProbe>>> {
        let file = match mood {
            Mood::Well => "pid",
            Mood::Sick => "no-such-pid",
            _ => return Ok(None),
        };
        let config = ProcessConfig::pidfile(self.folder.path().join(file));
        Ok(Some(Arc::new(ProcessProbe::new(config)?)))
    }

    fn clock(&self) -> SharedClock {
        system()
    }

    async fn open(&self) -> Result<Option<usize>> {
        Ok(Some(0))
    }
}

/// The memory of this machine, with levels that are far above or far below what it uses.
#[derive(Debug)]
struct Host;

#[async_trait]
impl ProbeEnv for Host {
    async fn probe(&self, mood: Mood) -> Result<Option<Arc<dyn HealthProbe>>> {
        let levels = match mood {
            Mood::Well => LevelsConfig::new(99.9, 99.9, 99.8),
            Mood::Sick => LevelsConfig::new(0.002, 0.002, 0.001),
            _ => return Ok(None),
        };
        let config = HostConfig { memory: Some(levels), ..HostConfig::default() };
        Ok(Some(Arc::new(HostProbe::with_root(config, Path::new("/"))?)))
    }

    fn clock(&self) -> SharedClock {
        system()
    }

    async fn open(&self) -> Result<Option<usize>> {
        Ok(Some(0))
    }
}

/// Names that are known, unknown, or never answered while the environment lives.
#[derive(Debug)]
struct Names(watch::Sender<()>);

#[derive(Debug)]
struct Zone(watch::Receiver<()>);

impl Lookup for Zone {
    fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        match host {
            "well.test" => Ok(vec![IpAddr::from([127, 0, 0, 1])]),
            "hung.test" => {
                let mut alive = self.0.clone();
                while futures_util::FutureExt::now_or_never(alive.changed()).is_none() {
                    std::thread::park_timeout(std::time::Duration::from_millis(5));
                }
                Err(io::Error::other("given up"))
            }
            _ => Err(io::Error::other("no such name")),
        }
    }
}

#[async_trait]
impl ProbeEnv for Names {
    async fn probe(&self, mood: Mood) -> Result<Option<Arc<dyn HealthProbe>>> {
        let name = match mood {
            Mood::Well => "well.test",
            Mood::Sick => "sick.test",
            Mood::Hung => "hung.test",
            _ => return Ok(None),
        };
        let resolver = Resolver::new(Arc::new(Zone(self.0.subscribe())), 4);
        Ok(Some(Arc::new(DnsProbe::new(&DnsConfig::new(name))?.with_resolver(resolver))))
    }

    fn clock(&self) -> SharedClock {
        system()
    }

    /// A lookup can't be called off; the resolver bounds how many there are, and tests that.
    async fn open(&self) -> Result<Option<usize>> {
        Ok(None)
    }
}

pub(crate) fn add(suite: &mut Suite) {
    let memory = || async { Ok(Memory::default()) };
    suite.backend("health", "memory", CASES, |env: &Memory| env, memory);
    let command = || async { Ok(Scripts(tempfile::tempdir()?)) };
    suite.backend("health", "command", CASES, |env: &Scripts| env, command);
    suite.backend("health", "process", CASES, |env: &Process| env, || async { Process::new() });
    suite.backend("health", "host", CASES, |env: &Host| env, || async { Ok(Host) });
    let names = || async { Ok(Names(watch::Sender::new(()))) };
    suite.backend("health", "dns", CASES, |env: &Names| env, names);
}
