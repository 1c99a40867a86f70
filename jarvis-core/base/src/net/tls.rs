//! One TLS policy for every room: whom to trust, and who we are.
//!
//! The cryptography is ring's, named explicitly: the default provider of the process belongs to
//! the program that embeds this library. From a [`TlsPolicy`] come the [`TlsClient`] of a probe,
//! the [`TlsConnector`] of a Docker Engine and the [`ClientConfig`] of the HTTP client.

mod client;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WantsClientCert, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme,
};

use super::address::{Endpoint, Host};
use super::stream::Socket;
use crate::{Error, ErrorKind, Result};

pub use client::{ExpiryLimits, TlsClient, Validity};

/// A PEM file, and the configuration key that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PemFile {
    /// The key, for messages.
    pub key: &'static str,
    /// The file.
    pub path: PathBuf,
}

impl PemFile {
    /// The file that this key of the configuration names.
    #[must_use]
    pub fn new(key: &'static str, path: impl Into<PathBuf>) -> Self {
        Self { key, path: path.into() }
    }

    fn wrong(&self, what: &str) -> Error {
        Error::new(ErrorKind::ConfigInvalid, format!("{} {what}", self.key))
            .with_context("path", self.path.display())
    }

    fn unreadable(&self, error: pem::Error) -> Error {
        self.wrong("can't be read; name a file in PEM form").with_source(error)
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>> {
        let certificates: Vec<_> = CertificateDer::pem_file_iter(&self.path)
            .and_then(Iterator::collect)
            .map_err(|error| self.unreadable(error))?;
        if certificates.is_empty() {
            return Err(
                self.wrong("holds no certificate; name a file with certificates in PEM form")
            );
        }
        Ok(certificates)
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_file(&self.path).map_err(|error| self.unreadable(error))
    }
}

/// Which certificates of servers to trust.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trust {
    /// Those of the authorities that this machine trusts.
    #[default]
    Machine,
    /// Those of the authorities in this file, and no others.
    Authorities(PemFile),
    /// Any.
    Anybody,
}

/// The certificate that we show to a server, and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, followed by those that lead to its authority.
    pub certificate: PemFile,
    /// Its key.
    pub key: PemFile,
}

/// Whom to trust, and who we are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsPolicy {
    /// Which servers to trust.
    pub trust: Trust,
    /// Our own certificate, for servers that ask for one.
    pub client: Option<ClientCertificate>,
}

impl TlsPolicy {
    /// Trusts the authorities in this file, or those of the machine where there is none.
    #[must_use]
    pub fn trusting(authorities: Option<PemFile>) -> Self {
        Self { trust: authorities.map_or(Trust::Machine, Trust::Authorities), client: None }
    }

    /// Shows this certificate to servers that ask for one.
    #[must_use]
    pub fn with_client(mut self, client: Option<ClientCertificate>) -> Self {
        self.client = client;
        self
    }

    /// A client configuration that checks the server's certificate during the handshake.
    ///
    /// The machine's authorities are read at the first handshake of the process, so that a machine
    /// without any can still use plain text.
    ///
    /// # Errors
    /// `ConfigInvalid` when a file of the policy can't be used.
    pub fn client_config(&self) -> Result<ClientConfig> {
        let builder = match &self.trust {
            Trust::Machine => custom(ChainCheck::Machine)?,
            Trust::Anybody => custom(ChainCheck::Skipped)?,
            Trust::Authorities(file) => builder()?.with_webpki_verifier(verifier(file)?),
        };
        self.finish(builder)
    }

    /// Makes TLS connections to one endpoint, whose certificate is checked during the handshake.
    ///
    /// # Errors
    /// `ConfigInvalid` when a file of the policy can't be used, this machine has no authorities to
    /// trust, or the endpoint has no name that a certificate can have.
    pub fn connector(&self, endpoint: &Endpoint) -> Result<TlsConnector> {
        if self.trust == Trust::Machine {
            machine_verifier()?;
        }
        let connector = Arc::new(self.client_config()?).into();
        Ok(TlsConnector { connector, name: server_name(None, endpoint)? })
    }

    fn finish(
        &self,
        builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    ) -> Result<ClientConfig> {
        let Some(client) = &self.client else { return Ok(builder.with_no_client_auth()) };
        let (chain, key) = (client.certificate.certificates()?, client.key.private_key()?);
        builder.with_client_auth_cert(chain, key).map_err(|error| {
            let what = format!("and {} can't be used together", client.key.key);
            client.certificate.wrong(&what).with_source(error)
        })
    }
}

/// Makes TLS connections to one endpoint.
#[derive(Clone)]
pub struct TlsConnector {
    connector: tokio_rustls::TlsConnector,
    name: ServerName<'static>,
}

impl TlsConnector {
    /// The handshake, over a connection.
    ///
    /// # Errors
    /// Whatever ended it.
    pub async fn connect(&self, socket: Socket) -> std::io::Result<Socket> {
        let stream = self.connector.connect(self.name.clone(), socket).await?;
        Ok(Box::new(stream))
    }
}

impl std::fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsConnector").field("name", &self.name).finish_non_exhaustive()
    }
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(ring::default_provider())))
}

fn builder() -> Result<ConfigBuilder<ClientConfig, rustls::WantsVerifier>> {
    ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(
        |error| Error::new(ErrorKind::Internal, "TLS could not be set up").with_source(error),
    )
}

fn custom(check: ChainCheck) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>> {
    Ok(builder()?.dangerous().with_custom_certificate_verifier(Arc::new(check)))
}

/// Verifies against the authorities of a file.
fn verifier(file: &PemFile) -> Result<Arc<WebPkiServerVerifier>> {
    let mut roots = RootCertStore::empty();
    for certificate in file.certificates()? {
        roots.add(certificate).map_err(|error| {
            file.wrong("holds a certificate that can't be used").with_source(error)
        })?;
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| file.wrong("holds no certificate that can be used").with_source(error))
}

/// Verifies against the authorities of this machine, which are read once for the process.
fn machine_verifier() -> Result<Arc<dyn ServerCertVerifier>> {
    static VERIFIER: OnceLock<Arc<dyn ServerCertVerifier>> = OnceLock::new();
    if let Some(verifier) = VERIFIER.get() {
        return Ok(Arc::clone(verifier));
    }
    let verifier = rustls_platform_verifier::Verifier::new(provider()).map_err(|error| {
        Error::new(
            ErrorKind::ConfigInvalid,
            "this machine has no certificates to trust; install ca-certificates, or set tls.ca_file",
        )
        .with_source(error)
    })?;
    Ok(Arc::clone(VERIFIER.get_or_init(|| Arc::new(verifier))))
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
            format!("{text:?} is not a name that a certificate can have; set tls.server_name"),
        )
    })
}

/// Checks the signatures of a handshake, which prove that the server holds the key of the
/// certificate it shows, and its chain as said.
#[derive(Debug, Clone, Copy)]
enum ChainCheck {
    /// Not here: the caller checks it right after, or trusts anybody.
    Skipped,
    /// Against the machine's authorities.
    Machine,
}

impl ServerCertVerifier for ChainCheck {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self {
            Self::Skipped => Ok(ServerCertVerified::assertion()),
            Self::Machine => machine_verifier()
                .map_err(|error| rustls::Error::Other(OtherError(Arc::new(error))))?
                .verify_server_cert(leaf, others, name, ocsp, now),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
