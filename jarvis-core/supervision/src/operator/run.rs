//! The loop: feeds the machine, writes down what it decides, and carries it out.

mod announce;
mod execute;
mod feeds;
mod leadership;
mod writer;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::command::{Command, Outlet, Reply};
use super::machine::Machine;
use super::machine::input::Input;
use super::machine::record::{Plan, Ticket};
use super::maintenance::Calendar;
use super::policy::ManagedService;
use super::settings::OperatorSettings;
use super::state::StateStore;
use super::status::OperatorStatus;
use crate::health::aggregator::Aggregator;
use crate::lease::{Lease, RestartLedger};
use crate::restart::ServiceRestarter;
use base::clock::{ClockExt, Monotonic, SharedClock, WallTime};
use base::events::Event;
use base::sync::Mutex;
use base::vocabulary::{FencingToken, HolderId, Mode, ServiceId};
use base::{Error, ErrorKind, Result};
use writer::Step;

/// How often the kill switch and the calendar are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How long a caller of a command waits for its answer.
const COMMAND_DEADLINE: Duration = Duration::from_secs(15);
/// How long the last events may take to be announced at the end.
const FAREWELL: Duration = Duration::from_secs(2);

/// What an operator is made of.
#[derive(Debug, Clone)]
pub struct OperatorParts {
    /// Time.
    pub clock: SharedClock,
    /// Says what is down, and verifies.
    pub health: Aggregator,
    /// Permission to act.
    pub lease: Arc<dyn Lease>,
    /// Counts attempts.
    pub ledger: Arc<dyn RestartLedger>,
    /// Keeps the state.
    pub state: StateStore,
    /// Takes the events.
    pub outlet: Arc<dyn Outlet>,
}

enum Message {
    Input(Input),
    Services(Vec<ManagedService>, Option<Box<Rules>>),
    /// The lease with this token is gone.
    Lost(FencingToken, String),
}

/// What holds over all services, read and checked.
struct Rules {
    settings: OperatorSettings,
    calendar: Calendar,
}

struct Shared {
    parts: OperatorParts,
    rules: Mutex<Arc<Rules>>,
    holder: HolderId,
    machine: Mutex<Machine>,
    restarters: Mutex<HashMap<ServiceId, Arc<dyn ServiceRestarter>>>,
    inbox: mpsc::UnboundedSender<Message>,
    outbox: Mutex<Option<mpsc::UnboundedReceiver<Message>>>,
    tickets: Mutex<HashMap<Ticket, oneshot::Sender<Result<Reply>>>>,
    next_ticket: AtomicU64,
    running: AtomicBool,
    leading: leadership::Leading,
    actions: execute::Actions,
}

/// Supervises services. Clones are handles to the same operator.
#[derive(Clone)]
pub struct Operator(Arc<Shared>);

impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operator").field("holder", &self.0.holder).finish_non_exhaustive()
    }
}

impl Operator {
    /// An operator without services. It takes no lease and does nothing before [`run`](Self::run).
    ///
    /// # Errors
    /// `ConfigInvalid` for a maintenance window that can't be; `Exhausted` when the operating
    /// system has no random numbers.
    pub fn new(parts: OperatorParts, settings: OperatorSettings) -> Result<Self> {
        let calendar = Calendar::new(&settings.maintenance)?;
        let seed = getrandom::u64().map_err(|error| {
            Error::new(
                ErrorKind::Exhausted,
                format!("the operating system provided no random numbers: {error}"),
            )
        })?;
        let holder = HolderId::new(format!("pid {} {:08x}", std::process::id(), seed >> 32))?;
        let (inbox, outbox) = mpsc::unbounded_channel();
        Ok(Self(Arc::new(Shared {
            machine: Mutex::new(Machine::new(settings.clone(), seed)),
            parts,
            rules: Mutex::new(Arc::new(Rules { settings, calendar })),
            holder,
            restarters: Mutex::default(),
            inbox,
            outbox: Mutex::new(Some(outbox)),
            tickets: Mutex::default(),
            next_ticket: AtomicU64::new(0),
            running: AtomicBool::new(false),
            leading: leadership::Leading::default(),
            actions: execute::Actions::default(),
        })))
    }

