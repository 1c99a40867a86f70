//! Commands from another process: through the socket of a running loop, or without one.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::answers::{ActionAnswer, AlertTestAnswer, Source, StatusAnswer, UptimeAnswer};
use super::{EventStream, EventsQuery, Jarvis, last_seen, supervise};
use crate::config::{self, Config};
use crate::control::{ControlClient, Request, socket_path};
use base::clock::{ClockExt, SharedClock, SystemClock};
use base::events::{Delivery, Envelope, Event, Filter, Message};
use base::vocabulary::{ActionOutcome, IntentId, ServiceId};
use base::{Error, ErrorKind, Result};
use supervision::operator::{Action, Command};

/// How long a running loop may take to answer.
const ANSWER: Duration = Duration::from_secs(30);

/// How long an action and its verification may take before we stop waiting for it.
const ACTION: Duration = Duration::from_secs(300);

/// How long one gated action without a loop may wait for the lease.
const LEASE: Duration = Duration::from_secs(10);

/// Answers a command: from the running loop, otherwise from the files that the last one left.
#[derive(Debug)]
pub struct Attached {
    clock: SharedClock,
    state_dir: PathBuf,
    live: bool,
    /// Absent when the configuration is broken; then a loop runs.
    jarvis: Option<Jarvis>,
    trouble: Option<Error>,
    /// Why a loop that is there does not answer, or refuses this user. A user that it refuses may
    /// neither read its files nor act without it.
    unanswered: Option<Error>,
}

/// Does the error say that a loop is there? Where nobody listens, or the connection broke, the
/// files of the last loop answer; a loop that is there and does not answer must not be bypassed.
fn is_there(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Timeout
            | ErrorKind::RateLimited
            | ErrorKind::Forbidden
            | ErrorKind::Unsupported
            | ErrorKind::Corrupt
    )
}

impl Jarvis {
    /// Looks for a running loop of the same state directory.
    pub async fn attach(&self) -> Attached {
        let (clock, state_dir) = (self.clock(), self.state_dir());
        let jarvis = Some(self.clone());
        let mut attached =
            Attached { clock, state_dir, live: false, jarvis, trouble: None, unanswered: None };
        match attached.connect().await {
            Ok(_) => attached.live = true,
            Err(error) => attached.unanswered = Some(error).filter(is_there),
        }
        attached
    }
}

impl Attached {
    /// As [`Jarvis::attach`] on the configuration that `source` leads to. When that is broken by
    /// now and a loop runs, which goes on with the old one, the loop is asked all the same, and
    /// [`trouble`](Self::trouble) says what is wrong.
    ///
    /// # Errors
    /// `ConfigInvalid` with every error of the configuration, when no loop runs, or when the
    /// configuration can't even tell its state directory ([`Config::state_dir`]).
    pub async fn open(source: config::Source) -> Result<Self> {
        let trouble = match Jarvis::open(source.clone()) {
            Ok(jarvis) => return Ok(jarvis.attach().await),
            Err(error) => error,
        };
        let Some(state_dir) = Config::state_dir(&source) else { return Err(trouble) };
        let clock = Arc::new(SystemClock::new());
        let mut attached =
            Self { clock, state_dir, live: true, jarvis: None, trouble: None, unanswered: None };
        if attached.connect().await.is_err() {
            return Err(trouble);
        }
        attached.trouble = Some(trouble);
        Ok(attached)
    }

    /// Is a loop running?
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Does a loop answer? An error when one is there and does not.
    pub(super) fn is_answered(&self) -> Result<bool> {
        match &self.unanswered {
            None => Ok(self.live),
            Some(error) => Err(error.clone().with_operation("attach")),
        }
    }

    /// What is wrong with the configuration, while the loop continues with an older one.
    #[must_use]
    pub fn trouble(&self) -> Option<&Error> {
        self.trouble.as_ref()
    }

    async fn connect(&self) -> Result<ControlClient> {
        let deadline = self.clock.monotonic() + ANSWER;
        ControlClient::connect(&socket_path(&self.state_dir), self.clock.clone(), deadline).await
    }

    async fn ask<T: DeserializeOwned>(&self, request: Request) -> Result<T> {
        let mut client = self.connect().await?;
        let deadline = self.clock.monotonic() + ANSWER;
        client.call(request, deadline).await
    }

    /// The handle that answers without a loop.
    fn handle(&self) -> Result<&Jarvis> {
        self.jarvis.as_ref().ok_or_else(no_loop)
    }

    /// What the services are.
    ///
    /// # Errors
    /// What the loop answers, or why it does not (`Timeout`, `RateLimited`, `Forbidden`,
    /// `Unsupported` for another version); `Corrupt` for a damaged file.
    pub async fn status(&self) -> Result<StatusAnswer> {
        if self.is_answered()? {
            return self.ask(Request::Status).await;
        }
        self.handle()?;
        last_seen::read(&self.state_dir, &self.clock)
    }

