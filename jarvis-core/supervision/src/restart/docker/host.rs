//! Which Docker Engine to use: `DOCKER_HOST`, contexts, rootless sockets, `tcp://` with TLS.
//!
//! The order is that of the docker command: the host in the configuration, then `DOCKER_HOST`, then
//! `DOCKER_CONTEXT`, then the `currentContext` of `~/.docker/config.json`, then the sockets of this
//! machine.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use base::net::address::Endpoint;
use base::secret::redact_url;
use base::url_parts::UrlParts;
use base::vocabulary::ConfigPath;
use base::{Error, ErrorKind, Result};

/// The certificates to speak TLS with a Docker Engine, as PEM files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct DockerTls {
    /// The authority that signed the engine's certificate. Default: those of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<ConfigPath>,
    /// The client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert: Option<ConfigPath>,
    /// The key of the client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<ConfigPath>,
}

impl DockerTls {
    /// `ca.pem`, `cert.pem` and `key.pem` of a folder, those that exist.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        let file =
            |name: &str| Some(ConfigPath::from(folder.join(name))).filter(|path| path.exists());
        Self { ca: file("ca.pem"), cert: file("cert.pem"), key: file("key.pem") }
    }
}

/// Where an engine listens, and how to speak to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct EngineHost {
    pub(super) endpoint: Endpoint,
    /// `None` for plain text, and for every Unix socket.
    pub(super) tls: Option<DockerTls>,
}

/// As `DOCKER_HOST` writes it.
impl fmt::Display for EngineHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.endpoint {
            Endpoint::Unix(path) => write!(f, "unix://{}", path.display()),
            tcp @ Endpoint::Tcp(..) => write!(f, "tcp://{tcp}"),
        }
    }
}

/// The environment of the process. A value, so that tests need not change it.
pub(super) struct Environment<'a> {
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
    pub(super) default_socket: &'a Path,
}

impl Environment<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    fn docker_folder(&self) -> Option<PathBuf> {
        self.variable("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| self.variable("HOME").map(|home| Path::new(&home).join(".docker")))
    }
}

/// The engine that `host` names (a URL, or a context), or else that of the environment.
pub(super) fn resolve_here(host: Option<&str>, tls: Option<DockerTls>) -> Result<EngineHost> {
    let variable = |name: &str| std::env::var(name).ok();
    resolve(
        host,
        tls,
        &Environment { variable: &variable, default_socket: Path::new("/var/run/docker.sock") },
    )
}

pub(super) fn resolve(
    host: Option<&str>,
    tls: Option<DockerTls>,
    environment: &Environment<'_>,
) -> Result<EngineHost> {
    let mut engine = match host {
        Some(url) if url.contains("://") => parse(url)?,
        Some(context) => from_context(context, environment)?,
        None => from_environment(environment)?,
    };
    if tls.is_some() {
        engine.tls = tls;
    }
    if matches!(engine.endpoint, Endpoint::Unix(_)) {
        engine.tls = None;
    } else if engine.tls.is_none() && environment.variable("DOCKER_TLS_VERIFY").is_some() {
        let folder = environment.variable("DOCKER_CERT_PATH").map(PathBuf::from);
        let folder = folder.or_else(|| environment.docker_folder()).unwrap_or_default();
        engine.tls = Some(DockerTls::in_folder(&folder));
    }
    Ok(engine)
}

fn from_environment(environment: &Environment<'_>) -> Result<EngineHost> {
    if let Some(url) = environment.variable("DOCKER_HOST") {
        return parse(&url);
    }
    let context = environment.variable("DOCKER_CONTEXT").or_else(|| current_context(environment));
    match context {
        Some(context) => from_context(&context, environment),
        None => Ok(local(environment)),
    }
}

/// The first socket that can be written to, or else that exists, or else the usual one.
fn local(environment: &Environment<'_>) -> EngineHost {
    let mut sockets = vec![environment.default_socket.to_path_buf()];
    if let Some(folder) = environment.variable("XDG_RUNTIME_DIR") {
        sockets.push(Path::new(&folder).join("docker.sock"));
    }
    if let Some(folder) = environment.variable("HOME") {
        sockets.push(Path::new(&folder).join(".docker/run/docker.sock"));
        sockets.push(Path::new(&folder).join(".docker/desktop/docker.sock"));
    }
    let writable =
        |path: &&PathBuf| rustix::fs::access(*path, rustix::fs::Access::WRITE_OK).is_ok();
    let socket = sockets
        .iter()
        .find(writable)
        .or_else(|| sockets.iter().find(|path| path.exists()))
        .unwrap_or(&sockets[0]);
    EngineHost { endpoint: Endpoint::Unix(socket.as_path().into()), tls: None }
}

