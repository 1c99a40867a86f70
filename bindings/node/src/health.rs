//! Health: what is well.

use std::sync::Arc;
use std::time::Duration;

use jarvis_core::health::aggregator::{Change, Changes};
use jarvis_core::jarvis::DEFAULT_WINDOW;
use jarvis_core::vocabulary::ServiceId;
use jarvis_core::{Error, Result};
use napi_derive::napi;
use serde_json::json;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::bridge::{Bridge, Place};
use crate::convert::{Answer, json, millis};
use crate::error::{Thrown, thrown};

fn services(names: Option<Vec<String>>) -> Result<Vec<ServiceId>> {
    names.unwrap_or_default().into_iter().map(ServiceId::new).collect()
}

/// What is well.
#[napi]
#[derive(Debug)]
pub struct Health {
    jarvis: jarvis_core::Jarvis,
    bridge: Bridge,
}

impl Health {
    pub(crate) fn new(jarvis: jarvis_core::Jarvis, bridge: Bridge) -> Self {
        Self { jarvis, bridge }
    }
}

#[napi]
impl Health {
    /// One round of probes, as JSON.
    #[napi(ts_return_type = "string | number")]
    pub fn check(&self, names: Option<Vec<String>>) -> Result<Answer, Thrown> {
        let jarvis = self.jarvis.clone();
        self.bridge.answer(Place::Runtime, async move {
            Ok(json(&jarvis.check(&services(names)?).await?)?)
        })
    }

    /// What this process knows, as JSON.
    #[napi(ts_return_type = "string")]
    pub fn snapshot(&self) -> Result<Answer, Thrown> {
        Ok(json(&self.jarvis.health().snapshot()).map_err(thrown)?.into())
    }

    /// Does the loop of this process go round? As JSON.
    #[napi(ts_return_type = "string")]
    pub fn healthz(&self) -> Result<Answer, Thrown> {
        Ok(json(&self.jarvis.healthz()).map_err(thrown)?.into())
    }

    /// How much of the time services were up, as JSON.
    #[napi(ts_return_type = "string | number")]
    pub fn uptime(
        &self,
        names: Option<Vec<String>>,
        window: Option<f64>,
    ) -> Result<Answer, Thrown> {
        let jarvis = self.jarvis.clone();
        self.bridge.answer(Place::Runtime, async move {
            let window = window.map_or(Ok::<Duration, Error>(DEFAULT_WINDOW), millis)?;
            Ok(json(&jarvis.attach().await.uptime(&services(names)?, window).await?)?)
        })
    }

    /// The `OpenMetrics` text of this process.
    #[napi(ts_return_type = "string | number")]
    pub fn metrics(&self) -> Result<Answer, Thrown> {
        let jarvis = self.jarvis.clone();
        self.bridge.answer(Place::Runtime, async move { Ok(jarvis.metrics().await?) })
    }

    /// The changes, beginning with what is known.
    #[napi]
    pub fn watch(&self) -> Watch {
        Watch {
            changes: Arc::new(Mutex::new(self.jarvis.health().changes())),
            closed: CancellationToken::new(),
            bridge: self.bridge.clone(),
        }
    }
}

/// Changes of services, as they come.
#[napi]
#[derive(Debug)]
pub struct Watch {
    changes: Arc<Mutex<Changes>>,
    closed: CancellationToken,
    bridge: Bridge,
}

#[napi]
impl Watch {
    /// The next change as a JSON array of one; null at the end.
    #[napi(ts_return_type = "string | null | number")]
    pub fn next(&self) -> Result<Answer, Thrown> {
        let (changes, closed) = (Arc::clone(&self.changes), self.closed.clone());
        self.bridge.answer(Place::Here, async move {
            let next = async { changes.lock().await.next().await };
            let change = closed.run_until_cancelled(next).await.flatten();
            Ok(change.map(|change| crossing(&change)))
        })
    }

    /// Ends it; who waits gets null.
    #[napi]
    pub fn close(&self) {
        self.closed.cancel();
    }
}

fn crossing(change: &Change) -> String {
    let change = json!([{
        "service": change.service,
        "state": change.state,
        "cause": change.cause,
        "ever_passed": change.ever_passed,
        "flapping": change.flapping,
        "instance": change.instance,
        "watched": change.watched,
        "at": change.at,
    }]);
    change.to_string()
}
