//! One container: what runs, who stopped it, and the actions.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bollard::query_parameters as query;

use super::engine::{Engine, MARGIN};
use super::events::stopped_in;
use super::interrupted::{interrupted, restore, was_begun};
use super::life::{Life, Phase};
use super::target::Target;
use crate::restart::intents::Intents;
use crate::restart::{ActionRequest, Exit, Receipt, RunState, Running};
use base::clock::Monotonic;
use base::subprocess::Program;
use base::sync::Mutex;
use base::vocabulary::{InstanceId, IntentId};
use base::{Result, Retry};

/// The engine's own stop timeout, in seconds, where neither we nor the container name one.
const ENGINE_STOP_TIMEOUT: i64 = 10;
const MILLISECOND: i128 = 1_000_000;
/// A `stop` event follows its `die` within this time.
const STOP_FOLLOWS: i128 = 250 * MILLISECOND;
/// How many restarts with a lost answer are remembered.
const LOST: usize = 16;

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) target: Target,
    pub(super) engine: Arc<Engine>,
    pub(super) intents: Intents,
    pub(super) rollback: Option<Program>,
    stop_timeout: Option<Duration>,
    /// Restarts whose answer was lost, and which life ran before them.
    lost: Mutex<VecDeque<(IntentId, InstanceId)>>,
    /// The container as it was last seen, to tell removed from never there.
    seen: Mutex<Option<Seen>>,
}

#[derive(Debug, Clone)]
struct Seen {
    id: String,
    name: String,
    auto_remove: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Action {
    Restart,
    Start,
    Stop,
}

impl Inner {
    pub(super) fn new(
        target: Target,
        engine: Arc<Engine>,
        stop_timeout: Option<Duration>,
        rollback: Option<Program>,
    ) -> Self {
        Self {
            target,
            engine,
            intents: Intents::default(),
            rollback,
            stop_timeout,
            lost: Mutex::default(),
            seen: Mutex::default(),
        }
    }

    /// Remembers a restart that may have been done.
    fn lose(&self, intent: &IntentId, before: &InstanceId) {
        let mut lost = self.lost.lock();
        if lost.len() == LOST {
            lost.pop_front();
        }
        lost.push_back((intent.clone(), before.clone()));
    }

    fn lost(&self, intent: &IntentId) -> Option<InstanceId> {
        let lost = self.lost.lock();
        lost.iter().find(|(known, _)| known == intent).map(|(_, before)| before.clone())
    }

    fn seen(&self) -> Option<Seen> {
        self.seen.lock().clone()
    }

    pub(super) async fn locate(&self) -> Result<Option<Life>> {
        let Some(inspect) = self.target.locate(&self.engine).await? else { return Ok(None) };
        let life = Life::of(&inspect)?;
        *self.seen.lock() = Some(Seen {
            id: life.id.clone(),
            name: life.name.clone(),
            auto_remove: life.auto_remove,
        });
        Ok(Some(life))
    }

    pub(super) async fn observe(&self) -> Result<Running> {
        let Some(life) = self.locate().await? else { return self.absent().await };
        let person = match life.phase {
            Phase::Exited(_) => self.person(&life).await,
            _ => None,
        };
        Ok(life.running(person))
    }

    /// How a person ended this life, where one did. See the top of this module.
    async fn person(&self, life: &Life) -> Option<String> {
        if self.engine.ended(&life.instance) {
            return None;
        }
        if was_begun(&self.engine, life).await {
            return None;
        }
        let started = life.started.unwrap_or(0);
        if let Some(evidence) = self.engine.hub.stopped(&life.id, started) {
            return Some(evidence);
        }
        if life.held_down() {
            return Some(
                "it is stopped although its restart policy would restart any exit".to_owned(),
            );
        }
        let finished = life.finished?;
        let history = self.engine.history(&life.id, started, finished + STOP_FOLLOWS).await;
        stopped_in(&history, finished)
    }

    /// There is no such container: did it go, was it renamed, or did we leave it half replaced?
    async fn absent(&self) -> Result<Running> {
        if let Some(interrupted) = interrupted(&self.engine, &self.target).await? {
            let life = Life::of(&interrupted.kept)?;
            let exit = match life.phase {
                Phase::Exited(exit) => exit,
                _ => Exit::Unknown,
            };
            let mut running = life.running(None);
            running.state = RunState::Exited { exit };
            return Ok(running);
        }
        let missing = Running::new(RunState::Missing);
        let Some(seen) = self.seen() else { return Ok(missing) };
        if let Some(found) = self.engine.find(&seen.id).await? {
            let life = Life::of(&found)?;
            let evidence = format!(
                "the container {:?} was renamed to {:?}; rename it back, or change the configuration",
                seen.name, life.name
            );
            return Ok(life.running(Some(evidence)));
        }
        if self.engine.hub.removed(&seen.id) && !seen.auto_remove {
            let evidence = format!("the container {:?} was removed", seen.name);
            return Ok(Running::new(RunState::StoppedByPerson { evidence }));
        }
        Ok(missing)
    }

