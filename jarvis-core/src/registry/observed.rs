//! [`RestarterProbe`]: the check of a service that has a restarter and no check of its own.

use std::sync::Arc;

use async_trait::async_trait;

use base::Result;
use base::vocabulary::{FailureKind, Verdict};
use supervision::health::{HealthProbe, Observation, ProbeContext};
use supervision::restart::{RunState, Running, ServiceRestarter};

/// Asks the platform whether the service runs, and what its own health check says.
#[derive(Debug)]
pub struct RestarterProbe(Arc<dyn ServiceRestarter>);

impl RestarterProbe {
    /// A probe of what this restarter restarts.
    #[must_use]
    pub fn new(restarter: Arc<dyn ServiceRestarter>) -> Self {
        Self(restarter)
    }
}

fn judge(running: &Running) -> Observation {
    match &running.state {
        RunState::Running => match running.native_health {
            Some(Verdict::Fail) => {
                Observation::fail(FailureKind::Check, "its own health check says unhealthy")
            }
            Some(Verdict::Warn) => {
                Observation::warn(FailureKind::Check, "its own health check warns")
            }
            _ => Observation::pass("it runs"),
        },
        RunState::Starting => {
            Observation::fail(FailureKind::NotReady, "its platform is starting it")
        }
        RunState::Exited { exit } => {
            Observation::fail(FailureKind::Exited, format!("it exited: {exit}"))
        }
        RunState::StoppedByPerson { evidence } => {
            Observation::fail(FailureKind::Exited, format!("stopped by a person: {evidence}"))
        }
        RunState::NotStarted => Observation::fail(FailureKind::Exited, "it was not started yet"),
        RunState::Missing => {
            Observation::fail(FailureKind::Missing, "its platform does not know it")
        }
        _ => Observation::unknown("its platform reports a state that is not known here"),
    }
}

#[async_trait]
impl HealthProbe for RestarterProbe {
    async fn probe(&self, context: ProbeContext) -> Result<Observation> {
        let began = context.clock.monotonic();
        let Some(running) = context.until_deadline(self.0.observe()).await else {
            return Ok(Observation::unknown("its platform did not answer in time"));
        };
        let running = running?;
        let latency = context.clock.monotonic().saturating_since(began);
        Ok(judge(&running).with_latency(latency).with_instance(running.instance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use supervision::restart::Exit;

    #[test]
    fn an_exit_is_proof_and_an_unhealthy_container_is_down() {
        let exited = judge(&Running::new(RunState::Exited { exit: Exit::Code(3) }));
        assert_eq!(exited.kind, Some(FailureKind::Exited));
        assert_eq!(exited.message, "it exited: exit code 3");
        let sick = Running::new(RunState::Running).with_native_health(Some(Verdict::Fail));
        assert_eq!(judge(&sick).verdict, Verdict::Fail);
        assert_eq!(judge(&Running::new(RunState::Running)).verdict, Verdict::Pass);
    }
}
