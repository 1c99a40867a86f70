//! The bytes between us and a Docker Engine: one fresh connection a request, so that a request
//! never meets a pooled socket of an engine that was restarted, and a connection that fails is
//! known to have carried nothing.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error as DockerError;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustix::net::sockopt;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::host::{Address, DockerTls, Endpoint};
use base::{Error, ErrorKind, Result};

/// How long a silent connection waits before it asks whether the other side is there.
const KEEPALIVE: Duration = Duration::from_secs(20);

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Opens connections to one engine.
pub(super) struct Wire {
    pub(super) endpoint: Endpoint,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Wire {
    /// Reads the certificates; connects nothing.
    pub(super) fn new(endpoint: Endpoint) -> Result<Self> {
        let tls = match (&endpoint.address, &endpoint.tls) {
            (Address::Tcp { host, .. }, Some(files)) => Some(connector(host, files)?),
            _ => None,
        };
        Ok(Self { endpoint, tls })
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let (host, port) = match &self.endpoint.address {
            Address::Unix(path) => return Ok(Box::new(UnixStream::connect(path).await?)),
            Address::Tcp { host, port } => (host, *port),
        };
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        stream.set_nodelay(true)?;
        // An event stream is silent for hours; keep-alive notices an engine that vanished.
        sockopt::set_socket_keepalive(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, KEEPALIVE)?;
        sockopt::set_tcp_keepintvl(&stream, KEEPALIVE)?;
        sockopt::set_tcp_keepcnt(&stream, 3)?;
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some((connector, name)) => Ok(Box::new(connector.connect(name.clone(), stream).await?)),
        }
    }

    fn authority(&self) -> String {
        match &self.endpoint.address {
            Address::Unix(_) => "docker".to_owned(),
            Address::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Address::Tcp { host, port } => format!("{host}:{port}"),
        }
    }

    /// Sends a request. `IOError` means that no connection was made and nothing was applied.
    pub(super) async fn send<B>(
        self: Arc<Self>,
        mut request: Request<B>,
    ) -> Result<Response<Incoming>, DockerError>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let stream = self.connect().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the response's body; its error reaches us through that body.
        tokio::spawn(connection);
        if let Some(path) = request.uri().path_and_query().cloned() {
            *request.uri_mut() = Uri::from(path);
        }
        let host = HeaderValue::from_str(&self.authority())
            .unwrap_or_else(|_| HeaderValue::from_static("docker"));
        request.headers_mut().insert(HOST, host);
        Ok(sender.send_request(request).await?)
    }
}

fn connector(host: &str, files: &DockerTls) -> Result<(TlsConnector, ServerName<'static>)> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| {
        Error::new(ErrorKind::ConfigInvalid, format!("{host:?} is no host name for TLS"))
            .with_source(error)
    })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let broken = |what: &str, error: rustls::Error| {
        Error::new(ErrorKind::ConfigInvalid, format!("the Docker host's {what} can't be used"))
            .with_source(error)
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| broken("TLS versions", error))?;
    let builder = match &files.ca {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| broken("ca", error))?;
            }
            builder.with_root_certificates(roots)
        }
        None => builder
            .with_platform_verifier()
            .map_err(|error| broken("system certificates", error))?,
    };
    let config = match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => {
            let key_der =
                PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, error))?;
            builder
                .with_client_auth_cert(certificates(cert)?, key_der)
                .map_err(|error| broken("cert and key", error))?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => {
            return Err(Error::new(
                ErrorKind::ConfigInvalid,
                "the Docker host's tls needs both cert and key, or neither",
            ));
        }
    };
    Ok((TlsConnector::from(Arc::new(config)), name))
}

fn unreadable(path: &std::path::Path, error: rustls::pki_types::pem::Error) -> Error {
    Error::new(ErrorKind::ConfigInvalid, format!("{} can't be read as PEM", path.display()))
        .with_source(error)
}

fn certificates(path: &std::path::Path) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable(path, error))
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
