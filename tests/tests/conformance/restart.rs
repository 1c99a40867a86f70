//! Backends of `ServiceRestarter`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use jarvis_core::clock::{ClockExt, ManualClock, SharedClock, SystemClock};
use jarvis_core::restart::command::{CommandConfig, CommandRestarter};
use jarvis_core::restart::docker::DockerConfig;
use jarvis_core::restart::memory::MemoryRestarter;
use jarvis_core::restart::process::{ProcessConfig, ProcessRestarter};
use jarvis_core::restart::systemd::{SystemdConfig, SystemdRestarter};
use jarvis_core::restart::{Exit, ServiceRestarter};
use jarvis_core::testkit::restart::{CASES, RestarterEnv};
use jarvis_core::vocabulary::{ServiceId, VersionId};
use jarvis_core::{Error, ErrorKind, Result};
use jarvis_tests::docker::{BOX_1, BOX_2, Container, docker, host, restarter_at, unique};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::harness::{self, Suite};

fn system() -> SharedClock {
    Arc::new(SystemClock::new())
}

#[derive(Debug)]
struct Memory {
    clock: ManualClock,
    restarter: MemoryRestarter,
    earlier: Option<VersionId>,
}

impl Memory {
    fn new(versions: &[&str]) -> Result<Self> {
        let clock = ManualClock::new();
        let versions = versions.iter().map(VersionId::new).collect::<Result<Vec<_>>>()?;
        let earlier = versions.last().cloned();
        let restarter = MemoryRestarter::new(Arc::new(clock.clone())).with_versions(versions);
        Ok(Self { clock, restarter, earlier })
    }
}

#[async_trait]
impl RestarterEnv for Memory {
    async fn open(&self) -> Result<Arc<dyn ServiceRestarter>> {
        Ok(Arc::new(self.restarter.clone()))
    }

    fn clock(&self) -> SharedClock {
        Arc::new(self.clock.clone())
    }

    async fn crash(&self) -> Result<()> {
        self.restarter.exit(Exit::Signal(9));
        Ok(())
    }

    async fn missing(&self) -> Result<Option<Arc<dyn ServiceRestarter>>> {
        let restarter = MemoryRestarter::new(Arc::new(self.clock.clone()));
        restarter.remove();
        Ok(Some(Arc::new(restarter)))
    }

    fn earlier_version(&self) -> Option<VersionId> {
        self.earlier.clone()
    }
}

#[derive(Debug)]
struct Process(TempDir);

impl Process {
    fn restarter(&self, service: &str, argv: &[&str]) -> Result<ProcessRestarter> {
        let argv = argv.iter().map(|arg| (*arg).to_owned()).collect();
        let service = ServiceId::new(service)?;
        ProcessRestarter::new(ProcessConfig::new(argv), &service, self.0.path(), system())
    }

    fn record(&self) -> PathBuf {
        self.0.path().join("run/coach.json")
    }
}

#[async_trait]
impl RestarterEnv for Process {
    async fn open(&self) -> Result<Arc<dyn ServiceRestarter>> {
        Ok(Arc::new(self.restarter("coach", &["/bin/sh", "-c", "echo up; exec sleep 600"])?))
    }

    fn clock(&self) -> SharedClock {
        system()
    }

    async fn crash(&self) -> Result<()> {
        let record: serde_json::Value = serde_json::from_slice(&std::fs::read(self.record())?)
            .map_err(|error| Error::new(ErrorKind::Corrupt, error.to_string()))?;
        let pid = record["identity"]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Error::new(ErrorKind::NotFound, "nothing runs"))?;
        kill_process(pid, Signal::KILL).map_err(std::io::Error::from)?;
        while std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))
            .is_ok_and(|stat| !stat.contains(") Z "))
        {
            SystemClock::new().sleep(std::time::Duration::from_millis(1)).await;
        }
        Ok(())
    }

    async fn missing(&self) -> Result<Option<Arc<dyn ServiceRestarter>>> {
        Ok(Some(Arc::new(self.restarter("nobody", &["/no/such/program"])?)))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let Ok(text) = std::fs::read(self.record()) else { return };
        let record: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        let pid = record["identity"]["pid"].as_i64().filter(|_| record["phase"] == "running");
        let pid = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let _gone = pid.map(|pid| kill_process(pid, Signal::KILL));
    }
}

/// A "service" that is a file with the number of its life in it.
#[derive(Debug)]
struct Command(TempDir);

