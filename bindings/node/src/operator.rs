//! [`Operator`]: the commands of a person.

use jarvis_core::Result;
use jarvis_core::events::TopicPattern;
use jarvis_core::jarvis::{Attached, EventsQuery};
use jarvis_core::operator::{Action, Command};
use jarvis_core::vocabulary::ServiceId;
use napi_derive::napi;

use crate::bridge::{Bridge, Place};
use crate::convert::{Answer, Value, json, millis};
use crate::delivery;
use crate::error::{Failure, Thrown, thrown};
use crate::stream::Stream;

/// Who asks, for the record, where `by` is absent.
const BY: &str = "node";

fn by(by: Option<String>) -> String {
    by.unwrap_or_else(|| BY.to_owned())
}

/// Which events of the log are wanted.
#[napi(object)]
#[derive(Debug, Default)]
pub struct LogQuery {
    /// Only topics that one of these patterns matches.
    pub topics: Option<Vec<String>>,
    /// Only of this service.
    pub service: Option<String>,
    /// Retained events from then on, RFC 3339; when absent all, with `follow` none.
    pub since: Option<String>,
    /// At most this many retained events, the newest.
    pub limit: Option<u32>,
    /// Go on with new events.
    pub follow: Option<bool>,
    /// Also what other instances publish.
    pub everywhere: Option<bool>,
}

impl LogQuery {
    fn read(self) -> Result<EventsQuery> {
        let topics = self.topics.unwrap_or_default();
        let follow = self.follow == Some(true);
        // By default a follower gets only new events, everybody else the whole log.
        let since = match self.since {
            Some(since) => Some(since.parse()?),
            None if follow => None,
            None => EventsQuery::retained().since,
        };
        Ok(EventsQuery {
            topics: topics.iter().map(TopicPattern::new).collect::<Result<_>>()?,
            service: self.service.map(ServiceId::new).transpose()?,
            since,
            limit: self.limit.and_then(|limit| usize::try_from(limit).ok()),
            follow,
            everywhere: self.everywhere == Some(true),
        })
    }
}

/// The operator of a state directory: the loop that runs there, else what the last loop left behind.
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
        wait: bool,
        command: impl FnOnce() -> Result<Command> + Send + 'static,
    ) -> Result<Answer, Thrown> {
        self.ask(move |attached| async move { json(&attached.act(command()?, wait).await?) })
    }
}

#[napi]
impl Operator {
    /// The state of each service and what is done about it, as JSON.
    #[napi(ts_return_type = "string | number")]
    pub fn status(&self) -> Result<Answer, Thrown> {
        self.ask(|attached| async move { json(&attached.status().await?) })
    }

    /// Restarts a service; the answer as JSON.
    #[napi(ts_return_type = "string | number")]
    pub fn restart(
        &self,
        service: String,
        wait: bool,
        by: Option<String>,
    ) -> Result<Answer, Thrown> {
        let by = self::by(by);
        self.act(wait, || {
            Ok(Command::new(Action::Restart { service: ServiceId::new(service)? }, by))
        })
    }

    /// Stops a service; the answer as JSON.
    #[napi(ts_return_type = "string | number")]
    pub fn stop(&self, service: String, wait: bool, by: Option<String>) -> Result<Answer, Thrown> {
        let by = self::by(by);
        self.act(wait, || Ok(Command::new(Action::Stop { service: ServiceId::new(service)? }, by)))
    }

    /// Starts a service; the answer as JSON.
    #[napi(ts_return_type = "string | number")]
    pub fn start(&self, service: String, wait: bool, by: Option<String>) -> Result<Answer, Thrown> {
        let by = self::by(by);
        self.act(wait, || Ok(Command::new(Action::Start { service: ServiceId::new(service)? }, by)))
    }

    /// Clears the budgets, the breaker and the backoff of a service; the answer as JSON.
    #[napi(ts_return_type = "string | number")]
    pub fn reset(&self, service: String, by: Option<String>) -> Result<Answer, Thrown> {
        let by = self::by(by);
        self.act(false, || {
            Ok(Command::new(Action::Reset { service: ServiceId::new(service)? }, by))
        })
    }

    /// Pauses all actions; the answer as JSON.
    #[napi(ts_return_type = "string | number")]
    pub fn pause(
        &self,
        reason: String,
        lasting: Option<f64>,
        by: Option<String>,
    ) -> Result<Answer, Thrown> {
        let by = self::by(by);
        self.act(false, move || {
            let lasting = lasting.map(millis).transpose()?;
            Ok(Command::new(Action::Pause { lasting }, by).with_reason(reason))
        })
    }

    /// Acts again; the answer as JSON.
    #[napi(ts_return_type = "string | number")]
    pub fn resume(&self, by: Option<String>) -> Result<Answer, Thrown> {
        let by = self::by(by);
        self.act(false, || Ok(Command::new(Action::Resume, by)))
    }

    /// Opens a maintenance window; the answer as JSON.
    #[napi(ts_return_type = "string | number")]
    pub fn maintain(
        &self,
        services: Vec<String>,
        duration: f64,
        reason: String,
        by: Option<String>,
    ) -> Result<Answer, Thrown> {
        let by = self::by(by);
        self.act(false, move || {
            let action = Action::Maintain { services, lasting: millis(duration)? };
            Ok(Command::new(action, by).with_reason(reason))
        })
    }

    /// Closes a maintenance window, or all; the answer as JSON.
    #[napi(ts_return_type = "string | number")]
    pub fn end_maintenance(
        &self,
        window: Option<u32>,
        by: Option<String>,
    ) -> Result<Answer, Thrown> {
        let by = self::by(by);
        self.act(false, move || {
            let window = window.map(u64::from);
            Ok(Command::new(Action::EndMaintenance { window }, by))
        })
    }

    /// The retained events, and with `follow` those that come.
    #[napi]
    pub fn events(&self, query: Option<LogQuery>) -> Result<Stream, Thrown> {
        let query = query.unwrap_or_default().read().map_err(thrown)?;
        let jarvis = self.jarvis.clone();
        let opening =
            Box::pin(
                async move { Ok(delivery::of_log(jarvis.attach().await.events(query).await?)) },
            );
        Ok(Stream::new(self.bridge.clone(), Place::Runtime, opening))
    }

    /// Makes the loop read its configuration again; what changed, as JSON.
    #[napi(ts_return_type = "string | number")]
    pub fn reload(&self) -> Result<Answer, Thrown> {
        self.ask(|attached| async move { json(&attached.reload().await?) })
    }

    /// Sends a test alert to a sink, or to each; what each answered, as JSON.
    #[napi(ts_return_type = "string | number")]
    pub fn test_alert(&self, sink: Option<String>) -> Result<Answer, Thrown> {
        self.ask(|attached| async move { json(&attached.alert_test(sink).await?) })
    }
}
