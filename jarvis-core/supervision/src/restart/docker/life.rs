//! What an inspected container says, as pure functions of the answer.

use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum as Status, HealthStatusEnum,
    RestartPolicyNameEnum,
};

use crate::restart::{Exit, RunState, Running};
use base::clock::WallTime;
use base::vocabulary::{InstanceId, Verdict, VersionId};
use base::{Error, ErrorKind, Result};

/// Where a container stands, before we ask who made it so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    Starting,
    Paused,
    Created,
    Exited(Exit),
    Removing,
}

/// One container, one life.
#[derive(Debug, Clone)]
pub(super) struct Life {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) instance: InstanceId,
    pub(super) image: Option<VersionId>,
    pub(super) image_name: String,
    pub(super) phase: Phase,
    /// Nanoseconds since 1970, on the engine's clock.
    pub(super) started: Option<i128>,
    pub(super) finished: Option<i128>,
    pub(super) native_health: Option<Verdict>,
    pub(super) policy: Policy,
    /// The policy in words, where there is one.
    pub(super) policy_name: Option<String>,
    pub(super) auto_remove: bool,
    /// The engine could not start it.
    pub(super) start_failed: bool,
    /// The container's own stop timeout, in seconds.
    pub(super) stop_timeout: Option<i64>,
}

/// Docker's own restart policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    No,
    OnFailure,
    Always,
}

impl Life {
    pub(super) fn of(inspect: &ContainerInspectResponse) -> Result<Self> {
        let id = inspect.id.clone().unwrap_or_default();
        let state = inspect.state.clone().unwrap_or_default();
        let started_at = state.started_at.clone().unwrap_or_default();
        let instance = instance(&id, &started_at)?;
        let host = inspect.host_config.as_ref();
        let named = host.and_then(|host| host.restart_policy.as_ref()?.name);
        Ok(Self {
            name: inspect.name.as_deref().unwrap_or_default().trim_start_matches('/').to_owned(),
            instance,
            image: inspect.image.as_deref().and_then(|image| VersionId::new(image).ok()),
            image_name: inspect
                .config
                .as_ref()
                .and_then(|config| config.image.clone())
                .unwrap_or_default(),
            phase: phase(&state),
            started: nanos(&started_at),
            finished: state.finished_at.as_deref().and_then(nanos),
            native_health: state.health.and_then(|health| health.status).and_then(health),
            policy: named.map_or(Policy::No, policy),
            policy_name: named
                .filter(|name| policy(*name) != Policy::No)
                .map(|name| format!("restart policy \"{name}\"")),
            auto_remove: host.and_then(|host| host.auto_remove).unwrap_or(false),
            start_failed: state.error.is_some_and(|error| !error.is_empty()),
            stop_timeout: inspect.config.as_ref().and_then(|config| config.stop_timeout),
            id,
        })
    }

    /// Does Docker itself restart it when it exits?
    pub(super) fn native_restart(&self) -> bool {
        self.policy != Policy::No
    }

    /// Proof from the container alone that somebody stopped it: Docker would have restarted it.
    ///
    /// `always` and `unless-stopped` restart every exit, without an end; only a stop or kill
    /// through the API keeps such a container down. `on-failure` may have given up, and is no
    /// proof.
    pub(super) fn held_down(&self) -> bool {
        matches!(self.phase, Phase::Exited(_))
            && self.policy == Policy::Always
            && !self.start_failed
    }

    /// The observation, with who stopped it where somebody did.
    pub(super) fn running(&self, person: Option<String>) -> Running {
        let state = match (&self.phase, person) {
            (_, Some(evidence)) => RunState::StoppedByPerson { evidence },
            (Phase::Running, None) => RunState::Running,
            (Phase::Starting, None) => RunState::Starting,
            (Phase::Paused, None) => {
                RunState::StoppedByPerson { evidence: "the container is paused".to_owned() }
            }
            (Phase::Created, None) => RunState::NotStarted,
            (Phase::Exited(exit), None) => RunState::Exited { exit: *exit },
            (Phase::Removing, None) => RunState::Missing,
        };
        let started_at = self.started.and_then(|nanos| i64::try_from(nanos / 1_000_000).ok());
        Running::new(state)
            .with_instance(Some(self.instance.clone()))
            .with_version(self.image.clone())
            .with_started_at(started_at.map(WallTime::from_millis))
            .with_native_health(self.native_health)
            .with_native_restart(self.native_restart())
            .with_native_policy(self.policy_name.clone())
    }
}

/// `<first 12 digits of the container id>@<StartedAt>`.
fn instance(id: &str, started_at: &str) -> Result<InstanceId> {
    let short = id.get(..12).filter(|_| !started_at.is_empty());
    short.and_then(|short| InstanceId::new(format!("{short}@{started_at}")).ok()).ok_or_else(|| {
        Error::new(
            ErrorKind::Unavailable,
            "the Docker Engine describes a container without an id or a start",
        )
    })
}

fn phase(state: &ContainerState) -> Phase {
    match state.status {
        Some(Status::RUNNING | Status::STOPPING) => Phase::Running,
        Some(Status::PAUSED) => Phase::Paused,
        Some(Status::RESTARTING) => Phase::Starting,
        Some(Status::CREATED) => Phase::Created,
        Some(Status::REMOVING) => Phase::Removing,
        Some(Status::EXITED | Status::DEAD | Status::EMPTY) | None => {
            Phase::Exited(exit(state.exit_code, state.oom_killed.unwrap_or(false)))
        }
    }
}

