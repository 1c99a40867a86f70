//! The configuration in force, value by value, with where each comes from.

use serde::Serialize;
use serde_json::Value as Json;

use super::Config;
use super::check::names_a_secret;
use super::component::redact_pairs;
use super::node::{Node, Value, join};
use base::secret::{REDACTED, mask_json, redact_url};

/// One value.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Shown {
    /// `service.api.check[0].url`.
    pub key: String,
    /// As it was written: `${env:NAME}` stays, a secret in plain text does not.
    pub value: Json,
    /// `jarvis.toml:12`, or an environment variable.
    pub origin: String,
}

impl Config {
    /// Every value that is set, by a file, a template, a default section or the environment.
    #[must_use]
    pub fn show(&self) -> Vec<Shown> {
        let mut shown = Vec::new();
        let root = self.root();
        let used = |key: &str| key != "template" && key != "defaults";
        for (key, entry) in root.table().iter().filter(|(key, _)| used(key)) {
            walk(&entry.node, key, key, &mut shown);
        }
        for Shown { value, .. } in &mut shown {
            if let Some(masked) = mask_json(value, |_| false) {
                *value = masked;
            }
        }
        shown
    }

    /// As one document, for the control socket.
    #[must_use]
    pub fn effective(&self) -> Json {
        let values = serde_json::to_value(self.show()).unwrap_or_default();
        serde_json::json!({
            "files": self.files(),
            "built_in": self.is_built_in(),
            "state_dir": self.jarvis.state_dir,
            "mode": self.jarvis.mode,
            "values": values,
        })
    }
}

fn walk(node: &Node, path: &str, key: &str, shown: &mut Vec<Shown>) {
    match &node.value {
        Value::Table(table) => {
            for (key, entry) in table {
                walk(&entry.node, &join(path, key), key, shown);
            }
        }
        Value::Array(items) if items.iter().any(|item| item.as_table().is_some()) => {
            for (index, item) in items.iter().enumerate() {
                walk(item, &format!("{path}[{index}]"), key, shown);
            }
        }
        _ => shown.push(Shown {
            key: path.to_owned(),
            value: redacted(node, path, key),
            origin: node.origin.to_string(),
        }),
    }
}

fn redacted(node: &Node, path: &str, key: &str) -> Json {
    match &node.value {
        Value::Text(text) if !text.is_interpolated() && names_a_secret(key) => REDACTED.into(),
        Value::Text(text) => match redact_pairs(&text.written) {
            Some(shown) => shown.into(),
            None if text.written.contains("://") => shown_url(&text.written, path).into(),
            None => node.written(),
        },
        Value::Array(items) => items.iter().map(|item| redacted(item, path, key)).collect(),
        _ => node.written(),
    }
}

/// A URL as it was written, without its secrets. Of the URL of a receiver, the path is one too.
fn shown_url(url: &str, path: &str) -> String {
    let table = path.split('.').next().unwrap_or_default();
    if !["alert", "heartbeat"].contains(&table) {
        return redact_url(url);
    }
    let begins = url.find("://").map_or(0, |at| at + "://".len());
    match url[begins..].find(['/', '?', '#']) {
        Some(at) if !is_placeholders(&url[begins + at..]) => {
            format!("{}/{REDACTED}", redact_url(&url[..begins + at]))
        }
        _ => redact_url(url),
    }
}

/// Is there nothing in it but slashes and `${…}`?
fn is_placeholders(mut text: &str) -> bool {
    while let Some((before, after)) = text.split_once("${") {
        if !before.trim_matches('/').is_empty() {
            return false;
        }
        text = after.split_once('}').map_or("", |(_, after)| after);
    }
    text.trim_matches('/').is_empty()
}
