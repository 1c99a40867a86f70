//! [`Alerter`]: takes events, decides who is told what, and makes sure that it arrives.

mod state;
mod worker;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::journal::AlertJournal;
use super::outbox::SinkStats;
use super::route::{Matcher, Route};
use super::{Alert, AlertSink, AlertStatus};
use base::clock::{ClockExt, SharedClock};
use base::events::{Delivery, Event, EventBus, Filter, Origin, Subscription, Topic};
use base::sync::{Mutex, MutexGuard};
use base::vocabulary::{ServiceId, Severity};
use base::{Error, ErrorKind, Result, names};
use state::State;

/// How long deliveries under way may take once the alerter is told to end.
const GRACE: Duration = Duration::from_secs(5);

/// A sink with its name and its route: `[alert.NAME]`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SinkEntry {
    /// `ops` in `[alert.ops]`. Names it in events, errors and statistics.
    pub name: String,
    /// Delivers.
    pub sink: Arc<dyn AlertSink>,
    /// What it is sent.
    pub route: Route,
}

impl SinkEntry {
    /// A sink that is sent everything.
    pub fn new(name: impl Into<String>, sink: Arc<dyn AlertSink>) -> Self {
        Self { name: name.into(), sink, route: Route::default() }
    }

    /// Says what it is sent.
    #[must_use]
    pub fn with_route(mut self, route: Route) -> Self {
        self.route = route;
        self
    }
}

#[derive(Debug, Clone)]
struct Target {
    sink: Arc<dyn AlertSink>,
    timeout: Duration,
}

#[derive(Debug)]
struct Inner {
    clock: SharedClock,
    journal: Arc<dyn AlertJournal>,
    bus: Option<Arc<dyn EventBus>>,
    state: Mutex<State>,
    targets: Mutex<BTreeMap<String, Target>>,
    /// Counts what happened; workers and the timer look again.
    changed: watch::Sender<u64>,
    /// The generation of the state that is written. Held while writing.
    written: tokio::sync::Mutex<u64>,
    loading: tokio::sync::Mutex<()>,
}

/// Takes events, decides who is told what, and makes sure that it arrives. Clones share it.
///
/// - [`accept`](Self::accept) is durable and may be called again with the same event.
/// - What waits for delivery survives a restart; a message is delivered at least once, in order
///   for each sink and key, and carries an [`Alert::id`] that a receiver can deduplicate by.
/// - Each sink has a worker of its own: one that is slow or down delays no other.
/// - When the journal can't be written, alerts still go out, and writing is tried again with the
///   next change.
#[derive(Debug, Clone)]
pub struct Alerter {
    inner: Arc<Inner>,
}

impl Alerter {
    /// Without sinks. Nothing is read or connected before it is needed.
    #[must_use]
    pub fn new(clock: SharedClock, journal: Arc<dyn AlertJournal>) -> Self {
        Self {
            inner: Arc::new(Inner {
                clock,
                journal,
                bus: None,
                state: Mutex::default(),
                targets: Mutex::default(),
                changed: watch::Sender::new(0),
                written: tokio::sync::Mutex::default(),
                loading: tokio::sync::Mutex::default(),
            }),
        }
    }

