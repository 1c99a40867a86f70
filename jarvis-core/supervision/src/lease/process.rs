//! Identity of the process that holds a lease in a file, to prove later that it has ended.
//!
//! The proof requires the same boot of the same machine and the same process namespace: a process
//! id that does not exist here may exist elsewhere, such as in another container that uses the same
//! file. A lease whose holder can't be proved to have ended stays until it expires.

use std::fmt;
use std::fs;
use std::str::FromStr;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use base::clock::{BootId, Clock};

/// A process, told from every other one that ever has its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    boot: BootId,
    /// The inode of the process namespace that the number belongs to.
    namespace: String,
    number: i32,
    /// In clock ticks since boot.
    start: u64,
}

impl Process {
    /// This process; `None` where `/proc` does not tell, or tells of another namespace.
    pub(super) fn own(clock: &dyn Clock) -> Option<Self> {
        let number = i32::try_from(std::process::id()).ok()?;
        let (told, start) = stat("self")?;
        let namespace = namespace()?;
        (told == number).then(|| Self { boot: clock.boot_id(), namespace, number, start })
    }

    /// Has it ended for certain? A process that is stopped, or that we may not look at, has not.
    pub(super) fn is_gone(&self, clock: &dyn Clock) -> bool {
        if self.boot != clock.boot_id() || namespace().as_ref() != Some(&self.namespace) {
            return false;
        }
        let Some(pid) = Pid::from_raw(self.number) else { return false };
        match test_kill_process(pid) {
            Err(Errno::SRCH) => true,
            // Its number may be another's by now.
            _ => stat(&self.number.to_string()).is_some_and(|(_, start)| start != self.start),
        }
    }
}

/// Which process namespace we, and the numbers that we know, are in.
fn namespace() -> Option<String> {
    let link = fs::read_link("/proc/self/ns/pid").ok()?;
    let inode = link.to_str()?.strip_prefix("pid:[")?.strip_suffix(']')?.to_owned();
    // With another namespace's /proc, a number found there is not the one that we signal.
    let own = std::process::id().to_string();
    (fs::read_link("/proc/self").ok()?.to_str()? == own).then_some(inode)
}

/// The number and the start of a process. Its name, which may hold blanks and brackets, ends with
/// the last bracket; the start is field 22 (proc(5)).
fn stat(process: &str) -> Option<(i32, u64)> {
    let text = fs::read(format!("/proc/{process}/stat")).ok()?;
    let text = String::from_utf8_lossy(&text);
    let (number, rest) = text.split_once(" (")?;
    let (_, fields) = rest.rsplit_once(") ")?;
    Some((number.parse().ok()?, fields.split_ascii_whitespace().nth(19)?.parse().ok()?))
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { boot, namespace, number, start } = self;
        write!(f, "{number} {start} {namespace} {}", boot.as_str())
    }
}

impl FromStr for Process {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(4, ' ');
        let mut next = || parts.next().ok_or(());
        Ok(Self {
            number: next()?.parse().map_err(drop)?,
            start: next()?.parse().map_err(drop)?,
            namespace: next()?.to_owned(),
            boot: BootId::new(next()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::clock::SystemClock;

    #[test]
    fn only_what_is_gone_for_certain_is_gone() {
        let clock = SystemClock::new();
        let own = Process::own(&clock).unwrap();
        assert_eq!(own.to_string().parse::<Process>(), Ok(own.clone()));
        assert!(!own.is_gone(&clock));
        let reused = Process { start: own.start + 1, ..own.clone() };
        assert!(reused.is_gone(&clock), "the number is another's by now");

        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let number = i32::try_from(child.id()).unwrap();
        let (_, start) = stat(&number.to_string()).unwrap();
        let other = Process { number, start, ..own };
        assert!(!other.is_gone(&clock));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(other.is_gone(&clock));

        let elsewhere = Process { namespace: "1".to_owned(), ..other.clone() };
        assert!(!elsewhere.is_gone(&clock), "the number means nothing here");
        let before = Process { boot: BootId::new("another"), ..other };
        assert!(!before.is_gone(&clock), "perhaps another machine");
    }

    #[test]
    fn what_is_no_process_is_none() {
        for text in ["", "1", "1 2 3", "x 2 3 4", "1 x 3 4"] {
            assert_eq!(text.parse::<Process>(), Err(()), "{text:?}");
        }
    }
}
