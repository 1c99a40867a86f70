//! [`MemorySink`]: keeps what it is given.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::{Alert, AlertSink};
use base::sync::{Mutex, MutexGuard};
use base::{Error, Result};

#[derive(Debug, Default)]
struct State {
    delivered: Vec<Alert>,
    refusals: VecDeque<Error>,
    attempts: usize,
}

/// A sink that keeps its messages, and fails when told to. Clones share them.
#[derive(Debug, Clone)]
pub struct MemorySink {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<()>,
}

impl Default for MemorySink {
    fn default() -> Self {
        Self::new()
    }
}

impl MemorySink {
    /// Without messages.
    #[must_use]
    pub fn new() -> Self {
        Self { state: Arc::default(), changed: watch::Sender::new(()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// What was delivered, in order.
    #[must_use]
    pub fn delivered(&self) -> Vec<Alert> {
        self.state().delivered.clone()
    }

    /// How often a delivery was tried.
    #[must_use]
    pub fn attempts(&self) -> usize {
        self.state().attempts
    }

    /// The next delivery ends in this error, after those that were set before.
    pub fn fail_next(&self, error: Error) {
        self.state().refusals.push_back(error);
    }

    /// Completes when that many messages were delivered.
    pub async fn wait_for(&self, count: usize) -> Vec<Alert> {
        let mut changed = self.changed.subscribe();
        loop {
            let delivered = self.delivered();
            if delivered.len() >= count {
                return delivered;
            }
            // The sender lives as long as we do.
            if changed.changed().await.is_err() {
                return delivered;
            }
        }
    }
}

#[async_trait]
impl AlertSink for MemorySink {
    async fn deliver(&self, alert: &Alert) -> Result<()> {
        let refusal = {
            let mut state = self.state();
            state.attempts += 1;
            let refusal = state.refusals.pop_front();
            if refusal.is_none() {
                state.delivered.push(alert.clone());
            }
            refusal
        };
        self.changed.send_replace(());
        refusal.map_or(Ok(()), Err)
    }
}
