//! What `systemctl show` says about a unit.

use crate::restart::{Exit, RunState, Running};
use base::clock::WallTime;
use base::vocabulary::InstanceId;
use base::{Error, ErrorKind, Result};

/// What is asked for.
pub(super) const PROPERTIES: &str = "LoadState,ActiveState,SubState,Result,UnitFileState,InvocationID,ExecMainStartTimestamp,ExecMainCode,ExecMainStatus,Restart,NRestarts";

/// A unit as systemd sees it.
#[derive(Debug, Default)]
pub(super) struct Unit {
    load: String,
    pub(super) active: String,
    sub: String,
    result: String,
    file: String,
    invocation: String,
    started: String,
    code: i32,
    status: i32,
    restart: String,
}

/// Refuses what is no unit name, before it becomes an argument.
pub(super) fn check_name(unit: &str) -> Result<()> {
    let good = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'@' | b':' | b'\\')
    };
    if unit.is_empty() || unit.len() > 255 || !unit.bytes().all(good) || unit.starts_with('-') {
        return Err(Error::new(
            ErrorKind::ConfigInvalid,
            format!("{unit:?} is not a valid unit name, such as \"postgresql.service\""),
        ));
    }
    Ok(())
}

impl Unit {
    /// `None` without an `ActiveState`: that is no answer of systemd.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut unit = Self::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            let value = value.trim().to_owned();
            match key {
                "LoadState" => unit.load = value,
                "ActiveState" => unit.active = value,
                "SubState" => unit.sub = value,
                "Result" => unit.result = value,
                "UnitFileState" => unit.file = value,
                "InvocationID" => unit.invocation = value,
                "ExecMainStartTimestamp" => unit.started = value,
                "ExecMainCode" => unit.code = value.parse().unwrap_or(0),
                "ExecMainStatus" => unit.status = value.parse().unwrap_or(0),
                "Restart" => unit.restart = value,
                _ => {}
            }
        }
        (!unit.active.is_empty()).then_some(unit)
    }

    fn is_masked(&self) -> bool {
        self.load == "masked" || self.file.starts_with("masked")
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.active.as_str(), "active" | "reloading" | "activating")
    }

    pub(super) fn start_limit_hit(&self) -> bool {
        self.result == "start-limit-hit"
    }

    pub(super) fn running_instance(&self) -> Option<InstanceId> {
        self.is_running().then(|| self.instance()).flatten()
    }

    fn instance(&self) -> Option<InstanceId> {
        InstanceId::new(&self.invocation).ok()
    }

    fn started_at(&self) -> Option<WallTime> {
        let time =
            jiff::civil::DateTime::strptime("%a %Y-%m-%d %H:%M:%S UTC", &self.started).ok()?;
        let zoned = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Some(WallTime::from_millis(zoned.timestamp().as_millisecond()))
    }

    /// How the main process ended, in the words of `waitid`: 1 exited, 2 killed, 3 dumped.
    fn exit(&self) -> Exit {
        match (self.result.as_str(), self.code) {
            ("oom-kill", _) => Exit::OutOfMemory,
            (_, 1) => Exit::Code(self.status),
            (_, 2 | 3) => Exit::Signal(self.status),
            _ => Exit::Unknown,
        }
    }

    fn state(&self) -> RunState {
        if self.is_masked() && !self.is_running() {
            return RunState::StoppedByPerson { evidence: "the unit is masked".to_owned() };
        }
        if self.load == "not-found" {
            return RunState::Missing;
        }
        match self.active.as_str() {
            "active" if self.sub == "exited" => RunState::Exited { exit: self.exit() },
            "active" | "reloading" => RunState::Running,
            // Also between two of systemd's own restarts (auto-restart).
            "activating" => RunState::Starting,
            "inactive" if self.invocation.is_empty() && self.code == 0 => RunState::NotStarted,
            "inactive" if self.result == "success" => RunState::StoppedByPerson {
                evidence: format!(
                    "the unit is inactive with result success ({}): it was stopped, or ended by itself without an error",
                    self.exit()
                ),
            },
            _ => RunState::Exited { exit: self.exit() },
        }
    }

    pub(super) fn running(&self) -> Running {
        let restarts = !matches!(self.restart.as_str(), "" | "no") && !self.start_limit_hit();
        Running::new(self.state())
            .with_instance(self.instance())
            .with_started_at(self.started_at())
            .with_native_restart(restarts)
            .with_native_policy(restarts.then(|| format!("Restart={}", self.restart)))
    }

    /// What systemd would refuse anyway, said so that a person can act on it.
    pub(super) fn refuse_action(&self, unit: &str, verb: &str) -> Result<()> {
        let error = if self.is_masked() && verb != "stop" {
            Error::new(
                ErrorKind::Forbidden,
                "the unit is masked; if that is not meant, run systemctl unmask",
            )
        } else if self.load == "not-found" {
            Error::new(ErrorKind::NotFound, "systemd has no such unit; check its name")
        } else {
            return Ok(());
        };
        Err(error.with_context("unit", unit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(changes: &[(&str, &str)]) -> Unit {
        let mut properties = vec![
            ("LoadState", "loaded"),
            ("ActiveState", "active"),
            ("SubState", "running"),
            ("Result", "success"),
            ("UnitFileState", "enabled"),
            ("InvocationID", "4f8b7c1d2e3a4b5c8d9e0f1a2b3c4d5e"),
            ("ExecMainStartTimestamp", "Sat 2026-11-21 04:21:29 UTC"),
            ("ExecMainCode", "0"),
            ("ExecMainStatus", "0"),
            ("Restart", "no"),
        ];
        properties.extend_from_slice(changes);
        let text: String =
            properties.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        Unit::parse(&text).unwrap()
    }

    #[test]
    fn a_running_unit_is_told() {
        let running = unit(&[("Restart", "on-failure")]).running();
        assert_eq!(running.state, RunState::Running);
        assert!(running.native_restart);
        let time = running.started_at.unwrap();
        assert_eq!(time.to_string(), "2026-11-21T04:21:29.000Z");
    }

    #[test]
    fn each_way_not_to_run_is_told_apart() {
        let state = |changes: &[(&str, &str)]| unit(changes).running().state;
        let inactive = ("ActiveState", "inactive");
        let failed = ("ActiveState", "failed");
        assert!(matches!(state(&[inactive]), RunState::StoppedByPerson { .. }));
        assert_eq!(state(&[inactive, ("InvocationID", "")]), RunState::NotStarted);
        assert!(matches!(
            state(&[inactive, ("LoadState", "masked")]),
            RunState::StoppedByPerson { .. }
        ));
        assert_eq!(state(&[inactive, ("LoadState", "not-found")]), RunState::Missing);
        assert_eq!(
            state(&[("ActiveState", "activating"), ("SubState", "auto-restart")]),
            RunState::Starting
        );
        let exited = |exit| RunState::Exited { exit };
        let code =
            [failed, ("Result", "exit-code"), ("ExecMainCode", "1"), ("ExecMainStatus", "3")];
        assert_eq!(state(&code), exited(Exit::Code(3)));
        let signal = [failed, ("Result", "signal"), ("ExecMainCode", "2"), ("ExecMainStatus", "9")];
        assert_eq!(state(&signal), exited(Exit::Signal(9)));
        assert_eq!(state(&[failed, ("Result", "oom-kill")]), exited(Exit::OutOfMemory));
        let limited = unit(&[failed, ("Result", "start-limit-hit"), ("Restart", "always")]);
        assert!(limited.start_limit_hit() && !limited.running().native_restart);
    }

    #[test]
    fn what_is_no_unit_name_is_refused() {
        for name in ["", "--now", "a b", "a/b", "a;b"] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        assert!(check_name("app@1.service").is_ok());
        assert!(Unit::parse("Failed to connect to bus").is_none());
    }
}
