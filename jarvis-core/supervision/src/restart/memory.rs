//! [`MemoryRestarter`]: a service that lives only in a test's memory. The reference for the
//! contract.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;

use super::{
    ActionRequest, EventSender, Exit, InstanceEvent, InstanceEvents, Receipt, RunState, Running,
    ServiceRestarter,
};
use base::clock::{SharedClock, WallTime};
use base::sync::{Mutex, MutexGuard};
use base::vocabulary::{ActionKind, FencingToken, InstanceId, IntentId, Verdict, VersionId};
use base::{Error, ErrorKind, Result, Retry};

/// The most bytes of [`ServiceRestarter::last_log_lines`].
const LOG_BYTES: usize = 4_096;

/// How the next action on a [`MemoryRestarter`] goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Script {
    /// As asked.
    Done,
    /// Refused before anything was done.
    Refuse(ErrorKind),
    /// The service was stopped and can't be started again.
    StopsOnly(ErrorKind),
    /// It says that it is done, and nothing was.
    Lie,
    /// It is done, and the answer gets lost: `Timeout` at the deadline.
    LoseAnswer,
    /// Nothing is done, and no answer comes: `Timeout` at the deadline.
    Hang,
}

/// One action as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call {
    /// What was asked for.
    pub action: ActionKind,
    /// The request.
    pub request: ActionRequest,
}

#[derive(Debug)]
struct State {
    run: RunState,
    life: u64,
    started_at: Option<WallTime>,
    version: Option<VersionId>,
    known_versions: Vec<VersionId>,
    undo: Option<VersionId>,
    native_health: Option<Verdict>,
    native_restart: bool,
    tells_lives_apart: bool,
    unreachable: bool,
    highest_token: FencingToken,
    scripts: VecDeque<Script>,
    calls: Vec<Call>,
    busy: HashSet<IntentId>,
    receipts: HashMap<IntentId, Receipt>,
    log: Vec<String>,
    watchers: Vec<EventSender>,
}

/// A scripted service and the platform that runs it. Clones share both, so that the service
/// outlives an operator that a test kills.
///
/// An action without a [`Script`] that waits is complete on its first poll, without a runtime.
#[derive(Debug, Clone)]
pub struct MemoryRestarter {
    clock: SharedClock,
    state: Arc<Mutex<State>>,
}

