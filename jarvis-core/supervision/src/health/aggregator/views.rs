//! The aggregator's state as plain data.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use super::results::Recent;
use super::service::{Check, Service, State};
use super::shared::{Shared, is_suspicious};
use super::{
    Aggregator, CheckCounters, CheckSnapshot, LatencyPercentiles, LoopStats, PlatformSnapshot,
    RecentResult, ServiceSnapshot, SuspicionFacts,
};
use base::vocabulary::{CheckName, Platform, ServiceId, ServiceState, Verdict};

/// A service in numbers: what a scrape needs of it.
#[derive(Debug, Clone)]
pub struct ServiceReading {
    /// The service.
    pub service: ServiceId,
    /// Its reported state.
    pub state: ServiceState,
    /// Whether it changes its state too often.
    pub flapping: bool,
    /// Its checks.
    pub checks: Box<[CheckReading]>,
}

/// A check in numbers.
#[derive(Debug, Clone)]
pub struct CheckReading {
    /// The check.
    pub check: CheckName,
    /// How its results were.
    pub counters: CheckCounters,
    /// Over the recent results that passed.
    pub latency: Option<LatencyPercentiles>,
}

impl Aggregator {
    /// The numbers of every service: a tenth of what a [`snapshot`](Self::snapshot) takes.
    #[doc(hidden)]
    pub fn readings(&self) -> Vec<ServiceReading> {
        let of_service = |service: &Service| {
            let state = service.state();
            ServiceReading {
                service: service.id.clone(),
                state: state.reported.state,
                flapping: state.reported.flapping,
                checks: state.checks.iter().map(reading).collect(),
            }
        };
        self.0.services().values().map(|service| of_service(service)).collect()
    }

    /// The services as one.
    #[must_use]
    pub fn platform(&self) -> Platform {
        self.0.platform()
    }

    /// Everything that is known, at this moment.
    #[must_use]
    pub fn snapshot(&self) -> PlatformSnapshot {
        let shared = &self.0;
        PlatformSnapshot {
            at: shared.clock.wall(),
            platform: shared.platform(),
            services: shared
                .services()
                .values()
                .map(|service| of_service(shared, service))
                .collect(),
            loop_stats: self.loop_stats(),
        }
    }

    /// What is known of one service.
    #[must_use]
    pub fn service(&self, id: &ServiceId) -> Option<ServiceSnapshot> {
        let services = self.0.services();
        services.get(id).map(|service| of_service(&self.0, service))
    }

    /// How the aggregator itself does.
    #[must_use]
    pub fn loop_stats(&self) -> LoopStats {
        let shared = &self.0;
        let vitals = shared.pulse.vitals();
        let round = *shared.rounds.borrow();
        LoopStats {
            running: shared.running.load(Ordering::Acquire),
            targets: shared.services().values().map(|service| service.state().checks.len()).sum(),
            rounds: round.number,
            last_round: (round.number > 0).then_some(round.at),
            probes: vitals.probes,
            lateness_p50: vitals.p50,
            lateness_p99: vitals.p99,
            lateness_max: vitals.max,
            lag: vitals.lag,
            stalls: vitals.stalls,
            suspends: vitals.suspends,
            dropped_events: shared.events.dropped.load(Ordering::Relaxed),
            dropped_minutes: shared.backlog.dropped(),
        }
    }

    /// How much fails at present in a way that may be our own doing. Results older than two
    /// intervals do not count.
    #[must_use]
    pub fn suspicion(&self) -> SuspicionFacts {
        let shared = &self.0;
        let now = shared.clock.monotonic();
        let mut facts = SuspicionFacts::default();
        let mut hosts = HashSet::new();
        for service in shared.services().values() {
            for check in &service.state().checks {
                let Some(last) = check.results.last() else { continue };
                if now.saturating_since(last.at()) > check.target.policy.interval * 2 {
                    continue;
                }
                facts.observed += 1;
                match last.verdict() {
                    Verdict::Unknown => facts.unknown += 1,
                    Verdict::Fail if is_suspicious(last.kind()) => {
                        facts.suspicious += 1;
                        hosts.insert(check.host.clone());
                    }
                    Verdict::Fail => facts.proven += 1,
                    Verdict::Pass | Verdict::Warn => {}
                }
            }
        }
        facts.hosts = hosts.len();
        facts
    }
}

fn of_service(shared: &Shared, service: &Service) -> ServiceSnapshot {
    let state = service.state();
    ServiceSnapshot {
        service: service.id.clone(),
        state: state.reported.state,
        since: shared.wall_of(state.since),
        critical: state.critical,
        flapping: state.reported.flapping,
        acting: service.is_acting(),
        maintenance: state.maintenance,
        cause: state.reported.cause.clone(),
        ever_passed: state.reported.ever_passed,
        instance: state.instance.clone(),
        checks: of_checks(shared, &state),
    }
}

fn of_checks(shared: &Shared, state: &State) -> Vec<CheckSnapshot> {
    state.checks.iter().map(|check| of_check(shared, check)).collect()
}

fn reading(check: &Check) -> CheckReading {
    CheckReading {
        check: check.target.name.clone(),
        counters: check.counters,
        latency: latency(check),
    }
}

fn latency(check: &Check) -> Option<LatencyPercentiles> {
    let answered = |result: &Recent| matches!(result.verdict(), Verdict::Pass | Verdict::Warn);
    let results = check.results.iter().filter(answered);
    LatencyPercentiles::of(results.map(Recent::latency).collect())
}

fn of_check(shared: &Shared, check: &Check) -> CheckSnapshot {
    CheckSnapshot {
        check: check.target.name.clone(),
        state: check.judge.state(),
        critical: check.target.policy.critical,
        ever_passed: check.judge.ever_passed(),
        message: check.message.to_string(),
        consecutive_failures: check.judge.consecutive_failures(),
        interval: check.judge.interval(&check.target.policy),
        latency: latency(check),
        recent: check
            .results
            .iter()
            .map(|result| {
                RecentResult::new(
                    shared.wall_of(result.at()),
                    result.verdict(),
                    result.kind(),
                    result.latency(),
                )
            })
            .collect(),
        counters: check.counters,
    }
}
