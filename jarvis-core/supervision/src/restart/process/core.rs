//! The work of a [`ProcessRestarter`](super::ProcessRestarter): looking, starting, ending.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::blocking;
use super::config::ProcessConfig;
use super::life::Life;
use super::log;
use super::members::{Ended, INTENT, Members, RUN, SERVICE};
use super::oom::OomWatch;
use super::record::{Phase, Record, Traces};
use crate::restart::{ActionRequest, EventSender, Exit, InstanceEvent, Receipt};
use base::clock::{ClockExt, SharedClock};
use base::subprocess::procfs::{Identity, PROC, Stat};
use base::subprocess::{Pidfd, Program, account};
use base::sync::{Mutex, MutexGuard};
use base::vocabulary::{ConfigPath, FencingToken, IntentId, ServiceId};
use base::{Error, ErrorKind, Result, Retry, Secret};

/// The most bytes of the last log lines.
const LOG_BYTES: usize = 4_096;

/// How often the log's size is looked at.
const TICK: Duration = Duration::from_secs(1);

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Restart,
    Start,
    Stop,
}

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    NotStarted,
    Running(Identity),
    Ended(Option<Identity>, Exit),
}

impl Seen {
    fn running(&self) -> Option<&Identity> {
        match self {
            Self::Running(identity) => Some(identity),
            Self::NotStarted | Self::Ended(..) => None,
        }
    }

    /// The last life, running or not.
    fn last(&self) -> Option<&Identity> {
        match self {
            Self::Running(identity) => Some(identity),
            Self::Ended(identity, _) => identity.as_ref(),
            Self::NotStarted => None,
        }
    }
}

/// What a look found, and what earlier actions answered.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) seen: Seen,
    pub(super) receipts: Vec<(IntentId, Receipt)>,
}

#[derive(Debug, Default)]
struct State {
    life: Option<Life>,
    watchers: Vec<EventSender>,
}

impl State {
    fn tell(&mut self, event: &InstanceEvent) {
        self.watchers.retain(|watcher| watcher.offer(event.clone()));
    }

    /// Reaps the life that we hold, if it has ended, and tells.
    fn settle(&mut self) {
        let Some(life) = &mut self.life else { return };
        if let Some(exit) = life.settle() {
            let instance = life.identity.instance();
            self.tell(&InstanceEvent::Exited { instance, exit });
        }
    }
}

#[derive(Debug)]
pub(super) struct Core {
    pub(super) clock: SharedClock,
    pub(super) program: Program,
    stop_timeout: Duration,
    log_max: u64,
    traces: Traces,
    members: Members,
    state: Mutex<State>,
}

