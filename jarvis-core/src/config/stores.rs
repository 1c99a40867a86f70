//! `[store]`: where things are remembered.

use std::path::{Path, PathBuf};

use serde::Deserialize;

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
/// shows it whole. The path of a `sqlite:` URL is relative to the file that it is written in.
// The name of the type is what the configuration's deserialiser recognises: see `NAME`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct StoreUrl(String);

impl StoreUrl {
    /// The name under which serde presents this type to a deserialiser.
    pub(super) const NAME: &'static str = "StoreUrl";
    /// What begins the URL of a file.
    pub(super) const FILE: &'static str = "sqlite:";

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
        let path = self.0.strip_prefix(Self::FILE)?;
        Some(state_dir.join(if path.is_empty() { "jarvis.db" } else { path }))
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
