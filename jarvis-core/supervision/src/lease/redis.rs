//! [`RedisLease`] and [`RedisLedger`]: in Redis, for operators on many machines.
//!
//! Both live under one prefix and share a fence and a time axis, in one hash slot:
//!
//! | key | what it holds |
//! |---|---|
//! | `PREFIX:{lease}:state` | the axis, the highest token, and the lease in force |
//! | `PREFIX:{lease}:attempts` | each intent with its time on the axis |
//! | `PREFIX:{lease}:services` | each intent with its service |
//!
//! Every question is one Lua script. Time is the server's, so that operators whose clocks differ
//! agree; of a step of the server's clock each operator cuts off what its own clock does not
//! confirm, so that a jump gives neither a budget back nor a lease away.
//!
//! # What Redis can't promise
//!
//! An acknowledged lease may be unknown to the replica that takes over from a master that died, or
//! to a server that restarts without its data. Then two operators may believe that they hold it,
//! until the earlier one renews. Tokens are never given twice even so (they grow with the wall
//! clock), and the ledger refuses the earlier one. `appendfsync always` and
//! `min-replicas-to-write 1` make the case rare. The keys have no expiry: choose a
//! `maxmemory-policy` that evicts only keys that have one (`noeviction`, `volatile-…`).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;

use super::rules::{self, REMEMBERED};
use super::{Attempt, Grant, Lease, Limit, Reservation, RestartLedger, Usage};
use base::clock::{SharedClock, WallTime};
use base::store::redis::{Command, Effect, Options, Redis, Script};
use base::sync::Mutex;
use base::vocabulary::{FencingToken, Gate, HolderId, KeyPrefix, ServiceId};
use base::{Error, ErrorKind, Result, Secret, units};

macro_rules! script {
    ($($file:literal),+) => { Script::new(concat!($(include_str!($file)),+)) };
}

static ACQUIRE: Script = script!("redis/axis.lua", "redis/acquire.lua");
static RENEW: Script = script!("redis/axis.lua", "redis/renew.lua");
static RELEASE: Script = script!("redis/axis.lua", "redis/release.lua");
static CURRENT: Script = script!("redis/axis.lua", "redis/current.lua");
static RESERVE: Script = script!("redis/axis.lua", "redis/attempts.lua", "redis/reserve.lua");
static USAGE: Script = script!("redis/axis.lua", "redis/attempts.lua", "redis/usage.lua");
static RENAME: Script = script!("redis/axis.lua", "redis/rename.lua");

/// How much later than it was sent a question may be answered, as far as the axis is concerned.
const ON_THE_WAY: Duration = Duration::from_millis(250);

/// `[lease] type = "redis"`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RedisLeaseConfig {
    /// Where it is; see [`store::redis`](base::store::redis#urls).
    pub url: Secret<String>,
    /// What its keys begin with. Operators with the same prefix share the lease and the budgets.
    #[serde(default)]
    pub prefix: KeyPrefix,
    /// How long a question waits for its answer.
    #[serde(default = "default_deadline", with = "units::duration")]
    pub deadline: Duration,
}

const fn default_deadline() -> Duration {
    Duration::from_secs(1)
}

impl RedisLeaseConfig {
    /// Lease and ledger in this Redis, under the usual prefix.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        let url = Secret::new(url.into());
        Self { url, prefix: KeyPrefix::default(), deadline: default_deadline() }
    }

    /// A handle to it. Connects nothing.
    ///
    /// # Errors
    /// `InvalidInput`: the URL or the deadline is wrong.
    pub fn open(&self, clock: SharedClock) -> Result<(RedisLease, RedisLedger)> {
        let redis = Redis::open(self.url.expose(), &Options::new(), clock.clone())?;
        self.on(&redis, clock)
    }

    /// The same over the connections of a handle that is open already.
    ///
    /// # Errors
    /// `InvalidInput`: the deadline is zero.
    pub fn on(&self, redis: &Redis, clock: SharedClock) -> Result<(RedisLease, RedisLedger)> {
        if self.deadline.is_zero() {
            let message = "a deadline must be longer than 0s; leave it out for the default";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let redis = redis.clone().with_deadline(self.deadline);
        let lease = RedisLease::new(redis, &self.prefix, clock);
        let ledger = lease.ledger();
        Ok((lease, ledger))
    }
}