    /// How much of the time they were up. Without services: all.
    ///
    /// # Errors
    /// What the loop answers; `NotFound` for an unknown service or without a history.
    pub async fn uptime(&self, services: &[ServiceId], window: Duration) -> Result<UptimeAnswer> {
        if self.is_answered()? {
            let request = Request::Uptime { services: services.to_vec(), window: Some(window) };
            return self.ask(request).await;
        }
        let jarvis = self.handle()?;
        services.iter().try_for_each(|service| jarvis.known_here(service))?;
        self.uptime_from_file(services, window).await
    }

    #[cfg(feature = "sqlite")]
    async fn uptime_from_file(
        &self,
        services: &[ServiceId],
        window: Duration,
    ) -> Result<UptimeAnswer> {
        self.file_there("history.db")?;
        let (jarvis, clock) = (self.handle()?, &self.clock);
        let history = jarvis.history().await?;
        let watched = jarvis.current().wiring.services.iter().map(|spec| spec.id.clone()).collect();
        let report = supervision::health::uptime::UptimeReport::new(
            Some(&*history),
            clock.wall(),
            window,
            Vec::new(),
            Some(watched),
        )
        .await?;
        let source = last_seen::read(&self.state_dir, clock)?.source;
        Ok(UptimeAnswer::new(source, report, services))
    }

    #[cfg(not(feature = "sqlite"))]
    async fn uptime_from_file(&self, _: &[ServiceId], _: Duration) -> Result<UptimeAnswer> {
        Err(no_history())
    }

    /// Reading must not create an empty file.
    #[cfg(feature = "sqlite")]
    fn file_there(&self, name: &str) -> Result<()> {
        if self.state_dir.join(name).exists() { Ok(()) } else { Err(no_history()) }
    }

    /// What happened, oldest first; with `follow` also what happens, messages of the application
    /// included.
    ///
    /// # Errors
    /// What the loop answers; `NotFound` without a log; `InvalidInput` when only topics of the
    /// application are asked for and it does not follow: only JARVIS's own are retained.
    pub async fn events(&self, query: EventsQuery) -> Result<EventStream> {
        query.check()?;
        if self.is_answered()? {
            let EventsQuery { topics, service, since, limit, follow, everywhere } = query;
            let request = Request::Events { follow, everywhere, topics, service, since, limit };
            let items = self.connect().await?.stream(request).await?;
            return Ok(EventStream::of_loop(items));
        }
        #[cfg(feature = "sqlite")]
        {
            let jarvis = self.handle()?;
            let messages = query.follow && !jarvis.inner.private_bus;
            if !messages || self.state_dir.join("history.db").exists() {
                self.file_there("history.db")?;
                return EventStream::open(jarvis, query).await;
            }
        }
        EventStream::of_messages(self.handle()?, &query).await
    }

