//! The client.

use std::io;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::wire::{Answer, Asked, Hello, LineBuffer, MAX_REPLY, to_line};
use super::{PROTOCOL, Request};
use base::clock::{ClockExt, Monotonic, SharedClock};
use base::{Error, ErrorKind, Result};

/// A connection to a running `jarvis up`.
#[derive(Debug)]
pub struct ControlClient {
    reader: BufReader<OwnedReadHalf>,
    lines: LineBuffer,
    writer: OwnedWriteHalf,
    clock: SharedClock,
    hello: Hello,
    next_id: u64,
}

fn late(what: &str) -> Error {
    Error::new(ErrorKind::Timeout, format!("`jarvis up` {what} in time"))
}

fn unreachable(error: io::Error, path: &Path) -> Error {
    let (kind, message) = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            (ErrorKind::Unavailable, "nothing is running here; start `jarvis up`".to_owned())
        }
        io::ErrorKind::PermissionDenied => (
            ErrorKind::Forbidden,
            "`jarvis up` runs as another user; use that user, or root".to_owned(),
        ),
        io::ErrorKind::WouldBlock => (
            ErrorKind::RateLimited,
            "`jarvis up` does not accept new connections; try again in a moment".to_owned(),
        ),
        io::ErrorKind::InvalidInput => (
            ErrorKind::InvalidInput,
            "the socket's path is too long; choose a shorter state_dir".to_owned(),
        ),
        _ => (ErrorKind::Unavailable, format!("`jarvis up` can't be reached: {error}")),
    };
    Error::new(kind, message).with_context("socket", path.display()).with_source(error)
}

impl ControlClient {
    /// Connects and checks the greeting.
    ///
    /// # Errors
    /// `Unavailable` when nobody listens, `Forbidden` when the server runs as another user, `Timeout`, and
    /// `Unsupported` when the server speaks another version of the protocol.
    pub async fn connect(path: &Path, clock: SharedClock, deadline: Monotonic) -> Result<Self> {
        let stream = clock
            .until(deadline, UnixStream::connect(path))
            .await
            .ok_or_else(|| late("did not accept the connection"))?
            .map_err(|error| unreachable(error, path))?;
        let (reader, writer) = stream.into_split();
        let mut reader = BufReader::new(reader);
        let mut lines = LineBuffer::default();
        let line = clock
            .until(deadline, lines.next(&mut reader, MAX_REPLY))
            .await
            .ok_or_else(|| late("did not greet"))??
            .ok_or_else(|| hung_up(ErrorKind::Unavailable))?;
        let hello = check_hello(&line)?;
        Ok(Self { reader, lines, writer, clock, hello, next_id: 1 })
    }

    /// The server's greeting.
    #[must_use]
    pub const fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Sends a request and waits for its document.
    ///
    /// # Errors
    /// The server's own error, unchanged; `Timeout` at the deadline (the request may still be
    /// carried out); `Unavailable` when the server disconnects.
    pub async fn request(&mut self, request: Request, deadline: Monotonic) -> Result<Value> {
        let clock = SharedClock::clone(&self.clock);
        clock
            .until(deadline, async {
                let id = self.ask(request).await?;
                loop {
                    let answer = self.answer().await?;
                    if let Some(error) = answer.err.filter(|_| answer.id == id || answer.id == 0) {
                        return Err(error.into());
                    }
                    // Anything else belongs to an earlier request whose deadline passed.
                    if let Some(value) = answer.ok.filter(|_| answer.id == id) {
                        return Ok(value);
                    }
                }
            })
            .await
            .ok_or_else(|| late("did not answer"))?
    }

    /// Sends a request and reads its document as a `T`.
    ///
    /// # Errors
    /// As [`request`](Self::request), and `Corrupt` when the document is not a `T`.
    pub async fn call<T: DeserializeOwned>(
        &mut self,
        request: Request,
        deadline: Monotonic,
    ) -> Result<T> {
        let value = self.request(request, deadline).await?;
        serde_json::from_value(value).map_err(|error| not_understood().with_source(error))
    }

    /// Sends a request for a stream. The stream ends when the answer is dropped.
    ///
    /// # Errors
    /// `Unavailable` when the server disconnects. An error of the server is the first item.
    pub async fn stream(mut self, request: Request) -> Result<ReplyItems> {
        let id = self.ask(request).await?;
        Ok(ReplyItems { client: self, id, ended: false })
    }

    async fn ask(&mut self, request: Request) -> Result<u64> {
        let id = self.next_id;
        self.next_id += 1;
        let line = to_line(&Asked { id, request })?;
        self.writer
            .write_all(&line)
            .await
            .map_err(|error| hung_up(ErrorKind::Unavailable).with_source(error))?;
        Ok(id)
    }

    async fn answer(&mut self) -> Result<Answer> {
        let line = self
            .lines
            .next(&mut self.reader, MAX_REPLY)
            .await?
            .ok_or_else(|| hung_up(ErrorKind::Unavailable))?;
        serde_json::from_slice(&line).map_err(|error| not_understood().with_source(error))
    }
}

fn hung_up(kind: ErrorKind) -> Error {
    Error::new(kind, "`jarvis up` ended the connection; is it still running?")
        .with_retry(base::Retry::Indeterminate)
}

fn not_understood() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "`jarvis up` sent an answer that this version cannot read; use the same version for both",
    )
}

fn check_hello(line: &[u8]) -> Result<Hello> {
    // A refusal comes in place of the greeting.
    if let Ok(Answer { err: Some(error), .. }) = serde_json::from_slice(line) {
        return Err(error.into());
    }
    let hello: Hello = serde_json::from_slice(line).map_err(|error| {
        Error::new(ErrorKind::Unsupported, "this socket does not belong to JARVIS")
            .with_source(error)
    })?;
    if hello.protocol == PROTOCOL {
        return Ok(hello);
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        format!(
            "`jarvis up` is version {} and speaks protocol {}, this one speaks {PROTOCOL}; use the same version for both",
            hello.version, hello.protocol
        ),
    ))
}

/// The items of a stream.
#[derive(Debug)]
pub struct ReplyItems {
    client: ControlClient,
    id: u64,
    ended: bool,
}

impl ReplyItems {
    /// The next item, `None` at the end. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<Value>> {
        while !self.ended {
            match self.client.answer().await {
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
                Ok(answer) if answer.id != self.id && answer.err.is_none() => {}
                Ok(Answer { err: Some(error), .. }) => {
                    self.ended = true;
                    return Some(Err(error.into()));
                }
                Ok(Answer { item: Some(item), .. }) => return Some(Ok(item)),
                Ok(Answer { ok: Some(value), .. }) => {
                    self.ended = true;
                    return Some(Ok(value));
                }
                Ok(answer) => self.ended = answer.done,
            }
        }
        None
    }
}
