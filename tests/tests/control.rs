//! The control socket, with real sockets.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails has to stop")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jarvis_core::clock::{ClockExt, Monotonic, SharedClock, SystemClock};
use jarvis_core::control::{
    ControlClient, ControlHandler, ControlServer, Peer, Reply, ReplyStream, Request, ServerOptions,
    socket_path,
};
use jarvis_core::operator::{Action, Command};
use jarvis_core::vocabulary::ServiceId;
use jarvis_core::{Error, ErrorKind, Result, Retry};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{Notify, oneshot};

#[derive(Debug, Default)]
struct Handler {
    /// Streams that are open.
    streams: Arc<AtomicUsize>,
    ended: Arc<Notify>,
    resume: Notify,
}

#[derive(Debug)]
struct Numbers {
    next: u64,
    most: u64,
    handler: (Arc<AtomicUsize>, Arc<Notify>),
}

impl Drop for Numbers {
    fn drop(&mut self) {
        self.handler.0.fetch_sub(1, Ordering::SeqCst);
        self.handler.1.notify_one();
    }
}

#[async_trait]
impl ReplyStream for Numbers {
    async fn next(&mut self) -> Option<Result<Value>> {
        if self.next == self.most {
            return std::future::pending().await;
        }
        self.next += 1;
        Some(Ok(json!({ "number": self.next, "text": "x".repeat(1_000) })))
    }
}

#[async_trait]
impl ControlHandler for Handler {
    async fn handle(&self, request: Request, peer: Peer) -> Result<Reply> {
        match request {
            Request::Status => Ok(Reply::Value(json!({ "uid": peer.uid, "pid": peer.pid }))),
            Request::Command(Command { action: Action::Restart { service }, .. }) => {
                Err(Error::new(ErrorKind::Forbidden, "the kill switch is on")
                    .with_operation("operator.restart")
                    .with_context("service", service)
                    .with_retry(Retry::Safe { after: Some(Duration::from_secs(3)) }))
            }
            Request::Events { limit, .. } => {
                self.streams.fetch_add(1, Ordering::SeqCst);
                Ok(Reply::Stream(Box::new(Numbers {
                    next: 0,
                    most: limit.unwrap_or(usize::MAX) as u64,
                    handler: (Arc::clone(&self.streams), Arc::clone(&self.ended)),
                })))
            }
            Request::Command(Command { action: Action::Resume, .. }) => {
                self.ended.notify_one();
                self.resume.notified().await;
                Ok(Reply::Value(Value::Null))
            }
            Request::Reload => panic!("a bug in the handler"),
            other => Err(Error::new(ErrorKind::Unsupported, format!("{other:?}"))),
        }
    }
}

fn command(action: Action) -> Request {
    Request::Command(Command::new(action, "a test"))
}

