//! [`Jarvis`]: everything a configuration describes, behind one handle.
//!
//! Opening a handle starts nothing, connects nothing and takes no lease. Each part opens at its
//! first use; only [`Jarvis::run`] supervises. No signal handler, no global subscriber and no
//! thread is installed for the program it is embedded in.

mod answers;
mod attach;
mod builder;
#[cfg(feature = "redis")]
mod cache_server;
mod checking;
mod control;
#[cfg(feature = "http")]
mod heartbeat;
mod last_seen;
mod outlet;
mod reload;
mod stores;
mod stream;
mod supervise;
mod watching;
mod web;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{OnceCell, watch};

pub use answers::{
    ActionAnswer, AlertTestAnswer, CheckAnswer, Healthz, ServiceCheck, Source as AnswerSource,
    StatusAnswer, UptimeAnswer,
};
pub use attach::Attached;
pub use builder::JarvisBuilder;
#[cfg(feature = "redis")]
pub use cache_server::CacheServer;
pub use stream::{EventStream, EventsQuery};
pub use watching::{HealthWatch, StateChange};

use crate::config::{Config, Source};
use crate::layers::CountedSessions;
use crate::registry::{Registry, Wiring};
use base::Result;
use base::clock::SharedClock;
use base::events::EventBus;
use base::secret::KnownSecrets;
use base::sync::{Mutex, MutexGuard};
use builder::Extras;
use state::cache::Cache;
use supervision::alert::Alerter;
use supervision::health::aggregator::Aggregator;
use supervision::operator::Operator;

#[cfg(feature = "sqlite")]
use base::events::EventLog;
#[cfg(feature = "sqlite")]
use supervision::health::uptime::History;

/// The default period of `uptime`.
pub const DEFAULT_WINDOW: Duration = Duration::from_secs(24 * 3_600);

/// How long [`Jarvis::run`] takes at most from the moment that it is told to end.
pub const END_WITHIN: Duration = Duration::from_secs(28);

/// Of how many configurations, one after another, the secrets stay masked.
const REMEMBERED_SECRETS: usize = 16;

/// The handle. Clones share everything.
#[derive(Debug, Clone)]
pub struct Jarvis {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    clock: SharedClock,
    registry: Registry,
    bus: Arc<dyn EventBus>,
    /// Is it one that no other process can be on?
    private_bus: bool,
    source: Source,
    extras: Extras,
    current: Mutex<Current>,
    /// Counts the configurations that were put in force.
    reloads: watch::Sender<u64>,
    health: Aggregator,
    /// Was it told to supervise, and not to end?
    supervises: AtomicBool,
    rounds: web::SharedRounds,
    operator: OnceCell<Operator>,
    alerts: OnceCell<Alerter>,
    sessions: OnceCell<Arc<CountedSessions>>,
    cache: OnceCell<Arc<dyn Cache>>,
    #[cfg(feature = "sqlite")]
    event_log: OnceCell<EventLog>,
    #[cfg(feature = "sqlite")]
    history: OnceCell<Arc<dyn History>>,
}

/// The configuration in force and what was built from it.
#[derive(Debug, Clone)]
struct Current {
    config: Arc<Config>,
    wiring: Arc<Wiring>,
    /// Of this configuration and of the ones before it, whose probes and actions may still end.
    secrets: Vec<KnownSecrets>,
}

impl Jarvis {
    /// A handle that a program puts together itself.
    pub fn builder() -> JarvisBuilder {
        JarvisBuilder::new()
    }

    /// A handle on the configuration that `source` leads to.
    ///
    /// # Errors
    /// `ConfigInvalid` with every error of the configuration; nothing is half-loaded.
    pub fn open(source: Source) -> Result<Self> {
        Self::builder().with_source(source).open()
    }

    fn current(&self) -> Current {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.inner.current.lock()
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.current().config
    }

    /// The clock that every part uses.
    #[must_use]
    pub fn clock(&self) -> SharedClock {
        Arc::clone(&self.inner.clock)
    }

    /// The bus that carries the events of this process and, where `[store] bus` is shared, the
    /// messages of the applications on it.
    #[must_use]
    pub fn bus(&self) -> Arc<dyn EventBus> {
        Arc::clone(&self.inner.bus)
    }

    /// The folder of everything that is remembered.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.current().config.jarvis.state_dir.clone()
    }

    /// The aggregator: what is well, in this process.
    #[must_use]
    pub fn health(&self) -> Aggregator {
        self.inner.health.clone()
    }

    /// Was this handle told to [run](Self::run), and not to end? It is also true where the loop
    /// could not begin.
    #[must_use]
    pub fn supervises(&self) -> bool {
        self.inner.supervises.load(Ordering::Acquire)
    }

    /// The operator. Opens `operator.db`, takes no lease.
    ///
    /// # Errors
    /// The store's, when the state directory can't be used.
    pub async fn operator(&self) -> Result<Operator> {
        self.inner.operator.get_or_try_init(|| supervise::open_operator(self)).await.cloned()
    }

    /// The alerts. Opens `operator.db`.
    ///
    /// # Errors
    /// The store's, when the state directory can't be used.
    pub async fn alerts(&self) -> Result<Alerter> {
        self.inner.alerts.get_or_try_init(|| supervise::open_alerts(self)).await.cloned()
    }

    /// The retained events. Opens `history.db`.
    ///
    /// # Errors
    /// The store's, when the state directory can't be used.
    #[cfg(feature = "sqlite")]
    pub async fn event_log(&self) -> Result<EventLog> {
        self.inner.event_log.get_or_try_init(|| supervise::open_event_log(self)).await.cloned()
    }

    /// Uptime and latency over time. Opens `history.db`.
    ///
    /// # Errors
    /// The store's, when the state directory can't be used.
    #[cfg(feature = "sqlite")]
    pub async fn history(&self) -> Result<Arc<dyn History>> {
        self.inner.history.get_or_try_init(|| supervise::open_history(self)).await.cloned()
    }
}

#[cfg(all(feature = "sqlite", feature = "metrics"))]
#[cfg(test)]
mod tests;
