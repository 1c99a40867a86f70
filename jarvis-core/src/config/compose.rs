//! From files to one tree: includes, environment overrides, templates, defaults, interpolation.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use globset::{GlobBuilder, GlobMatcher};

use super::interpolate::{Scope, plain_secrets};
use super::node::{Entry, Node, Table, Text, Value, join, recover};
use super::problem::{Origin, Problem, Report};
use super::source::{Located, Setting, Source};
use base::secret::KnownSecrets;

/// How many files one configuration may have, and how deep includes and folders may go.
const MAX_FILES: usize = 1_000;
const MAX_DEPTH: usize = 16;

/// The sections that environment variables and settings may set.
const OVERRIDABLE: &[&str] = &["jarvis", "limits", "store"];

/// One tree out of all files.
#[derive(Debug)]
pub(crate) struct Composed {
    pub(crate) root: Table,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) folders: Arc<[PathBuf]>,
    /// What interpolation put in and nobody may see.
    pub(crate) secrets: KnownSecrets,
    pub(crate) report: Report,
    /// Is there a file that could not be read, or not as a whole?
    pub(crate) incomplete: bool,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.kind(), self.origin)
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.node.fmt(f)
    }
}

/// Reads a file with everything it includes, or a text that has no file. A document with a syntax
/// error is left out as a whole.
pub(crate) fn compose(source: &Source, start: &Start<'_>) -> Composed {
    read(source, start, false)
}

/// As [`compose`], with what can be read of a document with syntax errors.
pub(crate) fn salvage(source: &Source, start: &Start<'_>) -> Composed {
    read(source, start, true)
}

fn read(source: &Source, start: &Start<'_>, salvage: bool) -> Composed {
    let mut reader = Reader {
        source,
        files: Vec::new(),
        open: Vec::new(),
        root: Table::new(),
        report: Report::default(),
        salvage,
        incomplete: false,
    };
    match start {
        Start::File(file) => reader.file(file),
        Start::Text { name, text } => {
            reader.files.push(source.directory().join(name));
            if let Some(node) = reader.parse(name, 0, text) {
                reader.document(node, source.directory());
            }
        }
    }
    let folders: Arc<[PathBuf]> = reader
        .files
        .iter()
        .map(|file| file.parent().map_or_else(PathBuf::new, Path::to_owned))
        .collect();
    let Reader { files, mut root, mut report, incomplete, .. } = reader;
    override_values(source, &mut root, &mut report);
    expand_services(&mut root, &mut report);
    let secrets = interpolate(source, &folders, &mut root, &mut report);
    Composed { root, files, folders, secrets, report, incomplete }
}

/// What is read first.
pub(crate) enum Start<'a> {
    File(&'a Located),
    Text { name: &'a str, text: &'a str },
}

struct Reader<'a> {
    source: &'a Source,
    files: Vec<PathBuf>,
    /// The files that are being read: the way to the innermost include.
    open: Vec<PathBuf>,
    root: Table,
    report: Report,
    salvage: bool,
    incomplete: bool,
}

impl Reader<'_> {
    fn file(&mut self, file: &Located) {
        let canonical = file.path.canonicalize().unwrap_or_else(|_| file.path.clone());
        let text = match self.source.read(file) {
            Ok(text) => text,
            Err(problem) => {
                self.incomplete = true;
                return self.report.push(problem);
            }
        };
        let order = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
        self.files.push(file.path.clone());
        let Some(node) = self.parse(&self.source.show(&file.path), order, &text) else { return };
        self.open.push(canonical);
        self.document(node, file.path.parent().unwrap_or(Path::new("/")));
        self.open.pop();
    }

    fn parse(&mut self, name: &str, order: u32, text: &str) -> Option<Node> {
        let (node, report) = recover(name, order, text);
        let broken = report.is_refused();
        self.incomplete |= broken;
        self.report.extend(report);
        (!broken || self.salvage).then_some(node)
    }

    fn document(&mut self, mut node: Node, folder: &Path) {
        let Some(table) = node.as_table_mut() else { return };
        let include = table.remove("include");
        merge(&mut self.root, std::mem::take(table), "", &mut self.report);
        let Some(include) = include else { return };
        let Value::Array(patterns) = &include.node.value else {
            return self.wrong(&include.key, "a list of paths or globs is expected");
        };
        for pattern in patterns {
            match pattern.as_text() {
                Some(text) => self.include(&text.written, folder, &pattern.origin),
                None => self.wrong(&pattern.origin, "a path or glob in quotes is expected"),
            }
        }
    }

    fn include(&mut self, pattern: &str, folder: &Path, origin: &Origin) {
        let paths = match expand_glob(folder, pattern) {
            Ok(paths) => paths,
            Err(message) => return self.wrong(origin, &message),
        };
        for path in paths {
            let canonical = path.canonicalize().unwrap_or_else(|_| path.clone());
            if let Some(at) = self.open.iter().position(|open| *open == canonical) {
                let mut way: Vec<String> =
                    self.open[at..].iter().map(|file| self.source.show(file)).collect();
                way.push(self.source.show(&canonical));
                self.wrong(origin, &format!("the files include each other: {}", way.join(" -> ")));
                continue;
            }
            if self.files.contains(&path) {
                continue;
            }
            if self.files.len() >= MAX_FILES || self.open.len() >= MAX_DEPTH {
                let message = format!("over {MAX_FILES} files, or includes over {MAX_DEPTH} deep");
                return self.wrong(origin, &message);
            }
            self.file(&Located { path, by_chance: false });
        }
    }

    fn wrong(&mut self, origin: &Origin, message: &str) {
        self.report.push(Problem::error(origin, "include", message));
    }
}

