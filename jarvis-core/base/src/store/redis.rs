//! Redis client shared by many callers: for one server, a Cluster, or a Sentinel master.
//!
//! [`Redis`] is the handle that every Redis backend of this crate builds on:
//!
//! - **Lazy connection.** Opening a handle does not connect; the first call does.
//! - **Few connections, many callers.** Calls are pipelined over one or two connections. Calls that
//!   start at about the same time are sent in one write, and their answers are returned together.
//! - **An answer or an error within the deadline** (1 s by default). After a lost connection a call is
//!   repeated once if that is safe; a write whose answer is lost is `Retry::Indeterminate`.
//! - **Calls to a server that is down fail at once.** The first call detects a lost connection. A
//!   server that hangs is detected by calls that got no answer for as long as the handle's deadline
//!   (calls of [`Redis::with_deadline`] that wait for less count together). From then on calls fail
//!   without waiting, while one background task reconnects. [`Redis::changes`] reports both changes.
//! - **Failover.** The client follows a Sentinel's failover, and a Cluster's moved slots and lost nodes.
//!
//! # URLs
//!
//! | URL | what it means |
//! |---|---|
//! | `redis://user:password@host:6379/0` | one server; all but the host may be left out |
//! | `rediss://…` | the same over TLS, checked against the system's roots or [`Options::with_root_certificates`] |
//! | `unix:/run/redis.sock?db=0&user=u&password=p` | one server on a socket |
//! | `redis+cluster://user:password@a:6379,b:6379` | a Cluster; the hosts are where to ask first |
//! | `redis+sentinel://user:password@s1:26379,s2:26379/master/0` | who is the master called `master` is asked of the Sentinels; user and password are those of the master; `?sentinel_user=…&sentinel_password=…` are those of the Sentinels |
//!
//! `rediss+cluster://` and `rediss+sentinel://` speak TLS to every node. In a user or password,
//! `@ : / % ?` are written as `%40` and so on. No error, log line or `Debug` shows a password.
//!
//! Requires Redis 7.0 or newer, or a compatible server with RESP3, such as Valkey.
//!
//! # What a failover loses
//!
//! Redis replicates asynchronously. If a master fails just after it acknowledged a write, the promoted
//! replica may not have that write. The write is then lost: its version number is used again, and
//! keys that it deleted exist again. `min-replicas-to-write 1` in the server's configuration stops a
//! partitioned master from acknowledging more such writes. The client does not send `WAIT`: it would
//! delay all callers of the connection, and makes such losses rarer, not impossible. Writes that are
//! acknowledged after the failover are stored by the new master.
//!
//! A master without persistence must not restart automatically: if it restarts before the Sentinels
//! notice, it is empty, and its replicas are emptied too. A Cluster node that restarts without having
//! been replaced has the data on its disk (with `appendfsync always`: all acknowledged writes). Until
//! it is back, the cluster refuses all slots, not only those of the node, unless it is configured with
//! `cluster-require-full-coverage no`.

mod address;
mod board;
mod cluster;
mod command;
mod dial;
mod failure;
mod line;
mod link;
mod options;
mod pubsub;
mod sentinel;
mod silence;
mod sweep;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{FutureExt, join_all};
use redis::{FromRedisValue, Value};

pub use board::{State, StateChanges};
use command::Reply;
#[doc(hidden)]
pub use command::{Command, Effect, Script};
pub use options::Options;
#[doc(hidden)]
pub use pubsub::{Event, Subscription};

use crate::clock::{SharedClock, WallTime};
use crate::{Error, ErrorKind, Result};
use address::{Address, Place};
use board::Board;
use cluster::Cluster;
use dial::{Dialer, Target};
use link::{Deadline, Dial, Link};
use sentinel::Sentinels;

#[derive(Debug)]
enum Servers {
    One(Arc<Link>),
    Cluster(Arc<Cluster>),
}

struct Shared {
    shown: String,
    process: u32,
    dialer: Arc<Dialer>,
    board: Arc<Board>,
    servers: Servers,
}

/// A handle to one Redis. Clones share its connections; the last one to go closes them.
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
    deadline: Duration,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("url", &self.shared.shown)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

