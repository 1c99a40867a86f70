//! The waiting in an update: a [`Deadline`] that cuts what may be cut.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::poll_immediate;

use base::clock::{ClockExt, Monotonic, SharedClock};
use base::{Error, ErrorKind, Result, Retry};

/// When an update ends.
pub(super) struct Deadline<'a> {
    clock: &'a SharedClock,
    at: Monotonic,
}

impl<'a> Deadline<'a> {
    pub(super) fn new(clock: &'a SharedClock, within: Duration) -> Self {
        Self { clock, at: clock.monotonic() + within }
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
        "others kept changing the session until the deadline; nothing of this update was stored",
    )
    .with_retry(Retry::Safe { after: None })
}