#[derive(Deserialize)]
struct DockerConfigFile {
    #[serde(rename = "currentContext", default)]
    current_context: Option<String>,
}

fn current_context(environment: &Environment<'_>) -> Option<String> {
    let text = std::fs::read_to_string(environment.docker_folder()?.join("config.json")).ok()?;
    let file: DockerConfigFile = serde_json::from_str(&text).ok()?;
    file.current_context.filter(|name| !name.is_empty())
}

#[derive(Deserialize)]
struct ContextFile {
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "Endpoints", default)]
    endpoints: std::collections::HashMap<String, ContextEndpoint>,
}

#[derive(Deserialize)]
struct ContextEndpoint {
    #[serde(rename = "Host", default)]
    host: String,
    #[serde(rename = "SkipTLSVerify", default)]
    skip_tls_verify: bool,
}

/// Reads `contexts/meta/*/meta.json`; the certificates are in `contexts/tls/<same>/docker`.
fn from_context(name: &str, environment: &Environment<'_>) -> Result<EngineHost> {
    if name == "default" {
        return Ok(local(environment));
    }
    let unknown = |known: &[String]| {
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Error::new(
            ErrorKind::ConfigInvalid,
            format!(
                "unknown Docker context {name:?} (known: {known}); write a URL such as \"unix:///var/run/docker.sock\", or create it with docker context create"
            ),
        )
    };
    let folder = environment.docker_folder().ok_or_else(|| unknown(&[]))?.join("contexts");
    let mut known = Vec::new();
    let entries = std::fs::read_dir(folder.join("meta")).map_err(|_| unknown(&[]))?;
    for entry in entries.flatten() {
        let Ok(text) = std::fs::read_to_string(entry.path().join("meta.json")) else { continue };
        let Ok(file) = serde_json::from_str::<ContextFile>(&text) else { continue };
        if file.name != name {
            known.push(file.name);
            continue;
        }
        let Some(docker) = file.endpoints.get("docker") else { continue };
        if docker.skip_tls_verify {
            return Err(Error::new(
                ErrorKind::ConfigInvalid,
                format!(
                    "the Docker context {name:?} skips the check of the engine's certificate, which is not supported; give the context the certificate of its authority"
                ),
            ));
        }
        let mut engine = parse(&docker.host)?;
        let certificates = folder.join("tls").join(entry.file_name()).join("docker");
        if certificates.is_dir() {
            engine.tls = Some(DockerTls::in_folder(&certificates));
        }
        return Ok(engine);
    }
    Err(unknown(&known))
}

