//! Many probes over time: schedules them, judges with hysteresis, tells what changed.
//!
//! Each target has its own task and its own deadline, so a target that hangs delays nobody. A
//! probe waits for nothing of ours: not for storage, not for a listener, not for the bus.
//!
//! ```
//! use std::sync::Arc;
//! # use jarvis_core::health::{HealthProbe, Observation, ProbeContext};
//! use jarvis_core::health::aggregator::{Aggregator, CheckSpec, ServiceSpec};
//! # #[derive(Debug)] struct Always;
//! # #[async_trait::async_trait]
//! # impl HealthProbe for Always {
//! #     async fn probe(&self, _: ProbeContext) -> jarvis_core::Result<Observation> { Ok(Observation::pass("ok")) }
//! # }
//! # async fn example(clock: jarvis_core::clock::SharedClock, bus: Arc<dyn jarvis_core::events::EventBus>) -> jarvis_core::Result<()> {
//! let aggregator = Aggregator::new(clock, bus);
//! let check = CheckSpec::new("http".parse()?, Arc::new(Always));
//! aggregator.apply(vec![ServiceSpec::new("vocal-coach".parse()?, vec![check])])?;
//! let mut changes = aggregator.changes();
//! let supervision = tokio::spawn({
//!     let aggregator = aggregator.clone();
//!     async move { aggregator.run(std::future::pending()).await }
//! });
//! let change = changes.next().await.expect("the aggregator lives");
//! println!("{} is {}", change.service, change.state);
//! # supervision.abort();
//! # Ok(())
//! # }
//! ```

mod backlog;
mod changes;
mod flapping;
mod judge;
mod keeper;
mod measure;
mod policy;
mod pulse;
mod results;
mod run;
mod schedule;
mod service;
mod shared;
mod snapshot;
mod views;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;

pub use changes::{Change, Changes, Round, Rounds};
#[doc(hidden)]
pub use policy::validate_services;
pub use policy::{CheckPolicy, CheckSpec, ServiceSpec};
pub use snapshot::{
    CheckCounters, CheckResult, CheckSnapshot, LatencyPercentiles, LoopStats, PlatformSnapshot,
    RecentResult, ServiceSnapshot, SuspicionFacts,
};

#[cfg(feature = "metrics")]
#[doc(hidden)]
pub use views::{CheckReading, ServiceReading};

use crate::health::uptime::{History, UptimeReport};
use base::clock::{Monotonic, SharedClock};
use base::events::EventBus;
use base::vocabulary::{Platform, ServiceId, ServiceState};
use base::{Result, names};
use measure::measure;
use service::{Service, Shares, Target};
use shared::{Services, Shared};

/// Watches services. A cheap handle: clones share everything.
#[derive(Debug, Clone)]
pub struct Aggregator(Arc<Shared>);

impl Aggregator {
    /// An aggregator without services. Nothing happens before [`run`](Self::run).
    #[must_use]
    pub fn new(clock: SharedClock, bus: Arc<dyn EventBus>) -> Self {
        Self(Arc::new(Shared::new(clock, bus)))
    }

    /// Watches exactly these services from now on: the first configuration, or a changed one.
    ///
    /// Checks that did not change (same service, name, policy and
    /// [fingerprint](CheckSpec::with_fingerprint)) keep what is known about them and their
    /// schedule, with the new probe object. Takes effect at once, also while
    /// [`run`](Self::run) runs.
    ///
    /// # Errors
    /// `ConfigInvalid`, naming service and check; nothing is changed then.
    pub fn apply(&self, services: Vec<ServiceSpec>) -> Result<()> {
        validate_services(&services)?;
        let shared = &self.0;
        let (now, resumes) = (shared.clock.monotonic(), shared.pulse.generation());
        let mut old = Services::clone(&shared.services());
        let (mut new, mut shares) = (Services::new(), Shares::default());
        let targets = services.iter().map(|service| service.checks.len()).sum();
        for spec in services {
            let kept = old.remove(&spec.id);
            let service = if let Some(service) = kept {
                self.reconfigure(&service, &spec, now, resumes, &mut shares);
                service
            } else {
                shared.recount(|tally| tally.add(ServiceState::Unknown, spec.critical));
                let offset_ms = shared.offset_ms();
                Arc::new(Service::new(&spec, now, resumes, offset_ms, &mut shares))
            };
            new.insert(spec.id, service);
        }
        shared.replace_services(new);
        old.values().for_each(|service| self.remove(service));
        shared.begin_round(targets);
        shared.reloaded.notify_one();
        Ok(())
    }

    fn reconfigure(
        &self,
        service: &Service,
        spec: &ServiceSpec,
        now: Monotonic,
        resumes: u32,
        shares: &mut Shares,
    ) {
        let shared = &self.0;
        let mut state = service.state();
        let was = (state.reported.state, state.critical);
        state.settle(now, shared.offset_ms());
        let discarded = state.reconfigure(spec, now, resumes, shares);
        shared.recount(|tally| {
            tally.remove(was.0, was.1);
            tally.add(was.0, spec.critical);
        });
        let outcome = state.judge(now);
        shared.publish(service, &state, &outcome);
        drop(state);
        drop(discarded);
    }

    fn remove(&self, service: &Service) {
        let mut state = service.state();
        state.removed = true;
        state.checks.iter().for_each(|check| check.target.abort());
        self.0.recount(|tally| tally.remove(state.reported.state, state.critical));
        self.0.tell(service, &state);
    }

    /// Probes on schedule until `until` completes, in the tokio runtime that polls it.
    ///
    /// Probes under way are dropped at the end, and what they would have said with them. It may be
    /// called again afterwards.
    ///
    /// # Errors
    /// `Conflict` when it runs already.
    pub async fn run(&self, until: impl Future<Output = ()> + Send) -> Result<()> {
        run::run(&self.0, until).await
    }