/// Where the axis stood when it was last asked, by our own clock.
#[derive(Debug, Clone, Copy)]
struct Look {
    at: Duration,
    sent: Duration,
    answered: Duration,
}

#[derive(Debug)]
struct Shared {
    redis: Redis,
    clock: SharedClock,
    keys: [String; 3],
    look: Mutex<Option<Look>>,
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl Shared {
    /// A call of a script, with the two bounds of the axis as its first arguments.
    fn call(&self, script: &'static Script, sent: Duration) -> Command {
        let look = *self.look.lock();
        let (earliest, latest) = look.map_or((-1, -1), |look| {
            let since = |then: Duration| sent.saturating_sub(then);
            let earliest = look.at + since(look.answered);
            (micros(earliest), micros(look.at + since(look.sent) + ON_THE_WAY))
        });
        script.call(&self.keys).arg(earliest).arg(latest)
    }

    /// Asks, and remembers where the axis stood.
    async fn ask(
        &self,
        operation: &'static str,
        (script, effect): (&'static Script, Effect),
        arguments: impl FnOnce(Command) -> Command,
    ) -> Result<Answer> {
        let sent = self.clock.boottime();
        let command = arguments(self.call(script, sent));
        let mut parts: Vec<String> = self.redis.query(operation, command, effect).await?;
        parts.reverse();
        let mut answer = Answer { parts, operation };
        let at = Duration::from_micros(answer.number()?.unwrap_or(0));
        let answered = self.clock.boottime();
        let mut look = self.look.lock();
        if look.is_none_or(|known| known.at <= at) {
            *look = Some(Look { at, sent, answered });
        }
        Ok(answer)
    }
}

/// What a script answered, the next part last.
struct Answer {
    parts: Vec<String>,
    operation: &'static str,
}

impl Answer {
    fn text(&mut self) -> Option<String> {
        self.parts.pop()
    }

    fn number(&mut self) -> Result<Option<u64>> {
        let Some(text) = self.text() else { return Ok(None) };
        text.parse().map(Some).map_err(|error| self.damaged(&text).with_source(error))
    }

    fn damaged(&self, what: &str) -> Error {
        Error::new(
            ErrorKind::Corrupt,
            format!(
                "expected a number in a key of the lease, found {what:?}; choose another prefix"
            ),
        )
        .with_operation(self.operation)
    }

    fn grant(mut self, holder: Option<&HolderId>) -> Result<Option<Grant>> {
        let holder = match (holder, self.parts.is_empty()) {
            (_, true) => return Ok(None),
            (Some(holder), _) => holder.clone(),
            (None, _) => HolderId::new(self.text().unwrap_or_default())?,
        };
        let (Some(token), Some(since)) = (self.number()?, self.number()?) else { return Ok(None) };
        let since = WallTime::from_millis(since.cast_signed());
        Ok(Some(Grant::new(holder, FencingToken::new(token), since)))
    }
}

/// A lease in Redis: for operators on many machines. Clones share the connections.
#[derive(Debug, Clone)]
pub struct RedisLease {
    shared: Arc<Shared>,
}

impl RedisLease {
    /// The one lease under this prefix. `clock` confirms the server's.
    #[must_use]
    pub fn new(redis: Redis, prefix: &KeyPrefix, clock: SharedClock) -> Self {
        let key = |name: &str| format!("{prefix}:{{lease}}:{name}");
        let keys = [key("state"), key("attempts"), key("services")];
        Self { shared: Arc::new(Shared { redis, clock, keys, look: Mutex::default() }) }
    }

    /// The ledger under the same prefix, fenced by this lease's tokens.
    #[must_use]
    pub fn ledger(&self) -> RedisLedger {
        RedisLedger { shared: Arc::clone(&self.shared) }
    }
}

#[async_trait]
impl Lease for RedisLease {
    async fn acquire(&self, holder: &HolderId, ttl: Duration) -> Result<Option<Grant>> {
        let arguments = |call: Command| call.arg(holder.as_str()).arg(micros(ttl));
        let script = (&ACQUIRE, Effect::Idempotent);
        self.shared.ask("lease.redis.acquire", script, arguments).await?.grant(Some(holder))
    }

    async fn renew(&self, grant: &Grant, ttl: Duration) -> Result<bool> {
        let arguments = |call| ours(call, grant).arg(micros(ttl));
        let script = (&RENEW, Effect::Idempotent);
        let mut answer = self.shared.ask("lease.redis.renew", script, arguments).await?;
        Ok(answer.number()? == Some(1))
    }

    async fn release(&self, grant: &Grant) -> Result<()> {
        let script = (&RELEASE, Effect::Idempotent);
        self.shared.ask("lease.redis.release", script, |call| ours(call, grant)).await.map(drop)
    }

    async fn current(&self) -> Result<Option<Grant>> {
        let script = (&CURRENT, Effect::Read);
        self.shared.ask("lease.redis.current", script, |call| call).await?.grant(None)
    }
}

fn ours(call: Command, grant: &Grant) -> Command {
    call.arg(grant.holder.as_str()).arg(grant.token.number())
}

/// A ledger in Redis: for operators on many machines.
#[derive(Debug, Clone)]
pub struct RedisLedger {
    shared: Arc<Shared>,
}

#[async_trait]
impl RestartLedger for RedisLedger {
    async fn reserve(&self, attempt: Attempt) -> Result<Reservation> {
        const OPERATION: &str = "lease.redis.reserve";
        let limits: Vec<Limit> = attempt.limits.iter().chain(&attempt.global).copied().collect();
        let arguments = |call: Command| {
            let call = call
                .arg(attempt.token.number())
                .arg(attempt.intent.as_str())
                .arg(attempt.service.as_str())
                .arg(micros(REMEMBERED))
                .arg(micros(rules::longest(&attempt)))
                .arg(attempt.limits.len());
            let with = |call: Command, limit: &Limit| call.arg(limit.max).arg(micros(limit.window));
            limits.iter().fold(call, with)
        };
        let script = (&RESERVE, Effect::Idempotent);
        let mut answer = self.shared.ask(OPERATION, script, arguments).await?;
        let verdict = answer.text().unwrap_or_default();
        let number = answer.number()?.unwrap_or(0);
        match verdict.as_str() {
            "granted" => Ok(Reservation::Granted),
            "fenced" => {
                let highest = FencingToken::new(number);
                let error = rules::fenced(&attempt.service, attempt.token, highest);
                Err(error.with_operation(OPERATION))
            }
            "refused" => {
                let index = usize::try_from(number).unwrap_or(usize::MAX);
                let limit = *limits.get(index).ok_or_else(|| answer.damaged("a limit"))?;
                let own = index < attempt.limits.len();
                let gate = if own { Gate::Budget } else { Gate::GlobalBudget };
                let retry_in = Duration::from_micros(answer.number()?.unwrap_or(0));
                Ok(Reservation::Refused { gate, limit, retry_in })
            }
            _ => Err(answer.damaged(&verdict)),
        }
    }

    async fn usage(&self, service: &ServiceId, limits: &[Limit]) -> Result<Vec<Usage>> {
        let arguments = |call: Command| {
            let call = call.arg(service.as_str());
            limits.iter().fold(call, |call, limit| call.arg(micros(limit.window)))
        };
        let script = (&USAGE, Effect::Read);
        let mut answer = self.shared.ask("lease.redis.usage", script, arguments).await?;
        let mut usage = Vec::with_capacity(limits.len());
        for limit in limits {
            let used = answer.number()?.unwrap_or(0);
            let used = u32::try_from(used).unwrap_or(u32::MAX);
            usage.push(Usage { limit: *limit, used });
        }
        Ok(usage)
    }

    async fn reset(&self, service: &ServiceId) -> Result<()> {
        let arguments = |call: Command| call.arg(service.as_str()).arg("");
        let script = (&RENAME, Effect::Idempotent);
        self.shared.ask("lease.redis.reset", script, arguments).await.map(drop)
    }

    async fn rename(&self, from: &ServiceId, to: &ServiceId) -> Result<()> {
        let arguments = |call: Command| call.arg(from.as_str()).arg(to.as_str());
        let script = (&RENAME, Effect::Idempotent);
        self.shared.ask("lease.redis.rename", script, arguments).await.map(drop)
    }
}
