//! [`CommandRestarter`]: a service that somebody else's command brings back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::intents::Intents;
use super::{ActionRequest, Exit, InstanceEvents, Receipt, RunState, Running, ServiceRestarter};
use base::clock::{Monotonic, SharedClock};
use base::subprocess::{Finished, Leftovers, Program, run};
use base::units;
use base::vocabulary::{ConfigPath, InstanceId, ServiceId, VersionId};
use base::{Error, ErrorKind, Result, Retry, Secret};

const OPERATION: &str = "restart.command";

/// What stands for the version in [`CommandConfig::rollback`].
const VERSION: &str = "{version}";

/// `via = "command"`. Every command is a list of arguments; none goes through a shell.
///
/// Each is told the service in `JARVIS_SERVICE` and, where there is one, the intent in
/// `JARVIS_INTENT`, so that it can refuse to do the same thing twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CommandConfig {
    /// Stops what runs and starts it. Done when it ends with code 0.
    pub command: Vec<String>,
    /// Starts what does not run. Without it starting alone is unsupported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Vec<String>>,
    /// Stops what runs. Without it stopping alone is unsupported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Vec<String>>,
    /// Names the life that runs: code 0 and a first line that changes with every life. Any other
    /// code means that nothing runs. Without it a restart is not proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Vec<String>>,
    /// Names the version that runs, as its first line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Vec<String>>,
    /// Replaces what runs by the version that `{version}` stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Vec<String>>,
    /// The working directory. The one of JARVIS by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<ConfigPath>,
    /// Added to the environment of JARVIS.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Secret<String>>,
    /// How long `identity` and `version` may take.
    #[serde(default = "ten_seconds", with = "units::duration")]
    pub ask_timeout: Duration,
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

impl CommandConfig {
    /// Restarts with this command, and can do nothing else.
    #[must_use]
    pub fn new(command: Vec<String>) -> Self {
        Self {
            command,
            start: None,
            stop: None,
            identity: None,
            version: None,
            rollback: None,
            cwd: None,
            env: BTreeMap::new(),
            ask_timeout: ten_seconds(),
        }
    }
}

#[derive(Debug)]
struct Commands {
    clock: SharedClock,
    restart: Program,
    start: Option<Program>,
    stop: Option<Program>,
    identity: Option<Program>,
    version: Option<Program>,
    rollback: Option<Program>,
    ask_timeout: Duration,
}

/// Restarts by running a command, with the request's deadline, its process group killed then.
///
/// What a command starts in the background stays; it should send its output elsewhere, for what
/// it writes to ours is thrown away, and is lost to it when JARVIS ends.
#[derive(Debug)]
pub struct CommandRestarter {
    commands: Arc<Commands>,
    intents: Intents,
}

impl CommandRestarter {
    /// A restarter for this service.
    ///
    /// # Errors
    /// `ConfigInvalid` for an empty command, or a rollback without `{version}`.
    pub fn new(config: CommandConfig, service: &ServiceId, clock: SharedClock) -> Result<Self> {
        let CommandConfig {
            command,
            start,
            stop,
            identity,
            version,
            rollback,
            cwd,
            mut env,
            ask_timeout,
        } = config;
        let cwd = cwd.map(ConfigPath::into_path_buf);
        env.insert("JARVIS_SERVICE".to_owned(), Secret::new(service.to_string()));
        let program = |key: &str, argv: &[String]| -> Result<Program> {
            let program = Program::new(key, argv)?;
            Ok(Program { cwd: cwd.clone(), env: env.clone(), ..program })
        };
        let optional = |key: &str, argv: &Option<Vec<String>>| {
            argv.as_deref().map(|argv| program(key, argv)).transpose()
        };
        if let Some(rollback) = &rollback
            && !rollback.iter().any(|arg| arg.contains(VERSION))
        {
            return Err(Error::new(
                ErrorKind::ConfigInvalid,
                "rollback must say where the version goes: write {version} in one of its arguments",
            ));
        }
        let commands = Commands {
            clock,
            restart: program("command", &command)?,
            start: optional("start", &start)?,
            stop: optional("stop", &stop)?,
            identity: optional("identity", &identity)?,
            version: optional("version", &version)?,
            rollback: optional("rollback", &rollback)?,
            ask_timeout,
        };
        Ok(Self { commands: Arc::new(commands), intents: Intents::default() })
    }

    async fn act(&self, request: ActionRequest, what: What) -> Result<Receipt> {
        let program = self.commands.program(&what, &request)?;
        program.locate().map_err(|error| error.with_operation(OPERATION))?;
        let commands = self.commands.clone();
        let deadline = request.deadline;
        self.intents
            .carry_out(&self.commands.clock, &request, OPERATION, async move {
                commands.carry_out(&program, deadline, &what).await
            })
            .await
    }
}

/// Which of the commands.
#[derive(Debug)]
enum What {
    Restart,
    Start,
    Stop,
    RollBack(VersionId),
}

impl What {
    fn key(&self) -> &'static str {
        match self {
            Self::Restart => "command",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::RollBack(_) => "rollback",
        }
    }
}

