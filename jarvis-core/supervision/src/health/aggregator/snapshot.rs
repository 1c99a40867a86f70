//! What the aggregator knows, as plain data for `status`, `/status` and `/metrics`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::health::Observation;
use base::clock::WallTime;
use base::units;
use base::vocabulary::{
    Cause, CheckName, FailureKind, InstanceId, Platform, ServiceId, ServiceState, Verdict,
};

/// All services at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PlatformSnapshot {
    /// When.
    pub at: WallTime,
    /// The services as one.
    pub platform: Platform,
    /// Each, ordered by name.
    pub services: Vec<ServiceSnapshot>,
    /// The aggregator itself.
    pub loop_stats: LoopStats,
}

/// One service at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServiceSnapshot {
    /// Which.
    pub service: ServiceId,
    /// What it is, thresholds applied.
    pub state: ServiceState,
    /// Since when.
    pub since: WallTime,
    /// Is the platform down without it?
    pub critical: bool,
    /// Does it change its state too often to be believed? Its state is degraded then.
    pub flapping: bool,
    /// Is an action under way? Then it is not judged, and the state is that from before.
    pub acting: bool,
    /// Is it in maintenance? Then its time is left out of the uptime.
    pub maintenance: bool,
    /// The check that makes it what it is; absent when it is healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// Has the deciding check (or have all critical ones) passed since it was configured?
    pub ever_passed: bool,
    /// The life that was seen last, where a probe can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// Its checks, in the order of the configuration.
    pub checks: Vec<CheckSnapshot>,
}

/// One check at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CheckSnapshot {
    /// Which.
    pub check: CheckName,
    /// What it is, thresholds applied.
    pub state: ServiceState,
    /// Does the service need it?
    pub critical: bool,
    /// Has it passed since it was configured?
    pub ever_passed: bool,
    /// What the last probe saw, in one line; empty before the first.
    pub message: String,
    /// Failures in a row that count.
    pub consecutive_failures: u32,
    /// From this probe to the next, at present.
    #[serde(rename = "interval_ms", with = "units::millis")]
    pub interval: Duration,
    /// Percentiles over the recent results that passed; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencyPercentiles>,
    /// The last 20 results at most, oldest first.
    pub recent: Vec<RecentResult>,
    /// Since the check was configured or JARVIS started.
    pub counters: CheckCounters,
}

/// Latency percentiles by nearest rank.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LatencyPercentiles {
    /// Half of the answers took no longer.
    #[serde(rename = "p50_ms", with = "units::millis")]
    pub p50: Duration,
    /// 95 % took no longer.
    #[serde(rename = "p95_ms", with = "units::millis")]
    pub p95: Duration,
    /// 99 % took no longer.
    #[serde(rename = "p99_ms", with = "units::millis")]
    pub p99: Duration,
}

impl LatencyPercentiles {
    /// Of these latencies; `None` when there are none.
    #[must_use]
    pub fn of(mut latencies: Vec<Duration>) -> Option<Self> {
        latencies.sort_unstable();
        let last = latencies.len().checked_sub(1)?;
        let rank = |percent: usize| {
            latencies[(latencies.len() * percent).div_ceil(100).saturating_sub(1).min(last)]
        };
        Some(Self { p50: rank(50), p95: rank(95), p99: rank(99) })
    }

    /// From percentiles that are known already.
    #[must_use]
    pub const fn new(p50: Duration, p95: Duration, p99: Duration) -> Self {
        Self { p50, p95, p99 }
    }
}

/// One of the last results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RecentResult {
    /// When.
    pub at: WallTime,
    /// As it was counted.
    pub verdict: Verdict,
    /// Why it did not pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<FailureKind>,
    /// How long it took.
    #[serde(rename = "latency_ms", with = "units::millis")]
    pub latency: Duration,
}

impl RecentResult {
    pub(super) const fn new(
        at: WallTime,
        verdict: Verdict,
        kind: Option<FailureKind>,
        latency: Duration,
    ) -> Self {
        Self { at, verdict, kind, latency }
    }
}

/// What happened to the probes of one check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct CheckCounters {
    /// Probes that were made.
    pub probes: u64,
    /// Of these, counted as failures.
    pub failures: u64,
    /// Of these, counted as unknown.
    pub unknowns: u64,
    /// Due times that passed while a probe was under way, or was too late: skipped.
    pub overruns: u64,
    /// Probes that panicked.
    pub panics: u64,
    /// Results thrown away: the machine slept, or an action began, while the probe was under way.
    pub discarded: u64,
    /// Probes that held their thread for 100 ms or longer in one go: run such code on a thread of
    /// its own, as a [`HostedObject`](base::hosted::HostedObject).
    pub blocked: u64,
}

/// How the aggregator itself does; what `/healthz` shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct LoopStats {
    /// Does [`run`](super::Aggregator::run) run?
    pub running: bool,
    /// Checks that are watched.
    pub targets: usize,
    /// Full rounds since the start: every target was probed in each.
    pub rounds: u64,
    /// When the last round ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_round: Option<WallTime>,
    /// Probes begun in their turn.
    pub probes: u64,
    /// How late half of them began.
    #[serde(rename = "lateness_p50_ms", with = "units::millis")]
    pub lateness_p50: Duration,
    /// How late all but one in a hundred of them began.
    #[serde(rename = "lateness_p99_ms", with = "units::millis")]
    pub lateness_p99: Duration,
    /// How late the latest began.
    #[serde(rename = "lateness_max_ms", with = "units::millis")]
    pub lateness_max: Duration,
    /// How late the loop's own tick was last time (it ticks four times a second).
    #[serde(rename = "lag_ms", with = "units::millis")]
    pub lag: Duration,
    /// Ticks that were more than a second late: rounds at that time count as unknown.
    pub stalls: u64,
    /// Times that the machine was seen to have slept.
    pub suspends: u64,
    /// Events dropped because the bus did not take them.
    pub dropped_events: u64,
    /// Closed minutes dropped because the history did not take them.
    pub dropped_minutes: u64,
}

/// What one fresh probe saw, outside of the schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CheckResult {
    /// Which check.
    pub check: CheckName,
    /// Does the service need it?
    pub critical: bool,
    /// When the probe began.
    pub at: WallTime,
    /// What it saw. "We could not measure" is an observation with [`Verdict::Unknown`] here.
    pub observation: Observation,
}

/// Does so much fail at once that it may be us? Facts only; the operator decides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SuspicionFacts {
    /// Targets with a result in their last round.
    pub observed: usize,
    /// Of these, failing in a way that could be our own network's doing (timeout, dns,
    /// unreachable).
    pub suspicious: usize,
    /// Of these, failing in a way that proves the other side (an exit, a refusal, an answer).
    pub proven: usize,
    /// Of these, not measurable at all.
    pub unknown: usize,
    /// On how many hosts the suspicious ones are.
    pub hosts: usize,
}
