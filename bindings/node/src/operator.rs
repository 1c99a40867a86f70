//! The operator: what a person asks of it.

use jarvis_core::jarvis::{ActionAnswer, Attached};
use jarvis_core::operator::Command;
use jarvis_core::vocabulary::ServiceId;
use jarvis_core::{Error, Result};
use napi_derive::napi;

use crate::bridge::{Bridge, Place};
use crate::convert::{Answer, Value, json, millis};
use crate::error::{Failure, Thrown, thrown};
use crate::log::{Log, LogQuery};

/// Who asks, in the records.
const BY: &str = "node";

/// The operator of a state directory: the loop that runs there, else what it left behind.
#[napi]
#[derive(Debug)]
pub struct Operator {
    jarvis: jarvis_core::Jarvis,
    bridge: Bridge,
}

impl Operator {
    pub(crate) fn new(jarvis: jarvis_core::Jarvis, bridge: Bridge) -> Self {
        Self { jarvis, bridge }
    }

    fn ask<F, Fut>(&self, work: F) -> Result<Answer, Thrown>
    where
        F: FnOnce(Attached) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Value>> + Send,
    {
        let jarvis = self.jarvis.clone();
        self.bridge.answer(Place::Runtime, async move {
            Ok::<Value, Failure>(work(jarvis.attach().await).await?)
        })
    }

    fn act(
        &self,
        service: String,
        wait: bool,
        command: impl FnOnce(ServiceId) -> Command + Send + 'static,
    ) -> Result<Answer, Thrown> {
        self.ask(move |attached| async move {
            let command = command(ServiceId::new(service)?);
            json(&attached.act(command, wait).await?)
        })
    }
}

#[napi]
impl Operator {
    /// What the services are and what is done about them, as JSON.
    #[napi(ts_return_type = "string | number")]
    pub fn status(&self) -> Result<Answer, Thrown> {
        self.ask(|attached| async move { json(&attached.status().await?) })
    }

    /// Restarts a service; the answer as JSON.
    #[napi(ts_return_type = "string | number")]
    pub fn restart(&self, service: String, wait: bool) -> Result<Answer, Thrown> {
        self.act(service, wait, |service| Command::Restart { service, by: BY.to_owned() })
    }

    /// Stops a service; the answer as JSON.
    #[napi(ts_return_type = "string | number")]
    pub fn stop(&self, service: String, wait: bool) -> Result<Answer, Thrown> {
        self.act(service, wait, |service| Command::Stop { service, by: BY.to_owned() })
    }

    /// Starts a service; the answer as JSON.
    #[napi(ts_return_type = "string | number")]
    pub fn start(&self, service: String, wait: bool) -> Result<Answer, Thrown> {
        self.act(service, wait, |service| Command::Start { service, by: BY.to_owned() })
    }

    /// Clears the budgets, the breaker and the backoff of a service; the answer as JSON.
    #[napi(ts_return_type = "string | number")]
    pub fn reset(&self, service: String) -> Result<Answer, Thrown> {
        self.act(service, false, |service| Command::Reset { service, by: BY.to_owned() })
    }

    /// Holds every action; the answer as JSON.
    #[napi(ts_return_type = "string | number")]
    pub fn pause(&self, reason: String, lasting: Option<f64>) -> Result<Answer, Thrown> {
        self.ask(move |attached| async move {
            json(&attached.pause(&reason, lasting.map(millis).transpose()?).await?)
        })
    }

    /// Acts again; the answer as JSON.
    #[napi(ts_return_type = "string | number")]
    pub fn resume(&self) -> Result<Answer, Thrown> {
        self.command(|| Ok(Command::Resume { by: BY.to_owned() }))
    }

    /// Opens a maintenance window; the answer as JSON.
    #[napi(ts_return_type = "string | number")]
    pub fn maintain(
        &self,
        services: Vec<String>,
        duration: f64,
        reason: String,
    ) -> Result<Answer, Thrown> {
        self.command(move || {
            Ok(Command::Maintain {
                services,
                duration: millis(duration)?,
                by: BY.to_owned(),
                reason,
            })
        })
    }

    /// Closes a maintenance window, or each; the answer as JSON.
    #[napi(ts_return_type = "string | number")]
    pub fn end_maintenance(&self, window: Option<u32>) -> Result<Answer, Thrown> {
        self.command(move || {
            Ok(Command::EndMaintenance { window: window.map(u64::from), by: BY.to_owned() })
        })
    }

    /// What happened, and with `follow` what happens.
    #[napi]
    pub fn events(&self, query: Option<LogQuery>) -> Result<Log, Thrown> {
        let (jarvis, bridge) = (self.jarvis.clone(), self.bridge.clone());
        Log::new(jarvis, query.unwrap_or_default(), bridge).map_err(thrown)
    }

    /// Makes the loop read its configuration again; what changed, as JSON.
    #[napi(ts_return_type = "string | number")]
    pub fn reload(&self) -> Result<Answer, Thrown> {
        self.ask(|attached| async move { json(&attached.reload().await?) })
    }

    /// Sends a test alert to a sink, or to each; how each took it, as JSON.
    #[napi(ts_return_type = "string | number")]
    pub fn test_alert(&self, sink: Option<String>) -> Result<Answer, Thrown> {
        self.ask(|attached| async move { json(&attached.alert_test(sink).await?) })
    }
}

impl Operator {
    fn command(
        &self,
        command: impl FnOnce() -> Result<Command> + Send + 'static,
    ) -> Result<Answer, Thrown> {
        self.ask(|attached| async move {
            let answer: Result<ActionAnswer, Error> = attached.act(command()?, false).await;
            json(&answer?)
        })
    }
}
