//! TLS of the probes: the handshake first, and then the check of the certificates.
//!
//! The handshake itself proves that the other side holds the key of the certificate it shows. Its
//! chain, name and dates are checked right after, before a byte of a request is sent: that way an
//! expired certificate still tells when it expired, and one configuration serves every target.
//! Sessions are never resumed, because a resumed session shows an old certificate.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig};

use super::{ChainCheck, TlsPolicy, Trust, custom, machine_verifier, verifier};
use crate::Result;
use crate::clock::WallTime;
use crate::net::address::Endpoint;
use crate::net::stream::Socket;
use crate::net::timing::{Meter, ProbeError, Stage, Step};
use crate::vocabulary::{FailureKind, Verdict};

const DAY: i64 = 24 * 3_600;

/// When the end of a certificate is near.
#[derive(Debug, Clone, Copy)]
pub struct ExpiryLimits {
    /// [`Verdict::Warn`] when a certificate of the chain ends within this.
    pub warn_before: Duration,
    /// [`Verdict::Fail`] when a certificate of the chain ends within this.
    pub fail_before: Duration,
}

#[derive(Debug, Clone)]
enum Chain {
    Unchecked,
    Machine,
    Authorities(Arc<dyn ServerCertVerifier>),
}

/// How a probe speaks TLS with one target.
#[derive(Debug, Clone)]
pub struct TlsClient {
    chain: Chain,
    name: ServerName<'static>,
    limits: ExpiryLimits,
    /// With a client certificate; without one, all targets share a configuration.
    pub(super) own: Option<Arc<ClientConfig>>,
}

/// What the certificates of a connection say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validity {
    /// Whole days until the first certificate of the chain ends; negative when it has.
    pub days_left: i64,
    /// When the first certificate of the chain ends.
    pub ends: WallTime,
    /// Whether that end is near, by the limits of the policy.
    pub verdict: Verdict,
}

impl TlsClient {
    /// Reads the files of the policy; connects to nothing. The certificate must be for
    /// `server_name`, or else for the host of the endpoint.
    ///
    /// # Errors
    /// `ConfigInvalid` for a file that can't be used, or a name that no certificate can have.
    pub fn new(
        policy: &TlsPolicy,
        server_name: Option<&str>,
        limits: ExpiryLimits,
        endpoint: &Endpoint,
    ) -> Result<Self> {
        let chain = match &policy.trust {
            Trust::Anybody => Chain::Unchecked,
            Trust::Machine => Chain::Machine,
            Trust::Authorities(file) => Chain::Authorities(verifier(file)?),
        };
        let own = policy.client.is_some().then(|| deferred(policy, None).map(Arc::new));
        let name = super::server_name(server_name, endpoint)?;
        Ok(Self { chain, name, limits, own: own.transpose()? })
    }

    /// The same towards another endpoint, as after a redirect. Another host does not see our
    /// certificate.
    ///
    /// # Errors
    /// `ConfigInvalid` when the endpoint has no name that a certificate can have.
    #[cfg(feature = "http")]
    pub fn renamed(&self, before: &Endpoint, now: &Endpoint) -> Result<Self> {
        let mut client = self.clone();
        if before != now {
            client.name = super::server_name(None, now)?;
        }
        match (before, now) {
            (Endpoint::Tcp(host, _), Endpoint::Tcp(other, _)) if host == other => {}
            _ => client.own = None,
        }
        Ok(client)
    }

    /// The handshake, and then the check of the certificates. `inside` is the protocol to name by
    /// ALPN, if any.
    pub async fn handshake(
        &self,
        socket: Socket,
        inside: Option<&'static [u8]>,
        meter: &mut Meter,
    ) -> Step<(Socket, Validity)> {
        meter.stage = Stage::Tls;
        let began = meter.now();
        let connector = tokio_rustls::TlsConnector::from(self.config(inside)?);
        let stream = connector.connect(self.name.clone(), socket).await.map_err(handshake_error)?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let validity = self.check(chain, meter.clock().wall())?;
        meter.phases.tls = Some(meter.since(began));
        Ok((Box::new(stream), validity))
    }

    pub(super) fn config(&self, inside: Option<&'static [u8]>) -> Result<Arc<ClientConfig>> {
        match (&self.own, inside) {
            (None, _) => shared_config(inside),
            (Some(own), None) => Ok(Arc::clone(own)),
            (Some(own), Some(protocol)) => {
                let mut config = ClientConfig::clone(own);
                config.alpn_protocols = vec![protocol.to_vec()];
                Ok(Arc::new(config))
            }
        }
    }