/// The files that a path or glob names, sorted. A plain path need not exist: reading it will tell.
fn expand_glob(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let is_glob = |part: &str| part.contains(['*', '?', '[', '{']);
    if !is_glob(pattern) {
        return Ok(vec![folder.join(pattern)]);
    }
    let plain: PathBuf =
        Path::new(pattern).iter().take_while(|part| !is_glob(&part.to_string_lossy())).collect();
    let base = folder.join(plain);
    let matcher = GlobBuilder::new(&folder.join(pattern).to_string_lossy())
        .literal_separator(true)
        .build()
        .map_err(|error| format!("{pattern:?} is no glob: {}", error.kind()))?
        .compile_matcher();
    // No deeper than the pattern reaches.
    let depth = match pattern.contains("**") {
        true => MAX_DEPTH,
        false => {
            Path::new(pattern).iter().skip_while(|part| !is_glob(&part.to_string_lossy())).count()
                - 1
        }
    };
    let mut found = Vec::new();
    walk(&base, &matcher, depth, &mut found);
    found.sort();
    Ok(found)
}

fn walk(folder: &Path, matcher: &GlobMatcher, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if found.len() > MAX_FILES {
            return;
        }
        if path.is_dir() {
            if depth > 0 && !path.is_symlink() {
                walk(&path, matcher, depth - 1, found);
            }
        } else if matcher.is_match(&path) {
            found.push(path);
        }
    }
}

/// Adds one document to another. Tables grow together, lists of tables follow each other, and
/// anything else may be written once.
fn merge(into: &mut Table, from: Table, path: &str, report: &mut Report) {
    for (key, entry) in from {
        let path = join(path, &key);
        let Some(there) = into.get_mut(&key) else {
            into.insert(key, entry);
            continue;
        };
        match (&mut there.node.value, entry.node.value) {
            (Value::Table(mine), Value::Table(theirs)) => merge(mine, theirs, &path, report),
            (Value::Array(mine), Value::Array(theirs))
                if mine.iter().chain(&theirs).all(|item| item.as_table().is_some()) =>
            {
                mine.extend(theirs);
            }
            _ => {
                let message = format!("it is set already, at {}", there.key);
                report.push(Problem::error(&entry.key, path, message));
            }
        }
    }
}

/// Overrides what the files say: `JARVIS_LIMITS__WINDOW=5m` and the like, and above them the settings
/// of [`Source::with_setting`].
fn override_values(source: &Source, root: &mut Table, report: &mut Report) {
    for (name, value) in source.variables() {
        let Some((section, key)) =
            name.strip_prefix("JARVIS_").and_then(|rest| rest.split_once("__"))
        else {
            continue;
        };
        let origin = Origin::named(&format!("environment variable {name}"));
        let (section, key) = (section.to_ascii_lowercase(), key.to_ascii_lowercase());
        if OVERRIDABLE.contains(&section.as_str()) {
            set(root, section, key, value, &origin);
        } else {
            report.push(Problem::unknown(&origin, "", "section", &section, OVERRIDABLE));
        }
    }
    for Setting { key, value, origin } in source.settings() {
        let origin = Origin::named(origin);
        match key.split_once('.') {
            Some((section, key)) if OVERRIDABLE.contains(&section) => {
                set(root, section.to_owned(), key.to_owned(), value, &origin);
            }
            _ => {
                let sections = OVERRIDABLE.join(", ");
                let message = format!("this key can't be set here; the sections are {sections}");
                report.push(Problem::error(&origin, key, message));
            }
        }
    }
}

fn set(root: &mut Table, section: String, key: String, value: &str, origin: &Origin) {
    let table = root.entry(section).or_insert_with(|| Entry {
        key: origin.clone(),
        node: Node::table(Table::new(), origin.clone()),
    });
    if let Some(table) = table.node.as_table_mut() {
        let node = Node::text(value, origin.clone());
        table.insert(key, Entry { key: origin.clone(), node });
    }
}

