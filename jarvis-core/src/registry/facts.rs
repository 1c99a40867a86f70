//! [`Facts`]: what a factory knows about what it made.

use std::borrow::Cow;
use std::sync::Arc;

use super::Leadership;
use base::net::address::Endpoint;
use supervision::alert::AlertSink;
use supervision::health::HealthProbe;
use supervision::lease::{Lease, RestartLedger};
use supervision::restart::ServiceRestarter;

/// What a factory made, and what it knows about it.
///
/// A factory may return the object alone, as an `Arc`: then nothing is known about it.
#[derive(Debug, Clone)]
pub struct Made<T> {
    pub(crate) object: T,
    pub(crate) facts: Facts,
}

/// What a factory knows about what it made. Everything is optional; what is said is used by
/// `config check --deep`, by the suspicion that this machine itself is cut off, and for advice.
///
/// ```
/// use std::sync::Arc;
/// use jarvis_core::health::memory::MemoryProbe;
/// use jarvis_core::registry::{Facts, Made, Registry};
///
/// let mut registry = Registry::with_defaults();
/// registry.probe("smtp", |section, _context| {
///     let keys: std::collections::BTreeMap<String, String> = section.parse()?;
///     let server = keys.get("server").map_or("", String::as_str);
///     let facts = Facts::new().with_endpoint("server", server);
///     Ok(Made::new(Arc::new(MemoryProbe::passing()), facts))
/// });
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub(crate) endpoints: Vec<Named<Endpoint>>,
    pub(crate) program: Option<Named<String>>,
    pub(crate) needs_loop: bool,
    pub(crate) advice: Option<Cow<'static, str>>,
}

/// Something that a key of the configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named<T> {
    pub(crate) key: Cow<'static, str>,
    pub(crate) what: T,
}

impl Facts {
    /// Nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// It connects to what this URL, `host:port` or `unix:/path` names, which the key holds. A text
    /// that names no host and port is left out.
    #[must_use]
    pub fn with_endpoint(mut self, key: impl Into<Cow<'static, str>>, address: &str) -> Self {
        if let Some(what) = Endpoint::of_url(address) {
            self.endpoints.push(Named { key: key.into(), what });
        }
        self
    }

    /// It runs this program, which the key names.
    #[must_use]
    pub fn with_program(
        mut self,
        key: impl Into<Cow<'static, str>>,
        program: impl Into<String>,
    ) -> Self {
        self.program = Some(Named { key: key.into(), what: program.into() });
        self
    }

    /// It acts only within a running loop, which owns what it acts on.
    #[must_use]
    pub fn with_running_loop(mut self) -> Self {
        self.needs_loop = true;
        self
    }

    /// How to make the platform leave restarts to JARVIS, where it restarts by itself too. A
    /// sentence without its final stop.
    #[must_use]
    pub fn with_advice(mut self, advice: impl Into<Cow<'static, str>>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// The host that it talks to first. Everything on this machine is one host.
    pub(crate) fn host(&self) -> Option<String> {
        self.endpoints.first().map(|endpoint| endpoint.what.normalized_host())
    }
}

impl<T> Made<T> {
    /// The object and what is known about it.
    pub fn new<O>(object: O, facts: Facts) -> Self
    where
        O: Into<Self>,
    {
        Self { facts, ..object.into() }
    }
}

macro_rules! made_of_an_arc {
    ($($object:ident),+) => {$(
        impl From<Arc<dyn $object>> for Made<Arc<dyn $object>> {
            fn from(object: Arc<dyn $object>) -> Self {
                Self { object, facts: Facts::new() }
            }
        }

        impl<T: $object> From<Arc<T>> for Made<Arc<dyn $object>> {
            fn from(object: Arc<T>) -> Self {
                Self { object, facts: Facts::new() }
            }
        }
    )+};
}

made_of_an_arc!(HealthProbe, ServiceRestarter, AlertSink);

impl From<Leadership> for Made<Leadership> {
    fn from(object: Leadership) -> Self {
        Self { object, facts: Facts::new() }
    }
}

impl<L: Lease, R: RestartLedger> From<(Arc<L>, Arc<R>)> for Made<Leadership> {
    fn from((lease, ledger): (Arc<L>, Arc<R>)) -> Self {
        Self { object: (lease, ledger), facts: Facts::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_and_an_address_name_an_endpoint_and_its_host() {
        let of = |text: &str| {
            let facts = Facts::new().with_endpoint("url", text);
            let endpoint = facts.endpoints.first()?;
            Some(format!("{} on {}", endpoint.what, facts.host()?))
        };
        for (text, expected) in [
            ("https://user:pw@example.org/hook", "example.org:443 on example.org"),
            ("http://[::1]:8080/x", "[::1]:8080 on localhost"),
            ("127.0.0.1:5432", "127.0.0.1:5432 on localhost"),
            ("redis+sentinel://a:1,b:2/m/0", "a:1 on a"),
            ("rediss://cache", "cache:6379 on cache"),
            ("unix:/run/redis.sock", "unix:/run/redis.sock on localhost"),
        ] {
            assert_eq!(of(text).as_deref(), Some(expected));
        }
        assert_eq!(of("host-without-port"), None);
    }
}
