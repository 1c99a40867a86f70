//! `${env:NAME}`, `${file:PATH}`, `${var:NAME}` and `${service}` inside strings.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::check::names_a_secret;
use super::component::{Component, Piece, components, encode, scheme, url_secrets};
use super::source::Source;
use base::secret::SHORTEST;
use base::units;

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
}

/// A string with everything filled in.
#[derive(Debug, Default)]
pub(crate) struct Expanded {
    pub(crate) value: String,
    /// What must not be shown.
    pub(crate) secrets: Vec<String>,
    /// What somebody should look at.
    pub(crate) doubts: Vec<String>,
}

impl Scope<'_> {
    /// The string that stands under this path with everything filled in, or what is wrong with it.
    /// `$${` stands for `${`.
    ///
    /// In a URL what `${env:…}` and `${file:…}` stand for is one value: it is percent-encoded into
    /// the component that it stands in.
    pub(crate) fn expand(&self, text: &str, path: &str, order: u32) -> Result<Expanded, String> {
        let mut expanded = Expanded::default();
        let pieces = self.pieces(text, order, &mut expanded.doubts)?;
        let key = key_of(path);
        let mut components = components(&pieces, key.ends_with("url")).into_iter();
        for piece in &pieces {
            let Piece::Value { name, value } = piece else {
                expanded.value.push_str(piece.text());
                continue;
            };
            let component = components.next().unwrap_or(Component::Text);
            let encoded = encode(component, value).map_err(|why| format!("${{{name}}}: {why}"))?;
            expanded.value.push_str(&encoded);
            let place = Place { path, key, name, component };
            let secrets = secrets_in(&place, value);
            if secrets.iter().any(|secret| secret.len() < SHORTEST) && place.is_surely_secret() {
                expanded.doubts.push(format!(
                    "the value of ${{{name}}} is shorter than {SHORTEST} characters, so it can't be masked where a message or an answer repeats it; use a longer secret"
                ));
            }
            expanded.secrets.extend(secrets);
        }
        Ok(expanded)
    }

    fn pieces(
        &self,
        text: &str,
        order: u32,
        doubts: &mut Vec<String>,
    ) -> Result<Vec<Piece>, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, inside) = (&rest[..at], &rest[at + 2..]);
            if let Some(before) = before.strip_suffix('$') {
                plain.push_str(before);
                plain.push_str("${");
                rest = inside;
                continue;
            }
            plain.push_str(before);
            let Some((name, after)) = inside.split_once('}') else {
                return Err(format!("{text:?} has \"${{\" without \"}}\""));
            };
            match self.value(name, order, doubts)? {
                Piece::Plain(text) => plain.push_str(&text),
                value @ Piece::Value { .. } => {
                    if !plain.is_empty() {
                        pieces.push(Piece::Plain(std::mem::take(&mut plain)));
                    }
                    pieces.push(value);
                }
            }
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Plain(plain));
        }
        Ok(pieces)
    }

    fn value(&self, name: &str, order: u32, doubts: &mut Vec<String>) -> Result<Piece, String> {
        let value = |value| Piece::Value { name: name.to_owned(), value };
        match name.split_once(':') {
            Some(("env", variable)) => {
                self.source.variable(variable).map(|text| value(text.to_owned())).ok_or_else(|| {
                    format!("the environment variable {variable:?} is not set (or empty)")
                })
            }
            Some(("file", path)) => {
                let folder = usize::try_from(order).ok().and_then(|order| self.folders.get(order));
                let path = folder.map_or_else(|| PathBuf::from(path), |folder| folder.join(path));
                let (secret, doubt) = read_secret(&path, self.source.is_privileged())?;
                doubts.extend(doubt);
                Ok(value(secret))
            }
            Some(("var", variable)) => {
                self.variables.get(variable).cloned().map(Piece::Plain).ok_or_else(|| {
                    let names: Vec<&str> = self.variables.keys().map(String::as_str).collect();
                    match names.as_slice() {
                        [] => {
                            format!("${{var:{variable}}} is used, and this service has no `vars`")
                        }
                        names => format!(
                            "${{var:{variable}}} is not in `vars`, which has: {}",
                            names.join(", ")
                        ),
                    }
                })
            }
            None if name == "service" => {
                self.service.map(|name| Piece::Plain(name.to_owned())).ok_or_else(|| {
                    "${service} stands for a service's name, inside of a service only".to_owned()
                })
            }
            _ => Err(format!(
                "${{{name}}} is unknown; use ${{env:NAME}}, ${{file:PATH}}, ${{var:NAME}} or ${{service}}, and $${{ for these two characters themselves"
            )),
        }
    }
}

