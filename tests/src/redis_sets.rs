//! Redis servers that belong together, of one test's own, so that it may break them. Dropping a
//! set kills it.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// A Cluster, or what Sentinels watch, as `tests/servers.d` starts it.
#[derive(Debug)]
pub struct RedisSet {
    folder: TempDir,
    kind: &'static str,
    url: String,
}

impl Drop for RedisSet {
    fn drop(&mut self) {
        self.script("stop", 0);
    }
}

impl RedisSet {
    /// Three masters, each with a replica: the processes `0`, `1`, `2` and `3`, `4`, `5`.
    #[must_use]
    pub fn cluster() -> Self {
        Self::start("cluster", 1)
    }

    /// A master `0` with two replicas `1` and `2`, and the Sentinels `watch-0` to `watch-2`.
    #[must_use]
    pub fn sentinel() -> Self {
        Self::start("sentinel", 0)
    }

    fn start(kind: &'static str, replicas: usize) -> Self {
        let folder = TempDir::new().expect("a folder");
        let mut set = Self { folder, kind, url: String::new() };
        let output = set.script("start", replicas);
        let (_, url) = output.trim().split_once('=').expect("NAME=value");
        url.clone_into(&mut set.url);
        set
    }

    fn script(&self, verb: &str, replicas: usize) -> String {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("servers.d").join(self.kind);
        let output = Command::new(script)
            .arg(verb)
            .arg(self.folder.path())
            .env("REPLICAS", replicas.to_string())
            .output()
            .expect("bash runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(verb == "stop" || output.status.success(), "{} {verb}: {said}", self.kind);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends a process a signal, such as `KILL` or `STOP`.
    pub fn signal(&self, process: &str, signal: &str) {
        let file = self.folder.path().join(self.kind).join(process).join("pid");
        let pid = std::fs::read_to_string(file).expect("a process of the set");
        let status = Command::new("kill").args([&format!("-{signal}"), pid.trim()]).status();
        assert!(status.expect("kill").success());
    }

    /// The ports that the URL names, in its order.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        let (_, rest) = self.url.split_once("://").expect("a URL");
        let hosts = rest.split('/').next().unwrap_or_default();
        hosts.split(',').filter_map(|host| host.rsplit(':').next()?.parse().ok()).collect()
    }

    /// Runs a command on the server at a port, and gives back what it printed.
    #[must_use]
    pub fn cli(port: u16, command: &[&str]) -> String {
        let mut cli = Command::new("redis-cli");
        cli.args(["-p", &port.to_string()]).args(command);
        let output = cli.output().expect("redis-cli is installed");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}
