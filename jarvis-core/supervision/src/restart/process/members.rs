//! Everything that belongs to a service: its process group, and what left the group but was
//! started from it.
//!
//! A process that puts itself into the background (two forks and a session of its own) leaves
//! the group. It keeps the environment it was started with, though, and in it the path of the
//! service's record. So both are asked: the group, and `/proc/PID/environ`. What left the group
//! *and* was started with an emptied environment is not found; only a cgroup would hold it.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rustix::process::Signal;

use base::clock::{ClockExt, Monotonic, SharedClock};
use base::subprocess::Pidfd;
use base::subprocess::procfs::{Identity, PROC, Stat, processes, started_with};
use base::vocabulary::IntentId;
use base::{Error, ErrorKind, Result, Retry};

/// Names the record of the service that a process belongs to.
pub(super) const RUN: &str = "JARVIS_RUN";
/// Names the intent that started it.
pub(super) const INTENT: &str = "JARVIS_INTENT";
/// Names the service, for the service itself.
pub(super) const SERVICE: &str = "JARVIS_SERVICE";

/// How long what was sent SIGKILL may take to be gone. Longer only in uninterruptible sleep.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// A living process that belongs to the service.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) stat: Stat,
    pidfd: Pidfd,
}

/// How the processes of one service are found.
#[derive(Debug, Clone)]
pub(super) struct Members {
    /// `JARVIS_RUN=<path of the record>`
    mark: Arc<str>,
    clock: SharedClock,
}

impl Members {
    pub(super) fn new(record: &Path, clock: SharedClock) -> Self {
        Self { mark: format!("{RUN}={}", record.display()).into(), clock }
    }

    /// Every living process of the service. Reads `/proc`: not for the runtime's threads.
    ///
    /// # Errors
    /// The descriptors ran out.
    pub(super) fn find(&self, leader: Option<&Identity>) -> io::Result<Vec<Member>> {
        let proc = Path::new(PROC);
        let group = leader.filter(|leader| self.group_is_ours(leader));
        let ourselves = std::process::id();
        let mut found = Vec::new();
        for stat in processes(proc).filter(|stat| !stat.is_zombie() && stat.pid != ourselves) {
            let in_group =
                group.is_some_and(|leader| stat.group == leader.pid && stat.start >= leader.start);
            if !in_group && !started_with(proc, stat.pid, &self.mark) {
                continue;
            }
            // The handle is taken after the look: look again, and it is for good.
            let Some(pidfd) = Pidfd::open(stat.pid)? else { continue };
            if Stat::read(proc, stat.pid).is_some_and(|now| now.start == stat.start) {
                found.push(Member { stat, pidfd });
            }
        }
        Ok(found)
    }

    /// A number is not given away while it names a group. So if it names another process now,
    /// our group is gone.
    fn group_is_ours(&self, leader: &Identity) -> bool {
        leader.boot == self.clock.boot_id()
            && Stat::read(Path::new(PROC), leader.pid).is_none_or(|now| now.start == leader.start)
    }

    /// The process that was started for the service, by this intent where one is named, and
    /// that nobody remembers: the crash was between the start and the record.
    ///
    /// # Errors
    /// The descriptors ran out.
    pub(super) fn find_lost(&self, intent: Option<&IntentId>) -> io::Result<Option<Stat>> {
        let proc = Path::new(PROC);
        let intent = intent.map(|intent| format!("{INTENT}={intent}"));
        let stats: Vec<Stat> = self.find(None)?.into_iter().map(|member| member.stat).collect();
        let pids: HashSet<u32> = stats.iter().map(|stat| stat.pid).collect();
        Ok(stats
            .into_iter()
            .filter(|stat| stat.pid == stat.group && !pids.contains(&stat.parent))
            .filter(|stat| intent.as_ref().is_none_or(|mark| started_with(proc, stat.pid, mark)))
            .min_by_key(|stat| (stat.start, stat.pid)))
    }

    async fn look(&self, leader: Option<&Identity>) -> Result<Vec<Member>> {
        let (members, leader) = (self.clone(), leader.cloned());
        tokio::task::spawn_blocking(move || members.find(leader.as_ref()))
            .await
            .map_err(|error| {
                Error::new(ErrorKind::Internal, "reading /proc was aborted").with_source(error)
            })?
            .map_err(Error::from)
    }

    /// Ends everything of the service: asks with SIGTERM, and kills what is left after
    /// `patience`. Says how many there were beside the leader, and whether any had to be killed.
    ///
    /// # Errors
    /// `Timeout` when something does not die, `Forbidden` when we may not signal it. Both are
    /// indeterminate.
    pub(super) async fn end(&self, leader: Option<&Identity>, patience: Duration) -> Result<Ended> {
        let mut ended = Ended::default();
        let mut asked = HashSet::new();
        let until = self.clock.monotonic() + patience;
        loop {
            let members = self.look(leader).await?;
            if members.is_empty() {
                return Ok(ended);
            }
            for member in &members {
                // Once each: a second SIGTERM makes many programs give up their clean end.
                if asked.insert((member.stat.pid, member.stat.start)) {
                    ended.count(member, leader);
                    signal(member, Signal::TERM)?;
                }
            }
            if !self.all_gone(&members, until).await {
                break;
            }
        }
        ended.killed = true;
        let until = self.clock.monotonic() + KILL_PATIENCE;
        loop {
            let members = self.look(leader).await?;
            if members.is_empty() {
                return Ok(ended);
            }
            for member in &members {
                signal(member, Signal::KILL)?;
            }
            if !self.all_gone(&members, until).await {
                return Err(immortal(&members));
            }
        }
    }

    /// Waits for all of them to end. `false` when the time came first.
    async fn all_gone(&self, members: &[Member], until: Monotonic) -> bool {
        let ends = join_all(members.iter().map(|member| member.pidfd.ended()));
        self.clock.until(until, ends).await.is_some()
    }
}

fn signal(member: &Member, signal: Signal) -> Result<()> {
    member.pidfd.signal(signal).map_err(|error| {
        let kind = Error::from(error).kind();
        Error::new(kind, "failed to signal a process of the service; does it run as another user?")
            .with_retry(Retry::Indeterminate)
            .with_context("pid", member.stat.pid)
            .with_context("name", &member.stat.name)
    })
}

fn immortal(members: &[Member]) -> Error {
    let alive: Vec<String> = members
        .iter()
        .filter(|member| !member.pidfd.has_ended())
        .map(|member| format!("{} ({})", member.stat.pid, member.stat.name))
        .collect();
    Error::new(
        ErrorKind::Timeout,
        "processes survive SIGKILL, which means that the kernel holds them (uninterruptible sleep); look at their disk or network mount",
    )
    .with_context("pids", alive.join(", "))
}

/// What [`Members::end`] did.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// Processes beside the leader.
    pub(super) others: usize,
    /// Those of them that had left the leader's group.
    pub(super) strayed: usize,
    /// Did SIGTERM not do?
    pub(super) killed: bool,
}

impl Ended {
    fn count(&mut self, member: &Member, leader: Option<&Identity>) {
        if leader.is_some_and(|leader| leader.pid == member.stat.pid) {
            return;
        }
        self.others += 1;
        if leader.is_none_or(|leader| leader.pid != member.stat.group) {
            self.strayed += 1;
        }
    }
}