impl Core {
    pub(super) fn new(
        config: &ProcessConfig,
        service: &ServiceId,
        state_dir: &Path,
        clock: SharedClock,
    ) -> Result<Self> {
        let traces = Traces::new(state_dir, service.as_str())?;
        let mut program = Program::new("command", &config.command)?;
        program.cwd = config.cwd.clone().map(ConfigPath::into_path_buf);
        program.env_clear = config.env_clear;
        program.account = config.user.as_deref().map(account).transpose()?;
        program.env.clone_from(&config.env);
        let marks = [(SERVICE, service.to_string()), (RUN, traces.record.display().to_string())];
        for (key, value) in marks {
            program.env.insert(key.to_owned(), Secret::new(value));
        }
        Ok(Self {
            members: Members::new(&traces.record, clock.clone()),
            clock,
            program,
            stop_timeout: config.stop_timeout,
            log_max: config.log_max,
            traces,
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn add_watcher(&self, watcher: EventSender) {
        self.state().watchers.push(watcher);
    }

    /// Reads the record and looks at the process that it names. Adopts what it finds.
    pub(super) fn look(self: &Arc<Self>) -> Result<Looked> {
        let mut state = self.state();
        let record = Record::read(&self.traces.record)?;
        state.settle();
        let seen = self.judge(&mut state, record.as_ref())?;
        let mut receipts = Vec::new();
        if let Some(record) = record
            && let Some(intent) = record.intent
        {
            let receipt = match (record.receipt, &record.phase, &seen) {
                (Some(receipt), ..) => Some(receipt),
                // The crash was between the start and the record.
                (None, Phase::Starting { previous }, Seen::Running(identity))
                    if previous.as_ref() != Some(identity) =>
                {
                    Some(started(previous.as_ref(), identity, &Ended::default()))
                }
                _ => None,
            };
            receipts.extend(receipt.map(|receipt| (intent, receipt)));
        }
        Ok(Looked { seen, receipts })
    }

    fn judge(self: &Arc<Self>, state: &mut State, record: Option<&Record>) -> Result<Seen> {
        let Some(record) = record else {
            return match self.members.find_lost(None)? {
                Some(stat) => self.found(state, &stat),
                None => Ok(Seen::NotStarted),
            };
        };
        match &record.phase {
            Phase::Released => Ok(Seen::NotStarted),
            Phase::Running { identity } => self.named(state, identity),
            Phase::Ended { identity, .. } if self.other_boot(identity.as_ref()) => {
                Ok(Seen::NotStarted)
            }
            Phase::Ended { identity, exit } => Ok(Seen::Ended(identity.clone(), *exit)),
            Phase::Starting { previous } => {
                if let Some(stat) = self.members.find_lost(record.intent.as_ref())? {
                    return self.found(state, &stat);
                }
                previous.as_ref().map_or(Ok(Seen::NotStarted), |life| self.named(state, life))
            }
        }
    }

    fn other_boot(&self, identity: Option<&Identity>) -> bool {
        identity.is_some_and(|identity| identity.boot != self.clock.boot_id())
    }

    /// The process that the record names: the one that we hold, one to adopt, or none any more.
    ///
    /// # Errors
    /// When that can't be seen, such as without a descriptor: then it has not ended for certain.
    fn named(self: &Arc<Self>, state: &mut State, identity: &Identity) -> Result<Seen> {
        if let Some(life) = state.life.as_ref().filter(|life| life.identity == *identity) {
            return Ok(match life.exit {
                None => Seen::Running(identity.clone()),
                Some(exit) => Seen::Ended(Some(identity.clone()), exit),
            });
        }
        if self.other_boot(Some(identity)) {
            // The machine booted since: what comes now is a first start.
            return Ok(Seen::NotStarted);
        }
        let gone = Seen::Ended(Some(identity.clone()), Exit::Unknown);
        let Some(pidfd) = Pidfd::open(identity.pid)? else { return Ok(gone) };
        // The handle first, then the look: what the look finds is what the handle names.
        match Stat::read(Path::new(PROC), identity.pid) {
            Some(stat) if identity.matches(&stat, &*self.clock) && !stat.is_zombie() => {
                tracing::info!(%identity, "adopted a running process; its exit status will be unknown");
                let oom = OomWatch::begin(Path::new("/"), identity.pid);
                self.hold(state, Life::new(identity.clone(), pidfd, None, oom));
                Ok(Seen::Running(identity.clone()))
            }
            None if !pidfd.has_ended() => Err(Error::new(
                ErrorKind::Unavailable,
                "failed to open the process; check the limit of open files",
            )
            .with_context("pid", identity.pid)),
            _ => Ok(gone),
        }
    }

    /// A process that was found by its environment.
    fn found(self: &Arc<Self>, state: &mut State, stat: &Stat) -> Result<Seen> {
        self.named(state, &Identity::of(stat, &*self.clock))
    }

    /// Holds a life and watches it.
    fn hold(self: &Arc<Self>, state: &mut State, life: Life) {
        let (core, identity, pidfd) = (self.clone(), life.identity.clone(), life.pidfd.clone());
        state.life = Some(life);
        tokio::spawn(async move { core.keep_watch(identity, &pidfd).await });
    }

    async fn keep_watch(self: Arc<Self>, identity: Identity, pidfd: &Pidfd) {
        let mut ended = pin!(pidfd.ended());
        let mut housekeeping: Option<tokio::task::JoinHandle<()>> = None;
        loop {
            tokio::select! {
                biased;
                seen = ended.as_mut() => match seen {
                    Ok(()) => break,
                    Err(error) => {
                        tracing::warn!(%error, %identity, "failed to watch for the end of a process; it is detected at the next check");
                        return;
                    }
                },
                () = self.clock.sleep(TICK) => {}
            }
            if housekeeping.as_ref().is_none_or(tokio::task::JoinHandle::is_finished) {
                let core = self.clone();
                housekeeping = Some(tokio::task::spawn_blocking(move || core.tick()));
            }
        }
        self.state().settle();
        let core = self.clone();
        let kept = blocking(move || core.record_end(&identity)).await;
        if let Err(error) = kept {
            tracing::warn!(%error, "failed to record the end of a process");
        }
    }

    fn tick(&self) {
        match log::rotate(&self.traces.log, self.log_max) {
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(log = %self.traces.log.display(), %error, "failed to move a log over its size limit");
            }
        }
        if let Some(life) = &mut self.state().life {
            life.oom.tick(life.identity.pid);
        }
    }

    /// Writes down how it ended, unless somebody wrote something newer.
    fn record_end(&self, identity: &Identity) -> Result<()> {
        let state = self.state();
        let Some(exit) = state
            .life
            .as_ref()
            .filter(|life| life.identity == *identity)
            .and_then(|life| life.exit)
        else {
            return Ok(());
        };
        let running = Phase::Running { identity: identity.clone() };
        self.traces.change(|record| {
            let phase = Phase::Ended { identity: Some(identity.clone()), exit };
            let record = record.filter(|record| record.phase == running)?;
            Some(record.now(phase, self.clock.stamp()))
        })
    }

    /// Carries an action out. One at a time.
    pub(super) async fn act(
        self: Arc<Self>,
        request: &ActionRequest,
        what: What,
    ) -> Result<Receipt> {
        let (core, asked) = (self.clone(), request.clone());
        let seen = blocking(move || core.prepare(&asked, what)).await?;
        let before = seen.running();
        match (what, before) {
            (What::Start, Some(identity)) => {
                let instance = identity.instance();
                return Ok(Receipt::new(format!("it is already running as pid {}", identity.pid))
                    .with_before(instance.clone())
                    .with_after(instance));
            }
            // Also without a leader: what it left behind has to go.
            (What::Restart | What::Start | What::Stop, _) => {}
        }
        let ended = match self.end(seen.last()).await {
            Ok(ended) => ended,
            Err(error) => {
                let core = self.clone();
                let phase = as_phase(&seen);
                blocking(move || {
                    let _state = core.state();
                    core.write(phase, None, None)
                })
                .await?;
                return Err(error);
            }
        };
        let (core, asked) = (self.clone(), request.clone());
        match what {
            What::Stop => blocking(move || core.record_stop(&asked, &seen, &ended)).await,
            What::Restart | What::Start => {
                blocking(move || core.spawn(&asked, &seen, &ended)).await
            }
        }
    }

    /// Everything that can be refused is refused here, before anything is touched.
    fn prepare(self: &Arc<Self>, request: &ActionRequest, what: What) -> Result<Seen> {
        let seen = self.look()?.seen;
        let record = Record::read(&self.traces.record)?;
        let highest = record.map_or(FencingToken::default(), |record| record.token);
        if request.token < highest {
            return Err(Error::new(
                ErrorKind::Forbidden,
                "a newer operator has acted on this process since; if the operator's state was reset on purpose, remove the record (a running process is found again)",
            )
            .with_context("record", self.traces.record.display())
            .with_context("token", request.token)
            .with_context("highest", highest));
        }
        let starts = match what {
            What::Restart => true,
            What::Start => seen.running().is_none(),
            What::Stop => false,
        };
        if starts {
            self.program.locate()?;
            self.traces.prepare()?;
            let phase = Phase::Starting { previous: seen.last().cloned() };
            // The end of the life before may be on its way to the record at this moment.
            let _state = self.state();
            self.write(phase, Some(request), None)?;
        }
        Ok(seen)
    }

    /// Ends everything of the service that runs.
    async fn end(&self, leader: Option<&Identity>) -> Result<Ended> {
        if let Some(life) = &mut self.state().life {
            life.asked_to_end = true;
        }
        let ended = self.members.end(leader, self.stop_timeout).await;
        self.state().settle();
        ended
    }

    /// Replaces the record. The caller holds the state: one writer at a time.
    fn write(
        &self,
        phase: Phase,
        request: Option<&ActionRequest>,
        receipt: Option<&Receipt>,
    ) -> Result<()> {
        self.traces.change(|before| {
            let mut record = Record::new(phase, self.clock.stamp());
            let highest = before.map_or(FencingToken::default(), |record| record.token);
            record.token = request.map_or(highest, |request| request.token.max(highest));
            record.intent = request.map(|request| request.intent.clone());
            record.receipt = receipt.cloned();
            Some(record)
        })
    }

    /// The start half. Nothing but the kernel may refuse it now: what was stopped has to run.
    fn spawn(
        self: &Arc<Self>,
        request: &ActionRequest,
        seen: &Seen,
        ended: &Ended,
    ) -> Result<Receipt> {
        let mut state = self.state();
        let _too_long = log::rotate(&self.traces.log, self.log_max);
        let mut program = self.program.clone();
        program.env.insert(INTENT.to_owned(), Secret::new(request.intent.to_string()));
        let mut command = program.command();
        let log = self.traces.open_log()?;
        command.stdout(log.try_clone()?).stderr(log);
        let oom = OomWatch::begin(Path::new("/"), std::process::id());
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                let phase = Phase::Ended { identity: seen.last().cloned(), exit: Exit::Unknown };
                self.write(phase, Some(request), None)?;
                return Err(program.spawn_error(error).with_retry(Retry::Never));
            }
        };
        // We have not reaped it, so that it is there even if it has ended already.
        let stat = Stat::read(Path::new(PROC), child.id());
        let (Some(stat), Some(pidfd)) = (stat, Pidfd::open(child.id())?) else {
            return Err(Error::new(
                ErrorKind::Internal,
                "/proc does not show our own child; is it mounted?",
            )
            .with_retry(Retry::Indeterminate));
        };
        let identity = Identity::of(&stat, &*self.clock);
        let receipt = started(seen.running(), &identity, ended);
        let phase = Phase::Running { identity: identity.clone() };
        if let Err(error) = self.write(phase, Some(request), Some(&receipt)) {
            tracing::warn!(%error, "failed to record a start; the process is found by the intent in its environment");
        }
        let instance = identity.instance();
        self.hold(&mut state, Life::new(identity, pidfd, Some(child), oom));
        state.tell(&InstanceEvent::Started { instance });
        Ok(receipt)
    }