/// `url` of `service.a.check[0].url`, `keys` of `session.keys[0]`.
fn key_of(path: &str) -> &str {
    let last = path.rsplit('.').next().unwrap_or_default();
    last.split('[').next().unwrap_or_default()
}

/// Where a value was put in.
struct Place<'a> {
    path: &'a str,
    key: &'a str,
    name: &'a str,
    component: Component,
}

/// The tables in which the environment sets switches, sizes and places, and no secrets.
const WITHOUT_SECRETS: &[&str] = &["jarvis", "limits", "allow", "bus", "cache", "maintenance"];

impl Place<'_> {
    fn is_file(&self) -> bool {
        self.name.starts_with("file:")
    }

    fn table(&self) -> &str {
        self.path.split('.').next().unwrap_or_default()
    }

    /// A URL there is a secret as a whole.
    fn is_of_a_receiver(&self) -> bool {
        ["alert", "heartbeat"].contains(&self.table())
    }

    /// Is it a secret whatever its value is?
    fn is_surely_secret(&self) -> bool {
        self.is_file()
            || names_a_secret(self.key)
            || matches!(self.component, Component::Password { .. })
    }

    /// May the value be shown? The environment also says where things are and how they are set.
    fn is_harmless(&self, value: &str) -> bool {
        if matches!(self.component, Component::Host | Component::User) && !self.is_file() {
            return true;
        }
        if self.is_surely_secret() {
            return false;
        }
        let is_url = scheme(value).is_some() && !self.is_of_a_receiver();
        WITHOUT_SECRETS.contains(&self.table())
            || names_a_place(value)
            || (is_url && url_secrets(value).is_empty())
    }
}

/// An address, a duration or an existing path.
fn names_a_place(value: &str) -> bool {
    let host = value
        .strip_suffix(|last: char| last.is_ascii_digit())
        .map_or(value, |_| value.rsplit_once(':').map_or(value, |(host, _)| host));
    value.parse::<std::net::IpAddr>().is_ok()
        || value.parse::<std::net::SocketAddr>().is_ok()
        || host == "localhost"
        || units::parse_duration(value).is_ok()
        || (value.starts_with('/') && Path::new(value).exists())
}

/// The secrets that stand in a text as it was written. A word in lower case is left: masking it
/// would destroy texts, as with the password `postgres`.
pub(super) fn plain_secrets(path: &str, text: &str) -> Vec<String> {
    let key = key_of(path);
    let mut secrets = url_secrets(text);
    if names_a_secret(key) {
        secrets.push(text.to_owned());
    }
    secrets.retain(|secret| !secret.bytes().all(|byte| byte.is_ascii_lowercase()));
    secrets
}

/// What of a value must not be shown.
fn secrets_in(place: &Place<'_>, value: &str) -> Vec<String> {
    if place.is_harmless(value) {
        return Vec::new();
    }
    let mut secrets = vec![value.to_owned()];
    let parts = match (place.component, scheme(value)) {
        (Component::Url | Component::Text, Some((_, start))) => {
            let mut parts = url_secrets(value);
            // With most receivers the path says who may write.
            if place.is_of_a_receiver() {
                parts.extend(value[start..].find('/').map(|at| value[start + at..].to_owned()));
            }
            parts
        }
        // `user:password`: the password alone is one too.
        (Component::Password { whole: true }, _) => {
            value.split_once(':').into_iter().map(|(_, password)| password.to_owned()).collect()
        }
        _ => Vec::new(),
    };
    secrets.extend(parts.into_iter().filter(|part| part.len() >= SHORTEST));
    secrets
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
