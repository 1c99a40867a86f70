//! A small world for the machine: services that crash, hang, lie and are stopped by people, a
//! platform, a ledger, a disk. It checks the invariants while time passes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use futures_util::FutureExt;
use std::sync::Arc;

use super::Machine;
use super::input::{Effect, Fresh, Input, Look, Output, Reserved, Saved};
use super::record::{HealthReport, Plan};
use crate::lease::{MemoryLedger, Reservation, RestartLedger};
use crate::operator::command::{Action, Command, Reply};
use crate::operator::policy::RestartPolicy;
use crate::operator::settings::OperatorSettings;
use crate::restart::{Exit, Receipt, RunState, Running};
use base::Result;
use base::clock::{ClockExt, ManualClock, Stamp};
use base::events::Event;
use base::resilience::BackoffPolicy;
use base::vocabulary::{
    ActionKind, ActionOutcome, Cause, CheckName, FailureKind, FencingToken, HolderId, InstanceId,
    IntentId, ServiceId, ServiceState, Trigger, VersionId,
};
use base::{Error, ErrorKind};

pub(super) fn id(name: &str) -> ServiceId {
    ServiceId::new(name).unwrap()
}

pub(super) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A plan with the default policy, but without jitter.
pub(super) fn plan(name: &str) -> Plan {
    let backoff = BackoffPolicy { jitter: false, ..BackoffPolicy::default() };
    Plan {
        id: id(name),
        actionable: true,
        policy: RestartPolicy { backoff, ..RestartPolicy::default() },
        rollback: None,
        depends_on: Vec::new(),
        restart_with_dependency: false,
        start_grace: Duration::ZERO,
        host: Some(name.to_owned()),
        target: Some(format!("test:{name}")),
        renamed_from: None,
        fingerprint: None,
    }
}

/// How the next action on a service goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    Done,
    /// Nothing is done, and it says so.
    Refuse,
    /// It is stopped and does not start.
    StopsOnly,
    /// Says that it is done, and nothing was.
    Lie,
    /// It is done, and nobody hears of it.
    LoseAnswer,
    /// It is stopped, not started, and nobody hears of it.
    LoseHalf,
}

#[derive(Debug)]
pub(super) struct Sim {
    pub(super) run: RunState,
    pub(super) life: u32,
    pub(super) hung: Option<FailureKind>,
    pub(super) version: Option<VersionId>,
    pub(super) native: bool,
    pub(super) blind: bool,
    pub(super) no_identity: bool,
    /// Every life ends that long after it began.
    pub(super) dies_after: Option<Duration>,
    pub(super) bad_versions: BTreeSet<VersionId>,
    pub(super) scripts: VecDeque<Script>,
    pub(super) ever_passed: bool,
    pub(super) flapping: bool,
    /// How long after it was taken a look arrives, and what its checks saw.
    pub(super) slow: Duration,
    /// When the last word of its checks arrives: none overtakes another.
    heard: Duration,
    /// Somebody saw it fail since it was verified last.
    failed_since: bool,
    died_at: Option<Stamp>,
    born: Option<Stamp>,
    reported: Option<HealthReport>,
    acting: bool,
}

impl Sim {
    fn new() -> Self {
        Self {
            run: RunState::Running,
            life: 1,
            hung: None,
            version: None,
            native: false,
            blind: false,
            no_identity: false,
            dies_after: None,
            bad_versions: BTreeSet::new(),
            scripts: VecDeque::new(),
            ever_passed: true,
            flapping: false,
            slow: Duration::ZERO,
            heard: Duration::ZERO,
            failed_since: false,
            died_at: None,
            born: None,
            reported: None,
            acting: false,
        }
    }

    pub(super) fn kill(&mut self) {
        if self.run == RunState::Running {
            self.run = RunState::Exited { exit: Exit::Signal(9) };
        }
    }

    pub(super) fn start(&mut self) {
        if self.run != RunState::Running {
            self.run = RunState::Running;
            self.life += 1;
            self.hung = None;
            self.born = None;
        }
    }

    fn failure(&self) -> Option<FailureKind> {
        let bad = self.version.as_ref().is_some_and(|version| self.bad_versions.contains(version));
        match self.run {
            RunState::Running if bad => Some(FailureKind::ServerError),
            RunState::Running => self.hung,
            _ => Some(FailureKind::Refused),
        }
    }

    /// Somebody looks at it now.
    fn is_seen(&mut self) {
        self.failed_since |= self.failure().is_some();
    }

