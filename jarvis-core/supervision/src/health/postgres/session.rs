//! The thorough way: log in, run a query, look at the role.

use std::error::Error as _;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::config::{PostgresConfig, PostgresRole};
use super::kind_of;
use crate::health::Observation;
use base::net::address::Endpoint;
use base::net::stream::{ReadHook, Socket, Watched};
use base::net::timing::{Meter, ProbeError, Stage, Step, io_cause};
use base::text::excerpt;
use base::vocabulary::FailureKind;
use base::{Error, ErrorKind, Result};

/// In recovery is a standby; a primary may still be set to read-only.
const ROLE: &str = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only')";

/// How many bytes a server may send in all. The client library itself has no limit.
const MOST_READ: usize = 4 << 20;

/// Ends the reading when too much came in.
struct Allowance(usize);

impl ReadHook for Allowance {
    fn before(&mut self) -> io::Result<()> {
        if self.0 == 0 { Err(io::ErrorKind::InvalidData.into()) } else { Ok(()) }
    }

    fn after(&mut self, bytes: usize) {
        self.0 = self.0.saturating_sub(bytes);
    }
}

/// Who logs in, and what is asked.
pub(super) struct Session {
    server: tokio_postgres::Config,
    query: Box<str>,
    expect: Option<Box<str>>,
    role: Option<PostgresRole>,
}

/// What came back.
struct Answers {
    first: Option<String>,
    role: Option<(PostgresRole, bool)>,
}

impl Session {
    pub(super) fn new(config: &PostgresConfig, mut server: tokio_postgres::Config) -> Result<Self> {
        let query = config.query.as_deref().unwrap_or("select 1");
        if query.trim().is_empty() {
            return Err(Error::new(
                ErrorKind::ConfigInvalid,
                "\"query\" is empty; write for example \"select 1\" or leave it out",
            ));
        }
        // The connection that we hand over is encrypted already where it is to be.
        server.ssl_mode(SslMode::Disable);
        if server.get_application_name().is_none() {
            server.application_name("jarvis");
        }
        Ok(Self {
            server,
            query: query.into(),
            expect: config.expect.as_deref().map(Into::into),
            role: config.role,
        })
    }

    /// Logs in, asks and leaves. Runs inside the caller's future: dropping that ends it, and
    /// `statement_timeout` ends what the server still does then.
    pub(super) async fn ask(
        &self,
        socket: Socket,
        endpoint: &Endpoint,
        left: Duration,
        meter: &mut Meter,
    ) -> Step<Observation> {
        let sorted = |error: tokio_postgres::Error| sort(&error, endpoint);
        let began = meter.now();
        let login =
            self.server.connect_raw(Watched::new(socket, Allowance(MOST_READ)), NoTls).await;
        let (client, mut connection) = login.map_err(sorted)?;
        meter.phases.first_byte = Some(meter.since(began));
        meter.stage = Stage::Rest;
        let mut ended = false;
        let answers = {
            let mut asking = pin!(self.converse(&client, left));
            poll_fn(|context| {
                if let Poll::Ready(answers) = asking.as_mut().poll(context) {
                    return Poll::Ready(answers);
                }
                if !ended && let Poll::Ready(end) = Pin::new(&mut connection).poll(context) {
                    ended = true;
                    if let Err(error) = end {
                        return Poll::Ready(Err(error));
                    }
                }
                asking.as_mut().poll(context)
            })
            .await
            .map_err(sorted)?
        };
        drop(client);
        if !ended {
            // Says goodbye, so that the server does not log a lost connection.
            connection.await.ok();
        }
        Ok(self.judge(&answers))
    }

    async fn converse(
        &self,
        client: &Client,
        left: Duration,
    ) -> std::result::Result<Answers, tokio_postgres::Error> {
        // Two statements of one message are one transaction, so the limit ends with it, also
        // behind a pooler that hands the connection to somebody else next.
        let millis = left.as_millis().clamp(1, 86_400_000);
        let limited = |sql: &str| format!("SET LOCAL statement_timeout = {millis}; {sql}");
        let role = match self.role {
            Some(_) => read_role(&client.simple_query(&limited(ROLE)).await?),
            None => None,
        };
        let rows = client.simple_query(&limited(&self.query)).await?;
        Ok(Answers { first: first_column(&rows, 0), role })
    }

    fn judge(&self, answers: &Answers) -> Observation {
        let observation = if let Some(message) = self.wrong_role(answers) {
            Observation::fail(FailureKind::Resource, message)
        } else if let Some(message) = self.wrong_answer(answers) {
            Observation::fail(FailureKind::Body, message)
        } else {
            Observation::pass("the query was answered")
        };
        match answers.role {
            Some((role, _)) => observation.with_fact("role", role.as_str()),
            None => observation,
        }
    }

    fn wrong_role(&self, answers: &Answers) -> Option<String> {
        let wanted = self.role?;
        match answers.role {
            None => Some(format!("does not report its role, expected {}", wanted.as_str())),
            Some((role, _)) if role != wanted => Some(format!(
                "is a {}, expected a {}; was there a failover?",
                role.as_str(),
                wanted.as_str()
            )),
            Some((PostgresRole::Primary, true)) => Some(
                "is a primary that is set to read-only (default_transaction_read_only)".to_owned(),
            ),
            Some(_) => None,
        }
    }

    fn wrong_answer(&self, answers: &Answers) -> Option<String> {
        let wanted = self.expect.as_deref()?;
        match answers.first.as_deref() {
            Some(found) if found == wanted => None,
            Some(found) => Some(format!(
                "the query gives {:?}, expected {wanted:?}",
                excerpt(found.as_bytes(), 80)
            )),
            None => Some(format!("the query gives nothing, expected {wanted:?}")),
        }
    }
}

fn first_column(messages: &[SimpleQueryMessage], column: usize) -> Option<String> {
    messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.try_get(column).ok().flatten().map(str::to_owned),
        _ => None,
    })
}

fn read_role(messages: &[SimpleQueryMessage]) -> Option<(PostgresRole, bool)> {
    let role = match first_column(messages, 0)?.as_str() {
        "t" => PostgresRole::Replica,
        _ => PostgresRole::Primary,
    };
    Some((role, first_column(messages, 1)? == "on"))
}

fn sort(error: &tokio_postgres::Error, endpoint: &Endpoint) -> ProbeError {
    if let Some(answer) = error.as_db_error() {
        let code = answer.code().code();
        // An error of the statement itself: a table is gone, a function fails.
        let kind = kind_of(code).unwrap_or(FailureKind::Body);
        let message = format!("{} ({code})", excerpt(answer.message().as_bytes(), 200));
        return ProbeError::failed(kind, message);
    }
    if let Some(io) = io_cause(error) {
        return ProbeError::io_of(io, &endpoint.to_string());
    }
    if error.source().is_some_and(|cause| cause.to_string() == "password missing") {
        let message = "the server asks for a password, and none is configured";
        return ProbeError::failed(FailureKind::Auth, message);
    }
    if error.is_closed() {
        return ProbeError::failed(
            FailureKind::Reset,
            format!("{endpoint} closed the connection too early"),
        );
    }
    ProbeError::failed(FailureKind::Protocol, format!("{endpoint}: {error}"))
}
