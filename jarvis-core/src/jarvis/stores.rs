//! What is remembered between requests: the sessions and the cache of this handle.

use std::sync::Arc;

use super::Jarvis;
use crate::config::Config;
use crate::layers::CountedSessions;
use crate::registry::StoreLocalities;
use base::Result;
use state::cache::Cache;
use state::session::SessionStore;

impl Jarvis {
    /// The sessions, kept where `[store] session` says. Opens `jarvis.db` when that is a file;
    /// connects to no server before the first call.
    ///
    /// # Errors
    /// `ConfigInvalid` for a `[store]` or `[session]` that the backend does not accept, and the
    /// store's when the file can't be used.
    pub async fn sessions(&self) -> Result<Arc<dyn SessionStore>> {
        let open = || async {
            let store = match &self.inner.extras.sessions {
                Some(own) => Arc::clone(own),
                None => self.inner.registry.session_store(&self.config(), &self.inner.clock)?,
            };
            Ok::<_, base::Error>(Arc::new(CountedSessions::new(store)))
        };
        let sessions = self.inner.sessions.get_or_try_init(open).await?;
        Ok(Arc::clone(sessions) as Arc<dyn SessionStore>)
    }

    /// How far away the stores are, so that a caller in another language knows how to wait for
    /// them. Opens nothing.
    #[must_use]
    pub fn localities(&self) -> StoreLocalities {
        let mut localities = self.inner.registry.localities(&self.config());
        localities.bus = self.inner.bus.locality();
        if let Some(own) = &self.inner.extras.sessions {
            localities.sessions = own.locality();
        }
        if let Some(own) = &self.inner.extras.cache {
            localities.cache = own.locality();
        }
        localities
    }

    /// The cache, where `[store] cache` says: in this process's memory unless told. Connects to no
    /// server before the first call.
    ///
    /// # Errors
    /// `ConfigInvalid` for a `[store]` or `[cache]` that the backend does not accept.
    pub async fn cache(&self) -> Result<Arc<dyn Cache>> {
        let open = || async {
            if let Some(own) = &self.inner.extras.cache {
                return Ok(Arc::clone(own));
            }
            let mut config = Config::clone(&self.config());
            config.cache.strict |= self.inner.extras.strict_cache;
            self.inner.registry.cache_store(&config, &self.inner.clock)
        };
        self.inner.cache.get_or_try_init(open).await.cloned()
    }

    /// Ends what goes on behind the stores: refreshes under way, and listening for what other
    /// processes invalidate. The handle goes on to work; what was never opened stays closed.
    ///
    /// # Errors
    /// The cache's.
    pub async fn close(&self) -> Result<()> {
        match self.inner.cache.get() {
            Some(cache) => cache.close().await,
            None => Ok(()),
        }
    }
}

#[cfg(feature = "redis")]
impl Jarvis {
    /// What the server behind the cache says of itself, over all that use it; of a Cluster, the
    /// sum of its masters. `None` where the cache is on no Redis of the configuration's.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when it can't be asked.
    pub async fn cache_server(&self) -> Result<Option<super::CacheServer>> {
        let url = &self.config().store.cache;
        if self.inner.extras.cache.is_some() || !crate::registry::is_redis(url) {
            return Ok(None);
        }
        let redis = self.inner.registry.redis().open(url.expose(), &self.inner.clock)?;
        super::CacheServer::ask(&redis).await.map(Some)
    }
}

