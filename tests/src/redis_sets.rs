//! Redis servers that belong together, of one test's own, so that it may break them. Dropping a
//! set kills it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::targets::until;

/// The settings of a set, as its script takes them from its environment.
type Settings<'a> = &'a [(&'a str, &'a str)];

/// A Cluster, or what Sentinels watch, as `tests/servers.d` starts it.
#[derive(Debug)]
pub struct RedisSet {
    folder: TempDir,
    kind: &'static str,
    url: String,
}

impl Drop for RedisSet {
    fn drop(&mut self) {
        self.script("stop", &[]);
    }
}

impl RedisSet {
    /// Three masters, each with a replica: the processes `0`, `1`, `2` and `3`, `4`, `5`.
    #[must_use]
    pub fn cluster() -> Self {
        Self::start("cluster", &[("REPLICAS", "1")])
    }

    /// Three masters with so many replicas each; all have on their disks what they acknowledged.
    #[must_use]
    pub fn durable_cluster(replicas: usize) -> Self {
        Self::start("cluster", &[("DURABLE", "1"), ("REPLICAS", &replicas.to_string())])
    }

    /// A master `0` with two replicas `1` and `2`, and the Sentinels `watch-0` to `watch-2`.
    #[must_use]
    pub fn sentinel() -> Self {
        Self::start("sentinel", &[])
    }

    /// The same, and each server has on its disk what it has acknowledged.
    #[must_use]
    pub fn durable_sentinel() -> Self {
        Self::start("sentinel", &[("DURABLE", "1")])
    }

    fn start(kind: &'static str, settings: Settings<'_>) -> Self {
        let folder = TempDir::new().expect("a folder");
        let mut set = Self { folder, kind, url: String::new() };
        let output = set.script("start", settings);
        let (_, url) = output.trim().split_once('=').expect("NAME=value");
        url.clone_into(&mut set.url);
        set
    }

    fn script(&self, verb: &str, settings: Settings<'_>) -> String {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("servers.d").join(self.kind);
        let output = Command::new(script)
            .arg(verb)
            .arg(self.folder.path())
            .env_remove("REPLICAS")
            .env_remove("DURABLE")
            .envs(settings.iter().copied())
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

    fn file(&self, process: &str, name: &str) -> PathBuf {
        self.folder.path().join(self.kind).join(process).join(name)
    }

    /// Sends a process a signal, such as `KILL` or `STOP`.
    pub fn signal(&self, process: &str, signal: &str) {
        let pid = std::fs::read_to_string(self.file(process, "pid")).expect("a process of the set");
        let status = Command::new("kill").args([&format!("-{signal}"), pid.trim()]).status();
        assert!(status.expect("kill").success());
    }

    /// Starts a server again that was killed, in its place and with what is on its disk. Does not
    /// wait until it answers.
    pub fn restart(&self, process: &str) {
        let mut server = Command::new("redis-server");
        let status = server.arg(self.file(process, "redis.conf")).stdout(Stdio::null()).status();
        assert!(status.expect("redis-server is installed").success());
    }

    /// The port of a server.
    #[must_use]
    pub fn port(&self, process: &str) -> u16 {
        let text = std::fs::read_to_string(self.file(process, "redis.conf")).expect("a server");
        let port = text.lines().find_map(|line| line.strip_prefix("port "));
        port.and_then(|port| port.trim().parse().ok()).expect("its port")
    }

    /// Waits until one of the heirs is a master in the place of the killed one, and clients are
    /// told so wherever they ask.
    pub async fn taken_over(&self, killed: &str, heirs: &[&str]) {
        let role = |heir: &&str| Self::cli(self.port(heir), &["INFO", "replication"]);
        until("a replica takes over", async || {
            heirs.iter().any(|heir| role(heir).contains("role:master"))
        })
        .await;
        let old = self.port(killed);
        let asked: Vec<u16> = self.ports().into_iter().filter(|port| *port != old).collect();
        let master = ["--raw", "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"];
        until("all know of it", async || {
            asked.iter().all(|port| match self.kind {
                "sentinel" => {
                    let known = Self::cli(*port, &master);
                    known.lines().nth(1).is_some_and(|port| port != old.to_string())
                }
                _ => Self::is_whole(*port),
            })
        })
        .await;
    }

    /// Does the cluster's node at a port know a master for every slot?
    #[must_use]
    pub fn is_whole(port: u16) -> bool {
        Self::cli(port, &["CLUSTER", "INFO"]).contains("cluster_state:ok")
    }

    /// Waits until the replicas of these masters have all that was written to them before.
    pub async fn replicated(&self, masters: &[&str]) {
        for master in masters {
            let port = self.port(master);
            let (mark, _) = offsets(port).expect("a master");
            until("the replicas have it", async || {
                let known = offsets(port).map(|(_, replicas)| replicas).unwrap_or_default();
                !known.is_empty() && known.iter().all(|offset| *offset >= mark)
            })
            .await;
        }
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

/// How far a master is, and what its replicas have told to have.
fn offsets(port: u16) -> Option<(u64, Vec<u64>)> {
    let info = RedisSet::cli(port, &["INFO", "replication"]);
    let number = |line: &str, key: &str| -> Option<u64> {
        line.split(key).nth(1)?.split(',').next()?.trim().parse().ok()
    };
    let own = info.lines().find_map(|line| number(line, "master_repl_offset:"))?;
    let replicas = info.lines().filter(|line| line.starts_with("slave"));
    Some((own, replicas.filter_map(|line| number(line, "offset=")).collect()))
}
