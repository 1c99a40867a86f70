//! [`ProcessProbe`]: is a local process there, and is it the same one as before?

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use regex::Regex;
use serde::{Deserialize, Serialize};

use super::{HealthProbe, Observation, ProbeContext};
use base::clock::{Clock, Monotonic, SharedClock};
use base::subprocess::procfs::{Identity, PROC, Stat, command_line, processes, ticks_per_second};
use base::sync::Mutex;
use base::units;
use base::vocabulary::{ConfigPath, FailureKind};
use base::{Error, ErrorKind, Result};

const OPERATION: &str = "health.process";

/// How much older than its process a pid file may be: some programs write it before they fork.
const PIDFILE_SLACK: Duration = Duration::from_secs(5);

/// `type = "process"`. One of `pidfile`, `name` and `matches` says which process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ProcessConfig {
    /// A file that holds its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pidfile: Option<ConfigPath>,
    /// Its name as the kernel has it (`comm`, at most 15 bytes).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A regular expression that its command line matches, the arguments separated by blanks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<String>,
    /// Degraded when it holds more memory than this (resident), in bytes.
    #[serde(default, with = "optional_bytes", skip_serializing_if = "Option::is_none")]
    pub memory_above: Option<u64>,
    /// Degraded when it used more CPU than this since the probe before, in percent of one core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_above: Option<f64>,
}

mod optional_bytes {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::units;

    #[derive(Serialize, Deserialize)]
    #[serde(transparent)]
    struct Bytes(#[serde(with = "units::bytes")] u64);

    pub(super) fn serialize<S: Serializer>(bytes: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
        bytes.map(Bytes).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
        Ok(Option::<Bytes>::deserialize(from)?.map(|Bytes(bytes)| bytes))
    }
}

impl ProcessConfig {
    /// The process whose number is in this file.
    #[must_use]
    pub fn pidfile(path: impl Into<ConfigPath>) -> Self {
        Self { pidfile: Some(path.into()), ..Self::default() }
    }

    /// The oldest process of this name.
    #[must_use]
    pub fn name(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }

    /// The oldest process whose command line matches.
    #[must_use]
    pub fn matching(pattern: impl Into<String>) -> Self {
        Self { matches: Some(pattern.into()), ..Self::default() }
    }
}

#[derive(Debug)]
enum Target {
    Pidfile(PathBuf),
    Name(String),
    Pattern(Regex),
}

#[derive(Debug)]
struct Usage {
    identity: Identity,
    at: Monotonic,
    ticks: u64,
}

/// Looks for one process. Gone is `exited`, which is proof; so is a zombie, and a pid file whose
/// number belongs to another process by now.
#[derive(Debug)]
pub struct ProcessProbe {
    target: Target,
    memory_above: Option<u64>,
    cpu_above: Option<f64>,
    before: Mutex<Option<Usage>>,
}

impl ProcessProbe {
    /// A probe for this process.
    ///
    /// # Errors
    /// `ConfigInvalid` when not exactly one of the three says which, or the pattern is none.
    pub fn new(config: ProcessConfig) -> Result<Self> {
        let invalid = |text: String| Error::new(ErrorKind::ConfigInvalid, text);
        let target = match (config.pidfile, config.name, config.matches) {
            (Some(path), None, None) => Target::Pidfile(path.into_path_buf()),
            (None, Some(name), None) => Target::Name(name),
            (None, None, Some(pattern)) => {
                Regex::new(&pattern).map(Target::Pattern).map_err(|error| {
                    invalid(format!("matches is not a valid regular expression: {error}"))
                })?
            }
            _ => {
                return Err(invalid(
                    "a process check needs exactly one of pidfile, name and matches".to_owned(),
                ));
            }
        };
        if let Target::Name(name) = &target
            && (name.is_empty() || name.len() > 15)
        {
            return Err(invalid(format!(
                "{name:?} is not a valid process name: the kernel keeps 15 bytes of it; use matches for the command line"
            )));
        }
        let (memory_above, cpu_above) = (config.memory_above, config.cpu_above);
        Ok(Self { target, memory_above, cpu_above, before: Mutex::default() })
    }

