//! [`Facts`]: what a factory knows about what it made.

use std::borrow::Cow;
use std::sync::Arc;

use super::Leadership;
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

/// A TCP port of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Facts {
    /// Nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// It connects to the host of this URL or `host:port`, which the key names. What names no host
    /// and port (a Unix socket) is left out.
    #[must_use]
    pub fn with_endpoint(mut self, key: impl Into<Cow<'static, str>>, address: &str) -> Self {
        if let Some(what) = endpoint(address) {
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

    /// The host that it talks to first.
    pub(crate) fn host(&self) -> Option<&str> {
        self.endpoints.first().map(|endpoint| endpoint.what.host.as_str())
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

/// Host and port of a URL or of `host:port`; nothing for what is no TCP address.
fn endpoint(text: &str) -> Option<Endpoint> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let usual = match scheme.split('+').next().unwrap_or_default() {
        "http" => Some(80),
        "https" => Some(443),
        "redis" | "rediss" => Some(6379),
        "postgres" | "postgresql" => Some(5432),
        _ => None,
    };
    let authority = rest.split(['/', '?', '#', ',']).next().unwrap_or_default();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = port.map_or(usual, |port| port.parse().ok())?;
    (!host.is_empty()).then(|| Endpoint { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_and_an_address_name_an_endpoint() {
        let of = |text: &str| endpoint(text).map(|it| format!("{} {}", it.host, it.port));
        assert_eq!(of("https://user:pw@example.org/hook").as_deref(), Some("example.org 443"));
        assert_eq!(of("http://[::1]:8080/x").as_deref(), Some("::1 8080"));
        assert_eq!(of("127.0.0.1:5432").as_deref(), Some("127.0.0.1 5432"));
        assert_eq!(of("redis+sentinel://a:1,b:2/m/0").as_deref(), Some("a 1"));
        assert_eq!(of("rediss://cache").as_deref(), Some("cache 6379"));
        assert_eq!(of("unix:///run/redis.sock"), None);
        assert_eq!(of("host-without-port"), None);
    }
}
