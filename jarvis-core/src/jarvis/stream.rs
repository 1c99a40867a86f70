//! Events for whoever asks: from a running loop, the retained log, and the bus.

#[cfg(feature = "sqlite")]
use std::collections::VecDeque;
use std::fmt;
#[cfg(feature = "sqlite")]
use std::pin::pin;

#[cfg(feature = "sqlite")]
use futures_util::future::{Either, select};

use super::Jarvis;
use crate::clock::WallTime;
use crate::events::{Delivery, Envelope, Event, Filter, Subscription, Topic, TopicPattern};
use crate::operator::control::ReplyItems;
use crate::vocabulary::ServiceId;
use crate::{Error, ErrorKind, Result};

#[cfg(feature = "sqlite")]
use crate::events::{EventLog, EventQuery, Follow};

/// Which events are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventsQuery {
    /// Only topics that one of these matches; empty means all.
    pub topics: Vec<TopicPattern>,
    /// Only of this service, which no message of an application is.
    pub service: Option<ServiceId>,
    /// Retained events from then on; absent: none that are older than the question.
    pub since: Option<WallTime>,
    /// At most that many retained events, the newest.
    pub limit: Option<usize>,
    /// Go on with new events, and with the messages of the application.
    pub follow: bool,
    /// With `follow`: also what the JARVIS of other instances on the bus says.
    pub everywhere: bool,
}

impl EventsQuery {
    /// Those of JARVIS's own topics that are wanted.
    fn own_topics(&self) -> Vec<Topic> {
        let wanted = |topic: &&Topic| self.topics.iter().any(|pattern| pattern.matches(topic));
        Topic::ALL.iter().filter(wanted).cloned().collect()
    }

    /// Is nothing of JARVIS's own wanted?
    fn only_messages(&self) -> bool {
        !self.topics.is_empty() && self.own_topics().is_empty()
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.follow || !self.only_messages() {
            return Ok(());
        }
        let own: Vec<&str> = Topic::ALL.iter().map(Topic::as_str).collect();
        Err(Error::new(
            ErrorKind::InvalidInput,
            format!(
                "nothing of {:?} is retained: of JARVIS's own topics there are {}, and messages of the application are only shown as they come, with --follow",
                self.topics.iter().map(TopicPattern::as_str).collect::<Vec<_>>().join(", "),
                own.join(", ")
            ),
        ))
    }
}

/// Events, oldest first.
pub struct EventStream(Inner);

enum Inner {
    Remote(ReplyItems),
    Bus(Box<dyn Subscription>),
    Messages(Messages),
    #[cfg(feature = "sqlite")]
    Page {
        log: EventLog,
        query: Option<EventQuery>,
        ready: VecDeque<Envelope>,
    },
    #[cfg(feature = "sqlite")]
    Follow {
        log: Box<Follow>,
        messages: Option<Messages>,
    },
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").finish_non_exhaustive()
    }
}

/// What is on the bus and in no log of this instance.
struct Messages {
    subscription: Box<dyn Subscription>,
    here: String,
    everywhere: bool,
}

impl Messages {
    async fn subscribe(jarvis: &Jarvis, query: &EventsQuery) -> Result<Self> {
        let bus = jarvis.bus();
        let mut filter = Filter::all();
        filter.topics.clone_from(&query.topics);
        let subscription = bus.subscribe(filter).await?;
        let here = bus.instance().to_owned();
        Ok(Self { subscription, here, everywhere: query.everywhere })
    }

    /// The next one, `None` when the bus is gone.
    async fn next(&mut self) -> Option<Envelope> {
        loop {
            let envelope = match self.subscription.next().await? {
                Delivery::Event(envelope) => envelope,
                Delivery::Missed(count) => {
                    tracing::warn!(count, "events on the bus were missed");
                    continue;
                }
                Delivery::Gap(gap) => {
                    tracing::warn!(?gap, "events on the bus may be missing");
                    continue;
                }
                Delivery::TooSlow => return None,
            };
            let elsewhere = self.everywhere && *envelope.instance != *self.here;
            if elsewhere || matches!(envelope.event, Event::Message(_)) {
                return Some((*envelope).clone());
            }
        }
    }
}

impl EventStream {
    pub(super) fn of_loop(items: ReplyItems) -> Self {
        Self(Inner::Remote(items))
    }

    pub(super) fn of_bus(subscription: Box<dyn Subscription>) -> Self {
        Self(Inner::Bus(subscription))
    }

    pub(super) async fn of_messages(jarvis: &Jarvis, query: &EventsQuery) -> Result<Self> {
        Ok(Self(Inner::Messages(Messages::subscribe(jarvis, query).await?)))
    }

    /// From the log of this handle and, when it follows, its bus.
    #[cfg(feature = "sqlite")]
    pub(super) async fn open(jarvis: &Jarvis, query: EventsQuery) -> Result<Self> {
        query.check()?;
        if query.follow && query.only_messages() {
            return Self::of_messages(jarvis, &query).await;
        }
        let log = jarvis.event_log().await?;
        let since = query.since.unwrap_or_else(|| jarvis.inner.clock.wall());
        let mut wanted = EventQuery::new().with_since(since);
        wanted.topics = query.own_topics();
        wanted.service.clone_from(&query.service);
        if let Some(limit) = query.limit {
            wanted = wanted.with_last(limit);
        }
        if !query.follow {
            return Ok(Self(Inner::Page { log, query: Some(wanted), ready: VecDeque::new() }));
        }
        // What happened here is shown also while the server of the bus is away.
        let messages = match query.service {
            Some(_) => None,
            None => Messages::subscribe(jarvis, &query)
                .await
                .inspect_err(|error| tracing::warn!(%error, "messages are not shown"))
                .ok(),
        };
        Ok(Self(Inner::Follow { log: Box::new(log.follow(wanted)), messages }))
    }

    /// The next event, or `None` at the end; waits for one when it follows. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<Envelope>> {
        match &mut self.0 {
            Inner::Remote(items) => Some(items.next().await?.and_then(|item| {
                serde_json::from_value(item).map_err(|error| {
                    Error::new(ErrorKind::Unsupported, "`jarvis up` is of another version")
                        .with_source(error)
                })
            })),
            Inner::Bus(subscription) => loop {
                if let Delivery::Event(envelope) = subscription.next().await? {
                    return Some(Ok((*envelope).clone()));
                }
            },
            Inner::Messages(messages) => messages.next().await.map(Ok),
            #[cfg(feature = "sqlite")]
            Inner::Page { log, query, ready } => {
                if let Some(wanted) = query.clone() {
                    match log.read(wanted).await {
                        Ok(page) => {
                            ready.extend(page.entries.into_iter().map(|entry| entry.envelope));
                        }
                        Err(error) => return Some(Err(error)),
                    }
                    *query = None;
                }
                ready.pop_front().map(Ok)
            }
            #[cfg(feature = "sqlite")]
            Inner::Follow { log, messages } => Some(follow(log, messages).await),
        }
    }
}

#[cfg(feature = "sqlite")]
async fn follow(log: &mut Follow, messages: &mut Option<Messages>) -> Result<Envelope> {
    if let Some(bus) = messages {
        let first = match select(pin!(log.next()), pin!(bus.next())).await {
            Either::Left((entry, _)) => Some(entry.map(|entry| entry.envelope)),
            Either::Right((message, _)) => message.map(Ok),
        };
        match first {
            Some(first) => return first,
            None => *messages = None,
        }
    }
    log.next().await.map(|entry| entry.envelope)
}
