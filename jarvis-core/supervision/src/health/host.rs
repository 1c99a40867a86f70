//! [`HostProbe`]: does the machine, or the container that we are in, have room left?

mod config;
mod levels;
mod read;

use std::path::{Path, PathBuf};

use async_trait::async_trait;

pub use self::config::{DiskConfig, HostConfig, LevelsConfig};
use self::levels::{Level, Levels};
use self::read::{CpuTimes, Reader};
use super::{HealthProbe, Observation, ProbeContext};
use base::Result;
use base::sync::Mutex;
use base::vocabulary::FailureKind;

/// What is measured, by a name that goes into messages and facts.
#[derive(Debug)]
enum What {
    Disk(PathBuf),
    Inodes(PathBuf),
    Memory,
    Cpu,
    Descriptors,
}

impl What {
    fn fact(&self) -> String {
        match self {
            Self::Disk(path) => format!("disk_percent:{}", path.display()),
            Self::Inodes(path) => format!("inodes_percent:{}", path.display()),
            Self::Memory => "memory_percent".to_owned(),
            Self::Cpu => "cpu_percent".to_owned(),
            Self::Descriptors => "descriptors_percent".to_owned(),
        }
    }

    fn full(&self, percent: f64, of: &str) -> String {
        match self {
            Self::Disk(path) => format!("disk {} is {percent:.1}% full", path.display()),
            Self::Inodes(path) => {
                format!("disk {} has {percent:.1}% of its inodes in use", path.display())
            }
            Self::Memory => format!("memory is {percent:.1}% used ({of})"),
            Self::Cpu => format!("CPU is {percent:.1}% busy ({of})"),
            Self::Descriptors => format!("descriptors are {percent:.1}% used ({of})"),
        }
    }
}

#[derive(Debug)]
struct Gauge {
    what: What,
    levels: Levels,
}

/// What the probe remembers: where each gauge stood, for the hysteresis, and the CPU's times.
#[derive(Debug, Default)]
struct Memory {
    levels: Vec<Level>,
    cpu: Option<CpuTimes>,
}

/// Measures disk, memory, CPU and descriptors of the machine, or of the cgroup (version 2) that
/// we are in where that has the tighter limit.
///
/// Over its limit is `warn` or `fail` of kind `resource`, which never leads to a restart. The CPU
/// is measured over the time between two probes; the first one has none to tell.
#[derive(Debug)]
pub struct HostProbe {
    gauges: Vec<Gauge>,
    root: PathBuf,
    memory: Mutex<Memory>,
}

impl HostProbe {
    /// A probe of this machine.
    ///
    /// # Errors
    /// `ConfigInvalid` when the levels of a gauge are not `clear < degraded <= down`.
    pub fn new(config: HostConfig) -> Result<Self> {
        Self::with_root(config, Path::new("/"))
    }

    /// As [`new`](Self::new), with `/proc` and `/sys` read below another root. Disks are those
    /// of this machine all the same.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_root(config: HostConfig, root: &Path) -> Result<Self> {
        let mut gauges = Vec::new();
        let config = config.or_defaults();
        for disk in config.disk {
            let levels = Levels::new(&disk.levels())?;
            gauges.push(Gauge { what: What::Disk(disk.path.to_path_buf()), levels });
            gauges.push(Gauge { what: What::Inodes(disk.path.into_path_buf()), levels });
        }
        let others = [
            (What::Memory, config.memory),
            (What::Cpu, config.cpu),
            (What::Descriptors, config.descriptors),
        ];
        for (what, levels) in others {
            if let Some(levels) = levels {
                gauges.push(Gauge { what, levels: Levels::new(&levels)? });
            }
        }
        let memory = Memory { levels: vec![Level::Clear; gauges.len()], cpu: None };
        Ok(Self { gauges, root: root.to_owned(), memory: Mutex::new(memory) })
    }

    fn measure(&self) -> Result<Observation> {
        let reader = Reader::new(&self.root);
        let mut memory = self.memory.lock();
        let memory = &mut *memory;
        let mut facts = Vec::new();
        let mut findings: Vec<(Level, String)> = Vec::new();
        for (gauge, level) in self.gauges.iter().zip(&mut memory.levels) {
            let read = match &gauge.what {
                What::Disk(path) => Some((read::disk(path)?.0, String::new())),
                What::Inodes(path) => read::disk(path)?.1.map(|percent| (percent, String::new())),
                What::Memory => Some(reader.memory()?),
                What::Cpu => {
                    let now = reader.cpu()?;
                    let used = memory.cpu.as_ref().and_then(|before| now.since(before));
                    memory.cpu = Some(now);
                    used
                }
                What::Descriptors => Some(reader.descriptors()?),
            };
            let Some((percent, of)) = read else { continue };
            *level = gauge.levels.step(*level, percent);
            facts.push((gauge.what.fact(), (percent * 10.0).round() / 10.0));
            if *level != Level::Clear {
                findings.push((*level, gauge.what.full(percent, &of)));
            }
        }
        Ok(judge(findings, facts))
    }
}