    fn running(&self) -> Running {
        let instance = InstanceId::new(format!("life {}", self.life)).unwrap();
        Running::new(self.run.clone())
            .with_instance((!self.no_identity).then_some(instance))
            .with_version(self.version.clone())
            .with_native_restart(self.native)
    }
}

/// Where the next life of JARVIS ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CrashPoint {
    BeforeCommit,
    AfterCommit,
}

pub(super) struct World {
    pub(super) clock: ManualClock,
    pub(super) machine: Machine,
    pub(super) sims: BTreeMap<ServiceId, Sim>,
    pub(super) plans: Vec<Plan>,
    pub(super) settings: OperatorSettings,
    ledger: MemoryLedger,
    disk: Saved,
    /// Answers on their way: due, in order.
    answers: BTreeMap<(Duration, u64), Input>,
    sequence: u64,
    token: u64,
    pub(super) leading: bool,
    pub(super) kill: bool,
    pub(super) crash_in: Option<(u32, CrashPoint)>,
    pub(super) crashes: u32,
    pub(super) events: Vec<(Stamp, Event)>,
    pub(super) answered: Vec<(u64, Result<Reply>)>,
    pub(super) performed: Vec<(Duration, ServiceId, ActionKind)>,
    /// Restarts that were begun, by service, on the boot axis.
    pub(super) intents: BTreeMap<ServiceId, Vec<Duration>>,
    pub(super) maintained: BTreeSet<ServiceId>,
    looked_stopped: BTreeSet<ServiceId>,
    reset: BTreeSet<ServiceId>,
}

impl World {
    pub(super) fn new(plans: Vec<Plan>) -> Self {
        Self::with_settings(plans, OperatorSettings::default())
    }

