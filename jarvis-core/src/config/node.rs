//! A parsed document in which every key and value knows where it was written.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Origin, Problem, Report};

/// A string as it was written and, after interpolation, as it is used.
#[derive(Clone, PartialEq)]
pub(crate) struct Text {
    /// As it was written: shown to people.
    pub(crate) written: String,
    /// As it is used. Differs from `written` only by interpolation; then it may be a secret.
    pub(crate) value: String,
}

impl Text {
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        let written = text.into();
        Self { value: written.clone(), written }
    }

    pub(crate) fn is_interpolated(&self) -> bool {
        self.written != self.value
    }
}

#[derive(Clone, PartialEq)]
pub(crate) enum Value {
    Text(Text),
    Integer(i64),
    Float(f64),
    Bool(bool),
    Array(Vec<Node>),
    Table(Table),
}

#[derive(Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// A key's place and its value.
#[derive(Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: Origin,
    pub(crate) node: Node,
}

pub(crate) type Table = BTreeMap<String, Entry>;

impl Node {
    pub(crate) fn text(text: impl Into<String>, origin: Origin) -> Self {
        Self { value: Value::Text(Text::plain(text)), origin }
    }

    pub(crate) fn table(table: Table, origin: Origin) -> Self {
        Self { value: Value::Table(table), origin }
    }

    /// What it is, with its article, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Text(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a number",
            Value::Bool(_) => "true or false",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
        }
    }

    pub(crate) fn as_table(&self) -> Option<&Table> {
        if let Value::Table(table) = &self.value { Some(table) } else { None }
    }

    pub(crate) fn as_table_mut(&mut self) -> Option<&mut Table> {
        if let Value::Table(table) = &mut self.value { Some(table) } else { None }
    }

    pub(crate) fn as_text(&self) -> Option<&Text> {
        if let Value::Text(text) = &self.value { Some(text) } else { None }
    }

    /// Calls `visit` for every string in it, with the path of its key.
    pub(crate) fn for_each_text(
        &mut self,
        path: &str,
        visit: &mut dyn FnMut(&str, &Origin, &mut Text),
    ) {
        match &mut self.value {
            Value::Text(text) => visit(path, &self.origin, text),
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    item.for_each_text(&format!("{path}[{index}]"), visit);
                }
            }
            Value::Table(table) => {
                for (key, entry) in table {
                    entry.node.for_each_text(&join(path, key), visit);
                }
            }
            Value::Integer(_) | Value::Float(_) | Value::Bool(_) => {}
        }
    }

    /// Every value that interpolation put in: none of them may appear in a message.
    pub(crate) fn secrets(&self, found: &mut Vec<String>) {
        match &self.value {
            Value::Text(text) if text.is_interpolated() => found.push(text.value.clone()),
            Value::Array(items) => items.iter().for_each(|item| item.secrets(found)),
            Value::Table(table) => table.values().for_each(|entry| entry.node.secrets(found)),
            _ => {}
        }
    }

    /// As it was written, for `config show`.
    pub(crate) fn written(&self) -> Json {
        match &self.value {
            Value::Text(text) => Json::String(text.written.clone()),
            Value::Integer(number) => Json::from(*number),
            Value::Float(number) => Json::from(*number),
            Value::Bool(truth) => Json::Bool(*truth),
            Value::Array(items) => items.iter().map(Self::written).collect(),
            Value::Table(table) => {
                table.iter().map(|(key, entry)| (key.clone(), entry.node.written())).collect()
            }
        }
    }
}

/// `path.key`, or `key` at the top.
pub(crate) fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty()
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let key = if bare { Cow::Borrowed(key) } else { Cow::Owned(format!("{key:?}")) };
    if path.is_empty() { key.into_owned() } else { format!("{path}.{key}") }
}

/// Where the lines of one document begin.
struct Lines {
    file: Arc<str>,
    order: u32,
    starts: Vec<usize>,
}

impl Lines {
    fn new(file: &str, order: u32, text: &str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect();
        Self { file: file.into(), order, starts }
    }

    fn origin(&self, offset: usize) -> Origin {
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        Origin::new(Arc::clone(&self.file), u32::try_from(line).unwrap_or(u32::MAX), self.order)
    }
}

/// Parses a document. Every syntax error is a problem with its line.
pub(crate) fn parse(file: &str, order: u32, text: &str) -> Result<Node, Report> {
    let (node, report) = recover(file, order, text);
    if report.is_refused() { Err(report) } else { Ok(node) }
}

/// What can be read of a document, and what is wrong with it.
pub(crate) fn recover(file: &str, order: u32, text: &str) -> (Node, Report) {
    let lines = Lines::new(file, order, text);
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut report = Report::default();
    for error in errors {
        let offset = error.span().map_or(text.len(), |span| span.start);
        report.push(Problem::error(&lines.origin(offset), "", error.message().replace('\n', ", ")));
    }
    let mut converter = Converter { lines: &lines, report: &mut report };
    let table = converter.table(root.into_inner(), "");
    (Node::table(table, lines.origin(0)), report)
}

struct Converter<'a> {
    lines: &'a Lines,
    report: &'a mut Report,
}

impl Converter<'_> {
    fn table(&mut self, table: DeTable<'_>, path: &str) -> Table {
        let mut converted = Table::new();
        for (key, value) in table {
            let origin = self.lines.origin(key.span().start);
            let name = key.into_inner().into_owned();
            let node = self.node(value, &join(path, &name));
            converted.insert(name, Entry { key: origin, node });
        }
        converted
    }

    fn node(&mut self, value: Spanned<DeValue<'_>>, path: &str) -> Node {
        let origin = self.lines.origin(value.span().start);
        let value = match value.into_inner() {
            DeValue::String(text) => Value::Text(Text::plain(text.into_owned())),
            DeValue::Boolean(truth) => Value::Bool(truth),
            DeValue::Datetime(time) => Value::Text(Text::plain(time.to_string())),
            DeValue::Integer(number) => {
                let read = i64::from_str_radix(number.as_str(), number.radix());
                Value::Integer(read.unwrap_or_else(|_| {
                    self.wrong(&origin, path, "the number is too large");
                    0
                }))
            }
            DeValue::Float(number) => {
                let read = number.as_str().parse().ok().filter(|read: &f64| read.is_finite());
                Value::Float(read.unwrap_or_else(|| {
                    self.wrong(&origin, path, "a finite number is expected");
                    0.0
                }))
            }
            DeValue::Array(items) => Value::Array(
                items
                    .into_iter()
                    .enumerate()
                    .map(|(index, item)| self.node(item, &format!("{path}[{index}]")))
                    .collect(),
            ),
            DeValue::Table(table) => Value::Table(self.table(table, path)),
        };
        Node { value, origin }
    }

    fn wrong(&mut self, origin: &Origin, path: &str, message: &str) {
        self.report.push(Problem::error(origin, path, message));
    }
}
