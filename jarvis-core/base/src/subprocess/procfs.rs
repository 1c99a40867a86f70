//! What `/proc` says about a process: who it is, its group, its environment.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{BootId, Clock, WallTime};
use crate::vocabulary::InstanceId;

/// The root of the process file system.
pub const PROC: &str = "/proc";

/// The most that is read of an environment or a command line.
const MAX_READ: u64 = 2 << 20;

/// The part of `/proc/PID/stat` that tells processes apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// The process.
    pub pid: u32,
    /// The name of its program, at most 15 bytes.
    pub name: String,
    /// The state letter: `R`, `S`, `D`, `Z`, `T`, …
    pub state: char,
    /// Its parent process.
    pub parent: u32,
    /// Its process group.
    pub group: u32,
    /// User and system time, in clock ticks.
    pub cpu_ticks: u64,
    /// In clock ticks since boot.
    pub start: u64,
    /// Pages of memory that it holds.
    pub resident_pages: u64,
}

impl Stat {
    /// Reads it. `None` when there is no such process (any more).
    pub fn read(proc: &Path, pid: u32) -> Option<Self> {
        let text = std::fs::read(proc.join(pid.to_string()).join("stat")).ok()?;
        Self::parse(&String::from_utf8_lossy(&text))
    }

    /// The name is in brackets and may hold brackets and blanks itself: the last one ends it.
    fn parse(text: &str) -> Option<Self> {
        let (pid, rest) = text.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |field: usize| fields.get(field)?.parse::<u64>().ok();
        Some(Self {
            pid: pid.parse().ok()?,
            name: name.to_owned(),
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            cpu_ticks: number(11)?.saturating_add(number(12)?),
            start: number(19)?,
            resident_pages: number(21)?,
        })
    }

    /// Has it ended, and only waits for its parent to look?
    pub fn is_zombie(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

/// Every process there is.
pub fn processes(proc: &Path) -> impl Iterator<Item = Stat> + use<'_> {
    std::fs::read_dir(proc)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|pid| Stat::read(proc, pid))
}

fn read_bounded(path: PathBuf) -> Option<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(MAX_READ).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Was this variable, as `NAME=value`, in the environment that the process started with?
pub fn started_with(proc: &Path, pid: u32, variable: &str) -> bool {
    read_bounded(proc.join(pid.to_string()).join("environ")).is_some_and(|environment| {
        environment.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes())
    })
}

/// Its command line, the arguments separated by blanks.
pub fn command_line(proc: &Path, pid: u32) -> String {
    let bytes = read_bounded(proc.join(pid.to_string()).join("cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim_end_matches('\0').replace('\0', " ")
}

/// Clock ticks a second, the unit of the kernel's times.
pub fn ticks_per_second() -> u64 {
    rustix::param::clock_ticks_per_second().max(1)
}

/// One process for good: its number, its start, and the boot that the start counts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The process.
    pub pid: u32,
    /// In clock ticks since boot.
    pub start: u64,
    /// The boot in which it was started.
    pub boot: BootId,
}

impl Identity {
    /// The identity of the process that has this number now.
    pub fn of(stat: &Stat, clock: &dyn Clock) -> Self {
        Self { pid: stat.pid, start: stat.start, boot: clock.boot_id() }
    }

    /// Is this the same process, in this boot?
    pub fn matches(&self, stat: &Stat, clock: &dyn Clock) -> bool {
        stat.pid == self.pid && stat.start == self.start && clock.boot_id() == self.boot
    }

    /// The name of this life.
    pub fn instance(&self) -> Option<InstanceId> {
        InstanceId::new(self.to_string()).ok()
    }

    /// When it began, from its start and the time since boot.
    pub fn started_at(&self, clock: &dyn Clock) -> WallTime {
        let millis = u128::from(self.start) * 1_000 / u128::from(ticks_per_second());
        let since_boot = Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
        clock.wall() - clock.boottime().saturating_sub(since_boot)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} started {} boot {}", self.pid, self.start, self.boot.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn a_name_with_brackets_and_blanks_is_read() {
        let text = "42 (a ) (b) S 1 40 40 0 -1 4194560 1 2 3 4 50 7 9 9 20 0 1 0 98765 1000 321 18446744073709551615";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.pid, stat.name.as_str(), stat.state), (42, "a ) (b", 'S'));
        assert_eq!((stat.parent, stat.group, stat.start), (1, 40, 98_765));
        assert_eq!((stat.cpu_ticks, stat.resident_pages), (57, 321));
        assert!(Stat::parse("42 (a) S 1").is_none() && Stat::parse("").is_none());
    }

    #[test]
    fn we_find_ourselves_and_know_when_we_began() {
        let clock = SystemClock::new();
        let me = Stat::read(Path::new(PROC), std::process::id()).unwrap();
        assert!(processes(Path::new(PROC)).any(|stat| stat.pid == me.pid));
        let identity = Identity::of(&me, &clock);
        assert!(identity.matches(&me, &clock));
        let reused = Stat { start: me.start + 1, ..me };
        assert!(!identity.matches(&reused, &clock));
        let age = clock.wall().saturating_since(identity.started_at(&clock));
        assert!(age < Duration::from_secs(3_600), "{age:?}");
        assert!(!command_line(Path::new(PROC), identity.pid).is_empty());
    }
}
