//! How a service is brought back: [`ServiceRestarter`], one object a service.

pub mod command;
#[cfg(feature = "docker")]
pub mod docker;
mod events;
mod hosted;
mod intents;
pub mod memory;
#[cfg(feature = "process")]
pub mod process;
pub mod systemd;

use std::fmt::{self, Debug};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use events::{EventSender, InstanceEvent, InstanceEvents};
pub use hosted::HostedRestarter;

use base::Result;
use base::clock::{Monotonic, WallTime};
use base::vocabulary::{FencingToken, InstanceId, IntentId, Verdict, VersionId};

/// How the life of a service ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Exit {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Killed because memory ran out.
    OutOfMemory,
    /// It ended, and nobody can say how (an adopted process has another parent).
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::OutOfMemory => f.write_str("out of memory"),
            Self::Unknown => f.write_str("exit status unknown"),
        }
    }
}

/// Whether a service runs, as its platform sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
#[non_exhaustive]
pub enum RunState {
    /// It runs.
    Running,
    /// Its platform is starting it.
    Starting,
    /// It ran and ended. Proof of an exit.
    Exited {
        /// How.
        exit: Exit,
    },
    /// It was stopped on purpose by somebody other than us, or is paused. Not to be touched.
    StoppedByPerson {
        /// How we know.
        evidence: String,
    },
    /// It was never started since its platform knows it (an owned process before the first
    /// start).
    NotStarted,
    /// Its platform does not know it: no such container or unit.
    Missing,
}

/// The answer of [`ServiceRestarter::observe`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Running {
    /// Does it run?
    #[serde(flatten)]
    pub state: RunState,
    /// This life; absent when the platform can't tell lives apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// What runs, such as an image digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
    /// When this life began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<WallTime>,
    /// What the platform's own health check says, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native_health: Option<Verdict>,
    /// Does the platform restart it by itself when it exits?
    #[serde(default)]
    pub native_restart: bool,
    /// What the platform calls its own way to restart it, for a person: `restart policy "always"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native_policy: Option<String>,
}

impl Running {
    /// An observation with nothing but the state.
    #[must_use]
    pub fn new(state: RunState) -> Self {
        Self {
            state,
            instance: None,
            version: None,
            started_at: None,
            native_health: None,
            native_restart: false,
            native_policy: None,
        }
    }

    /// Names this life.
    #[must_use]
    pub fn with_instance(mut self, instance: Option<InstanceId>) -> Self {
        self.instance = instance;
        self
    }

    /// Names what runs.
    #[must_use]
    pub fn with_version(mut self, version: Option<VersionId>) -> Self {
        self.version = version;
        self
    }

    /// Says when this life began.
    #[must_use]
    pub fn with_started_at(mut self, started_at: Option<WallTime>) -> Self {
        self.started_at = started_at;
        self
    }

    /// Says what the platform's own health check says.
    #[must_use]
    pub fn with_native_health(mut self, health: Option<Verdict>) -> Self {
        self.native_health = health;
        self
    }

    /// Says whether the platform restarts it by itself.
    #[must_use]
    pub fn with_native_restart(mut self, native_restart: bool) -> Self {
        self.native_restart = native_restart;
        self
    }

    /// Says what the platform calls its own way to restart it.
    #[must_use]
    pub fn with_native_policy(mut self, policy: Option<String>) -> Self {
        self.native_policy = policy;
        self
    }

    /// Does it run or is about to?
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.state, RunState::Running | RunState::Starting)
    }
}

/// An action that is to be taken, already recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ActionRequest {
    /// The idempotency key.
    pub intent: IntentId,
    /// Fences us: where the platform can compare, an older token is refused.
    pub token: FencingToken,
    /// When we stop waiting for the answer.
    pub deadline: Monotonic,
}

impl ActionRequest {
    /// A request.
    #[must_use]
    pub fn new(intent: IntentId, token: FencingToken, deadline: Monotonic) -> Self {
        Self { intent, token, deadline }
    }
}

/// What the platform answered to an action. That it is well again is for the verification to say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Receipt {
    /// The life before, where it can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<InstanceId>,
    /// The life after, where it can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<InstanceId>,
    /// One line for a person.
    pub message: String,
}

