//! [`Sentinels`]: look-up of the current master.
//! <https://redis.io/docs/latest/develop/reference/sentinel-clients/>

use std::sync::atomic::{AtomicUsize, Ordering};

use redis::Value;
use redis::aio::MultiplexedConnection;

use super::address::{Credentials, Host};
use super::dial::{Dialer, Target, slow};
use super::failure;
use crate::clock::ClockExt;
use crate::{Error, ErrorKind, Result, Retry};

#[derive(Debug)]
pub(super) struct Sentinels {
    hosts: Vec<Host>,
    master: String,
    credentials: Credentials,
    /// The one that answered last is asked first.
    first: AtomicUsize,
}

impl Sentinels {
    pub(super) fn new(hosts: Vec<Host>, master: String, credentials: Credentials) -> Self {
        Self { hosts, master, credentials, first: AtomicUsize::new(0) }
    }

    /// The master's address, from the first Sentinel that knows it.
    pub(super) async fn master(&self, dialer: &Dialer) -> Result<Target> {
        let first = self.first.load(Ordering::Relaxed);
        let mut trouble = None;
        for turn in 0..self.hosts.len() {
            let index = (first + turn) % self.hosts.len();
            match self.ask(dialer, &self.hosts[index]).await {
                Ok(target) => {
                    self.first.store(index, Ordering::Relaxed);
                    return Ok(target);
                }
                Err(error) => trouble = Some(error),
            }
        }
        let why = trouble.unwrap_or_else(|| Error::new(ErrorKind::InvalidInput, "there is none"));
        Err(Error::new(
            why.kind(),
            format!("no Sentinel reported the master of {:?}: {}", self.master, why.message()),
        )
        .with_retry(Retry::Safe { after: None }))
    }

    async fn ask(&self, dialer: &Dialer, host: &Host) -> Result<Target> {
        let target = Target::Host(host.clone());
        let mut connection = dialer.connect_as(&target, &self.credentials, 0, None).await?;
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.master);
        let answer = ask(dialer, &target, &mut connection, &question).await?;
        if answer == Value::Nil {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("the Sentinel at {host} does not monitor a master of that name"),
            ));
        }
        let (name, port) = failure::read(&target, answer)?;
        Ok(Target::Host(Host { name, port }))
    }

    /// A master that was just replaced is named for a while, and must not be written to.
    pub(super) async fn check_role(
        &self,
        dialer: &Dialer,
        target: &Target,
        connection: &mut MultiplexedConnection,
    ) -> Result<()> {
        let answer = ask(dialer, target, connection, &redis::cmd("ROLE")).await?;
        let role = match &answer {
            Value::Array(parts) => parts.first(),
            _ => None,
        };
        let is_master = matches!(role, Some(Value::BulkString(name)) if name == b"master")
            || matches!(role, Some(Value::SimpleString(name)) if name == "master");
        if is_master {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("Redis at {target} is no longer the master of {:?}", self.master),
        ))
    }
}

/// One question within the time for connecting.
pub(super) async fn ask(
    dialer: &Dialer,
    target: &Target,
    connection: &mut MultiplexedConnection,
    question: &redis::Cmd,
) -> Result<Value> {
    let within = dialer.options.connect_timeout;
    let deadline = dialer.clock.monotonic() + within;
    let exchange = connection.send_packed_command(question);
    match dialer.clock.until(deadline, exchange).await {
        Some(Ok(Value::ServerError(error))) => Err(failure::refused(target, &error)),
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(failure::unreachable(target, &error)),
        None => Err(slow(target, within)),
    }
}
