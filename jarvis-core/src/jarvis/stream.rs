//! Events for whoever asks: from a running loop, the retained log, and the bus.

#[cfg(feature = "sqlite")]
use std::collections::VecDeque;
use std::fmt;
#[cfg(feature = "sqlite")]
use std::sync::Arc;
#[cfg(feature = "sqlite")]
use std::time::Duration;

use super::Jarvis;
use crate::control::ReplyItems;
#[cfg(feature = "sqlite")]
use base::clock::ClockExt;
use base::clock::WallTime;
use base::events::{Delivery, Envelope, Event, Filter, Subscription, Topic, TopicPattern};
use base::vocabulary::ServiceId;
use base::{Error, ErrorKind, Result};

#[cfg(feature = "sqlite")]
use base::events::{EventLog, EventQuery, Follow, LogEntry};

/// How long until a bus that could not be heard is tried again.
#[cfg(feature = "sqlite")]
const AGAIN: Duration = Duration::from_secs(1);

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
    /// Everything that is retained, and nothing new.
    #[must_use]
    pub fn retained() -> Self {
        Self { since: Some(WallTime::from_millis(0)), ..Self::default() }
    }

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
                "{:?} is not stored: JARVIS stores only its own topics, {}; use --follow to see messages of the application as they arrive",
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
        ready: VecDeque<Delivery>,
    },
    #[cfg(feature = "sqlite")]
    Follow {
        log: Box<Follow>,
        messages: Feed,
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
    async fn next(&mut self) -> Option<Delivery> {
        loop {
            let delivery = self.subscription.next().await?;
            match &delivery {
                Delivery::Event(envelope) if !self.wants(envelope) => continue,
                Delivery::Missed(count) => tracing::warn!(count, "events on the bus were missed"),
                Delivery::Gap(gap) => tracing::warn!(?gap, "events on the bus may be missing"),
                _ => {}
            }
            return Some(delivery);
        }
    }

    fn wants(&self, envelope: &Envelope) -> bool {
        let elsewhere = self.everywhere && *envelope.instance != *self.here;
        elsewhere || matches!(envelope.event, Event::Message(_))
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
        let messages = match query.service {
            Some(_) => Feed::Ended,
            None => Feed::open(jarvis, query).await,
        };
        Ok(Self(Inner::Follow { log: Box::new(log.follow(wanted)), messages }))
    }

    /// The next event, or that some are missing here, or `None` at the end; waits for one when it
    /// follows. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<Delivery>> {
        match &mut self.0 {
            Inner::Remote(items) => Some(items.next().await?.and_then(|item| {
                serde_json::from_value(item).map_err(|error| {
                    Error::new(ErrorKind::Unsupported, "`jarvis up` is a different version")
                        .with_source(error)
                })
            })),
            Inner::Bus(subscription) => subscription.next().await.map(Ok),
            Inner::Messages(messages) => messages.next().await.map(Ok),
            #[cfg(feature = "sqlite")]
            Inner::Page { log, query, ready } => {
                if let Some(wanted) = query.clone() {
                    match log.read(wanted).await {
                        Ok(page) => {
                            ready.extend(page.entries.into_iter().map(of_log));
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
fn of_log(entry: LogEntry) -> Delivery {
    Delivery::Event(Arc::new(entry.envelope))
}

#[cfg(feature = "sqlite")]
async fn follow(log: &mut Follow, messages: &mut Feed) -> Result<Delivery> {
    tokio::select! {
        biased;
        entry = log.next() => entry.map(of_log),
        delivery = messages.next() => Ok(delivery),
    }
}

/// Messages beside the log. What happened here is shown also while the server of the bus is away.
#[cfg(feature = "sqlite")]
enum Feed {
    Open(Messages),
    /// Not subscribed so far.
    Awaited(Box<(Jarvis, EventsQuery)>),
    Ended,
}

#[cfg(feature = "sqlite")]
impl Feed {
    async fn open(jarvis: &Jarvis, query: EventsQuery) -> Self {
        match Messages::subscribe(jarvis, &query).await {
            Ok(messages) => Self::Open(messages),
            Err(error) => {
                tracing::warn!(%error, "messages are shown once the bus is reachable");
                Self::Awaited(Box::new((jarvis.clone(), query)))
            }
        }
    }

    /// The next one; never comes when the bus is gone. Cancel-safe.
    async fn next(&mut self) -> Delivery {
        loop {
            match self {
                Self::Open(messages) => match messages.next().await {
                    Some(delivery) => return delivery,
                    None => *self = Self::Ended,
                },
                Self::Awaited(wanted) => match Messages::subscribe(&wanted.0, &wanted.1).await {
                    Ok(messages) => *self = Self::Open(messages),
                    Err(_) => wanted.0.inner.clock.sleep(AGAIN).await,
                },
                Self::Ended => std::future::pending().await,
            }
        }
    }
}
