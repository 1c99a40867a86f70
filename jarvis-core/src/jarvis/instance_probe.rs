//! [`InstanceProbe`]: the check of a service that has a restarter and no check of its own.

use std::sync::Arc;

use async_trait::async_trait;

use crate::Result;
use crate::health::{HealthProbe, Observation, ProbeContext};
use crate::restart::{RunState, Running, ServiceRestarter};
use crate::vocabulary::{FailureKind, Verdict};

/// Asks the platform whether the service runs, and what the platform's own health check says.
#[derive(Debug)]
pub(super) struct InstanceProbe(pub(super) Arc<dyn ServiceRestarter>);

#[async_trait]
impl HealthProbe for InstanceProbe {
    async fn probe(&self, context: ProbeContext) -> Result<Observation> {
        let began = context.clock.monotonic();
        let observation = match context.until_deadline(self.0.observe()).await {
            Some(running) => judge(running?),
            None => Observation::unknown("the platform did not answer in time"),
        };
        Ok(observation.with_latency(context.clock.monotonic().saturating_since(began)))
    }
}

fn judge(running: Running) -> Observation {
    let observation = match (&running.state, running.native_health) {
        (RunState::Running, Some(Verdict::Fail)) => {
            Observation::fail(FailureKind::Check, "its own health check says unhealthy")
        }
        (RunState::Running, Some(Verdict::Warn)) => {
            Observation::warn(FailureKind::Check, "its own health check is not sure")
        }
        (RunState::Running, _) => Observation::pass("runs"),
        (RunState::Starting, _) => Observation::warn(FailureKind::NotReady, "is being started"),
        (RunState::Exited { exit }, _) => {
            Observation::fail(FailureKind::Exited, format!("ended: {exit}"))
        }
        (RunState::StoppedByPerson { evidence }, _) => {
            Observation::fail(FailureKind::Exited, format!("stopped by a person: {evidence}"))
        }
        (RunState::NotStarted, _) => Observation::fail(FailureKind::Exited, "was never started"),
        (RunState::Missing, _) => {
            Observation::fail(FailureKind::Missing, "its platform does not know it")
        }
    };
    observation.with_instance(running.instance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restart::Exit;

    #[test]
    fn what_runs_and_is_unhealthy_fails_in_a_way_that_may_restart() {
        let running = Running::new(RunState::Running).with_native_health(Some(Verdict::Fail));
        let observation = judge(running);
        assert_eq!(observation.verdict, Verdict::Fail);
        assert!(observation.kind.is_some_and(FailureKind::may_restart));
    }

    #[test]
    fn an_exit_is_proof_and_a_missing_container_is_for_a_person() {
        let ended = judge(Running::new(RunState::Exited { exit: Exit::Signal(9) }));
        assert_eq!((ended.kind, ended.message.as_ref()), (Some(FailureKind::Exited), "ended: signal 9"));
        let missing = judge(Running::new(RunState::Missing));
        assert!(!missing.kind.is_some_and(FailureKind::may_restart));
    }
}