impl Redis {
    /// A handle to the Redis at a [URL](self#urls). Connects nothing.
    ///
    /// # Errors
    /// `InvalidInput`: the URL is wrong, or an option is; the message has an example.
    pub fn open(url: &str, options: &Options, clock: SharedClock) -> Result<Self> {
        let operation = |error: Error| error.with_operation("store.redis.open");
        options.check().map_err(operation)?;
        let Address { place, tls, credentials, database, shown } =
            Address::parse(url).map_err(operation)?;
        let board = Board::new(clock.clone());
        let options = options.clone();
        let deadline = options.deadline;
        let dialer = Arc::new(Dialer { options, clock, credentials, database, tls });
        let one = |name: String, dial: Dial| {
            Servers::One(Link::new(name, dial, Arc::clone(&dialer), Arc::clone(&board), None))
        };
        let servers = match place {
            Place::One(host) => one(host.to_string(), Dial::Fixed(Target::Host(host))),
            Place::Socket(path) => {
                one(path.display().to_string(), Dial::Fixed(Target::Socket(path)))
            }
            Place::Cluster(seeds) => {
                Servers::Cluster(Cluster::new(seeds, Arc::clone(&dialer), Arc::clone(&board)))
            }
            Place::Sentinel { sentinels, master, credentials } => {
                let name = format!("master {master}");
                one(name, Dial::Sentinel(Sentinels::new(sentinels, master, credentials)))
            }
        };
        let process = std::process::id();
        Ok(Self { shared: Arc::new(Shared { shown, process, dialer, board, servers }), deadline })
    }