    /// Publishes a message of the application on the bus of the loop that runs, else on the bus of
    /// the configuration.
    ///
    /// # Errors
    /// - `InvalidInput` when no loop runs and the bus is one within the process: nobody would hear
    ///   it.
    /// - `Unavailable` or `Timeout` when the bus can't be reached.
    pub async fn publish(&self, message: Message) -> Result<Envelope> {
        if self.is_answered()? {
            return self.ask(Request::Publish { message }).await;
        }
        let jarvis = self.handle()?;
        if jarvis.inner.private_bus {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "the bus is `memory:`, which works within one process only, and no supervision loop is running; start `jarvis up`, or set [store] bus = \"redis://...\"",
            ));
        }
        let sent = jarvis.bus().publish(Event::Message(message)).await?;
        Ok((*sent).clone())
    }

    /// Carries out a command; with `wait`, returns when it is verified or has failed.
    ///
    /// # Errors
    /// - `Forbidden`: a gate is closed; the message is its reason. `NotFound`: no such service.
    /// - `Unavailable`: it needs a running loop. Without one only services that another program
    ///   runs (docker, systemd, a command) can be acted on, under the lease.
    /// - With `wait`: `Conflict` when the service is not well afterwards, `Timeout` when that
    ///   takes over five minutes.
    pub async fn act(&self, command: Command, wait: bool) -> Result<ActionAnswer> {
        if !self.is_answered()? {
            return self.act_without_loop(command).await;
        }
        let stops = matches!(command.action, Action::Stop { .. });
        let query = EventsQuery {
            service: command.service().cloned(),
            follow: true,
            ..EventsQuery::default()
        };
        let mut events = if wait { Some(self.events(query).await?) } else { None };
        let answer: ActionAnswer = self.ask(Request::Command(command)).await?;
        match (answer.intent.clone(), &mut events) {
            (Some(intent), Some(events)) => self.outcome(&intent, stops, events).await,
            _ => Ok(answer),
        }
    }

    async fn outcome(
        &self,
        intent: &IntentId,
        stops: bool,
        events: &mut EventStream,
    ) -> Result<ActionAnswer> {
        let clock = &self.clock;
        let watching = async {
            while let Some(delivery) = events.next().await {
                if let Delivery::Event(envelope) = delivery?
                    && let Some(outcome) = outcome(&envelope.event, intent, stops)
                {
                    return outcome;
                }
            }
            Err(Error::new(
                ErrorKind::Unavailable,
                "`jarvis up` ended before the action did; see `jarvis status`",
            ))
        };
        clock.until(clock.monotonic() + ACTION, watching).await.unwrap_or_else(|| {
            Err(Error::new(
                ErrorKind::Timeout,
                "not verified within 5 minutes; see `jarvis status`",
            ))
        })
    }

    /// One gated action under the lease, with an operator that acts on nothing else.
    async fn act_without_loop(&self, command: Command) -> Result<ActionAnswer> {
        let jarvis = self.handle()?;
        let service = command.service().ok_or_else(no_loop)?;
        jarvis.known_here(service)?;
        let stops = matches!(command.action, Action::Stop { .. });
        let wiring = jarvis.current().wiring;
        if wiring.restarter_facts(service).is_some_and(|facts| facts.needs_loop) {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "{service} is a process that JARVIS owns, and no supervision loop is running; start `jarvis up`"
                ),
            ));
        }
        let mut settings = wiring.settings.clone();
        settings.commands_only = true;
        let operator = supervise::make_operator(jarvis, settings).await?;
        let mut events = EventStream::of_bus(jarvis.bus().subscribe(Filter::own()).await?);
        let work = async {
            let answer = self.when_leading(&operator, command).await?;
            match answer.intent.clone() {
                Some(intent) => self.outcome(&intent, stops, &mut events).await,
                None => Ok(answer),
            }
        };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = operator.run(async move {
            let _ = stopped.await;
        });
        let mut running = pin!(running);
        let result = tokio::select! {
            biased;
            result = work => result,
            ended = running.as_mut() => {
                return Err(ended.err().unwrap_or_else(|| {
                    Error::new(ErrorKind::Internal, "the operator ended before the action did")
                }));
            }
        };
        drop(stop);
        running.await?;
        if let Err(error) = jarvis.bus().flush().await {
            tracing::warn!(%error, "the last events did not reach the other instances");
        }
        result
    }

    /// The command's answer once the lease is ours.
    async fn when_leading(
        &self,
        operator: &supervision::operator::Operator,
        command: Command,
    ) -> Result<ActionAnswer> {
        let clock = &self.clock;
        let deadline = clock.monotonic() + LEASE;
        while operator.status().await.lease.is_none() {
            if clock.monotonic() >= deadline {
                return Err(Error::new(
                    ErrorKind::Forbidden,
                    "another JARVIS holds the lease; send the command to that instance",
                ));
            }
            clock.sleep(Duration::from_millis(50)).await;
        }
        operator.command(command).await.map(ActionAnswer::from)
    }

    /// Sends a test alert to this sink, or to each.
    ///
    /// # Errors
    /// `NotFound` for an unknown sink, or when there is none.
    pub async fn alert_test(&self, sink: Option<String>) -> Result<Vec<AlertTestAnswer>> {
        if self.is_answered()? {
            return self.ask(Request::AlertTest { sink }).await;
        }
        self.handle()?.alert_test_here(sink).await
    }

    /// Makes a running loop read its configuration again.
    ///
    /// # Errors
    /// `Unavailable` without one; `ConfigInvalid` when the configuration is refused.
    pub async fn reload(&self) -> Result<Vec<String>> {
        self.ask(Request::Reload).await
    }

    /// Where the answers come from.
    ///
    /// # Errors
    /// `Corrupt` for a damaged file.
    pub fn source(&self) -> Result<Source> {
        if self.is_answered()? {
            return Ok(Source::Live);
        }
        Ok(last_seen::read(&self.state_dir, &self.clock)?.source)
    }
}

fn no_loop() -> Error {
    Error::new(ErrorKind::Unavailable, "nothing is running here; start `jarvis up`")
}

fn no_history() -> Error {
    Error::new(ErrorKind::NotFound, "no state is stored here yet; start `jarvis up`")
}

/// What an event says about how the action ended; nothing while it goes on.
fn outcome(event: &Event, intent: &IntentId, stops: bool) -> Option<Result<ActionAnswer>> {
    let failed = |reason: &str| {
        Some(Err(Error::new(ErrorKind::Conflict, format!("unhealthy after the action: {reason}"))))
    };
    match event {
        Event::VerifyPassed { intent: of, service, instance, proven } if of == intent => {
            let life = match instance {
                Some(instance) if *proven => format!("a new life, {instance}"),
                _ => "not proven that a new life began".to_owned(),
            };
            Some(Ok(ActionAnswer::new(format!("{service} is well: {life}"), Some(of.clone()))))
        }
        Event::VerifyFailed { intent: of, reason, .. } if of == intent => failed(reason),
        Event::ActionFinished { intent: of, outcome, message, .. } if of == intent => match outcome
        {
            ActionOutcome::Failed => failed(message),
            ActionOutcome::Done if stops => {
                Some(Ok(ActionAnswer::new(message.clone(), Some(of.clone()))))
            }
            _ => None,
        },
        _ => None,
    }
}
