//! [`CommandProbe`]: asks a program by its exit code.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{HealthProbe, Observation, ProbeContext};
use base::subprocess::{Finished, Leftovers, Program, run};
use base::vocabulary::{ConfigPath, FailureKind};
use base::{ErrorKind, Result, Secret};

/// What exit codes mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitCodes {
    /// 0 is well, everything else is down.
    #[default]
    Zero,
    /// As monitoring plug-ins do: 0 well, 1 degraded, 2 down, 3 unknown, anything else down.
    Nagios,
}

/// `type = "command"`. The command is a list of arguments; no shell is involved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CommandConfig {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// What its exit codes mean.
    #[serde(default)]
    pub exit_codes: ExitCodes,
    /// The working directory. The one of JARVIS by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<ConfigPath>,
    /// Added to the environment of JARVIS.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Secret<String>>,
}

impl CommandConfig {
    /// Asks this program.
    #[must_use]
    pub fn new(command: Vec<String>) -> Self {
        Self { command, exit_codes: ExitCodes::default(), cwd: None, env: BTreeMap::new() }
    }

    /// Sets what exit codes mean.
    #[must_use]
    pub fn with_exit_codes(mut self, exit_codes: ExitCodes) -> Self {
        self.exit_codes = exit_codes;
        self
    }
}

/// Runs a program in a process group of its own and judges its exit code. The first line that it
/// writes is the message.
///
/// At the deadline, and when it ends, whatever is left of the group is killed.
#[derive(Debug)]
pub struct CommandProbe {
    program: Program,
    exit_codes: ExitCodes,
}

impl CommandProbe {
    /// A probe that asks this program.
    ///
    /// # Errors
    /// `ConfigInvalid` for an empty command.
    pub fn new(config: CommandConfig) -> Result<Self> {
        let mut program = Program::new("command", &config.command)?;
        program.cwd = config.cwd.map(ConfigPath::into_path_buf);
        program.env = config.env;
        Ok(Self { program, exit_codes: config.exit_codes })
    }

    fn judge(&self, finished: &Finished) -> Observation {
        let said = finished
            .first_line()
            .map_or_else(|| finished.ending(), |line| self.program.mask(&line));
        match (finished.code(), self.exit_codes) {
            _ if finished.status.is_none() => {
                Observation::fail(FailureKind::Timeout, "the command did not end in time")
            }
            (Some(0), _) => Observation::pass(said),
            (Some(1), ExitCodes::Nagios) => Observation::warn(FailureKind::Check, said),
            (Some(3), ExitCodes::Nagios) => Observation::unknown(said),
            // What env(1) and shells answer when there is nothing to run.
            (Some(127), _) => Observation::fail(FailureKind::Missing, said),
            _ => Observation::fail(FailureKind::Check, format!("{}: {said}", finished.ending())),
        }
    }
}

#[async_trait]
impl HealthProbe for CommandProbe {
    async fn probe(&self, context: ProbeContext) -> Result<Observation> {
        let began = context.clock.monotonic();
        let ran = run(&self.program, &*context.clock, context.deadline, Leftovers::Kill).await;
        let observation = match ran {
            Ok(finished) => {
                let observation = self.judge(&finished);
                match finished.code() {
                    Some(code) => observation.with_fact("exit_code", code),
                    None => observation,
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Forbidden) => {
                Observation::fail(FailureKind::Missing, error.to_string())
            }
            Err(error) => return Err(error.with_operation("health.command")),
        };
        Ok(observation.with_latency(context.clock.monotonic().saturating_since(began)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use base::clock::SystemClock;
    use base::vocabulary::Verdict;

    async fn ask(script: &str, exit_codes: ExitCodes, timeout: Duration) -> Observation {
        let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let config = CommandConfig::new(argv).with_exit_codes(exit_codes);
        let context = ProbeContext::new(Arc::new(SystemClock::new()), timeout);
        CommandProbe::new(config).unwrap().probe(context).await.unwrap()
    }

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn exit_codes_mean_what_is_configured() {
        use ExitCodes::{Nagios, Zero};
        for (script, codes, verdict, kind) in [
            ("echo fine", Zero, Verdict::Pass, None),
            ("echo bad; exit 1", Zero, Verdict::Fail, Some(FailureKind::Check)),
            ("echo so-so; exit 1", Nagios, Verdict::Warn, Some(FailureKind::Check)),
            ("echo bad >&2; exit 2", Nagios, Verdict::Fail, Some(FailureKind::Check)),
            ("exit 3", Nagios, Verdict::Unknown, Some(FailureKind::Internal)),
            ("no-such-program", Zero, Verdict::Fail, Some(FailureKind::Missing)),
            ("kill -9 $$", Zero, Verdict::Fail, Some(FailureKind::Check)),
        ] {
            let observation = ask(script, codes, LONG).await;
            assert_eq!((observation.verdict, observation.kind), (verdict, kind), "{script}");
        }
        assert_eq!(ask("echo; echo ' fine '; echo more", Zero, LONG).await.message, "fine");
    }

    #[tokio::test]
    async fn a_hung_command_is_a_timeout() {
        let observation =
            ask("trap '' TERM; sleep 60", ExitCodes::Zero, Duration::from_millis(100)).await;
        assert_eq!(observation.kind, Some(FailureKind::Timeout));
        assert!(observation.latency >= Duration::from_millis(100));
    }

    #[tokio::test]
    async fn a_missing_program_is_missing_and_never_a_reason_to_restart() {
        let config = CommandConfig::new(vec!["/no/such/program".into()]);
        let context = ProbeContext::new(Arc::new(SystemClock::new()), LONG);
        let observation = CommandProbe::new(config).unwrap().probe(context).await.unwrap();
        assert_eq!(observation.kind, Some(FailureKind::Missing));
        assert!(!FailureKind::Missing.may_restart());
        assert!(observation.message.contains("/no/such/program"), "{}", observation.message);
    }
}
