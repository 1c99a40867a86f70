//! The `jarvis.toml` that `jarvis config init` writes.

use std::fmt::Write as _;

use base::vocabulary::ServiceId;

/// AI DAWG on 127.0.0.1: name, port, path, criticality and what it needs.
const AI_DAWG: &[(&str, u16, Option<&str>, &[&str])] = &[
    ("daw-backend", 3001, Some("/api/health"), &["postgres", "redis"]),
    ("daw-ui", 3000, Some("/"), &["daw-backend"]),
    ("vocal-coach", 8000, Some("/health"), &[]),
    ("ai-producer", 8001, Some("/health"), &[]),
    ("ai-brain", 8002, Some("/health"), &[]),
    ("postgres", 5432, None, &[]),
    ("redis", 6379, None, &[]),
];

const HEAD: &str = r#"# What JARVIS watches, and what it may do about it.
#
#   jarvis config check     explains every error and doubt in this file
#   jarvis check            probes everything once
#   jarvis up --dry-run     says what it would do, and does nothing
#   jarvis up               watches, heals, calls a person

[jarvis]
# "act", "dry-run" (decides and says so) or "observe" (watches and alerts only).
mode = "act"
# How often each check runs, how long it may take, and how many failures in a row make it down.
interval = "30s"
timeout = "5s"
failure_threshold = 3
# state_dir = "/var/lib/jarvis"
# http = "127.0.0.1:9464"       # serves /healthz, /status and /metrics

"#;

const TAIL: &str = r#"
# Who is called. Sinks: webhook (preset "slack", "discord", "ntfy" or "json"), command, log.
#
# [alert.ops]
# type = "webhook"
# preset = "slack"
# url = "${file:/run/secrets/slack}"
#
# What services remember between requests: sessions (a file in state_dir unless told), a cache (in
# memory unless told), and the bus that carries events between instances (within one unless told).
#
# [store]
# session = "redis://127.0.0.1:6379"
# cache = "redis://127.0.0.1:6379"
# bus = "redis://127.0.0.1:6379"
# [session]
# ttl = "1h"
# [cache]
# ttl = "5m"
#
# So that somebody notices when JARVIS itself is gone:
#
# [heartbeat]
# url = "${env:HEARTBEAT_URL}"
# every = "1m"
"#;

const RESTART_EXAMPLE: &str = r#"# A restart section is the consent: without one a service is only watched. For a container:
#
# [service.daw-backend.restart]
# via = "docker"
# container = "daw-backend"
#
# or compose = { project = "ai-dawg", service = "daw-backend" }, or via = "systemd" with a unit, or
# via = "process" with the command of a program that JARVIS is to own.

"#;

/// A commented configuration for AI DAWG on 127.0.0.1, which is also what is used without a file.
#[must_use]
pub fn ai_dawg() -> String {
    let mut text = String::from(HEAD);
    text.push_str(RESTART_EXAMPLE);
    for (name, port, path, needs) in AI_DAWG {
        let _ = writeln!(text, "[service.{name}]");
        if !needs.is_empty() {
            let _ = writeln!(text, "depends_on = {needs:?}");
        }
        let _ = writeln!(text, "[[service.{name}.check]]");
        text.push_str(&check(name, "127.0.0.1", *port, *path));
        text.push('\n');
    }
    text.push_str(TAIL.trim_start_matches('\n'));
    text
}

fn check(name: &str, host: &str, port: u16, path: Option<&str>) -> String {
    match (name, path) {
        (_, Some(path)) => format!("type = \"http\"\nurl = \"http://{host}:{port}{path}\"\n"),
        ("postgres", None) => {
            format!(
                "# A handshake without credentials.\ntype = \"postgres\"\nurl = \"postgres://{host}:{port}\"\n"
            )
        }
        ("redis", None) => {
            format!(
                "# PING, and not while it is loading.\ntype = \"redis\"\nurl = \"redis://{host}:{port}\"\n"
            )
        }
        _ => format!("type = \"tcp\"\naddress = \"{host}:{port}\"\n"),
    }
}

