//! [`DnsProbe`]: does a name resolve here, and to where it should?

use std::net::IpAddr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::Resolver;
use crate::health::{HealthProbe, Observation, ProbeContext, meter};
use base::net::address::Host;
use base::net::connect::resolve;
use base::net::timing::{Meter, ProbeError, Stage, Step};
use base::vocabulary::FailureKind;
use base::{Error, ErrorKind, Result};

/// How many addresses are told.
const MOST_TOLD: usize = 8;

/// `type = "dns"`.
///
/// ```toml
/// type = "dns"
/// name = "db.internal"
/// expect = "10.0.0.7"
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct DnsConfig {
    /// The name to resolve, the way this machine does (hosts file, nsswitch, resolv.conf).
    pub name: String,
    /// An address that must be among its addresses. Default: any will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<IpAddr>,
}

impl DnsConfig {
    /// Any address will do.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), expect: None }
    }

    /// Wants this address among the name's.
    #[must_use]
    pub const fn with_expect(mut self, address: IpAddr) -> Self {
        self.expect = Some(address);
        self
    }
}

/// Resolves one name, afresh each time.
///
/// No such name is `dns`, other addresses than expected are `body`, no answer in time is
/// `timeout`. A lookup can't be called off: one that hangs goes on alone on a thread of the
/// [`Resolver`], and the next probe of the same name joins it.
#[derive(Debug)]
pub struct DnsProbe {
    name: Box<str>,
    expect: Option<IpAddr>,
    resolver: Resolver,
}

impl DnsProbe {
    /// Checks the configuration; resolves nothing.
    ///
    /// # Errors
    /// `ConfigInvalid` for an address, or for what can't be a name.
    pub fn new(config: &DnsConfig) -> Result<Self> {
        let name = match Host::parse(&config.name) {
            Some(Host::Name(name) | Host::Localhost(name)) => name,
            found => {
                let what =
                    if found.is_some() { "is an address already" } else { "is not a valid name" };
                return Err(Error::new(
                    ErrorKind::ConfigInvalid,
                    format!(
                        "{:?} {what}; write a name to resolve, such as \"db.internal\"",
                        config.name
                    ),
                ));
            }
        };
        Ok(Self { name, expect: config.expect, resolver: Resolver::system() })
    }

    /// Resolves with this resolver instead of the machine's.
    #[must_use]
    pub fn with_resolver(mut self, resolver: Resolver) -> Self {
        self.resolver = resolver;
        self
    }

    async fn run(&self, meter: &mut Meter) -> Step<Observation> {
        let addresses = resolve(&self.name, &self.resolver, meter).await?;
        let told: Vec<String> = addresses.iter().take(MOST_TOLD).map(IpAddr::to_string).collect();
        let to = format!("{} resolves to {}", self.name, told.join(", "));
        match self.expect {
            Some(wanted) if !addresses.contains(&wanted) => {
                Err(ProbeError::failed(FailureKind::Body, format!("{to}, not to {wanted}")))
            }
            _ => Ok(Observation::pass(to).with_fact("addresses", told)),
        }
    }
}

#[async_trait]
impl HealthProbe for DnsProbe {
    async fn probe(&self, context: ProbeContext) -> Result<Observation> {
        let mut meter = meter::start(&context);
        let outcome = match context.until_deadline(self.run(&mut meter)).await {
            // For the other probes a name is on the way; here its answer is what was asked for.
            None if meter.stage == Stage::Dns => {
                let message = format!("{}: the lookup was not answered in time", self.name);
                Some(Err(ProbeError::failed(FailureKind::Timeout, message)))
            }
            outcome => outcome,
        };
        meter::finish(&meter, outcome, &self.name)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::Lookup;
    use super::*;
    use base::clock::SystemClock;
    use base::vocabulary::Verdict;

    #[derive(Debug)]
    struct Zone;

    impl Lookup for Zone {
        fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
            match host {
                "two.test" => Ok(vec![[10, 0, 0, 7].into(), [10, 0, 0, 8].into()]),
                "empty.test" => Ok(Vec::new()),
                _ => Err(io::Error::other("no such name")),
            }
        }
    }

    async fn ask(config: &DnsConfig) -> Observation {
        let probe = DnsProbe::new(config).unwrap().with_resolver(Resolver::new(Arc::new(Zone), 1));
        let clock = Arc::new(SystemClock::new());
        probe.probe(ProbeContext::new(clock, Duration::from_secs(30))).await.unwrap()
    }

    #[tokio::test]
    async fn a_name_passes_with_its_addresses_and_fails_without_the_one_that_is_expected() {
        let seen = ask(&DnsConfig::new("two.test")).await;
        assert_eq!((seen.verdict, seen.kind), (Verdict::Pass, None));
        assert_eq!(seen.message, "two.test resolves to 10.0.0.7, 10.0.0.8");
        assert!(seen.phases.dns.is_some());
        let second = DnsConfig::new("two.test").with_expect([10, 0, 0, 8].into());
        assert_eq!(ask(&second).await.verdict, Verdict::Pass);
        let other = DnsConfig::new("two.test").with_expect([10, 0, 0, 9].into());
        let seen = ask(&other).await;
        assert_eq!((seen.verdict, seen.kind), (Verdict::Fail, Some(FailureKind::Body)));
        assert!(seen.message.ends_with("10.0.0.8, not to 10.0.0.9"), "{}", seen.message);
        for name in ["empty.test", "missing.test"] {
            assert_eq!(ask(&DnsConfig::new(name)).await.kind, Some(FailureKind::Dns), "{name}");
        }
    }

    #[test]
    fn the_configuration_is_read_and_a_wrong_one_refused() {
        let config: DnsConfig = toml::from_str("name = \"db.test\"\nexpect = \"::1\"").unwrap();
        assert_eq!(config.expect, Some("::1".parse().unwrap()));
        assert!(DnsProbe::new(&config).is_ok());
        for name in ["", "10.0.0.1", "[::1]", "a b"] {
            let error = DnsProbe::new(&DnsConfig::new(name)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConfigInvalid, "{name}");
        }
        assert!(toml::from_str::<DnsConfig>("nam = \"db.test\"").is_err());
        assert!(toml::from_str::<DnsConfig>("name = \"db.test\"\nexpect = \"here\"").is_err());
    }
}