    /// Reads health events from this bus while it runs, and tells it of its deliveries. Only
    /// before the first clone.
    #[must_use]
    pub fn with_bus(mut self, bus: Arc<dyn EventBus>) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.bus = Some(bus);
        }
        self
    }

    /// Begins as a standby: nothing is accepted or delivered before `LeaseAcquired`.
    #[must_use]
    pub fn standby(self) -> Self {
        self.inner.state().active = false;
        self
    }

    /// Sets the sinks and which service depends on which; on a reload too. What waits for a sink
    /// that is no more is given up, what waits for one of the same name is delivered.
    ///
    /// # Errors
    /// `ConfigInvalid` when a route is wrong or a name comes twice; the old ones stay.
    pub fn configure(
        &self,
        sinks: Vec<SinkEntry>,
        depends_on: BTreeMap<ServiceId, Vec<ServiceId>>,
    ) -> Result<()> {
        let (mut matchers, mut targets) = (BTreeMap::new(), BTreeMap::new());
        for SinkEntry { name, sink, route } in sinks {
            let timeout = route.timeout;
            let matcher =
                Matcher::new(route).map_err(|error| error.with_context("alert", &name))?;
            if targets.insert(name.clone(), Target { sink, timeout }).is_some() {
                return Err(Error::new(
                    ErrorKind::ConfigInvalid,
                    format!("two alert sinks have the name {name:?}; rename one"),
                ));
            }
            matchers.insert(name, matcher);
        }
        let before = std::mem::replace(&mut *self.inner.targets(), targets);
        self.inner.state().configure(matchers, depends_on);
        self.inner.notify();
        // Sinks are the embedding program's: they go when no lock is held.
        drop(before);
        Ok(())
    }

    /// Ends the standby: for an alerter that no lease leads.
    ///
    /// # Errors
    /// The journal's.
    pub async fn activate(&self) -> Result<()> {
        self.inner.load().await?;
        self.inner.activate().await
    }

    /// Takes an event. `Ok` means that what follows from it is on disk.
    ///
    /// # Errors
    /// The journal's. The event is applied all the same, and alerts go out; call again until it
    /// is `Ok`.
    pub async fn accept(&self, event: &Event) -> Result<()> {
        self.inner.load().await?;
        if matches!(event, Event::LeaseAcquired { .. }) {
            return self.inner.activate().await;
        }
        self.inner.apply(&event.clone().masked());
        self.inner.persist().await
    }

    /// Delivers, reminds and listens to the bus until told otherwise. What could not be delivered
    /// by then waits for the next start.
    pub async fn run(&self, until: impl Future<Output = ()> + Send) {
        let (stop, stopped) = watch::channel(false);
        let mut workers = JoinSet::new();
        tokio::select! {
            biased;
            () = until => {}
            () = self.turn(&mut workers, &stopped) => {}
        }
        stop.send_replace(true);
        let deadline = self.inner.clock.monotonic() + GRACE;
        let rest = async { while workers.join_next().await.is_some() {} };
        self.inner.clock.until(deadline, rest).await;
        workers.abort_all();
        if let Err(error) = self.inner.persist().await {
            tracing::warn!(%error, "the state of the alerts could not be written");
        }
    }

    async fn turn(&self, workers: &mut JoinSet<String>, stopped: &watch::Receiver<bool>) {
        let inner = &self.inner;
        inner.load_at_last().await;
        let mut health = inner.subscribe().await;
        let mut running: Vec<String> = Vec::new();
        let mut changed = inner.changed.subscribe();
        loop {
            while let Some(ended) = workers.try_join_next() {
                running.retain(|name| ended.as_ref().map_or(true, |ended| ended != name));
            }
            for name in inner.sink_names() {
                if !running.contains(&name) {
                    running.push(name.clone());
                    workers.spawn(worker::run(Arc::clone(inner), name, stopped.clone()));
                }
            }
            changed.borrow_and_update();
            inner.tick().await;
            // Before the state is asked: time that passes in between makes us early, never late.
            let asked_at = inner.clock.monotonic();
            let due = inner.next_due().map(|wait| asked_at + wait);
            let wait = async {
                match due {
                    Some(due) => inner.clock.sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let next = tokio::select! {
                biased;
                next = next_event(&mut health) => next,
                _ = changed.changed() => continue,
                () = wait => continue,
            };
            match next {
                Some(Delivery::Event(envelope)) => {
                    if let Err(error) = self.accept(&envelope.event).await {
                        tracing::warn!(%error, "the state of the alerts could not be written");
                    }
                }
                Some(Delivery::Missed(count)) => {
                    tracing::warn!(count, "the alerts missed health events");
                }
                Some(_) => {}
                None => health = None,
            }
        }
    }

    /// Sends a test message now, past every queue, and says what the receiver answered.
    ///
    /// # Errors
    /// `NotFound` with the names there are; else the sink's own error.
    pub async fn test(&self, sink: &str) -> Result<()> {
        let target = self.inner.targets().get(sink).cloned();
        let target = target.ok_or_else(|| {
            names::not_found("alert sink", sink, &self.inner.sink_names())
                .with_operation("alert.test")
        })?;
        let at = self.inner.clock.wall();
        let id = format!("test-{sink}-{}", at.millis());
        let key = format!("test-{sink}");
        let title = "Test alert from JARVIS: this sink works";
        let alert = Alert::new(id, key, AlertStatus::Test, Severity::Info, title, at)
            .with_body("Nothing is wrong. Somebody ran `jarvis alert test`.");
        self.inner
            .deliver(&target, &alert)
            .await
            .map_err(|error| error.with_operation("alert.test").with_context("sink", sink))
    }

    /// The sinks' names.
    #[must_use]
    pub fn sinks(&self) -> Vec<String> {
        self.inner.sink_names()
    }

    /// How the deliveries go, a line a sink.
    #[must_use]
    pub fn stats(&self) -> Vec<SinkStats> {
        let names = self.inner.sink_names();
        self.inner.state().stats(&names)
    }
}

async fn next_event(health: &mut Option<Box<dyn Subscription>>) -> Option<Delivery> {
    match health {
        Some(health) => health.next().await,
        None => std::future::pending().await,
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn targets(&self) -> MutexGuard<'_, BTreeMap<String, Target>> {
        self.targets.lock()
    }

    fn sink_names(&self) -> Vec<String> {
        self.targets().keys().cloned().collect()
    }

    fn notify(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Reads the journal once. A journal that is broken for good is told and done without.
    async fn load(&self) -> Result<()> {
        let _one = self.loading.lock().await;
        if self.state().is_loaded() {
            return Ok(());
        }
        let rows = match self.journal.load().await {
            Ok(rows) => rows,
            Err(error) if error.is_retryable() => return Err(error),
            Err(error) => {
                self.trouble(format!(
                    "failed to read the state of the alerts; earlier alerts may repeat: {}",
                    error.message()
                ))
                .await;
                Vec::new()
            }
        };
        let damaged = self.state().load(rows, self.clock.stamp());
        if damaged > 0 {
            self.trouble(format!(
                "{damaged} rows of the alerts' state are damaged and were skipped"
            ))
            .await;
        }
        Ok(())
    }

    async fn load_at_last(&self) {
        while let Err(error) = self.load().await {
            tracing::warn!(%error, "failed to read the state of the alerts; trying again");
            self.clock.sleep(Duration::from_secs(5)).await;
        }
    }

    /// We hold the lease: whoever held it before left the truth in the journal.
    async fn activate(&self) -> Result<()> {
        let active = self.state().active;
        if active {
            return Ok(());
        }
        self.state().forget();
        self.load().await?;
        self.state().activate(&self.clock.stamp(), self.clock.wall());
        self.persist().await
    }

    fn apply(&self, event: &Event) {
        let (stamp, wall) = (self.clock.stamp(), self.clock.wall());
        self.state().apply(event, &stamp, wall);
    }

    async fn tick(&self) {
        let (stamp, wall) = (self.clock.stamp(), self.clock.wall());
        let changed = self.state().tick(&stamp, wall);
        if changed && let Err(error) = self.persist().await {
            tracing::warn!(%error, "the state of the alerts could not be written");
        }
    }

    fn next_due(&self) -> Option<Duration> {
        let stamp = self.clock.stamp();
        self.state().next_due(&stamp)
    }

    /// Writes what changed. Callers that come together are written together.
    async fn persist(&self) -> Result<()> {
        let wanted = self.state().generation();
        let mut written = self.written.lock().await;
        if *written >= wanted && !self.state().is_dirty() {
            return Ok(());
        }
        let stamp = self.clock.stamp();
        let (generation, changes) = self.state().changes(&stamp);
        let taken = Taken { inner: self, changes: Some(changes.keys) };
        let result = self.journal.commit(changes.rows).await;
        if result.is_ok() {
            *written = generation;
            taken.written();
        } else {
            drop(taken);
        }
        // Written or not: what a person has to know goes out.
        self.state().release(generation);
        self.notify();
        result
    }

    async fn subscribe(&self) -> Option<Box<dyn Subscription>> {
        let bus = self.bus.as_ref()?;
        // What another instance sees is told by the one that holds the lease: by its own eyes.
        let health = Filter::all().with_topic(Topic::Health).with_origin(Origin::Here);
        match bus.subscribe(health).await {
            Ok(subscription) => Some(subscription),
            Err(error) => {
                tracing::warn!(%error, "the alerts receive no health events");
                None
            }
        }
    }

    async fn publish(&self, event: Event) {
        if let Some(bus) = &self.bus
            && let Err(error) = bus.publish(event).await
        {
            tracing::debug!(%error, "an alert event was not published");
        }
    }

    async fn trouble(&self, message: String) {
        tracing::error!(%message, "the alerts have a problem");
        self.publish(Event::OperatorTrouble { severity: Severity::Warning, message }).await;
    }
}

/// Changes on their way to the journal; put back when they don't arrive, or nobody waits for it.
struct Taken<'a> {
    inner: &'a Inner,
    changes: Option<state::DirtyKeys>,
}

impl Taken<'_> {
    fn written(mut self) {
        self.changes = None;
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(keys) = self.changes.take() {
            self.inner.state().put_back(keys);
        }
    }
}

#[cfg(test)]
mod tests;
