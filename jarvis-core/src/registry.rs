//! Which backend a name stands for: [`Registry`], and the [`Wiring`] it makes of a configuration.
//!
//! Probes are chosen by `type`, restarters by `via`, sinks and leases by `type`; buses, session
//! stores and caches by the scheme of their URL. A registry is a value: callers add their own
//! kinds to it.
//!
//! ```
//! use std::sync::Arc;
//! use jarvis_core::health::memory::MemoryProbe;
//! use jarvis_core::registry::Registry;
//!
//! let mut registry = Registry::with_defaults();
//! registry.probe("scripted", |_section, _context| Ok(Arc::new(MemoryProbe::passing())));
//! assert!(registry.probes().any(|kind| kind == "scripted"));
//! ```

mod defaults;
mod examine;
mod facts;
mod observed;
#[cfg(feature = "redis")]
mod redis;
mod stores;
#[cfg(test)]
mod tests;
mod wiring;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

pub use examine::examine;
pub use facts::{Facts, Made};
pub use observed::RestarterProbe;
pub use stores::StoreLocalities;
#[cfg(feature = "redis")]
pub(crate) use stores::is_redis;
pub(crate) use wiring::Described;
pub use wiring::Wiring;

use crate::config::Section;
use base::Result;
use base::clock::SharedClock;
use base::events::{BusPolicy, EventBus};
use base::vocabulary::ServiceId;
use state::cache::{Cache, CachePolicy};
use state::session::{SessionPolicy, SessionStore};
use supervision::alert::AlertSink;
use supervision::health::HealthProbe;
use supervision::lease::{Lease, RestartLedger};
use supervision::restart::ServiceRestarter;

/// What a factory may need beside its section.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FactoryContext {
    /// Time.
    pub clock: SharedClock,
    /// The folder of everything that JARVIS remembers.
    pub state_dir: PathBuf,
    /// The service, or the sink, that it is for.
    pub name: String,
    /// The service that it is for, where it is for one.
    pub service: Option<ServiceId>,
    /// The `[host.X]` that the service runs on, where that is another machine.
    pub host: Option<Section>,
}

impl FactoryContext {
    /// A context that is for no service.
    #[must_use]
    pub fn new(clock: SharedClock, state_dir: impl Into<PathBuf>) -> Self {
        Self { clock, state_dir: state_dir.into(), name: String::new(), service: None, host: None }
    }

    /// Says for which service.
    #[must_use]
    pub fn with_service(mut self, service: ServiceId) -> Self {
        self.name = service.to_string();
        self.service = Some(service);
        self
    }

    /// Says on which other machine the service runs.
    #[must_use]
    pub fn with_host(mut self, host: Option<Section>) -> Self {
        self.host = host;
        self
    }
}

/// Permission to act, and the count of attempts: the two halves of one backend.
pub type Leadership = (Arc<dyn Lease>, Arc<dyn RestartLedger>);

type Factory<T> = Arc<dyn Fn(&Section, &FactoryContext) -> Result<Made<T>> + Send + Sync>;
type ByUrlAnd<S, T> = Arc<dyn Fn(&str, &S, &FactoryContext) -> Result<T> + Send + Sync>;

/// The kinds of backends that a configuration may name. Making one connects nothing.
#[derive(Clone, Default)]
pub struct Registry {
    probes: BTreeMap<String, Factory<Arc<dyn HealthProbe>>>,
    restarters: BTreeMap<String, Factory<Arc<dyn ServiceRestarter>>>,
    sinks: BTreeMap<String, Factory<Arc<dyn AlertSink>>>,
    leases: BTreeMap<String, Factory<Leadership>>,
    buses: BTreeMap<String, ByUrlAnd<BusPolicy, Arc<dyn EventBus>>>,
    sessions: BTreeMap<String, ByUrlAnd<SessionPolicy, Arc<dyn SessionStore>>>,
    caches: BTreeMap<String, ByUrlAnd<CachePolicy, Arc<dyn Cache>>>,
    /// Schemes of stores that are in the memory of this process.
    in_memory: BTreeSet<String>,
    #[cfg(feature = "redis")]
    redis: redis::RedisHandles,
}

fn made<T, M: Into<Made<T>>>(
    factory: impl Fn(&Section, &FactoryContext) -> Result<M> + Send + Sync + 'static,
) -> Factory<T> {
    Arc::new(move |section, context| factory(section, context).map(Into::into))
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("probes", &self.probes.keys())
            .field("restarters", &self.restarters.keys())
            .field("sinks", &self.sinks.keys())
            .field("leases", &self.leases.keys())
            .field("buses", &self.buses.keys())
            .field("sessions", &self.sessions.keys())
            .field("caches", &self.caches.keys())
            .finish()
    }
}

impl Registry {
    /// Nothing at all.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// Everything that this build has.
    #[must_use]
    pub fn with_defaults() -> Self {
        let mut registry = Self::empty();
        defaults::register(&mut registry);
        registry
    }

