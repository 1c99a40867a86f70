//! [`Section`]: one table of a configuration, handed to the factory that understands it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::de::{DecodeError, Key, NodeDeserializer, Unknown, keys_of};
use super::node::{Entry, Node, Table, join};
use super::problem::{Origin, Problem, Report};
use base::secret::{REDACTED, SHORTEST};
use base::{Error, Result};

/// One table with the place where each of its keys was written.
///
/// A factory calls [`parse`](Section::parse) with its own `deny_unknown_fields` struct; an error
/// names file, line, key and the nearest valid key. `Debug` shows keys, never values.
#[derive(Clone, PartialEq)]
pub struct Section {
    path: String,
    node: Node,
    /// The folder of each file, by the order in which they were read.
    folders: Arc<[PathBuf]>,
    /// Keys that belong to the same table of the file but that somebody else reads.
    siblings: Vec<&'static str>,
    /// Where keys stood that were taken out.
    taken: Vec<(String, Origin)>,
}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Section")
            .field("path", &self.path)
            .field("origin", &self.node.origin.to_string())
            .field("keys", &self.keys())
            .finish_non_exhaustive()
    }
}

impl Section {
    pub(crate) fn new(path: impl Into<String>, node: Node, folders: &Arc<[PathBuf]>) -> Self {
        let folders = Arc::clone(folders);
        Self { path: path.into(), node, folders, siblings: Vec::new(), taken: Vec::new() }
    }

    /// A section from TOML text, for code that has no file: tests, embedders.
    ///
    /// # Errors
    /// `ConfigInvalid` when the text is not TOML.
    pub fn from_toml(text: &str) -> Result<Self> {
        let node = super::node::parse("inline", 0, text).map_err(Report::into_error)?;
        Ok(Self::new("", node, &Arc::from([])))
    }

    /// The keys down to this table: `service.api.check[0]`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where the table begins.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.node.origin
    }

    /// The keys that are there.
    #[must_use]
    pub fn keys(&self) -> Vec<&str> {
        self.table().keys().map(String::as_str).collect()
    }

    /// Is this key there?
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        self.table().contains_key(key)
    }

    /// Where this key was written; where the table begins when it is not there.
    #[must_use]
    pub fn origin_of(&self, key: &str) -> &Origin {
        let taken = || self.taken.iter().find(|(name, _)| name == key).map(|(_, origin)| origin);
        let here = self.table().get(key).map(|entry| &entry.key);
        here.or_else(taken).unwrap_or(&self.node.origin)
    }

    /// Reads the whole table. A [`ConfigPath`](base::vocabulary::ConfigPath) in it is relative to the
    /// file that it is written in.
    ///
    /// # Errors
    /// `ConfigInvalid` with a [`Report`] of everything that does not fit as its source.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        self.read().map_err(Report::into_error)
    }

    /// An error about one key of this section (or about all of it, with an empty key), without
    /// the values that interpolation put in.
    #[must_use]
    pub fn error(&self, key: &str, message: &str) -> Error {
        let mut report = Report::default();
        report.push(self.problem(key, message));
        report.into_error()
    }

    pub(crate) fn problem(&self, key: &str, message: &str) -> Problem {
        let path = if key.is_empty() { self.path.clone() } else { join(&self.path, key) };
        Problem::error(self.origin_of(key), path, self.scrub(message))
    }

    /// The problems of an error that a factory gave back for this section.
    pub(crate) fn report(&self, error: &Error) -> Report {
        if let Some(report) = Report::of(error) {
            return report.clone();
        }
        let mut report = Report::default();
        report.push(self.problem("", error.message()));
        report
    }

    /// A name under `key` that does not exist.
    pub(crate) fn unknown(&self, key: &str, what: &str, written: &str, known: &[&str]) -> Problem {
        let known: Vec<&str> = known.to_vec();
        let written = self.scrub(written);
        Problem::unknown(self.origin_of(key), join(&self.path, key), what, &written, &known)
    }

    pub(crate) fn entry(&self, key: &str) -> Option<Entry> {
        self.table().get(key).cloned()
    }

    /// Adds a key, unless it is there.
    pub(crate) fn put(&mut self, key: &str, entry: Entry) {
        if let Some(table) = self.node.as_table_mut() {
            table.entry(key.to_owned()).or_insert(entry);
        }
    }

    /// The string under a key, as it is used.
    pub(crate) fn text(&self, key: &str) -> Option<String> {
        Some(self.table().get(key)?.node.as_text()?.value.clone())
    }

    /// All of it as it was written, without what interpolation put in.
    pub(crate) fn written(&self) -> serde_json::Value {
        self.node.written()
    }

    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    pub(crate) fn node_mut(&mut self) -> &mut Node {
        &mut self.node
    }

    pub(crate) fn table(&self) -> &Table {
        static NONE: Table = Table::new();
        self.node.as_table().unwrap_or(&NONE)
    }

    /// Takes a key out.
    pub(crate) fn take(&mut self, key: &str) -> Option<Entry> {
        let entry = self.node.as_table_mut()?.remove(key)?;
        self.taken.push((key.to_owned(), entry.key.clone()));
        Some(entry)
    }

    /// Reads the keys of `T` out of the table and leaves the others for somebody else, whose
    /// complaints will know these keys too.
    pub(crate) fn split<T: DeserializeOwned>(&mut self) -> (Self, std::result::Result<T, Report>) {
        let keys = keys_of::<T>();
        let mut part = self.clone();
        if let (Some(mine), Some(rest)) = (part.node.as_table_mut(), self.node.as_table_mut()) {
            mine.retain(|key, _| keys.contains(&key.as_str()));
            rest.retain(|key, _| !keys.contains(&key.as_str()));
        }
        self.siblings.extend(keys);
        let read = part.read();
        (part, read)
    }

    pub(crate) fn knows(&mut self, keys: &[&'static str]) {
        self.siblings.extend(keys);
    }

    /// Reads the table and, when something does not fit, goes on without it, so that all of it is
    /// told at once.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> std::result::Result<T, Report> {
        let mut report = Report::default();
        let mut removed: Vec<Vec<String>> = Vec::new();
        let mut node = self.node.clone();
        loop {
            let error = match T::deserialize(NodeDeserializer(&node, &self.folders)) {
                Ok(value) if report.problems.is_empty() => return Ok(value),
                Ok(_) => return Err(report),
                Err(error) => error,
            };
            let path = names(&error.keys);
            let reported = error.missing.is_some_and(|field| {
                removed.iter().any(|gone| {
                    gone.split_last().is_some_and(|(last, rest)| last == field && rest == path)
                })
            });
            if !reported {
                report.push(self.explain(&error));
            }
            if !remove(&mut node, &path) {
                return Err(report);
            }
            removed.push(path);
        }
    }

    fn explain(&self, error: &DecodeError) -> Problem {
        let origin = error.origin.as_ref().unwrap_or(&self.node.origin);
        let path = error.path(&self.path);
        match error.unknown.as_deref() {
            Some(Unknown { name, expected }) if error.message == "key" => {
                let mut known = expected.to_vec();
                if error.keys.len() == 1 {
                    known.extend(&self.siblings);
                }
                Problem::unknown(origin, path, "key", name, &known)
            }
            Some(Unknown { name, expected }) => {
                Problem::unknown(origin, path, "choice", &self.scrub(name), expected)
            }
            None => Problem::error(origin, path, self.scrub(&error.message)),
        }
    }

    /// The text without any value that interpolation put in.
    fn scrub(&self, text: &str) -> String {
        let mut secrets = Vec::new();
        self.node.secrets(&mut secrets);
        secrets.retain(|secret| secret.len() >= SHORTEST);
        // The longest first, so that a secret inside another leaves no rest of it.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.iter().fold(text.to_owned(), |text, secret| {
            let escaped = secret.escape_debug().to_string();
            text.replace(secret.as_str(), REDACTED).replace(&escaped, REDACTED)
        })
    }
}

