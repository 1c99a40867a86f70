//! [`Health`]: the state of the services.

use std::time::Duration;

use futures_util::stream::unfold;
use jarvis_core::jarvis::DEFAULT_WINDOW;
use jarvis_core::vocabulary::ServiceId;
use jarvis_core::{Error, Result};
use napi_derive::napi;

use crate::bridge::{Bridge, Place};
use crate::convert::{Answer, json, json_text, millis};
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

    /// The state changes of these services, or of all, beginning with the present states.
    #[napi]
    pub fn watch(&self, names: Option<Vec<String>>) -> Result<Stream, Thrown> {
        let watch = services(names).and_then(|services| self.jarvis.watch(&services));
        let watch = watch.map_err(thrown)?;
        let opening = Box::pin(async move {
            let items: Items = Box::pin(unfold(watch, |mut watch| async move {
                let change = watch.next().await?;
                let change = change.and_then(|change| json_text(&change));
                Some((change, watch))
            }));
            Ok(items)
        });
        Ok(Stream::new(self.bridge.clone(), Place::Runtime, opening))
    }
}
