//! What is chosen by the scheme of a URL in `[store]`: the bus, the session store, the cache.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{FactoryContext, Registry};
use crate::config::{Config, Problem, Report, StoreUrl, Weight};
use base::clock::SharedClock;
use base::events::EventBus;
use base::vocabulary::Locality;
use base::{Error, Result};
use state::cache::Cache;
use state::session::{MemorySessions, SessionStore};

/// Which feature brings a scheme that this build lacks.
fn feature_of(scheme: &str, key: &str) -> Option<&'static str> {
    let (base, _) = scheme.split_once('+').unwrap_or((scheme, ""));
    match base {
        "sqlite" if key == "session" && !cfg!(feature = "sqlite") => Some("sqlite"),
        "redis" | "rediss" | "unix" if !cfg!(feature = "redis") => Some("redis"),
        _ => None,
    }
}

/// How far away the stores of a configuration are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreLocalities {
    /// `[store] session`.
    pub sessions: Locality,
    /// `[store] cache`.
    pub cache: Locality,
    /// `[store] bus`.
    pub bus: Locality,
}

impl Registry {
    /// How far away the stores of a configuration are. Opens nothing.
    #[must_use]
    pub fn localities(&self, config: &Config) -> StoreLocalities {
        let of = |url: &StoreUrl, near: bool| match self.in_memory.contains(url.scheme()) {
            true => Locality::InMemory,
            false if near => Locality::Near,
            false => Locality::Remote,
        };
        let store = &config.store;
        StoreLocalities {
            sessions: of(&store.session, false),
            cache: of(&store.cache, config.cache.near),
            bus: of(&store.bus, false),
        }
    }

    /// The bus of a configuration.
    ///
    /// # Errors
    /// `ConfigInvalid` for an unknown scheme; the backend's own.
    pub fn event_bus(&self, config: &Config, clock: &SharedClock) -> Result<Arc<dyn EventBus>> {
        let url = &config.store.bus;
        let factory = by_scheme(&self.buses, url, config, "bus", "bus").map_err(Error::from)?;
        factory(url.expose(), &config.bus, &context(config, clock))
    }

    /// The session store of a configuration. Opens its file, connects to no server.
    ///
    /// # Errors
    /// `ConfigInvalid` for an unknown scheme; the backend's own.
    pub fn session_store(
        &self,
        config: &Config,
        clock: &SharedClock,
    ) -> Result<Arc<dyn SessionStore>> {
        let url = &config.store.session;
        let factory = by_scheme(&self.sessions, url, config, "session", "session store")
            .map_err(Error::from)?;
        factory(url.expose(), &config.session, &context(config, clock))
    }

    /// The cache of a configuration. Connects to no server.
    ///
    /// # Errors
    /// `ConfigInvalid` for an unknown scheme; the backend's own.
    pub fn cache_store(&self, config: &Config, clock: &SharedClock) -> Result<Arc<dyn Cache>> {
        let url = &config.store.cache;
        let factory =
            by_scheme(&self.caches, url, config, "cache", "cache").map_err(Error::from)?;
        factory(url.expose(), &config.cache, &context(config, clock))
    }

    /// What can be told of `[store]`, `[bus]`, `[session]` and `[cache]` without opening anything.
    pub(super) fn check_stores(&self, config: &Config, clock: &SharedClock) -> Report {
        let mut report = Report::default();
        let (store, section) = (&config.store, config.section("store"));
        let found = [
            ("bus", &store.bus, by_scheme(&self.buses, &store.bus, config, "bus", "bus").err()),
            (
                "session",
                &store.session,
                by_scheme(&self.sessions, &store.session, config, "session", "session store").err(),
            ),
            (
                "cache",
                &store.cache,
                by_scheme(&self.caches, &store.cache, config, "cache", "cache").err(),
            ),
        ];
        // What is not written may stay unknown: a registry of the caller's own need not have it.
        for (key, url, unknown) in found.into_iter().filter(|(key, ..)| section.contains(key)) {
            match unknown {
                Some(problems) => report.extend(problems),
                None => keep(&mut report, check_url(url, clock), |message| {
                    section.problem(key, message)
                }),
            }
        }
        // The store that needs nothing else asks of a policy what all of them ask.
        let made = MemorySessions::new(config.session.clone(), clock.clone()).map(drop);
        keep(&mut report, made, |message| about(config, "session", message));
        keep(&mut report, config.bus.validate(), |message| about(config, "bus", message));
        keep(&mut report, config.cache.validate(), |message| about(config, "cache", message));
        if config.cache.near && self.localities(config).cache == Locality::InMemory {
            let message = "memory: is as near as it gets; this is for a cache on a server ([store] cache = \"redis://…\")";
            let problem = config.section("cache").problem("near", message);
            report.push(Problem { weight: Weight::Warning, ..problem });
        }
        report
    }
}

/// Keeps an error of a store as a problem at its place.
fn keep(report: &mut Report, result: Result<()>, problem: impl FnOnce(&str) -> Problem) {
    if let Err(error) = result {
        report.push(problem(error.message()));
    }
}

/// A problem of the key that the message begins with.
fn about(config: &Config, table: &str, message: &str) -> Problem {
    let section = config.section(table);
    let key = message.split([' ', '[']).next().unwrap_or_default();
    section.problem(if section.contains(key) { key } else { "" }, message)
}

/// Is it a Redis, of whatever kind?
#[cfg(feature = "redis")]
pub(crate) fn is_redis(url: &StoreUrl) -> bool {
    super::redis::SCHEMES.contains(&url.scheme())
}

/// Is the URL one that its backend can read?
fn check_url(url: &StoreUrl, clock: &SharedClock) -> Result<()> {
    #[cfg(feature = "redis")]
    if is_redis(url) {
        use base::store::redis::{Options, Redis};
        return Redis::open(url.expose(), &Options::new(), clock.clone()).map(drop);
    }
    let _ = (url, clock);
    Ok(())
}

fn context(config: &Config, clock: &SharedClock) -> FactoryContext {
    FactoryContext::new(clock.clone(), &config.jarvis.state_dir)
}

/// The factory of a URL's scheme, or what is wrong with it. The URL itself is in no message.
fn by_scheme<'a, T>(
    factories: &'a BTreeMap<String, T>,
    url: &StoreUrl,
    config: &Config,
    key: &str,
    what: &str,
) -> std::result::Result<&'a T, Report> {
    let scheme = url.scheme();
    if let Some(factory) = factories.get(scheme) {
        return Ok(factory);
    }
    let section = config.section("store");
    let names: Vec<&str> = factories.keys().map(String::as_str).collect();
    let is_scheme =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_');
    let mut report = Report::default();
    report.push(match feature_of(scheme, key) {
        Some(feature) => section.problem(
            key,
            &format!(
                "this build has no {what} for {scheme}: URLs, which needs the feature `{feature}`; valid schemes: {}",
                names.join(", ")
            ),
        ),
        None if scheme.is_empty() || !scheme.bytes().all(is_scheme) => section.problem(
            key,
            &format!(
                "a URL is expected, such as memory: or redis://127.0.0.1:6379; valid schemes: {}",
                names.join(", ")
            ),
        ),
        None => section.unknown(key, what, scheme, &names),
    });
    Err(report)
}
