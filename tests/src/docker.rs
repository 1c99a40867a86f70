//! Containers on the tests' own Docker Engine, and a proxy before it that fails on demand.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jarvis_core::clock::{Clock, ClockExt, SharedClock, SystemClock};
use jarvis_core::restart::docker::{DockerConfig, DockerHosts, DockerRestarter};
use jarvis_core::restart::{ActionRequest, InstanceEvent, InstanceEvents};
use jarvis_core::vocabulary::{FencingToken, IntentId};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

/// An image that runs until SIGTERM, and one that differs from it.
pub const BOX_1: &str = "jarvis-test/box:1";
/// The other one.
pub const BOX_2: &str = "jarvis-test/box:2";

/// The engine's URL.
///
/// # Panics
/// Without the variable: the tests need `tests/run`.
#[must_use]
pub fn host() -> String {
    std::env::var("JARVIS_TEST_DOCKER_HOST").unwrap_or_else(|_| {
        panic!("JARVIS_TEST_DOCKER_HOST is not set; run the tests with tests/run, which starts a Docker Engine")
    })
}

/// The machine's clock.
#[must_use]
pub fn clock() -> SharedClock {
    Arc::new(SystemClock::new())
}

/// Runs the docker command against an engine.
///
/// # Panics
/// When it can't be run.
pub fn try_docker_at(host: &str, args: &[&str]) -> Output {
    Command::new("docker")
        .args(["-H", host])
        .args(args)
        .output()
        .expect("the docker command; install docker.io")
}

/// Runs the docker command and gives its output.
///
/// # Panics
/// When it fails.
pub fn docker(args: &[&str]) -> String {
    docker_at(&host(), args)
}