    fn check(&self, chain: &[CertificateDer<'_>], now: WallTime) -> Step<Validity> {
        let Some((leaf, others)) = chain.split_first() else {
            return Err(ProbeError::failed(FailureKind::Tls, "the server showed no certificate"));
        };
        let validity = self.validity(chain, now)?;
        let machine;
        let verifier = match &self.chain {
            Chain::Unchecked => return Ok(validity),
            Chain::Authorities(verifier) => verifier,
            Chain::Machine => {
                machine = machine_verifier()?;
                &machine
            }
        };
        let seconds = u64::try_from(now.millis() / 1_000).unwrap_or(0);
        let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        match verifier.verify_server_cert(leaf, others, &self.name, &[], time) {
            Ok(_) => Ok(validity),
            Err(error) => Err(ProbeError::failed(
                FailureKind::Tls,
                self.refusal(&error, leaf, others.is_empty(), &validity),
            )),
        }
    }

    fn validity(&self, chain: &[CertificateDer<'_>], now: WallTime) -> Step<Validity> {
        let mut ends = i64::MAX;
        for certificate in chain {
            let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|_| {
                ProbeError::failed(FailureKind::Tls, "the server's certificate can't be read")
            })?;
            ends = ends.min(parsed.validity().not_after.timestamp());
        }
        let left = ends.saturating_sub(now.millis().div_euclid(1_000));
        let within = |limit: Duration| left < i64::try_from(limit.as_secs()).unwrap_or(i64::MAX);
        let verdict = match (within(self.limits.fail_before), &self.chain) {
            (true, Chain::Machine | Chain::Authorities(_)) => Verdict::Fail,
            (true, Chain::Unchecked) => Verdict::Warn,
            (false, _) if within(self.limits.warn_before) => Verdict::Warn,
            (false, _) => Verdict::Pass,
        };
        let ends = WallTime::from_millis(ends.saturating_mul(1_000));
        Ok(Validity { days_left: left.div_euclid(DAY), ends, verdict })
    }

    fn refusal(
        &self,
        error: &rustls::Error,
        leaf: &CertificateDer<'_>,
        alone: bool,
        validity: &Validity,
    ) -> String {
        use CertificateError as Bad;
        let rustls::Error::InvalidCertificate(bad) = error else {
            return format!("the certificate was refused: {error}");
        };
        match bad {
            Bad::Expired | Bad::ExpiredContext { .. } => validity.ended(),
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                "the certificate is not valid yet; is the clock of one of the machines wrong?"
                    .to_owned()
            }
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                format!("the certificate is not for {}{}", shown(&self.name), names(leaf))
            }
            Bad::UnknownIssuer if alone && is_self_signed(leaf) => {
                "the certificate is self-signed; set tls.ca_file to it to trust it".to_owned()
            }
            Bad::UnknownIssuer => {
                "the issuer of the certificate is not trusted; set tls.ca_file to the issuer's certificate"
                    .to_owned()
            }
            other => format!("the certificate was refused: {other}"),
        }
    }
}

impl Validity {
    /// When it expired, for a message.
    pub fn ended(&self) -> String {
        format!("the certificate expired {} days ago, on {}", -self.days_left, self.ends)
    }
}

/// One configuration for all targets without a client certificate. HTTP is the only protocol
/// here that has a name.
fn shared_config(inside: Option<&'static [u8]>) -> Result<Arc<ClientConfig>> {
    static NAMED: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    static UNNAMED: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let kept = if inside.is_some() { &NAMED } else { &UNNAMED };
    if let Some(config) = kept.get() {
        return Ok(Arc::clone(config));
    }
    let config = Arc::new(deferred(&TlsPolicy::default(), inside)?);
    Ok(Arc::clone(kept.get_or_init(|| config)))
}

/// Leaves the chain to [`TlsClient::check`], and resumes no session.
fn deferred(policy: &TlsPolicy, inside: Option<&'static [u8]>) -> Result<ClientConfig> {
    let mut config = policy.finish(custom(ChainCheck::Skipped)?)?;
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = inside.map(<[u8]>::to_vec).into_iter().collect();
    Ok(config)
}

fn handshake_error(error: std::io::Error) -> ProbeError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidMessage(_)) => {
            ProbeError::failed(FailureKind::Tls, "the server does not speak TLS on this port")
        }
        Some(inner) => {
            ProbeError::failed(FailureKind::Tls, format!("the TLS handshake failed: {inner}"))
        }
        None => ProbeError::io(error, "during the TLS handshake the server"),
    }
}

fn shown<'a>(name: &'a ServerName<'_>) -> std::borrow::Cow<'a, str> {
    name.to_str()
}

fn is_self_signed(leaf: &CertificateDer<'_>) -> bool {
    x509_parser::parse_x509_certificate(leaf)
        .is_ok_and(|(_, parsed)| parsed.subject() == parsed.issuer())
}

/// The first names of a certificate, as `, but for a, b`.
fn names(leaf: &CertificateDer<'_>) -> String {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(leaf) else { return String::new() };
    let Ok(Some(alternatives)) = parsed.subject_alternative_name() else { return String::new() };
    let names: Vec<String> = alternatives
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            x509_parser::extensions::GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .take(3)
        .collect();
    if names.is_empty() { String::new() } else { format!(", but for {}", names.join(", ")) }
}
