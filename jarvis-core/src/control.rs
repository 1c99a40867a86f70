//! How other processes talk to a running `jarvis up`: JSON lines over a Unix socket.
//!
//! The socket is `<state_dir>/jarvis.sock`, mode 0600; only the same user and root are served.
//!
//! 1. The server greets: `{"jarvis": "control", "protocol": 1, "version": "0.1.0", "pid": 4711}`.
//! 2. The client asks, one line a request: `{"id": 1, "type": "uptime", "services": ["daw-backend"]}`.
//! 3. The server answers `{"id": 1, "ok": …}` or `{"id": 1, "err": {"kind": …, "code": …, …}}`;
//!    a stream is any number of `{"id": 1, "item": …}`, then `{"id": 1, "done": true}` or an `err`.
//!
//! Requests of one connection are answered one after the other. A stream ends when the client goes
//! or sends its next line. A request that acts is carried through even when the client goes.

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

use crate::units;
use base::Result;
use base::clock::WallTime;
use base::events::{Message, TopicPattern};
use base::operator::Command;
use base::vocabulary::ServiceId;

/// The version of the protocol. It grows when an old client would misunderstand a new server; new
/// requests and new fields don't change it.
pub const PROTOCOL: u32 = 1;

/// The socket's name inside the state directory.
pub const SOCKET_NAME: &str = "jarvis.sock";

/// Where the socket of this state directory is.
#[must_use]
pub fn socket_path(state_dir: &Path) -> PathBuf {
    state_dir.join(SOCKET_NAME)
}

/// What a client asks for. On the wire `{"type": "uptime", "services": ["…"]}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
#[non_exhaustive]
pub enum Request {
    /// Every service with its state and where it stands in the loop.
    Status,
    /// One round of real probes now.
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
        /// Back from now; absent: the server's usual windows.
        #[serde(
            default,
            rename = "window_ms",
            with = "units::optional_millis",
            skip_serializing_if = "Option::is_none"
        )]
        window: Option<Duration>,
    },
    /// Events: the retained ones, and with `follow` those to come and the messages of the
    /// application, as a stream.
    Events {
        /// Go on with new events until the client goes.
        #[serde(default)]
        follow: bool,
        /// With `follow`: also what the JARVIS of other instances on the bus says.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        everywhere: bool,
        /// Only topics that one of these matches; empty means all.
        #[serde(default)]
        topics: Vec<TopicPattern>,
        /// Only of this service; absent: of all, and those about none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<ServiceId>,
        /// Retained events from then on; absent: none that are older than the request.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<WallTime>,
        /// At most that many retained events, the newest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<usize>,
    },
    /// Publish a message of the application on the bus of the loop.
    Publish {
        /// Topic and payload.
        #[serde(flatten)]
        message: Message,
    },
    /// Have the operator do something: `{"type": "command", "command": "restart", "service": "…",
    /// "by": "ann", "reason": "…"}`. Without the nesting, as earlier versions wrote it
    /// (`{"type": "restart", "service": "…"}`), it is understood too.
    Command(Command),
    /// Send a test alert and say how its delivery went.
    AlertTest {
        /// To this sink; absent: to each.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sink: Option<String>,
    },
    /// Read the configuration again.
    Reload,
    /// The configuration in force, secrets redacted.
    Config,
}

/// Who asks, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// The user.
    pub uid: u32,
    /// The process, where the kernel knows it.
    pub pid: Option<i32>,
}

impl Peer {
    /// Who asks, for the record: the name that the client gives, and the user that the kernel
    /// names. `ann (user 1000)`; without a name `user 1000` or `root`.
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
    /// Documents as they come.
    Stream(Box<dyn ReplyStream>),
}

impl Reply {
    /// One document.
    ///
    /// # Errors
    /// `Internal` when the value has no JSON form.
    pub fn value(value: &impl Serialize) -> Result<Self> {
        serde_json::to_value(value).map(Self::Value).map_err(|error| {
            base::Error::new(base::ErrorKind::Internal, "an answer has no JSON form")
                .with_source(error)
        })
    }
}

/// Documents as they come. Dropped as soon as the client goes.
#[async_trait]
pub trait ReplyStream: Debug + Send {
    /// The next document, `None` at the end.
    ///
    /// # Behavior
    /// - Cancel-safe: a dropped call loses nothing.
    /// - Nothing is asked for after an error.
    async fn next(&mut self) -> Option<Result<Value>>;
}

/// Answers the requests. Filled in by the handle that owns the loop.
#[async_trait]
pub trait ControlHandler: Debug + Send + Sync + 'static {
    /// Answers one request.
    ///
    /// # Behavior
    /// - Called from many connections at once.
    /// - The error reaches the client with kind, message, operation and context.
    /// - What needs a runtime that goes on after the call spawns it: at the server's end a call
    ///   that takes too long is dropped.
    async fn handle(&self, request: Request, peer: Peer) -> Result<Reply>;
}
