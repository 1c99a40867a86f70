//! [`JarvisBuilder`]: a handle with parts of one's own.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::{OnceCell, watch};

use super::{Current, Inner, Jarvis};
use crate::config::{Config, Source};
use crate::registry::{Described, Registry, Wiring};
use base::Result;
use base::clock::{Clock, SharedClock, SystemClock};
use base::events::EventBus;
use base::secret::KnownSecrets;
use base::sync::Mutex;
use base::vocabulary::{Locality, Mode};
use state::cache::Cache;
use state::session::SessionStore;
use supervision::alert::SinkEntry;
use supervision::health::aggregator::{Aggregator, ServiceSpec};
use supervision::operator::ManagedService;

/// What is not in the configuration but made by the program.
#[derive(Debug, Clone, Default)]
pub(super) struct Extras {
    pub(super) services: Vec<(ServiceSpec, ManagedService)>,
    pub(super) sinks: Vec<SinkEntry>,
    pub(super) mode: Option<Mode>,
    pub(super) sessions: Option<Arc<dyn SessionStore>>,
    pub(super) cache: Option<Arc<dyn Cache>>,
    pub(super) strict_cache: bool,
    /// Of the configuration that the services and sinks above come from.
    pub(super) secrets: KnownSecrets,
    /// Facts about the objects made from it.
    pub(super) made: Vec<Described>,
}

/// Puts a [`Jarvis`] together. Nothing is opened or connected before it is used.
#[derive(Debug)]
#[must_use = "call open()"]
pub struct JarvisBuilder {
    clock: SharedClock,
    registry: Registry,
    bus: Option<Arc<dyn EventBus>>,
    source: Source,
    extras: Extras,
    more: Option<Source>,
}

impl JarvisBuilder {
    pub(super) fn new() -> Self {
        Self {
            clock: Arc::new(SystemClock::new()),
            registry: Registry::with_defaults(),
            bus: None,
            source: Source::empty().with_text(""),
            extras: Extras::default(),
            more: None,
        }
    }

    /// Reads the configuration that this leads to. Without this call it is empty.
    pub fn with_source(mut self, source: Source) -> Self {
        self.source = source;
        self
    }

    /// Takes the time from this clock.
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Overrides the configuration's mode, also after a reload (`--dry-run`).
    pub fn with_mode(mut self, mode: Mode) -> Self {
        self.extras.mode = Some(mode);
        self
    }

    /// Makes probes, restarters, sinks, leases and stores by these factories.
    pub fn with_registry(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// Carries events on this bus.
    pub fn with_bus(mut self, bus: Arc<dyn EventBus>) -> Self {
        self.bus = Some(bus);
        self
    }

    /// Keeps sessions in this store, whatever `[store]` says.
    pub fn with_sessions(mut self, sessions: Arc<dyn SessionStore>) -> Self {
        self.extras.sessions = Some(sessions);
        self
    }

    /// Caches in this cache, whatever `[store]` says.
    pub fn with_cache(mut self, cache: Arc<dyn Cache>) -> Self {
        self.extras.cache = Some(cache);
        self
    }

    /// Makes failures of the cache's storage errors instead of misses, whatever `[cache]` says:
    /// for a command that has to tell them apart.
    pub fn with_strict_cache(mut self) -> Self {
        self.extras.strict_cache = true;
        self
    }

    /// Adds the services and the sinks of another configuration, which are wired by the same
    /// registry and stay over a reload: what a program in another language gives as arguments.
    pub fn with_more(mut self, more: Source) -> Self {
        self.more = Some(more);
        self
    }

    /// Adds a service with probes, and a restarter, of the program's own.
    pub fn with_service(mut self, watched: ServiceSpec, managed: ManagedService) -> Self {
        self.extras.services.push((watched, managed));
        self
    }

    /// Adds a receiver of alerts.
    pub fn with_sink(mut self, sink: SinkEntry) -> Self {
        self.extras.sinks.push(sink);
        self
    }

    /// Reads the configuration and makes the handle.
    ///
    /// # Errors
    /// `ConfigInvalid` with every error of the configuration.
    pub fn open(self) -> Result<Jarvis> {
        let Self { clock, registry, bus, source, mut extras, more } = self;
        if let Some(more) = more {
            extras.add(&registry, &Config::load(&more)?, &clock)?;
        }
        let config = Config::load(&source)?;
        let wiring = extras.wire(&registry, &config, &clock)?;
        let is_configured = bus.is_none();
        let bus = match bus {
            Some(bus) => bus,
            None => registry.event_bus(&config, &clock)?,
        };
        let private_bus = is_configured && bus.locality() == Locality::InMemory;
        let health = Aggregator::new(Arc::clone(&clock), Arc::clone(&bus));
        health.apply(wiring.services.clone())?;
        let secrets = vec![config.secrets()];
        let current = Current { config: Arc::new(config), wiring: Arc::new(wiring), secrets };
        Ok(Jarvis {
            inner: Arc::new(Inner {
                clock,
                registry,
                bus,
                private_bus,
                source,
                extras,
                current: Mutex::new(current),
                reloads: watch::Sender::new(0),
                health,
                supervises: AtomicBool::new(false),
                rounds: super::web::SharedRounds::default(),
                operator: OnceCell::new(),
                alerts: OnceCell::new(),
                sessions: OnceCell::new(),
                cache: OnceCell::new(),
                #[cfg(feature = "sqlite")]
                event_log: OnceCell::new(),
                #[cfg(feature = "sqlite")]
                history: OnceCell::new(),
            }),
        })
    }
}

impl Extras {
    /// What a configuration of its own asks for.
    fn add(&mut self, registry: &Registry, config: &Config, clock: &SharedClock) -> Result<()> {
        let (wiring, report) = registry.wire(config, clock);
        let wiring = wiring.ok_or_else(|| report.into_error())?;
        self.secrets = wiring.secrets;
        self.made.extend(wiring.made);
        self.services.extend(wiring.services.into_iter().zip(wiring.managed));
        self.sinks.extend(wiring.sinks);
        Ok(())
    }

    /// What the configuration asks for, and what the program adds.
    pub(super) fn wire(
        &self,
        registry: &Registry,
        config: &Config,
        clock: &SharedClock,
    ) -> Result<Wiring> {
        let (wiring, report) = registry.wire(config, clock);
        let mut wiring = wiring.ok_or_else(|| report.into_error())?;
        for (watched, managed) in &self.services {
            wiring.services.push(watched.clone());
            wiring.depends_on.insert(managed.id.clone(), managed.depends_on.clone());
            wiring.managed.push(managed.clone());
        }
        wiring.sinks.extend(self.sinks.iter().cloned());
        wiring.made.extend(self.made.iter().cloned());
        wiring.settings.mode = self.mode.unwrap_or(wiring.settings.mode);
        Ok(wiring)
    }
}