    fn find(&self, clock: &dyn Clock) -> Result<Stat, String> {
        let proc = Path::new(PROC);
        let found = match &self.target {
            Target::Pidfile(path) => return by_pidfile(proc, path, clock),
            Target::Name(name) => oldest(processes(proc).filter(|stat| stat.name == *name)),
            Target::Pattern(pattern) => {
                let ourselves = std::process::id();
                oldest(processes(proc).filter(|stat| {
                    stat.pid != ourselves && pattern.is_match(&command_line(proc, stat.pid))
                }))
            }
        };
        found.ok_or_else(|| match &self.target {
            Target::Name(name) => format!("no process is called {name}"),
            _ => "no process has such a command line".to_owned(),
        })
    }

    fn look(&self, clock: &dyn Clock) -> Observation {
        let stat = match self.find(clock) {
            Ok(stat) => stat,
            Err(reason) => return Observation::fail(FailureKind::Exited, reason),
        };
        let identity = Identity::of(&stat, clock);
        let instance = identity.instance();
        if stat.is_zombie() {
            let message = format!("pid {} has ended and was not reaped (zombie)", stat.pid);
            return Observation::fail(FailureKind::Exited, message);
        }
        let memory = stat.resident_pages.saturating_mul(rustix::param::page_size() as u64);
        let cpu = self.cpu(&stat, identity, clock.monotonic());
        self.judge(&stat, memory, cpu)
            .with_instance(instance)
            .with_fact("pid", stat.pid)
            .with_fact("memory_bytes", memory)
            .with_fact("cpu_percent", cpu)
    }

    fn judge(&self, stat: &Stat, memory: u64, cpu: Option<f64>) -> Observation {
        if stat.state == 'T' {
            let message =
                format!("pid {} is stopped (SIGSTOP); kill -CONT lets it go on", stat.pid);
            return Observation::fail(FailureKind::Check, message);
        }
        if let Some(most) = self.memory_above.filter(|most| memory > *most) {
            let message = format!("pid {} holds {memory} bytes of memory, over {most}", stat.pid);
            return Observation::warn(FailureKind::Resource, message);
        }
        if let Some((cpu, most)) = cpu.zip(self.cpu_above).filter(|(cpu, most)| cpu > most) {
            let message = format!("pid {} uses {cpu:.0}% of a core, over {most:.0}%", stat.pid);
            return Observation::warn(FailureKind::Resource, message);
        }
        Observation::pass(format!("pid {} ({}) runs", stat.pid, stat.name))
    }

    /// Percent of one core since the probe before, when that saw the same process.
    fn cpu(&self, stat: &Stat, identity: Identity, at: Monotonic) -> Option<f64> {
        let now = Usage { identity, at, ticks: stat.cpu_ticks };
        let mut before = self.before.lock();
        let percent = before.as_ref().and_then(|before| used(before, &now));
        *before = Some(now);
        percent
    }
}

#[expect(clippy::cast_precision_loss, reason = "ticks between two probes are few")]
fn used(before: &Usage, now: &Usage) -> Option<f64> {
    let elapsed = now.at.saturating_since(before.at).as_secs_f64();
    if before.identity != now.identity || elapsed <= 0.0 {
        return None;
    }
    let ticks = now.ticks.saturating_sub(before.ticks) as f64;
    Some((ticks / ticks_per_second() as f64 / elapsed * 1_000.0).round() / 10.0)
}

/// The oldest one: children that were forked share a name. A zombie only if nobody else is left.
fn oldest(stats: impl Iterator<Item = Stat>) -> Option<Stat> {
    stats.min_by_key(|stat| (stat.is_zombie(), stat.start, stat.pid))
}

fn by_pidfile(proc: &Path, path: &Path, clock: &dyn Clock) -> Result<Stat, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
    let pid: u32 = text
        .split_ascii_whitespace()
        .next()
        .and_then(|pid| pid.parse().ok())
        .ok_or_else(|| format!("{shown} contains no process id"))?;
    let stat = Stat::read(proc, pid).ok_or_else(|| format!("pid {pid} of {shown} is gone"))?;
    let started = Identity::of(&stat, clock).started_at(clock);
    if let Some(written) = modified(path)
        && started.saturating_since(written) > PIDFILE_SLACK
    {
        return Err(format!(
            "pid {pid} of {shown} belongs to another process now ({}, younger than the file)",
            stat.name
        ));
    }
    Ok(stat)
}

fn modified(path: &Path) -> Option<base::clock::WallTime> {
    use std::os::unix::fs::MetadataExt;
    let metadata = path.metadata().ok()?;
    let millis =
        metadata.mtime().saturating_mul(1_000).saturating_add(metadata.mtime_nsec() / 1_000_000);
    Some(base::clock::WallTime::from_millis(millis))
}

