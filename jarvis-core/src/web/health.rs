//! The documents of `/health` and `/healthz`, and their status.

use serde::Serialize;

use super::WebAnswer;
use base::vocabulary::{Platform, ServiceId, ServiceState};

/// One service in a [`HealthDocument`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ServiceLine {
    /// The service.
    pub service: ServiceId,
    /// Its state.
    pub state: ServiceState,
}

/// What `/health` answers: the platform and the state of each service.
///
/// The messages of the checks are left out: they may name hosts and paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HealthDocument {
    /// The services as one, with counts.
    #[serde(flatten)]
    pub platform: Platform,
    /// Each service.
    pub services: Vec<ServiceLine>,
}

impl HealthDocument {
    /// The document of these services.
    #[must_use]
    pub fn new(
        platform: Platform,
        services: impl IntoIterator<Item = (ServiceId, ServiceState)>,
    ) -> Self {
        let services = services.into_iter();
        let services = services.map(|(service, state)| ServiceLine { service, state }).collect();
        Self { platform, services }
    }

    /// 200 when the platform is healthy or degraded, and where no service is configured: then it is
    /// enough that the application answers. 503 when it is down or unknown.
    #[must_use]
    pub fn status(&self) -> u16 {
        let works = matches!(self.platform.state, ServiceState::Healthy | ServiceState::Degraded);
        if works || self.services.is_empty() { 200 } else { 503 }
    }

    /// The document as an answer.
    #[must_use]
    pub fn answer(&self) -> WebAnswer {
        WebAnswer::json(self.status(), self)
    }
}

/// What `/healthz` answers: whether this process should be restarted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Liveness {
    /// Does the process work?
    pub alive: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Liveness {
    /// A process that does not supervise is alive when it answers. One that does is alive as long
    /// as its supervision loop is; `reason` is what is wrong with that.
    #[must_use]
    pub fn new(supervises: bool, loop_alive: bool, reason: &str) -> Self {
        if loop_alive || !supervises {
            return Self { alive: true, reason: None };
        }
        Self { alive: false, reason: Some(reason.to_owned()) }
    }

    /// 200 or 503.
    #[must_use]
    pub const fn status(&self) -> u16 {
        if self.alive { 200 } else { 503 }
    }

    /// The document as an answer.
    #[must_use]
    pub fn answer(&self) -> WebAnswer {
        WebAnswer::json(self.status(), self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(state: ServiceState, services: &[&str]) -> HealthDocument {
        let platform = Platform { state, ..Platform::default() };
        let services = services.iter().map(|name| (ServiceId::new(name).unwrap(), state));
        HealthDocument::new(platform, services)
    }

    #[test]
    fn a_load_balancer_gets_503_only_for_down_and_unknown() {
        for (state, status) in [
            (ServiceState::Healthy, 200),
            (ServiceState::Degraded, 200),
            (ServiceState::Down, 503),
            (ServiceState::Unknown, 503),
        ] {
            assert_eq!(document(state, &["db"]).status(), status, "{state}");
        }
        assert_eq!(document(ServiceState::Unknown, &[]).status(), 200);
    }

    #[test]
    fn the_body_has_counts_and_states_and_nothing_else() {
        let answer = document(ServiceState::Down, &["db"]).answer();
        assert_eq!(
            answer.body,
            r#"{"state":"down","healthy":0,"degraded":0,"down":0,"unknown":0,"services":[{"service":"db","state":"down"}]}"#
        );
    }

    #[test]
    fn only_a_process_that_supervises_can_be_dead() {
        assert_eq!(Liveness::new(false, false, "late").answer().body, r#"{"alive":true}"#);
        assert_eq!(Liveness::new(true, true, "").status(), 200);
        let dead = Liveness::new(true, false, "late").answer();
        assert_eq!((dead.status, dead.body.as_str()), (503, r#"{"alive":false,"reason":"late"}"#));
    }
}
