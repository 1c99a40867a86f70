//! Connections to a Docker Engine: a fresh one for each request, so that a request never meets a
//! pooled socket of an engine that was restarted, and a connection that fails is known to have
//! carried nothing.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error as DockerError;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;

use super::host::{DockerTls, EngineHost};
use base::net::address::Endpoint;
use base::net::connect::open;
use base::net::stream::Socket;
use base::net::tls::{ClientCertificate, PemFile, TlsConnector, TlsPolicy};
use base::{Error, ErrorKind, Result};

/// How long a silent connection waits before it asks whether the other side is still there.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// Opens connections to one engine.
#[derive(Debug)]
pub(super) struct Wire {
    endpoint: Endpoint,
    tls: Option<TlsConnector>,
}

impl Wire {
    /// Reads the certificates; connects to nothing.
    pub(super) fn new(host: &EngineHost) -> Result<Self> {
        let tls = host.tls.as_ref().map(|files| policy(files)?.connector(&host.endpoint));
        Ok(Self { endpoint: host.endpoint.clone(), tls: tls.transpose()? })
    }

    async fn connect(&self) -> io::Result<Socket> {
        let socket = open(&self.endpoint).await?;
        socket.without_delay();
        // An event stream is silent for hours; keep-alive notices an engine that vanished.
        socket.keep_alive(KEEPALIVE)?;
        match &self.tls {
            None => Ok(socket),
            Some(connector) => connector.connect(socket).await,
        }
    }

    fn authority(&self) -> String {
        match &self.endpoint {
            Endpoint::Unix(_) => "docker".to_owned(),
            tcp @ Endpoint::Tcp(..) => tcp.to_string(),
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

fn policy(files: &DockerTls) -> Result<TlsPolicy> {
    let client = match (&files.cert, &files.key) {
        (Some(certificate), Some(key)) => Some(ClientCertificate {
            certificate: PemFile::new("tls.cert", &**certificate),
            key: PemFile::new("tls.key", &**key),
        }),
        (None, None) => None,
        _ => {
            return Err(Error::new(
                ErrorKind::ConfigInvalid,
                "the tls settings of a Docker host need both cert and key, or neither",
            ));
        }
    };
    let authorities = files.ca.as_ref().map(|path| PemFile::new("tls.ca", &**path));
    Ok(TlsPolicy::trusting(authorities).with_client(client))
}