impl MemoryRestarter {
    /// A service that was never started.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        let state = State {
            run: RunState::NotStarted,
            life: 0,
            started_at: None,
            version: None,
            known_versions: Vec::new(),
            undo: None,
            native_health: None,
            native_restart: false,
            tells_lives_apart: true,
            unreachable: false,
            highest_token: FencingToken::default(),
            scripts: VecDeque::new(),
            calls: Vec::new(),
            busy: HashSet::new(),
            receipts: HashMap::new(),
            log: Vec::new(),
            watchers: Vec::new(),
        };
        Self { clock, state: Arc::new(Mutex::new(state)) }
    }

    /// A service that runs.
    #[must_use]
    pub fn running(clock: SharedClock) -> Self {
        let restarter = Self::new(clock);
        restarter.begin_life();
        restarter
    }

    /// The platform knows these versions; the first one runs.
    #[must_use]
    pub fn with_versions(self, versions: impl IntoIterator<Item = VersionId>) -> Self {
        {
            let mut state = self.state();
            state.known_versions = versions.into_iter().collect();
            state.version = state.known_versions.first().cloned();
        }
        self
    }

    /// The platform can't tell one life from the next.
    #[must_use]
    pub fn without_identity(self) -> Self {
        self.state().tells_lives_apart = false;
        self
    }

    /// The platform restarts what exits by itself (as far as it says).
    #[must_use]
    pub fn with_native_restart(self) -> Self {
        self.state().native_restart = true;
        self
    }

    /// The next action that has nothing queued before it goes like this.
    pub fn then(&self, script: Script) {
        self.state().scripts.push_back(script);
    }

    /// Every action asked for, refused ones included, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// How many lives there were.
    #[must_use]
    pub fn lives(&self) -> u64 {
        self.state().life
    }

    /// Does it run?
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state().run == RunState::Running
    }

    /// The life ends by itself.
    pub fn exit(&self, exit: Exit) {
        let mut state = self.state();
        if state.run == RunState::Running {
            let instance = state.instance();
            state.run = RunState::Exited { exit };
            state.tell(&InstanceEvent::Exited { instance, exit });
        }
    }

    /// A new life begins without us: the platform or a person started it.
    pub fn begin_life(&self) {
        let wall = self.clock.wall();
        self.state().begin_life(wall);
    }

    /// A person stops it.
    pub fn stop_by_person(&self, evidence: impl Into<String>) {
        let evidence = evidence.into();
        let mut state = self.state();
        state.run = RunState::StoppedByPerson { evidence: evidence.clone() };
        state.tell(&InstanceEvent::StoppedByPerson { evidence });
    }

    /// The platform forgets it.
    pub fn remove(&self) {
        self.state().run = RunState::Missing;
    }

    /// The platform's own health check says this.
    pub fn set_native_health(&self, health: Verdict) {
        let mut state = self.state();
        state.native_health = Some(health);
        state.tell(&InstanceEvent::NativeHealth(health));
    }

    /// The platform can't be asked, or can again. Coming back is a gap for those who watch.
    pub fn set_unreachable(&self, unreachable: bool) {
        let mut state = self.state();
        if state.unreachable && !unreachable {
            state.tell(&InstanceEvent::Gap);
        }
        state.unreachable = unreachable;
    }

    /// The service writes a line.
    pub fn write_log(&self, line: impl Into<String>) {
        self.state().log.push(line.into());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    async fn act(&self, action: ActionKind, request: ActionRequest) -> Result<Receipt> {
        let (busy, script) = match self.admit(&action, &request)? {
            Admission::Known(receipt) => return Ok(receipt),
            Admission::Go(script) => {
                (Busy { restarter: self, intent: request.intent.clone() }, script)
            }
        };
        let result = self.apply(&action, &request, script);
        let lost = matches!(script, Script::LoseAnswer | Script::Hang);
        if lost && result.is_ok() {
            self.clock.sleep_until(request.deadline).await;
            return Err(Error::new(
                ErrorKind::Timeout,
                format!("the {action} gave no answer in time"),
            )
            .with_operation("restart.memory"));
        }
        drop(busy);
        result
    }

    fn admit(&self, action: &ActionKind, request: &ActionRequest) -> Result<Admission> {
        let mut state = self.state();
        state.calls.push(Call { action: action.clone(), request: request.clone() });
        state.reachable()?;
        if let Some(receipt) = state.receipts.get(&request.intent) {
            return Ok(Admission::Known(receipt.clone()));
        }
        if request.token < state.highest_token {
            return Err(Error::new(
                ErrorKind::Forbidden,
                "a newer operator has acted since; this one lost its lease",
            )
            .with_context("token", request.token)
            .with_context("highest", state.highest_token));
        }
        if state.run == RunState::Missing {
            return Err(Error::new(ErrorKind::NotFound, "the platform does not know the service"));
        }
        if !state.busy.insert(request.intent.clone()) {
            return Err(Error::new(ErrorKind::Conflict, "this intent is being carried out"));
        }
        state.highest_token = request.token;
        Ok(Admission::Go(state.scripts.pop_front().unwrap_or(Script::Done)))
    }

    fn apply(
        &self,
        action: &ActionKind,
        request: &ActionRequest,
        script: Script,
    ) -> Result<Receipt> {
        let wall = self.clock.wall();
        let mut state = self.state();
        let before = state.running_instance();
        let receipt = Receipt::new(format!("{action} done")).with_before(before.clone());
        match script {
            Script::Refuse(kind) => {
                return Err(Error::new(kind, format!("the {action} was refused")));
            }
            Script::StopsOnly(kind) => {
                state.end_life();
                return Err(Error::new(kind, "it was stopped and can't be started again")
                    .with_retry(Retry::Indeterminate));
            }
            Script::Hang => return Ok(receipt),
            Script::Lie => return Ok(receipt.with_after(before)),
            Script::Done | Script::LoseAnswer => {}
        }
        state.perform(action, wall)?;
        let receipt = receipt.with_after(state.running_instance());
        state.receipts.insert(request.intent.clone(), receipt.clone());
        Ok(receipt)
    }
}

