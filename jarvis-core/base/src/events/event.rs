//! Event types, and the topic of each.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Message, Topic, UnknownEvent};
use crate::units;
use crate::vocabulary::{
    ActionKind, ActionOutcome, Cause, FencingToken, Hold, HolderId, IncidentId, InstanceId,
    IntentId, Mode, Platform, ServiceId, ServiceState, Severity, Trigger, VersionId,
};

/// Something that happened.
///
/// Serialised as `{"type": "service_changed", …}`. Fields are added over time, never renamed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
#[non_exhaustive]
pub enum Event {
    /// A service is something else than before, thresholds applied.
    ServiceChanged {
        /// Which.
        service: ServiceId,
        /// What it was.
        from: ServiceState,
        /// What it is.
        to: ServiceState,
        /// The check that decided; absent when it passes again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<Cause>,
    },
    /// The platform as a whole is something else than before.
    PlatformChanged {
        /// What it was.
        from: ServiceState,
        /// What it is, with counts.
        to: Platform,
    },
    /// A service changes its state too often to be believed.
    FlappingStarted {
        /// Which.
        service: ServiceId,
    },
    /// It settled.
    FlappingStopped {
        /// Which.
        service: ServiceId,
    },
    /// A service went down: an incident begins.
    IncidentOpened {
        /// The incident.
        incident: IncidentId,
        /// Which service.
        service: ServiceId,
        /// What was seen.
        cause: Cause,
        /// A dependency that is down too, and so explains it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        because_of: Option<ServiceId>,
    },
    /// It passed verification, or came back by itself. Not yet trusted.
    IncidentRecovered {
        /// The incident.
        incident: IncidentId,
        /// Which service.
        service: ServiceId,
        /// Since the incident opened.
        #[serde(rename = "after_ms", with = "units::millis")]
        after: Duration,
        /// How many actions it took; 0 when it came back by itself.
        attempts: u32,
    },
    /// It stayed well for the stabilisation time: the incident is over.
    IncidentResolved {
        /// The incident.
        incident: IncidentId,
        /// Which service.
        service: ServiceId,
        /// Since the incident opened.
        #[serde(rename = "after_ms", with = "units::millis")]
        after: Duration,
        /// How many actions it took.
        attempts: u32,
    },
    /// JARVIS gave up for now: a person is needed.
    Escalated {
        /// The incident.
        incident: IncidentId,
        /// Which service.
        service: ServiceId,
        /// How many actions were tried.
        attempts: u32,
        /// Why no further one is made now.
        reason: String,
        /// The last lines of its log, masked and bounded; empty when there are none.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        last_log_lines: Vec<String>,
    },
    /// A person stopped the service, in JARVIS or beside it. Nothing is wrong.
    StoppedByPerson {
        /// Which service.
        service: ServiceId,
        /// How we know.
        evidence: String,
    },
    /// A gate holds an action back. Told once for each gate and incident.
    ActionHeld {
        /// Which service.
        service: ServiceId,
        /// The action.
        action: ActionKind,
        /// The gate and its reason.
        hold: Hold,
    },
    /// What would have been done; in dry-run mode.
    ActionSimulated {
        /// Which service.
        service: ServiceId,
        /// The action.
        action: ActionKind,
        /// Why.
        trigger: Trigger,
    },
    /// An intent is on disk and the restarter is called.
    ActionStarted {
        /// The intent.
        intent: IntentId,
        /// Which service.
        service: ServiceId,
        /// The action.
        action: ActionKind,
        /// Why.
        trigger: Trigger,
        /// Counted in this incident, from 1; 0 for what is not counted.
        attempt: u32,
    },
    /// The restarter answered, or its deadline passed.
    ActionFinished {
        /// The intent.
        intent: IntentId,
        /// Which service.
        service: ServiceId,
        /// How it ended.
        outcome: ActionOutcome,
        /// How long it took.
        #[serde(rename = "took_ms", with = "units::millis")]
        took: Duration,
        /// One line for a person.
        message: String,
    },
    /// Fresh probes pass, and a new life is proven (or can't be, and is told so).
    VerifyPassed {
        /// The intent.
        intent: IntentId,
        /// Which service.
        service: ServiceId,
        /// The new life.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instance: Option<InstanceId>,
        /// Was it shown that a new life began?
        proven: bool,
    },
    /// It is not well after the action.
    VerifyFailed {
        /// The intent.
        intent: IntentId,
        /// Which service.
        service: ServiceId,
        /// What was seen.
        reason: String,
    },
    /// A bad version was replaced by the last good one, and is pinned as bad.
    RolledBack {
        /// Which service.
        service: ServiceId,
        /// The version that failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<VersionId>,
        /// The version that runs again.
        to: VersionId,
    },
    /// A new life began that we did not begin.
    InstanceChanged {
        /// Which service.
        service: ServiceId,
        /// The life before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<InstanceId>,
        /// The life now.
        to: InstanceId,
        /// How we know, and who did it as far as we know.
        evidence: String,
    },
    /// The life of a service ended, proven.
    InstanceExited {
        /// Which service.
        service: ServiceId,
        /// The life that ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instance: Option<InstanceId>,
        /// Exit code or signal, as text; "unknown" for an adopted process.
        exit: String,
    },
    /// The supervision loop runs.
    OperatorStarted {
        /// What it may do.
        mode: Mode,
        /// How many services it watches.
        services: usize,
        /// How many of them it may restart.
        restartable: usize,
    },
    /// The supervision loop ended in good order.
    OperatorStopped {
        /// Why.
        reason: String,
    },
    /// This operator acts from now on.
    LeaseAcquired {
        /// Us.
        holder: HolderId,
        /// Fences everybody before us.
        token: FencingToken,
    },
    /// This operator acts no longer.
    LeaseLost {
        /// Why.
        reason: String,
    },
    /// The kill switch or a pause changed.
    ActingChanged {
        /// May the operator act?
        acting: bool,
        /// Who or what changed it.
        reason: String,
    },
    /// A maintenance window opened or closed.
    MaintenanceChanged {
        /// Is one open?
        open: bool,
        /// The services that have a window now and had none before, or the other way round.
        services: Vec<String>,
    },
    /// Too much fails at once to believe it; actions that depend on our network are held.
    SelfSuspected {
        /// Do we suspect ourselves?
        suspected: bool,
        /// What we saw.
        reason: String,
    },
    /// Budgets and breaker of a service were cleared by a person.
    ServiceReset {
        /// Which service.
        service: ServiceId,
        /// Who.
        by: String,
    },
    /// A changed configuration is in force.
    ConfigReloaded {
        /// What changed, a line each.
        changes: Vec<String>,
    },
    /// A changed configuration is wrong; the old one stays.
    ConfigRefused {
        /// Why.
        reason: String,
    },
    /// Something of ours does not work (state can't be written, events were dropped, …); the
    /// supervision goes on.
    OperatorTrouble {
        /// How bad.
        severity: Severity,
        /// What, for a person.
        message: String,
    },
    /// An alert was delivered.
    AlertDelivered {
        /// The sink's name.
        sink: String,
        /// The alert's key.
        key: String,
    },
    /// An alert could not be delivered yet, or was given up.
    AlertFailed {
        /// The sink's name.
        sink: String,
        /// The alert's key.
        key: String,
        /// Why.
        reason: String,
        /// Is it given up for good?
        given_up: bool,
    },
    /// Something that the application says.
    Message(Message),
    /// Something that only a newer JARVIS knows. Only an [`Envelope`](super::Envelope) is read
    /// this way; an event by itself that is not known is an error.
    #[serde(untagged, skip_deserializing)]
    Unknown(UnknownEvent),
}

