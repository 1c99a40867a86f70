//! What is remembered of an owned process on disk, so that no life is lost or doubled.
//!
//! A record is replaced as a whole: written beside, synced, renamed, and the folder synced. It
//! is written *before* the process is started too, so that after a crash in between the next
//! start knows to look for the child by its environment.
//!
//! Several processes may write it: the one that acts, and those that watch beside it and saw the end.
//! A lock beside the record lets one at a time read it and replace it.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::restart::{Exit, Receipt};
use base::clock::Stamp;
use base::subprocess::procfs::Identity;
use base::vocabulary::{FencingToken, IntentId};
use base::{Error, ErrorKind, Result};

const VERSION: u32 = 1;

/// Where a life stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "phase")]
pub(super) enum Phase {
    /// It is about to be started, or just was.
    Starting {
        /// The life that is to be ended first, or the last one there was.
        previous: Option<Identity>,
    },
    /// It was started.
    Running { identity: Identity },
    /// It ended.
    Ended { identity: Option<Identity>, exit: Exit },
    /// JARVIS stopped it because it left. Its next start is a first start.
    Released,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    version: u32,
    #[serde(flatten)]
    pub(super) phase: Phase,
    /// When this was written.
    pub(super) at: Stamp,
    /// Of the action that led here.
    pub(super) intent: Option<IntentId>,
    /// The highest that ever acted.
    pub(super) token: FencingToken,
    /// What that action answered, once it did.
    pub(super) receipt: Option<Receipt>,
}

impl Record {
    pub(super) fn new(phase: Phase, at: Stamp) -> Self {
        Self {
            version: VERSION,
            phase,
            at,
            intent: None,
            token: FencingToken::default(),
            receipt: None,
        }
    }

    /// The same action's record, a phase on.
    pub(super) fn now(self, phase: Phase, at: Stamp) -> Self {
        Self { phase, at, ..self }
    }

    /// `None` when there is none, or none that can be read: the process is then looked for by
    /// its environment.
    pub(super) fn read(path: &Path) -> Result<Option<Self>> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(path, error)),
        };
        match serde_json::from_slice::<Self>(&text) {
            Ok(record) if record.version == VERSION => Ok(Some(record)),
            Ok(record) => Err(Error::new(
                ErrorKind::Corrupt,
                "the record of the process was written by a newer version; use that one",
            )
            .with_context("path", path.display())
            .with_context("version", record.version)),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the record of a process is damaged; looking for the process itself");
                Ok(None)
            }
        }
    }

    /// Replaces the record. Synced when this returns.
    fn write(&self, path: &Path) -> Result<()> {
        let failed = |error| unwritable(path, error);
        let text = serde_json::to_vec_pretty(self).map_err(|error| {
            Error::new(ErrorKind::Internal, "failed to serialize a record").with_source(error)
        })?;
        let beside = path.with_extension("json.new");
        let mut file = File::create(&beside).map_err(failed)?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)?;
        std::fs::rename(&beside, path).map_err(failed)?;
        if let Some(folder) = path.parent() {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        }
        Ok(())
    }
}

fn unwritable(path: &Path, error: io::Error) -> Error {
    let kind = Error::from(error).kind();
    Error::new(kind, "failed to write the record of the process; nothing was started or stopped")
        .with_context("path", path.display())
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    let reason = error.to_string();
    let kind = match Error::from(error).kind() {
        ErrorKind::Exhausted => ErrorKind::Exhausted,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, "failed to read the record of the process")
        .with_context("path", path.display())
        .with_context("reason", reason)
}

/// Where an owned process leaves its traces.
#[derive(Debug, Clone)]
pub(super) struct Traces {
    /// `<state_dir>/run/NAME.json`
    pub(super) record: PathBuf,
    /// `<state_dir>/log/NAME.log`
    pub(super) log: PathBuf,
}

impl Traces {
    pub(super) fn new(state_dir: &Path, name: &str) -> Result<Self> {
        // Two spellings of one folder must not be two services.
        let state_dir = std::path::absolute(state_dir)?;
        Ok(Self {
            record: state_dir.join("run").join(format!("{name}.json")),
            log: state_dir.join("log").join(format!("{name}.log")),
        })
    }

    /// Replaces the record by what `change` makes of it, where it makes something. Nobody else does
    /// meanwhile, in this process or another. Synced when this returns.
    pub(super) fn change(
        &self,
        change: impl FnOnce(Option<Record>) -> Option<Record>,
    ) -> Result<()> {
        let lock = self.lock().map_err(|error| unwritable(&self.record, error))?;
        let changed = change(Record::read(&self.record)?);
        let written = changed.map_or(Ok(()), |record| record.write(&self.record));
        drop(lock);
        written
    }

    /// Held until it is dropped, or its process ends.
    fn lock(&self) -> io::Result<File> {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = std::fs::OpenOptions::new();
        options.create(true).append(true).mode(0o600);
        let file = options.open(self.record.with_extension("lock"))?;
        file.lock()?;
        Ok(file)
    }

    /// Makes the folders, for us alone.
    pub(super) fn prepare(&self) -> Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        for folder in [&self.record, &self.log].into_iter().filter_map(|path| path.parent()) {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(|error| Error::from(error).with_context("folder", folder.display()))?;
        }
        Ok(())
    }

    /// The file that the output goes on being written to, whatever becomes of us.
    pub(super) fn open_log(&self) -> Result<File> {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = std::fs::OpenOptions::new();
        options.create(true).append(true).mode(0o600);
        options
            .open(&self.log)
            .map_err(|error| Error::from(error).with_context("log", self.log.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::clock::{ClockExt, ManualClock};

    #[test]
    fn a_record_is_read_as_it_was_written_and_damage_is_no_record() {
        let folder = tempfile::tempdir().unwrap();
        let traces = Traces::new(folder.path(), "coach").unwrap();
        traces.prepare().unwrap();
        assert_eq!(Record::read(&traces.record).unwrap(), None);
        let clock = ManualClock::new();
        for phase in [
            Phase::Starting { previous: None },
            Phase::Ended { identity: None, exit: Exit::Signal(9) },
            Phase::Released,
        ] {
            let record = Record::new(phase, clock.stamp());
            traces.change(|_| Some(record.clone())).unwrap();
            assert_eq!(Record::read(&traces.record).unwrap(), Some(record));
        }
        std::fs::write(&traces.record, "{\"phase\":\"star").unwrap();
        assert_eq!(Record::read(&traces.record).unwrap(), None);
    }

    /// Processes that share a record have nothing in common but its path, and so have these.
    #[test]
    fn who_acts_and_who_watches_write_one_at_a_time_and_nobody_reads_half() {
        const CHANGES: u64 = 100;
        let folder = tempfile::tempdir().unwrap();
        let first = Record::new(Phase::Released, ManualClock::new().stamp());
        let traces = || Traces::new(folder.path(), "coach").unwrap();
        traces().prepare().unwrap();
        traces().change(|_| Some(first)).unwrap();
        let count = || {
            for _ in 0..CHANGES {
                let counted = |record: Option<Record>| {
                    let record = record.unwrap();
                    Some(Record { token: FencingToken::new(record.token.number() + 1), ..record })
                };
                traces().change(counted).unwrap();
                assert!(Record::read(&traces().record).unwrap().is_some(), "it is there and whole");
            }
        };
        std::thread::scope(|scope| {
            (0..4).for_each(|_| drop(scope.spawn(count)));
        });
        let record = Record::read(&traces().record).unwrap().unwrap();
        assert_eq!(record.token.number(), 4 * CHANGES);
    }
}
