//! Options of the Redis client.

use std::time::Duration;

use crate::{Error, ErrorKind, Result};

/// How a Redis is used. What is not told is fine for most.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// How long a call waits for its answer, connecting included. Default: 1 s.
    pub deadline: Duration,
    /// How long connecting and greeting may take. Default: 500 ms.
    pub connect_timeout: Duration,
    /// How many connections to each server, 1 to 8. 1 unless told; with 2, a large value that is
    /// on its way holds up only every other call.
    pub connections: usize,
    /// How many calls may wait for each server. One more is refused with `Unavailable`. 10,000
    /// unless told.
    pub max_waiting: usize,
    /// With TLS: the certificates (PEM) that the server's one has to lead to, in place of the
    /// system's.
    pub root_certificates: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(1),
            connect_timeout: Duration::from_millis(500),
            connections: 1,
            max_waiting: 10_000,
            root_certificates: None,
        }
    }
}

impl Options {
    /// The usual ones.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How long a call waits for its answer.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How long connecting may take.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How many connections to each server.
    #[must_use]
    pub fn with_connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// How many calls may wait for each server.
    #[must_use]
    pub fn with_max_waiting(mut self, calls: usize) -> Self {
        self.max_waiting = calls;
        self
    }

    /// The certificates (PEM) to trust with TLS.
    #[must_use]
    pub fn with_root_certificates(mut self, pem: impl Into<String>) -> Self {
        self.root_certificates = Some(pem.into());
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        let wrong = if !(1..=8).contains(&self.connections) {
            "connections must be 1 to 8"
        } else if self.deadline.is_zero() || self.connect_timeout.is_zero() {
            "a deadline must be longer than 0s; leave it out for the default"
        } else if self.max_waiting == 0 {
            "max_waiting must be at least 1"
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::InvalidInput, wrong))
    }
}