impl Commands {
    fn program(&self, what: &What, request: &ActionRequest) -> Result<Program> {
        let program = match what {
            What::Restart => Some(&self.restart),
            What::Start => self.start.as_ref(),
            What::Stop => self.stop.as_ref(),
            What::RollBack(_) => self.rollback.as_ref(),
        };
        let Some(mut program) = program.cloned() else {
            let key = what.key();
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the restart section has no {key} = [\"program\", \"argument\"]; add one"),
            )
            .with_operation(OPERATION));
        };
        if let What::RollBack(to) = what {
            for arg in &mut program.argv {
                *arg = arg.replace(VERSION, to.as_str());
            }
        }
        let intent = Secret::new(request.intent.to_string());
        program.env.insert("JARVIS_INTENT".to_owned(), intent);
        Ok(program)
    }

    async fn carry_out(
        &self,
        program: &Program,
        deadline: Monotonic,
        what: &What,
    ) -> Result<Receipt> {
        let before = self.life().await?;
        let untouched = match (what, &before) {
            (What::Start, Life::Named(_)) => Some("it is already running"),
            (What::Stop, Life::None) => Some("it does not run"),
            _ => None,
        };
        if let Some(message) = untouched {
            let instance = before.instance();
            return Ok(Receipt::new(message).with_before(instance.clone()).with_after(instance));
        }
        let finished = run(program, &*self.clock, deadline, Leftovers::Keep).await?;
        self.judge(program, &finished)?;
        let last = finished.last_line().map(|line| format!(": {}", program.mask(&line)));
        let message = format!("{} ended well{}", program.name(), last.unwrap_or_default());
        // The command is done; that its result can't be named is no failure of the command.
        let after = self.life().await.unwrap_or(Life::Unnamed);
        Ok(Receipt::new(message).with_before(before.instance()).with_after(after.instance()))
    }

    fn judge(&self, program: &Program, finished: &Finished) -> Result<()> {
        if finished.success() {
            return Ok(());
        }
        let kind = match finished.status {
            None => ErrorKind::Timeout,
            Some(_) => ErrorKind::Unavailable,
        };
        let mut error = Error::new(kind, format!("the command failed: {}", finished.ending()))
            .with_retry(Retry::Indeterminate)
            .with_context("program", program.name())
            .with_context("wrote_bytes", finished.written());
        if let Some(line) = finished.last_line() {
            error = error.with_context("last_line", program.mask(&line));
        }
        Err(error)
    }

    async fn ask(&self, program: &Program) -> Result<Finished> {
        let deadline = self.clock.monotonic() + self.ask_timeout;
        let finished = run(program, &*self.clock, deadline, Leftovers::Kill).await?;
        if finished.status.is_none() {
            return Err(Error::new(ErrorKind::Unavailable, "no answer in time")
                .with_context("program", program.name())
                .with_operation(OPERATION));
        }
        Ok(finished)
    }

    async fn life(&self) -> Result<Life> {
        let Some(program) = &self.identity else { return Ok(Life::Unnamed) };
        let finished = self.ask(program).await?;
        if !finished.success() {
            return Ok(Life::None);
        }
        let line = finished.first_line().unwrap_or_default();
        InstanceId::new(&line).map(Life::Named).map_err(|error| {
            Error::new(
                ErrorKind::Unavailable,
                "the identity command succeeded but printed no instance",
            )
            .with_context("program", program.name())
            .with_source(error)
        })
    }

    async fn version(&self) -> Result<Option<VersionId>> {
        let Some(program) = &self.version else { return Ok(None) };
        let finished = self.ask(program).await?;
        let line = finished.first_line().filter(|_| finished.success());
        Ok(line.and_then(|line| VersionId::new(line).ok()))
    }
}

/// What `identity` says.
enum Life {
    /// Nothing runs.
    None,
    /// Nobody can say.
    Unnamed,
    Named(InstanceId),
}

impl Life {
    fn instance(&self) -> Option<InstanceId> {
        match self {
            Self::Named(instance) => Some(instance.clone()),
            Self::None | Self::Unnamed => None,
        }
    }
}

#[async_trait]
impl ServiceRestarter for CommandRestarter {
    async fn observe(&self) -> Result<Running> {
        let life = self.commands.life().await?;
        let state = match life {
            Life::None => RunState::Exited { exit: Exit::Unknown },
            Life::Unnamed | Life::Named(_) => RunState::Running,
        };
        Ok(Running::new(state)
            .with_instance(life.instance())
            .with_version(self.commands.version().await?))
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

    async fn roll_back(&self, request: ActionRequest, to: VersionId) -> Result<Receipt> {
        self.act(request, What::RollBack(to)).await
    }

    async fn settle_roll_back(&self, _keep: bool) -> Result<()> {
        // The command's own affair: nothing was kept here.
        Ok(())
    }

    async fn watch(&self) -> Result<InstanceEvents> {
        Err(Error::new(ErrorKind::Unsupported, "a command reports no events")
            .with_operation(OPERATION))
    }

    async fn last_log_lines(&self, _lines: usize) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}