#[cfg(feature = "metrics")]
impl Jarvis {
    /// The servers behind the stores, and whether they answered last.
    pub(super) fn servers(&self) -> Vec<(String, bool)> {
        #[cfg(feature = "redis")]
        {
            use base::store::redis::State;
            let handles = self.inner.registry.redis().all().into_iter();
            handles
                .filter_map(|redis| match redis.state() {
                    State::Idle => None,
                    State::Connected => Some((redis.url().to_owned(), true)),
                    _ => Some((redis.url().to_owned(), false)),
                })
                .collect()
        }
        #[cfg(not(feature = "redis"))]
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;
    use crate::registry::Registry;
    use base::ErrorKind;
    use base::clock::ManualClock;
    use state::cache::{CachePolicy, CacheValue, MemoryCache, SetOptions};
    use state::session::{MemorySessions, NewSession, SessionPolicy};

    fn open(text: &str) -> Jarvis {
        Jarvis::open(Source::empty().with_text(text)).unwrap()
    }

    #[cfg(feature = "sqlite")]
    #[tokio::test]
    async fn sessions_open_their_file_at_first_use_and_are_shared() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let jarvis = open(&format!("[jarvis]\nstate_dir = {state:?}\n[session]\nttl = \"7m\"\n"));
        assert!(!state.exists());
        let made = jarvis.sessions().await.unwrap().create(NewSession::new()).await.unwrap();
        assert_eq!(made.ttl.as_secs(), 420);
        assert!(state.join("jarvis.db").exists());
        assert!(jarvis.sessions().await.unwrap().load(&made.id).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn the_cache_is_in_memory_and_follows_its_section() {
        let jarvis = open("[cache]\nmax_value_bytes = 3\n");
        let cache = jarvis.cache().await.unwrap();
        assert!(cache.set("k", CacheValue::from("abc"), SetOptions::new()).await.unwrap());
        let over = cache.set("k", CacheValue::from("abcd"), SetOptions::new()).await;
        assert_eq!(over.unwrap_err().kind(), ErrorKind::TooLarge);
        assert!(jarvis.cache().await.unwrap().exists("k").await.unwrap());
        jarvis.close().await.unwrap();
    }

    #[tokio::test]
    async fn ones_own_stores_and_schemes_are_used() {
        let clock: base::clock::SharedClock = Arc::new(ManualClock::new());
        let own = Arc::new(MemorySessions::new(SessionPolicy::new(), clock.clone()).unwrap());
        let made = own.create(NewSession::new()).await.unwrap();
        let mut registry = Registry::with_defaults();
        registry.cache("own", |url, policy, context| {
            assert_eq!((url, policy.namespace.as_str()), ("own:place", "n"));
            Ok(Arc::new(MemoryCache::new(CachePolicy::new("own"), context.clock.clone())?))
        });
        let text = "[store]\ncache = \"own:place\"\n[cache]\nnamespace = \"n\"\n";
        let builder = Jarvis::builder().with_registry(registry).with_sessions(own);
        let jarvis = builder.with_source(Source::empty().with_text(text)).open().unwrap();
        assert!(jarvis.sessions().await.unwrap().load(&made.id).await.unwrap().is_some());
        assert!(!jarvis.cache().await.unwrap().exists("k").await.unwrap());
    }

    #[test]
    fn a_scheme_that_is_not_there_is_told_at_its_key() {
        for (text, hint) in [
            (
                "[store]\nsession = \"redsi://h\"\n",
                "inline:2: store.session: unknown session store \"redsi\"",
            ),
            ("[store]\ncache = \"sqlite:\"\n", "inline:2: store.cache: unknown cache \"sqlite\""),
            ("[store]\nbus = \"here\"\n", "inline:2: store.bus: a URL is expected"),
            ("[store]\nsesion = \"memory:\"\n", "did you mean \"session\"?"),
            ("[session]\nttl = \"0s\"\n", "inline:2: session.ttl: ttl must"),
            ("[cache]\nnamespace = \"a b\"\n", "inline:2: cache.namespace: namespace"),
            ("[cache]\nnaer = true\n", "did you mean \"near\"?"),
            (
                "[session]\nprefix = \"a b\"\n",
                "inline:2: session.prefix: \"a b\" is not a valid key prefix",
            ),
            (
                "[cache]\nprefix = \"{a}\"\n",
                "inline:2: cache.prefix: \"{a}\" is not a valid key prefix",
            ),
            ("[bus]\nprefix = \"\"\n", "inline:2: bus.prefix: \"\" is not a valid key prefix"),
            ("[bus]\nhistory = 0\n", "inline:2: bus.history: history must be"),
            ("[bus]\ninstance = \"a\"\n", "bus.instance"),
        ] {
            let error = Jarvis::open(Source::empty().with_text(text)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
            assert!(error.message().contains(hint), "{error}");
        }
        let near = "[cache]\nnear = true\n";
        let config = Config::from_toml(near).unwrap();
        let clock: base::clock::SharedClock = Arc::new(ManualClock::new());
        let (wiring, report) = Registry::with_defaults().wire(&config, &clock);
        assert!(wiring.is_some() && report.warnings().count() == 1, "{report}");
    }

    #[cfg(feature = "metrics")]
    #[tokio::test]
    async fn what_was_used_is_in_the_metrics() {
        let jarvis = open("[store]\nsession = \"memory:\"\n");
        let none = jarvis.metrics().await.unwrap();
        assert!(!none.contains("session_calls") && !none.contains("cache_hits"), "{none}");
        jarvis.sessions().await.unwrap().create(NewSession::new()).await.unwrap();
        jarvis.cache().await.unwrap().get("k").await.unwrap();
        let text = jarvis.metrics().await.unwrap();
        for line in [
            "jarvis_session_calls_total{call=\"create\",outcome=\"done\"} 1",
            "jarvis_cache_misses_total 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