    fn record_stop(&self, request: &ActionRequest, seen: &Seen, ended: &Ended) -> Result<Receipt> {
        let before = seen.running();
        let message = match before {
            Some(identity) => format!("stopped pid {}{}", identity.pid, told(ended)),
            None => format!("it does not run{}", told(ended)),
        };
        let receipt = Receipt::new(message).with_before(before.and_then(Identity::instance));
        let state = self.state();
        let exit = state.life.as_ref().and_then(|life| life.exit);
        let phase = match seen {
            Seen::NotStarted => return Ok(receipt),
            Seen::Running(identity) => Phase::Ended {
                identity: Some(identity.clone()),
                exit: exit.unwrap_or(Exit::Unknown),
            },
            Seen::Ended(identity, exit) => Phase::Ended { identity: identity.clone(), exit: *exit },
        };
        self.write(phase, Some(request), Some(&receipt))?;
        Ok(receipt)
    }

    /// Ends what runs because JARVIS leaves.
    pub(super) async fn release(self: Arc<Self>) -> Result<()> {
        let core = self.clone();
        let seen = blocking(move || Ok(core.look()?.seen)).await?;
        if seen == Seen::NotStarted {
            return Ok(());
        }
        self.end(seen.last()).await?;
        let core = self.clone();
        blocking(move || {
            let _state = core.state();
            core.write(Phase::Released, None, None)
        })
        .await
    }

