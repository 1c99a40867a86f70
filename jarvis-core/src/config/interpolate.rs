//! `${env:NAME}`, `${file:PATH}`, `${var:NAME}` and `${service}` inside strings.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::source::Source;

/// A secret's file over this size is a mistake.
const MAX_SECRET: u64 = 64 * 1024;

/// What a string may name.
pub(crate) struct Scope<'a> {
    pub(crate) source: &'a Source,
    pub(crate) folders: &'a [PathBuf],
    /// The service whose table it is in.
    pub(crate) service: Option<&'a str>,
    /// `[service.X.vars]`.
    pub(crate) variables: BTreeMap<String, String>,
    /// What somebody should look at, gathered by [`expand`](Self::expand).
    pub(crate) doubts: RefCell<Vec<String>>,
}

impl<'a> Scope<'a> {
    pub(crate) fn new(
        source: &'a Source,
        folders: &'a [PathBuf],
        service: Option<&'a str>,
        variables: BTreeMap<String, String>,
    ) -> Self {
        Self { source, folders, service, variables, doubts: RefCell::default() }
    }

    /// The string with everything filled in, or what is wrong with it. `$${` stands for `${`.
    pub(crate) fn expand(&self, text: &str, order: u32) -> Result<String, String> {
        let mut expanded = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, inside) = (&rest[..at], &rest[at + 2..]);
            if let Some(before) = before.strip_suffix('$') {
                expanded.push_str(before);
                expanded.push_str("${");
                rest = inside;
                continue;
            }
            expanded.push_str(before);
            let Some((name, after)) = inside.split_once('}') else {
                return Err(format!("{text:?} has \"${{\" without \"}}\""));
            };
            expanded.push_str(&self.value(name, order)?);
            rest = after;
        }
        expanded.push_str(rest);
        Ok(expanded)
    }

    fn value(&self, name: &str, order: u32) -> Result<String, String> {
        match name.split_once(':') {
            Some(("env", variable)) => {
                self.source.variable(variable).map(str::to_owned).ok_or_else(|| {
                    format!("the environment variable {variable:?} is not set (or empty)")
                })
            }
            Some(("file", path)) => {
                let folder = usize::try_from(order).ok().and_then(|order| self.folders.get(order));
                let path = folder.map_or_else(|| PathBuf::from(path), |folder| folder.join(path));
                let (secret, doubt) = read_secret(&path, self.source.is_privileged())?;
                self.doubts.borrow_mut().extend(doubt);
                Ok(secret)
            }
            Some(("var", variable)) => self.variables.get(variable).cloned().ok_or_else(|| {
                let names: Vec<&str> = self.variables.keys().map(String::as_str).collect();
                match names.as_slice() {
                    [] => format!("${{var:{variable}}} is used, and this service has no `vars`"),
                    names => format!(
                        "${{var:{variable}}} is not in `vars`, which has: {}",
                        names.join(", ")
                    ),
                }
            }),
            None if name == "service" => self.service.map(str::to_owned).ok_or_else(|| {
                "${service} stands for a service's name, inside of a service only".to_owned()
            }),
            _ => Err(format!(
                "${{{name}}} is unknown; use ${{env:NAME}}, ${{file:PATH}}, ${{var:NAME}} or ${{service}}, and $${{ for these two characters themselves"
            )),
        }
    }
}

/// The secret, and what somebody should look at.
///
/// As root a file that others may write is refused: they would decide whom JARVIS talks to. One
/// that others may read is told and used, because that is how Docker mounts its secrets.
fn read_secret(path: &Path, privileged: bool) -> Result<(String, Option<String>), String> {
    let cannot = |why: &dyn std::fmt::Display| format!("{} can't be read: {why}", path.display());
    // Not blocking, so that a FIFO is an answer rather than a wait.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    let file = fs::File::from(opened.map_err(|error| cannot(&error))?);
    let metadata = file.metadata().map_err(|error| cannot(&error))?;
    if !metadata.is_file() {
        return Err(cannot(&"it is not a file"));
    }
    let others = metadata.mode() & 0o077;
    if privileged && others & 0o022 != 0 {
        return Err(format!(
            "{path} holds a secret, and others than its owner may write it: `chmod go-w {path}`",
            path = path.display()
        ));
    }
    let doubt = (privileged && others & 0o044 != 0).then(|| {
        format!(
            "{path} holds a secret, and others than its owner may read it: `chmod go-r {path}`",
            path = path.display()
        )
    });
    let mut text = String::new();
    file.take(MAX_SECRET + 1).read_to_string(&mut text).map_err(|error| cannot(&error))?;
    if text.len() as u64 > MAX_SECRET {
        return Err(cannot(&"it is over 64 KiB"));
    }
    let trimmed = text.trim_end_matches(['\n', '\r']);
    if trimmed.is_empty() { Err(cannot(&"it is empty")) } else { Ok((trimmed.to_owned(), doubt)) }
}
