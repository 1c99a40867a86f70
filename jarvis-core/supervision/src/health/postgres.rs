//! [`PostgresProbe`]: a handshake without credentials, or a query.

mod config;
mod handshake;
mod session;

use std::fmt::{self, Debug};

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_postgres::config::{Host as ServerHost, SslMode};

pub use config::{PostgresConfig, PostgresRole};

use super::tls;
use super::{HealthProbe, Observation, ProbeContext, meter};
use base::net::address::{Endpoint, Host};
use base::net::connect::connect;
use base::net::resolve::Resolver;
use base::net::stream::Socket;
use base::net::timing::{Meter, ProbeError, Stage, Step};
use base::net::tls::{TlsClient, Validity};
use base::secret::redact_url;
use base::vocabulary::FailureKind;
use base::{Error, ErrorKind, Result};

/// Asks whether the server would speak TLS (`PostgreSQL` documentation, "Message Formats").
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const DEFAULT_USER: &str = "postgres";

/// Measures one `PostgreSQL` server.
pub struct PostgresProbe {
    endpoint: Endpoint,
    mode: SslMode,
    tls: Box<TlsClient>,
    /// Certificates are judged only against authorities that were named.
    judges_certificate: bool,
    depth: Depth,
    resolver: Option<Box<Resolver>>,
}

/// How far the probe goes.
enum Depth {
    /// The startup packet, ready to be sent.
    Handshake(Box<[u8]>),
    /// Log in and ask.
    Session(Box<session::Session>),
}

impl Debug for PostgresProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresProbe")
            .field("endpoint", &format_args!("{}", self.endpoint))
            .field("logs_in", &matches!(self.depth, Depth::Session(_)))
            .finish_non_exhaustive()
    }
}

impl PostgresProbe {
    /// Checks the configuration and reads `tls.ca_file`; touches no network.
    ///
    /// # Errors
    /// `ConfigInvalid`: an URL that is none or names several hosts, an empty query, or a `ca_file`
    /// that can't be read.
    pub fn new(config: &PostgresConfig) -> Result<Self> {
        let mut server: tokio_postgres::Config = config.url.parse().map_err(|_| {
            // The parser's error may quote the password.
            Error::new(
                ErrorKind::ConfigInvalid,
                format!(
                    "{:?} is not a PostgreSQL URL; write \"postgres://user:password@host:5432/database\"",
                    redact_url(&config.url)
                ),
            )
        })?;
        if server.get_user().is_none() {
            server.user(DEFAULT_USER);
        }
        if let Some(password) = &config.password {
            server.password(password.expose());
        }
        let endpoint = endpoint(&server)?;
        let mode = server.get_ssl_mode();
        let judges_certificate = config.tls.ca_file.is_some();
        let options = config.tls.clone();
        let options = if judges_certificate { options } else { options.with_insecure() };
        let depth = if config.query.is_some() || config.role.is_some() || config.expect.is_some() {
            Depth::Session(Box::new(session::Session::new(config, server)?))
        } else {
            Depth::Handshake(handshake::startup_packet(&server))
        };
        Ok(Self {
            tls: Box::new(options.client(&endpoint)?),
            endpoint,
            mode,
            judges_certificate,
            depth,
            resolver: None,
        })
    }

    /// Resolves names with this resolver instead of the machine's.
    #[must_use]
    pub fn with_resolver(mut self, resolver: Resolver) -> Self {
        self.resolver = Some(Box::new(resolver));
        self
    }

    async fn run(&self, context: &ProbeContext, meter: &mut Meter) -> Step<Observation> {
        let (socket, validity) = self.open(meter).await?;
        meter.stage = Stage::Answer;
        let observation = match &self.depth {
            Depth::Handshake(packet) => {
                handshake::shake_hands(packet, socket, &self.endpoint, meter).await?
            }
            Depth::Session(session) => {
                session.ask(socket, &self.endpoint, context.remaining(), meter).await?
            }
        };
        Ok(match validity {
            Some(validity) if self.judges_certificate => tls::judge(&validity, observation),
            Some(validity) => observation.with_fact("tls_days_left", validity.days_left),
            None => observation,
        })
    }

