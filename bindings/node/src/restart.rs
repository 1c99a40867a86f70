//! Restarters that are written in JavaScript.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use jarvis_core::clock::{ClockExt as _, SharedClock};
use jarvis_core::restart::{
    ActionRequest, InstanceEvents, Leaving, Receipt, Running, ServiceRestarter,
};
use jarvis_core::vocabulary::{InstanceId, IntentId, VersionId};
use jarvis_core::{Error, ErrorKind, Result, Retry};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::foreign::Object;

/// How long it may take to say what runs, or to let go.
const ANSWER: std::time::Duration = std::time::Duration::from_secs(10);

/// A restarter that is a JavaScript object.
#[derive(Debug)]
pub(crate) struct ForeignRestarter {
    object: Object,
    clock: SharedClock,
    /// The last action that was done: the same intent again is not done again.
    done: Mutex<Option<(IntentId, Receipt)>>,
}

/// What an action answers; nothing at all will do.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Done {
    before: Option<InstanceId>,
    after: Option<InstanceId>,
    message: String,
}

impl ForeignRestarter {
    pub(crate) fn new(object: Object, clock: SharedClock) -> Self {
        Self { object, clock, done: Mutex::default() }
    }

    /// The receipt of an intent that was carried out.
    fn receipt(&self, intent: &IntentId) -> Option<Receipt> {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.as_ref().filter(|(of, _)| of == intent).map(|(_, receipt)| receipt.clone())
    }

    async fn act(
        &self,
        method: &'static str,
        request: ActionRequest,
        to: Option<VersionId>,
    ) -> Result<Receipt> {
        if let Some(receipt) = self.receipt(&request.intent) {
            return Ok(receipt);
        }
        let remaining = request.deadline.saturating_since(self.clock.monotonic());
        let asked = json!({
            "intent": request.intent,
            "token": request.token,
            "deadline": remaining.as_secs_f64() * 1_000.0,
            "to": to,
        });
        let acting = self.object.call::<Option<Done>>(method, &asked);
        let done = self.clock.until(request.deadline, acting).await.ok_or_else(|| {
            Error::new(ErrorKind::Timeout, format!("{method} did not answer in time"))
                .with_retry(Retry::Indeterminate)
        })??;
        let Done { before, after, message } = done.unwrap_or_default();
        let receipt = Receipt::new(message).with_before(before).with_after(after);
        let mut last = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((request.intent, receipt.clone()));
        Ok(receipt)
    }

    /// Asks for something that an object may leave out.
    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        method: &'static str,
        argument: &Value,
    ) -> Result<T> {
        let asking = self.object.call(method, argument);
        self.clock.until(self.clock.monotonic() + ANSWER, asking).await.unwrap_or_else(|| {
            Err(Error::new(ErrorKind::Timeout, format!("{method} did not answer within 10 s")))
        })
    }
}

/// What an object leaves out is done by doing nothing.
fn optional<T: Default>(answer: Result<T>) -> Result<T> {
    match answer {
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(T::default()),
        answer => answer,
    }
}

#[async_trait]
impl ServiceRestarter for ForeignRestarter {
    async fn observe(&self) -> Result<Running> {
        self.ask("observe", &Value::Null).await
    }

    async fn restart(&self, request: ActionRequest) -> Result<Receipt> {
        self.act("restart", request, None).await
    }

    async fn start(&self, request: ActionRequest) -> Result<Receipt> {
        self.act("start", request, None).await
    }

    async fn stop(&self, request: ActionRequest) -> Result<Receipt> {
        self.act("stop", request, None).await
    }

    async fn roll_back(&self, request: ActionRequest, to: VersionId) -> Result<Receipt> {
        self.act("rollBack", request, Some(to)).await
    }

    async fn settle_roll_back(&self, keep: bool) -> Result<()> {
        optional(self.ask::<Option<Value>>("settleRollBack", &json!(keep)).await).map(drop)
    }

    async fn watch(&self) -> Result<InstanceEvents> {
        Err(Error::new(ErrorKind::Unsupported, "a restarter in JavaScript tells no events"))
    }

    async fn release(&self, why: Leaving) -> Result<()> {
        optional(self.ask::<Option<Value>>("release", &json!(why)).await).map(drop)
    }

    async fn last_log_lines(&self, lines: usize) -> Result<Vec<String>> {
        optional(self.ask("lastLogLines", &json!(lines)).await)
    }
}
