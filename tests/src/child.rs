//! What the programs that tests run as processes of their own have in common.

use std::io::Write;
use std::process::ExitCode;

use jarvis_core::{Error, ErrorKind, Result};

/// Prints a line in one write call, so that the parent sees whole lines also after a SIGKILL.
pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush());
}

/// A number of the command line.
///
/// # Errors
/// `InvalidInput` for anything else.
pub fn number<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| Error::new(ErrorKind::InvalidInput, format!("{text} is no number")))
}

/// How the program ends: an error is said, for the test to read.
#[must_use]
pub fn ended(done: Result<()>) -> ExitCode {
    let Err(error) = done else { return ExitCode::SUCCESS };
    say(&format!("{} {error}", error.code()));
    ExitCode::FAILURE
}
