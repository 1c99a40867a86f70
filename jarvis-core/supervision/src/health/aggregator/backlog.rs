//! What waits for the history: closed minutes, and checks that passed for the first time. No probe
//! waits here: what the history does not take in time is dropped, oldest first, and counted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use super::service::Target;
use crate::health::uptime::{ClosedMinute, History, PassedCheck};
use base::sync::Mutex;
use base::vocabulary::ServiceId;

/// How many minutes may wait.
const WAITING: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) minutes: VecDeque<ClosedMinute>,
    pub(super) passed: Vec<PassedCheck>,
}

#[derive(Debug, Default)]
pub(super) struct Backlog {
    history: OnceLock<Arc<dyn History>>,
    waiting: Mutex<Waiting>,
    pub(super) arrived: Notify,
    dropped: AtomicU64,
}

impl Backlog {
    pub(super) fn set_history(&self, history: Arc<dyn History>) {
        // The first one is kept, as documented.
        drop(self.history.set(history));
    }

    pub(super) fn history(&self) -> Option<&Arc<dyn History>> {
        self.history.get()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Waiting) -> T) -> T {
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

    pub(super) fn push(&self, minutes: impl IntoIterator<Item = ClosedMinute>) {
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
