//! [`SystemdRestarter`]: a systemd unit, through `systemctl`.
//!
//! Tested against a stand-in `systemctl` that answers as systemd 252 does, not against a running
//! systemd.

mod unit;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use self::unit::{PROPERTIES, Unit};
use super::intents::Intents;
use super::{ActionRequest, InstanceEvents, Receipt, Running, ServiceRestarter};
use base::clock::{Monotonic, SharedClock};
use base::subprocess::{Finished, Leftovers, Program, run};
use base::units;
use base::vocabulary::VersionId;
use base::{Error, ErrorKind, Result, Retry, Secret};

const OPERATION: &str = "restart.systemd";

/// The most bytes of [`ServiceRestarter::last_log_lines`].
const LOG_BYTES: usize = 4_096;

/// `via = "systemd"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SystemdConfig {
    /// The unit, such as `postgresql.service`.
    pub unit: String,
    /// Talks to the user's own systemd.
    #[serde(default)]
    pub user: bool,
    /// When systemd refuses because the unit was started too often (`start-limit-hit`), clears
    /// that once in an action. The budget is then ours alone.
    #[serde(default)]
    pub reset_failed: bool,
    /// The program and its first arguments.
    #[serde(default = "systemctl")]
    pub systemctl: Vec<String>,
    /// The program that reads the unit's log, and its first arguments.
    #[serde(default = "journalctl")]
    pub journalctl: Vec<String>,
    /// How long a question may take.
    #[serde(default = "ten_seconds", with = "units::duration")]
    pub ask_timeout: Duration,
}

fn systemctl() -> Vec<String> {
    vec!["systemctl".to_owned()]
}

