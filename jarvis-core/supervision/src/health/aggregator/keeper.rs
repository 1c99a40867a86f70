//! Carries closed minutes, and what has passed, to the history.

use std::sync::Arc;
use std::time::Duration;

use super::service::{Service, Target};
use super::shared::Shared;
use crate::health::uptime::{ClosedMinute, History};
use base::clock::ClockExt;
use base::events::Event;
use base::vocabulary::Severity;
use base::{Error, Result};

/// How long until the history is tried again after it failed.
const AGAIN: Duration = Duration::from_secs(5);

/// How many services are swept before others get their turn.
const SWEEP: usize = 64;

/// Closes the minutes that are over, or with `all` the open ones too, and sends them off.
pub(super) async fn sweep(shared: &Shared, all: bool) {
    let services: Vec<Arc<Service>> = shared.services().values().cloned().collect();
    for some in services.chunks(SWEEP) {
        for service in some {
            let closed = {
                let mut state = service.state();
                state.settle(shared.clock.monotonic(), shared.offset_ms());
                state.meter.take(all)
            };
            let closed = closed.into_iter();
            shared.backlog.push(
                closed.map(|(minute, account)| {
                    ClosedMinute::new(service.id.clone(), minute, account)
                }),
            );
        }
        tokio::task::yield_now().await;
    }
}

/// The minutes that no history has yet.
pub(super) fn unsaved(shared: &Shared) -> Vec<ClosedMinute> {
    let mut minutes: Vec<_> =
        shared.backlog.with(|waiting| waiting.minutes.iter().cloned().collect());
    for service in shared.services().values() {
        let mut state = service.state();
        state.settle(shared.clock.monotonic(), shared.offset_ms());
        let unsaved = state.meter.unsaved();
        minutes.extend(unsaved.map(|(minute, account)| {
            ClosedMinute::new(service.id.clone(), minute, account.clone())
        }));
    }
    minutes
}

/// Reads what earlier runs learned, then keeps what this one learns.
pub(super) async fn keep(shared: Arc<Shared>) {
    let Some(history) = shared.backlog.history() else { return };
    let mut failing = false;
    while let Err(error) = load(&shared, &**history).await {
        report(&shared, &error, &mut failing);
        shared.clock.sleep(AGAIN).await;
    }
    loop {
        let arrived = shared.backlog.arrived.notified();
        match append(&shared, &**history).await {
            Ok(()) => {
                failing = false;
                arrived.await;
            }
            Err(error) => {
                report(&shared, &error, &mut failing);
                shared.clock.sleep(AGAIN).await;
            }
        }
    }
}

/// Reports the first failure of a series, not one every five seconds.
fn report(shared: &Shared, error: &Error, failing: &mut bool) {
    if !std::mem::replace(failing, true) {
        tracing::warn!(%error, "failed to store the history; probing continues");
        shared.events.push(Event::OperatorTrouble {
            severity: Severity::Warning,
            message: format!("failed to store the history, uptime will have gaps: {error}"),
        });
    }
}

async fn load(shared: &Shared, history: &dyn History) -> Result<()> {
    for passed in history.passed().await? {
        let service = shared.services().get(&passed.service).cloned();
        let Some(service) = service else { continue };
        let mut state = service.state();
        let same = |target: &Target| {
            target.name == passed.check && target.fingerprint == passed.fingerprint
        };
        if let Some(check) = state.checks.iter_mut().find(|check| same(&check.target)) {
            check.judge.passed_before();
            let outcome = state.judge(shared.clock.monotonic());
            shared.publish(&service, &state, &outcome);
        }
    }
    Ok(())
}

/// What still waits, when the loop ends.
pub(super) async fn append_waiting(shared: &Shared) {
    if let Some(history) = shared.backlog.history()
        && let Err(error) = append(shared, &**history).await
    {
        tracing::warn!(%error, "the last minutes could not be stored");
    }
}

async fn append(shared: &Shared, history: &dyn History) -> Result<()> {
    let backlog = &shared.backlog;
    let passed = backlog.with(|waiting| std::mem::take(&mut waiting.passed));
    if !passed.is_empty()
        && let Err(error) = history.remember_passed(passed.clone()).await
    {
        backlog.with(|waiting| waiting.passed.extend(passed));
        return Err(error);
    }
    let minutes = Vec::from(backlog.with(|waiting| std::mem::take(&mut waiting.minutes)));
    if !minutes.is_empty()
        && let Err(error) = history.append(minutes.clone()).await
    {
        let newer = backlog.with(|waiting| std::mem::take(&mut waiting.minutes));
        backlog.push(minutes.into_iter().chain(newer));
        return Err(error);
    }
    Ok(())
}
