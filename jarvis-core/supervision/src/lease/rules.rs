//! Decisions of a ledger, independent of storage.

use std::time::Duration;

use super::{Attempt, Limit, Reservation, Usage};
use base::clock::WallTime;
use base::resilience::SlidingWindow;
use base::vocabulary::{FencingToken, Gate, ServiceId};
use base::{Error, ErrorKind};

/// An intent is remembered at least this long, so that asking again is answered alike.
pub(super) const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 3_600);

/// The token of a new grant. At least the wall clock's milliseconds: so it is new also for who
/// remembers tokens of another lease, as the operator's state does when the configuration names
/// another kind of lease from now on.
pub(super) fn next_token(highest: u64, wall: WallTime) -> u64 {
    (highest + 1).max(u64::try_from(wall.millis()).unwrap_or(0))
}

/// The longest window of an attempt.
pub(super) fn longest(attempt: &Attempt) -> Duration {
    let windows = attempt.limits.iter().chain(&attempt.global).map(|limit| limit.window);
    windows.max().unwrap_or_default()
}

/// May it be counted, given what was counted before? The service's own limits are named first,
/// and of several the one that stays used up the longest.
pub(super) fn judge(
    attempt: &Attempt,
    now: Duration,
    own: &SlidingWindow,
    all: &SlidingWindow,
) -> Reservation {
    tightest(&attempt.limits, now, own)
        .map(|it| (Gate::Budget, it))
        .or_else(|| tightest(&attempt.global, now, all).map(|it| (Gate::GlobalBudget, it)))
        .map_or(Reservation::Granted, |(gate, (limit, retry_in))| Reservation::Refused {
            gate,
            limit,
            retry_in,
        })
}

fn tightest(limits: &[Limit], now: Duration, counted: &SlidingWindow) -> Option<(Limit, Duration)> {
    limits
        .iter()
        .map(|limit| {
            let wait = counted.wait(now, limit.max as usize, limit.window);
            (*limit, wait.unwrap_or(limit.window.max(Duration::from_millis(1))))
        })
        .filter(|(_, wait)| !wait.is_zero())
        .max_by_key(|(_, wait)| *wait)
}

/// How much of each limit is used.
pub(super) fn usage(limits: &[Limit], now: Duration, counted: &SlidingWindow) -> Vec<Usage> {
    limits
        .iter()
        .map(|limit| {
            let used = counted.count(now, limit.window);
            Usage { limit: *limit, used: u32::try_from(used).unwrap_or(u32::MAX) }
        })
        .collect()
}

/// The refusal of a holder that lost its lease and does not know it yet.
pub(super) fn fenced(service: &ServiceId, token: FencingToken, highest: FencingToken) -> Error {
    Error::new(
        ErrorKind::Forbidden,
        format!("token {token} is older than {highest}: another operator has taken over"),
    )
    .with_context("service", service)
}

#[cfg(test)]
mod tests;