impl Receipt {
    /// A receipt with a line for a person.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { before: None, after: None, message: message.into() }
    }

    /// Names the life before.
    #[must_use]
    pub fn with_before(mut self, instance: Option<InstanceId>) -> Self {
        self.before = instance;
        self
    }

    /// Names the life after.
    #[must_use]
    pub fn with_after(mut self, instance: Option<InstanceId>) -> Self {
        self.after = instance;
        self
    }
}

/// Why JARVIS leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leaving {
    /// A person pressed Ctrl-C: what was started at his terminal should end with it.
    Interrupted,
    /// It was told to end (SIGTERM), such as for its own upgrade.
    Terminated,
}

/// Brings one service back. One object is one service.
///
/// # Implementing
/// - Whether to act, how often, and whether it helped is the operator's business. A restarter
///   acts once, at once, and tells the truth about it.
/// - An action outlives its caller: when the call is dropped after it began to stop the service,
///   the start half is still carried out.
/// - What a platform can't do is `Unsupported`, never a silent `Ok`.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait ServiceRestarter: Debug + Send + Sync + 'static {
    /// What runs now.
    ///
    /// # Behavior
    /// - Asks the platform at each call; nothing is cached.
    /// - A service that does not run, or that the platform does not know, is an answer, not an
    ///   error; `Err` means that the platform could not be asked.
    /// - Two lives never share an [`InstanceId`]; one life never has two.
    async fn observe(&self) -> Result<Running>;

    /// Stops what runs, if anything does, and starts it.
    ///
    /// # Behavior
    /// - After `Ok` the platform has started a new life.
    /// - What does not run is started.
    /// - The same intent again does not restart again; it gives the receipt of the first call, or
    ///   `Conflict` while that still runs.
    /// - A deadline or a lost connection after the action began is an error with
    ///   [`Retry::Indeterminate`](base::Retry::Indeterminate).
    /// - What the platform does not know is `NotFound`; nothing was done.
    async fn restart(&self, request: ActionRequest) -> Result<Receipt>;

    /// Starts what does not run.
    ///
    /// # Behavior
    /// - What runs already is left alone: `Ok`, with the same life before and after.
    async fn start(&self, request: ActionRequest) -> Result<Receipt>;

    /// Stops what runs.
    ///
    /// # Behavior
    /// - After `Ok` nothing of this life runs any more, its children included.
    /// - What does not run is left alone: `Ok`.
    /// - It asks first and forces after the service's stop timeout.
    async fn stop(&self, request: ActionRequest) -> Result<Receipt>;

    /// Replaces what runs by an earlier version.
    ///
    /// # Behavior
    /// - On any failure what ran before runs again.
    /// - `Unsupported` where the platform has no versions.
    async fn roll_back(&self, request: ActionRequest, to: VersionId) -> Result<Receipt>;

    /// The rollback proved itself, or is given up: lets go of what was kept to undo it.
    ///
    /// # Behavior
    /// - With `keep` the earlier version stays, and what it replaced is let go of. Without, what
    ///   it replaced runs again.
    /// - Without a rollback before it: `Ok`, nothing happens.
    async fn settle_roll_back(&self, keep: bool) -> Result<()>;

    /// Tells what happens to the service as it happens.
    ///
    /// # Behavior
    /// - Events only accelerate: a reader that misses one still learns the truth by
    ///   [`observe`](ServiceRestarter::observe).
    /// - After a gap (a lost connection) the first event is [`InstanceEvent::Gap`].
    /// - `Unsupported` where the platform has no events.
    async fn watch(&self) -> Result<InstanceEvents>;

    /// JARVIS leaves, and takes no further action.
    ///
    /// # Behavior
    /// - A platform that runs its services by itself goes on running them: `Ok`, nothing happens.
    /// - What JARVIS owns is stopped or left to be adopted by its next start, as its
    ///   configuration says. What was stopped here is not started on the next start's budget.
    async fn release(&self, _why: Leaving) -> Result<()> {
        Ok(())
    }

    /// The last lines that the service wrote, oldest first, at most `lines` and 4 KiB.
    ///
    /// # Behavior
    /// - Without a log: empty.
    async fn last_log_lines(&self, lines: usize) -> Result<Vec<String>>;
}
