//! The real `jarvis` binary in a folder of its own.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;

/// Where the binary is: beside the tests, built by `cargo build --workspace --bins`.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn jarvis_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("JARVIS_TEST_BINARY") {
        return path.into();
    }
    let own = std::env::current_exe().expect("the path of this test");
    let folder = own.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
    let binary = folder.join("jarvis");
    assert!(
        binary.exists(),
        "{} is not built: run `cargo build --workspace --bins`, or tests/run",
        binary.display()
    );
    binary
}

/// What a finished command left.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Finished {
    /// Its standard output as one JSON document.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("no JSON document ({error}): {self:?}"))
    }
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A folder with a configuration and a state directory, and nothing of the caller's environment.
#[derive(Debug)]
pub struct Workplace {
    folder: TempDir,
}

impl Workplace {
    /// A folder without a configuration.
    ///
    /// # Panics
    /// When there is no room for a temporary folder.
    #[must_use]
    pub fn empty() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// A folder with this `jarvis.toml`. `STATE` in it becomes the state directory.
    #[must_use]
    pub fn with_config(text: &str) -> Self {
        let place = Self::empty();
        place
            .write("jarvis.toml", &text.replace("STATE", &place.state_dir().display().to_string()));
        place
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Its state directory.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.path().join("state")
    }

    /// Writes a file in it, readable by the owner only.
    ///
    /// # Panics
    /// When it can't.
    pub fn write(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.path().join(name);
        std::fs::write(&path, text).expect("a file in the temporary folder");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("its mode");
    }

    /// A command in it, not yet started.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(jarvis_binary());
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if self.leaves_state_dir_open() && !arguments.contains(&"--config") {
            // The usual one is the machine's, /var/lib/jarvis, where the tests run as root.
            command.env("JARVIS_JARVIS__STATE_DIR", self.state_dir());
        }
        command
    }

    /// Is there no configuration, or one that can be read and names no state directory?
    fn leaves_state_dir_open(&self) -> bool {
        let Ok(text) = std::fs::read_to_string(self.path().join("jarvis.toml")) else {
            return true;
        };
        let table = text.parse::<toml::Table>();
        table.is_ok_and(|table| table.get("jarvis").and_then(|it| it.get("state_dir")).is_none())
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Finished {
        self.command(arguments).output().expect("jarvis starts").into()
    }

    /// As [`start`](Self::start), with more in its environment.
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn start_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Running {
        let mut command = self.command(arguments);
        command.envs(environment.iter().copied());
        Running::of(command)
    }

    /// Starts a command that goes on, and reads its lines.
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn start(&self, arguments: &[&str]) -> Running {
        Running::new(self.command(arguments).spawn().expect("jarvis starts"))
    }
}

/// A command that goes on. Killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    /// Starts a command whose outputs are pipes.
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn of(mut command: Command) -> Self {
        Self::new(command.spawn().expect("it starts"))
    }

    fn new(mut child: Child) -> Self {
        let (sender, lines) = mpsc::channel();
        let outputs: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|output| Box::new(output) as _),
            child.stderr.take().map(|output| Box::new(output) as _),
        ];
        for output in outputs.into_iter().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        Self { child, lines, seen: Vec::new() }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    /// The first line from now on, of either output, that contains `text`.
    ///
    /// # Panics
    /// When none comes within `patience`; with everything that was printed so far.
    pub fn line_with(&mut self, text: &str, patience: Duration) -> String {
        self.line_within(text, patience)
            .unwrap_or_else(|| panic!("no line with {text:?}; seen:\n{}", self.seen.join("\n")))
    }

    /// The same, or `None` when none comes.
    pub fn line_within(&mut self, text: &str, patience: Duration) -> Option<String> {
        #[expect(clippy::disallowed_methods, reason = "a real process runs in real time")]
        let deadline = std::time::Instant::now() + patience;
        loop {
            #[expect(clippy::disallowed_methods, reason = "a real process runs in real time")]
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return Some(line);
                    }
                }
                Err(_) => return None,
            }
        }
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it is gone.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid()).expect("a pid");
        rustix::process::kill_process(pid, signal).expect("the process is there");
    }

    /// Waits for its end and gives the exit code (-1 for a signal) and every line.
    ///
    /// # Panics
    /// When it does not end within `patience`.
    pub fn finish(&mut self, patience: Duration) -> (i32, Vec<String>) {
        let status = wait_until(patience, || self.child.try_wait().expect("a child of ours"))
            .unwrap_or_else(|| panic!("still running; seen:\n{}", self.seen.join("\n")));
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(5)) {
            self.seen.push(line);
        }
        (status.code().unwrap_or(-1), std::mem::take(&mut self.seen))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks again and again, a hundred times a second, until there is an answer or patience ends.
pub fn wait_until<T>(patience: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    #[expect(clippy::disallowed_methods, reason = "real processes run in real time")]
    let deadline = std::time::Instant::now() + patience;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        #[expect(clippy::disallowed_methods, reason = "real processes run in real time")]
        {
            if std::time::Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
