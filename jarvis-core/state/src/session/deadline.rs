//! [`Deadline`] of an update: it interrupts the waits that may be interrupted.

use std::fmt;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::poll_immediate;

use base::clock::{ClockExt, Monotonic, SharedClock};
use base::{Error, ErrorKind, Result, Retry};

/// When an update ends.
#[derive(Clone)]
pub(super) struct Deadline {
    clock: SharedClock,
    at: Monotonic,
}

impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Deadline").field(&self.at).finish()
    }
}

impl Deadline {
    pub(super) fn new(clock: &SharedClock, within: Duration) -> Self {
        Self { clock: clock.clone(), at: clock.monotonic() + within }
    }

    /// `Timeout` when it has passed.
    pub(super) fn check(&self) -> Result<()> {
        if self.clock.monotonic() < self.at { Ok(()) } else { Err(late()) }
    }

    /// The future's output, or `Timeout`; the future is dropped then. What is complete at once
    /// needs no timer, and so no runtime.
    pub(super) async fn cut<F: Future + Send>(&self, future: F) -> Result<F::Output> {
        let mut future = pin!(future);
        if let Some(output) = poll_immediate(&mut future).await {
            return Ok(output);
        }
        self.clock.until(self.at, future).await.ok_or_else(late)
    }
}

fn late() -> Error {
    Error::new(
        ErrorKind::Timeout,
        "other requests kept changing the session until the deadline; this update was not stored",
    )
    .with_retry(Retry::Safe { after: None })
}
