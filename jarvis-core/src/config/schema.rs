//! The sections that every configuration shares, as types.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::Config;
use super::compose::Composed;
use super::node::{Entry, Value, join};
use super::problem::{Problem, Report};
use super::section::Section;
use super::source::Source;
use base::units;
use base::vocabulary::{CheckName, ConfigPath, Mode, ServiceId};
use supervision::operator::MaintenanceWindow;

/// `[jarvis]`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct JarvisSettings {
    /// The folder of everything that JARVIS remembers.
    pub state_dir: PathBuf,
    /// While this file exists nothing is acted on. `<state_dir>/STOP` unless named.
    pub kill_switch: PathBuf,
    /// How much it may do.
    pub mode: Mode,
    /// Where `/healthz`, `/status` and `/metrics` are served.
    pub http: Option<SocketAddr>,
}

/// As written; the check defaults beside them are copied into the checks before.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct JarvisKeys {
    state_dir: Option<ConfigPath>,
    kill_switch: Option<ConfigPath>,
    mode: Mode,
    http: Option<SocketAddr>,
}

/// A section that has a name and a kind, for the factory of that kind: a sink, a lease.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NamedSection {
    /// `ops` in `[alert.ops]`.
    pub name: String,
    /// Its `type`.
    pub kind: String,
    /// The rest.
    pub section: Section,
}

/// `[host.X]`: another machine.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HostSettings {
    /// What a service's `host` names.
    pub name: String,
    /// How its container engine is reached: `docker`, a URL, and `tls`.
    pub section: Section,
}

/// `[[service.X.check]]`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CheckSettings {
    /// Its `name`, else its type.
    pub name: CheckName,
    /// Its `type`: which probe.
    pub kind: String,
    /// The rest: policy and probe.
    pub section: Section,
}

/// `[service.X.restart]`: the consent to act, and how.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RestartSettings {
    /// Its `via`: which restarter.
    pub via: String,
    /// The rest: policy and restarter.
    pub section: Section,
}

/// `[service.X]`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServiceSettings {
    /// Its name.
    pub id: ServiceId,
    /// Is the platform down when it is?
    pub critical: bool,
    /// How long after its start it may fail.
    pub start_grace: Duration,
    /// What it needs.
    pub depends_on: Vec<ServiceId>,
    /// Is it restarted after one of those was?
    pub restart_with_dependencies: bool,
    /// The name that it had in an earlier configuration: its budget and history move along.
    pub renamed_from: Option<ServiceId>,
    /// The machine it runs on, where that is another.
    pub host: Option<String>,
    /// What is probed.
    pub checks: Vec<CheckSettings>,
    /// How it is restarted; absent for what is only watched.
    pub restart: Option<RestartSettings>,
    /// When and how it is rolled back.
    pub rollback: Option<Section>,
    /// The whole table.
    pub section: Section,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ServiceKeys {
    critical: bool,
    #[serde(with = "units::duration")]
    start_grace: Duration,
    depends_on: Vec<ServiceId>,
    restart_with_dependencies: bool,
    renamed_from: Option<ServiceId>,
    host: Option<String>,
    template: Option<String>,
    vars: serde::de::IgnoredAny,
}

impl Default for ServiceKeys {
    fn default() -> Self {
        Self {
            critical: false,
            start_grace: Duration::ZERO,
            depends_on: Vec::new(),
            restart_with_dependencies: false,
            renamed_from: None,
            host: None,
            template: None,
            vars: serde::de::IgnoredAny,
        }
    }
}

const TOP_LEVEL: &[&str] = &[
    "include",
    "jarvis",
    "limits",
    "allow",
    "defaults",
    "template",
    "service",
    "host",
    "maintenance",
    "alert",
    "heartbeat",
    "lease",
    "store",
    "bus",
    "session",
    "cache",
];

/// The tables that `[defaults]` may have.
const DEFAULTS: &[&str] = &["check", "restart", "rollback", "alert"];