    pub(super) fn last_log_lines(&self, lines: usize) -> Result<Vec<String>> {
        let read = log::last_lines(&self.traces.log, lines)?;
        let mut room = LOG_BYTES;
        let mut last: Vec<String> = read
            .iter()
            .rev()
            .map(|line| self.program.mask(line))
            .map_while(|line| {
                room = room.checked_sub(line.len())?;
                Some(line)
            })
            .collect();
        last.reverse();
        Ok(last)
    }
}

fn as_phase(seen: &Seen) -> Phase {
    match seen {
        Seen::NotStarted => Phase::Ended { identity: None, exit: Exit::Unknown },
        Seen::Running(identity) => Phase::Running { identity: identity.clone() },
        Seen::Ended(identity, exit) => Phase::Ended { identity: identity.clone(), exit: *exit },
    }
}

fn started(before: Option<&Identity>, after: &Identity, ended: &Ended) -> Receipt {
    let message = match before {
        Some(before) => {
            format!("stopped pid {}{}, started pid {}", before.pid, told(ended), after.pid)
        }
        None => format!("started pid {}{}", after.pid, told(ended)),
    };
    Receipt::new(message)
        .with_before(before.and_then(Identity::instance))
        .with_after(after.instance())
}

/// What a person should know about the end.
fn told(ended: &Ended) -> String {
    let mut told = String::new();
    if ended.others > 0 {
        told.push_str(&format!(" with {} child process(es)", ended.others));
    }
    if ended.strayed > 0 {
        told.push_str(&format!(
            ", {} of which had put themselves into the background: run the program in the foreground",
            ended.strayed
        ));
    }
    if ended.killed {
        told.push_str(", by SIGKILL after its stop timeout");
    }
    told
}
