//! [`HealthWatch`]: the states of the services, as they change.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Attached, EventStream, EventsQuery, Jarvis};
use base::Result;
use base::clock::WallTime;
use base::events::{Delivery, Envelope, Event, Topic};
use base::vocabulary::{Cause, ServiceId, ServiceState};
use supervision::health::aggregator::{Change, Changes, ServiceSnapshot};

/// A service is in another state than before, or is seen for the first time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StateChange {
    /// Which service.
    pub service: ServiceId,
    /// Its state, thresholds applied. A flapping service is degraded.
    pub state: ServiceState,
    /// The check that decided; absent when it is healthy, or unknown.
    pub cause: Option<Cause>,
    /// Does it change its state too often to be believed?
    pub flapping: bool,
    /// Is it still configured? The last change of a removed service says `false`.
    pub watched: bool,
    /// When it was judged.
    pub at: WallTime,
}

impl From<Change> for StateChange {
    fn from(change: Change) -> Self {
        let Change { service, state, cause, flapping, watched, at, .. } = change;
        Self { service, state, cause, flapping, watched, at }
    }
}

impl From<ServiceSnapshot> for StateChange {
    fn from(service: ServiceSnapshot) -> Self {
        let ServiceSnapshot { service, state, cause, flapping, since, .. } = service;
        Self { service, state, cause, flapping, watched: true, at: since }
    }
}

impl StateChange {
    /// Is it news after `before`? What a check says in words is not: it differs each time.
    fn is_news_after(&self, before: &Self) -> bool {
        let reason =
            |change: &Self| change.cause.as_ref().map(|cause| (cause.check.clone(), cause.kind));
        (self.state, self.flapping, self.watched) != (before.state, before.flapping, before.watched)
            || reason(self) != reason(before)
    }
}

/// Where the changes come from.
enum Origin {
    /// Not looked for so far.
    Unknown,
    /// The aggregator of this process.
    Here(Changes),
    /// The loop of another process.
    Loop(Box<(Attached, EventStream)>),
    Ended,
}

/// A stream of state changes: [`Jarvis::watch`].
pub struct HealthWatch {
    jarvis: Jarvis,
    /// All when none is named.
    services: Vec<ServiceId>,
    origin: Origin,
    /// The last change of each service.
    known: BTreeMap<ServiceId, StateChange>,
    ready: VecDeque<StateChange>,
    /// Has the loop to be asked for all states again? Events are missing, or say too little.
    is_stale: bool,
}

impl fmt::Debug for HealthWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthWatch").field("services", &self.services).finish_non_exhaustive()
    }
}

impl Jarvis {
    /// Watches these services, or all: their present states, and then each change.
    ///
    /// Where this handle [runs](Self::run), or nobody supervises its state directory, the states
    /// are those of this process. Otherwise they are those of the loop that runs there; the stream
    /// ends with that loop. Nothing is asked before the first [`next`](HealthWatch::next).
    ///
    /// # Errors
    /// `NotFound` for an unknown service, with the nearest name.
    pub fn watch(&self, services: &[ServiceId]) -> Result<HealthWatch> {
        services.iter().try_for_each(|service| self.known_here(service))?;
        Ok(HealthWatch {
            jarvis: self.clone(),
            services: services.to_vec(),
            origin: Origin::Unknown,
            known: BTreeMap::new(),
            ready: VecDeque::new(),
            is_stale: false,
        })
    }
}

