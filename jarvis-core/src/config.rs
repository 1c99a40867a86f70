//! Reading `jarvis.toml`: where it is found, what it may say, and what is wrong with it.
//!
//! The file is found by [`Source`], read with the place of every key, and composed: `include`,
//! `[template.NAME]`, `[defaults.…]`, `${env:NAME}` and `${file:PATH}`. What belongs to a backend
//! stays a [`Section`], which the backend's factory reads itself; so a new backend changes
//! nothing here. Nothing is ever half-loaded: either all of it is right, or a [`Report`] names
//! every error with file, line, key and the nearest valid name.

mod check;
mod component;
mod compose;
mod de;
mod init;
mod interpolate;
mod node;
mod problem;
mod schema;
mod section;
mod show;
mod source;
mod stores;

#[cfg(test)]
mod path_tests;
#[cfg(test)]
mod secret_tests;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

pub use init::{Container, ai_dawg, from_containers};
pub use problem::{Origin, Problem, Report, Weight};
pub use schema::{
    CheckSettings, HostSettings, JarvisSettings, NamedSection, RestartSettings, ServiceSettings,
};
pub use section::Section;
pub use show::Shown;
pub use source::{FILE_NAME, MAX_FILE, Source};
pub use stores::{StoreSettings, StoreUrl};

use base::Result;
use base::events::BusPolicy;
use base::secret::KnownSecrets;
use base::vocabulary::ConfigPath;
use state::cache::CachePolicy;
use state::session::SessionPolicy;
use supervision::operator::{Allow, Limits, MaintenanceWindow};

use compose::{Composed, Start, compose, salvage};
use node::{Node, Table};

/// The keys of `[jarvis]` that are defaults of every check.
const CHECK_KEYS: &[&str] =
    &["interval", "interval_down", "timeout", "failure_threshold", "success_threshold"];

/// A configuration that is right in itself. Whether its backends accept their sections is told
/// when it is wired ([`crate::registry`]).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// `[jarvis]`.
    pub jarvis: JarvisSettings,
    /// `[limits]`: across all services.
    pub limits: Limits,
    /// `[allow]`, where there is one.
    pub allow: Allow,
    /// `[store]`.
    pub store: StoreSettings,
    /// `[bus]`: the rules for a bus on a server.
    pub bus: BusPolicy,
    /// `[session]`: the rules for all sessions.
    pub session: SessionPolicy,
    /// `[cache]`: the rules for the cache.
    pub cache: CachePolicy,
    /// `[lease]`, where there is one.
    pub lease: Option<NamedSection>,
    /// `[service.X]`, in the order in which they were written.
    pub services: Vec<ServiceSettings>,
    /// `[[maintenance]]`.
    pub maintenance: Vec<MaintenanceWindow>,
    /// `[alert.X]`: the sinks.
    pub alerts: Vec<NamedSection>,
    /// `[heartbeat]`, where there is one.
    pub heartbeat: Option<Section>,
    /// `[host.X]`.
    pub hosts: Vec<HostSettings>,
    files: Vec<PathBuf>,
    built_in: bool,
    root: Table,
    folders: Arc<[PathBuf]>,
    secrets: KnownSecrets,
    warnings: Report,
}

/// What [`Config::state_dir`] looks for in `[jarvis]`.
#[derive(Deserialize)]
struct StateDir {
    state_dir: ConfigPath,
}

/// What is read first.
enum Beginning {
    Inline,
    File(source::Located),
    BuiltIn(String),
}

impl Beginning {
    fn of(source: &Source) -> Self {
        match (source.inline(), source.locate()) {
            (Some(_), _) => Self::Inline,
            (None, Some(file)) => Self::File(file),
            (None, None) => Self::BuiltIn(source.fallback().map_or_else(ai_dawg, str::to_owned)),
        }
    }

    fn start<'a>(&'a self, source: &'a Source) -> Start<'a> {
        match self {
            Self::Inline => Start::Text { name: "inline", text: source.inline().unwrap_or("") },
            Self::File(file) => Start::File(file),
            Self::BuiltIn(text) => Start::Text { name: "built-in", text },
        }
    }
}

impl Config {
    /// Reads the configuration that `source` leads to; without any, AI DAWG's services on
    /// 127.0.0.1, under which nothing is restarted.
    ///
    /// # Errors
    /// `ConfigInvalid` with a [`Report`] of all errors as its source.
    pub fn load(source: &Source) -> Result<Self> {
        let (config, report) = Self::inspect(source);
        config.ok_or_else(|| report.into_error())
    }

