//! Peers in other languages: processes that are told what to do a line at a time.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::Failure;

/// Where `benches/peers/setup` installs them.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers")
}

/// A peer that waits. Ends with this value.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Peer {
    /// Starts one and waits until it is ready.
    ///
    /// # Errors
    /// When it is not installed, or ends before it is ready.
    pub fn start<A: AsRef<OsStr>>(program: &Path, arguments: &[A]) -> Result<Self, Failure> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| {
                format!("{}: {error}; run benches/peers/setup first", program.display())
            })?;
        let input = child.stdin.take().ok_or("no input")?;
        let output = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        let mut peer = Self { child, input, output };
        match peer.output.next().transpose()?.as_deref() {
            Some("ready") => Ok(peer),
            said => {
                let program = program.display();
                Err(format!("{program} is not ready ({said:?}); run benches/peers/setup first")
                    .into())
            }
        }
    }

    /// Operations a second.
    ///
    /// # Errors
    /// When it ended.
    pub fn pace(&mut self, operation: &str, length: Duration) -> Result<f64, Failure> {
        writeln!(self.input, "{operation} {}", length.as_secs_f64())?;
        self.input.flush()?;
        Ok(self.output.next().transpose()?.ok_or("the peer ended")?.parse()?)
    }
}