    /// Sets the services, at first and after a reload. What is under way for one that is gone is
    /// finished; one that only got a new name (the same `target`) keeps its history and budget.
    pub fn apply(&self, services: Vec<ManagedService>) {
        self.0.send(Message::Services(services, None));
    }

    /// Sets the services and what holds over all of them, in one step: nothing is decided by one
    /// configuration's services and another one's limits. What belongs to the lease, the canary
    /// and the end (`lease_ttl`, `canary_every`, `shutdown_deadline`, `commands_only`) stays as
    /// it was at [`new`](Self::new).
    ///
    /// # Errors
    /// `ConfigInvalid` for a maintenance window that can't be; everything stays as it was.
    pub fn reconfigure(
        &self,
        services: Vec<ManagedService>,
        settings: OperatorSettings,
    ) -> Result<()> {
        let calendar = Calendar::new(&settings.maintenance)?;
        let fixed = self.0.settings();
        let settings = OperatorSettings {
            commands_only: fixed.commands_only,
            lease_ttl: fixed.lease_ttl,
            canary_every: fixed.canary_every,
            shutdown_deadline: fixed.shutdown_deadline,
            ..settings
        };
        let rules = Box::new(Rules { settings, calendar });
        self.0.send(Message::Services(services, Some(rules)));
        Ok(())
    }

    /// Carries a command out.
    ///
    /// # Errors
    /// - `Unavailable`: [`run`](Self::run) does not run, or the state can't be written.
    /// - `Forbidden`: a gate is closed; the message is its reason.
    /// - `NotFound`: no such service. `Conflict`: an action is under way for it.
    pub async fn command(&self, command: Command) -> Result<Reply> {
        let shared = &self.0;
        if !shared.running.load(Ordering::Acquire) {
            let message = "the supervision loop is not running; start `jarvis up`";
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        let (sender, answer) = oneshot::channel();
        let ticket = shared.next_ticket.fetch_add(1, Ordering::Relaxed);
        shared.tickets.lock().insert(ticket, sender);
        shared.input(Input::Command { ticket, command });
        let deadline = shared.parts.clock.monotonic() + COMMAND_DEADLINE;
        let answer = shared.parts.clock.until(deadline, answer).await;
        shared.tickets.lock().remove(&ticket);
        match answer {
            Some(Ok(answer)) => answer,
            _ => Err(Error::new(
                ErrorKind::Unavailable,
                "the operator did not answer in time; its state may not be writable",
            )),
        }
    }

    /// Is the lease ours now?
    #[must_use]
    pub fn leads(&self) -> bool {
        self.0.machine.lock().token().is_some()
    }

    /// What it does now, with the budgets as the ledger tells them.
    pub async fn status(&self) -> OperatorStatus {
        let shared = &self.0;
        let (mut status, limits) = {
            let machine = shared.machine.lock();
            (machine.status(&shared.parts.clock.stamp()), machine.limits())
        };
        let mut limits: HashMap<_, _> = limits.into_iter().collect();
        for service in &mut status.services {
            if let Some(limits) = limits.remove(&service.service) {
                let usage = shared.parts.ledger.usage(&service.service, &limits).await;
                service.budget = usage.unwrap_or_default();
            }
        }
        status
    }

    /// Supervises until `until` completes; then finishes the action in flight, within
    /// [`OperatorSettings::shutdown_deadline`], and gives the lease back.
    ///
    /// # Errors
    /// `Conflict` when it runs already, or ran before.
    pub async fn run(&self, until: impl Future<Output = ()> + Send) -> Result<()> {
        let shared = &self.0;
        let outbox = shared.outbox.lock().take().ok_or_else(|| {
            Error::new(ErrorKind::Conflict, "this operator is already running, or ran before")
        })?;
        shared.running.store(true, Ordering::Release);
        let mut tasks = JoinSet::new();
        let events = announce::start(shared, &mut tasks);
        let mut engine = Engine {
            writer: writer::start(shared, &events, &mut tasks),
            shared: Arc::clone(shared),
            outbox,
            next_tick: shared.parts.clock.monotonic(),
            drift: shared.parts.clock.boottime(),
            feeds: feeds::Feeds::default(),
            windows: HashMap::new(),
        };
        feeds::changes(shared, &mut tasks);
        feeds::canary(shared, &mut tasks);
        engine.take_services();
        let leadership = leadership::start(shared, &events, &mut tasks);
        engine.supervise(until).await;
        shared.running.store(false, Ordering::Release);
        engine.finish_writing().await;
        leadership.release().await;
        events.farewell(FAREWELL).await;
        tasks.shutdown().await;
        Ok(())
    }
}

impl Shared {
    fn send(&self, message: Message) {
        // Without a reader the loop has ended, and nothing is to be told any more.
        drop(self.inbox.send(message));
    }

