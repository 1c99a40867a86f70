//! [`ProcessRestarter`]: a process that JARVIS starts and owns.
//!
//! It runs in a process group of its own and writes to a file, so that nothing it needs dies
//! with JARVIS. What it is (pid, start time, boot) is on disk, and the next JARVIS adopts it by
//! that. The record is written before the start, and the child carries the intent in its
//! environment: a crash between start and record neither loses the child nor starts a second.

mod config;
mod core;
mod life;
mod log;
mod members;
mod oom;
mod record;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

pub use self::config::{OnExit, ProcessConfig};
use self::core::{Core, Seen, What};
use super::intents::Intents;
use super::{ActionRequest, InstanceEvents, Leaving, Receipt, RunState, Running, ServiceRestarter};
use base::clock::SharedClock;
use base::subprocess::procfs::Identity;
use base::vocabulary::{ServiceId, VersionId};
use base::{Error, ErrorKind, Result};

const OPERATION: &str = "restart.process";

/// Owns one process. Its methods need a tokio runtime with I/O and time.
#[derive(Debug)]
pub struct ProcessRestarter {
    core: Arc<Core>,
    config: ProcessConfig,
    intents: Intents,
}

impl ProcessRestarter {
    /// A restarter that keeps its traces under `state_dir`: `run/NAME.json` and `log/NAME.log`.
    /// Touches nothing yet.
    ///
    /// # Errors
    /// `ConfigInvalid` for an empty command or an unknown user.
    pub fn new(
        config: ProcessConfig,
        service: &ServiceId,
        state_dir: &Path,
        clock: SharedClock,
    ) -> Result<Self> {
        let core = Arc::new(Core::new(&config, service, state_dir, clock)?);
        Ok(Self { core, config, intents: Intents::default() })
    }

    /// What runs now, after a look at the record and at the process itself.
    async fn look(&self) -> Result<Seen> {
        let core = self.core.clone();
        let looked = blocking(move || core.look()).await?;
        for (intent, receipt) in looked.receipts {
            self.intents.remember(&intent, receipt);
        }
        Ok(looked.seen)
    }

    async fn act(&self, request: ActionRequest, what: What) -> Result<Receipt> {
        self.look().await?;
        let core = self.core.clone();
        let asked = request.clone();
        self.intents
            .carry_out(&self.core.clock, &request, OPERATION, async move {
                core.act(&asked, what).await
            })
            .await
    }
}

/// Runs what waits for the disk or reads `/proc`, away from the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| {
            Error::new(ErrorKind::Internal, "an operation on a process was aborted")
                .with_source(error)
        })?
        .map_err(|error| error.with_operation(OPERATION))
}

#[async_trait]
impl ServiceRestarter for ProcessRestarter {
    async fn observe(&self) -> Result<Running> {
        let clock = &*self.core.clock;
        Ok(match self.look().await? {
            Seen::Running(identity) => Running::new(RunState::Running)
                .with_instance(identity.instance())
                .with_started_at(Some(identity.started_at(clock))),
            _ if self.core.program.locate().is_err() => Running::new(RunState::Missing),
            Seen::NotStarted => Running::new(RunState::NotStarted),
            Seen::Ended(identity, exit) => Running::new(RunState::Exited { exit })
                .with_instance(identity.as_ref().and_then(Identity::instance))
                .with_started_at(identity.map(|identity| identity.started_at(clock))),
        })
    }

    async fn restart(&self, request: ActionRequest) -> Result<Receipt> {
        self.act(request, What::Restart).await
    }

    async fn start(&self, request: ActionRequest) -> Result<Receipt> {
        self.act(request, What::Start).await
    }

    async fn stop(&self, request: ActionRequest) -> Result<Receipt> {
        self.act(request, What::Stop).await
    }

    async fn roll_back(&self, _request: ActionRequest, _to: VersionId) -> Result<Receipt> {
        Err(Error::new(ErrorKind::Unsupported, "an owned process has no versions to roll back to")
            .with_operation(OPERATION))
    }

    async fn settle_roll_back(&self, _keep: bool) -> Result<()> {
        Ok(())
    }

    async fn watch(&self) -> Result<InstanceEvents> {
        let (sender, events) = InstanceEvents::channel(64);
        self.look().await?;
        self.core.add_watcher(sender);
        Ok(events)
    }

    async fn release(&self, why: Leaving) -> Result<()> {
        if !self.config.stops_on(why) {
            return Ok(());
        }
        // An action under way goes first: its start half is carried out, and stopped here.
        let turn = self.intents.turn().await;
        let core = self.core.clone();
        let task = tokio::spawn(async move {
            let _turn = turn;
            core.release().await
        });
        task.await.map_err(|error| {
            Error::new(ErrorKind::Internal, "the stop was aborted").with_source(error)
        })?
    }

    async fn last_log_lines(&self, lines: usize) -> Result<Vec<String>> {
        let core = self.core.clone();
        blocking(move || core.last_log_lines(lines)).await
    }
}
