//! The way of closed minutes to the history. No probe waits here: what the history does not take
//! in time is dropped, oldest first, and counted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;

use super::service::{Service, Target};
use super::shared::Shared;
use crate::health::uptime::{ClosedMinute, History, PassedCheck};
use base::clock::ClockExt;
use base::events::Event;
use base::sync::Mutex;
use base::vocabulary::{ServiceId, Severity};
use base::{Error, Result};

/// So many minutes may wait.
const WAITING: usize = 100_000;

/// How long until the history is tried again after it failed.
const AGAIN: Duration = Duration::from_secs(5);

/// So many services are swept before others get their turn.
const SWEEP: usize = 64;

#[derive(Debug, Default)]
struct Waiting {
    minutes: VecDeque<ClosedMinute>,
    passed: Vec<PassedCheck>,
}

#[derive(Debug, Default)]
pub(super) struct Keeper {
    history: OnceLock<Arc<dyn History>>,
    waiting: Mutex<Waiting>,
    arrived: Notify,
    dropped: AtomicU64,
}

impl Keeper {
    pub(super) fn set_history(&self, history: Arc<dyn History>) {
        // The first stays, as documented.
        drop(self.history.set(history));
    }

    pub(super) fn history(&self) -> Option<&Arc<dyn History>> {
        self.history.get()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn with<T>(&self, work: impl FnOnce(&mut Waiting) -> T) -> T {
        work(&mut self.waiting.lock())
    }

    /// A check passed for the first time since it was configured.
    pub(super) fn passed(&self, service: &ServiceId, target: &Target) {
        if self.history.get().is_some() {
            let passed = PassedCheck::new(service.clone(), target.name.clone(), target.fingerprint);
            self.with(|waiting| waiting.passed.push(passed));
            self.arrived.notify_one();
        }
    }

    fn push(&self, minutes: impl IntoIterator<Item = ClosedMinute>) {
        if self.history.get().is_none() {
            return;
        }
        self.with(|waiting| {
            waiting.minutes.extend(minutes);
            let over = waiting.minutes.len().saturating_sub(WAITING);
            waiting.minutes.drain(..over);
            self.dropped.fetch_add(over as u64, Ordering::Relaxed);
        });
        self.arrived.notify_one();
    }
}

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
            shared.keeper.push(
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
        shared.keeper.with(|waiting| waiting.minutes.iter().cloned().collect());
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
    let Some(history) = shared.keeper.history() else { return };
    let mut failing = false;
    while let Err(error) = load(&shared, &**history).await {
        report(&shared, &error, &mut failing);
        shared.clock.sleep(AGAIN).await;
    }
    loop {
        let arrived = shared.keeper.arrived.notified();
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

/// Tells the trouble once, not every five seconds.
fn report(shared: &Shared, error: &Error, failing: &mut bool) {
    if !std::mem::replace(failing, true) {
        tracing::warn!(%error, "the history can't be kept; probing goes on");
        shared.events.push(Event::OperatorTrouble {
            severity: Severity::Warning,
            message: format!("the history can't be kept, uptime will have gaps: {error}"),
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
    if let Some(history) = shared.keeper.history()
        && let Err(error) = append(shared, &**history).await
    {
        tracing::warn!(%error, "the last minutes could not be kept");
    }
}

async fn append(shared: &Shared, history: &dyn History) -> Result<()> {
    let keeper = &shared.keeper;
    let passed = keeper.with(|waiting| std::mem::take(&mut waiting.passed));
    if !passed.is_empty()
        && let Err(error) = history.remember_passed(passed.clone()).await
    {
        keeper.with(|waiting| waiting.passed.extend(passed));
        return Err(error);
    }
    let minutes = Vec::from(keeper.with(|waiting| std::mem::take(&mut waiting.minutes)));
    if !minutes.is_empty()
        && let Err(error) = history.append(minutes.clone()).await
    {
        let newer = keeper.with(|waiting| std::mem::take(&mut waiting.minutes));
        keeper.push(minutes.into_iter().chain(newer));
        return Err(error);
    }
    Ok(())
}
