//! Which Docker Engine: `DOCKER_HOST`, contexts, rootless sockets, `tcp://` with TLS.
//!
//! The order is the docker command's own: what the configuration names, else `DOCKER_HOST`, else
//! `DOCKER_CONTEXT`, else the `currentContext` of `~/.docker/config.json`, else the sockets of
//! this machine.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use base::secret::redact_url;
use base::vocabulary::ConfigPath;
use base::{Error, ErrorKind, Result};

/// The certificates to speak TLS with a Docker Engine, as PEM files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct DockerTls {
    /// Who signs the engine's certificate; without it the system's roots do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<ConfigPath>,
    /// Our certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert: Option<ConfigPath>,
    /// Its key.
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

/// Where an engine listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Address {
    Unix(PathBuf),
    Tcp { host: String, port: u16 },
}

/// Where an engine listens, and how to speak to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Endpoint {
    pub(super) address: Address,
    pub(super) tls: Option<DockerTls>,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
            Address::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
        }
    }
}

/// What the process's surroundings say. A value, so that tests need not change them.
pub(super) struct Surroundings<'a> {
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
    pub(super) default_socket: &'a Path,
}

impl Surroundings<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    fn docker_folder(&self) -> Option<PathBuf> {
        self.variable("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| self.variable("HOME").map(|home| Path::new(&home).join(".docker")))
    }
}

/// The engine of this process's surroundings, or the one that `host` names: a URL, or a context.
pub(super) fn resolve_here(host: Option<&str>, tls: Option<DockerTls>) -> Result<Endpoint> {
    let variable = |name: &str| std::env::var(name).ok();
    resolve(
        host,
        tls,
        &Surroundings { variable: &variable, default_socket: Path::new("/var/run/docker.sock") },
    )
}

pub(super) fn resolve(
    host: Option<&str>,
    tls: Option<DockerTls>,
    around: &Surroundings<'_>,
) -> Result<Endpoint> {
    let mut endpoint = match host {
        Some(url) if url.contains("://") => parse(url)?,
        Some(context) => from_context(context, around)?,
        None => from_surroundings(around)?,
    };
    if tls.is_some() {
        endpoint.tls = tls;
    }
    if matches!(endpoint.address, Address::Unix(_)) {
        endpoint.tls = None;
    } else if endpoint.tls.is_none() && around.variable("DOCKER_TLS_VERIFY").is_some() {
        let folder = around.variable("DOCKER_CERT_PATH").map(PathBuf::from);
        let folder = folder.or_else(|| around.docker_folder()).unwrap_or_default();
        endpoint.tls = Some(DockerTls::in_folder(&folder));
    }
    Ok(endpoint)
}

fn from_surroundings(around: &Surroundings<'_>) -> Result<Endpoint> {
    if let Some(url) = around.variable("DOCKER_HOST") {
        return parse(&url);
    }
    let context = around.variable("DOCKER_CONTEXT").or_else(|| current_context(around));
    match context {
        Some(context) => from_context(&context, around),
        None => Ok(local(around)),
    }
}

/// A socket that we may write to, else one that exists, else the usual one.
fn local(around: &Surroundings<'_>) -> Endpoint {
    let mut sockets = vec![around.default_socket.to_path_buf()];
    if let Some(folder) = around.variable("XDG_RUNTIME_DIR") {
        sockets.push(Path::new(&folder).join("docker.sock"));
    }
    if let Some(folder) = around.variable("HOME") {
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
    Endpoint { address: Address::Unix(socket.clone()), tls: None }
}

#[derive(Deserialize)]
struct DockerConfigFile {
    #[serde(rename = "currentContext", default)]
    current_context: Option<String>,
}

fn current_context(around: &Surroundings<'_>) -> Option<String> {
    let text = std::fs::read_to_string(around.docker_folder()?.join("config.json")).ok()?;
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

/// Reads `contexts/meta/*/meta.json`; the certificates lie in `contexts/tls/<same>/docker`.
fn from_context(name: &str, around: &Surroundings<'_>) -> Result<Endpoint> {
    if name == "default" {
        return Ok(local(around));
    }
    let unknown = |known: &[String]| {
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Error::new(
            ErrorKind::ConfigInvalid,
            format!(
                "no Docker context is called {name:?} (known: {known}); write a URL such as \"unix:///var/run/docker.sock\", or create it with docker context create"
            ),
        )
    };
    let folder = around.docker_folder().ok_or_else(|| unknown(&[]))?.join("contexts");
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
                    "the Docker context {name:?} skips the check of the engine's certificate, which we do not; give it the certificate of its authority"
                ),
            ));
        }
        let mut endpoint = parse(&docker.host)?;
        let certificates = folder.join("tls").join(entry.file_name()).join("docker");
        if certificates.is_dir() {
            endpoint.tls = Some(DockerTls::in_folder(&certificates));
        }
        return Ok(endpoint);
    }
    Err(unknown(&known))
}

fn parse(url: &str) -> Result<Endpoint> {
    let wrong = |what: &str| {
        Error::new(
            ErrorKind::ConfigInvalid,
            format!(
                "{:?} is not a valid Docker host: {what}; write \"unix:///path/docker.sock\" or \"tcp://host:2376\"",
                redact_url(url)
            ),
        )
    };
    let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("it has no scheme"))?;
    match scheme {
        "unix" if rest.starts_with('/') => {
            Ok(Endpoint { address: Address::Unix(PathBuf::from(rest)), tls: None })
        }
        "unix" => Err(wrong("the socket's path must be absolute")),
        "tcp" | "http" | "https" => {
            let authority = rest.trim_end_matches('/');
            if authority.contains(['/', '@', '?']) {
                return Err(wrong("only a host and a port may follow"));
            }
            let tls = scheme == "https";
            let address = parse_authority(authority, if tls { 2_376 } else { 2_375 })
                .ok_or_else(|| wrong("the host or the port is wrong"))?;
            Ok(Endpoint { address, tls: tls.then(DockerTls::default) })
        }
        "ssh" => Err(wrong("ssh is not spoken here, forward its socket with ssh -L instead")),
        _ => Err(wrong("the scheme is unknown")),
    }
}

fn parse_authority(authority: &str, default_port: u16) -> Option<Address> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            (host, after.strip_prefix(':'))
        }
        None => match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = port.map_or(Some(default_port), |port| port.parse().ok())?;
    (!host.is_empty()).then(|| Address::Tcp { host: host.to_owned(), port })
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

        fn resolve(&self, host: Option<&str>) -> Result<Endpoint> {
            let variable = |name: &str| {
                self.variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone())
            };
            let socket = self.folder.path().join("var/docker.sock");
            resolve(host, None, &Surroundings { variable: &variable, default_socket: &socket })
        }
    }

    #[test]
    fn urls_are_read_and_what_is_none_is_refused() {
        let home = Home::new();
        for (url, shown) in [
            ("unix:///run/d.sock", "unix:///run/d.sock"),
            ("tcp://10.0.0.5:2376", "tcp://10.0.0.5:2376"),
            ("tcp://docker", "tcp://docker:2375"),
            ("https://docker/", "tcp://docker:2376"),
            ("tcp://[::1]:99", "tcp://::1:99"),
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
    fn the_order_is_the_docker_commands_own() {
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
