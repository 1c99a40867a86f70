//! The waiting in an update: a deadline that cuts what may be cut, and a pause between collisions.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::poll_immediate;

use crate::clock::{ClockExt, Monotonic, SharedClock};
use crate::resilience::{BackoffPolicy, random_fraction};
use crate::{Error, ErrorKind, Result, Retry};

/// How many collisions are answered at once, with what they told.
const AT_ONCE: u32 = 2;

const PAUSE: BackoffPolicy = BackoffPolicy {
    initial: Duration::from_millis(1),
    factor: 2.0,
    max: Duration::from_millis(50),
    jitter: true,
};

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

/// What to wait for after so many collisions.
pub(super) fn pause(clock: &SharedClock, collisions: u32) -> Option<crate::clock::Sleep> {
    let failures = collisions.checked_sub(AT_ONCE)?;
    (failures > 0).then(|| clock.sleep(PAUSE.wait(failures, random_fraction())))
}