/// Docker adds 128 to the signal that ended the main process. A program that exits with such a
/// code itself (a shell whose child was killed) means the same by it.
pub(super) fn exit(code: Option<i64>, out_of_memory: bool) -> Exit {
    match code {
        // The flag also tells of a child that was killed while the main process went on.
        Some(137) if out_of_memory => Exit::OutOfMemory,
        Some(code @ 129..=192) => i32::try_from(code - 128).map_or(Exit::Unknown, Exit::Signal),
        Some(code) => i32::try_from(code).map_or(Exit::Unknown, Exit::Code),
        None => Exit::Unknown,
    }
}

fn health(status: HealthStatusEnum) -> Option<Verdict> {
    match status {
        HealthStatusEnum::HEALTHY => Some(Verdict::Pass),
        HealthStatusEnum::UNHEALTHY => Some(Verdict::Fail),
        HealthStatusEnum::STARTING => Some(Verdict::Unknown),
        HealthStatusEnum::NONE | HealthStatusEnum::EMPTY => None,
    }
}

fn policy(name: RestartPolicyNameEnum) -> Policy {
    match name {
        RestartPolicyNameEnum::ALWAYS | RestartPolicyNameEnum::UNLESS_STOPPED => Policy::Always,
        RestartPolicyNameEnum::ON_FAILURE => Policy::OnFailure,
        RestartPolicyNameEnum::NO | RestartPolicyNameEnum::EMPTY => Policy::No,
    }
}

/// Docker's RFC 3339 time as nanoseconds since 1970; none for its "never" of year 1.
pub(super) fn nanos(text: &str) -> Option<i128> {
    text.parse::<jiff::Timestamp>()
        .ok()
        .map(jiff::Timestamp::as_nanosecond)
        .filter(|nanos| *nanos > 0)
}

/// `seconds.nanoseconds`, as the engine reads `since` and `until`.
pub(super) fn engine_time(nanos: i128) -> String {
    const SECOND: i128 = 1_000_000_000;
    format!("{}.{:09}", nanos.div_euclid(SECOND), nanos.rem_euclid(SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspect(state: &serde_json::Value, policy: &str) -> Life {
        let answer: ContainerInspectResponse = serde_json::from_value(serde_json::json!({
            "Id": "0abec8e7a5b8f9a80bb4fd6857328f8f6c8eb0948a78c8649338cd1fea431caf",
            "Name": "/api", "Image": "sha256:77", "State": state,
            "HostConfig": {"RestartPolicy": {"Name": policy, "MaximumRetryCount": 0}},
            "Config": {"Image": "api:1"},
        }))
        .unwrap();
        Life::of(&answer).unwrap()
    }

    fn exited(code: i64, oom: bool, error: &str) -> serde_json::Value {
        serde_json::json!({
            "Status": "exited", "ExitCode": code, "OOMKilled": oom, "Error": error,
            "StartedAt": "2026-11-21T04:24:48.827791768Z",
            "FinishedAt": "2026-11-21T04:25:48.000000001Z",
        })
    }

    #[test]
    fn exits_are_read() {
        for (code, oom, exit) in [
            (0, false, Exit::Code(0)),
            (3, true, Exit::Code(3)),
            (137, false, Exit::Signal(9)),
            (137, true, Exit::OutOfMemory),
            (143, false, Exit::Signal(15)),
            (255, false, Exit::Code(255)),
        ] {
            let life = inspect(&exited(code, oom, ""), "no");
            assert_eq!(life.running(None).state, RunState::Exited { exit }, "{code} {oom}");
        }
    }

    #[test]
    fn only_a_policy_that_never_gives_up_proves_a_persons_stop() {
        assert!(inspect(&exited(0, false, ""), "unless-stopped").held_down());
        assert!(inspect(&exited(137, false, ""), "always").held_down());
        assert!(!inspect(&exited(1, false, ""), "on-failure").held_down());
        assert!(!inspect(&exited(0, false, ""), "no").held_down());
        assert!(!inspect(&exited(128, false, "port is already allocated"), "always").held_down());
    }

    #[test]
    fn a_life_is_a_container_and_its_start() {
        let life = inspect(&exited(0, false, ""), "no");
        assert_eq!(life.instance.as_str(), "0abec8e7a5b8@2026-11-21T04:24:48.827791768Z");
        let running = life.running(None);
        assert_eq!(running.started_at.unwrap().to_string(), "2026-11-21T04:24:48.827Z");
        assert_eq!(running.version.unwrap().as_str(), "sha256:77");
        assert_eq!(nanos("0001-01-01T00:00:00Z"), None);
        assert_eq!(engine_time(life.finished.unwrap()), "1795235148.000000001");
    }

    #[test]
    fn paused_restarting_and_created_are_told_apart() {
        let state = |status: &str| {
            let state = serde_json::json!({"Status": status, "StartedAt": "0001-01-01T00:00:00Z"});
            inspect(&state, "always").running(None).state
        };
        assert!(matches!(state("paused"), RunState::StoppedByPerson { .. }));
        assert_eq!(state("restarting"), RunState::Starting);
        assert_eq!(state("created"), RunState::NotStarted);
        assert_eq!(state("removing"), RunState::Missing);
        assert_eq!(state("running"), RunState::Running);
    }

    #[test]
    fn a_health_check_that_is_not_there_says_nothing() {
        let state = |health: &str| {
            let state = serde_json::json!({
                "Status": "running", "StartedAt": "2026-11-21T04:24:48Z", "Health": {"Status": health}
            });
            inspect(&state, "no").native_health
        };
        assert_eq!(state("unhealthy"), Some(Verdict::Fail));
        assert_eq!(state("healthy"), Some(Verdict::Pass));
        assert_eq!(state("starting"), Some(Verdict::Unknown));
        assert_eq!(state("none"), None);
    }
}
