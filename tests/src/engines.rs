//! Real Redis and `PostgreSQL` servers of one test's own, in a temporary folder, so that a test may
//! break them. Dropping one kills it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::targets::{pause, until};

/// A port that was free a moment ago. Whoever takes it may still find it taken, and tries again.
#[must_use]
pub fn likely_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    listener.local_addr().expect("its address").port()
}

/// A Redis server. It listens on a Unix socket, and on a port where that is asked for.
#[derive(Debug)]
pub struct RedisServer {
    folder: TempDir,
    port: u16,
    child: Child,
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl RedisServer {
    /// Starts one on a Unix socket alone, with these options, and waits until it answers.
    pub async fn start(options: &[&str]) -> Self {
        let server = Self::spawn(TempDir::new().expect("a folder"), 0, options);
        server.answers().await;
        server
    }

    /// The same, and on a loopback port.
    pub async fn with_port(options: &[&str]) -> Self {
        for _ in 0..10 {
            let mut server = Self::spawn(TempDir::new().expect("a folder"), likely_port(), options);
            while !server.socket().exists() {
                if server.child.try_wait().expect("our child").is_some() {
                    break;
                }
                pause(Duration::from_millis(10)).await;
            }
            if server.child.try_wait().expect("our child").is_none() {
                server.answers().await;
                return server;
            }
        }
        panic!("redis-server found no free port ten times");
    }

    /// Starts one in this folder, and does not wait until it answers.
    #[must_use]
    pub fn spawn(folder: TempDir, port: u16, options: &[&str]) -> Self {
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .arg("--unixsocket")
            .arg(folder.path().join("sock"))
            .arg("--dir")
            .arg(folder.path())
            .args(["--appendonly", "no", "--save", ""])
            .args(options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed (tests/run --install)");
        Self { folder, port, child }
    }

    /// Kills it, as a crash would, and starts it again in the same place with these options. Does
    /// not wait until it answers.
    pub fn restart(&mut self, options: &[&str]) {
        self.crash();
        let folder = std::mem::replace(&mut self.folder, TempDir::new().expect("a folder"));
        let (again, port) = (Self::spawn(folder, self.port, options), self.port);
        let before = std::mem::replace(self, again);
        assert_eq!(before.port, port);
    }

    /// Kills it, as a crash would.
    pub fn crash(&mut self) {
        self.child.kill().expect("our child");
        self.child.wait().expect("our child");
    }

    async fn answers(&self) {
        // A loop by hand: a closure that borrows would keep this future from being `Send`.
        for _ in 0..1_000 {
            let answer = self.cli(&["PING"]);
            if answer.contains("PONG") || answer.contains("NOAUTH") {
                return;
            }
            pause(Duration::from_millis(20)).await;
        }
        panic!("redis-server does not answer");
    }

    /// The Unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("sock")
    }

    /// Its port, 0 without one.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// `unix:/path`, as the probe takes it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// Runs a command through `redis-cli` and gives back what it printed.
    #[must_use]
    pub fn cli(&self, command: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .arg("-s")
            .arg(self.socket())
            .args(command)
            .output()
            .expect("redis-cli is installed");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Sends it a signal, such as `STOP`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(status.expect("kill").success());
    }

    /// Stops it with its data saved, and gives back the folder with them.
    pub async fn save_and_stop(mut self) -> TempDir {
        let _ = self.cli(&["SHUTDOWN", "SAVE"]);
        until("redis-server ends", async || self.child.try_wait().expect("our child").is_some())
            .await;
        std::mem::replace(&mut self.folder, TempDir::new().expect("a folder"))
    }
}

/// A `PostgreSQL` cluster with the superuser `jarvis`, password `jarvis`, and its socket in a
/// folder.
#[derive(Debug)]
pub struct PostgresServer {
    folder: TempDir,
    bin: PathBuf,
    port: u16,
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.control(&["stop", "-m", "immediate", "-w"]);
    }
}

