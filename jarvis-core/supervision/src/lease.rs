//! Leases and restart budgets: a [`Lease`] with a fencing token decides which operator may act, and
//! the [`RestartLedger`], shared by all operators of a service, limits how often.

mod axis;
mod memory;
#[cfg(feature = "sqlite")]
mod process;
#[cfg(feature = "redis")]
pub mod redis;
mod rules;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use memory::{MemoryLease, MemoryLedger};
#[cfg(feature = "redis")]
pub use redis::{RedisLease, RedisLeaseConfig, RedisLedger};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteLease, SqliteLedger};

use base::Result;
use base::clock::WallTime;
use base::vocabulary::{FencingToken, Gate, HolderId, IntentId, ServiceId};

/// A lease that is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Grant {
    /// Who holds it.
    pub holder: HolderId,
    /// Higher than every token granted before.
    pub token: FencingToken,
    /// When it was first granted to this holder.
    pub since: WallTime,
}

impl Grant {
    /// A grant.
    #[must_use]
    pub fn new(holder: HolderId, token: FencingToken, since: WallTime) -> Self {
        Self { holder, token, since }
    }
}

/// Exclusive permission to act for a limited time.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait Lease: Debug + Send + Sync + 'static {
    /// Acquires the lease for `ttl` from now.
    ///
    /// # Behavior
    /// - There is at most one holder at any time: `None` if another holder has it.
    /// - Each token is higher than all tokens before it, even after a release, an expiry or a
    ///   restart of the store.
    /// - A holder that acquires it again receives the same grant and token, for `ttl` from now.
    /// - Any holder can acquire a lease that has expired, or whose holder's process has ended, if
    ///   the backend can prove that.
    async fn acquire(&self, holder: &HolderId, ttl: Duration) -> Result<Option<Grant>>;

    /// Renews the lease for `ttl` from now.
    ///
    /// # Behavior
    /// - `false` if it expired or another holder has it, even if it is free again. A holder that
    ///   lost it must [`acquire`](Lease::acquire) it again, with a new token.
    async fn renew(&self, grant: &Grant, ttl: Duration) -> Result<bool>;

    /// Releases the lease.
    ///
    /// # Behavior
    /// - Idempotent; an expired grant changes nothing.
    async fn release(&self, grant: &Grant) -> Result<()>;

    /// The current grant.
    ///
    /// # Behavior
    /// - `None` if there is none, or if it expired.
    async fn current(&self) -> Result<Option<Grant>>;
}

/// At most `max` attempts in any window of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// How many.
    pub max: u32,
    /// In how long. A sliding window, not a fixed one.
    #[serde(with = "base::units::duration")]
    pub window: Duration,
}

/// A request to count an attempt before an operator acts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// The service.
    pub service: ServiceId,
    /// The idempotency key.
    pub intent: IntentId,
    /// The token of the operator's lease.
    pub token: FencingToken,
    /// The service's limits; all of them hold.
    pub limits: Vec<Limit>,
    /// The limits over all services together; all of them hold.
    pub global: Vec<Limit>,
}

impl Attempt {
    /// An attempt without limits.
    #[must_use]
    pub fn new(service: ServiceId, intent: IntentId, token: FencingToken) -> Self {
        Self { service, intent, token, limits: Vec::new(), global: Vec::new() }
    }

    /// Adds a limit of the service.
    #[must_use]
    pub fn with_limit(mut self, limit: Limit) -> Self {
        self.limits.push(limit);
        self
    }

    /// Adds a limit over all services.
    #[must_use]
    pub fn with_global_limit(mut self, limit: Limit) -> Self {
        self.global.push(limit);
        self
    }
}

/// The ledger's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reservation {
    /// Counted. The operator may act.
    Granted,
    /// Not counted.
    Refused {
        /// [`Gate::Budget`] or [`Gate::GlobalBudget`].
        gate: Gate,
        /// The limit that is used up.
        limit: Limit,
        /// How long until the oldest attempt leaves that window.
        retry_in: Duration,
    },
}

/// How much of a limit is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The limit.
    pub limit: Limit,
    /// How many attempts lie in its window now.
    pub used: u32,
}

/// Restart budget: counts the attempts of all operators that act on the same services.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait RestartLedger: Debug + Send + Sync + 'static {
    /// Counts an attempt if every limit allows it.
    ///
    /// # Behavior
    /// - Atomic: concurrent callers are never granted more attempts than a limit allows.
    /// - Sliding: no interval as long as a window contains more than its `max` attempts.
    /// - A granted attempt counts, whether or not the action succeeds.
    /// - A repeated intent is `Granted` again and counted once.
    /// - A token lower than the highest one seen is `Forbidden`, and nothing is counted.
    /// - The count is durable before this returns, if the backend is durable. Jumps of the wall
    ///   clock do not free any budget.
    async fn reserve(&self, attempt: Attempt) -> Result<Reservation>;

    /// The service's usage of these limits; counts nothing.
    ///
    /// # Behavior
    /// - The usage of an unknown service is zero.
    async fn usage(&self, service: &ServiceId, limits: &[Limit]) -> Result<Vec<Usage>>;

    /// Forgets the attempts of a service. They still count for the global limits.
    ///
    /// # Behavior
    /// - Idempotent.
    async fn reset(&self, service: &ServiceId) -> Result<()>;

    /// Moves the attempts of a service to its new name.
    ///
    /// # Behavior
    /// - Attempts that the new name already has are kept; the attempts add up.
    async fn rename(&self, from: &ServiceId, to: &ServiceId) -> Result<()>;
}