    fn input(&self, input: Input) {
        self.send(Message::Input(input));
    }

    fn restarter(&self, id: &ServiceId) -> Option<Arc<dyn ServiceRestarter>> {
        self.restarters.lock().get(id).cloned()
    }

    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.lock())
    }

    fn settings(&self) -> OperatorSettings {
        self.rules().settings.clone()
    }

    fn now(&self) -> Monotonic {
        self.parts.clock.monotonic()
    }
}

struct Engine {
    shared: Arc<Shared>,
    outbox: mpsc::UnboundedReceiver<Message>,
    writer: writer::Writer,
    next_tick: Monotonic,
    /// How far boot time is ahead of the monotonic clock: it jumps when the machine sleeps.
    drift: Duration,
    feeds: feeds::Feeds,
    windows: HashMap<ServiceId, Option<WallTime>>,
}

impl Engine {
    async fn supervise(&mut self, until: impl Future<Output = ()> + Send) {
        let clock = self.shared.parts.clock.clone();
        self.drift = clock.boottime().saturating_sub(clock.monotonic().since_start());
        let mut until = pin!(until);
        let mut deadline: Option<Monotonic> = None;
        loop {
            if let Some(deadline) = deadline {
                let acting = self.shared.machine.lock().acting() || self.shared.actions.any();
                if !acting || clock.monotonic() >= deadline {
                    break;
                }
            }
            let wake = clock.sleep_until(self.next_wake());
            tokio::select! {
                biased;
                message = self.outbox.recv() => match message {
                    Some(message) => self.receive(message),
                    None => break,
                },
                () = wake => self.tick(),
                () = &mut until, if deadline.is_none() => {
                    deadline = Some(clock.monotonic() + self.shared.settings().shutdown_deadline);
                    self.step(Input::Shutdown);
                }
            }
        }
        self.say(Event::OperatorStopped { reason: "it was asked to stop".to_owned() });
    }

    /// The earliest of the next tick and what the machine waits for.
    fn next_wake(&self) -> Monotonic {
        let clock = &self.shared.parts.clock;
        let due = self.shared.machine.lock().next_due(&clock.stamp());
        due.map_or(self.next_tick, |due| self.next_tick.min(clock.monotonic() + due))
    }

    fn receive(&mut self, message: Message) {
        match message {
            Message::Input(Input::Activate { holder, token, saved }) => {
                self.step(Input::Activate { holder, token, saved });
                self.started();
            }
            Message::Input(input) => self.step(input),
            Message::Services(services, rules) => self.configure(&services, rules),
            Message::Lost(token, reason) => {
                if self.shared.leading.lost(token) {
                    self.step(Input::Deactivate { reason });
                }
            }
        }
    }

    /// The services that were set before the loop began are there before anything else.
    fn take_services(&mut self) {
        while let Ok(message) = self.outbox.try_recv() {
            self.receive(message);
        }
    }

    fn started(&mut self) {
        let restartable = self.shared.restarters.lock().len();
        let services = self.shared.machine.lock().count();
        let mode: Mode = self.shared.settings().mode;
        self.say(Event::OperatorStarted { mode, services, restartable });
    }

