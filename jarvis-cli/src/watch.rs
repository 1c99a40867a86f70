//! Notices that the configuration changed on disk.
//!
//! Editors replace files, so their directories are watched, not the files. Where the kernel sends no
//! notices (network file systems, too many watches), the files are polled.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jarvis_core::clock::{ClockExt, SharedClock};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// The time between the first notice and the check: an editor writes more than once.
const SETTLE: Duration = Duration::from_millis(300);

/// How often the files are checked without a notice.
const POLL: Duration = Duration::from_secs(30);

/// What makes one state of a file differ from another.
type Print = Vec<(PathBuf, Option<(u64, u64, i64, i64)>)>;

/// Watches the files of one configuration.
#[derive(Debug)]
pub(crate) struct ConfigWatch {
    files: Vec<PathBuf>,
    known: Print,
    notices: mpsc::Receiver<()>,
    sender: mpsc::Sender<()>,
    watcher: Option<RecommendedWatcher>,
    clock: SharedClock,
}

impl ConfigWatch {
    /// Watches these files; the first is the main one, the others were included.
    pub(crate) async fn new(files: &[PathBuf], clock: SharedClock) -> Self {
        let (sender, notices) = mpsc::channel(1);
        let mut watch =
            Self { files: Vec::new(), known: Print::new(), notices, sender, watcher: None, clock };
        watch.follow(files).await;
        watch
    }

    /// Watches these files from now on.
    pub(crate) async fn follow(&mut self, files: &[PathBuf]) {
        if self.files == files {
            return;
        }
        files.clone_into(&mut self.files);
        self.watcher = watcher(&folders(files), self.sender.clone());
        self.look().await;
    }

    /// Takes the files as they are now for known. To be called before they are read, never after:
    /// what changes in between must be noticed.
    pub(crate) async fn look(&mut self) {
        self.known = print_of(self.files.clone()).await;
    }

    /// Completes when a file is not what it was. Cancel-safe.
    pub(crate) async fn changed(&mut self) {
        if self.files.is_empty() {
            return std::future::pending().await;
        }
        loop {
            let poll = self.clock.sleep(POLL);
            tokio::select! {
                _ = self.notices.recv() => self.clock.sleep(SETTLE).await,
                () = poll => {}
            }
            while self.notices.try_recv().is_ok() {}
            let now = print_of(self.files.clone()).await;
            if now != self.known {
                self.known = now;
                return;
            }
        }
    }
}

fn folders(files: &[PathBuf]) -> BTreeSet<PathBuf> {
    files.iter().filter_map(|file| file.parent()).map(Path::to_path_buf).collect()
}

fn watcher(folders: &BTreeSet<PathBuf>, sender: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let notice = move |event: notify::Result<notify::Event>| {
        // Reading the files is an event too, and would never end.
        if event.map_or(true, |event| !event.kind.is_access()) {
            // A full channel holds a notice already.
            let _ = sender.try_send(());
        }
    };
    let watched = notify::recommended_watcher(notice).and_then(|mut watcher| {
        for folder in folders {
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    });
    watched
        .inspect_err(|error| {
            tracing::warn!(%error, "can't watch the configuration files; they are checked every 30 s instead");
        })
        .ok()
}

/// The state of the files, and of every other `*.toml` beside the included ones: a new file may
/// belong to an `include` of theirs.
async fn print_of(files: Vec<PathBuf>) -> Print {
    let look = move || {
        let mut all: BTreeSet<PathBuf> = files.iter().cloned().collect();
        for folder in folders(files.get(1..).unwrap_or_default()) {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let paths = entries.map(|entry| entry.path());
            all.extend(paths.filter(|path| path.extension().is_some_and(|end| end == "toml")));
        }
        let with_stat = |file: PathBuf| {
            let stat = stat(&file);
            (file, stat)
        };
        all.into_iter().map(with_stat).collect()
    };
    tokio::task::spawn_blocking(look).await.unwrap_or_default()
}

fn stat(file: &Path) -> Option<(u64, u64, i64, i64)> {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jarvis_core::clock::SystemClock;
    use std::sync::Arc;

    async fn told(watch: &mut ConfigWatch) -> bool {
        let clock = watch.clock.clone();
        let deadline = clock.monotonic() + Duration::from_secs(10);
        clock.until(deadline, watch.changed()).await.is_some()
    }

    #[tokio::test]
    async fn a_replaced_a_changed_and_a_new_file_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let parts = folder.path().join("parts");
        std::fs::create_dir(&parts).unwrap();
        let files = [folder.path().join("jarvis.toml"), parts.join("a.toml")];
        for file in &files {
            std::fs::write(file, "one").unwrap();
        }
        let mut watch = ConfigWatch::new(&files, Arc::new(SystemClock::new())).await;
        std::fs::write(&files[0], "longer").unwrap();
        assert!(told(&mut watch).await, "changed in place");
        std::fs::write(folder.path().join("new"), "other").unwrap();
        std::fs::rename(folder.path().join("new"), &files[0]).unwrap();
        assert!(told(&mut watch).await, "replaced");
        std::fs::write(parts.join("b.toml"), "new").unwrap();
        assert!(told(&mut watch).await, "added beside an included one");
    }

    #[tokio::test]
    async fn a_strange_file_beside_it_is_no_change() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("jarvis.toml");
        std::fs::write(&file, "one").unwrap();
        let mut watch = ConfigWatch::new(&[file], Arc::new(SystemClock::new())).await;
        std::fs::write(folder.path().join("history.db"), "busy").unwrap();
        let clock = watch.clock.clone();
        let deadline = clock.monotonic() + SETTLE * 3;
        assert!(clock.until(deadline, watch.changed()).await.is_none());
    }
}
