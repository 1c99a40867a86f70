//! [`CommandSink`]: a program of the user's.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Alert, AlertSink};
use base::clock::{Clock, SharedClock};
use base::subprocess::{Leftovers, Program, run};
use base::text::one_line;
use base::vocabulary::ConfigPath;
use base::{Error, ErrorKind, Result, Retry, Secret};

/// The longest a program may take; the route's `timeout` is usually shorter.
const LONGEST: Duration = Duration::from_secs(300);

/// The keys of a sink with `type = "command"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CommandConfig {
    /// The program and its arguments. No shell is involved.
    pub command: Vec<String>,
    /// Where it runs.
    #[serde(default)]
    pub cwd: Option<ConfigPath>,
    /// More of its environment.
    #[serde(default)]
    pub env: BTreeMap<String, Secret<String>>,
}

impl CommandConfig {
    /// This program.
    pub fn new(command: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            command: command.into_iter().map(Into::into).collect(),
            cwd: None,
            env: BTreeMap::new(),
        }
    }
}

/// Runs a program for each message: the [`Alert`] as JSON on its standard input, and in
/// `JARVIS_ALERT_ID`, `_KEY`, `_STATUS`, `_SEVERITY`, `_SERVICE`, `_TITLE`, `_BODY` and `_AT`.
/// Exit code 0 means taken; any other is tried again. At the deadline its process group is killed.
#[derive(Debug)]
pub struct CommandSink {
    program: Program,
    clock: SharedClock,
}

impl CommandSink {
    /// Checks the arguments. Runs nothing.
    ///
    /// # Errors
    /// `ConfigInvalid` for an empty command or a NUL byte.
    pub fn new(config: CommandConfig, clock: SharedClock) -> Result<Self> {
        let mut program = Program::new("command", &config.command)?;
        program.cwd = config.cwd.map(ConfigPath::into_path_buf);
        program.env = config.env;
        Ok(Self { program, clock })
    }

    fn program_for(&self, alert: &Alert) -> Result<Program> {
        let json = serde_json::to_value(alert).map_err(|error| {
            Error::new(ErrorKind::Internal, "failed to serialize an alert as JSON")
                .with_source(error)
        })?;
        let mut program = self.program.clone();
        for name in ["id", "key", "status", "severity", "service", "title", "body", "at"] {
            // What is no text is not there; a NUL can't be passed.
            let value = json.get(name).and_then(|value| value.as_str()).unwrap_or_default();
            let value = Secret::new(value.replace('\0', ""));
            program.env.insert(format!("JARVIS_ALERT_{}", name.to_ascii_uppercase()), value);
        }
        let mut input = json.to_string().into_bytes();
        input.push(b'\n');
        program.input = Some(input);
        Ok(program)
    }

    async fn run(&self, alert: &Alert) -> Result<()> {
        let program = self.program_for(alert)?;
        let deadline = self.clock.monotonic() + LONGEST;
        let finished = run(&program, self.clock.as_ref() as &dyn Clock, deadline, Leftovers::Kill)
            .await
            .map_err(|error| match error.kind() {
                ErrorKind::Exhausted => error.with_retry(Retry::Safe { after: None }),
                _ => error,
            })?;
        if finished.success() {
            return Ok(());
        }
        let said = finished.last_line().map(|line| one_line(&self.program.mask(&line), 160));
        let kind = if finished.status.is_some() { ErrorKind::Internal } else { ErrorKind::Timeout };
        let mut error =
            Error::new(kind, format!("the alert command ended with {}", finished.ending()))
                .with_retry(Retry::Safe { after: None })
                .with_context("program", self.program.name());
        if let Some(said) = said {
            error = error.with_context("said", said);
        }
        Err(error)
    }
}

#[async_trait]
impl AlertSink for CommandSink {
    async fn deliver(&self, alert: &Alert) -> Result<()> {
        self.run(alert).await.map_err(|error| error.with_operation("alert.command"))
    }
}