    /// Reads a configuration from text. Relative paths in it are relative to `/`;
    /// [`Source::with_directory`] names another folder.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_toml(text: &str) -> Result<Self> {
        Self::load(&Source::empty().with_text(text))
    }

    /// As [`Config::load`], with the warnings too.
    #[must_use]
    pub fn inspect(source: &Source) -> (Option<Self>, Report) {
        let start = Beginning::of(source);
        let is_built_in = matches!(start, Beginning::BuiltIn(_));
        let mut composed = compose(source, &start.start(source));
        if is_built_in || source.inline().is_some() {
            composed.files.clear();
        }
        let mut report = std::mem::take(&mut composed.report);
        let mut config = schema::read(source, composed, &mut report);
        config.built_in = is_built_in;
        if !report.is_refused() {
            check::analyse(&config, &mut report);
        }
        report.problems.sort_by_key(|problem| problem.weight);
        if report.is_refused() {
            return (None, report);
        }
        config.warnings = report.clone();
        (Some(config), report)
    }

    /// The state directory of a configuration that may be wrong in everything else, so that a loop
    /// that goes on with an older version of it can be found. `None` where what can be read does
    /// not say for sure: better no loop than another one's.
    #[must_use]
    pub fn state_dir(source: &Source) -> Option<PathBuf> {
        let composed = salvage(source, &Beginning::of(source).start(source));
        let jarvis = composed.root.get("jarvis").filter(|entry| entry.node.as_table().is_some());
        let section =
            jarvis.map(|entry| Section::new("jarvis", entry.node.clone(), &composed.folders));
        let Some(section) = section.filter(|section| section.contains("state_dir")) else {
            return (!composed.incomplete).then(|| schema::default_state_dir(source));
        };
        let mut wrong = composed.report.problems.iter();
        if wrong.any(|problem| problem.key == "jarvis.state_dir") {
            return None;
        }
        let found = section.read::<StateDir>().ok()?;
        Some(found.state_dir.into_path_buf())
    }

    /// The files that it was read from; none for the built-in map.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The file that was found or named.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.files.first().map(PathBuf::as_path)
    }

    /// Was there no file, so that the built-in map is used?
    #[must_use]
    pub fn is_built_in(&self) -> bool {
        self.built_in
    }

    /// Keeps the secrets that interpolation put in masked, as long as a clone of it lives. Whoever
    /// uses what was made from a configuration longer than the configuration itself holds one.
    #[must_use]
    pub fn secrets(&self) -> KnownSecrets {
        self.secrets.clone()
    }

    /// What somebody should look at.
    #[must_use]
    pub fn warnings(&self) -> &Report {
        &self.warnings
    }

    /// The service of that name.
    #[must_use]
    pub fn service(&self, id: &str) -> Option<&ServiceSettings> {
        self.services.iter().find(|service| service.id.as_str() == id)
    }

    /// The whole tree as a section; for what looks at values by their path.
    #[must_use]
    pub fn root(&self) -> Section {
        let origin = Origin::named(self.files.first().map_or("built-in", |_| "configuration"));
        Section::new("", Node::table(self.root.clone(), origin), &self.folders)
    }

    /// A table at the top, for complaints about its keys; empty where it was not written.
    pub(crate) fn section(&self, key: &str) -> Section {
        let origin = Origin::named(self.files.first().map_or("built-in", |_| "configuration"));
        let node = self.root.get(key).map(|entry| entry.node.clone());
        let node = node.unwrap_or_else(|| Node::table(Table::new(), origin));
        Section::new(key, node, &self.folders)
    }

    /// What a check is by default: `[defaults.check]` over `[jarvis]`.
    pub(crate) fn check_defaults(&self) -> Section {
        let table = |node: Option<&node::Entry>| {
            node.and_then(|entry| entry.node.as_table()).cloned().unwrap_or_default()
        };
        let mut keys = table(self.root.get("jarvis"));
        keys.retain(|key, _| CHECK_KEYS.contains(&key.as_str()));
        keys.extend(table(table(self.root.get("defaults")).get("check")));
        let origin = Origin::named("defaults");
        Section::new("defaults.check", Node::table(keys, origin), &self.folders)
    }

    fn empty(composed: Composed, jarvis: JarvisSettings) -> Self {
        Self {
            jarvis,
            limits: Limits::default(),
            allow: Allow::default(),
            store: StoreSettings::default(),
            bus: BusPolicy::default(),
            session: SessionPolicy::default(),
            cache: CachePolicy::default(),
            lease: None,
            services: Vec::new(),
            maintenance: Vec::new(),
            alerts: Vec::new(),
            heartbeat: None,
            hosts: Vec::new(),
            files: composed.files,
            built_in: false,
            root: composed.root,
            folders: composed.folders,
            secrets: composed.secrets,
            warnings: Report::default(),
        }
    }
}
