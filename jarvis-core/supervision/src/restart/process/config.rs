//! How an owned process is configured.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::restart::Leaving;
use base::vocabulary::ConfigPath;
use base::{Secret, units};

/// What becomes of the process when JARVIS leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExit {
    /// It is stopped.
    Stop,
    /// It goes on, and the next `jarvis up` adopts it.
    Leave,
}

/// `via = "process"`: JARVIS starts the process and owns it.
///
/// The program must stay in the foreground: it is the life that is watched. What it starts
/// belongs to it and is stopped with it, also what put itself into the background.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ProcessConfig {
    /// The program and its arguments. No shell is involved.
    pub command: Vec<String>,
    /// The working directory. The one of JARVIS by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<ConfigPath>,
    /// Added to the environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Secret<String>>,
    /// Begins with an empty environment instead of the one of JARVIS.
    #[serde(default)]
    pub env_clear: bool,
    /// Runs as this user: a name in `/etc/passwd`, `uid` or `uid:gid`. Needs root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// How long it may take to end after SIGTERM, before SIGKILL.
    #[serde(default = "ten_seconds", with = "units::duration")]
    pub stop_timeout: Duration,
    /// What becomes of it when JARVIS leaves. Unset: it is stopped on Ctrl-C, and goes on
    /// otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_exit: Option<OnExit>,
    /// How large its log may grow before it is moved to `NAME.log.1`, in bytes. It is looked at
    /// once a second.
    #[serde(default = "ten_megabytes", with = "units::bytes")]
    pub log_max: u64,
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

fn ten_megabytes() -> u64 {
    10_000_000
}

impl ProcessConfig {
    /// Runs this program.
    #[must_use]
    pub fn new(command: Vec<String>) -> Self {
        Self {
            command,
            cwd: None,
            env: BTreeMap::new(),
            env_clear: false,
            user: None,
            stop_timeout: ten_seconds(),
            on_exit: None,
            log_max: ten_megabytes(),
        }
    }

    pub(super) fn stops_on(&self, why: Leaving) -> bool {
        match self.on_exit {
            Some(OnExit::Stop) => true,
            Some(OnExit::Leave) => false,
            None => why == Leaving::Interrupted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_exit_is_stop_for_ctrl_c_and_leave_for_the_rest() {
        let mut config = ProcessConfig::new(vec!["app".into()]);
        assert!(config.stops_on(Leaving::Interrupted) && !config.stops_on(Leaving::Terminated));
        config.on_exit = Some(OnExit::Stop);
        assert!(config.stops_on(Leaving::Interrupted) && config.stops_on(Leaving::Terminated));
        config.on_exit = Some(OnExit::Leave);
        assert!(!config.stops_on(Leaving::Interrupted) && !config.stops_on(Leaving::Terminated));
    }

    #[test]
    fn keys_are_as_people_write_them() {
        let config: ProcessConfig = toml::from_str(
            "command = [\"app\", \"--port\", \"1\"]\nstop_timeout = \"3s\"\non_exit = \"leave\"\nlog_max = \"1MiB\"\n[env]\nTOKEN = \"secret\"",
        )
        .unwrap();
        assert_eq!(config.stop_timeout, Duration::from_secs(3));
        assert_eq!((config.log_max, config.on_exit), (1 << 20, Some(OnExit::Leave)));
        assert!(!format!("{config:?}").contains("secret\""));
        assert!(toml::from_str::<ProcessConfig>("command = []\nshell = true").is_err());
    }
}
