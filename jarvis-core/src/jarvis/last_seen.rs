//! What the last loop left behind for a `status` that finds no loop: `<state_dir>/status.json`.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::answers::{Source, StatusAnswer};
use base::clock::SharedClock;
use base::{Error, ErrorKind, Result};

/// A file larger than this was not written by us.
const MAX_FILE: u64 = 256 * 1024 * 1024;

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("status.json")
}

/// Replaces the file as a whole. Lost with the machine's power, which `status` can live with.
pub(super) fn write(state_dir: &Path, answer: &StatusAnswer) -> Result<()> {
    let text = serde_json::to_vec(answer).map_err(|error| {
        Error::new(ErrorKind::Internal, "failed to serialize the status as JSON").with_source(error)
    })?;
    let target = path(state_dir);
    let temporary = state_dir.join(format!(".status.json.{}", std::process::id()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let named = |error: std::io::Error| Error::from(error).with_context("path", target.display());
    let mut file = options.open(&temporary).map_err(named)?;
    file.write_all(&text).map_err(named)?;
    fs::rename(&temporary, &target).map_err(named)
}

/// What the last loop left behind.
pub(super) fn read(state_dir: &Path, clock: &SharedClock) -> Result<StatusAnswer> {
    let file = path(state_dir);
    let text = match fs::metadata(&file) {
        Ok(metadata) if metadata.len() <= MAX_FILE => fs::read(&file)?,
        Ok(_) => return Err(damaged(&file, "it is too large")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(StatusAnswer::new(Source::Nothing, None, None));
        }
        Err(error) => return Err(Error::from(error).with_context("path", file.display())),
    };
    let mut answer: StatusAnswer =
        serde_json::from_slice(&text).map_err(|error| damaged(&file, &error.to_string()))?;
    let now = clock.wall();
    let at = answer.health.as_ref().map_or(now, |health| health.at);
    answer.source = Source::LastSeen { at, age: now.saturating_since(at) };
    Ok(answer)
}

fn damaged(file: &Path, reason: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("the last saved status is unreadable: {reason}; delete it, or start `jarvis up`"),
    )
    .with_context("path", file.display())
}