    /// In seconds, and how long the whole may take.
    pub(super) fn stop_timeout(&self, life: &Life) -> (Option<i32>, Duration) {
        let ours = self.stop_timeout.map(|timeout| timeout.as_secs().max(1));
        let seconds = ours.map(|seconds| i32::try_from(seconds).unwrap_or(i32::MAX));
        let whole = seconds
            .map_or_else(|| life.stop_timeout.unwrap_or(ENGINE_STOP_TIMEOUT).max(0), i64::from);
        (seconds, Duration::from_secs(whole.unsigned_abs()) + MARGIN)
    }

    /// Carries an action out. Its own deadline, not the caller's, ends it: a stop that was begun
    /// is followed by its start whether or not somebody still waits.
    pub(super) async fn act(&self, action: Action, request: &ActionRequest) -> Result<Receipt> {
        let life = match self.locate().await? {
            Some(life) => life,
            None => Box::pin(self.put_back(action)).await?,
        };
        let deadline = self.engine.clock.monotonic() + self.stop_timeout(&life).1;
        match action {
            Action::Restart => self.restart(&life, deadline, &request.intent).await,
            Action::Start => self.start(life, deadline).await,
            Action::Stop => self.stop(&life, deadline).await,
        }
    }

    /// A rollback of ours broke off between two renames: its container gets its name again.
    async fn put_back(&self, action: Action) -> Result<Life> {
        if matches!(action, Action::Stop) {
            return Err(self.target.not_found());
        }
        let left = interrupted(&self.engine, &self.target).await?;
        let left = left.ok_or_else(|| self.target.not_found())?;
        let deadline = self.engine.clock.monotonic() + MARGIN;
        Box::pin(restore(&self.engine, left, deadline)).await?;
        self.locate().await?.ok_or_else(|| self.target.not_found())
    }

    async fn restart(
        &self,
        life: &Life,
        deadline: Monotonic,
        intent: &IntentId,
    ) -> Result<Receipt> {
        let running = matches!(life.phase, Phase::Running | Phase::Starting);
        if running && self.lost(intent).is_some_and(|before| before != life.instance) {
            let text = format!("{} was restarted; the first answer was lost", life.name);
            return Ok(Receipt::new(text).with_after(Some(life.instance.clone())));
        }
        let mut options = query::RestartContainerOptionsBuilder::default();
        if let Some(seconds) = self.stop_timeout(life).0 {
            options = options.t(seconds);
        }
        let _ours = self.engine.acting(&life.id);
        self.engine.ends(&life.instance);
        let restart = self.engine.docker.restart_container(&life.id, Some(options.build()));
        match self.engine.act("docker.restart", deadline, restart).await {
            Ok(()) => Ok(self.receipt("restarted", life).await),
            Err(error) => {
                if error.retry() == Retry::Indeterminate {
                    self.lose(intent, &life.instance);
                }
                Err(error)
            }
        }
    }

    async fn start(&self, life: Life, deadline: Monotonic) -> Result<Receipt> {
        let engine = &self.engine;
        match life.phase {
            Phase::Running | Phase::Starting => {
                return Ok(Receipt::new(format!("{} runs already", life.name))
                    .with_before(Some(life.instance.clone()))
                    .with_after(Some(life.instance)));
            }
            Phase::Paused => {
                let unpause = engine.docker.unpause_container(&life.id);
                engine.act("docker.unpause", deadline, unpause).await?;
                return Ok(self.receipt("unpaused", &life).await);
            }
            Phase::Created | Phase::Exited(_) | Phase::Removing => {}
        }
        let _ours = engine.acting(&life.id);
        let options = None::<query::StartContainerOptions>;
        let start = engine.docker.start_container(&life.id, options);
        engine.act("docker.start", deadline, start).await?;
        Ok(self.receipt("started", &life).await)
    }

    async fn stop(&self, life: &Life, deadline: Monotonic) -> Result<Receipt> {
        let before = Some(life.instance.clone());
        if matches!(life.phase, Phase::Created | Phase::Exited(_) | Phase::Removing) {
            return Ok(Receipt::new(format!("{} does not run", life.name)).with_before(before));
        }
        self.stop_life(life, deadline).await?;
        Ok(Receipt::new(format!("{} is stopped", life.name)).with_before(before))
    }

    pub(super) async fn stop_life(&self, life: &Life, deadline: Monotonic) -> Result<()> {
        let mut options = query::StopContainerOptionsBuilder::default();
        if let Some(seconds) = self.stop_timeout(life).0 {
            options = options.t(seconds);
        }
        let _ours = self.engine.acting(&life.id);
        self.engine.ends(&life.instance);
        let stop = self.engine.docker.stop_container(&life.id, Some(options.build()));
        self.engine.act("docker.stop", deadline, stop).await
    }

    /// What the engine says after it did as it was asked. That it can't be asked now undoes
    /// nothing.
    pub(super) async fn receipt(&self, done: &str, before: &Life) -> Receipt {
        let after = self.locate().await.ok().flatten();
        let image = after.as_ref().map_or("", |life| life.image_name.as_str());
        Receipt::new(format!("{} is {done} (image {image})", before.name))
            .with_before(Some(before.instance.clone()))
            .with_after(after.map(|life| life.instance))
    }
}