/// A container as `config init --from-docker` wants it, whatever engine told of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// Project and service, where compose made it.
    pub compose: Option<(String, String)>,
    /// Published TCP ports: the machine's address and port, and the port in the container.
    pub ports: Vec<(String, u16, u16)>,
    /// Has it a health check of its own?
    pub has_healthcheck: bool,
    /// Does the engine restart it by itself, and when?
    pub restart_policy: String,
}

impl Container {
    /// A container with nothing but a name and an image.
    #[must_use]
    pub fn new(name: impl Into<String>, image: impl Into<String>) -> Self {
        Self { name: name.into(), image: image.into(), ..Self::default() }
    }
}

/// A configuration for the containers that run now.
#[must_use]
pub fn from_containers(containers: &[Container], docker_host: Option<&str>) -> String {
    let mut text = String::from(HEAD);
    if containers.is_empty() {
        text.push_str("# No container runs.\n\n");
    }
    let mut names: Vec<String> = Vec::new();
    for container in containers {
        let name = free_name(container, &names);
        text.push_str(&service(container, &name, docker_host));
        names.push(name);
    }
    text.push_str(TAIL.trim_start_matches('\n'));
    text
}

fn service(container: &Container, name: &str, docker_host: Option<&str>) -> String {
    let key = toml_key(name);
    let mut text = format!(
        "# Container {}, image {}.\n",
        one_line(&container.name),
        one_line(&container.image)
    );
    let _ = writeln!(text, "[service.{key}]");
    if container.ports.is_empty() {
        text.push_str("# It publishes no port: it is watched through the engine.\n");
    }
    for (address, port, inside) in &container.ports {
        let host = match address.as_str() {
            "0.0.0.0" | "" => "127.0.0.1".to_owned(),
            "::" => "[::1]".to_owned(),
            address if address.contains(':') => format!("[{address}]"),
            address => address.to_owned(),
        };
        let kind = if *inside == 5432 {
            "postgres"
        } else if *inside == 6379 {
            "redis"
        } else {
            ""
        };
        let _ = writeln!(text, "[[service.{key}.check]]");
        if kind.is_empty() {
            let _ = writeln!(
                text,
                "# Better, where it speaks HTTP: type = \"http\", url = \"http://{host}:{port}/health\"."
            );
        }
        text.push_str(&check(kind, &host, *port, None));
    }
    if container.restart_policy != "no" && !container.restart_policy.is_empty() {
        let _ = writeln!(
            text,
            "# Docker restarts it too when it exits ({}); JARVIS lets Docker go first.",
            one_line(&container.restart_policy)
        );
    }
    let _ = writeln!(text, "[service.{key}.restart]\nvia = \"docker\"");
    match &container.compose {
        Some((project, service)) => {
            let _ = writeln!(
                text,
                "compose = {{ project = {}, service = {} }}",
                toml_text(project),
                toml_text(service)
            );
        }
        None => {
            let _ = writeln!(text, "container = {}", toml_text(&container.name));
        }
    }
    if let Some(host) = docker_host {
        let _ = writeln!(text, "host = {}", toml_text(host));
    }
    text.push('\n');
    text
}

/// A valid service name that is not taken.
fn free_name(container: &Container, taken: &[String]) -> String {
    let wanted = container.compose.as_ref().map_or(&container.name, |(_, service)| service);
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let mut name: String = wanted.chars().map(|c| if good(c) { c } else { '-' }).take(56).collect();
    if ServiceId::new(&name).is_err() {
        name.insert_str(0, "container-");
    }
    let is_free = |name: &String| !taken.contains(name);
    std::iter::once(name.clone())
        .chain((2..).map(|number| format!("{name}-{number}")))
        .find(is_free)
        .unwrap_or_default()
}

fn toml_key(name: &str) -> String {
    let bare = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if bare { name.to_owned() } else { toml_text(name) }
}

/// A TOML string. `${` is kept from being read as an interpolation.
fn toml_text(text: &str) -> String {
    toml::Value::String(text.replace("${", "$${")).to_string()
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
