//! What is wrong between the sections: names that lead nowhere, cycles, secrets in plain text.
//!
//! What only a backend or a policy can tell is found when the configuration is wired.

use globset::Glob;

use super::Config;
use super::component::{is_ambiguous, redact_pairs, url_secrets};
use super::node::{Node, Value, join};
use super::problem::{Problem, Report};
use super::schema::ServiceSettings;
use base::vocabulary::ServiceId;

pub(crate) fn analyse(config: &Config, report: &mut Report) {
    for service in &config.services {
        names(config, service, report);
    }
    cycles(config, report);
    patterns(config, report);
    let root = config.root();
    plain_secrets(root.node(), "", "", report);
}

fn names(config: &Config, service: &ServiceSettings, report: &mut Report) {
    let ids: Vec<&str> = config.services.iter().map(|service| service.id.as_str()).collect();
    let section = &service.section;
    let path = |key: &str| join(section.path(), key);
    for on in &service.depends_on {
        if on == &service.id {
            report.push(section.problem("depends_on", "a service can't depend on itself"));
        } else if !ids.contains(&on.as_str()) {
            let origin = section.origin_of("depends_on");
            let problem =
                Problem::unknown(origin, path("depends_on"), "service", on.as_str(), &ids);
            report.push(problem);
        }
    }
    if let Some(old) = service.renamed_from.as_ref().filter(|old| ids.contains(&old.as_str())) {
        let message = format!("{old} is still there, so it was not renamed");
        report.push(section.problem("renamed_from", &message));
    }
    if let Some(host) = &service.host {
        let hosts: Vec<&str> = config.hosts.iter().map(|host| host.name.as_str()).collect();
        if !hosts.contains(&host.as_str()) {
            let origin = section.origin_of("host");
            report.push(Problem::unknown(origin, path("host"), "host", host, &hosts));
        }
    }
    if service.checks.is_empty() && service.restart.is_none() {
        let message = "nothing is checked here: add a [[check]] or a [restart] section to it";
        report.push(section.problem("", message));
    }
}

/// Each cycle of `depends_on`, named once.
fn cycles(config: &Config, report: &mut Report) {
    let mut done: Vec<&ServiceId> = Vec::new();
    for service in &config.services {
        let mut way = Vec::new();
        visit(config, &service.id, &mut way, &mut done, report);
    }
}

fn visit<'a>(
    config: &'a Config,
    id: &'a ServiceId,
    way: &mut Vec<&'a ServiceId>,
    done: &mut Vec<&'a ServiceId>,
    report: &mut Report,
) {
    if done.contains(&id) {
        return;
    }
    if let Some(at) = way.iter().position(|on_way| *on_way == id) {
        // A service that names itself is told already.
        if way.len() - at > 1 {
            let names: Vec<&str> = way[at..].iter().chain([&id]).map(|id| id.as_str()).collect();
            let message = format!("the services depend on each other: {}", names.join(" -> "));
            if let Some(service) = config.service(id.as_str()) {
                report.push(service.section.problem("depends_on", &message));
            }
        }
        return;
    }
    let Some(service) = config.service(id.as_str()) else { return };
    way.push(id);
    for on in &service.depends_on {
        visit(config, on, way, done, report);
    }
    way.pop();
    done.push(id);
}

/// Patterns of services that match none.
fn patterns(config: &Config, report: &mut Report) {
    let root = config.root();
    let ids: Vec<&str> = config.services.iter().map(|service| service.id.as_str()).collect();
    let mut look = |origin: &super::Origin, path: String, pattern: &str| {
        let Ok(glob) = Glob::new(pattern) else {
            let message = format!("{pattern:?} is no pattern of services");
            return report.push(Problem::error(origin, path, message));
        };
        let matcher = glob.compile_matcher();
        if ids.iter().any(|id| matcher.is_match(id)) || pattern == "*" {
            return;
        }
        if pattern.contains(['*', '?', '[', '{']) {
            let message = format!("{pattern:?} matches no service");
            report.push(Problem::warning(origin, path, message));
        } else {
            report.push(Problem::unknown(origin, path, "service", pattern, &ids));
        }
    };
    for (table, node) in root.table().iter().map(|(key, entry)| (key.as_str(), &entry.node)) {
        let lists: Vec<(String, &Node)> = match (table, &node.value) {
            ("allow", _) => vec![("allow".to_owned(), node)],
            ("maintenance", Value::Array(items)) => items
                .iter()
                .enumerate()
                .map(|(index, item)| (format!("maintenance[{index}]"), item))
                .collect(),
            ("alert", Value::Table(sinks)) => {
                sinks.iter().map(|(name, entry)| (join("alert", name), &entry.node)).collect()
            }
            _ => Vec::new(),
        };
        for (path, node) in lists {
            let services = node.as_table().and_then(|table| table.get("services"));
            let Some(Value::Array(items)) = services.map(|entry| &entry.node.value) else {
                continue;
            };
            for item in items {
                if let Some(text) = item.as_text() {
                    look(&item.origin, join(&path, "services"), &text.value);
                }
            }
        }
    }
}

/// Words in the names of keys (and headers) whose values are nobody's business.
const SECRET_WORDS: &[&str] = &[
    "password",
    "passwd",
    "secret",
    "token",
    "api_key",
    "apikey",
    "api-key",
    "authorization",
    "cookie",
    "hmac",
    "private_key",
    "encryption_key",
];

/// Does a key of this name hold a secret?
pub(crate) fn names_a_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| key.contains(word))
}

/// Does the text hold a password, in a URL or in a connection string?
pub(crate) fn holds_a_password(text: &str) -> bool {
    let in_pairs = || redact_pairs(text).is_some_and(|shown| shown != text);
    in_pairs() || !url_secrets(text).is_empty()
}

/// Does a key of this name hold a URL that JARVIS itself reads?
fn holds_url(key: &str) -> bool {
    key.ends_with("url") || ["bus", "session", "cache", "host", "docker"].contains(&key)
}

fn plain_secrets(node: &Node, path: &str, key: &str, report: &mut Report) {
    match &node.value {
        Value::Text(text) => {
            // What the environment set stands in no file: it has no line.
            let written = node.origin.line().is_some() && !text.value.is_empty();
            let plain = written && !text.is_interpolated();
            if holds_url(key) && is_ambiguous(&text.value) {
                let message = "the user or the password of this URL holds an unencoded @, /, ? or #; write it as ${env:NAME} or ${file:PATH}, which are encoded, or encode it: %40 for @, %2F for /, %3F for ?, %23 for #";
                return report.push(Problem::error(&node.origin, path, message));
            }
            if plain && (names_a_secret(key) || holds_a_password(&text.value)) {
                let message = "a secret stands here in plain text; use ${env:NAME} or ${file:PATH}";
                report.push(Problem::warning(&node.origin, path, message));
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                plain_secrets(item, &format!("{path}[{index}]"), key, report);
            }
        }
        Value::Table(table) => {
            for (key, entry) in table {
                plain_secrets(&entry.node, &join(path, key), key, report);
            }
        }
        _ => {}
    }
}