#[async_trait]
impl RestarterEnv for Command {
    async fn open(&self) -> Result<Arc<dyn ServiceRestarter>> {
        let path = |name: &str| self.0.path().join(name).display().to_string();
        let (life, count) = (path("life"), path("count"));
        let shell = |script: String| vec!["/bin/sh".to_owned(), "-c".to_owned(), script];
        let begin = format!("echo x >> {count}; wc -l < {count} > {life}");
        let mut config = CommandConfig::new(shell(begin.clone()));
        config.start = Some(shell(begin));
        config.stop = Some(vec!["rm".to_owned(), life.clone()]);
        config.identity = Some(vec!["cat".to_owned(), life]);
        Ok(Arc::new(CommandRestarter::new(config, &ServiceId::new("coach")?, system())?))
    }

    fn clock(&self) -> SharedClock {
        system()
    }

    async fn crash(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.0.path().join("life"))?)
    }

    async fn missing(&self) -> Result<Option<Arc<dyn ServiceRestarter>>> {
        // A command can't tell that what it restarts is not there.
        Ok(None)
    }

    fn has_events(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct Systemd(TempDir);

impl Systemd {
    fn restarter(&self, folder: &str) -> Result<SystemdRestarter> {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/systemctl");
        let folder = self.0.path().join(folder);
        std::fs::create_dir_all(&folder)?;
        let mut config = SystemdConfig::new("app.service");
        config.systemctl = [fixture, folder].map(|path| path.display().to_string()).to_vec();
        config.journalctl = vec!["seq".to_owned(), "2000".to_owned()];
        SystemdRestarter::new(config, system())
    }
}

#[async_trait]
impl RestarterEnv for Systemd {
    async fn open(&self) -> Result<Arc<dyn ServiceRestarter>> {
        Ok(Arc::new(self.restarter("app")?))
    }

    fn clock(&self) -> SharedClock {
        system()
    }

    async fn crash(&self) -> Result<()> {
        let set =
            |name: &str, text: &str| std::fs::write(self.0.path().join("app").join(name), text);
        set("active", "failed")?;
        set("sub", "failed")?;
        set("result", "signal")?;
        set("code", "2")?;
        Ok(set("status", "9")?)
    }

    async fn missing(&self) -> Result<Option<Arc<dyn ServiceRestarter>>> {
        let restarter = self.restarter("nobody")?;
        std::fs::write(self.0.path().join("nobody/load"), "not-found")?;
        Ok(Some(Arc::new(restarter)))
    }

    fn has_events(&self) -> bool {
        false
    }
}

/// A container that was made and not started, and the image to go back to.
#[derive(Debug)]
struct Docker {
    container: Container,
    earlier: VersionId,
}

impl Docker {
    fn new() -> Result<Self> {
        harness::server("JARVIS_TEST_DOCKER_HOST")?;
        let earlier = docker(&["image", "inspect", "-f", "{{.Id}}", BOX_1]);
        let container = Container::create("conformance", BOX_2);
        Ok(Self { container, earlier: VersionId::new(earlier)? })
    }
}

#[async_trait]
impl RestarterEnv for Docker {
    async fn open(&self) -> Result<Arc<dyn ServiceRestarter>> {
        Ok(Arc::new(self.container.restarter()))
    }

    fn clock(&self) -> SharedClock {
        system()
    }

    async fn crash(&self) -> Result<()> {
        self.container.kill_process();
        self.container.wait_for("{{.State.Running}}", "false").await;
        Ok(())
    }

    async fn missing(&self) -> Result<Option<Arc<dyn ServiceRestarter>>> {
        let config = DockerConfig::container(unique("nobody"));
        Ok(Some(Arc::new(restarter_at(&host(), config))))
    }

    fn earlier_version(&self) -> Option<VersionId> {
        Some(self.earlier.clone())
    }
}

pub(crate) fn add(suite: &mut Suite) {
    suite.backend("restart", "docker", CASES, |env: &Docker| env, || async { Docker::new() });
    suite.backend("restart", "memory", CASES, |env: &Memory| env, || async { Memory::new(&[]) });
    suite.backend(
        "restart",
        "memory-versions",
        CASES,
        |env: &Memory| env,
        || async { Memory::new(&["v2", "v1"]) },
    );
    suite.backend(
        "restart",
        "process",
        CASES,
        |env: &Process| env,
        || async { Ok(Process(tempfile::tempdir()?)) },
    );
    suite.backend(
        "restart",
        "command",
        CASES,
        |env: &Command| env,
        || async { Ok(Command(tempfile::tempdir()?)) },
    );
    suite.backend(
        "restart",
        "systemd",
        CASES,
        |env: &Systemd| env,
        || async { Ok(Systemd(tempfile::tempdir()?)) },
    );
}
