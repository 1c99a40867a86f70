//! Opening the parts, and the loop that joins them.

use std::cell::Cell;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::answers::{Source, StatusAnswer};
use super::outlet::Announcer;
use super::{END_WITHIN, Jarvis, control, last_seen};
use crate::control::{ControlServer, ServerOptions, socket_path};
use base::clock::{ClockExt, Monotonic};
use base::events::Event;
use base::vocabulary::Severity;
use base::{ErrorKind, Result};
use supervision::alert::{AlertJournal, Alerter, MemoryJournal};
use supervision::operator::{Operator, OperatorParts, OperatorSettings, StateStore};
use supervision::restart::Leaving;

#[cfg(feature = "sqlite")]
use base::events::{EventLog, Filter, Retention};
#[cfg(feature = "sqlite")]
use base::store::sqlite::{Options, Sqlite};
#[cfg(feature = "sqlite")]
use supervision::health::uptime::{History, SqliteHistory};

/// Of [`END_WITHIN`], what is kept for owned processes to stop in, whatever else is finished
/// first: more than the 10 s that a process has by default before it is killed.
const FOR_RELEASE: Duration = Duration::from_secs(12);

/// Of [`END_WITHIN`], what is kept for the last writes, events and answers.
const FOR_THE_REST: Duration = Duration::from_secs(2);

/// How often what `status` shows without a loop is written, at most.
const LAST_SEEN_EVERY: Duration = Duration::from_secs(10);

#[cfg(feature = "sqlite")]
fn open_file(jarvis: &Jarvis, name: &str) -> Result<Sqlite> {
    Sqlite::open(jarvis.state_dir().join(name), &Options::new())
}

fn journal(jarvis: &Jarvis) -> Result<Arc<dyn AlertJournal>> {
    #[cfg(feature = "sqlite")]
    return Ok(Arc::new(supervision::alert::SqliteJournal::new(open_file(jarvis, "operator.db")?)));
    #[cfg(not(feature = "sqlite"))]
    {
        let _ = jarvis;
        Ok(Arc::new(MemoryJournal::new()))
    }
}

/// The alerts. Where their state can't be kept they still go out: that is when they matter.
pub(super) async fn open_alerts(jarvis: &Jarvis) -> Result<Alerter> {
    let current = jarvis.current();
    let journal = match journal(jarvis) {
        Ok(journal) => journal,
        Err(error) => {
            tracing::error!(%error, "failed to persist the state of the alerts; alerts may repeat after a restart");
            Arc::new(MemoryJournal::new())
        }
    };
    let alerts = Alerter::new(jarvis.clock(), journal).with_bus(jarvis.bus()).standby();
    alerts.configure(current.wiring.sinks.clone(), current.wiring.depends_on.clone())?;
    Ok(alerts)
}

pub(super) async fn open_operator(jarvis: &Jarvis) -> Result<Operator> {
    make_operator(jarvis, jarvis.current().wiring.settings.clone()).await
}

/// An operator with these settings on the state of this handle.
pub(super) async fn make_operator(jarvis: &Jarvis, settings: OperatorSettings) -> Result<Operator> {
    let current = jarvis.current();
    let (lease, ledger) = jarvis.inner.registry.leadership(&current.config, &jarvis.inner.clock)?;
    #[cfg(feature = "sqlite")]
    let state = StateStore::sqlite(&open_file(jarvis, "operator.db")?);
    #[cfg(not(feature = "sqlite"))]
    let state = StateStore::memory();
    let outlet = Arc::new(Announcer { alerts: jarvis.alerts().await?, bus: jarvis.bus() });
    let parts = OperatorParts {
        clock: jarvis.clock(),
        health: jarvis.health(),
        lease,
        ledger,
        state,
        outlet,
    };
    let operator = Operator::new(parts, settings)?;
    operator.apply(current.wiring.managed.clone());
    Ok(operator)
}

#[cfg(feature = "sqlite")]
pub(super) async fn open_event_log(jarvis: &Jarvis) -> Result<EventLog> {
    let file = open_file(jarvis, "history.db")?;
    Ok(EventLog::new(&file, jarvis.clock(), Retention::new()))
}

#[cfg(feature = "sqlite")]
pub(super) async fn open_history(jarvis: &Jarvis) -> Result<Arc<dyn History>> {
    Ok(Arc::new(SqliteHistory::new(&open_file(jarvis, "history.db")?)))
}

