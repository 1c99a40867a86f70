//! Finding and reading the files of a configuration.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::problem::{Origin, Problem};
use base::{Error, ErrorKind, Result};

/// A file over this size is no configuration.
pub const MAX_FILE: u64 = 1024 * 1024;

/// The name that is looked for.
pub const FILE_NAME: &str = "jarvis.toml";

/// Where a configuration comes from: the file, the environment and the folder to look in.
///
/// [`Source::from_environment`] is what the CLI uses; tests and embedders fill in their own.
/// `Debug` shows no environment variable.
#[derive(Clone)]
pub struct Source {
    explicit: Option<PathBuf>,
    inline: Option<String>,
    fallback: Option<String>,
    environment: BTreeMap<String, String>,
    settings: Vec<Setting>,
    directory: PathBuf,
    system_directory: PathBuf,
    privileged: bool,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("explicit", &self.explicit)
            .field("directory", &self.directory)
            .field("privileged", &self.privileged)
            .finish_non_exhaustive()
    }
}

/// One key that was set from outside the files.
#[derive(Clone)]
pub(crate) struct Setting {
    /// `jarvis.mode`.
    pub(crate) key: String,
    pub(crate) value: String,
    /// What set it, such as `--dry-run`.
    pub(crate) origin: String,
}

/// The file that is used, and how it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) path: PathBuf,
    /// Found on the way up from the working directory: nobody named it.
    pub(crate) by_chance: bool,
}

impl Source {
    /// Nothing but built-in defaults; add to it with the `with_…` functions.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            explicit: None,
            inline: None,
            fallback: None,
            environment: BTreeMap::new(),
            settings: Vec::new(),
            directory: PathBuf::from("/"),
            system_directory: PathBuf::new(),
            privileged: false,
        }
    }

    /// The process's environment, working directory and rights.
    #[must_use]
    pub fn from_environment() -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self {
            explicit: None,
            inline: None,
            fallback: None,
            environment,
            settings: Vec::new(),
            directory: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            system_directory: PathBuf::from("/etc/jarvis"),
            privileged: rustix::process::geteuid().is_root(),
        }
    }

    /// Uses this file, and looks for no other (`--config`).
    #[must_use]
    pub fn with_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.explicit = Some(path.into());
        self
    }

    /// Uses this text instead of a file.
    #[must_use]
    pub fn with_text(mut self, text: impl Into<String>) -> Self {
        self.inline = Some(text.into());
        self
    }

    /// Uses these values instead of a file: the JSON object that another language's program has for
    /// the TOML. What is `null` in an object is left out.
    ///
    /// # Errors
    /// `InvalidInput` when it is no JSON object, or holds what TOML has no form for.
    pub fn with_json(self, json: &str) -> Result<Self> {
        let refuse = |error: String| {
            let message = format!("the values are no configuration: {error}");
            Error::new(ErrorKind::InvalidInput, message).with_operation("config.read")
        };
        let mut values: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(json).map_err(|error| refuse(error.to_string()))?;
        leave_out_nulls(&mut values);
        let text = toml::to_string(&values).map_err(|error| refuse(error.to_string()))?;
        Ok(self.with_text(text))
    }

    /// Uses this text where no file is found, instead of the built-in services.
    #[must_use]
    pub fn with_fallback(mut self, text: impl Into<String>) -> Self {
        self.fallback = Some(text.into());
        self
    }

    /// Keeps everything that can be kept there at this URL, whatever `[store]` says: sessions, and
    /// but for a `sqlite:` file, which can't hold them, the cache and the bus too.
    #[must_use]
    pub fn with_store(self, url: &str) -> Self {
        let set = |source: Self, key| source.with_setting(key, url, "store URL");
        let source = set(self, "store.session");
        if url.starts_with("sqlite:") {
            return source;
        }
        set(set(source, "store.cache"), "store.bus")
    }

    /// Sets one key of `[jarvis]`, `[limits]` or `[store]`, such as `jarvis.mode`, above the files
    /// and the environment. `origin` names what set it in errors and in [`Config::show`]: for an
    /// option of a command, the option.
    ///
    /// [`Config::show`]: super::Config::show
    #[must_use]
    pub fn with_setting(
        mut self,
        key: impl Into<String>,
        value: impl Into<String>,
        origin: impl Into<String>,
    ) -> Self {
        let setting = Setting { key: key.into(), value: value.into(), origin: origin.into() };
        self.settings.push(setting);
        self
    }

    /// Sets an environment variable for this configuration alone.
    #[must_use]
    pub fn with_variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// Where to begin to look, and what a relative `--config` is relative to.
    #[must_use]
    pub fn with_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = directory.into();
        self
    }

    /// Whether the strict rules of the root user hold: no file that others may write.
    #[must_use]
    pub fn with_privileged(mut self, privileged: bool) -> Self {
        self.privileged = privileged;
        self
    }

    pub(crate) fn inline(&self) -> Option<&str> {
        self.inline.as_deref()
    }

    pub(crate) fn fallback(&self) -> Option<&str> {
        self.fallback.as_deref()
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn is_privileged(&self) -> bool {
        self.privileged
    }

    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub(crate) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(crate) fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// The file to read: `--config`, `$JARVIS_CONFIG`, `jarvis.toml` upward from the working
    /// directory, in `$XDG_CONFIG_HOME/jarvis/` (`~/.config/jarvis/`), in `/etc/jarvis/`.
    pub(crate) fn locate(&self) -> Option<Located> {
        let named =
            self.explicit.clone().or_else(|| self.variable("JARVIS_CONFIG").map(Into::into));
        if let Some(path) = named {
            return Some(Located { path: self.directory.join(path), by_chance: false });
        }
        let upward = self.directory.ancestors().map(|folder| folder.join(FILE_NAME));
        if let Some(path) = upward.into_iter().find(|path| path.is_file()) {
            return Some(Located { path, by_chance: true });
        }
        let user = self
            .variable("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| self.variable("HOME").map(|home| Path::new(home).join(".config")))
            .map(|folder| folder.join("jarvis"));
        [user, Some(self.system_directory.clone())]
            .into_iter()
            .flatten()
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(FILE_NAME))
            .find(|path| path.is_file())
            .map(|path| Located { path, by_chance: false })
    }

    /// How a path is shown: relative to the working directory where it lies below it.
    pub(crate) fn show(&self, path: &Path) -> String {
        path.strip_prefix(&self.directory).unwrap_or(path).display().to_string()
    }

    /// Reads a file of the configuration.
    pub(crate) fn read(&self, file: &Located) -> Result<String, Problem> {
        let shown = Origin::named(&self.show(&file.path));
        let refuse = |message: String| Problem::error(&shown, "", message);
        let cannot = |error: std::io::Error| refuse(format!("it can't be read: {error}"));
        // Opened once and asked through the descriptor: nobody can swap it in between. Not
        // blocking, so that a FIFO is an answer rather than a wait.
        let opened = fs::File::from(
            rustix::fs::open(
                &file.path,
                rustix::fs::OFlags::RDONLY
                    | rustix::fs::OFlags::NONBLOCK
                    | rustix::fs::OFlags::CLOEXEC,
                rustix::fs::Mode::empty(),
            )
            .map_err(|error| cannot(error.into()))?,
        );
        let metadata = opened.metadata().map_err(cannot)?;
        if !metadata.is_file() {
            return Err(refuse("it is not a file".to_owned()));
        }
        if self.privileged {
            self.check_rights(file, &metadata).map_err(refuse)?;
        }
        let mut bytes = Vec::new();
        opened.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(cannot)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(refuse(format!(
                "it is over {} KiB, which is no configuration",
                MAX_FILE / 1024
            )));
        }
        String::from_utf8(bytes).map_err(|error| {
            let line = 1 + error.as_bytes()[..error.utf8_error().valid_up_to()]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count();
            refuse(format!("line {line} is not UTF-8"))
        })
    }

    fn check_rights(&self, file: &Located, metadata: &fs::Metadata) -> Result<(), String> {
        const OTHERS_MAY_WRITE: u32 = 0o022;
        const STICKY: u32 = 0o1000;
        if metadata.mode() & OTHERS_MAY_WRITE != 0 {
            return Err(format!(
                "others than its owner may write it, and it names commands that run as root: `chmod go-w {}`",
                self.show(&file.path)
            ));
        }
        if file.by_chance && metadata.uid() != 0 {
            return Err(format!(
                "it was found by looking upward and belongs to user {}, not to root; name it with --config to use it",
                metadata.uid()
            ));
        }
        let Some(folder) = file.path.parent() else { return Ok(()) };
        let mode = fs::metadata(folder).map_err(|error| error.to_string())?.mode();
        if mode & OTHERS_MAY_WRITE != 0 && mode & STICKY == 0 {
            return Err(format!(
                "others than its owner may replace it, and it names commands that run as root: `chmod go-w {}`",
                self.show(folder)
            ));
        }
        Ok(())
    }
}

