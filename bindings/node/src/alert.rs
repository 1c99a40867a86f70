//! Alert sinks that are written in JavaScript.

use std::time::Duration;

use async_trait::async_trait;
use jarvis_core::alert::{Alert, AlertSink};
use jarvis_core::clock::{ClockExt as _, SharedClock};
use jarvis_core::{Error, ErrorKind, Result, Retry};
use serde_json::{Value, json};

use crate::foreign::Object;

/// How long a delivery may take.
const DELIVERY: Duration = Duration::from_secs(30);

/// A sink that is a JavaScript object.
#[derive(Debug)]
pub(crate) struct ForeignSink {
    object: Object,
    clock: SharedClock,
}

impl ForeignSink {
    pub(crate) fn new(object: Object, clock: SharedClock) -> Self {
        Self { object, clock }
    }
}

#[async_trait]
impl AlertSink for ForeignSink {
    async fn deliver(&self, alert: &Alert) -> Result<()> {
        let alert = json!(alert);
        let delivering = self.object.call::<Option<Value>>("deliver", &alert);
        let delivered = self.clock.until(self.clock.monotonic() + DELIVERY, delivering).await;
        match delivered {
            Some(Ok(_)) => Ok(()),
            // An earlier message hangs: this one was not delivered and may be tried again.
            Some(Err(error)) if error.kind() == ErrorKind::Conflict => {
                Err(error.with_retry(Retry::Safe { after: None }))
            }
            Some(Err(error)) => Err(error),
            None => Err(Error::new(ErrorKind::Timeout, "the sink did not answer within 30 s")),
        }
    }
}
