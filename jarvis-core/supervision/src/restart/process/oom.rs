//! Was it the kernel that killed it because memory ran out?
//!
//! SIGKILL alone proves nothing: a person sends it too. The evidence is a counter of the kernel
//! that grew during the life: `oom_kill` of the process's own cgroup (v2, `memory.events`), or
//! where there is none, that of the whole machine (`/proc/vmstat`) within the last two
//! seconds.

use std::path::{Path, PathBuf};

/// Counts of OOM kills, as far as they can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OomWatch {
    root: PathBuf,
    cgroup: Option<PathBuf>,
    before: Option<u64>,
    latest: Option<u64>,
}

impl OomWatch {
    /// Begins to watch the cgroup that this process is in: the life itself, or us before we start
    /// one, for a small limit may kill it before we have looked.
    pub(super) fn begin(root: &Path, pid: u32) -> Self {
        let cgroup = cgroup_events(root, pid);
        let mut watch = Self { root: root.to_owned(), cgroup, before: None, latest: None };
        watch.latest = watch.read();
        watch.before = watch.latest;
        watch
    }

    /// Where only the whole machine is counted, what happened before the last tick was not ours:
    /// we would have seen the end by now. A life that moved to another cgroup is followed.
    pub(super) fn tick(&mut self, pid: u32) {
        let cgroup = cgroup_events(&self.root, pid);
        if cgroup != self.cgroup {
            *self = Self::begin(&self.root, pid);
        } else if self.cgroup.is_none() {
            self.before = self.latest;
            self.latest = self.read();
        }
    }

    /// Did the kernel kill for memory since?
    pub(super) fn has_killed(&self) -> bool {
        matches!((self.before, self.read()), (Some(before), Some(now)) if now > before)
    }

    fn read(&self) -> Option<u64> {
        let vmstat = self.root.join("proc/vmstat");
        let path = self.cgroup.as_ref().unwrap_or(&vmstat);
        counter(&std::fs::read_to_string(path).ok()?)
    }
}

fn counter(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// The events of the process's cgroup. Only version 2 (`0::/path`) counts per cgroup in a way
/// that outlives the process, and only below the root.
fn cgroup_events(root: &Path, pid: u32) -> Option<PathBuf> {
    let text = std::fs::read_to_string(root.join(format!("proc/{pid}/cgroup"))).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let events = root.join("sys/fs/cgroup").join(path).join("memory.events");
    events.is_file().then_some(events)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_cgroups_own_counter_is_the_evidence() {
        let root = tempfile::tempdir().unwrap();
        let events = "sys/fs/cgroup/jarvis.slice/memory.events";
        write(root.path(), "proc/7/cgroup", "0::/jarvis.slice\n");
        write(root.path(), "proc/vmstat", "oom_kill 3\n");
        write(root.path(), events, "low 0\nmax 9\noom 1\noom_kill 1\n");
        let mut watch = OomWatch::begin(root.path(), 7);
        write(root.path(), "proc/vmstat", "oom_kill 4\n");
        assert!(!watch.has_killed(), "it was another cgroup's");
        write(root.path(), events, "oom_kill 2\n");
        watch.tick(7);
        assert!(watch.has_killed());
    }

    #[test]
    fn without_a_cgroup_only_the_last_moments_count() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "proc/vmstat", "pgfault 1\noom_kill 3\n");
        let mut watch = OomWatch::begin(root.path(), 7);
        write(root.path(), "proc/vmstat", "oom_kill 4\n");
        watch.tick(7);
        assert!(watch.has_killed(), "the kill may be counted before the end is seen");
        watch.tick(7);
        assert!(!watch.has_killed());
    }
}