/// Names, kinds and identifiers: what they are must stay readable.
fn is_word(text: &str) -> bool {
    text.len() <= 64
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

impl Event {
    /// The event with known secrets masked. A message of the application stays as it is.
    #[must_use]
    pub fn masked(self) -> Self {
        if !self.is_own() {
            return self;
        }
        let masked = crate::secret::mask_json(&self, is_word);
        masked.and_then(|event| serde_json::from_value(event).ok()).unwrap_or(self)
    }

    /// What the event is about.
    #[must_use]
    pub fn topic(&self) -> Topic {
        match self {
            Self::ServiceChanged { .. }
            | Self::PlatformChanged { .. }
            | Self::FlappingStarted { .. }
            | Self::FlappingStopped { .. } => Topic::Health,
            Self::IncidentOpened { .. }
            | Self::IncidentRecovered { .. }
            | Self::IncidentResolved { .. }
            | Self::Escalated { .. }
            | Self::StoppedByPerson { .. } => Topic::Incident,
            Self::ActionHeld { .. }
            | Self::ActionSimulated { .. }
            | Self::ActionStarted { .. }
            | Self::ActionFinished { .. }
            | Self::VerifyPassed { .. }
            | Self::VerifyFailed { .. }
            | Self::RolledBack { .. }
            | Self::InstanceChanged { .. }
            | Self::InstanceExited { .. } => Topic::Action,
            Self::OperatorStarted { .. }
            | Self::OperatorStopped { .. }
            | Self::LeaseAcquired { .. }
            | Self::LeaseLost { .. }
            | Self::ActingChanged { .. }
            | Self::MaintenanceChanged { .. }
            | Self::SelfSuspected { .. }
            | Self::ServiceReset { .. }
            | Self::ConfigReloaded { .. }
            | Self::ConfigRefused { .. }
            | Self::OperatorTrouble { .. } => Topic::Operator,
            Self::AlertDelivered { .. } | Self::AlertFailed { .. } => Topic::Alert,
            Self::Message(message) => Topic::Named(message.topic().clone()),
            Self::Unknown(unknown) => unknown.topic.clone(),
        }
    }

    /// Does JARVIS say it, on a topic of its own?
    #[must_use]
    pub const fn is_own(&self) -> bool {
        !matches!(self, Self::Message(_) | Self::Unknown(_))
    }

    /// The service it is about, where it is about one.
    #[must_use]
    pub const fn service(&self) -> Option<&ServiceId> {
        match self {
            Self::ServiceChanged { service, .. }
            | Self::FlappingStarted { service }
            | Self::FlappingStopped { service }
            | Self::IncidentOpened { service, .. }
            | Self::IncidentRecovered { service, .. }
            | Self::IncidentResolved { service, .. }
            | Self::Escalated { service, .. }
            | Self::StoppedByPerson { service, .. }
            | Self::ActionHeld { service, .. }
            | Self::ActionSimulated { service, .. }
            | Self::ActionStarted { service, .. }
            | Self::ActionFinished { service, .. }
            | Self::VerifyPassed { service, .. }
            | Self::VerifyFailed { service, .. }
            | Self::RolledBack { service, .. }
            | Self::InstanceChanged { service, .. }
            | Self::InstanceExited { service, .. }
            | Self::ServiceReset { service, .. } => Some(service),
            Self::PlatformChanged { .. }
            | Self::OperatorStarted { .. }
            | Self::OperatorStopped { .. }
            | Self::LeaseAcquired { .. }
            | Self::LeaseLost { .. }
            | Self::ActingChanged { .. }
            | Self::MaintenanceChanged { .. }
            | Self::SelfSuspected { .. }
            | Self::ConfigReloaded { .. }
            | Self::ConfigRefused { .. }
            | Self::OperatorTrouble { .. }
            | Self::AlertDelivered { .. }
            | Self::AlertFailed { .. }
            | Self::Message(_)
            | Self::Unknown(_) => None,
        }
    }
}
