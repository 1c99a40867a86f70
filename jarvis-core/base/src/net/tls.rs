//! One TLS policy for all rooms: one provider (ring), named, never the process's default; and what a
//! certificate says about the days to come.
//!
//! For probes, the handshake itself proves that the other side holds the key of the certificate it shows. Its
//! chain, name and dates are checked right after, before a byte of a request is sent: that way an
//! expired certificate still tells since when, and one configuration serves every target.
//! Sessions are never resumed, because a resumed session shows an old certificate.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio_rustls::TlsConnector;

use super::address::{Endpoint, Host};
use super::connect::Socket;
use super::timing::{Meter, ProbeError, Stage, Step};
use crate::clock::WallTime;
use crate::vocabulary::{FailureKind, Verdict};
use crate::{Error, ErrorKind, Result};

const DAY: i64 = 24 * 3_600;

/// Whom to trust, who we are, and when a certificate's end is near.
#[derive(Debug, Clone)]
pub struct TlsPolicy {
    /// The certificates (PEM) to trust, instead of the machine's.
    pub ca_file: Option<PathBuf>,
    /// Trust any certificate.
    pub insecure: bool,
    /// The name that the certificate must have, instead of the host's.
    pub server_name: Option<String>,
    /// [`Verdict::Warn`] when a certificate of the chain ends within this.
    pub warn_before: Duration,
    /// [`Verdict::Fail`] when a certificate of the chain ends within this.
    pub fail_before: Duration,
}

#[derive(Debug, Clone)]
enum Trust {
    Anybody,
    System,
    File(Arc<dyn ServerCertVerifier>),
}

/// How to speak TLS with one target.
#[derive(Debug, Clone)]
pub struct TlsClient {
    trust: Trust,
    name: ServerName<'static>,
    warn_before: Duration,
    fail_before: Duration,
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
    /// Reads `ca_file`; touches no network.
    pub fn new(policy: &TlsPolicy, endpoint: &Endpoint) -> Result<Self> {
        let trust = match (&policy.ca_file, policy.insecure) {
            (_, true) => Trust::Anybody,
            (Some(path), false) => Trust::File(read_roots(path)?),
            (None, false) => Trust::System,
        };
        Ok(Self {
            trust,
            name: server_name(policy.server_name.as_deref(), endpoint)?,
            warn_before: policy.warn_before,
            fail_before: policy.fail_before,
        })
    }

    /// The same towards another host, as after a redirect.
    #[cfg(feature = "http")]
    pub fn renamed(&self, before: &Endpoint, now: &Endpoint) -> Result<Self> {
        let mut client = self.clone();
        if before != now {
            client.name = server_name(None, now)?;
        }
        Ok(client)
    }

    /// The handshake, and then the check of what was shown. `inside` is the protocol that ALPN
    /// names, where one is to be named.
    pub async fn handshake(
        &self,
        socket: Socket,
        inside: Option<&'static [u8]>,
        meter: &mut Meter,
    ) -> Step<(Socket, Validity)> {
        meter.stage = Stage::Tls;
        let began = meter.now();
        let connector = TlsConnector::from(client_config(inside)?);
        let stream = connector.connect(self.name.clone(), socket).await.map_err(handshake_error)?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let validity = self.check(chain, meter.clock().wall())?;
        meter.phases.tls = Some(meter.since(began));
        Ok((Socket::Tls(Box::new(stream)), validity))
    }

    fn check(&self, chain: &[CertificateDer<'_>], now: WallTime) -> Step<Validity> {
        let Some((leaf, others)) = chain.split_first() else {
            return Err(ProbeError::failed(FailureKind::Tls, "the server showed no certificate"));
        };
        let validity = self.validity(chain, now)?;
        let roots;
        let verifier = match &self.trust {
            Trust::Anybody => return Ok(validity),
            Trust::File(verifier) => verifier,
            Trust::System => {
                roots = system_roots()?;
                &roots
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
        let verdict = match (within(self.fail_before), &self.trust) {
            (true, Trust::System | Trust::File(_)) => Verdict::Fail,
            (true, Trust::Anybody) => Verdict::Warn,
            (false, _) if within(self.warn_before) => Verdict::Warn,
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
                "the certificate is self-signed; name it as tls.ca_file to trust it".to_owned()
            }
            Bad::UnknownIssuer => {
                "the certificate's issuer is not trusted; name its certificate as tls.ca_file"
                    .to_owned()
            }
            other => format!("the certificate was refused: {other}"),
        }
    }
}

impl Validity {
    /// When it ended, for a message.
    pub fn ended(&self) -> String {
        format!("the certificate expired {} days ago, on {}", -self.days_left, self.ends)
    }
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(ring::default_provider())))
}

/// One configuration for all targets. HTTP is the only protocol that has a name.
pub fn client_config(inside: Option<&'static [u8]>) -> Result<Arc<ClientConfig>> {
    static NAMED: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    static UNNAMED: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let kept = if inside.is_some() { &NAMED } else { &UNNAMED };
    if let Some(config) = kept.get() {
        return Ok(Arc::clone(config));
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| {
            Error::new(ErrorKind::Internal, "TLS could not be set up").with_source(error)
        })?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Later(provider())))
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = inside.map(<[u8]>::to_vec).into_iter().collect();
    Ok(Arc::clone(kept.get_or_init(|| Arc::new(config))))
}

/// Checks the signatures of the handshake; the chain is [`TlsClient::check`]ed right after it.
#[derive(Debug)]
struct Later(Arc<CryptoProvider>);

impl ServerCertVerifier for Later {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The machine's certificates, read at the first TLS probe of the process.
fn system_roots() -> Result<Arc<dyn ServerCertVerifier>> {
    static ROOTS: OnceLock<Arc<dyn ServerCertVerifier>> = OnceLock::new();
    if let Some(roots) = ROOTS.get() {
        return Ok(Arc::clone(roots));
    }
    let verifier = rustls_platform_verifier::Verifier::new(provider()).map_err(|error| {
        Error::new(
            ErrorKind::ConfigInvalid,
            "this machine has no certificates to trust; install ca-certificates, or set tls.ca_file",
        )
        .with_source(error)
    })?;
    Ok(Arc::clone(ROOTS.get_or_init(|| Arc::new(verifier))))
}

fn read_roots(path: &Path) -> Result<Arc<dyn ServerCertVerifier>> {
    let wrong = |what: &str| {
        let message = format!("tls.ca_file {what}; name a file with certificates in PEM form");
        Error::new(ErrorKind::ConfigInvalid, message).with_context("path", path.display())
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong("can't be read").with_source(error))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots
            .add(certificate)
            .map_err(|error| wrong("holds no usable certificate").with_source(error))?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| wrong("holds no certificate").with_source(error))?;
    Ok(verifier)
}

fn server_name(wanted: Option<&str>, endpoint: &Endpoint) -> Result<ServerName<'static>> {
    let text = match (wanted, endpoint) {
        (Some(name), _) => name.to_owned(),
        (None, Endpoint::Tcp(Host::Ip(ip), _)) => return Ok(ServerName::from(*ip)),
        (None, Endpoint::Tcp(Host::Localhost(name) | Host::Name(name), _)) => {
            name.trim_end_matches('.').to_owned()
        }
        (None, Endpoint::Unix(_)) => "localhost".to_owned(),
    };
    ServerName::try_from(text.clone()).map_err(|_| {
        Error::new(
            ErrorKind::ConfigInvalid,
            format!("{text:?} is no name that a certificate can have; set tls.server_name"),
        )
    })
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
