//! What a running loop answers on its socket.

use async_trait::async_trait;
#[cfg(feature = "sqlite")]
use serde_json::Value;

use super::Jarvis;
use super::answers::ActionAnswer;
#[cfg(feature = "sqlite")]
use super::{EventStream, EventsQuery};
#[cfg(feature = "sqlite")]
use crate::control::ReplyStream;
use crate::control::{ControlHandler, Peer, Reply, Request};
use base::events::Event;
use base::{Error, ErrorKind, Result};
use supervision::operator::Command;

/// Answers for this handle.
#[derive(Debug)]
pub(super) struct Handler(pub(super) Jarvis);

#[async_trait]
impl ControlHandler for Handler {
    async fn handle(&self, request: Request, peer: Peer) -> Result<Reply> {
        let jarvis = &self.0;
        match request {
            Request::Status => Reply::value(&jarvis.status().await),
            Request::Check { services } => Reply::value(&jarvis.check(&services).await?),
            Request::Uptime { services, window } => {
                services.iter().try_for_each(|service| jarvis.known_here(service))?;
                let window = window.unwrap_or(super::DEFAULT_WINDOW);
                Reply::value(&jarvis.uptime_here(&services, window).await?)
            }
            #[cfg(feature = "sqlite")]
            Request::Events { follow, everywhere, topics, service, since, limit } => {
                let query = EventsQuery { topics, service, since, limit, follow, everywhere };
                let stream = EventStream::open(jarvis, query).await?;
                Ok(Reply::Stream(Box::new(Events(stream))))
            }
            Request::Publish { message } => {
                Reply::value(&*jarvis.bus().publish(Event::Message(message)).await?)
            }
            Request::AlertTest { sink } => Reply::value(&jarvis.alert_test_here(sink).await?),
            Request::Command(mut command) => {
                command.by = peer.asks_as(&command.by);
                Reply::value(&self.act(command).await?)
            }
            Request::Reload => Reply::value(&jarvis.reload().await?),
            Request::Config => Ok(Reply::Value(jarvis.config().effective())),
            #[cfg(not(feature = "sqlite"))]
            Request::Events { .. } => {
                let message = "this build has no event log: it lacks the feature `sqlite`";
                Err(Error::new(ErrorKind::Unsupported, message))
            }
        }
    }
}

impl Handler {
    async fn act(&self, command: Command) -> Result<ActionAnswer> {
        let operator = self.0.operator().await?;
        operator.command(command).await.map(ActionAnswer::from)
    }
}

#[cfg(feature = "sqlite")]
#[derive(Debug)]
struct Events(EventStream);

#[cfg(feature = "sqlite")]
#[async_trait]
impl ReplyStream for Events {
    async fn next(&mut self) -> Option<Result<Value>> {
        let delivery = self.0.next().await?;
        Some(delivery.and_then(|delivery| {
            serde_json::to_value(delivery).map_err(|error| {
                Error::new(ErrorKind::Internal, "failed to serialize an event as JSON")
                    .with_source(error)
            })
        }))
    }
}