struct Bench {
    _folder: tempfile::TempDir,
    path: PathBuf,
    clock: SharedClock,
    handler: Arc<Handler>,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Bench {
    async fn start(options: ServerOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = socket_path(folder.path());
        let clock: SharedClock = Arc::new(SystemClock::new());
        let handler = Arc::new(Handler::default());
        let server = ControlServer::bind(&path, Arc::clone(&clock), options).await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = Arc::clone(&handler);
        let task = tokio::spawn(async move {
            server.serve(serving, async { drop(stopped.await) }).await;
        });
        Self { _folder: folder, path, clock, handler, stop, task }
    }

    fn deadline(&self) -> Monotonic {
        self.clock.monotonic() + Duration::from_secs(20)
    }

    async fn client(&self) -> ControlClient {
        ControlClient::connect(&self.path, Arc::clone(&self.clock), self.deadline()).await.unwrap()
    }

    async fn raw(&self) -> BufReader<UnixStream> {
        let mut stream = BufReader::new(UnixStream::connect(&self.path).await.unwrap());
        let hello = line(&mut stream).await;
        assert_eq!((&hello["jarvis"], &hello["protocol"]), (&json!("control"), &json!(1)));
        stream
    }
}

async fn line(stream: &mut BufReader<UnixStream>) -> Value {
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    serde_json::from_str(&line).unwrap()
}

async fn connect(path: &Path) -> Result<ControlClient> {
    let clock: SharedClock = Arc::new(SystemClock::new());
    let deadline = clock.monotonic() + Duration::from_secs(5);
    ControlClient::connect(path, clock, deadline).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_and_an_error_arrive_as_they_are() {
    let bench = Bench::start(ServerOptions::default()).await;
    let mode = std::fs::metadata(&bench.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut client = bench.client().await;
    assert_eq!(client.hello().pid, std::process::id());
    let status: Value = client.call(Request::Status, bench.deadline()).await.unwrap();
    assert_eq!(status["pid"], std::process::id());
    let service = ServiceId::new("api").unwrap();
    let error =
        client.request(command(Action::Restart { service }), bench.deadline()).await.unwrap_err();
    assert_eq!(error.to_string(), "the kill switch is on (operator.restart; service: api)");
    assert_eq!(error.code(), "ERR_JARVIS_FORBIDDEN");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
    let panicked = client.request(Request::Reload, bench.deadline()).await.unwrap_err();
    assert_eq!(panicked.kind(), ErrorKind::Internal);
    assert!(client.request(Request::Status, bench.deadline()).await.is_ok(), "it goes on");
}

/// Connects from another process, as that user, and gives the server's first line.
fn hello_as(uid: u32, path: &Path) -> Value {
    use std::os::unix::process::CommandExt as _;
    // Perl without modules beyond perl-base, which every Debian has, and which any user may run.
    let script = "my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die $!; print scalar <$s>";
    let output = std::process::Command::new("/usr/bin/perl")
        .args(["-MIO::Socket::UNIX", "-e", script])
        .arg(path)
        .current_dir("/")
        .uid(uid)
        .gid(uid)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no line: {told}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_is_refused_even_where_the_file_lets_him_through() {
    if !rustix::process::geteuid().is_root() {
        jarvis_tests::skip(
            "another user's commands are refused: only root can become another user",
        );
        return;
    }
    let bench = Bench::start(ServerOptions::default()).await;
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(bench.path.parent().unwrap(), 0o755);
    open(&bench.path, 0o666);
    let path = bench.path.clone();
    let (nobody, root) =
        tokio::task::spawn_blocking(move || (hello_as(65_534, &path), hello_as(0, &path)))
            .await
            .unwrap();
    assert_eq!(nobody["err"]["code"], "ERR_JARVIS_FORBIDDEN", "{nobody}");
    assert!(nobody.get("jarvis").is_none(), "no greeting for a stranger: {nobody}");
    assert_eq!(root["jarvis"], "control", "the owner is let in: {root}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_client_and_holds_nobody_up() {
    let bench = Bench::start(ServerOptions::default()).await;
    let follow = |limit| Request::Events {
        follow: true,
        everywhere: false,
        topics: vec![],
        service: None,
        since: None,
        limit,
    };
    // Without end, and nobody reads it: its socket fills up.
    let lazy = bench.client().await.stream(follow(None)).await.unwrap();
    let mut items = bench.client().await.stream(follow(Some(3))).await.unwrap();
    for number in 1..=3 {
        assert_eq!(items.next().await.unwrap().unwrap()["number"], number);
    }
    let mut other = bench.client().await;
    assert!(other.request(Request::Status, bench.deadline()).await.is_ok());
    assert_eq!(bench.handler.streams.load(Ordering::SeqCst), 2);
    drop((items, lazy));
    while bench.handler.streams.load(Ordering::SeqCst) > 0 {
        let ended = bench.handler.ended.notified();
        bench.clock.until(bench.deadline(), ended).await.expect("the streams go on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_ends_a_stream_and_the_connection_goes_on() {
    let bench = Bench::start(ServerOptions::default()).await;
    let mut raw = bench.raw().await;
    raw.write_all(b"{\"id\": 7, \"type\": \"events\", \"follow\": true, \"limit\": 1}\n")
        .await
        .unwrap();
    assert_eq!(line(&mut raw).await["item"]["number"], 1);
    raw.write_all(b"{\"id\": 8, \"type\": \"status\"}\n").await.unwrap();
    assert_eq!(line(&mut raw).await, json!({ "id": 7, "done": true }));
    assert_eq!(line(&mut raw).await["id"], 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_answered_and_too_much_of_it_ends_the_connection() {
    let bench = Bench::start(ServerOptions::default()).await;
    let mut raw = bench.raw().await;
    let wrong = ["not json", "{}", "{\"id\": 4, \"type\": \"fly\"}", "\u{0}\u{1}", "[[[["];
    for text in wrong {
        raw.write_all(format!("{text}\n").as_bytes()).await.unwrap();
        assert_eq!(line(&mut raw).await["err"]["code"], "ERR_JARVIS_INVALID_INPUT", "{text}");
    }
    raw.write_all(&[0xff, 0xfe, b'\n']).await.unwrap();
    assert_eq!(line(&mut raw).await["err"]["kind"], "invalid_input");
    let service = "{\"id\": 5, \"type\": \"restart\", \"service\": \"../etc\"}\n";
    raw.write_all(service.as_bytes()).await.unwrap();
    assert_eq!(line(&mut raw).await["err"]["kind"], "invalid_input");
    // The server may hang up while we are still sending.
    let _sent = raw.write_all(&vec![b'x'; 200 * 1_024]).await;
    let mut rest = Vec::new();
    let _reset = raw.read_to_end(&mut rest).await;
    let rest = String::from_utf8_lossy(&rest);
    assert!(rest.is_empty() || rest.contains("ERR_JARVIS_TOO_LARGE"), "{rest}");
    assert!(bench.client().await.request(Request::Status, bench.deadline()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_and_too_many_clients_are_let_go() {
    let mut options = ServerOptions::default();
    options.max_clients = 2;
    options.idle = Duration::from_millis(300);
    let bench = Bench::start(options).await;
    let (mut first, second) = (bench.raw().await, bench.raw().await);
    let refused = connect(&bench.path).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::RateLimited);
    let mut rest = Vec::new();
    let silent = first.read_to_end(&mut rest);
    assert_eq!(bench.clock.until(bench.deadline(), silent).await.unwrap().unwrap(), 0);
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_one_listens_and_what_a_dead_one_left_is_replaced() {
    let bench = Bench::start(ServerOptions::default()).await;
    let again =
        ControlServer::bind(&bench.path, Arc::clone(&bench.clock), ServerOptions::default());
    let error = again.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(bench.client().await.request(Request::Status, bench.deadline()).await.is_ok());
    drop(bench.stop);
    bench.task.await.unwrap();
    assert!(!bench.path.exists(), "it is tidied up");
    let nobody = connect(&bench.path).await.unwrap_err();
    assert_eq!(nobody.kind(), ErrorKind::Unavailable);
    assert!(nobody.message().contains("start `jarvis up`"), "{nobody}");

    // A socket whose process was killed: nobody listens, the file is there.
    drop(std::os::unix::net::UnixListener::bind(&bench.path).unwrap());
    let stale = connect(&bench.path).await.unwrap_err();
    assert!(stale.message().contains("start `jarvis up`"), "{stale}");
    let clock = Arc::clone(&bench.clock);
    drop(ControlServer::bind(&bench.path, clock, ServerOptions::default()).await.unwrap());

    std::fs::write(&bench.path, "precious").unwrap();
    let clock = Arc::clone(&bench.clock);
    let kept = ControlServer::bind(&bench.path, clock, ServerOptions::default()).await.unwrap_err();
    assert_eq!(kept.kind(), ErrorKind::Conflict, "{kept}");
    assert_eq!(std::fs::read_to_string(&bench.path).unwrap(), "precious");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_end_a_request_in_flight_is_still_answered() {
    let bench = Bench::start(ServerOptions::default()).await;
    let mut idle = bench.raw().await;
    let mut raw = bench.raw().await;
    raw.write_all(b"{\"id\": 1, \"type\": \"resume\"}\n{\"id\": 2, \"type\": \"status\"}\n")
        .await
        .unwrap();
    bench.clock.until(bench.deadline(), bench.handler.ended.notified()).await.expect("in flight");
    drop(bench.stop);
    assert_eq!(idle.read_to_end(&mut Vec::new()).await.unwrap(), 0, "who asks nothing is let go");
    bench.handler.resume.notify_one();
    assert_eq!(line(&mut raw).await, json!({ "id": 1, "ok": null }));
    let deadline = bench.clock.monotonic() + Duration::from_secs(10);
    bench.clock.until(deadline, bench.task).await.expect("the server goes on").unwrap();
}
