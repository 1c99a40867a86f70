//! What the machine is told, and what it wants done.

use std::collections::BTreeMap;
use std::time::Duration;

use super::record::{Globals, HealthReport, Plan, Record, Ticket};
use crate::lease::{Attempt, Limit};
use crate::operator::command::{Command, Reply};
use crate::operator::settings::OperatorSettings;
use crate::restart::{InstanceEvent, Receipt, Running};
use base::clock::{Stamp, WallTime};
use base::events::Event;
use base::vocabulary::{
    ActionKind, ActionOutcome, FencingToken, Gate, HolderId, IntentId, ServiceId,
};
use base::{Error, Result};

/// A look at a service.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    /// In which era of the service it began.
    pub(crate) era: u64,
    pub(crate) running: Result<Running, String>,
    pub(crate) log: Vec<String>,
    /// Dependencies that fail a fresh probe.
    pub(crate) failing: Vec<ServiceId>,
}

/// What the ledger answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reserved {
    Granted,
    Refused {
        gate: Gate,
        limit: Limit,
        retry_in: Duration,
    },
    /// Somebody with a higher token was there.
    Fenced,
    Failed(String),
}

/// What fresh probes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fresh {
    Pass,
    Fail(String),
    Unknown(String),
}

/// What was persisted, read back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Saved {
    pub(crate) globals: Globals,
    pub(crate) records: BTreeMap<ServiceId, Record>,
}

#[derive(Debug)]
pub(crate) enum Input {
    /// The services, at first and after a reload; after one also what holds over all of them;
    /// and which windows of the calendar changed with that.
    Configure {
        plans: Vec<Plan>,
        settings: Option<Box<OperatorSettings>>,
        windows: Vec<(ServiceId, Option<WallTime>)>,
    },
    /// The lease is ours, and this is what was persisted.
    Activate {
        holder: HolderId,
        token: FencingToken,
        saved: Saved,
    },
    /// The lease is not ours any more.
    Deactivate {
        reason: String,
    },
    Health {
        service: ServiceId,
        report: HealthReport,
        /// When the probe began that it follows from.
        began: Stamp,
    },
    Observed {
        service: ServiceId,
        look: Look,
    },
    Instance {
        service: ServiceId,
        event: InstanceEvent,
    },
    Reserved {
        service: ServiceId,
        intent: IntentId,
        answer: Reserved,
    },
    Acted {
        service: ServiceId,
        intent: IntentId,
        outcome: ActionOutcome,
        receipt: Receipt,
        took: Duration,
    },
    /// The restarter was not called: a gate closed between the intent and the act.
    NotActed {
        service: ServiceId,
        intent: IntentId,
        gate: Gate,
        reason: String,
    },
    Verified {
        service: ServiceId,
        intent: IntentId,
        running: Result<Running, String>,
        fresh: Fresh,
    },
    /// On with a reason, or off.
    KillSwitch(Option<String>),
    /// Which windows of the calendar opened or closed.
    Maintenance(Vec<(ServiceId, Option<WallTime>)>),
    /// Healthy, or what is wrong with us.
    Canary(Result<(), String>),
    /// The machine slept: what was measured before says nothing about now.
    Woke,
    Command {
        ticket: Ticket,
        command: Command,
    },
    Tick,
    Shutdown,
}

#[derive(Debug)]
pub(crate) enum Effect {
    Observe {
        service: ServiceId,
        era: u64,
        with_log: bool,
        dependencies: Vec<ServiceId>,
    },
    Reserve(Attempt),
    Act {
        service: ServiceId,
        intent: IntentId,
        action: ActionKind,
        token: FencingToken,
        timeout: Duration,
        /// The second half of something we began: done whatever the kill switch says.
        finishing: bool,
    },
    Verify {
        service: ServiceId,
        intent: IntentId,
    },
    ActionBegan {
        service: ServiceId,
    },
    ActionEnded {
        service: ServiceId,
        started_ago: Duration,
    },
    Accelerate {
        service: ServiceId,
    },
    Maintenance {
        service: ServiceId,
        open: bool,
    },
    Settle {
        service: ServiceId,
        keep: bool,
    },
    ResetLedger {
        service: ServiceId,
    },
    RenameLedger {
        from: ServiceId,
        to: ServiceId,
    },
    Answer {
        ticket: Ticket,
        answer: Result<Reply, Error>,
    },
}

/// What must be on disk before the effects of the same step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) globals: Option<Globals>,
    /// `None` deletes.
    pub(crate) records: BTreeMap<ServiceId, Option<Record>>,
    pub(crate) events: Vec<Event>,
}

impl Commit {
    pub(crate) fn is_empty(&self) -> bool {
        self.globals.is_none() && self.records.is_empty() && self.events.is_empty()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Output {
    pub(crate) commit: Commit,
    pub(crate) effects: Vec<Effect>,
}