fn journalctl() -> Vec<String> {
    vec!["journalctl".to_owned()]
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

impl SystemdConfig {
    /// This unit of the system's systemd.
    #[must_use]
    pub fn new(unit: impl Into<String>) -> Self {
        Self {
            unit: unit.into(),
            user: false,
            reset_failed: false,
            systemctl: systemctl(),
            journalctl: journalctl(),
            ask_timeout: ten_seconds(),
        }
    }
}

#[derive(Debug)]
struct Systemctl {
    clock: SharedClock,
    unit: String,
    reset_failed: bool,
    systemctl: Program,
    journalctl: Program,
    ask_timeout: Duration,
}

/// Restarts a unit by `systemctl restart`. A life is the unit's `InvocationID`.
///
/// A unit that somebody stopped (`inactive`, result `success`) or masked is held as stopped by a
/// person. With `Restart=` in the unit systemd restarts exits by itself, and
/// [`Running::native_restart`] says so.
#[derive(Debug)]
pub struct SystemdRestarter {
    systemctl: Arc<Systemctl>,
    intents: Intents,
}

impl SystemdRestarter {
    /// A restarter for this unit.
    ///
    /// # Errors
    /// `ConfigInvalid` for what is no unit name, or an empty program.
    pub fn new(config: SystemdConfig, clock: SharedClock) -> Result<Self> {
        unit::check_name(&config.unit)?;
        let program = |key: &str, argv: &[String]| -> Result<Program> {
            let mut program = Program::new(key, argv)?;
            if config.user {
                program.argv.push("--user".to_owned());
            }
            // Times in UTC, words in English: what is parsed must not depend on the machine.
            for (key, value) in [("TZ", "UTC"), ("LC_ALL", "C"), ("SYSTEMD_COLORS", "0")] {
                program.env.insert(key.to_owned(), Secret::new(value.to_owned()));
            }
            Ok(program)
        };
        let systemctl = Systemctl {
            clock,
            systemctl: program("systemctl", &config.systemctl)?,
            journalctl: program("journalctl", &config.journalctl)?,
            unit: config.unit,
            reset_failed: config.reset_failed,
            ask_timeout: config.ask_timeout,
        };
        Ok(Self { systemctl: Arc::new(systemctl), intents: Intents::default() })
    }

    async fn act(&self, request: ActionRequest, verb: &'static str) -> Result<Receipt> {
        let systemctl = self.systemctl.clone();
        let deadline = request.deadline;
        self.intents
            .carry_out(&self.systemctl.clock, &request, OPERATION, async move {
                systemctl.act(verb, deadline).await
            })
            .await
    }
}

impl Systemctl {
    async fn call(&self, verb: &[&str], deadline: Monotonic) -> Result<Finished> {
        let mut program = self.systemctl.clone();
        program.argv.extend(verb.iter().map(|arg| (*arg).to_owned()));
        program.argv.extend(["--".to_owned(), self.unit.clone()]);
        run(&program, &*self.clock, deadline, Leftovers::Kill).await
    }

    async fn show(&self) -> Result<Unit> {
        let unavailable = |reason: String| {
            Error::new(ErrorKind::Unavailable, "failed to query systemd")
                .with_operation(OPERATION)
                .with_context("unit", &self.unit)
                .with_context("reason", reason)
        };
        let property = format!("--property={PROPERTIES}");
        let deadline = self.clock.monotonic() + self.ask_timeout;
        let finished = self.call(&["show", "--no-pager", &property], deadline).await;
        let finished = finished.map_err(|error| unavailable(error.to_string()))?;
        if !finished.success() {
            let line = finished.last_line().unwrap_or_else(|| finished.ending());
            return Err(unavailable(line));
        }
        let unit = Unit::parse(&finished.stdout());
        unit.ok_or_else(|| unavailable("the answer of systemctl show has no ActiveState".into()))
    }

    async fn act(&self, verb: &'static str, deadline: Monotonic) -> Result<Receipt> {
        let before = self.show().await?;
        before.refuse_action(&self.unit, verb)?;
        let nothing_to_do = match verb {
            "start" => before.is_running(),
            "stop" => !before.is_running(),
            _ => false,
        };
        if nothing_to_do {
            let instance = before.running_instance();
            let message = format!("{} is {} already", self.unit, before.active);
            return Ok(Receipt::new(message).with_before(instance.clone()).with_after(instance));
        }
        let mut finished = self.call(&[verb], deadline).await?;
        if !finished.success() && self.reset_failed && self.show().await?.start_limit_hit() {
            self.call(&["reset-failed"], deadline).await?;
            finished = self.call(&[verb], deadline).await?;
        }
        if !finished.success() {
            return Err(self.failure(verb, &finished).await);
        }
        let after = self.show().await?;
        Ok(Receipt::new(format!("{verb} of {} done", self.unit))
            .with_before(before.running_instance())
            .with_after(after.running_instance()))
    }

    async fn failure(&self, verb: &str, finished: &Finished) -> Error {
        if finished.status.is_none() {
            return Error::new(
                ErrorKind::Timeout,
                format!("systemctl {verb} did not answer in time; systemd continues with it"),
            )
            .with_context("unit", &self.unit);
        }
        let limited = self.show().await.is_ok_and(|unit| unit.start_limit_hit());
        let error = if limited {
            Error::new(
                ErrorKind::RateLimited,
                "systemd refused: started too often (start-limit-hit); run systemctl reset-failed, or set reset_failed = true",
            )
            .with_retry(Retry::Never)
        } else {
            Error::new(ErrorKind::Unavailable, format!("systemctl {verb} failed"))
                .with_retry(Retry::Indeterminate)
        };
        let line = finished.last_line().unwrap_or_else(|| finished.ending());
        error.with_context("unit", &self.unit).with_context("reason", line)
    }
}

#[async_trait]
impl ServiceRestarter for SystemdRestarter {
    async fn observe(&self) -> Result<Running> {
        Ok(self.systemctl.show().await?.running())
    }

    async fn restart(&self, request: ActionRequest) -> Result<Receipt> {
        self.act(request, "restart").await
    }

    async fn start(&self, request: ActionRequest) -> Result<Receipt> {
        self.act(request, "start").await
    }

    async fn stop(&self, request: ActionRequest) -> Result<Receipt> {
        self.act(request, "stop").await
    }

    async fn roll_back(&self, _request: ActionRequest, _to: VersionId) -> Result<Receipt> {
        Err(Error::new(ErrorKind::Unsupported, "a systemd unit has no versions to roll back to")
            .with_operation(OPERATION))
    }

    async fn settle_roll_back(&self, _keep: bool) -> Result<()> {
        Ok(())
    }

    async fn watch(&self) -> Result<InstanceEvents> {
        Err(Error::new(ErrorKind::Unsupported, "systemctl reports no events")
            .with_operation(OPERATION))
    }

    async fn last_log_lines(&self, lines: usize) -> Result<Vec<String>> {
        let mut program = self.systemctl.journalctl.clone();
        let lines = lines.to_string();
        let unit = self.systemctl.unit.clone();
        let args = ["--no-pager", "--output=cat", "--lines", &lines, "--unit", &unit];
        program.argv.extend(args.map(str::to_owned));
        let deadline = self.systemctl.clock.monotonic() + self.systemctl.ask_timeout;
        let read = run(&program, &*self.systemctl.clock, deadline, Leftovers::Kill).await;
        // Without a journal, or the right to read it, there is no log.
        let Ok(read) = read else { return Ok(Vec::new()) };
        Ok(if read.success() { read.last_lines(LOG_BYTES) } else { Vec::new() })
    }
}
