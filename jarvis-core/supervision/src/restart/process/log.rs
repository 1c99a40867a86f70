//! The log of an owned process: capped without a pipe between it and the file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use base::subprocess::bounded_lines;

/// How much of the end is read for the last lines.
const TAIL: u64 = 4_096;

fn old(log: &Path) -> PathBuf {
    log.with_extension("log.1")
}

/// When the log is over its cap, copies it to `NAME.log.1` and empties it. The process keeps
/// its descriptor: opened for append, it goes on at the new end. What it writes between the last
/// byte copied and the emptying is lost.
///
/// # Errors
/// The disk's. When it is full the log is emptied without a copy, for that is what has to stop.
pub(super) fn rotate(log: &Path, max: u64) -> io::Result<bool> {
    let length = match log.metadata() {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if length <= max {
        return Ok(false);
    }
    let file = File::options().read(true).write(true).open(log)?;
    let copied = copy_end(&file, &old(log), max);
    file.set_len(0)?;
    copied.map(|()| true)
}

/// Copies at most the last `max` bytes, so that old and new together never exceed twice the cap
/// by more than what is written in a second.
fn copy_end(mut log: &File, to: &Path, max: u64) -> io::Result<()> {
    let length = log.metadata()?.len();
    log.seek(SeekFrom::Start(length.saturating_sub(max)))?;
    let mut copy = {
        use std::os::unix::fs::OpenOptionsExt;
        File::options().create(true).write(true).truncate(true).mode(0o600).open(to)?
    };
    let copied = io::copy(&mut log.take(max), &mut copy);
    if copied.is_err() {
        std::fs::remove_file(to)?;
    }
    copied.map(|_| ())
}

/// The last lines, from the old log while the new one is empty.
pub(super) fn last_lines(log: &Path, lines: usize) -> io::Result<Vec<String>> {
    for path in [log, &old(log)] {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let start = file.metadata()?.len().saturating_sub(TAIL);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        if !bytes.is_empty() {
            let text = String::from_utf8_lossy(&bytes);
            return Ok(bounded_lines(&text, start == 0, lines, bytes.len()));
        }
    }
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_writer_goes_on_after_the_log_was_emptied() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("coach.log");
        assert!(!rotate(&log, 100).unwrap());
        let mut writer = File::options().create(true).append(true).open(&log).unwrap();
        for line in 0..40 {
            writeln!(writer, "line {line:04}").unwrap();
        }
        assert!(rotate(&log, 100).unwrap());
        assert_eq!(log.metadata().unwrap().len(), 0);
        assert_eq!(old(&log).metadata().unwrap().len(), 100);
        assert_eq!(last_lines(&log, 2).unwrap(), ["line 0038", "line 0039"]);
        writeln!(writer, "after").unwrap();
        assert_eq!(last_lines(&log, 9).unwrap(), ["after"]);
        assert!(!rotate(&log, 100).unwrap());
    }

    #[test]
    fn a_line_without_its_start_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("coach.log");
        std::fs::write(&log, format!("{}\nshort\n", "x".repeat(5_000))).unwrap();
        assert_eq!(last_lines(&log, 9).unwrap(), ["short"]);
        assert!(last_lines(&folder.path().join("none.log"), 9).unwrap().is_empty());
    }
}
