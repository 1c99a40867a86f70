//! [`run`]: one program to its end, or to its deadline.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use futures_util::future::{join, select};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::net::unix::pipe::Receiver;

use super::{Pidfd, Program};
use crate::clock::{Clock, ClockExt, Monotonic};
use crate::{Error, ErrorKind, Result};

/// How much is kept of the start of the output, and of its end.
pub(super) const KEEP: usize = 4_096;

/// How much is read at once.
const CHUNK: usize = 65_536;

/// The most that is read after the program has ended, should others still write.
const AFTER_THE_END: usize = 1 << 20;

/// How long a killed program may take to be gone before somebody else waits for it.
const KILL_GRACE: Duration = Duration::from_secs(1);

/// What becomes of processes that the program started and did not wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftovers {
    /// They are killed with the group, as a probe leaves nothing behind.
    Kill,
    /// They stay, as a start command leaves its daemon behind. What they write to the program's
    /// output goes on being read, and is thrown away.
    Keep,
}

/// How a program ended, and what it wrote.
#[derive(Debug)]
pub struct Finished {
    /// Absent when the deadline came first and the group was killed.
    pub status: Option<ExitStatus>,
    stdout: Capture,
    stderr: Capture,
}

impl Finished {
    /// Did it end with code 0?
    pub fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// Its exit code, where it ended by itself.
    pub fn code(&self) -> Option<i32> {
        self.status.and_then(|status| status.code())
    }

    /// How it ended, for a person.
    pub fn ending(&self) -> String {
        match self.status {
            None => "killed at its deadline".to_owned(),
            Some(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("exit code {code}"),
                (None, Some(signal)) => format!("signal {signal}"),
                (None, None) => "ended".to_owned(),
            },
        }
    }

    /// The first bytes of its standard output, as text.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout.head).into_owned()
    }

    /// The first line that is not blank: of its standard output, else of its standard error.
    pub fn first_line(&self) -> Option<String> {
        [&self.stdout, &self.stderr].into_iter().find_map(|capture| {
            let text = String::from_utf8_lossy(&capture.head);
            text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
        })
    }

    /// The last line that is not blank: of its standard error, else of its standard output.
    pub fn last_line(&self) -> Option<String> {
        [&self.stderr, &self.stdout].into_iter().find_map(|capture| {
            let text = capture.tail();
            text.lines().map(str::trim).rfind(|line| !line.is_empty()).map(str::to_owned)
        })
    }

    /// The last lines of its standard output, oldest first, of at most that many bytes.
    pub fn last_lines(&self, bytes: usize) -> Vec<String> {
        let text = self.stdout.tail();
        let whole = self.stdout.total <= KEEP as u64;
        bounded_lines(&text, whole, usize::MAX, bytes)
    }

    /// How many bytes it wrote.
    pub fn written(&self) -> u64 {
        self.stdout.total + self.stderr.total
    }
}

/// The last lines of a text, oldest first, that have room in so many bytes. Without its start
/// the first line is only a part, and is left out.
pub fn bounded_lines(text: &str, whole: bool, lines: usize, bytes: usize) -> Vec<String> {
    let text = if whole { text } else { text.split_once('\n').map_or("", |(_, rest)| rest) };
    let mut room = bytes;
    let last = text.lines().rev().take(lines).map_while(|line| {
        room = room.checked_sub(line.len())?;
        Some(line.to_owned())
    });
    let mut last: Vec<String> = last.collect();
    last.reverse();
    last
}

/// The start and the end of an output, whatever its length.
#[derive(Debug, Default)]
struct Capture {
    head: Vec<u8>,
    tail: Vec<u8>,
    total: u64,
}

impl Capture {
    fn take(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let head = bytes.len().min(KEEP - self.head.len());
        self.head.extend_from_slice(&bytes[..head]);
        let tail = &bytes[bytes.len().saturating_sub(KEEP)..];
        let excess = (self.tail.len() + tail.len()).saturating_sub(KEEP);
        self.tail.drain(..excess);
        self.tail.extend_from_slice(tail);
    }

    fn tail(&self) -> String {
        String::from_utf8_lossy(&self.tail).into_owned()
    }