/// JSON has a word for what is not there, and TOML has none.
fn leave_out_nulls(values: &mut serde_json::Map<String, serde_json::Value>) {
    values.retain(|_, value| !value.is_null());
    values.values_mut().for_each(within);
}

fn within(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(values) => leave_out_nulls(values),
        serde_json::Value::Array(items) => items.iter_mut().for_each(within),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn values_of_another_language_are_a_configuration() {
        let json = r#"{"jarvis": {"mode": "observe", "state_dir": null},
            "session": {"ttl": "7m"}, "service": {"api": {"check": [
                {"type": "tcp", "address": "127.0.0.1:1", "name": null}]}}}"#;
        let config = Config::load(&Source::empty().with_json(json).unwrap()).unwrap();
        assert_eq!(config.session.ttl.as_secs(), 420);
        assert_eq!(config.services[0].checks.len(), 1);
        for wrong in ["[]", "{", r#"{"a": [null]}"#] {
            let error = Source::empty().with_json(wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{wrong}");
        }
        let unknown = Source::empty().with_json(r#"{"sesion": {}}"#).unwrap();
        assert_eq!(Config::load(&unknown).unwrap_err().kind(), ErrorKind::ConfigInvalid);
    }

    #[test]
    fn one_url_is_for_all_that_can_be_kept_there() {
        let stores = |url: &str| {
            let source = Source::empty().with_fallback("").with_store(url);
            let config = Config::load(&source).unwrap();
            assert!(config.services.is_empty());
            let store = config.store;
            [store.session, store.cache, store.bus].map(|url| url.scheme().to_owned())
        };
        assert_eq!(stores("redis://h:1"), ["redis", "redis", "redis"]);
        assert_eq!(stores("sqlite:/tmp/x.db"), ["sqlite", "memory", "memory"]);
    }
}
