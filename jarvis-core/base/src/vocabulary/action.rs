//! What the operator does, why it does not, and where a service stands in the loop.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Cause, ServiceId, VersionId};
use crate::clock::WallTime;

/// What is done to a service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// Stop, then start.
    Restart,
    /// Start what does not run.
    Start,
    /// Stop what runs.
    Stop,
    /// Replace what runs by an earlier version.
    RollBack {
        /// The version to go back to.
        to: VersionId,
    },
}

impl fmt::Display for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restart => f.write_str("restart"),
            Self::Start => f.write_str("start"),
            Self::Stop => f.write_str("stop"),
            Self::RollBack { to } => write!(f, "rollback to {to}"),
        }
    }
}

/// Why an action was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
#[non_exhaustive]
pub enum Trigger {
    /// It is down.
    Down {
        /// What was seen.
        cause: Cause,
    },
    /// A person asked. Does not eat the budget.
    Manual {
        /// Who, as far as we know.
        by: String,
    },
    /// A dependency was restarted and this service asks to be restarted with it.
    Dependency {
        /// The one it depends on.
        on: ServiceId,
    },
    /// The cooldown is over: the one trial of a half-open breaker.
    HalfOpen,
    /// JARVIS had stopped it, and starts it again after its own restart.
    Reconcile,
    /// It never ran since JARVIS owns it. Not a restart, not in any budget.
    FirstStart,
}

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ActionOutcome {
    /// The restarter says that it is done.
    Done,
    /// The restarter says that it failed.
    Failed,
    /// Nobody knows: the deadline passed or the connection was lost in the middle.
    Indeterminate,
}

/// How much the operator may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Acts on services that have a restart section.
    #[default]
    Act,
    /// Decides, says what it would do, does nothing.
    DryRun,
    /// Watches and alerts only.
    Observe,
}

impl Mode {
    /// The word that the configuration uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Act => "act",
            Self::DryRun => "dry-run",
            Self::Observe => "observe",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What can hold an action back. The order is the order in which they are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Gate {
    /// The kill switch is on.
    KillSwitch,
    /// The mode is observe or dry-run, or JARVIS is paused.
    Mode,
    /// Another operator holds the lease, or ours was lost.
    Lease,
    /// The service has no restart section, or `[allow]` leaves it or the action out.
    AllowList,
    /// A maintenance window is open.
    Maintenance,
    /// A person stopped it.
    StoppedByPerson,
    /// What failed is nothing that a restart can mend.
    FailureKind,
    /// It never passed since it was configured: check the configuration.
    NeverHealthy,
    /// The platform's own restart policy goes first.
    NativePolicy,
    /// What it depends on is down.
    Dependency,
    /// It flaps.
    Flapping,
    /// We suspect ourselves, not the service.
    SelfSuspicion,
    /// The breaker is open: cooling down.
    Cooldown,
    /// Backing off between two attempts.
    Backoff,
    /// The restart budget (short or long window, or the incident's) is used up.
    Budget,
    /// The budget or the concurrency limit across all services is used up.
    GlobalBudget,
}

impl Gate {
    /// The stable word, as it is serialised.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KillSwitch => "kill_switch",
            Self::Mode => "mode",
            Self::Lease => "lease",
            Self::AllowList => "allow_list",
            Self::Maintenance => "maintenance",
            Self::StoppedByPerson => "stopped_by_person",
            Self::FailureKind => "failure_kind",
            Self::NeverHealthy => "never_healthy",
            Self::NativePolicy => "native_policy",
            Self::Dependency => "dependency",
            Self::Flapping => "flapping",
            Self::SelfSuspicion => "self_suspicion",
            Self::Cooldown => "cooldown",
            Self::Backoff => "backoff",
            Self::Budget => "budget",
            Self::GlobalBudget => "global_budget",
        }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An action that a gate holds back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Which gate.
    pub gate: Gate,
    /// One line that a person can act on.
    pub reason: String,
    /// When it will be asked again by itself; absent when something else has to happen first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<WallTime>,
}

/// Where a service stands in the operator's loop. A second axis beside its state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "phase")]
#[non_exhaustive]
pub enum Lifecycle {
    /// Nothing to do.
    #[default]
    Steady,
    /// An intent is recorded and the restarter works.
    Acting,
    /// The action is done; waiting before the first verification.
    Waiting,
    /// Being verified with fresh connections.
    Verifying,
    /// Verified; a crash now still belongs to the same incident.
    Stabilising,
    /// The next attempt is due later.
    BackingOff,
    /// Attempts are used up; a person has been called; one trial after the cooldown.
    CoolingDown,
    /// A gate holds the action back.
    Held {
        /// Which and why.
        hold: Hold,
    },
    /// Stopped on purpose.
    Stopped,
}

impl Lifecycle {
    /// The stable word, as it is serialised.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Acting => "acting",
            Self::Waiting => "waiting",
            Self::Verifying => "verifying",
            Self::Stabilising => "stabilising",
            Self::BackingOff => "backing_off",
            Self::CoolingDown => "cooling_down",
            Self::Held { .. } => "held",
            Self::Stopped => "stopped",
        }
    }
}