    pub(super) fn with_settings(plans: Vec<Plan>, settings: OperatorSettings) -> Self {
        let clock = ManualClock::new();
        let sims = plans.iter().map(|plan| (plan.id.clone(), Sim::new())).collect();
        let mut world = Self {
            machine: Machine::new(settings.clone(), 7),
            ledger: MemoryLedger::new(Arc::new(clock.clone())),
            clock,
            sims,
            plans,
            settings,
            disk: Saved::default(),
            answers: BTreeMap::new(),
            sequence: 0,
            token: 0,
            leading: false,
            kill: false,
            crash_in: None,
            crashes: 0,
            events: Vec::new(),
            answered: Vec::new(),
            performed: Vec::new(),
            intents: BTreeMap::new(),
            maintained: BTreeSet::new(),
            looked_stopped: BTreeSet::new(),
            reset: BTreeSet::new(),
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        let open = self.maintained.iter().map(|id| (id.clone(), Some(self.wall_later())));
        let windows = open.collect();
        self.input(Input::Configure { plans: self.plans.clone(), settings: None, windows });
        self.lead();
    }

    pub(super) fn lead(&mut self) {
        if self.leading {
            return;
        }
        self.token += 1;
        self.leading = true;
        // What was not on disk by then, nobody knows any more.
        let known = self.disk.records.iter().filter(|(_, record)| record.stopped.is_some());
        let known: BTreeSet<ServiceId> = known.map(|(id, _)| id.clone()).collect();
        self.looked_stopped.retain(|id| known.contains(id));
        let holder = HolderId::new("sim").unwrap();
        let token = FencingToken::new(self.token);
        let saved = self.disk.clone();
        self.input(Input::Activate { holder, token, saved });
        let kill = self.kill.then(|| "test".to_owned());
        self.input(Input::KillSwitch(kill));
        let open = self.maintained.iter().map(|id| (id.clone(), Some(self.wall_later())));
        let open: Vec<_> = open.collect();
        self.input(Input::Maintenance(open));
    }

    fn wall_later(&self) -> base::clock::WallTime {
        self.clock.stamp().wall + secs(3_600)
    }

    pub(super) fn lose_lease(&mut self) {
        if std::mem::take(&mut self.leading) {
            self.input(Input::Deactivate { reason: "test".to_owned() });
        }
    }

    /// SIGKILL and a new start: only the disk, the ledger and the services are left.
    pub(super) fn crash(&mut self) {
        self.crashes += 1;
        self.crash_in = None;
        self.answers.clear();
        self.leading = false;
        for sim in self.sims.values_mut() {
            sim.acting = false;
            sim.reported = None;
            // What the life before saw counts for the next one, too.
            sim.failed_since |= sim.failure().is_some();
        }
        self.machine = Machine::new(self.settings.clone(), 1_000 + u64::from(self.crashes));
        self.begin();
    }

    pub(super) fn sim(&mut self, name: &str) -> &mut Sim {
        self.sims.get_mut(name).unwrap()
    }

    pub(super) fn set_kill(&mut self, on: bool) {
        self.kill = on;
        self.input(Input::KillSwitch(on.then(|| "test".to_owned())));
    }

    pub(super) fn maintain(&mut self, id: &ServiceId, open: bool) {
        let until = open.then(|| self.wall_later());
        if open {
            self.maintained.insert(id.clone());
        } else {
            self.maintained.remove(id);
        }
        self.input(Input::Maintenance(vec![(id.clone(), until)]));
    }

    pub(super) fn command(&mut self, command: Command) -> u64 {
        self.sequence += 1;
        let ticket = self.sequence;
        if let Action::Reset { service } = &command.action {
            self.reset.insert(service.clone());
        }
        self.input(Input::Command { ticket, command });
        ticket
    }

    pub(super) fn input(&mut self, input: Input) {
        let now = self.clock.stamp();
        if let Input::Observed { service, look } = &input
            && self.leading
        {
            let stopped = look
                .running
                .as_ref()
                .is_ok_and(|running| matches!(running.state, RunState::StoppedByPerson { .. }));
            if stopped {
                self.looked_stopped.insert(service.clone());
            } else if look.running.is_ok() {
                self.looked_stopped.remove(service);
            }
        }
        let output = self.machine.step(input, &now);
        self.carry_out(output, &now);
    }

    fn carry_out(&mut self, output: Output, now: &Stamp) {
        let Output { commit, effects } = output;
        let persists = !commit.is_empty() && self.leading;
        if persists {
            let point = match &mut self.crash_in {
                Some((0, point)) => Some(*point),
                Some((left, _)) => {
                    *left -= 1;
                    None
                }
                None => None,
            };
            if point == Some(CrashPoint::BeforeCommit) {
                return self.crash();
            }
            self.persist(commit, now);
            if point == Some(CrashPoint::AfterCommit) {
                return self.crash();
            }
        } else {
            self.events.extend(commit.events.into_iter().map(|event| (now.clone(), event)));
        }
        for effect in effects {
            self.effect(effect);
        }
    }

    fn persist(&mut self, commit: super::input::Commit, now: &Stamp) {
        if let Some(globals) = commit.globals {
            self.disk.globals = globals;
        }
        for (id, record) in commit.records {
            match record {
                Some(record) => {
                    // What is on disk must be what is read back.
                    let text = serde_json::to_string(&record).unwrap();
                    assert_eq!(serde_json::from_str::<super::Record>(&text).unwrap(), record);
                    drop(self.disk.records.insert(id, record));
                }
                None => drop(self.disk.records.remove(&id)),
            }
        }
        for event in commit.events {
            self.check(&event, now);
            self.events.push((now.clone(), event));
        }
    }

    fn check(&mut self, event: &Event, now: &Stamp) {
        match event {
            Event::ActionStarted { service, trigger, .. } => {
                let manual = matches!(trigger, Trigger::Manual { .. });
                if manual {
                    self.looked_stopped.remove(service);
                }
                if *trigger != Trigger::Reconcile {
                    assert!(!self.kill, "{event:?} with the kill switch on");
                }
                if !manual && *trigger != Trigger::Reconcile {
                    assert!(!self.maintained.contains(service), "{event:?} in maintenance");
                    assert!(
                        !self.looked_stopped.contains(service),
                        "{event:?}, but a person stopped it"
                    );
                }
                if matches!(
                    trigger,
                    Trigger::Down { .. } | Trigger::HalfOpen | Trigger::Dependency { .. }
                ) {
                    self.intents.entry(service.clone()).or_default().push(now.boottime);
                }
            }
            Event::VerifyPassed { service, .. } => {
                let sim = self.sims.get_mut(service).unwrap();
                sim.failed_since = sim.failure().is_some();
            }
            Event::VerifyFailed { service, reason, .. } if reason.starts_with("it went down") => {
                let failed = self.sims[service].failed_since;
                assert!(failed, "{service} was never seen to fail since it was verified: {reason}");
            }
            Event::IncidentOpened { incident, .. } => {
                let known = |event: &Event| matches!(event, Event::IncidentOpened { incident: other, .. } if other == incident);
                assert!(!self.events.iter().any(|(_, event)| known(event)), "{event:?} twice");
            }
            Event::IncidentResolved { incident, .. } => {
                let known = |event: &Event| matches!(event, Event::IncidentResolved { incident: other, .. } if other == incident);
                assert!(!self.events.iter().any(|(_, event)| known(event)), "{event:?} twice");
            }
            Event::Escalated { incident, service, .. } if !self.reset.contains(service) => {
                let known = |event: &Event| matches!(event, Event::Escalated { incident: other, .. } if other == incident);
                assert!(!self.events.iter().any(|(_, event)| known(event)), "{event:?} twice");
            }
            _ => {}
        }
    }

    pub(super) fn later(&mut self, after: Duration, input: Input) {
        self.sequence += 1;
        self.answers.insert((self.clock.stamp().boottime + after, self.sequence), input);
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Observe { service, era, dependencies, .. } => {
                let running = self.look(&service);
                let slow = self.sims.get(&service).map_or(Duration::ZERO, |sim| sim.slow);
                let failing = dependencies
                    .into_iter()
                    .filter(|on| self.sims.get(on).is_some_and(|sim| sim.failure().is_some()))
                    .collect();
                let log = vec!["the last line".to_owned()];
                let look = Look { era, running, log, failing };
                let after = slow + Duration::from_millis(20);
                self.later(after, Input::Observed { service, look });
            }
            Effect::Reserve(attempt) => {
                let (service, intent) = (attempt.service.clone(), attempt.intent.clone());
                let answer = match self.ledger.reserve(attempt).now_or_never().unwrap() {
                    Ok(Reservation::Granted) => Reserved::Granted,
                    Ok(Reservation::Refused { gate, limit, retry_in }) => {
                        Reserved::Refused { gate, limit, retry_in }
                    }
                    Err(error) if error.kind() == ErrorKind::Forbidden => Reserved::Fenced,
                    Err(error) => Reserved::Failed(error.to_string()),
                };
                self.later(Duration::from_millis(5), Input::Reserved { service, intent, answer });
            }
            Effect::Act { service, intent, action, finishing, .. } => {
                self.act(service, intent, &action, finishing);
            }
            Effect::Verify { service, intent } => {
                let fresh = match self.sims.get(&service).and_then(Sim::failure) {
                    Some(kind) => Fresh::Fail(kind.to_string()),
                    None => Fresh::Pass,
                };
                let running = self.look(&service);
                let verified = Input::Verified { service, intent, running, fresh };
                self.later(Duration::from_millis(30), verified);
            }
            Effect::ActionBegan { service } => {
                if let Some(sim) = self.sims.get_mut(&service) {
                    sim.acting = true;
                }
            }
            Effect::ActionEnded { service, .. } => {
                if let Some(sim) = self.sims.get_mut(&service) {
                    sim.acting = false;
                    sim.reported = None;
                }
            }
            Effect::Settle { service, keep } => self.settle(&service, keep),
            Effect::ResetLedger { service } => {
                self.ledger.reset(&service).now_or_never().unwrap().unwrap();
                self.intents.remove(&service);
            }
            Effect::RenameLedger { from, to } => {
                self.ledger.rename(&from, &to).now_or_never().unwrap().unwrap();
            }
            Effect::Answer { ticket, answer } => self.answered.push((ticket, answer)),
            Effect::Accelerate { .. } | Effect::Maintenance { .. } => {}
        }
    }

