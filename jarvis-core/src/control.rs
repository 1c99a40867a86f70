//! The control socket of a running `jarvis up`: JSON lines over a Unix socket, client and server.
//!
//! The socket is `<state_dir>/jarvis.sock`, mode 0600; only the same user and root are served.
//!
//! 1. The server greets: `{"jarvis": "control", "protocol": 1, "version": "0.1.0", "pid": 4711}`.
//! 2. The client asks, one line a request: `{"id": 1, "type": "uptime", "services": ["daw-backend"]}`.
//! 3. The server answers `{"id": 1, "ok": …}` or `{"id": 1, "err": {"kind": …, "code": …, …}}`;
//!    a stream is any number of `{"id": 1, "item": …}`, then `{"id": 1, "done": true}` or an `err`.
//!
//! Requests of one connection are answered in order. A stream ends when the client disconnects or
//! sends its next line. A command is carried out even if the client disconnects.

mod client;
mod server;
mod wire;

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use client::{ControlClient, ReplyItems};
pub use server::{ControlServer, ServerOptions};
pub use wire::{Hello, MAX_REPLY, MAX_REQUEST, WireError};

use base::Result;
use base::clock::WallTime;
use base::events::{Message, TopicPattern};
use base::units;
use base::vocabulary::ServiceId;
use supervision::operator::Command;

/// The version of the protocol. It grows when an old client would misunderstand a new server; new
/// requests and new fields don't change it.
pub const PROTOCOL: u32 = 1;

/// The socket's name inside the state directory.
pub const SOCKET_NAME: &str = "jarvis.sock";

/// The path of the socket in this state directory.
#[must_use]
pub fn socket_path(state_dir: &Path) -> PathBuf {
    state_dir.join(SOCKET_NAME)
}

/// A request of a client. On the wire `{"type": "uptime", "services": ["…"]}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
#[non_exhaustive]
pub enum Request {
    /// Every service with its state and its place in the operator's loop.
    Status,
    /// Probe now, once.
    Check {
        /// These services; empty means all.
        #[serde(default)]
        services: Vec<ServiceId>,
    },
    /// Uptime, latency and error rate.
    Uptime {
        /// These services; empty means all.
        #[serde(default)]
        services: Vec<ServiceId>,
        /// How far back from now; absent: the server's usual windows.
        #[serde(
            default,
            rename = "window_ms",
            with = "units::optional_millis",
            skip_serializing_if = "Option::is_none"
        )]
        window: Option<Duration>,
    },
    /// The retained events as a stream; with `follow` also new events and the messages of the
    /// application.
    Events {
        /// Continue with new events until the client disconnects.
        #[serde(default)]
        follow: bool,
        /// With `follow`: also the events of other JARVIS instances on the bus.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        everywhere: bool,
        /// Only topics that match one of these patterns; empty means all.
        #[serde(default)]
        topics: Vec<TopicPattern>,
        /// Only events about this service; absent: all events.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<ServiceId>,
        /// Retained events since this time; absent: none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<WallTime>,
        /// At most this many retained events, the newest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<usize>,
    },
    /// Publish a message of the application on the loop's bus.
    Publish {
        /// Topic and payload.
        #[serde(flatten)]
        message: Message,
    },
    /// Send the operator a command: `{"type": "command", "command": "restart", "service": "…",
    /// "by": "ann", "reason": "…"}`. The form of earlier versions, `{"type": "restart",
    /// "service": "…"}`, is still read.
    Command(Command),
    /// Send a test alert and report its delivery.
    AlertTest {
        /// To this sink; absent: to every sink.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sink: Option<String>,
    },
    /// Read the configuration again.
    Reload,
    /// The configuration in force, secrets redacted.
    Config,
}

/// The client's user and process, as the kernel reports them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// The user id.
    pub uid: u32,
    /// The process id, if the kernel knows it.
    pub pid: Option<i32>,
}

impl Peer {
    /// Who asks, for the record: the name that the client gives and the user that the kernel
    /// reports, as `ann (user 1000)`; without a name, `user 1000` or `root`.
    #[must_use]
    pub fn asks_as(&self, name: &str) -> String {
        let user = match self.uid {
            0 => "root".to_owned(),
            uid => format!("user {uid}"),
        };
        if name.is_empty() || name == user { user } else { format!("{name} ({user})") }
    }
}

/// The answer to a [`Request`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Reply {
    /// One document.
    Value(Value),
    /// A stream of documents.
    Stream(Box<dyn ReplyStream>),
}

impl Reply {
    /// One document.
    ///
    /// # Errors
    /// `Internal` when the value can't be written as JSON.
    pub fn value(value: &impl Serialize) -> Result<Self> {
        serde_json::to_value(value).map(Self::Value).map_err(|error| {
            base::Error::new(base::ErrorKind::Internal, "failed to serialize an answer as JSON")
                .with_source(error)
        })
    }
}

/// A stream of documents. Dropped as soon as the client disconnects.
#[async_trait]
pub trait ReplyStream: Debug + Send {
    /// The next document; `None` at the end.
    ///
    /// # Behavior
    /// - Cancel-safe: a dropped call loses nothing.
    /// - Not called again after an error.
    async fn next(&mut self) -> Option<Result<Value>>;
}

/// Answers requests. Implemented by the handle that owns the loop.
#[async_trait]
pub trait ControlHandler: Debug + Send + Sync + 'static {
    /// Answers one request.
    ///
    /// # Behavior
    /// - Called from many connections concurrently.
    /// - The error reaches the client with kind, message, operation and context.
    /// - A call that takes too long while the server shuts down is dropped. Work that has to
    ///   outlive the call is spawned.
    async fn handle(&self, request: Request, peer: Peer) -> Result<Reply>;
}
