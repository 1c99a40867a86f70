//! What people ask for: the uptime of a window, per service and overall.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::Account;
use crate::health::aggregator::LatencyPercentiles;
use base::Result;
use base::clock::WallTime;
use base::units;
use base::vocabulary::{CheckName, ServiceId};

/// A closed minute of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClosedMinute {
    /// Which service.
    pub service: ServiceId,
    /// Minutes since 1970-01-01 UTC.
    pub minute: i64,
    /// What happened in it.
    pub account: Account,
}

impl ClosedMinute {
    /// A minute of a service.
    #[must_use]
    pub const fn new(service: ServiceId, minute: i64, account: Account) -> Self {
        Self { service, minute, account }
    }
}

/// A check that has passed since it was configured.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PassedCheck {
    /// Which service.
    pub service: ServiceId,
    /// Which check.
    pub check: CheckName,
    /// What was configured then.
    pub fingerprint: u64,
}

impl PassedCheck {
    /// A check with what was configured.
    #[must_use]
    pub const fn new(service: ServiceId, check: CheckName, fingerprint: u64) -> Self {
        Self { service, check, fingerprint }
    }
}

/// Keeps what the aggregator learned for longer than its memory. No probe ever waits for it.
#[async_trait]
pub trait History: Debug + Send + Sync + 'static {
    /// Keeps closed minutes. A minute that is there already is added to.
    async fn append(&self, minutes: Vec<ClosedMinute>) -> Result<()>;

    /// What is kept of a time, summed up by service. The beginning is rounded down to what is
    /// kept of so long ago: a minute, an hour or a day. Says when it really begins.
    async fn totals(
        &self,
        from: WallTime,
        to: WallTime,
    ) -> Result<(WallTime, BTreeMap<ServiceId, Account>)>;

    /// Remembers that these checks have passed.
    async fn remember_passed(&self, checks: Vec<PassedCheck>) -> Result<()>;

    /// Which checks have passed, ever.
    async fn passed(&self) -> Result<Vec<PassedCheck>>;
}

/// The uptime in one window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Uptime {
    /// 100 × up / (up + down), where degraded counts as up; absent when nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// How much of the window (less its maintenance) is known, 0 to 1. An uptime without it says
    /// nothing.
    pub coverage: f64,
    /// Milliseconds up, degraded included.
    pub up_ms: u64,
    /// Of these, degraded.
    pub degraded_ms: u64,
    /// Milliseconds down: from the first failing sample to the first pass.
    pub down_ms: u64,
    /// Milliseconds in maintenance: in none of the above.
    pub excluded_ms: u64,
    /// Milliseconds that nobody observed.
    pub unknown_ms: u64,
    /// Probes that measured something.
    pub probes: u64,
    /// Of these, failures.
    pub failures: u64,
    /// Failures / probes; absent without probes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<f64>,
    /// Over the probes that did not fail, right within 6.25 %; absent without them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencyPercentiles>,
}

#[expect(clippy::cast_precision_loss, reason = "2^53 ms are 285,000 years")]
fn share(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}

impl Uptime {
    /// What an account comes to in a span of that many milliseconds.
    #[must_use]
    pub fn of(account: &Account, span_ms: u64) -> Self {
        let mut account = account.clone();
        account.fit(span_ms);
        let up_ms = account.healthy_ms + account.degraded_ms;
        let judged = up_ms + account.down_ms;
        let percentile = |share| account.latency.percentile(share).unwrap_or_default();
        Self {
            percent: share(up_ms, judged).map(|share| share * 100.0),
            coverage: share(judged, span_ms - account.excluded_ms).unwrap_or(0.0),
            up_ms,
            degraded_ms: account.degraded_ms,
            down_ms: account.down_ms,
            excluded_ms: account.excluded_ms,
            unknown_ms: span_ms - account.known_ms(),
            probes: account.probes,
            failures: account.failures,
            error_rate: share(account.failures, account.probes),
            latency: (!account.latency.is_empty()).then(|| {
                LatencyPercentiles::new(percentile(0.5), percentile(0.95), percentile(0.99))
            }),
        }
    }
}

/// The uptime of one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServiceUptime {
    /// Which.
    pub service: ServiceId,
    /// Its uptime.
    #[serde(flatten)]
    pub uptime: Uptime,
}

/// The uptime of all services in one window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UptimeReport {
    /// How long the window was asked to be.
    #[serde(rename = "window_ms", with = "units::millis")]
    pub window: Duration,
    /// When it really begins, as far back as asked, rounded down.
    pub from: WallTime,
    /// When it ends.
    pub to: WallTime,
    /// The time of all services together.
    pub overall: Uptime,
    /// Each service, ordered by name.
    pub services: Vec<ServiceUptime>,
}

impl UptimeReport {
    /// Works out a report from what a history has kept, plus what it has not got yet: of the
    /// services that are watched, or of all that the history knows.
    ///
    /// # Errors
    /// The history's.
    pub async fn new(
        history: Option<&dyn History>,
        now: WallTime,
        window: Duration,
        unsaved: Vec<ClosedMinute>,
        watched: Option<Vec<ServiceId>>,
    ) -> Result<Self> {
        let asked = now - window;
        let (from, mut totals) = match history {
            Some(history) => history.totals(asked, now).await?,
            None => (asked, BTreeMap::new()),
        };
        let first_minute = from.millis().div_euclid(60_000);
        for minute in unsaved {
            let total = totals.entry(minute.service).or_default();
            if minute.minute >= first_minute {
                total.merge(&minute.account);
            }
        }
        if let Some(watched) = watched {
            let mut of_watched = BTreeMap::new();
            for service in watched {
                let total = totals.remove(&service).unwrap_or_default();
                of_watched.insert(service, total);
            }
            totals = of_watched;
        }
        let span = now.millis().saturating_sub(from.millis()).max(0).unsigned_abs();
        Ok(Self::of(window, from, now, span, &totals))
    }

    fn of(
        window: Duration,
        from: WallTime,
        to: WallTime,
        span_ms: u64,
        totals: &BTreeMap<ServiceId, Account>,
    ) -> Self {
        let mut all = Account::default();
        let services = totals
            .iter()
            .map(|(service, account)| {
                let mut fitted = account.clone();
                fitted.fit(span_ms);
                all.merge(&fitted);
                ServiceUptime { service: service.clone(), uptime: Uptime::of(account, span_ms) }
            })
            .collect();
        let overall = Uptime::of(&all, span_ms.saturating_mul(totals.len() as u64));
        Self { window, from, to, overall, services }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_known_is_not_a_hundred_percent() {
        let uptime = Uptime::of(&Account::default(), 3_600_000);
        assert_eq!((uptime.percent, uptime.unknown_ms), (None, 3_600_000));
        assert!(uptime.coverage.abs() < f64::EPSILON);
    }

    #[test]
    fn degraded_is_up_and_maintenance_is_out_of_it() {
        let account = Account {
            healthy_ms: 500,
            degraded_ms: 200,
            down_ms: 100,
            excluded_ms: 200,
            ..Account::default()
        };
        let uptime = Uptime::of(&account, 1_000);
        assert_eq!((uptime.up_ms, uptime.degraded_ms, uptime.unknown_ms), (700, 200, 0));
        assert!((uptime.percent.unwrap() - 87.5).abs() < 1e-9);
        assert!((uptime.coverage - 1.0).abs() < 1e-9);
    }
}