    /// Changes of the services, as the operator needs them: first what is known already, then
    /// what changes, coalesced per service.
    #[must_use]
    pub fn changes(&self) -> Changes {
        Changes(self.0.subscribe())
    }

    /// Notices of full rounds, for a heartbeat: every target had its turn once more. A round takes
    /// as long as the longest interval.
    #[must_use]
    pub fn rounds(&self) -> Rounds {
        Rounds(self.0.rounds.subscribe())
    }

    fn service_named(&self, id: &ServiceId) -> Result<Arc<Service>> {
        let services = self.0.services();
        services.get(id).cloned().ok_or_else(|| {
            let valid: Vec<&str> = services.keys().map(ServiceId::as_str).collect();
            names::not_found("service", id.as_str(), &valid)
        })
    }

    /// Probes every check of a service now, over fresh connections and beside the thresholds: for
    /// verification and for `jarvis check`. Works without [`run`](Self::run).
    ///
    /// A probe that is under way is waited for first: no target ever has two.
    ///
    /// # Errors
    /// `NotFound`. What a probe could not measure is a result of its own.
    pub async fn probe_now(&self, id: &ServiceId) -> Result<Vec<CheckResult>> {
        let service = self.service_named(id)?;
        let targets: Vec<Arc<Target>> =
            service.state().checks.iter().map(|check| Arc::clone(&check.target)).collect();
        Ok(join_all(targets.iter().map(|target| self.probe_one(target))).await)
    }

    async fn probe_one(&self, target: &Target) -> CheckResult {
        let _one_at_a_time = target.permit.acquire().await;
        let at = self.0.clock.wall();
        let measured = measure(&self.0.clock, target.probe(), target.policy.timeout).await;
        CheckResult {
            check: target.name.clone(),
            critical: target.policy.critical,
            at,
            observation: measured.observation,
        }
    }

    /// Makes the scheduled probes of a service now instead of later: something happened that they
    /// should see. Unknown services are ignored.
    pub fn accelerate(&self, id: &ServiceId) {
        if let Some(service) = self.0.services().get(id) {
            service.state().checks.iter().for_each(|check| check.target.wake.notify_one());
        }
    }

    /// An action on the service begins: its probes stop, results under way are thrown away, its
    /// counters are reset. Its state stays what it is. Unknown services are ignored.
    pub fn action_began(&self, id: &ServiceId) {
        if let Some(service) = self.0.services().get(id) {
            let mut state = service.state();
            service.acting.store(true, Ordering::Release);
            service.generation.fetch_add(1, Ordering::AcqRel);
            state.checks.iter_mut().for_each(|check| check.judge.started_anew(None));
        }
    }

    /// The action is over: the service is judged again, from nothing. The start grace counts from
    /// `started_at`, the actual start of the new life, or from now when that is not known. The
    /// next judgement is told as a [`Change`] even when the state is the same.
    pub fn action_ended(&self, id: &ServiceId, started_at: Option<Monotonic>) {
        if let Some(service) = self.0.services().get(id) {
            let started = started_at.unwrap_or_else(|| self.0.clock.monotonic());
            let mut state = service.state();
            service.generation.fetch_add(1, Ordering::AcqRel);
            service.acting.store(false, Ordering::Release);
            let grace = service::grace(state.start_grace, started);
            state.checks.iter_mut().for_each(|check| check.judge.started_anew(grace));
            state.fresh = true;
            state.checks.iter().for_each(|check| check.target.wake.notify_one());
        }
    }

    /// A maintenance window covers the service from now on, or no longer: its time is left out of
    /// the uptime. Probes go on. Unknown services are ignored.
    pub fn maintenance(&self, id: &ServiceId, open: bool) {
        if let Some(service) = self.0.services().get(id) {
            let mut state = service.state();
            state.settle(self.0.clock.monotonic(), self.0.offset_ms());
            state.maintenance = open;
        }
    }

    /// Keeps closed minutes, and what has ever passed, in this history from now on. What it knows
    /// of earlier runs is read when [`run`](Self::run) begins. To be called once, before that;
    /// later calls change nothing.
    pub fn set_history(&self, history: Arc<dyn History>) {
        self.0.backlog.set_history(history);
    }

    /// The uptime of the watched services in the last `window`: from the history, where there is
    /// one, and from memory.
    ///
    /// # Errors
    /// The history's.
    pub async fn uptime(&self, window: Duration) -> Result<UptimeReport> {
        let shared = &self.0;
        let unsaved = keeper::unsaved(shared);
        let watched = shared.services().keys().cloned().collect();
        let history = shared.backlog.history().map(|history| &**history);
        UptimeReport::new(history, shared.clock.wall(), window, unsaved, Some(watched)).await
    }
}

/// A service by the states of its checks, each with whether it is critical: the worst of the critical
/// ones, and at most degraded by the others. Without a critical check, what the others show.
#[must_use]
pub fn service_of(checks: impl IntoIterator<Item = (ServiceState, bool)>) -> ServiceState {
    judge::worst(checks)
}

/// The services as one, by the rule of [`Platform`]: each with its state, and whether the platform
/// is down without it.
#[must_use]
pub fn platform_of(services: impl IntoIterator<Item = (ServiceState, bool)>) -> Platform {
    let mut tally = judge::Tally::default();
    for (state, critical) in services {
        tally.add(state, critical);
    }
    tally.platform().clone()
}

#[cfg(test)]
mod keeper_tests;
#[cfg(test)]
mod tests;