    fn say(&mut self, event: Event) {
        self.shared.machine.lock().say(event);
        self.step(Input::Tick);
    }

    fn configure(&mut self, services: &[ManagedService], rules: Option<Box<Rules>>) {
        let plans = services.iter().map(plan).collect();
        {
            // What is under way for a service that is gone still needs its restarter.
            let mut restarters = self.shared.restarters.lock();
            for service in services {
                match &service.restarter {
                    Some(restarter) => {
                        restarters.insert(service.id.clone(), Arc::clone(restarter));
                    }
                    None => drop(restarters.remove(&service.id)),
                }
            }
        }
        let settings = rules.as_ref().map(|rules| Box::new(rules.settings.clone()));
        if let Some(rules) = rules {
            *self.shared.rules.lock() = Arc::from(rules);
        }
        self.windows.clear();
        let windows = self.windows_of(services.iter().map(|service| service.id.clone()));
        self.windows.extend(windows.iter().cloned());
        self.step(Input::Configure { plans, settings, windows });
        let kept = self.shared.machine.lock().names();
        self.shared.restarters.lock().retain(|id, _| kept.contains(id));
        self.feeds.watch(&self.shared, services);
        self.look_at_kill_switch();
        self.look_at_calendar();
    }

    fn tick(&mut self) {
        let clock = &self.shared.parts.clock;
        let now = clock.monotonic();
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            let drift = clock.boottime().saturating_sub(now.since_start());
            let slept = drift > self.drift + Duration::from_secs(2);
            self.drift = drift;
            if slept {
                self.step(Input::Woke);
            }
            self.look_at_kill_switch();
            self.look_at_calendar();
        }
        self.step(Input::Tick);
    }

    fn look_at_kill_switch(&mut self) {
        let rules = self.shared.rules();
        if rules.settings.kill_switch.is_some() {
            self.step(Input::KillSwitch(execute::kill_switch(&rules.settings)));
        }
    }

    /// Until when the calendar has a window open for each of these services.
    fn windows_of(
        &self,
        services: impl Iterator<Item = ServiceId>,
    ) -> Vec<(ServiceId, Option<WallTime>)> {
        let (wall, rules) = (self.shared.parts.clock.wall(), self.shared.rules());
        services.map(|id| (id.clone(), rules.calendar.open_until(&id, wall))).collect()
    }

    fn look_at_calendar(&mut self) {
        let names = self.shared.machine.lock().names();
        let mut changes = self.windows_of(names.into_iter());
        changes.retain(|(id, until)| {
            self.windows.insert(id.clone(), *until).unwrap_or_default() != *until
        });
        if !changes.is_empty() {
            self.step(Input::Maintenance(changes));
        }
    }

    fn step(&mut self, input: Input) {
        let stamp = self.shared.parts.clock.stamp();
        let (output, token) = {
            let mut machine = self.shared.machine.lock();
            let before = machine.token();
            let output = machine.step(input, &stamp);
            (output, machine.token().or(before))
        };
        let held = self.shared.machine.lock().token().is_some();
        if output.commit.is_empty() && output.effects.is_empty() {
            return;
        }
        let token = token.filter(|_| held);
        self.writer.send(Step { output, token, issued: self.shared.now() });
    }

    async fn finish_writing(&mut self) {
        self.writer.finish(&self.shared.parts.clock, FAREWELL).await;
    }
}

fn plan(service: &ManagedService) -> Plan {
    Plan {
        id: service.id.clone(),
        actionable: service.restarter.is_some(),
        policy: service.policy.clone(),
        rollback: service.rollback.clone(),
        depends_on: service.depends_on.clone(),
        restart_with_dependency: service.restart_with_dependency,
        start_grace: service.start_grace,
        host: service.host.clone(),
        target: service.target.clone(),
        renamed_from: service.renamed_from.clone(),
        fingerprint: service.fingerprint.clone(),
    }
}
