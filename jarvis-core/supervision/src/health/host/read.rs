//! The kernel's numbers, from `/proc`, `/sys/fs/cgroup` (version 2) and `statvfs`.

use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

use base::{Error, ErrorKind, Result};

/// Used percent, and of what.
type Used = (f64, String);

/// Reads below a root.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    root: &'a Path,
}

#[expect(clippy::cast_precision_loss, reason = "percentages of what is far below 2^53")]
fn percent(used: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { used as f64 / of as f64 * 100.0 }
}

/// The value after a key, as `/proc/meminfo` and the cgroups' files have it.
fn value(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, rest) = line.split_once([' ', ':'])?;
        (name == key).then(|| rest.split_ascii_whitespace().next()?.parse().ok())?
    })
}

/// Room and inodes in use of the disk that the path is on, as `df` tells it: what is reserved
/// for root counts as used. A file system without a table of inodes has no second number.
pub(super) fn disk(path: &Path) -> Result<(f64, Option<f64>)> {
    let stat = rustix::fs::statvfs(path).map_err(|error| {
        Error::from(std::io::Error::from(error)).with_context("path", path.display())
    })?;
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    let inodes = (stat.f_files > 0)
        .then(|| percent(stat.f_files.saturating_sub(stat.f_ffree), stat.f_files));
    Ok((percent(used, used.saturating_add(stat.f_bavail)), inodes))
}

impl<'a> Reader<'a> {
    pub(super) fn new(root: &'a Path) -> Self {
        Self { root }
    }

    fn read(&self, path: &str) -> Result<String> {
        let path = self.root.join(path);
        std::fs::read_to_string(&path)
            .map_err(|error| Error::from(error).with_context("path", path.display()))
    }

    /// Our cgroup and those above it, the innermost first. None where version 2 is not mounted.
    fn cgroups(&self) -> Vec<PathBuf> {
        let top = self.root.join("sys/fs/cgroup");
        let text = self.read("proc/self/cgroup").unwrap_or_default();
        let Some(path) = text.lines().find_map(|line| line.strip_prefix("0::/")) else {
            return Vec::new();
        };
        let innermost = top.join(path);
        innermost
            .ancestors()
            .take_while(|path| path.starts_with(&top))
            .map(Path::to_owned)
            .collect()
    }

    /// The fullest of the machine and of each cgroup with a limit. What the kernel would drop
    /// first (page cache, inactive file pages) does not count as used.
    pub(super) fn memory(&self) -> Result<Used> {
        let text = self.read("proc/meminfo")?;
        let (total, available) = value(&text, "MemTotal")
            .zip(value(&text, "MemAvailable"))
            .ok_or_else(|| unreadable("proc/meminfo"))?;
        let machine = (percent(total.saturating_sub(available), total), "machine".to_owned());
        let groups = self.cgroups();
        Ok(groups.iter().filter_map(|group| cgroup_memory(group)).fold(machine, fuller))
    }

    pub(super) fn cpu(&self) -> Result<CpuTimes> {
        let text = self.read("proc/stat")?;
        let total = text.lines().find_map(|line| line.strip_prefix("cpu "));
        let ticks: Vec<u64> = total
            .unwrap_or("")
            .split_ascii_whitespace()
            .filter_map(|tick| tick.parse().ok())
            .collect();
        let [user, nice, system, idle, iowait, irq, softirq, steal, ..] = ticks[..] else {
            return Err(unreadable("proc/stat"));
        };
        let idle = idle.saturating_add(iowait);
        let busy = [user, nice, system, irq, softirq, steal].iter().sum();
        let is_core = |line: &&str| line.starts_with("cpu") && !line.starts_with("cpu ");
        let cores = text.lines().filter(is_core).count().max(1) as u64;
        let quotas = self.cgroups().iter().filter_map(|group| cgroup_cpu(group)).collect();
        Ok(CpuTimes { busy, idle, cores, quotas })
    }

    /// The fuller of the machine's table and our own.
    pub(super) fn descriptors(&self) -> Result<Used> {
        let text = self.read("proc/sys/fs/file-nr")?;
        let numbers: Vec<u64> =
            text.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect();
        let [allocated, free, most] = numbers[..] else {
            return Err(unreadable("proc/sys/fs/file-nr"));
        };
        let machine = (percent(allocated.saturating_sub(free), most), "machine".to_owned());
        let own = std::fs::read_dir(self.root.join("proc/self/fd")).map(Iterator::count)?;
        let Some(limit) = getrlimit(Resource::Nofile).current else { return Ok(machine) };
        Ok(fuller(machine, (percent(own as u64, limit), "JARVIS itself".to_owned())))
    }
}

fn unreadable(path: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("/{path} does not say what is expected of it"))
}

fn fuller(one: Used, other: Used) -> Used {
    if other.0 > one.0 { other } else { one }
}

fn cgroup_memory(group: &Path) -> Option<Used> {
    let read = |file: &str| std::fs::read_to_string(group.join(file)).ok();
    let limit: u64 = read("memory.max")?.trim().parse().ok()?;
    let current: u64 = read("memory.current")?.trim().parse().ok()?;
    let cache = read("memory.stat").and_then(|text| value(&text, "inactive_file")).unwrap_or(0);
    Some((percent(current.saturating_sub(cache), limit), format!("cgroup {}", group.display())))
}

/// What a cgroup may use and has used.
#[derive(Debug)]
struct Quota {
    group: PathBuf,
    /// Of one core, in thousandths.
    millicores: u64,
    used_usec: u64,
}

fn cgroup_cpu(group: &Path) -> Option<Quota> {
    let read = |file: &str| std::fs::read_to_string(group.join(file)).ok();
    let limit = read("cpu.max")?;
    let (quota, period) = limit.trim().split_once(' ')?;
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    let used_usec = value(&read("cpu.stat")?, "usage_usec")?;
    let millicores = quota.checked_mul(1_000)?.checked_div(period)?;
    Some(Quota { group: group.to_owned(), millicores, used_usec })
}

/// The CPU's times at one moment.
#[derive(Debug)]
pub(super) struct CpuTimes {
    busy: u64,
    idle: u64,
    cores: u64,
    quotas: Vec<Quota>,
}

impl CpuTimes {
    /// The busiest of the machine and of each quota since then. None when no time has passed.
    ///
    /// The time that passed is what the machine's own counters say, so that both are of one clock.
    pub(super) fn since(&self, before: &Self) -> Option<Used> {
        let busy = self.busy.saturating_sub(before.busy);
        let all = busy.saturating_add(self.idle.saturating_sub(before.idle));
        if all == 0 {
            return None;
        }
        let machine = (percent(busy, all), "machine".to_owned());
        let elapsed_usec = all.saturating_mul(USEC_PER_TICK) / self.cores;
        Some(
            self.quotas
                .iter()
                .filter_map(|quota| quota.since(before, elapsed_usec))
                .fold(machine, fuller),
        )
    }
}

/// `/proc/stat` counts in hundredths of a second, on every Linux there is.
const USEC_PER_TICK: u64 = 10_000;

impl Quota {
    fn since(&self, before: &CpuTimes, elapsed_usec: u64) -> Option<Used> {
        let before = before.quotas.iter().find(|quota| quota.group == self.group)?;
        let used = self.used_usec.saturating_sub(before.used_usec);
        let allowed = elapsed_usec.saturating_mul(self.millicores) / 1_000;
        Some((percent(used, allowed), format!("cgroup {}", self.group.display())))
    }
}
