//! Connecting to one server, or to the master that the Sentinels report.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, ProtocolVersion, PushInfo,
    RedisConnectionInfo, TlsCertificates,
};

use super::Options;
use super::address::{Credentials, Host};
use super::failure;
use crate::clock::{ClockExt, SharedClock};
use crate::{Error, ErrorKind, Result};

/// Commands that wait for the socket: those that wait longer wait at their caller.
const PIPELINE: usize = 1_024;

/// What is called with each push of a connection, also with the one that says that it closed.
pub(super) type OnPush = Arc<dyn Fn(PushInfo) + Send + Sync>;

/// One server, as a name for people and as something to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Target {
    Host(Host),
    Socket(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => host.fmt(f),
            Self::Socket(path) => path.display().fmt(f),
        }
    }
}

/// What all connections of a handle have in common.
#[derive(Debug)]
pub(super) struct Dialer {
    pub(super) options: Options,
    pub(super) clock: SharedClock,
    pub(super) credentials: Credentials,
    pub(super) database: i64,
    pub(super) tls: bool,
}

impl Dialer {
    /// Connects, says who we are and chooses the database, within the time for that.
    pub(super) async fn connect(
        &self,
        target: &Target,
        on_push: Option<OnPush>,
    ) -> Result<MultiplexedConnection> {
        self.connect_as(target, &self.credentials, self.database, on_push).await
    }

    pub(super) async fn connect_as(
        &self,
        target: &Target,
        credentials: &Credentials,
        database: i64,
        on_push: Option<OnPush>,
    ) -> Result<MultiplexedConnection> {
        let client = self.client(target, credentials, database)?;
        let mut config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(PIPELINE);
        if let Some(on_push) = on_push {
            config = config.set_push_sender(move |push| {
                on_push(push);
                Ok::<(), redis::aio::SendError>(())
            });
        }
        let within = self.options.connect_timeout;
        let deadline = self.clock.monotonic() + within;
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        match self.clock.until(deadline, connecting).await {
            Some(Ok(connection)) => Ok(connection),
            Some(Err(error)) => Err(failure::unreachable(target, &error)),
            None => Err(slow(target, within)),
        }
    }

    fn client(&self, target: &Target, who: &Credentials, database: i64) -> Result<Client> {
        let address = match target {
            Target::Socket(path) => ConnectionAddr::Unix(path.clone()),
            Target::Host(host) if self.tls => ConnectionAddr::TcpTls {
                host: host.name.clone(),
                port: host.port,
                insecure: false,
                tls_params: None,
            },
            Target::Host(host) => ConnectionAddr::Tcp(host.name.clone(), host.port),
        };
        let mut settings = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_db(database)
            .set_lib_name("jarvis-core", env!("CARGO_PKG_VERSION"));
        if let Some(user) = &who.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &who.password {
            settings = settings.set_password(password.expose());
        }
        let wrong = |error: redis::RedisError| failure::unreachable(target, &error);
        let info = address
            .into_connection_info()
            .map_err(wrong)?
            .set_redis_settings(settings)
            .set_tcp_settings(TcpSettings::default().set_nodelay(true));
        match self.options.root_certificates.as_ref().filter(|_| self.tls) {
            None => Client::open(info),
            Some(pem) => {
                let root_cert = Some(pem.as_bytes().to_vec());
                Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert })
            }
        }
        .map_err(wrong)
    }
}

pub(super) fn slow(target: &dyn fmt::Display, within: Duration) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("Redis at {target} can't be reached: no answer to the greeting within {within:?}"),
    )
}