/// Reads everything; what is wrong goes to the report and a default stands in for it.
pub(crate) fn read(source: &Source, composed: Composed, report: &mut Report) -> Config {
    let mut reader = Reader { folders: composed.folders.clone(), report };
    let root = composed.root.clone();
    for (key, entry) in &root {
        if !TOP_LEVEL.contains(&key.as_str()) {
            reader.report.push(Problem::unknown(&entry.key, key, "section", key, TOP_LEVEL));
        }
    }
    let jarvis = reader.jarvis(source, root.get("jarvis"));
    let mut config = Config::empty(composed, jarvis);
    config.limits = reader.table(root.get("limits"), "limits").unwrap_or_default();
    config.allow = reader.table(root.get("allow"), "allow").unwrap_or_default();
    config.store = reader.table(root.get("store"), "store").unwrap_or_default();
    config.bus = reader.table(root.get("bus"), "bus").unwrap_or_default();
    config.session = reader.table(root.get("session"), "session").unwrap_or_default();
    config.cache = reader.table(root.get("cache"), "cache").unwrap_or_default();
    config.heartbeat = root.get("heartbeat").and_then(|entry| reader.section(entry, "heartbeat"));
    config.lease = root.get("lease").and_then(|entry| {
        let section = reader.section(entry, "lease")?;
        reader.named("lease", section)
    });
    config.maintenance = reader.maintenance(root.get("maintenance"));
    reader.defaults(root.get("defaults"));
    for (name, section) in reader.tables(root.get("host"), "host") {
        config.hosts.push(HostSettings { name, section });
    }
    for (name, section) in reader.tables(root.get("alert"), "alert") {
        config.alerts.extend(reader.named(&name, section));
    }
    for (name, section) in reader.tables(root.get("service"), "service") {
        config.services.extend(reader.service(&name, section));
    }
    config
}

struct Reader<'a> {
    folders: std::sync::Arc<[PathBuf]>,
    report: &'a mut Report,
}