    /// Its URL, without secrets.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.shared.shown
    }

    /// Is it there? Tells what the last calls met, and asks nothing itself.
    #[must_use]
    pub fn state(&self) -> State {
        self.shared.board.state()
    }

    /// Each change of the [`state`](Self::state) from now on.
    #[must_use]
    pub fn changes(&self) -> StateChanges {
        self.shared.board.changes()
    }

    /// Asks it for a sign of life, and of a Cluster every master.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when it gives none, `Unauthorized` when it does not know us.
    pub async fn ping(&self) -> Result<()> {
        for master in self.masters("store.redis.ping").await? {
            let ping = Command::new("PING");
            self.query_at::<String>(&master, "store.redis.ping", ping, Effect::Read).await?;
        }
        Ok(())
    }

    /// A handle over the same connections whose calls wait this long.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sends a command to where its first key is. `operation` names what the caller does.
    #[doc(hidden)]
    pub fn query<T: FromRedisValue>(
        &self,
        operation: &'static str,
        command: impl Into<Command>,
        effect: Effect,
    ) -> impl Future<Output = Result<T>> + Send {
        let reply = self.query_resent(operation, command, effect);
        reply.map(|reply| reply.map(|(value, _)| value))
    }

    /// [`query`](Self::query), and whether the answer is the one to a second sending, after the one
    /// to the first was lost with its connection.
    #[doc(hidden)]
    pub fn query_resent<T: FromRedisValue>(
        &self,
        operation: &'static str,
        command: impl Into<Command>,
        effect: Effect,
    ) -> impl Future<Output = Result<(T, bool)>> + Send {
        // Before the future, which else would have room for both.
        let command = command.into();
        async move {
            let reply = self.ask(&command, effect).await;
            reply
                .and_then(|Reply { resent, value }| {
                    Ok((failure::read(&self.shared.shown, value)?, resent))
                })
                .map_err(|error| error.with_operation(operation))
        }
    }

    /// Sends commands at once, grouped by the node that has their keys, and gives the answers in
    /// their order. It is no transaction: some may fail.
    #[doc(hidden)]
    pub async fn pipeline<T: FromRedisValue>(
        &self,
        operation: &'static str,
        commands: &[Command],
        effect: Effect,
    ) -> Vec<Result<T>> {
        Box::pin(self.ask_all(commands, effect))
            .await
            .into_iter()
            .map(|answer| {
                answer
                    .and_then(|value| failure::read(&self.shared.shown, value))
                    .map_err(|error| error.with_operation(operation))
            })
            .collect()
    }

    /// The server's clock; of a Cluster, that of one of its nodes.
    #[doc(hidden)]
    pub async fn now(&self, operation: &'static str) -> Result<WallTime> {
        let time = self.query(operation, Command::new("TIME"), Effect::Read);
        let (seconds, micros): (i64, i64) = time.await?;
        Ok(WallTime::from_millis(seconds.saturating_mul(1_000).saturating_add(micros / 1_000)))
    }

    /// Messages on these channels, and on those that match these patterns (`news.*`), from the
    /// moment of [`Event::Restored`] on. Needs a tokio runtime.
    #[doc(hidden)]
    pub fn subscribe(
        &self,
        channels: &[String],
        patterns: &[String],
        capacity: usize,
    ) -> Result<Subscription> {
        self.check_process()?;
        Subscription::start(self.clone(), channels.to_vec(), patterns.to_vec(), capacity)
    }

    /// How long a call waits for its answer.
    #[doc(hidden)]
    pub const fn longest_call(&self) -> Duration {
        self.deadline
    }

    /// Do keys lie in slots, so that one script does not reach all?
    #[doc(hidden)]
    pub fn has_slots(&self) -> bool {
        matches!(self.shared.servers, Servers::Cluster(_))
    }

    fn clock(&self) -> &SharedClock {
        &self.shared.dialer.clock
    }

    fn deadline(&self) -> Deadline {
        Deadline { at: self.clock().monotonic() + self.deadline, within: self.deadline }
    }

    async fn ask(&self, command: &Command, effect: Effect) -> Result<Reply> {
        self.check_process()?;
        match &self.shared.servers {
            Servers::One(link) => ask_one(link, command, effect, self.deadline()).await,
            // Boxed, so that a call of one server need not carry its state along.
            Servers::Cluster(cluster) => {
                Box::pin(cluster.ask(command, effect, self.deadline())).await
            }
        }
    }

    async fn ask_all(&self, commands: &[Command], effect: Effect) -> Vec<Result<Value>> {
        let deadline = self.deadline();
        let mut answers: Vec<Option<Result<Value>>> = commands.iter().map(|_| None).collect();
        let mut groups: Vec<(Arc<Link>, Vec<usize>)> = Vec::new();
        for (index, command) in commands.iter().enumerate() {
            match self.place_of(command, deadline).await {
                Err(error) => answers[index] = Some(Err(error)),
                Ok(link) => match groups.iter_mut().find(|(its, _)| Arc::ptr_eq(its, &link)) {
                    Some((_, indices)) => indices.push(index),
                    None => groups.push((link, vec![index])),
                },
            }
        }
        let sent = groups.into_iter().map(|(link, indices)| async move {
            let mut pipeline = redis::Pipeline::with_capacity(indices.len());
            for index in &indices {
                pipeline.add_command(commands[*index].cmd.clone());
            }
            (link.send_all(&pipeline, effect, deadline).await, indices)
        });
        for (outcome, indices) in join_all(sent).await {
            let (mut values, error) = match outcome {
                Ok(answer) => (answer.value.into_iter(), None),
                Err(error) => (Vec::new().into_iter(), Some(error)),
            };
            for index in indices {
                answers[index] = match (&error, values.next()) {
                    (Some(error), _) => Some(Err(error.clone())),
                    // A refusal is asked again alone, where the reason may be dealt with.
                    (None, Some(Value::ServerError(_)) | None) => None,
                    (None, Some(value)) => Some(Ok(value)),
                };
            }
        }
        let mut all = Vec::with_capacity(answers.len());
        for (answer, command) in answers.into_iter().zip(commands) {
            all.push(match answer {
                Some(answer) => answer,
                None => self.ask(command, effect).await.map(|reply| reply.value),
            });
        }
        all
    }

    async fn place_of(&self, command: &Command, deadline: Deadline) -> Result<Arc<Link>> {
        self.check_process()?;
        match &self.shared.servers {
            Servers::One(link) => Ok(Arc::clone(link)),
            Servers::Cluster(cluster) => cluster.master(command.slot(), deadline).await,
        }
    }

    /// Sockets are shared with the parent after a fork, and its tasks don't run in the child.
    fn check_process(&self) -> Result<()> {
        if self.shared.process == std::process::id() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "{} was opened before this process was forked; open it again in the child",
                self.shared.shown
            ),
        ))
    }
}

/// One server: its refusals that can be dealt with are a script that it does not know, and a
/// write to a master that became a replica.
async fn ask_one(
    link: &Link,
    command: &Command,
    effect: Effect,
    deadline: Deadline,
) -> Result<Reply> {
    let mut text: Option<Box<Command>> = None;
    let (mut moved, mut resent) = (false, false);
    loop {
        let sent = text.as_deref().unwrap_or(command);
        let answer = link.send(&sent.cmd, effect, deadline).await?;
        resent |= answer.resent;
        let Value::ServerError(error) = answer.value else {
            return Ok(Reply { resent, value: answer.value });
        };
        let refused = failure::refused(link.name(), &error);
        match error.code() {
            "NOSCRIPT" if text.is_none() => {
                text = command.with_text().map(Box::new);
                if text.is_none() {
                    return Err(refused);
                }
            }
            "READONLY" if link.may_move() && !moved => {
                moved = true;
                link.lost(answer.epoch, &refused);
            }
            _ => return Err(refused),
        }
    }
}

#[cfg(test)]
mod tests;