    /// Adds (or replaces) the probe of `type = "kind"`. The factory returns it alone, as an `Arc`, or
    /// as [`Made`] with what is known about it.
    pub fn probe<F, M>(&mut self, kind: impl Into<String>, factory: F) -> &mut Self
    where
        F: Fn(&Section, &FactoryContext) -> Result<M> + Send + Sync + 'static,
        M: Into<Made<Arc<dyn HealthProbe>>>,
    {
        self.probes.insert(kind.into(), made(factory));
        self
    }

    /// Adds (or replaces) the restarter of `via = "kind"`.
    pub fn restarter<F, M>(&mut self, kind: impl Into<String>, factory: F) -> &mut Self
    where
        F: Fn(&Section, &FactoryContext) -> Result<M> + Send + Sync + 'static,
        M: Into<Made<Arc<dyn ServiceRestarter>>>,
    {
        self.restarters.insert(kind.into(), made(factory));
        self
    }

    /// Adds (or replaces) the sink of `[alert.X] type = "kind"`.
    pub fn sink<F, M>(&mut self, kind: impl Into<String>, factory: F) -> &mut Self
    where
        F: Fn(&Section, &FactoryContext) -> Result<M> + Send + Sync + 'static,
        M: Into<Made<Arc<dyn AlertSink>>>,
    {
        self.sinks.insert(kind.into(), made(factory));
        self
    }

    /// Adds (or replaces) the lease and ledger of `[lease] type = "kind"`.
    pub fn lease<F, M>(&mut self, kind: impl Into<String>, factory: F) -> &mut Self
    where
        F: Fn(&Section, &FactoryContext) -> Result<M> + Send + Sync + 'static,
        M: Into<Made<Leadership>>,
    {
        self.leases.insert(kind.into(), made(factory));
        self
    }

    /// Adds (or replaces) the bus of `scheme:…`.
    pub fn bus<F>(&mut self, scheme: impl Into<String>, factory: F) -> &mut Self
    where
        F: Fn(&str, &BusPolicy, &FactoryContext) -> Result<Arc<dyn EventBus>>
            + Send
            + Sync
            + 'static,
    {
        self.buses.insert(scheme.into(), Arc::new(factory));
        self
    }

    /// Adds (or replaces) the session store of `scheme:…`. The factory may open a file; it is called
    /// at the first use, not when the configuration is read.
    pub fn session<F>(&mut self, scheme: impl Into<String>, factory: F) -> &mut Self
    where
        F: Fn(&str, &SessionPolicy, &FactoryContext) -> Result<Arc<dyn SessionStore>>
            + Send
            + Sync
            + 'static,
    {
        self.sessions.insert(scheme.into(), Arc::new(factory));
        self
    }

    /// Adds (or replaces) the cache of `scheme:…`. The factory is called at the first use.
    pub fn cache<F>(&mut self, scheme: impl Into<String>, factory: F) -> &mut Self
    where
        F: Fn(&str, &CachePolicy, &FactoryContext) -> Result<Arc<dyn Cache>>
            + Send
            + Sync
            + 'static,
    {
        self.caches.insert(scheme.into(), Arc::new(factory));
        self
    }

    /// Declares that buses, session stores and caches of `scheme:…` are
    /// [in memory](crate::vocabulary::Locality::InMemory), so that their callers know before one
    /// is opened. Their own `locality` must say the same.
    pub fn in_memory(&mut self, scheme: impl Into<String>) -> &mut Self {
        self.in_memory.insert(scheme.into());
        self
    }

    /// The kinds of probes.
    pub fn probes(&self) -> impl Iterator<Item = &str> {
        self.probes.keys().map(String::as_str)
    }

    /// The kinds of restarters.
    pub fn restarters(&self) -> impl Iterator<Item = &str> {
        self.restarters.keys().map(String::as_str)
    }

    /// The kinds of sinks.
    pub fn sinks(&self) -> impl Iterator<Item = &str> {
        self.sinks.keys().map(String::as_str)
    }

    /// The schemes of buses.
    pub fn buses(&self) -> impl Iterator<Item = &str> {
        self.buses.keys().map(String::as_str)
    }

    /// The kinds of leases.
    pub fn leases(&self) -> impl Iterator<Item = &str> {
        self.leases.keys().map(String::as_str)
    }

    /// The schemes of session stores.
    pub fn sessions(&self) -> impl Iterator<Item = &str> {
        self.sessions.keys().map(String::as_str)
    }

    /// The schemes of caches.
    pub fn caches(&self) -> impl Iterator<Item = &str> {
        self.caches.keys().map(String::as_str)
    }
}

#[cfg(feature = "redis")]
impl Registry {
    /// The Redis servers that backends made by this registry share. A factory asks it, so that
    /// what is kept on one server shares connections.
    pub(crate) fn redis(&self) -> redis::RedisHandles {
        self.redis.clone()
    }
}

/// The file of what the operator must not forget. A file that is open already is shared.
#[cfg(feature = "sqlite")]
pub(crate) fn open_operator_db(state_dir: &std::path::Path) -> Result<base::store::sqlite::Sqlite> {
    use base::store::sqlite::{Options, Sqlite};
    Sqlite::open(state_dir.join("operator.db"), &Options::new())
}