enum Admission {
    Known(Receipt),
    Go(Script),
}

/// Lets go of the intent when the call is dropped in the middle, too.
struct Busy<'a> {
    restarter: &'a MemoryRestarter,
    intent: IntentId,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.restarter.state().busy.remove(&self.intent);
    }
}

impl State {
    fn reachable(&self) -> Result<()> {
        if self.unreachable {
            return Err(Error::new(ErrorKind::Unavailable, "the platform can't be reached"));
        }
        Ok(())
    }

    fn instance(&self) -> Option<InstanceId> {
        (self.tells_lives_apart && self.life > 0)
            .then(|| InstanceId::new(format!("life {}", self.life)).ok())
            .flatten()
    }

    fn running_instance(&self) -> Option<InstanceId> {
        (self.run == RunState::Running).then(|| self.instance()).flatten()
    }

    fn perform(&mut self, action: &ActionKind, wall: WallTime) -> Result<()> {
        match action {
            ActionKind::Start if self.run == RunState::Running => {}
            ActionKind::Restart | ActionKind::Start => {
                self.end_life();
                self.begin_life(wall);
            }
            ActionKind::Stop => self.end_life(),
            ActionKind::RollBack { to } => {
                if self.known_versions.is_empty() {
                    return Err(Error::new(ErrorKind::Unsupported, "the platform has no versions"));
                }
                if !self.known_versions.contains(to) {
                    return Err(Error::new(
                        ErrorKind::NotFound,
                        format!("there is no version {to}"),
                    ));
                }
                self.undo = self.version.replace(to.clone());
                self.end_life();
                self.begin_life(wall);
            }
        }
        Ok(())
    }

    fn end_life(&mut self) {
        if self.run == RunState::Running {
            let exit = Exit::Signal(15);
            let instance = self.instance();
            self.run = RunState::Exited { exit };
            self.tell(&InstanceEvent::Exited { instance, exit });
        }
    }

    fn begin_life(&mut self, wall: WallTime) {
        self.life += 1;
        self.run = RunState::Running;
        self.started_at = Some(wall);
        let instance = self.instance();
        self.tell(&InstanceEvent::Started { instance });
    }

    fn tell(&mut self, event: &InstanceEvent) {
        self.watchers.retain(|watcher| watcher.offer(event.clone()));
    }
}

#[async_trait]
impl ServiceRestarter for MemoryRestarter {
    async fn observe(&self) -> Result<Running> {
        let state = self.state();
        state.reachable()?;
        Ok(Running::new(state.run.clone())
            .with_instance(state.instance())
            .with_version(state.version.clone())
            .with_started_at(state.started_at)
            .with_native_health(state.native_health)
            .with_native_restart(state.native_restart))
    }

    async fn restart(&self, request: ActionRequest) -> Result<Receipt> {
        self.act(ActionKind::Restart, request).await
    }

    async fn start(&self, request: ActionRequest) -> Result<Receipt> {
        self.act(ActionKind::Start, request).await
    }

    async fn stop(&self, request: ActionRequest) -> Result<Receipt> {
        self.act(ActionKind::Stop, request).await
    }

    async fn roll_back(&self, request: ActionRequest, to: VersionId) -> Result<Receipt> {
        self.act(ActionKind::RollBack { to }, request).await
    }

    async fn settle_roll_back(&self, keep: bool) -> Result<()> {
        let wall = self.clock.wall();
        let mut state = self.state();
        state.reachable()?;
        let Some(before) = state.undo.take() else { return Ok(()) };
        if !keep {
            state.version = Some(before);
            state.end_life();
            state.begin_life(wall);
        }
        Ok(())
    }