#[async_trait]
impl HealthProbe for ProcessProbe {
    async fn probe(&self, context: ProbeContext) -> Result<Observation> {
        let clock: SharedClock = context.clock.clone();
        let began = clock.monotonic();
        if !Path::new(PROC).join("self/stat").exists() {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "/proc is not readable; is it mounted?",
            )
            .with_operation(OPERATION));
        }
        let observation = self.look(&*clock);
        Ok(observation.with_latency(clock.monotonic().saturating_since(began)))
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::sync::Arc;

    use super::*;
    use base::clock::SystemClock;
    use base::vocabulary::Verdict;

    async fn ask(probe: &ProcessProbe) -> Observation {
        let context = ProbeContext::new(Arc::new(SystemClock::new()), Duration::from_secs(30));
        probe.probe(context).await.unwrap()
    }

    #[tokio::test]
    async fn a_process_is_found_and_its_end_is_proof() {
        let marker = format!("86399.{}", std::process::id());
        let mut child = Command::new("sleep").arg(&marker).stdin(Stdio::null()).spawn().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let pidfile = folder.path().join("sleep.pid");
        std::fs::write(&pidfile, format!("{}\n", child.id())).unwrap();
        let by_pidfile = ProcessProbe::new(ProcessConfig::pidfile(&pidfile)).unwrap();
        let by_pattern =
            ProcessProbe::new(ProcessConfig::matching(format!("^sleep {marker}$"))).unwrap();

        let first = ask(&by_pidfile).await;
        assert_eq!(first.verdict, Verdict::Pass, "{}", first.message);
        assert_eq!(ask(&by_pattern).await.instance, first.instance);
        assert!(first.instance.is_some());

        child.kill().unwrap();
        let pidfd = base::subprocess::Pidfd::open(child.id()).unwrap().unwrap();
        pidfd.ended().await.unwrap();
        let zombie = ask(&by_pidfile).await;
        assert_eq!(zombie.kind, Some(FailureKind::Exited));
        assert!(zombie.message.contains("zombie"), "{}", zombie.message);
        child.wait().unwrap();
        assert_eq!(ask(&by_pidfile).await.kind, Some(FailureKind::Exited));
        assert_eq!(ask(&by_pattern).await.kind, Some(FailureKind::Exited));
    }

    #[tokio::test]
    async fn a_number_that_went_to_another_process_is_no_life() {
        let folder = tempfile::tempdir().unwrap();
        let pidfile = folder.path().join("old.pid");
        std::fs::write(&pidfile, std::process::id().to_string()).unwrap();
        let long_ago = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        std::fs::File::options()
            .write(true)
            .open(&pidfile)
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
        let observation = ask(&ProcessProbe::new(ProcessConfig::pidfile(&pidfile)).unwrap()).await;
        assert_eq!(observation.kind, Some(FailureKind::Exited));
        assert!(observation.message.contains("another process"), "{}", observation.message);
    }

    #[tokio::test]
    async fn memory_over_its_limit_is_degraded() {
        let folder = tempfile::tempdir().unwrap();
        let pidfile = folder.path().join("me.pid");
        std::fs::write(&pidfile, std::process::id().to_string()).unwrap();
        let config = ProcessConfig { memory_above: Some(1), ..ProcessConfig::pidfile(&pidfile) };
        let observation = ask(&ProcessProbe::new(config).unwrap()).await;
        assert_eq!(
            (observation.verdict, observation.kind),
            (Verdict::Warn, Some(FailureKind::Resource))
        );
    }

    #[test]
    fn exactly_one_key_says_which() {
        assert!(ProcessProbe::new(ProcessConfig::default()).is_err());
        let both = ProcessConfig { name: Some("a".into()), ..ProcessConfig::pidfile("/x") };
        assert!(ProcessProbe::new(both).is_err());
        assert!(ProcessProbe::new(ProcessConfig::matching("(")).is_err());
        assert!(ProcessProbe::new(ProcessConfig::name("sixteen-bytes-xx")).is_err());
        let config: ProcessConfig =
            toml::from_str("name = \"redis-server\"\nmemory_above = \"1GiB\"").unwrap();
        assert_eq!(config.memory_above, Some(1 << 30));
    }
}