    fn look(&mut self, service: &ServiceId) -> Result<Running, String> {
        match self.sims.get_mut(service) {
            Some(sim) if !sim.blind => {
                sim.is_seen();
                Ok(sim.running())
            }
            _ => Err("the platform can't be asked".to_owned()),
        }
    }

    fn settle(&mut self, service: &ServiceId, keep: bool) {
        if let Some(sim) = self.sims.get_mut(service)
            && !keep
            && let Some(bad) = sim.bad_versions.first().cloned()
        {
            sim.version = Some(bad);
        }
    }

    /// What the restarter does. Half of it may be all there is.
    fn act(&mut self, service: ServiceId, intent: IntentId, action: &ActionKind, finishing: bool) {
        let under_way = self.answers.values().any(
            |answer| matches!(answer, Input::Acted { service: other, .. } if *other == service),
        );
        assert!(!under_way, "two actions on {service} at once");
        assert!(finishing || !self.kill, "{service} is acted on with the kill switch on");
        let at = self.clock.stamp().boottime;
        self.performed.push((at, service.clone(), action.clone()));
        let Some(sim) = self.sims.get_mut(&service) else { return };
        let script = sim.scripts.pop_front().unwrap_or(Script::Done);
        let (stops, starts) = match script {
            Script::Done | Script::LoseAnswer => (true, true),
            Script::StopsOnly | Script::LoseHalf => (true, false),
            Script::Refuse | Script::Lie => (false, false),
        };
        if stops && *action != ActionKind::Start {
            sim.kill();
            sim.hung = None;
        }
        if let ActionKind::RollBack { to } = action
            && starts
        {
            sim.version = Some(to.clone());
        }
        if starts && *action != ActionKind::Stop {
            sim.start();
        }
        let outcome = match script {
            Script::Done | Script::Lie => ActionOutcome::Done,
            Script::Refuse | Script::StopsOnly => ActionOutcome::Failed,
            Script::LoseAnswer | Script::LoseHalf => ActionOutcome::Indeterminate,
        };
        let took = Duration::from_millis(500);
        let receipt = Receipt::new(format!("{script:?}"));
        self.later(took, Input::Acted { service, intent, outcome, receipt, took });
    }

