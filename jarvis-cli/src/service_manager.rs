//! Notifications to systemd (`Type=notify`). Without it every call does nothing.

use std::time::Duration;

use jarvis_core::clock::{ClockExt, SharedClock};
use jarvis_core::jarvis::Jarvis;
use sd_notify::NotifyState;

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "could not notify the service manager");
    }
}

/// The loop runs.
pub(crate) fn ready() {
    notify(&[NotifyState::Ready]);
}

/// The configuration is being read again. Followed by [`ready`], whatever comes of it.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
}

/// The end has begun.
pub(crate) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// The line that `systemctl status` shows.
pub(crate) fn status(line: &str) {
    notify(&[NotifyState::Status(line)]);
}

/// How often a watchdog that allows `limit` is pinged.
fn ping_every(limit: Duration) -> Duration {
    (limit / 3).max(Duration::from_millis(10))
}

/// Pings the watchdog while the loop makes progress. If it hangs or lags, systemd restarts it.
pub(crate) async fn watchdog(jarvis: Jarvis, clock: SharedClock) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let mut silent = false;
    loop {
        let health = jarvis.healthz();
        if health.alive {
            notify(&[NotifyState::Watchdog]);
        } else if !silent {
            tracing::error!(reason = %health.reason, "the watchdog is no longer notified");
        }
        silent = !health.alive;
        clock.sleep(ping_every(limit)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_is_pinged_well_before_its_limit() {
        assert_eq!(ping_every(Duration::from_secs(60)), Duration::from_secs(20));
        assert!(ping_every(Duration::ZERO) > Duration::ZERO);
    }
}