impl Reader<'_> {
    fn section(&mut self, entry: &Entry, path: &str) -> Option<Section> {
        if entry.node.as_table().is_none() {
            let message = format!("a table is expected, not {}", entry.node.kind());
            self.report.push(Problem::error(&entry.key, path, message));
            return None;
        }
        Some(Section::new(path, entry.node.clone(), &self.folders))
    }

    fn table<T: serde::de::DeserializeOwned>(
        &mut self,
        entry: Option<&Entry>,
        path: &str,
    ) -> Option<T> {
        let section = self.section(entry?, path)?;
        self.read(&section)
    }

    fn read<T: serde::de::DeserializeOwned>(&mut self, section: &Section) -> Option<T> {
        section.read().map_err(|report| self.report.extend(report)).ok()
    }

    /// The tables of `[what.NAME]`, in the order in which they were written.
    fn tables(&mut self, entry: Option<&Entry>, what: &str) -> Vec<(String, Section)> {
        let Some(section) = entry.and_then(|entry| self.section(entry, what)) else {
            return Vec::new();
        };
        let mut entries: Vec<(&String, &Entry)> = section.table().iter().collect();
        entries.sort_by_key(|(_, entry)| entry.key.position());
        entries
            .into_iter()
            .filter_map(|(name, entry)| {
                Some((name.clone(), self.section(entry, &join(what, name))?))
            })
            .collect()
    }

    fn jarvis(&mut self, source: &Source, entry: Option<&Entry>) -> JarvisSettings {
        let section = entry.and_then(|entry| self.section(entry, "jarvis"));
        let mut keys = JarvisKeys::default();
        if let Some(mut section) = section {
            section.knows(super::CHECK_KEYS);
            if let Value::Table(table) = &mut section.node_mut().value {
                table.retain(|key, _| !super::CHECK_KEYS.contains(&key.as_str()));
            }
            keys = self.read(&section).unwrap_or_default();
        }
        let state_dir =
            keys.state_dir.map_or_else(|| default_state_dir(source), ConfigPath::into_path_buf);
        let kill_switch =
            keys.kill_switch.map_or_else(|| state_dir.join("STOP"), ConfigPath::into_path_buf);
        JarvisSettings { state_dir, kill_switch, mode: keys.mode, http: keys.http }
    }

    fn named(&mut self, name: &str, mut section: Section) -> Option<NamedSection> {
        let kind = self.required(&mut section, "type")?;
        Some(NamedSection { name: name.to_owned(), kind, section })
    }

    /// Takes out a key that says which backend the rest is for.
    fn required(&mut self, section: &mut Section, key: &'static str) -> Option<String> {
        let Some(entry) = section.take(key) else {
            let problem = section.problem("", &format!("the key {key:?} is missing"));
            self.report.push(problem);
            return None;
        };
        section.knows(&[key]);
        match entry.node.as_text() {
            Some(text) => Some(text.value.clone()),
            None => {
                let message = format!("a string is expected, not {}", entry.node.kind());
                self.report.push(Problem::error(&entry.key, join(section.path(), key), message));
                None
            }
        }
    }

    fn maintenance(&mut self, entry: Option<&Entry>) -> Vec<MaintenanceWindow> {
        let Some(entry) = entry else { return Vec::new() };
        self.list(entry, "maintenance")
            .into_iter()
            .filter_map(|section| self.read(&section))
            .collect()
    }

    /// One table, or a list of tables, as sections.
    fn list(&mut self, entry: &Entry, path: &str) -> Vec<Section> {
        let Value::Array(items) = &entry.node.value else {
            return self.section(entry, path).into_iter().collect();
        };
        let mut sections = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let entry = Entry { key: item.origin.clone(), node: item.clone() };
            sections.extend(self.section(&entry, &path));
        }
        sections
    }

    fn defaults(&mut self, entry: Option<&Entry>) {
        let Some(section) = entry.and_then(|entry| self.section(entry, "defaults")) else { return };
        for (key, entry) in section.table() {
            let path = join("defaults", key);
            if !DEFAULTS.contains(&key.as_str()) {
                self.report.push(Problem::unknown(&entry.key, path, "section", key, DEFAULTS));
            } else if let Some(section) = self.section(entry, &path) {
                for key in ["type", "via", "name"].into_iter().filter(|key| section.contains(key)) {
                    let message = "it is no default: each service says it for itself";
                    self.report.push(section.problem(key, message));
                }
            }
        }
    }

    fn service(&mut self, name: &str, section: Section) -> Option<ServiceSettings> {
        let id = match ServiceId::new(name) {
            Ok(id) => id,
            Err(error) => {
                self.report.push(section.problem("", error.message()));
                return None;
            }
        };
        let mut rest = section.clone();
        let check = rest.take("check");
        let restart = rest.take("restart");
        let rollback = rest.take("rollback");
        rest.knows(&["check", "restart", "rollback"]);
        let keys: ServiceKeys = self.read(&rest).unwrap_or_default();
        let path = |key: &str| join(section.path(), key);
        let checks = check.map(|entry| self.checks(&entry, &path("check"))).unwrap_or_default();
        let restart = restart.and_then(|entry| {
            let mut section = self.section(&entry, &path("restart"))?;
            let via = self.required(&mut section, "via")?;
            Some(RestartSettings { via, section })
        });
        let rollback = rollback.and_then(|entry| self.section(&entry, &path("rollback")));
        Some(ServiceSettings {
            id,
            critical: keys.critical,
            start_grace: keys.start_grace,
            depends_on: keys.depends_on,
            restart_with_dependencies: keys.restart_with_dependencies,
            renamed_from: keys.renamed_from,
            host: keys.host,
            checks,
            restart,
            rollback,
            section,
        })
    }

    fn checks(&mut self, entry: &Entry, path: &str) -> Vec<CheckSettings> {
        let mut checks: Vec<CheckSettings> = Vec::new();
        for mut section in self.list(entry, path) {
            let kind = self.required(&mut section, "type");
            let named = section.take("name");
            section.knows(&["name"]);
            let Some(kind) = kind else { continue };
            let written = named.as_ref().map(|entry| (entry, entry.node.as_text()));
            let wanted = match written {
                Some((entry, None)) => {
                    let message = format!("a string is expected, not {}", entry.node.kind());
                    let path = join(section.path(), "name");
                    self.report.push(Problem::error(&entry.key, path, message));
                    continue;
                }
                Some((_, Some(text))) => text.value.clone(),
                None => free_name(&kind, &checks),
            };
            match CheckName::new(&wanted) {
                Ok(name) if checks.iter().any(|check| check.name == name) => {
                    let message = format!("two checks of this service are called {wanted:?}");
                    self.report.push(section.problem("", &message));
                }
                Ok(name) => checks.push(CheckSettings { name, kind, section }),
                Err(error) => self.report.push(section.problem("", error.message())),
            }
        }
        checks
    }
}

/// The type, or the type with a number where the type is taken.
fn free_name(kind: &str, checks: &[CheckSettings]) -> String {
    let taken = |name: &str| checks.iter().any(|check| check.name.as_str() == name);
    std::iter::once(kind.to_owned())
        .chain((2..).map(|number| format!("{kind}-{number}")))
        .find(|name| !taken(name))
        .unwrap_or_default()
}

/// `/var/lib/jarvis` as root, else `$XDG_STATE_HOME/jarvis` or `~/.local/state/jarvis`.
pub(super) fn default_state_dir(source: &Source) -> PathBuf {
    if source.is_privileged() {
        return PathBuf::from("/var/lib/jarvis");
    }
    source
        .variable("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|folder| folder.is_absolute())
        .or_else(|| source.variable("HOME").map(|home| Path::new(home).join(".local/state")))
        .map_or_else(|| source.directory().join(".jarvis"), |folder| folder.join("jarvis"))
}