    /// What the aggregator would say, where that changed.
    fn report(&mut self) {
        let mut changes = Vec::new();
        let now = self.clock.stamp();
        for (id, sim) in &mut self.sims {
            if sim.run == RunState::Running && sim.born.is_none() {
                sim.born = Some(now.clone());
            }
            let dies = sim.dies_after.zip(sim.born.as_ref());
            if dies.is_some_and(|(after, born)| born.age(&now) >= after) {
                sim.kill();
            }
            let exited = matches!(sim.run, RunState::Exited { .. });
            if exited && sim.native {
                let died = sim.died_at.get_or_insert_with(|| now.clone());
                if died.age(&now) >= secs(12) {
                    sim.died_at = None;
                    sim.start();
                }
            }
            if sim.acting {
                continue;
            }
            let failure = sim.failure();
            let report = HealthReport {
                state: if failure.is_some() { ServiceState::Down } else { ServiceState::Healthy },
                cause: failure.map(|kind| Cause {
                    check: CheckName::new("http").unwrap(),
                    kind: Some(kind),
                    message: kind.to_string(),
                }),
                ever_passed: sim.ever_passed,
                flapping: sim.flapping,
            };
            sim.is_seen();
            if sim.reported.as_ref() != Some(&report) {
                sim.reported = Some(report.clone());
                sim.heard = sim.heard.max(now.boottime + sim.slow);
                changes.push((id.clone(), report, sim.heard.saturating_sub(now.boottime)));
            }
        }
        for (service, report, after) in changes {
            let told = Input::Health { service, report, began: now.clone() };
            if after.is_zero() {
                self.input(told);
            } else {
                self.later(after, told);
            }
        }
    }

    /// Lets time pass, in ticks of at most `tick`.
    pub(super) fn pass(&mut self, span: Duration, tick: Duration) {
        let end = self.clock.stamp().boottime + span;
        loop {
            self.report();
            let now = self.clock.stamp();
            let Some(left) = end.checked_sub(now.boottime).filter(|left| !left.is_zero()) else {
                return;
            };
            let answer =
                self.answers.keys().next().map(|(due, _)| due.saturating_sub(now.boottime));
            let due = self.machine.next_due(&now);
            let step =
                [Some(tick), Some(left), answer, due].into_iter().flatten().min().unwrap_or(tick);
            self.clock.advance(step);
            let now = self.clock.stamp().boottime;
            while let Some(entry) = self.answers.first_entry() {
                if entry.key().0 > now {
                    break;
                }
                let answer = entry.remove();
                self.input(answer);
            }
            self.input(Input::Tick);
        }
    }

    pub(super) fn run(&mut self, seconds: u64) {
        self.pass(secs(seconds), secs(1));
    }

    /// The names of the events about a service, in order.
    pub(super) fn story(&self, name: &str) -> Vec<String> {
        self.events
            .iter()
            .filter(|(_, event)| event.service().is_some_and(|service| service.as_str() == name))
            .map(|(_, event)| match event {
                Event::ActionHeld { hold, .. } => format!("held by {}", hold.gate),
                Event::ActionFinished { outcome, .. } => format!("finished {outcome:?}"),
                Event::ActionStarted { action, trigger, attempt, .. } => {
                    let why =
                        serde_json::to_value(trigger).unwrap()["type"].as_str().unwrap().to_owned();
                    format!("{action} ({why} {attempt})")
                }
                event => serde_json::to_value(event).unwrap()["type"].as_str().unwrap().to_owned(),
            })
            .collect()
    }

    pub(super) fn count(&self, name: &str, what: &str) -> usize {
        self.story(name).iter().filter(|entry| entry.starts_with(what)).count()
    }

    pub(super) fn refusal(&self, ticket: u64) -> Option<&Error> {
        self.answered.iter().find(|(other, _)| *other == ticket)?.1.as_ref().err()
    }
}