impl HealthWatch {
    /// The next change, or `None` at the end. Cancel-safe.
    ///
    /// # Errors
    /// What a loop of another process answers, or why it does not. The stream has ended then.
    pub async fn next(&mut self) -> Option<Result<StateChange>> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Some(Ok(change));
            }
            let step = match &mut self.origin {
                Origin::Unknown => self.begin().await,
                Origin::Loop(looped) if self.is_stale => match states(&looped.0).await {
                    Ok(states) => {
                        self.is_stale = false;
                        self.note_all(states);
                        Ok(())
                    }
                    Err(error) => Err(error),
                },
                Origin::Here(changes) => match changes.next().await {
                    Some(change) => {
                        self.note(change.into());
                        Ok(())
                    }
                    None => return None,
                },
                Origin::Loop(looped) => match looped.1.next().await {
                    Some(Ok(delivery)) => {
                        self.hear(&delivery);
                        Ok(())
                    }
                    Some(Err(error)) => Err(error),
                    None => return None,
                },
                Origin::Ended => return None,
            };
            if let Err(error) = step {
                self.origin = Origin::Ended;
                return Some(Err(error));
            }
        }
    }

    async fn begin(&mut self) -> Result<()> {
        if !self.jarvis.health().loop_stats().running {
            let attached = self.jarvis.attach().await;
            if attached.is_answered()? {
                let query = EventsQuery {
                    topics: [Topic::Health, Topic::Operator].map(Into::into).to_vec(),
                    follow: true,
                    ..EventsQuery::default()
                };
                // The events first, so that nothing is missed between the two.
                let events = attached.events(query).await?;
                let states = states(&attached).await?;
                self.origin = Origin::Loop(Box::new((attached, events)));
                self.note_all(states);
                return Ok(());
            }
        }
        self.origin = Origin::Here(self.jarvis.health().changes());
        Ok(())
    }

    fn hear(&mut self, delivery: &Delivery) {
        let Delivery::Event(envelope) = delivery else {
            self.is_stale = true;
            return;
        };
        let Envelope { at, event, .. } = &**envelope;
        match event {
            Event::ServiceChanged { service, to, cause, .. } => {
                let known = self.known.get(service);
                // What was asked for may be newer than an event that waited.
                if known.is_none_or(|known| known.at <= *at) {
                    self.note(StateChange {
                        service: service.clone(),
                        state: *to,
                        cause: cause.clone(),
                        flapping: known.is_some_and(|known| known.flapping),
                        watched: true,
                        at: *at,
                    });
                }
            }
            Event::FlappingStarted { .. }
            | Event::FlappingStopped { .. }
            | Event::ConfigReloaded { .. } => self.is_stale = true,
            _ => {}
        }
    }

    /// All services of the loop: those that are not among them are configured no more.
    fn note_all(&mut self, states: Vec<StateChange>) {
        let gone: Vec<StateChange> = self
            .known
            .values()
            .filter(|known| known.watched)
            .filter(|known| states.iter().all(|state| state.service != known.service))
            .map(|known| StateChange {
                watched: false,
                cause: None,
                at: self.jarvis.inner.clock.wall(),
                ..known.clone()
            })
            .collect();
        states.into_iter().chain(gone).for_each(|change| self.note(change));
    }

    fn note(&mut self, change: StateChange) {
        let is_wanted = self.services.is_empty() || self.services.contains(&change.service);
        let before = self.known.get(&change.service);
        if is_wanted && before.is_none_or(|before| change.is_news_after(before)) {
            self.known.insert(change.service.clone(), change.clone());
            self.ready.push_back(change);
        }
    }
}

async fn states(attached: &Attached) -> Result<Vec<StateChange>> {
    let health = attached.status().await?.health;
    Ok(health.into_iter().flat_map(|health| health.services).map(StateChange::from).collect())
}

#[cfg(test)]
mod tests {
    use base::vocabulary::{CheckName, FailureKind};

    use super::*;
    use crate::config::Source;

    fn change(service: &str, state: ServiceState, kind: Option<FailureKind>) -> StateChange {
        let cause = kind.map(|kind| Cause {
            check: CheckName::new("tcp").unwrap(),
            kind: Some(kind),
            message: format!("{state} since a moment"),
        });
        let service = ServiceId::new(service).unwrap();
        let at = WallTime::from_millis(0);
        StateChange { service, state, cause, flapping: false, watched: true, at }
    }

    fn watch(services: &[&str]) -> HealthWatch {
        let text = "[service.a.check]\ntype = \"tcp\"\naddress = \"127.0.0.1:1\"\n\
                    [service.b.check]\ntype = \"tcp\"\naddress = \"127.0.0.1:1\"\n";
        let jarvis = Jarvis::open(Source::empty().with_text(text)).unwrap();
        let services: Vec<_> =
            services.iter().map(|service| ServiceId::new(service).unwrap()).collect();
        jarvis.watch(&services).unwrap()
    }

    fn told(watch: &mut HealthWatch) -> Vec<(String, ServiceState, bool)> {
        let ready = watch.ready.drain(..);
        ready.map(|it| (it.service.to_string(), it.state, it.watched)).collect()
    }

    #[tokio::test]
    async fn only_news_of_the_wanted_services_is_told() {
        use ServiceState::{Down, Healthy};
        let mut watch = watch(&["a"]);
        watch.note(change("a", Healthy, None));
        watch.note(change("a", Healthy, None));
        watch.note(change("b", Down, Some(FailureKind::Refused)));
        watch.note(change("a", Down, Some(FailureKind::Refused)));
        let mut again = change("a", Down, Some(FailureKind::Refused));
        again.cause.as_mut().unwrap().message = "other words".to_owned();
        watch.note(again);
        watch.note(change("a", Down, Some(FailureKind::Timeout)));
        let a = |state| ("a".to_owned(), state, true);
        assert_eq!(told(&mut watch), [a(Healthy), a(Down), a(Down)]);
    }

    #[tokio::test]
    async fn a_service_that_the_loop_knows_no_more_is_told_once() {
        use ServiceState::Healthy;
        let mut watch = watch(&[]);
        watch.note_all(vec![change("a", Healthy, None), change("b", Healthy, None)]);
        told(&mut watch);
        for _ in 0..2 {
            watch.note_all(vec![change("a", Healthy, None)]);
        }
        assert_eq!(told(&mut watch), [("b".to_owned(), Healthy, false)]);
    }

    #[test]
    fn an_unknown_service_can_not_be_watched() {
        let jarvis = Jarvis::open(Source::empty().with_text("")).unwrap();
        let error = jarvis.watch(&[ServiceId::new("db").unwrap()]).unwrap_err();
        assert_eq!(error.kind(), base::ErrorKind::NotFound);
    }
}