    /// Connects, with TLS where the URL's `sslmode` and the server want it.
    async fn open(&self, meter: &mut Meter) -> Step<(Socket, Option<Validity>)> {
        let mut socket = connect(&self.endpoint, self.resolver.as_deref(), meter).await?;
        socket.without_delay();
        let local = matches!(self.endpoint, Endpoint::Unix(_));
        if self.mode == SslMode::Disable || local {
            return Ok((socket, None));
        }
        meter.stage = Stage::Answer;
        let io = |error| ProbeError::io(error, &self.endpoint.to_string());
        socket.write_all(&SSL_REQUEST).await.map_err(io)?;
        match socket.read_u8().await.map_err(io)? {
            b'S' => {
                let (socket, validity) = self.tls.handshake(socket, None, meter).await?;
                Ok((socket, Some(validity)))
            }
            b'N' if self.mode == SslMode::Prefer => Ok((socket, None)),
            b'N' => Err(ProbeError::failed(
                FailureKind::Tls,
                format!("{} does not support TLS, but sslmode requires it", self.endpoint),
            )),
            // The server could not even start a process for this connection.
            b'E' => Err(ProbeError::failed(
                FailureKind::Resource,
                format!("{} has no resources for a connection", self.endpoint),
            )),
            _ => Err(handshake::no_postgres(&self.endpoint)),
        }
    }
}

#[async_trait]
impl HealthProbe for PostgresProbe {
    async fn probe(&self, context: ProbeContext) -> Result<Observation> {
        let mut meter = meter::start(&context);
        let outcome = context.until_deadline(self.run(&context, &mut meter)).await;
        meter::finish(&meter, outcome, &self.endpoint.to_string())
    }
}

fn endpoint(server: &tokio_postgres::Config) -> Result<Endpoint> {
    let wrong = |what: &str| {
        let message =
            format!("the PostgreSQL URL names {what}; a probe measures exactly one server");
        Error::new(ErrorKind::ConfigInvalid, message)
    };
    let port = server.get_ports().first().copied().unwrap_or(5_432);
    match server.get_hosts() {
        [] => Err(wrong("no host")),
        [ServerHost::Tcp(host)] => {
            let host = Host::parse(host).ok_or_else(|| wrong("an invalid host"))?;
            Ok(Endpoint::Tcp(host, port))
        }
        [ServerHost::Unix(folder)] => {
            let path = folder.join(format!(".s.PGSQL.{port}"));
            Endpoint::unix(&path.to_string_lossy())
        }
        _ => Err(wrong("several hosts")),
    }
}

/// What an SQLSTATE says about health (`PostgreSQL` documentation, appendix A). `None`: nothing,
/// the server is alive.
fn kind_of(code: &str) -> Option<FailureKind> {
    match code {
        "57P01" | "57P02" | "57P03" => Some(FailureKind::NotReady),
        "57014" => Some(FailureKind::Timeout),
        "53300" => Some(FailureKind::RateLimited),
        "25006" => Some(FailureKind::Resource),
        _ => match code.get(..2) {
            Some("28") => Some(FailureKind::Auth),
            Some("53") => Some(FailureKind::Resource),
            Some("58" | "XX" | "F0") => Some(FailureKind::ServerError),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_configuration_is_refused_without_its_password() {
        for url in [
            "",
            "postgres://",
            "mysql://u:hunter2@h/d",
            "postgres://u:hunter2@a,b/d",
            "postgres://u:hunter2@h:x/d",
        ] {
            let error = PostgresProbe::new(&PostgresConfig::new(url)).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConfigInvalid, "{url}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
        let config = PostgresConfig::new("postgres://h/d").with_query(" ");
        assert_eq!(PostgresProbe::new(&config).unwrap_err().kind(), ErrorKind::ConfigInvalid);
    }

    #[test]
    fn a_socket_folder_becomes_its_socket() {
        let probe = PostgresProbe::new(&PostgresConfig::new("postgres:///d?host=/run/pg")).unwrap();
        assert_eq!(probe.endpoint.to_string(), "unix:/run/pg/.s.PGSQL.5432");
    }
}
