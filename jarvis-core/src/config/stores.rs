//! `[store]`: where things are remembered.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::problem::Report;
use super::section::Section;
use base::secret::redact_url;

/// `[store]`: backends by URL.
///
/// `memory:` is this process's own memory, `sqlite:PATH` a file (relative to the configuration's,
/// `sqlite:` alone is `jarvis.db` in the state directory), and `redis://`, `rediss://`,
/// `redis+cluster://` and `redis+sentinel://` are servers that several machines share. Each key
/// may be set from outside too: `JARVIS_STORE__SESSION=redis://127.0.0.1:6379`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct StoreSettings {
    /// Carries events and the messages of applications: `memory:` within this process (the default),
    /// or a Redis that instances share.
    pub bus: StoreUrl,
    /// Keeps the sessions. `sqlite:`, or `memory:` in a build without SQLite.
    pub session: StoreUrl,
    /// Keeps the cache. `memory:`.
    pub cache: StoreUrl,
}

impl Default for StoreSettings {
    fn default() -> Self {
        let session = if cfg!(feature = "sqlite") { "sqlite:" } else { "memory:" };
        Self { bus: "memory:".into(), session: session.into(), cache: "memory:".into() }
    }
}

/// The URL of a backend. There may be a password in it, so that neither `Debug` nor `Display`
/// shows it whole.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct StoreUrl(String);

impl StoreSettings {
    pub(super) fn read(section: &Section) -> Result<Self, Report> {
        let mut settings: Self = section.read()?;
        settings.bus.resolve(section, "bus");
        settings.session.resolve(section, "session");
        settings.cache.resolve(section, "cache");
        Ok(settings)
    }
}

impl StoreUrl {
    /// All of it. Every call is a place to look at in a review.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What stands before the first colon: which backend.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.0.split_once(':').map_or("", |(scheme, _)| scheme)
    }

    /// The file of a `sqlite:` URL; `None` for any other.
    #[must_use]
    pub fn sqlite_file(&self, state_dir: &Path) -> Option<PathBuf> {
        let path = self.0.strip_prefix("sqlite:")?;
        Some(state_dir.join(if path.is_empty() { "jarvis.db" } else { path }))
    }

    /// Makes the path of a `sqlite:` URL relative to the file that it was written in.
    fn resolve(&mut self, section: &Section, key: &str) {
        if let Some(path) = self.0.strip_prefix("sqlite:").filter(|path| !path.is_empty()) {
            self.0 = format!("sqlite:{}", section.resolve(key, path).display());
        }
    }
}

impl From<&str> for StoreUrl {
    fn from(url: &str) -> Self {
        Self(url.to_owned())
    }
}

impl std::fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&redact_url(&self.0))
    }
}

impl std::fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", redact_url(&self.0))
    }
}