/// The names on the way to what does not fit, up to the first array.
fn names(keys: &[Key]) -> Vec<String> {
    let names = keys.iter().rev().map_while(|key| match key {
        Key::Name(name) => Some(name.clone()),
        Key::Index(_) => None,
    });
    names.collect()
}

fn remove(node: &mut Node, path: &[String]) -> bool {
    let Some((last, parents)) = path.split_last() else { return false };
    let table = parents
        .iter()
        .try_fold(node, |node, key| node.as_table_mut()?.get_mut(key).map(|entry| &mut entry.node));
    table.and_then(Node::as_table_mut).and_then(|table| table.remove(last)).is_some()
}

impl From<Report> for Error {
    fn from(report: Report) -> Self {
        report.into_error()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only reading it is of interest")]
    struct Example {
        url: String,
        #[serde(default)]
        retries: u32,
        #[serde(default)]
        nested: Option<Nested>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only reading it is of interest")]
    struct Nested {
        mode: Mode,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Mode {
        Fast,
        Thorough,
    }

    fn problems(text: &str) -> Vec<String> {
        let error = Section::from_toml(text).unwrap().parse::<Example>().unwrap_err();
        Report::of(&error).unwrap().problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn everything_that_does_not_fit_is_told_at_once() {
        assert_eq!(
            problems("ulr = \"x\"\nretries = \"two\"\n[nested]\nmode = \"fats\"\n"),
            [
                "inline:4: nested.mode: unknown choice \"fats\", did you mean \"fast\"? Valid choices: fast, thorough",
                "inline:2: retries: u32 is expected, not string \"two\"",
                "inline:1: ulr: unknown key \"ulr\", did you mean \"url\"? Valid keys: nested, retries, url",
                "inline:1: the key \"url\" is missing",
            ]
        );
    }

    #[test]
    fn a_value_out_of_range_is_named() {
        assert_eq!(
            problems("url = \"x\"\nretries = -1"),
            ["inline:2: retries: u32 is expected, not integer `-1`"]
        );
    }
}
