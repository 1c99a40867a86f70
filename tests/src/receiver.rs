//! An HTTP receiver that keeps what it is sent and answers as it is told.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

use crate::targets::{Identity, Target};

/// One request.
#[derive(Debug, Clone)]
pub struct Received {
    /// The request line and the headers.
    pub head: String,
    /// The body.
    pub body: String,
    /// What was answered; 0 for nothing.
    pub status: u16,
}

impl Received {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<String> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("the body is JSON")
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub struct Answer {
    status: u16,
    headers: String,
    body: String,
}

impl Answer {
    /// This status.
    pub fn status(status: u16) -> Self {
        Self { status, headers: String::new(), body: String::new() }
    }

    /// No answer, ever.
    pub fn never() -> Self {
        Self::status(0)
    }

    /// With a header.
    pub fn with_header(mut self, line: &str) -> Self {
        self.headers.push_str(&format!("{line}\r\n"));
        self
    }

    /// With a body.
    pub fn with_body(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self
    }
}

#[derive(Debug)]
struct State {
    received: Vec<Received>,
    next: VecDeque<Answer>,
    usual: Answer,
}

/// The receiver. Dropping it closes everything.
#[derive(Debug)]
pub struct HttpReceiver {
    target: Target,
    state: Arc<Mutex<State>>,
    changed: watch::Sender<()>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HttpReceiver {
    /// A receiver that answers like this.
    pub async fn start(usual: Answer) -> Self {
        let state = Arc::new(Mutex::new(State { received: vec![], next: VecDeque::new(), usual }));
        let changed = watch::Sender::new(());
        let (kept, notify) = (Arc::clone(&state), changed.clone());
        let target =
            Target::serve(move |stream| serve(stream, Arc::clone(&kept), notify.clone())).await;
        Self { target, state, changed }
    }

    /// As [`start`](Self::start), over TLS with this certificate.
    pub async fn start_tls(usual: Answer, identity: &Identity) -> Self {
        let state = Arc::new(Mutex::new(State { received: vec![], next: VecDeque::new(), usual }));
        let changed = watch::Sender::new(());
        let (kept, notify) = (Arc::clone(&state), changed.clone());
        let acceptor = identity.acceptor();
        let target = Target::serve(move |stream| {
            let (acceptor, kept, notify) = (acceptor.clone(), Arc::clone(&kept), notify.clone());
            async move { serve(acceptor.accept(stream).await?, kept, notify).await }
        });
        Self { target: target.await, state, changed }
    }

    /// The URL of a path on it.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.target.address())
    }

    /// The URL of a path on it, by a name that a certificate can have.
    pub fn tls_url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.target.port())
    }

    /// The next answer is this one, after those that were set before.
    pub fn then(&self, answer: Answer) {
        lock(&self.state).next.push_back(answer);
    }

    /// From now on this is answered.
    pub fn answer(&self, usual: Answer) {
        lock(&self.state).usual = usual;
    }

    /// Everything that came.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.state).received.clone()
    }

    /// What was answered with 2xx.
    pub fn taken(&self) -> Vec<Received> {
        self.received().into_iter().filter(|it| (200..300).contains(&it.status)).collect()
    }

    /// Completes when so many requests came.
    pub async fn wait_for(&self, count: usize) -> Vec<Received> {
        let mut changed = self.changed.subscribe();
        while self.received().len() < count {
            changed.changed().await.expect("we hold the sender");
        }
        self.received()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    state: Arc<Mutex<State>>,
    changed: watch::Sender<()>,
) -> io::Result<()> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.trim().parse().unwrap_or(0));
    while bytes.len() < end + 4 + length {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    }
    let body = String::from_utf8_lossy(&bytes[end + 4..end + 4 + length]).into_owned();
    let answer = {
        let mut state = lock(&state);
        let answer = state.next.pop_front().unwrap_or_else(|| state.usual.clone());
        state.received.push(Received { head, body, status: answer.status });
        answer
    };
    changed.send_replace(());
    if answer.status == 0 {
        return std::future::pending().await;
    }
    let text = format!(
        "HTTP/1.1 {} Told\r\ncontent-length: {}\r\nconnection: close\r\n{}\r\n{}",
        answer.status,
        answer.body.len(),
        answer.headers,
        answer.body
    );
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}