    async fn watch(&self) -> Result<InstanceEvents> {
        let (sender, events) = InstanceEvents::channel(64);
        let mut state = self.state();
        state.reachable()?;
        state.watchers.push(sender);
        Ok(events)
    }

    async fn last_log_lines(&self, lines: usize) -> Result<Vec<String>> {
        let state = self.state();
        let mut room = LOG_BYTES;
        let mut last: Vec<String> = state
            .log
            .iter()
            .rev()
            .take(lines)
            .take_while(|line| {
                let fits = line.len() <= room;
                room = room.saturating_sub(line.len());
                fits
            })
            .cloned()
            .collect();
        last.reverse();
        Ok(last)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;
    use base::clock::{Clock, ManualClock};

    fn request(clock: &ManualClock, intent: &str, token: u64) -> ActionRequest {
        let deadline = clock.monotonic() + Duration::from_secs(5);
        ActionRequest::new(IntentId::new(intent).unwrap(), FencingToken::new(token), deadline)
    }

    #[test]
    fn an_older_token_is_refused_and_a_known_intent_is_answered() {
        let clock = ManualClock::new();
        let restarter = MemoryRestarter::running(Arc::new(clock.clone()));
        let first = restarter.restart(request(&clock, "a", 2)).now_or_never().unwrap().unwrap();
        let again = restarter.restart(request(&clock, "a", 1)).now_or_never().unwrap().unwrap();
        assert_eq!(first, again);
        let stale = restarter.restart(request(&clock, "b", 1)).now_or_never().unwrap().unwrap_err();
        assert_eq!(stale.kind(), ErrorKind::Forbidden);
        assert_eq!(restarter.lives(), 2);
    }

    #[test]
    fn scripts_lose_answers_lie_and_hang() {
        let clock = ManualClock::new();
        let restarter = MemoryRestarter::running(Arc::new(clock.clone()));

        restarter.then(Script::LoseAnswer);
        let mut call = restarter.restart(request(&clock, "lost", 1));
        assert!(call.as_mut().now_or_never().is_none());
        let busy = restarter.restart(request(&clock, "lost", 1)).now_or_never().unwrap();
        assert!(busy.is_ok(), "it is done already, only the answer is lost");
        clock.advance(Duration::from_secs(5));
        let error = call.now_or_never().unwrap().unwrap_err();
        assert_eq!(error.retry(), Retry::Indeterminate);
        assert_eq!(restarter.lives(), 2);

        restarter.then(Script::Lie);
        let receipt = restarter.restart(request(&clock, "lie", 1)).now_or_never().unwrap().unwrap();
        assert_eq!(receipt.before, receipt.after);
        assert_eq!(restarter.lives(), 2);

        restarter.then(Script::Hang);
        let mut hung = restarter.restart(request(&clock, "hang", 1));
        assert!(hung.as_mut().now_or_never().is_none());
        let busy = restarter.restart(request(&clock, "hang", 1)).now_or_never().unwrap();
        assert_eq!(busy.unwrap_err().kind(), ErrorKind::Conflict);
        drop(hung);
        assert!(restarter.restart(request(&clock, "hang", 1)).now_or_never().unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_rollback_that_is_given_up_brings_back_what_ran() {
        let clock = ManualClock::new();
        let versions = ["v2", "v1"].map(|text| VersionId::new(text).unwrap());
        let restarter =
            MemoryRestarter::running(Arc::new(clock.clone())).with_versions(versions.clone());
        let mut events = restarter.watch().await.unwrap();
        restarter.roll_back(request(&clock, "back", 1), versions[1].clone()).await.unwrap();
        assert_eq!(restarter.observe().await.unwrap().version, Some(versions[1].clone()));
        restarter.settle_roll_back(false).await.unwrap();
        assert_eq!(restarter.observe().await.unwrap().version, Some(versions[0].clone()));
        assert!(matches!(events.next().await, Some(InstanceEvent::Exited { .. })));
        assert!(matches!(events.next().await, Some(InstanceEvent::Started { .. })));
    }
}