impl PostgresServer {
    /// Makes a cluster and does not start it.
    #[must_use]
    pub fn new() -> Self {
        let bin = std::env::var_os("JARVIS_TEST_POSTGRES_BIN").map(PathBuf::from);
        let bin = bin.expect("JARVIS_TEST_POSTGRES_BIN is not set: run the tests with tests/run");
        let folder = TempDir::new().expect("a folder");
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(folder.path(), open).expect("our folder");
        std::fs::write(folder.path().join("password"), "jarvis\n").expect("our folder");
        let server = Self { folder, bin, port: likely_port() };
        let password = format!("--pwfile={}", server.path("password").display());
        let data = server.path("data");
        let output = server
            .command("initdb")
            .arg("-D")
            .arg(data)
            .args(["-U", "jarvis", "--auth=scram-sha-256", "--no-sync", "--locale=C"])
            .args(["--encoding=UTF8", &password])
            .output()
            .expect("initdb runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        server
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A program of the server's, as a user that is not root.
    fn command(&self, program: &str) -> Command {
        let program = self.bin.join(program);
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(self.folder.path()).env("PGPASSWORD", "jarvis").stdin(Stdio::null());
        command
    }

    fn control(&self, arguments: &[&str]) -> Output {
        let data = self.path("data");
        let mut command = self.command("pg_ctl");
        // Its log goes to a file, so that the server does not hold our pipes open.
        command.arg("-D").arg(data).arg("-l").arg(self.path("log")).args(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null()).output().expect("pg_ctl runs")
    }

    /// Starts it on its socket and a loopback port, with these settings (`-c name=value`).
    pub fn start(&mut self, settings: &str) {
        for _ in 0..5 {
            self.port = likely_port();
            let folder = self.folder.path().display();
            let options = format!(
                "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off {settings}",
                self.port
            );
            if self.control(&["start", "-w", "-t", "30", "-o", &options]).status.success() {
                return;
            }
        }
        panic!("PostgreSQL does not start: {}", self.log());
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Stops it cleanly.
    pub fn stop(&self) {
        assert!(self.control(&["stop", "-m", "fast", "-w"]).status.success(), "{}", self.log());
    }

    /// Makes the next start one of a standby that follows nobody.
    pub fn become_standby(&self) {
        self.write("standby.signal", "");
    }

    /// Writes a file into the data folder, readable for the server alone.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path("data").join(name);
        let script = format!("umask 077; cat > '{}'", path.display());
        let mut child = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--", "sh", "-c", &script]);
            command
        } else {
            let mut command = Command::new("sh");
            command.args(["-c", &script]);
            command
        };
        let child = child.current_dir(self.folder.path()).stdin(Stdio::piped()).spawn();
        let mut child = child.expect("sh runs");
        let mut stdin = child.stdin.take().expect("a pipe");
        std::io::Write::write_all(&mut stdin, text.as_bytes()).expect("sh reads");
        drop(stdin);
        assert!(child.wait().expect("our child").success());
    }

    /// Where its sockets are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `postgres://…` over its port, with its password.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://jarvis:jarvis@127.0.0.1:{}/postgres", self.port)
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// A `psql` that runs these statements and keeps its session until it is dropped.
    #[must_use]
    pub fn session(&self, sql: &str) -> Session {
        let child = Command::new(self.bin.join("psql"))
            .args(["-q", "-X", "-v", "ON_ERROR_STOP=1", "-c", sql, &self.url()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Session(child.expect("psql runs"))
    }
}

impl Default for PostgresServer {
    fn default() -> Self {
        Self::new()
    }
}

/// A session of another client. Dropping it kills that client.
#[derive(Debug)]
pub struct Session(Child);

impl Session {
    /// Waits for its end; was it a success?
    pub fn succeeded(&mut self) -> bool {
        self.0.wait().expect("our child").success()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