/// Until when an action in flight may go on. Processes that are stopped need their time after it.
fn finish_by(why: Leaving, rest_from: Monotonic) -> Monotonic {
    match why {
        Leaving::Interrupted => rest_from - FOR_RELEASE,
        Leaving::Terminated => rest_from,
    }
}

/// A switch that many tasks wait for.
#[derive(Debug, Clone)]
struct Stop(watch::Sender<bool>);

impl Stop {
    fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    fn now(&self) {
        self.0.send_replace(true);
    }

    fn wait(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut stopped = self.0.subscribe();
        async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        }
    }
}

/// Sets the flag of [`Jarvis::supervises`] until it is dropped.
struct Supervises<'a> {
    flag: &'a AtomicBool,
    failed: Cell<bool>,
}

impl<'a> Supervises<'a> {
    fn begin(flag: &'a AtomicBool) -> Self {
        flag.store(true, Ordering::Release);
        Self { flag, failed: Cell::new(false) }
    }

    /// Leaves it set: the loop should run, and does not.
    fn failed(&self) {
        self.failed.set(true);
    }
}

impl Drop for Supervises<'_> {
    fn drop(&mut self) {
        if !self.failed.get() {
            self.flag.store(false, Ordering::Release);
        }
    }
}

impl Jarvis {
    /// Supervises until `until` says why it ends: watches, heals, alerts, keeps the books, and
    /// answers on the control socket.
    ///
    /// At the end an action in flight is finished first, then owned processes are stopped or left
    /// as their configuration and the reason say; all of that within [`END_WITHIN`]. What is not
    /// finished by then is taken up by the next run. Needs a tokio runtime.
    ///
    /// # Errors
    /// `Conflict` when this handle supervises already or did before. What can't be opened is told
    /// as [`Event::OperatorTrouble`] and done without; watching and alerting go on.
    pub async fn run(&self, until: impl Future<Output = Leaving> + Send) -> Result<()> {
        let (acting, rest) = (Stop::new(), Stop::new());
        let mut tasks = JoinSet::new();
        let supervises = Supervises::begin(&self.inner.supervises);
        let alerts = self.alerts().await.inspect_err(|_| supervises.failed())?;
        self.record_history(&rest, &mut tasks).await;
        let operator = self.start_operator(&acting, &mut tasks, &alerts).await;
        self.start_health(&rest, &mut tasks);
        tasks.spawn({
            let (alerts, stop) = (alerts.clone(), rest.wait());
            async move { alerts.run(stop).await }
        });
        self.start_heartbeat(&rest, &mut tasks);
        self.serve_control(&rest, &mut tasks).await;
        self.keep_last_seen(&rest, &mut tasks);

        let why = until.await;
        drop(supervises);
        let clock = &self.inner.clock;
        let end = clock.monotonic() + END_WITHIN;
        let rest_from = end - FOR_THE_REST;
        let leading = operator.as_ref().is_some_and(|(operator, _)| operator.leads());
        acting.now();
        if let Some((_, ended)) = operator {
            let finished = clock.until(finish_by(why, rest_from), ended).await;
            if finished.is_none() {
                tracing::warn!("an action in flight was not finished in time");
            }
        }
        if leading {
            self.release(why, rest_from).await;
        }
        let rest = async {
            self.write_last_seen().await;
            rest.now();
            while tasks.join_next().await.is_some() {}
            if let Err(error) = self.bus().flush().await {
                tracing::warn!(%error, "the last events did not reach the other instances");
            }
        };
        if clock.until(end, rest).await.is_none() {
            tracing::warn!("not everything was written in time");
        }
        Ok(())
    }

    fn start_health(&self, stop: &Stop, tasks: &mut JoinSet<()>) {
        let (health, stop) = (self.health(), stop.wait());
        tasks.spawn(async move {
            if let Err(error) = health.run(stop).await {
                tracing::error!(%error, "the services are not watched");
            }
        });
    }

    /// Without a state that can be written nothing is acted on: an act that is not recorded first
    /// could be repeated.
    async fn start_operator(
        &self,
        stop: &Stop,
        tasks: &mut JoinSet<()>,
        alerts: &Alerter,
    ) -> Option<(Operator, tokio::sync::oneshot::Receiver<()>)> {
        let operator = match self.operator().await {
            Ok(operator) => operator,
            Err(error) => {
                let message =
                    format!("failed to open the state, so JARVIS takes no actions: {error}");
                self.trouble(alerts, message).await;
                return None;
            }
        };
        let (ended, end) = tokio::sync::oneshot::channel();
        let (running, stop) = (operator.clone(), stop.wait());
        tasks.spawn(async move {
            if let Err(error) = running.run(stop).await {
                tracing::error!(%error, "JARVIS takes no actions");
            }
            let _ = ended.send(());
        });
        Some((operator, end))
    }

