//! What is remembered of each service, on disk and in memory.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::operator::command::asked_by;
use crate::operator::policy::{RestartPolicy, RollbackPolicy};
use crate::operator::settings::matches_any;
use crate::restart::Running;
use base::clock::{Stamp, WallTime};
use base::vocabulary::{
    ActionKind, Cause, FencingToken, Gate, Hold, HolderId, IncidentId, InstanceId, IntentId,
    ServiceId, ServiceState, Trigger, VersionId,
};

/// The configuration of a service, as far as decisions need it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    pub(crate) id: ServiceId,
    pub(crate) actionable: bool,
    pub(crate) policy: RestartPolicy,
    pub(crate) rollback: Option<RollbackPolicy>,
    pub(crate) depends_on: Vec<ServiceId>,
    pub(crate) restart_with_dependency: bool,
    pub(crate) start_grace: Duration,
    pub(crate) host: Option<String>,
    pub(crate) target: Option<String>,
    pub(crate) renamed_from: Option<ServiceId>,
    pub(crate) fingerprint: Option<String>,
}

impl Plan {
    /// Is it the service that was called `old` and acted on `target`, under a new name?
    pub(crate) fn succeeds(&self, old: &ServiceId, target: Option<&String>) -> bool {
        self.renamed_from.as_ref() == Some(old)
            || (target.is_some() && self.target.as_ref() == target)
    }
}

/// What is persisted of a service. Every change is on disk before its side effect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    pub(crate) incident: Option<Incident>,
    pub(crate) phase: Phase,
    /// The breaker, while it is open.
    pub(crate) breaker: Option<OpenBreaker>,
    /// Stopped on purpose, and how we know.
    pub(crate) stopped: Option<String>,
    /// Gates whose hold was announced since the service was last well.
    #[serde(rename = "told")]
    pub(crate) announced: BTreeSet<Gate>,
    pub(crate) ever_passed: bool,
    pub(crate) fingerprint: Option<String>,
    pub(crate) target: Option<String>,
    pub(crate) instance: Option<InstanceId>,
    pub(crate) version: Option<SeenVersion>,
    pub(crate) good: Option<VersionId>,
    pub(crate) bad: Vec<VersionId>,
    /// A restart that is due because a dependency was restarted.
    pub(crate) pending: Option<Pending>,
}

/// The longest list of versions that are pinned as bad; the oldest is forgotten first.
pub(crate) const MAX_BAD_VERSIONS: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Incident {
    pub(crate) id: IncidentId,
    pub(crate) opened: Stamp,
    pub(crate) cause: Cause,
    pub(crate) because_of: Option<ServiceId>,
    /// Counted intents since it opened.
    pub(crate) attempts: u32,
    /// Counted intents since it opened or was reset: what the cap of an incident is about.
    pub(crate) since_reset: u32,
    pub(crate) failures: u32,
    pub(crate) failed_verifies: u32,
    /// When the first verification failed.
    pub(crate) first_failed: Option<Stamp>,
    pub(crate) escalated: bool,
    pub(crate) recovered: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OpenBreaker {
    pub(crate) since: Stamp,
    pub(crate) cooldown: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SeenVersion {
    pub(crate) version: VersionId,
    pub(crate) since: Stamp,
    /// Since when it is well without a break.
    pub(crate) healthy_since: Option<Stamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    pub(crate) on: ServiceId,
    pub(crate) since: Stamp,
    pub(crate) wait: Duration,
}

/// An action that was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Act {
    pub(crate) intent: IntentId,
    pub(crate) action: ActionKind,
    pub(crate) trigger: Trigger,
    /// Counted in the incident; 0 for what is not counted.
    pub(crate) attempt: u32,
    pub(crate) before: Option<InstanceId>,
    /// Did something run before? Where nothing did, any life is a new one.
    pub(crate) was_running: bool,
    pub(crate) from: Option<VersionId>,
    pub(crate) began: Stamp,
    /// How often the start half was tried on its own.
    pub(crate) finishing: u32,
}

/// How often the start half is tried on its own before the next attempt is due.
pub(crate) const MAX_FINISHING: u32 = 3;

impl Act {
    /// From the end of the action to the first verification.
    pub(crate) fn wait(&self, policy: &RestartPolicy) -> Duration {
        match self.trigger {
            Trigger::FirstStart => Duration::ZERO,
            _ => policy.wait,
        }
    }

    /// Must another life run afterwards?
    pub(crate) fn renews(&self) -> bool {
        match self.action {
            ActionKind::Start => !self.was_running,
            ActionKind::Stop => false,
            ActionKind::Restart | ActionKind::RollBack { .. } => true,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "phase")]
pub(crate) enum Phase {
    #[default]
    Idle,
    /// The intent is on disk; its result is not.
    Acting {
        act: Act,
    },
    Waiting {
        act: Act,
        since: Stamp,
    },
    /// `since` is the end of the action.
    Verifying {
        act: Act,
        since: Stamp,
    },
    Stabilising {
        act: Option<Act>,
        since: Stamp,
    },
    BackingOff {
        since: Stamp,
        wait: Duration,
    },
}

impl Phase {
    /// The action that is under way or being proved.
    pub(crate) const fn act(&self) -> Option<&Act> {
        match self {
            Self::Acting { act } | Self::Waiting { act, .. } | Self::Verifying { act, .. } => {
                Some(act)
            }
            Self::Stabilising { act, .. } => act.as_ref(),
            Self::Idle | Self::BackingOff { .. } => None,
        }
    }

    /// Is an action between its intent and its proof?
    pub(crate) const fn in_flight(&self) -> bool {
        matches!(self, Self::Acting { .. } | Self::Waiting { .. } | Self::Verifying { .. })
    }
}

/// What is persisted beside the services.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Globals {
    /// Who paused.
    pub(crate) paused: Option<String>,
    /// When the pause ends by itself; without it, at `resume`.
    pub(crate) paused_for: Option<Span>,
    pub(crate) one_off: Vec<OneOff>,
    /// How many windows were ever opened: the last one's number.
    pub(crate) windows: u64,
    /// The services of which an open window was announced, whoever opened it.
    pub(crate) maintained: BTreeSet<ServiceId>,
}

/// A time that began and lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Span {
    pub(crate) since: Stamp,
    pub(crate) duration: Duration,
}

