//! One worker a sink: takes the next message, delivers it, books how it went.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::watch;

use super::{Inner, Target, state};
use crate::alert::Alert;
use crate::alert::outbox::{Failed, Pick};
use base::clock::ClockExt;
use base::events::Event;
use base::{Error, ErrorKind, Result};

/// Delivers for one sink until it is told to stop or the sink is no more. Gives back its name.
pub(super) async fn run(
    inner: Arc<Inner>,
    name: String,
    mut stopped: watch::Receiver<bool>,
) -> String {
    let mut changed = inner.changed.subscribe();
    loop {
        changed.borrow_and_update();
        let Some(target) = inner.targets().get(&name).cloned() else { return name };
        if *stopped.borrow() {
            return name;
        }
        // Before the state is asked: time that passes in between makes us early, never late.
        let asked_at = inner.clock.monotonic();
        let pick = inner.state().pick(&name, &inner.clock.stamp());
        let wait = match pick {
            Pick::Deliver(seq, alert) => {
                inner.deliver_next(&name, &target, seq, &alert).await;
                continue;
            }
            Pick::WaitUntil(wait) => Some(wait),
            Pick::Idle => None,
        };
        let timer = async {
            match wait {
                Some(wait) => inner.clock.sleep_until(asked_at + wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stop| *stop) => return name,
            _ = changed.changed() => {}
            () = timer => {}
        }
    }
}

impl Inner {
    async fn deliver_next(&self, name: &str, target: &Target, seq: u64, alert: &Alert) {
        let result = self.deliver(target, alert).await;
        let (stamp, wall) = (self.clock.stamp(), self.clock.wall());
        let failed = self.state().settle(name, seq, &result, &stamp, wall);
        let (sink, key) = (name.to_owned(), alert.key.clone());
        if failed != Some(Failed::TriedAgain)
            && let Err(error) = self.persist().await
        {
            tracing::warn!(%error, "a delivery could not be written; it may be repeated");
        }
        self.notify();
        match (result, failed) {
            (Err(error), failed) => {
                let given_up = failed == Some(Failed::GivenUp);
                tracing::warn!(sink = name, %key, given_up, %error, "an alert was not delivered");
                let reason = state::reason(&error);
                self.publish(Event::AlertFailed { sink, key, reason, given_up }).await;
            }
            (Ok(()), _) => self.publish(Event::AlertDelivered { sink, key }).await,
        }
    }

    /// One delivery, with its deadline. A sink that panics has failed.
    pub(super) async fn deliver(&self, target: &Target, alert: &Alert) -> Result<()> {
        let deadline = self.clock.monotonic() + target.timeout;
        let delivery = AssertUnwindSafe(target.sink.deliver(alert)).catch_unwind();
        match self.clock.until(deadline, delivery).await {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(Error::new(ErrorKind::Internal, "the alert sink panicked")),
            None => Err(Error::new(ErrorKind::Timeout, "the receiver did not answer in time")
                .with_context("timeout_ms", target.timeout.as_millis())),
        }
    }
}
