//! [`HostedSink`]: a receiver of alerts that the embedding program wrote in its own language.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Alert, AlertSink};
use base::clock::SharedClock;
use base::hosted::{Hosted, HostedObject, LeftBehind};
use base::{Error, ErrorKind, Result};

const OPERATION: &str = "alert.hosted.deliver";

/// How long a delivery may take at most; the route's `timeout` is usually shorter.
const DELIVERY: Duration = Duration::from_secs(60);

/// Calls `deliver(alert)` of a [`HostedObject`] with the [`Alert`] as JSON. That it returns means
/// that the receiver has taken it; an exception is tried again where its kind may pass
/// (`Unavailable`, `RateLimited`, `Timeout`), any other is final.
#[derive(Debug)]
pub struct HostedSink(Hosted);

impl HostedSink {
    /// A sink.
    ///
    /// # Errors
    /// `InvalidInput` when the object has no method `deliver`.
    pub fn new(
        object: Arc<dyn HostedObject>,
        clock: SharedClock,
        left_behind: LeftBehind,
    ) -> Result<Self> {
        if !object.has("deliver") {
            let message = "a sink needs a method `deliver`";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        Ok(Self(Hosted::new(object, clock, left_behind)))
    }
}

#[async_trait]
impl AlertSink for HostedSink {
    async fn deliver(&self, alert: &Alert) -> Result<()> {
        let deadline = self.0.clock.monotonic() + DELIVERY;
        let answer = self.0.call::<Value>("deliver", json!(alert), deadline).await;
        match answer.map_err(|error| error.with_operation(OPERATION))? {
            Some(_) => Ok(()),
            None => Err(Error::new(ErrorKind::Timeout, "deliver() did not return in time")
                .with_operation(OPERATION)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::AlertStatus;
    use base::Retry;
    use base::clock::{Clock, ManualClock};
    use base::hosted::scripted::ScriptedObject;
    use base::vocabulary::Severity;

    fn alert(clock: &ManualClock) -> Alert {
        let (status, severity) = (AlertStatus::Triggered, Severity::Critical);
        Alert::new("1", "coach", status, severity, "coach is down", clock.wall())
    }

    #[tokio::test]
    async fn an_alert_is_delivered_as_it_is_and_an_exception_keeps_its_kind() {
        let clock = Arc::new(ManualClock::new());
        let (object, _) = ScriptedObject::new(&["deliver"]);
        let sink = HostedSink::new(object.clone(), clock.clone(), LeftBehind::new()).unwrap();
        let alert = alert(&clock);
        object.answer(Ok(Value::Null));
        sink.deliver(&alert).await.unwrap();
        assert_eq!(*object.calls.lock(), [("deliver", json!(alert))]);
        object.answer(Err(Error::new(ErrorKind::Unavailable, "the pager is down")));
        let error = sink.deliver(&alert).await.unwrap_err();
        assert!(error.is_retryable() && error.operation() == Some(OPERATION));
        object.answer(Err(Error::new(ErrorKind::Internal, "a bug")));
        assert_eq!(sink.deliver(&alert).await.unwrap_err().retry(), Retry::Never);
        let (object, _) = ScriptedObject::new(&[]);
        assert!(HostedSink::new(object, clock, LeftBehind::new()).is_err());
    }

    #[tokio::test]
    async fn a_delivery_that_hangs_ends_and_may_have_arrived() {
        let clock = Arc::new(ManualClock::new());
        let (object, hung) = ScriptedObject::new(&["deliver"]);
        let left = LeftBehind::new();
        let sink = HostedSink::new(object, clock.clone(), left.clone()).unwrap();
        let alert = alert(&clock);
        let call = tokio::spawn(async move { sink.deliver(&alert).await });
        while clock.sleepers() == 0 {
            tokio::task::yield_now().await;
        }
        clock.advance(DELIVERY);
        assert_eq!(call.await.unwrap().unwrap_err().retry(), Retry::Indeterminate);
        assert_eq!(left.count(), 1);
        drop(hung.recv().unwrap());
        assert_eq!(left.count(), 0);
    }
}
