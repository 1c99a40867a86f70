//! `tls = { … }` of a probe, and what a certificate's end means for its verdict.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Observation;
use base::Result;
use base::net::address::Endpoint;
use base::net::tls::{ExpiryLimits, PemFile, TlsClient, TlsPolicy, Trust, Validity};
use base::units;
use base::vocabulary::{ConfigPath, FailureKind, Verdict};

/// `tls = { … }` of a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct TlsOptions {
    /// Degraded when a certificate of the chain ends within this. Default 21 days.
    #[serde(with = "units::duration")]
    pub warn_before: Duration,
    /// Down when it ends within this. Default 3 days.
    #[serde(with = "units::duration")]
    pub fail_before: Duration,
    /// The certificates (PEM) to trust, instead of the machine's. Default: the machine's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<ConfigPath>,
    /// Trust any certificate. Its end is still looked at, and then only degrades. Default false.
    pub insecure: bool,
    /// The name that the certificate must have. Default: the host of the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self {
            warn_before: Duration::from_hours(21 * 24),
            fail_before: Duration::from_hours(3 * 24),
            ca_file: None,
            insecure: false,
            server_name: None,
        }
    }
}

impl TlsOptions {
    /// Trusts the certificates in this file instead of the machine's.
    #[must_use]
    pub fn with_ca_file(mut self, path: impl Into<ConfigPath>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// Trusts any certificate.
    #[must_use]
    pub fn with_insecure(mut self) -> Self {
        self.insecure = true;
        self
    }

    /// Wants this name in the certificate.
    #[must_use]
    pub fn with_server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Reads `ca_file`; connects to nothing.
    pub(crate) fn client(&self, endpoint: &Endpoint) -> Result<TlsClient> {
        let trust = match (&self.ca_file, self.insecure) {
            (_, true) => Trust::Anybody,
            (Some(path), false) => Trust::Authorities(PemFile::new("tls.ca_file", &**path)),
            (None, false) => Trust::Machine,
        };
        let limits = ExpiryLimits { warn_before: self.warn_before, fail_before: self.fail_before };
        let policy = TlsPolicy { trust, client: None };
        TlsClient::new(&policy, self.server_name.as_deref(), limits, endpoint)
    }
}

/// Adds the days to what was observed, and lowers a good verdict when they run out.
pub(crate) fn judge(validity: &Validity, observation: Observation) -> Observation {
    let worse = match (observation.verdict, validity.verdict) {
        (Verdict::Pass | Verdict::Warn, Verdict::Fail) => Some(Observation::fail as fn(_, _) -> _),
        (Verdict::Pass, Verdict::Warn) => Some(Observation::warn as fn(_, _) -> _),
        _ => None,
    };
    let observation = match worse {
        None => observation,
        Some(make) => {
            let message = if validity.days_left < 0 {
                validity.ended()
            } else {
                format!("the certificate ends in {} days, on {}", validity.days_left, validity.ends)
            };
            let mut lowered: Observation = make(FailureKind::Tls, message);
            lowered.facts = observation.facts;
            lowered
        }
    };
    observation.with_fact("tls_days_left", validity.days_left)
}