    /// Reads until nobody writes any more.
    async fn fill(&mut self, pipe: &Receiver, buffer: &mut [u8]) {
        loop {
            match pipe.try_read(buffer) {
                Ok(0) => return,
                Ok(count) => {
                    self.take(&buffer[..count]);
                    tokio::task::coop::consume_budget().await;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if pipe.readable().await.is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// Reads what is there already.
    fn finish(&mut self, pipe: &Receiver, buffer: &mut [u8]) {
        let mut room = AFTER_THE_END;
        while let Ok(count) = pipe.try_read(buffer) {
            self.take(&buffer[..count]);
            room = room.saturating_sub(count);
            if count == 0 || room == 0 {
                return;
            }
        }
    }
}

/// The leader of a group. Dropped before it was reaped, the whole group is killed.
struct Group(Option<Child>);

impl Group {
    fn kill(&self) {
        let leader = self.0.as_ref().and_then(|child| i32::try_from(child.id()).ok());
        if let Some(group) = leader.and_then(Pid::from_raw) {
            // The leader is not reaped, so that the number still names this group.
            let _gone = kill_process_group(group, Signal::KILL);
        }
    }

    /// Reaps the leader, which has ended.
    fn reap(&mut self) -> Option<ExitStatus> {
        let status = self.0.as_mut().and_then(|child| child.try_wait().ok().flatten());
        if status.is_some() {
            self.0 = None;
        }
        status
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        if self.reap().is_none()
            && let Some(mut child) = self.0.take()
        {
            // Killed, and gone in a moment: somebody has to wait for it, but not the caller.
            let _thread = std::thread::Builder::new()
                .name("jarvis-reap".to_owned())
                .stack_size(64 * 1_024)
                .spawn(move || child.wait());
        }
    }
}

/// Runs a program until it ends or the deadline comes, whichever is first.
///
/// At the deadline, and when the call is dropped, the whole process group is killed. Of the
/// output the first and the last 4 KiB of each stream are kept, and the rest is read and
/// forgotten, so that a program that writes a lot neither blocks nor fills our memory.
///
/// # Errors
/// It could not be started: [`Program::spawn_error`].
pub async fn run(
    program: &Program,
    clock: &dyn Clock,
    deadline: Monotonic,
    leftovers: Leftovers,
) -> Result<Finished> {
    let mut command = program.command();
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(input) = &program.input {
        command.stdin(memory_file(input)?);
    }
    let mut child = command.spawn().map_err(|error| program.spawn_error(error))?;
    let pipes = (child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from));
    let pid = child.id();
    let mut group = Group(Some(child));
    let leader = Pidfd::open(pid)?.ok_or_else(lost_child)?;
    let (Some(stdout), Some(stderr)) = pipes else { return Err(lost_child()) };
    let (stdout, stderr) = (Receiver::from_owned_fd(stdout)?, Receiver::from_owned_fd(stderr)?);

    let mut finished =
        Finished { status: None, stdout: Capture::default(), stderr: Capture::default() };
    let mut buffers = (vec![0; CHUNK], vec![0; CHUNK]);
    let ended = clock.until(deadline, async {
        let reading = join(
            finished.stdout.fill(&stdout, &mut buffers.0),
            finished.stderr.fill(&stderr, &mut buffers.1),
        );
        let reading = pin!(async {
            reading.await;
            std::future::pending::<()>().await;
        });
        select(pin!(leader.ended()), reading).await;
    });
    let ended = ended.await.is_some();
    if !ended || leftovers == Leftovers::Kill {
        group.kill();
    }
    finished.stdout.finish(&stdout, &mut buffers.0);
    finished.stderr.finish(&stderr, &mut buffers.1);
    if !ended {
        // Killed: gone in a moment, unless the kernel itself is stuck with it.
        let soon = clock.monotonic() + KILL_GRACE;
        clock.until(soon, leader.ended()).await;
        group.reap();
    } else {
        finished.status = group.reap();
        if leftovers == Leftovers::Keep {
            tokio::spawn(forget(stdout));
            tokio::spawn(forget(stderr));
        }
    }
    Ok(finished)
}

/// An input as a file in memory: a program that does not read it can't make us wait.
fn memory_file(input: &[u8]) -> std::io::Result<File> {
    let mut file = File::from(memfd_create("jarvis-input", MemfdFlags::CLOEXEC)?);
    file.write_all(input)?;
    file.rewind()?;
    Ok(file)
}

fn lost_child() -> Error {
    Error::new(ErrorKind::Internal, "a child process that was just started has no handle")
}

/// Reads until nobody writes any more, so that a daemon is not killed by its first line.
async fn forget(pipe: Receiver) {
    let mut buffer = vec![0; 4_096];
    let mut nothing = Capture::default();
    nothing.fill(&pipe, &mut buffer).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn shell(script: &str) -> Program {
        Program::new("command", &["/bin/sh".into(), "-c".into(), script.into()]).unwrap()
    }

    async fn run_for(script: &str, seconds: u64) -> Finished {
        let clock = SystemClock::new();
        let deadline = clock.monotonic() + Duration::from_secs(seconds);
        run(&shell(script), &clock, deadline, Leftovers::Kill).await.unwrap()
    }

    #[tokio::test]
    async fn the_ends_of_a_long_output_are_kept() {
        let finished = run_for(
            "echo first; head -c 3000000 /dev/zero | tr '\\0' x; echo; echo last; exit 3",
            30,
        )
        .await;
        assert_eq!(finished.code(), Some(3));
        assert_eq!(finished.first_line().as_deref(), Some("first"));
        assert_eq!(finished.last_line().as_deref(), Some("last"));
        assert!(finished.written() > 3_000_000);
        assert!(finished.stdout.head.len() == KEEP && finished.stdout.tail.len() == KEEP);
    }

    #[tokio::test]
    async fn a_process_left_behind_does_not_hold_the_answer_up() {
        let finished = run_for("sleep 60 & echo $!", 30).await;
        assert!(finished.success());
        let pid: u32 = finished.stdout().trim().parse().unwrap();
        if let Some(left) = Pidfd::open(pid).unwrap() {
            left.ended().await.unwrap();
        }
    }

    #[tokio::test]
    async fn the_deadline_kills_the_group() {
        let clock = SystemClock::new();
        let deadline = clock.monotonic() + Duration::from_millis(200);
        let program = shell("trap '' TERM; echo $$; sleep 60 & wait");
        let finished = run(&program, &clock, deadline, Leftovers::Kill).await.unwrap();
        assert!(finished.status.is_none() && finished.ending().contains("deadline"));
        let pid: u32 = finished.stdout().trim().parse().unwrap();
        if let Some(left) = Pidfd::open(pid).unwrap() {
            left.ended().await.unwrap();
        }
    }
}