impl Span {
    pub(crate) fn left(&self, now: &Stamp) -> Duration {
        self.duration.saturating_sub(self.since.age(now))
    }
}

/// A maintenance window that a person opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OneOff {
    #[serde(default)]
    pub(crate) id: u64,
    pub(crate) services: Vec<String>,
    #[serde(flatten)]
    pub(crate) span: Span,
    #[serde(default)]
    pub(crate) by: String,
    #[serde(default)]
    pub(crate) reason: String,
}

impl OneOff {
    pub(crate) fn open_until(&self, service: &ServiceId, now: &Stamp) -> Option<WallTime> {
        let left = self.span.left(now);
        (!left.is_zero() && matches_any(&self.services, service)).then(|| now.wall + left)
    }

    /// Who opened it, and why.
    pub(crate) fn opened_by(&self) -> String {
        asked_by(&self.by, &self.reason)
    }
}

/// Somebody who waits for the answer to a command.
pub(crate) type Ticket = u64;

/// A manual action that waits for a look at the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manual {
    pub(crate) ticket: Ticket,
    pub(crate) action: ActionKind,
    pub(crate) by: String,
}

/// What the checks of a service say, thresholds applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HealthReport {
    pub(crate) state: ServiceState,
    pub(crate) cause: Option<Cause>,
    pub(crate) ever_passed: bool,
    pub(crate) flapping: bool,
}

/// What is known of a service without being persisted.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) health: HealthReport,
    /// When it went down, or last came back, as told by its checks.
    pub(crate) down_since: Option<Stamp>,
    pub(crate) up_since: Option<Stamp>,
    pub(crate) look: Option<Running>,
    pub(crate) looked: Option<Stamp>,
    pub(crate) look_errors: u32,
    /// Does the look tell of now? Cleared by whatever may have changed it.
    pub(crate) look_fresh: bool,
    /// The era in which the look that is under way began.
    pub(crate) looking: Option<u64>,
    /// Something happened since that look began.
    pub(crate) look_again: bool,
    /// How often a look was repeated because of that.
    pub(crate) looks_repeated: u8,
    /// Counts the turns of an action on it: a look that began before the last one tells of a life,
    /// or a state, that is over.
    pub(crate) era: u64,
    /// When the last action on it was over: what the checks saw before then tells of the life
    /// before.
    pub(crate) acted: Option<Stamp>,
    pub(crate) log: Vec<String>,
    /// Dependencies that failed a fresh probe during the last look.
    pub(crate) failing: Vec<ServiceId>,
    pub(crate) reserving: Option<Reserving>,
    pub(crate) passes: u32,
    pub(crate) verifying: bool,
    pub(crate) verified_at: Option<Stamp>,
    pub(crate) unknowns: u32,
    pub(crate) hold: Option<Hold>,
    /// Not asked again before then: (since, wait).
    pub(crate) retry: Option<(Stamp, Duration)>,
    pub(crate) maintenance: Option<WallTime>,
    /// Was the aggregator of this process told of a window?
    pub(crate) in_maintenance: bool,
    /// When it came into the machine.
    pub(crate) first_seen: Option<Stamp>,
    pub(crate) manual: Option<Manual>,
    /// The action in the record was begun by an earlier life of ours, or nobody knows how it
    /// ended: look first.
    pub(crate) reconcile: bool,
    /// What the restarter said about the action that is being reconciled.
    pub(crate) failure: Option<String>,
    /// It left the configuration; what is under way is finished.
    pub(crate) removed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reserving {
    pub(crate) intent: IntentId,
    pub(crate) action: ActionKind,
    pub(crate) trigger: Trigger,
}

/// A service in the machine.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) plan: Plan,
    pub(crate) record: Record,
    /// The record as it was last handed out to be persisted.
    pub(crate) saved: Option<Record>,
    pub(crate) live: Live,
}

/// The lease as the machine knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) holder: HolderId,
    pub(crate) token: FencingToken,
}
