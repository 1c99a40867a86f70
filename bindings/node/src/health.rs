//! [`Health`]: the state of the services.

use std::future::ready;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::unfold;
use jarvis_core::health::aggregator::Change;
use jarvis_core::jarvis::DEFAULT_WINDOW;
use jarvis_core::vocabulary::ServiceId;
use jarvis_core::{Error, Result};
use napi_derive::napi;
use serde_json::json;

use crate::bridge::{Bridge, Place};
use crate::convert::{Answer, json, millis};
use crate::error::{Thrown, thrown};
use crate::stream::{Items, Stream};

fn services(names: Option<Vec<String>>) -> Result<Vec<ServiceId>> {
    names.unwrap_or_default().into_iter().map(ServiceId::new).collect()
}

/// The state of the services.
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

    /// The services as the loop of this state directory sees them, as JSON.
    #[napi(ts_return_type = "string | number")]
    pub fn status(&self) -> Result<Answer, Thrown> {
        let jarvis = self.jarvis.clone();
        self.bridge.answer(Place::Runtime, async move {
            Ok(json(&jarvis.attach().await.status().await?)?)
        })
    }

    /// What the checks of this process say, as JSON.
    #[napi(ts_return_type = "string")]
    pub fn snapshot(&self) -> Result<Answer, Thrown> {
        Ok(json(&self.jarvis.health().snapshot()).map_err(thrown)?.into())
    }

    /// Is the loop of this process alive? As JSON.
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

    /// The state changes of a service, or of all, beginning with the present state.
    #[napi]
    pub fn watch(&self, service: Option<String>) -> Result<Stream, Thrown> {
        let service = service.map(ServiceId::new).transpose().map_err(thrown)?;
        let changes = self.jarvis.health().changes();
        let opening = Box::pin(async move {
            let changes =
                unfold(
                    changes,
                    |mut changes| async move { Some((changes.next().await?, changes)) },
                );
            let wanted = move |change: &Change| {
                ready(service.as_ref().is_none_or(|service| *service == change.service))
            };
            let items: Items = Box::pin(changes.filter(wanted).map(|change| Ok(text(&change))));
            Ok(items)
        });
        Ok(Stream::new(self.bridge.clone(), Place::Here, opening))
    }
}

fn text(change: &Change) -> String {
    let change = json!({
        "service": change.service,
        "state": change.state,
        "cause": change.cause,
        "ever_passed": change.ever_passed,
        "flapping": change.flapping,
        "instance": change.instance,
        "watched": change.watched,
        "at": change.at,
    });
    change.to_string()
}