/// As [`docker`], against another engine.
///
/// # Panics
/// When it fails.
pub fn docker_at(host: &str, args: &[&str]) -> String {
    let output = try_docker_at(host, args);
    assert!(
        output.status.success(),
        "docker {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A name that no other test uses.
#[must_use]
pub fn unique(stem: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{stem}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A container that is removed with all that a rollback makes of it.
#[derive(Debug)]
pub struct Container {
    /// Its name.
    pub name: String,
    host: String,
}

impl Container {
    /// Runs an image's own command.
    #[must_use]
    pub fn run(stem: &str, options: &[&str], image: &str) -> Self {
        Self::run_command(stem, options, image, &[])
    }

    /// Runs a command.
    #[must_use]
    pub fn run_command(stem: &str, options: &[&str], image: &str, command: &[&str]) -> Self {
        Self::run_at(&host(), stem, options, image, command)
    }

    /// Makes one and does not start it.
    #[must_use]
    pub fn create(stem: &str, image: &str) -> Self {
        Self::make(&["create"], &host(), stem, &[], image, &[])
    }

    /// Runs a command on another engine.
    #[must_use]
    pub fn run_at(host: &str, stem: &str, options: &[&str], image: &str, command: &[&str]) -> Self {
        Self::make(&["run", "-d"], host, stem, options, image, command)
    }

    fn make(
        verb: &[&str],
        host: &str,
        stem: &str,
        options: &[&str],
        image: &str,
        command: &[&str],
    ) -> Self {
        let container = Self { name: unique(stem), host: host.to_owned() };
        let mut args = verb.to_vec();
        args.extend(["--name", &container.name]);
        if !options.contains(&"--network") {
            args.extend(["--network", "none"]);
        }
        args.extend(options);
        args.push(image);
        args.extend(command);
        docker_at(host, &args);
        container
    }

    /// One field of its description, by a Go template.
    #[must_use]
    pub fn inspect(&self, template: &str) -> String {
        docker_at(&self.host, &["inspect", "-f", template, &self.name])
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> String {
        self.inspect("{{.Id}}")
    }

    /// SIGKILL to its main process, from outside: a crash as far as Docker can tell.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill_process(&self) {
        let pid: i32 = self.inspect("{{.State.Pid}}").parse().expect("a pid");
        let pid = rustix::process::Pid::from_raw(pid).expect("a running container");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill");
    }

    /// Waits until a field has a value.
    ///
    /// # Panics
    /// After 30 s.
    pub async fn wait_for(&self, template: &str, value: &str) {
        let clock = SystemClock::new();
        let deadline = clock.monotonic() + Duration::from_secs(30);
        loop {
            let seen = self.inspect(template);
            if seen == value {
                return;
            }
            assert!(clock.monotonic() < deadline, "{template} is {seen:?}, not {value:?}");
            clock.sleep(Duration::from_millis(20)).await;
        }
    }

    /// A restarter of it.
    ///
    /// # Panics
    /// When it can't be made.
    #[must_use]
    pub fn restarter(&self) -> DockerRestarter {
        restarter_at(&self.host, DockerConfig::container(&self.name))
    }
}

/// A network of its own, removed when dropped.
#[derive(Debug)]
pub struct Network {
    /// Its name.
    pub name: String,
}

impl Network {
    /// A bridge, with this range of addresses or the engine's choice.
    #[must_use]
    pub fn new(stem: &str, subnet: Option<&str>) -> Self {
        let network = Self { name: unique(stem) };
        let mut args = vec!["network", "create", "-d", "bridge"];
        args.extend(subnet.iter().flat_map(|subnet| ["--subnet", subnet]));
        args.push(&network.name);
        docker(&args);
        network
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = try_docker_at(&host(), &["network", "rm", &self.name]);
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        for suffix in ["", ".jarvis-kept", ".jarvis-new"] {
            let name = format!("{}{suffix}", self.name);
            let _ = try_docker_at(&self.host, &["rm", "-f", "-v", &name]);
        }
    }
}

/// A restarter with hosts of its own.
///
/// # Panics
/// When it can't be made.
#[must_use]
pub fn restarter_at(host: &str, config: DockerConfig) -> DockerRestarter {
    let hosts = DockerHosts::new(clock());
    DockerRestarter::new(config.with_host(Some(host.to_owned())), &hosts).expect("a restarter")
}

/// A request with an intent of its own and half a minute of time.
#[must_use]
pub fn request() -> ActionRequest {
    request_within(Duration::from_secs(30))
}

/// A request with an intent of its own.
///
/// # Panics
/// Never: the intent is a good name.
#[must_use]
pub fn request_within(time: Duration) -> ActionRequest {
    let intent = IntentId::new(unique("intent")).expect("a name");
    ActionRequest::new(intent, FencingToken::new(1), SystemClock::new().monotonic() + time)
}

/// The first event that is wanted, and those before it.
///
/// # Panics
/// After 20 s, with what came instead.
pub async fn event_where(
    events: &mut InstanceEvents,
    wanted: impl Fn(&InstanceEvent) -> bool,
) -> (InstanceEvent, Vec<InstanceEvent>) {
    let clock = SystemClock::new();
    let deadline = clock.monotonic() + Duration::from_secs(20);
    let mut before = Vec::new();
    loop {
        match clock.until(deadline, events.next()).await {
            Some(Some(event)) if wanted(&event) => return (event, before),
            Some(Some(event)) => before.push(event),
            Some(None) => panic!("the events ended after {before:?}"),
            None => panic!("no such event within 20 s, only {before:?}"),
        }
    }
}

/// What the proxy does to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Answers 500 and does not pass it on.
    Refuse,
    /// Passes it on, waits for the engine's answer, and closes without it.
    LoseAnswer,
}

#[derive(Debug)]
struct Rule {
    method: &'static str,
    path_part: &'static str,
    skip: usize,
    fault: Fault,
}

/// Stands between a restarter and the engine. A connection is one request, which makes it simple.
#[derive(Debug)]
pub struct Proxy {
    folder: tempfile::TempDir,
    rules: Arc<Mutex<VecDeque<Rule>>>,
    lines: Arc<Mutex<Vec<String>>>,
    open: watch::Sender<bool>,
}

impl Proxy {
    /// Passes everything on.
    ///
    /// # Panics
    /// When it can't listen.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join("d.sock")).expect("a socket");
        let rules: Arc<Mutex<VecDeque<Rule>>> = Arc::default();
        let (open, is_open) = watch::channel(true);
        let engine = PathBuf::from(host().trim_start_matches("unix://"));
        let shared = Arc::clone(&rules);
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&lines);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (engine, mut is_open) = (engine.clone(), is_open.clone());
                let (rules, lines) = (Arc::clone(&shared), Arc::clone(&seen));
                tokio::spawn(async move {
                    if !*is_open.borrow_and_update() {
                        return;
                    }
                    tokio::select! {
                        _ = serve(client, &engine, &rules, &lines) => {}
                        _ = is_open.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Self { folder, rules, lines, open }
    }

    /// Its URL.
    #[must_use]
    pub fn host(&self) -> String {
        format!("unix://{}", self.folder.path().join("d.sock").display())
    }

    /// The request after the first `skip` of this method whose path has this part goes wrong.
    pub fn fail(&self, method: &'static str, path_part: &'static str, skip: usize, fault: Fault) {
        let rule = Rule { method, path_part, skip, fault };
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).push_back(rule);
    }

    /// Have all faults happened?
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// How many requests there were for a path with this part.
    #[must_use]
    pub fn requests(&self, path_part: &str) -> usize {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|line| line.contains(path_part)).count()
    }

    /// Cuts every connection, and each new one.
    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Passes on again.
    pub fn mend(&self) {
        self.open.send_replace(true);
    }
}

async fn serve(
    mut client: UnixStream,
    engine: &Path,
    rules: &Mutex<VecDeque<Rule>>,
    lines: &Mutex<Vec<String>>,
) {
    let mut head = Vec::new();
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        match client.read_buf(&mut head).await {
            Ok(read) if read > 0 => {}
            _ => return,
        }
    }
    let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
    let fault = fault_for(&line, rules);
    lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    if fault == Some(Fault::Refuse) {
        let body = r#"{"message":"refused by the test"}"#;
        let answer = format!(
            "HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let _ = client.write_all(answer.as_bytes()).await;
        return;
    }
    let Ok(mut server) = UnixStream::connect(engine).await else { return };
    if server.write_all(&head).await.is_err() {
        return;
    }
    if fault == Some(Fault::LoseAnswer) {
        let mut missing = body_length(&head).saturating_sub(body_so_far(&head));
        while missing > 0 {
            let mut body = vec![0; missing];
            match client.read(&mut body).await {
                Ok(read) if read > 0 && server.write_all(&body[..read]).await.is_ok() => {
                    missing -= read;
                }
                _ => return,
            }
        }
        let mut answer = [0; 1];
        let _ = server.read(&mut answer).await;
        return;
    }
    let _ = copy_bidirectional(&mut client, &mut server).await;
}

fn body_so_far(head: &[u8]) -> usize {
    let end = head.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    end.map_or(0, |end| head.len() - end - 4)
}

fn body_length(head: &[u8]) -> usize {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let line = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    line.and_then(|length| length.trim().parse().ok()).unwrap_or(0)
}

fn fault_for(line: &str, rules: &Mutex<VecDeque<Rule>>) -> Option<Fault> {
    let mut rules = rules.lock().unwrap_or_else(PoisonError::into_inner);
    let rule = rules.front_mut()?;
    let path = line.split(' ').nth(1)?;
    if !line.starts_with(rule.method) || !path.contains(rule.path_part) {
        return None;
    }
    if rule.skip > 0 {
        rule.skip -= 1;
        return None;
    }
    rules.pop_front().map(|rule| rule.fault)
}

/// An engine of a test's own, to be crashed. Stopped when dropped.
#[derive(Debug)]
pub struct OwnEngine {
    folder: tempfile::TempDir,
    /// Its URL.
    pub host: String,
}

impl OwnEngine {
    /// Starts one.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("jd").tempdir().expect("a folder");
        let mut engine = Self { folder, host: String::new() };
        let answer = engine.script("start");
        engine.host = answer
            .trim()
            .strip_prefix("JARVIS_TEST_DOCKER_HOST=")
            .expect("the engine's URL")
            .to_owned();
        engine
    }

    /// Kills dockerd; its containers live on.
    pub fn crash(&self) {
        self.script("crash");
    }

    /// Starts dockerd again.
    pub fn resume(&self) {
        self.script("resume");
    }

    fn script(&self, verb: &str) -> String {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("servers.d/docker");
        let output =
            Command::new(script).arg(verb).arg(self.folder.path()).output().expect("the script");
        assert!(
            output.status.success(),
            "servers.d/docker {verb}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for OwnEngine {
    fn drop(&mut self) {
        self.script("stop");
    }
}
