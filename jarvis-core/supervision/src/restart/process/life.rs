//! One life of an owned process, from its start or adoption to its end.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::Arc;

use super::oom::OomWatch;
use crate::restart::Exit;
use base::subprocess::Pidfd;
use base::subprocess::procfs::Identity;

/// A life that we hold a handle on.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) identity: Identity,
    pub(super) pidfd: Arc<Pidfd>,
    /// Present when we are its parent. Then we reap it, and learn how it ended.
    child: Option<Child>,
    pub(super) oom: OomWatch,
    /// Did we send it signals?
    pub(super) asked_to_end: bool,
    pub(super) exit: Option<Exit>,
}

impl Life {
    pub(super) fn new(
        identity: Identity,
        pidfd: Pidfd,
        child: Option<Child>,
        oom: OomWatch,
    ) -> Self {
        Self { identity, pidfd: Arc::new(pidfd), child, oom, asked_to_end: false, exit: None }
    }

    /// Looks whether it has ended, and reaps it. Gives the exit the first time that it has.
    pub(super) fn settle(&mut self) -> Option<Exit> {
        if self.exit.is_some() || !self.pidfd.has_ended() {
            return None;
        }
        let status = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
        let exit = status.map_or(Exit::Unknown, |status| self.judge(status));
        self.child = None;
        self.exit = Some(exit);
        self.exit
    }

    fn judge(&self, status: ExitStatus) -> Exit {
        // A container's init passes a killed child on as 137.
        let killed = status.signal() == Some(libc::SIGKILL) || status.code() == Some(137);
        if killed && !self.asked_to_end && self.oom.has_killed() {
            return Exit::OutOfMemory;
        }
        match (status.code(), status.signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Unknown,
        }
    }
}