/// Templates and defaults go into every service; what the service says itself wins.
fn expand_services(root: &mut Table, report: &mut Report) {
    let templates = root.get("template").and_then(|entry| entry.node.as_table()).cloned();
    let templates = templates.unwrap_or_default();
    let defaults = root.get("defaults").and_then(|entry| entry.node.as_table()).cloned();
    let defaults = defaults.unwrap_or_default();
    let jarvis = root.get("jarvis").and_then(|entry| entry.node.as_table()).cloned();
    let services = root.get_mut("service").and_then(|entry| entry.node.as_table_mut());
    for (name, service) in services.into_iter().flatten() {
        let path = join("service", name);
        let Some(table) = service.node.as_table_mut() else { continue };
        apply_template(table, &templates, &path, report);
        for (section, own) in &defaults {
            if let (Some(own), Some(target)) = (own.node.as_table(), table.get_mut(section)) {
                fill_each(&mut target.node, own);
            }
        }
        if let (Some(jarvis), Some(checks)) = (&jarvis, table.get_mut("check")) {
            let base = jarvis.iter().filter(|(key, _)| super::CHECK_KEYS.contains(&key.as_str()));
            fill_each(&mut checks.node, &base.map(|(k, v)| (k.clone(), v.clone())).collect());
        }
    }
    if let Some(own) = defaults.get("alert").and_then(|entry| entry.node.as_table()) {
        let alerts = root.get_mut("alert").and_then(|entry| entry.node.as_table_mut());
        for alert in alerts.into_iter().flat_map(BTreeMap::values_mut) {
            fill_each(&mut alert.node, own);
        }
    }
}

fn apply_template(service: &mut Table, templates: &Table, path: &str, report: &mut Report) {
    let Some(entry) = service.get("template") else { return };
    let path = join(path, "template");
    let Some(name) = entry.node.as_text().map(|text| text.written.clone()) else {
        let message = "the name of a template is expected, in quotes";
        return report.push(Problem::error(&entry.key, path, message));
    };
    let Some(template) = templates.get(&name) else {
        let names: Vec<&String> = templates.keys().collect();
        return report.push(Problem::unknown(&entry.key, path, "template", &name, &names));
    };
    let Some(template) = template.node.as_table() else { return };
    if let Some(inner) = template.get("template") {
        let message = "a template can't use another template";
        report.push(Problem::error(
            &inner.key,
            join(&join("template", &name), "template"),
            message,
        ));
        return;
    }
    fill(service, template);
}

/// Puts in what is missing, table by table.
fn fill(table: &mut Table, from: &Table) {
    for (key, entry) in from {
        match table.get_mut(key) {
            None => {
                table.insert(key.clone(), entry.clone());
            }
            Some(own) => {
                if let (Some(own), Some(theirs)) = (own.node.as_table_mut(), entry.node.as_table())
                {
                    fill(own, theirs);
                }
            }
        }
    }
}

/// [`fill`] for a table, or for each table of a list.
fn fill_each(node: &mut Node, from: &Table) {
    match &mut node.value {
        Value::Table(table) => fill(table, from),
        Value::Array(items) => {
            for table in items.iter_mut().filter_map(Node::as_table_mut) {
                fill(table, from);
            }
        }
        _ => {}
    }
}

/// Fills in `${…}` everywhere but in templates and defaults, which were copied to where they are
/// used. The secrets that this puts in are masked from then on.
fn interpolate(
    source: &Source,
    folders: &[PathBuf],
    root: &mut Table,
    report: &mut Report,
) -> KnownSecrets {
    let mut secrets = Vec::new();
    for (key, entry) in root {
        match (key.as_str(), entry.node.as_table_mut()) {
            ("template" | "defaults", _) => {}
            ("service", Some(services)) => {
                for (name, service) in services {
                    let variables = variables(&service.node);
                    let scope = Scope { source, folders, service: Some(name), variables };
                    let path = join("service", name);
                    expand(&scope, &mut service.node, &path, report, &mut secrets);
                }
            }
            _ => {
                let scope = Scope { source, folders, service: None, variables: BTreeMap::new() };
                expand(&scope, &mut entry.node, key, report, &mut secrets);
            }
        }
    }
    KnownSecrets::new(&secrets)
}

/// `[service.X.vars]`: strings and numbers that a template may name.
fn variables(service: &Node) -> BTreeMap<String, String> {
    let table = service.as_table().and_then(|table| table.get("vars")?.node.as_table());
    let text = |node: &Node| match &node.value {
        Value::Text(text) => Some(text.written.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Array(_) | Value::Table(_) => None,
    };
    table
        .into_iter()
        .flatten()
        .filter_map(|(name, entry)| Some((name.clone(), text(&entry.node)?)))
        .collect()
}

fn expand(
    scope: &Scope<'_>,
    node: &mut Node,
    path: &str,
    report: &mut Report,
    secrets: &mut Vec<String>,
) {
    node.for_each_text(path, &mut |path, origin, text: &mut Text| match scope.expand(
        &text.written,
        path,
        origin.position().0,
    ) {
        Ok(expanded) => {
            if expanded.value == text.written && origin.line().is_some() {
                secrets.extend(plain_secrets(path, &text.written));
            }
            text.value = expanded.value;
            secrets.extend(expanded.secrets);
            for doubt in expanded.doubts {
                report.push(Problem::warning(origin, path, doubt));
            }
        }
        Err(message) => report.push(Problem::error(origin, path, message)),
    });
}
