//! One round of real probes, and what this process says about itself.

use std::time::Duration;

use futures_util::future::join_all;

use super::Jarvis;
use super::answers::{AlertTestAnswer, CheckAnswer, Healthz, ServiceCheck, Source, UptimeAnswer};
use base::vocabulary::{ServiceId, ServiceState, Verdict};
use base::{Error, ErrorKind, Result, names};
use supervision::health::aggregator::{CheckResult, ServiceSpec, platform_of, service_of};

/// A loop whose tick is later than this does not answer for anything.
const MAX_LAG: Duration = Duration::from_secs(5);

impl Jarvis {
    /// Probes these services (all of them when none is named) once, now, on fresh connections.
    /// What the aggregator thinks of them is not touched.
    ///
    /// # Errors
    /// `NotFound` for an unknown service, with the nearest name.
    pub async fn check(&self, services: &[ServiceId]) -> Result<CheckAnswer> {
        services.iter().try_for_each(|service| self.known_here(service))?;
        let wiring = self.current().wiring;
        let wanted: Vec<&ServiceSpec> = wiring
            .services
            .iter()
            .filter(|spec| services.is_empty() || services.contains(&spec.id))
            .collect();
        let (at, began) = (self.inner.clock.wall(), self.inner.clock.monotonic());
        let rounds = wanted.iter().map(|spec| self.inner.health.probe_now(&spec.id));
        let results = join_all(rounds).await.into_iter().collect::<Result<Vec<_>>>()?;
        let took = self.inner.clock.monotonic().saturating_since(began);
        let checked: Vec<ServiceCheck> = wanted
            .iter()
            .zip(results)
            .map(|(spec, checks)| {
                ServiceCheck::new(spec.id.clone(), state_of(&checks), spec.critical, checks)
            })
            .collect();
        let platform = platform_of(checked.iter().map(|service| (service.state, service.critical)));
        Ok(CheckAnswer::new(at, took, platform, checked))
    }

    /// Is this service in the configuration in force?
    ///
    /// # Errors
    /// `NotFound` with the nearest name.
    pub(super) fn known_here(&self, service: &ServiceId) -> Result<()> {
        let wiring = self.current().wiring;
        if wiring.services.iter().any(|spec| spec.id == *service) {
            return Ok(());
        }
        let valid: Vec<&str> = wiring.services.iter().map(|spec| spec.id.as_str()).collect();
        Err(names::not_found("service", service.as_str(), &valid))
    }

    /// The uptime as this process knows it.
    ///
    /// # Errors
    /// The history's.
    pub(super) async fn uptime_here(
        &self,
        services: &[ServiceId],
        window: Duration,
    ) -> Result<UptimeAnswer> {
        let report = self.inner.health.uptime(window).await?;
        Ok(UptimeAnswer::new(Source::Live, report, services))
    }

    /// Sends a test message to this sink, or to each.
    ///
    /// # Errors
    /// `NotFound` for an unknown sink, or when there is none at all.
    pub(super) async fn alert_test_here(
        &self,
        sink: Option<String>,
    ) -> Result<Vec<AlertTestAnswer>> {
        let alerts = self.alerts().await?;
        let known = alerts.sinks();
        if known.is_empty() {
            let message = "no alert sink is configured; add an [alert.NAME] section";
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        let wanted = match sink {
            Some(sink) if !known.contains(&sink) => {
                return Err(names::not_found("alert sink", &sink, &known));
            }
            Some(sink) => vec![sink],
            None => known,
        };
        let tests = wanted.into_iter().map(|sink| {
            let alerts = alerts.clone();
            async move {
                let error = alerts.test(&sink).await.err().map(|error| error.to_string());
                AlertTestAnswer::new(sink, error)
            }
        });
        Ok(join_all(tests).await)
    }

    /// Does the loop of this process go round? What `/healthz` answers.
    #[must_use]
    pub fn healthz(&self) -> Healthz {
        let stats = self.inner.health.loop_stats();
        let reason = if !stats.running {
            "the supervision loop is not running".to_owned()
        } else if stats.lag > MAX_LAG {
            format!("the loop is {} ms late", stats.lag.as_millis())
        } else {
            String::new()
        };
        Healthz::new(reason, stats)
    }
}

/// The state of a service by one round alone: no threshold applies.
fn state_of(checks: &[CheckResult]) -> ServiceState {
    let state = |result: &CheckResult| match result.observation.verdict {
        Verdict::Pass => ServiceState::Healthy,
        Verdict::Warn => ServiceState::Degraded,
        Verdict::Fail => ServiceState::Down,
        Verdict::Unknown => ServiceState::Unknown,
    };
    service_of(checks.iter().map(|result| (state(result), result.critical)))
}

#[cfg(feature = "metrics")]
impl Jarvis {
    /// The `OpenMetrics` text of this process. For many services
    /// [`scrape`](Self::scrape) writes it piece by piece.
    ///
    /// # Errors
    /// As [`Scrape::to_text`](crate::metrics::Scrape::to_text).
    pub async fn metrics(&self) -> Result<String> {
        self.scrape().await.to_text()
    }

    /// The numbers of this moment, to be written as the `OpenMetrics` text.
    pub async fn scrape(&self) -> crate::metrics::Scrape {
        let mut scrape = crate::metrics::Scrape::new(&self.inner.health);
        if let Some(operator) = self.inner.operator.get() {
            scrape.operator = Some(operator.status().await);
        }
        if let Some(alerts) = self.inner.alerts.get() {
            scrape.alerts = alerts.stats();
        }
        scrape.bus = (!self.inner.private_bus).then(|| self.bus().backlog());
        scrape.sessions = self.inner.sessions.get().map(|sessions| sessions.counts());
        if let Some(cache) = self.inner.cache.get() {
            scrape.cache = cache.stats().await.ok();
        }
        scrape.servers = self.servers();
        scrape
    }
}