fn parse(url: &str) -> Result<EngineHost> {
    let wrong = |what: &str| {
        Error::new(
            ErrorKind::ConfigInvalid,
            format!(
                "{:?} is not a valid Docker host: {what}; write \"unix:///path/docker.sock\" or \"tcp://host:2376\"",
                redact_url(url)
            ),
        )
    };
    let parts = UrlParts::split(url);
    match parts.scheme {
        "" => Err(wrong("it has no scheme")),
        "unix" if parts.hosts.is_empty() && parts.user_info.is_none() => {
            // A path is no query: it is taken as it stands.
            let path = url.strip_prefix("unix://").unwrap_or_default();
            Ok(EngineHost { endpoint: Endpoint::unix(path)?, tls: None })
        }
        "unix" => Err(wrong("the path of the socket must be absolute")),
        "tcp" | "http" | "https" => {
            let only_slashes = parts.path.bytes().all(|byte| byte == b'/');
            if parts.user_info.is_some() || parts.query.is_some() || !only_slashes {
                return Err(wrong("only a host and a port may follow"));
            }
            let secure = parts.scheme == "https";
            let endpoint = Endpoint::tcp(parts.hosts, Some(if secure { 2_376 } else { 2_375 }))
                .ok_or_else(|| wrong("the host or the port is not valid"))?;
            Ok(EngineHost { endpoint, tls: secure.then(DockerTls::default) })
        }
        "ssh" => Err(wrong("ssh is not supported; forward the socket with ssh -L instead")),
        _ => Err(wrong("the scheme is unknown")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Home {
        folder: tempfile::TempDir,
        variables: Vec<(&'static str, String)>,
    }

    impl Home {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let home = folder.path().display().to_string();
            Self { folder, variables: vec![("HOME", home)] }
        }

        fn with(mut self, name: &'static str, value: &str) -> Self {
            self.variables.push((name, value.to_owned()));
            self
        }

        fn write(&self, path: &str, text: &str) -> PathBuf {
            let path = self.folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path
        }

        fn context(&self, id: &str, name: &str, host: &str) {
            let meta = serde_json::json!({
                "Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host}}
            });
            self.write(&format!(".docker/contexts/meta/{id}/meta.json"), &meta.to_string());
        }

        fn resolve(&self, host: Option<&str>) -> Result<EngineHost> {
            let variable = |name: &str| {
                self.variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone())
            };
            let socket = self.folder.path().join("var/docker.sock");
            resolve(host, None, &Environment { variable: &variable, default_socket: &socket })
        }
    }

    #[test]
    fn valid_urls_are_read_and_others_refused() {
        let home = Home::new();
        for (url, shown) in [
            ("unix:///run/d.sock", "unix:///run/d.sock"),
            ("tcp://10.0.0.5:2376", "tcp://10.0.0.5:2376"),
            ("tcp://docker", "tcp://docker:2375"),
            ("https://docker/", "tcp://docker:2376"),
            ("tcp://[::1]:99", "tcp://[::1]:99"),
        ] {
            assert_eq!(home.resolve(Some(url)).unwrap().to_string(), shown);
        }
        assert!(home.resolve(Some("https://docker")).unwrap().tls.is_some());
        for url in
            ["unix://relative", "ssh://host", "tcp://", "tcp://h:x", "tcp://u:p@h", "npipe:////./p"]
        {
            let error = home.resolve(Some(url)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConfigInvalid, "{url}");
            assert!(!error.to_string().contains("u:p"), "{error}");
        }
    }

    #[test]
    fn the_order_is_that_of_the_docker_command() {
        let home = Home::new();
        home.context("aa", "far", "tcp://far:2376");
        home.context("bb", "near", "unix:///near.sock");
        home.write(".docker/config.json", r#"{"currentContext": "near"}"#);
        assert_eq!(home.resolve(None).unwrap().to_string(), "unix:///near.sock");
        let home = home.with("DOCKER_CONTEXT", "far");
        assert_eq!(home.resolve(None).unwrap().to_string(), "tcp://far:2376");
        let home = home.with("DOCKER_HOST", "unix:///said.sock");
        assert_eq!(home.resolve(None).unwrap().to_string(), "unix:///said.sock");
        assert_eq!(home.resolve(Some("near")).unwrap().to_string(), "unix:///near.sock");
        let error = home.resolve(Some("nowhere")).unwrap_err();
        assert!(error.message().contains("far") && error.message().contains("near"), "{error}");
    }

    #[test]
    fn a_contexts_certificates_are_found_and_an_unchecked_engine_is_refused() {
        let home = Home::new();
        home.context("aa", "far", "tcp://far:2376");
        let ca = home.write(".docker/contexts/tls/aa/docker/ca.pem", "x");
        let tls = home.resolve(Some("far")).unwrap().tls.unwrap();
        assert_eq!(tls.ca.as_deref(), Some(ca.as_path()));
        assert_eq!(tls.cert, None);
        home.write(
            ".docker/contexts/meta/cc/meta.json",
            r#"{"Name": "lax", "Endpoints": {"docker": {"Host": "tcp://h", "SkipTLSVerify": true}}}"#,
        );
        assert_eq!(home.resolve(Some("lax")).unwrap_err().kind(), ErrorKind::ConfigInvalid);
    }

    #[test]
    fn a_rootless_socket_is_taken_where_the_usual_one_is_missing() {
        let home = Home::new();
        let runtime = home.folder.path().join("run");
        let home = home.with("XDG_RUNTIME_DIR", &runtime.display().to_string());
        assert!(home.resolve(None).unwrap().to_string().ends_with("/var/docker.sock"));
        home.write("run/docker.sock", "");
        assert!(home.resolve(None).unwrap().to_string().ends_with("/run/docker.sock"));
        home.write("var/docker.sock", "");
        assert!(home.resolve(None).unwrap().to_string().ends_with("/var/docker.sock"));
    }

    #[test]
    fn docker_tls_verify_asks_for_tls() {
        let home = Home::new();
        let key = home.write("certs/key.pem", "x");
        let folder = key.parent().unwrap().display().to_string();
        let home = home.with("DOCKER_TLS_VERIFY", "1").with("DOCKER_CERT_PATH", &folder);
        let tls = home.resolve(Some("tcp://h:2376")).unwrap().tls.unwrap();
        assert_eq!(tls.key, Some(key.into()));
        assert!(home.resolve(Some("unix:///d.sock")).unwrap().tls.is_none());
    }
}