    async fn trouble(&self, alerts: &Alerter, message: String) {
        tracing::error!("{message}");
        let event = Event::OperatorTrouble { severity: Severity::Critical, message };
        let accepted = async {
            alerts.activate().await?;
            alerts.accept(&event).await
        };
        if let Err(error) = accepted.await {
            tracing::warn!(%error, "the alert's state could not be written");
        }
        let _ = self.bus().publish(event).await;
    }

    #[cfg(feature = "sqlite")]
    async fn record_history(&self, stop: &Stop, tasks: &mut JoinSet<()>) {
        // Messages of the application would push out what happened to the services.
        match (self.event_log().await, self.bus().subscribe(Filter::own()).await) {
            (Ok(log), Ok(subscription)) => {
                let stop = stop.wait();
                tasks.spawn(async move { log.record(subscription, stop).await });
            }
            (Err(error), _) | (_, Err(error)) => tracing::error!(%error, "events are not stored"),
        }
        match self.history().await {
            Ok(history) => self.health().set_history(history),
            Err(error) => tracing::error!(%error, "uptime is not stored"),
        }
    }

    #[cfg(not(feature = "sqlite"))]
    async fn record_history(&self, _stop: &Stop, _tasks: &mut JoinSet<()>) {}

    #[cfg(feature = "http")]
    fn start_heartbeat(&self, stop: &Stop, tasks: &mut JoinSet<()>) {
        tasks.spawn(super::heartbeat::keep(self.clone(), stop.wait()));
    }

    #[cfg(not(feature = "http"))]
    fn start_heartbeat(&self, _stop: &Stop, _tasks: &mut JoinSet<()>) {}

    /// A second loop on the same state directory watches beside the first; commands go to that.
    async fn serve_control(&self, stop: &Stop, tasks: &mut JoinSet<()>) {
        let path = socket_path(&self.state_dir());
        match ControlServer::bind(&path, self.clock(), ServerOptions::default()).await {
            Ok(server) => {
                let handler = Arc::new(control::Handler(self.clone()));
                let stop = stop.wait();
                tasks.spawn(async move { server.serve(handler, stop).await });
            }
            Err(error) if error.kind() == ErrorKind::Conflict => {
                tracing::warn!(
                    "another `jarvis up` listens on {}; this one runs without a control socket",
                    path.display()
                );
            }
            Err(error) => {
                tracing::error!(%error, "failed to open the control socket, no commands are accepted");
            }
        }
    }

    fn keep_last_seen(&self, stop: &Stop, tasks: &mut JoinSet<()>) {
        let (jarvis, stopped) = (self.clone(), stop.wait());
        let mut rounds = self.health().rounds();
        tasks.spawn(async move {
            let writing = async {
                while rounds.next().await.is_some() {
                    jarvis.write_last_seen().await;
                    jarvis.inner.clock.sleep(LAST_SEEN_EVERY).await;
                }
            };
            futures_util::future::select(std::pin::pin!(writing), std::pin::pin!(stopped)).await;
        });
    }

    async fn write_last_seen(&self) {
        let answer = self.status().await;
        let state_dir = self.state_dir();
        let written =
            tokio::task::spawn_blocking(move || last_seen::write(&state_dir, &answer)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(%error, "what `status` shows without a loop could not be written");
        }
    }

    /// What this process knows.
    pub async fn status(&self) -> StatusAnswer {
        let operator = match self.inner.operator.get() {
            Some(operator) => Some(operator.status().await),
            None => None,
        };
        StatusAnswer::new(Source::Live, Some(self.health().snapshot()), operator)
    }

    /// Owned processes are stopped, or left to be adopted by the next start.
    async fn release(&self, why: Leaving, deadline: Monotonic) {
        let current = self.current();
        let releases = current.wiring.managed.iter().filter_map(|service| {
            let restarter = service.restarter.clone()?;
            Some(async move {
                if let Err(error) = restarter.release(why).await {
                    tracing::warn!(%error, service = %service.id, "failed to release the service cleanly");
                }
            })
        });
        if self.inner.clock.until(deadline, join_all(releases)).await.is_none() {
            tracing::warn!("not every owned process stopped in time");
        }
    }
}
