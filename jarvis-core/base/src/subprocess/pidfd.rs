//! [`Pidfd`]: a handle on one process that no reuse of its number can confuse.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

#[cfg(feature = "process")]
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
#[cfg(feature = "process")]
use rustix::process::{Signal, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A process, by descriptor.
#[derive(Debug)]
pub struct Pidfd(OwnedFd);

impl Pidfd {
    /// A handle on the process that has this number now. `None` when there is none.
    ///
    /// # Errors
    /// The descriptors ran out, or the kernel is older than 5.3.
    pub fn open(pid: u32) -> io::Result<Option<Self>> {
        let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => Ok(Some(Self(fd))),
            Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Has it ended? A zombie has.
    #[cfg(feature = "process")]
    pub fn has_ended(&self) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        loop {
            match poll(&mut fds, Some(&now)) {
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return false,
                Ok(_) => return fds[0].revents().contains(PollFlags::IN),
            }
        }
    }

    /// Completes once it has ended.
    ///
    /// # Errors
    /// The descriptor can't be watched.
    pub async fn ended(&self) -> io::Result<()> {
        #[expect(
            deprecated,
            reason = "only wrong for a type whose descriptor changes; a borrowed one stays open as long as it is borrowed"
        )]
        let watched = AsyncFd::with_interest(self.0.as_fd(), Interest::READABLE)?;
        watched.readable().await?.retain_ready();
        Ok(())
    }

    /// Sends a signal. What has ended is no error.
    ///
    /// # Errors
    /// We may not signal it.
    #[cfg(feature = "process")]
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.0, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