fn judge(findings: Vec<(Level, String)>, facts: Vec<(String, f64)>) -> Observation {
    let worst = findings.iter().map(|(level, _)| *level).max().unwrap_or(Level::Clear);
    let message: Vec<String> = findings.into_iter().map(|(_, message)| message).collect();
    let message = message.join("; ");
    let observation = match worst {
        Level::Clear => Observation::pass("there is room"),
        Level::Degraded => Observation::warn(FailureKind::Resource, message),
        Level::Down => Observation::fail(FailureKind::Resource, message),
    };
    facts
        .into_iter()
        .fold(observation, |observation, (name, value)| observation.with_fact(name, value))
}

#[async_trait]
impl HealthProbe for HostProbe {
    async fn probe(&self, context: ProbeContext) -> Result<Observation> {
        let began = context.clock.monotonic();
        let observation = self.measure().map_err(|error| error.with_operation("health.host"))?;
        Ok(observation.with_latency(context.clock.monotonic().saturating_since(began)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use base::clock::SystemClock;
    use base::vocabulary::Verdict;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    async fn ask(probe: &HostProbe) -> Observation {
        let context = ProbeContext::new(Arc::new(SystemClock::new()), Duration::from_secs(30));
        probe.probe(context).await.unwrap()
    }

    fn levels(degraded: f64, down: f64, clear: f64) -> Option<LevelsConfig> {
        Some(LevelsConfig::new(degraded, down, clear))
    }

    #[tokio::test]
    async fn this_machine_is_measured() {
        let config =
            HostConfig { cpu: levels(99.0, 100.0, 98.0), ..HostConfig::default().or_defaults() };
        let probe = HostProbe::new(config).unwrap();
        ask(&probe).await;
        let observation = ask(&probe).await;
        let has = |name: &str| observation.facts.iter().any(|(fact, _)| fact.starts_with(name));
        for name in ["disk_percent:/", "memory_percent", "descriptors_percent"] {
            assert!(has(name), "{name}: {:?}", observation.facts);
        }
    }

    #[tokio::test]
    async fn memory_goes_through_its_levels_with_hysteresis() {
        let root = tempfile::tempdir().unwrap();
        let config = HostConfig { memory: levels(80.0, 95.0, 75.0), ..HostConfig::default() };
        let probe = HostProbe::with_root(config, root.path()).unwrap();
        for (used, verdict) in [
            (50, Verdict::Pass),
            (80, Verdict::Warn),
            (76, Verdict::Warn),
            (74, Verdict::Pass),
            (96, Verdict::Fail),
            (91, Verdict::Fail),
            (89, Verdict::Warn),
            (70, Verdict::Pass),
        ] {
            let text = format!(
                "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: {} kB\n",
                1_000 - used * 10
            );
            write(root.path(), "proc/meminfo", &text);
            let observation = ask(&probe).await;
            assert_eq!(observation.verdict, verdict, "{used}%: {}", observation.message);
            assert!(observation.kind.is_none_or(|kind| kind == FailureKind::Resource));
        }
    }

    #[tokio::test]
    async fn the_tighter_limit_of_the_cgroup_or_its_parents_counts() {
        let root = tempfile::tempdir().unwrap();
        let config = HostConfig { memory: levels(80.0, 95.0, 75.0), ..HostConfig::default() };
        let probe = HostProbe::with_root(config, root.path()).unwrap();
        write(root.path(), "proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 900 kB\n");
        write(root.path(), "proc/self/cgroup", "0::/outer/inner\n");
        let group = "sys/fs/cgroup/outer";
        write(root.path(), &format!("{group}/memory.max"), "1000\n");
        write(root.path(), &format!("{group}/memory.current"), "990\n");
        write(root.path(), &format!("{group}/memory.stat"), "anon 1\ninactive_file 140\n");
        write(root.path(), &format!("{group}/inner/memory.max"), "max\n");
        write(root.path(), &format!("{group}/inner/memory.current"), "990\n");
        let observation = ask(&probe).await;
        assert_eq!(observation.verdict, Verdict::Warn);
        assert!(observation.message.contains("85.0%"), "{}", observation.message);
        assert!(observation.message.contains("cgroup"), "{}", observation.message);
    }

    #[tokio::test]
    async fn cpu_is_measured_between_two_probes_against_the_quota() {
        let root = tempfile::tempdir().unwrap();
        let config = HostConfig { cpu: levels(80.0, 95.0, 70.0), ..HostConfig::default() };
        let probe = HostProbe::with_root(config, root.path()).unwrap();
        let times = |busy: u64, idle: u64, usage: u64| {
            write(
                root.path(),
                "proc/stat",
                &format!("cpu {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 0 0 1\ncpu1 1 0 0 1\n"),
            );
            write(root.path(), "proc/self/cgroup", "0::/box\n");
            write(root.path(), "sys/fs/cgroup/box/cpu.max", "50000 100000\n");
            write(root.path(), "sys/fs/cgroup/box/cpu.stat", &format!("usage_usec {usage}\n"));
        };
        times(100, 100, 0);
        assert_eq!(ask(&probe).await.message, "there is room");
        // Two cores for one second: 200 ticks, 50 busy. The box may use half a core, and does
        // nearly all of that.
        times(150, 250, 450_000);
        let observation = ask(&probe).await;
        assert_eq!(observation.verdict, Verdict::Warn);
        assert!(observation.message.contains("90.0%"), "{}", observation.message);
        times(160, 440, 460_000);
        assert_eq!(ask(&probe).await.verdict, Verdict::Pass);
    }

    #[tokio::test]
    async fn a_full_table_of_descriptors_is_down() {
        let root = tempfile::tempdir().unwrap();
        let config = HostConfig { descriptors: levels(80.0, 95.0, 75.0), ..HostConfig::default() };
        let probe = HostProbe::with_root(config, root.path()).unwrap();
        write(root.path(), "proc/sys/fs/file-nr", "980 0 1000\n");
        std::fs::create_dir_all(root.path().join("proc/self/fd")).unwrap();
        assert_eq!(ask(&probe).await.verdict, Verdict::Fail);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_an_error_and_not_a_verdict() {
        let root = tempfile::tempdir().unwrap();
        let config = HostConfig { memory: levels(80.0, 95.0, 75.0), ..HostConfig::default() };
        let probe = HostProbe::with_root(config, root.path()).unwrap();
        let context = ProbeContext::new(Arc::new(SystemClock::new()), Duration::from_secs(30));
        assert!(probe.probe(context.clone()).await.is_err());
        let gone = DiskConfig::new("/no/such/folder");
        let probe =
            HostProbe::new(HostConfig { disk: vec![gone], ..HostConfig::default() }).unwrap();
        assert!(probe.probe(context).await.is_err());
    }
}
