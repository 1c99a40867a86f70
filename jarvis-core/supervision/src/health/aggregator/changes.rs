//! How the operator hears of it: changes, coalesced per service, and full rounds.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::{Notify, watch};

use base::clock::{Stamp, WallTime};
use base::sync::{Mutex, MutexGuard};
use base::vocabulary::{Cause, InstanceId, ServiceId, ServiceState};

/// A service is judged to be something, or something else about it is new.
///
/// It is told when the state, its cause (by check and kind), `ever_passed`, `flapping` or the
/// instance changed. After an action a service counts as down only once its failures since then
/// say so: that it still is what it was before is not told. The first judgement after an action is
/// told also when it is the same as before.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// Which.
    pub service: ServiceId,
    /// What it is, thresholds applied. A flapping service is degraded.
    pub state: ServiceState,
    /// The check that decided; absent when it is healthy, or went away.
    pub cause: Option<Cause>,
    /// Has the deciding check (or have all critical ones) passed since it was configured?
    pub ever_passed: bool,
    /// Does it change its state too often to be believed?
    pub flapping: bool,
    /// The life that was seen last, where a probe can tell.
    pub instance: Option<InstanceId>,
    /// Is it still configured? The last change of a removed service says `false`.
    pub watched: bool,
    /// When it was judged.
    pub at: WallTime,
    /// When the probe began whose result it follows from.
    pub began: Stamp,
}

#[derive(Debug, Default)]
struct Pending {
    order: VecDeque<ServiceId>,
    changes: HashMap<ServiceId, Change>,
    closed: bool,
}

#[derive(Debug, Default)]
pub(super) struct ChangeQueue {
    pending: Mutex<Pending>,
    arrived: Notify,
}

impl ChangeQueue {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock()
    }

    pub(super) fn push(&self, change: &Change) {
        let mut pending = self.pending();
        if pending.changes.insert(change.service.clone(), change.clone()).is_none() {
            pending.order.push_back(change.service.clone());
        }
        drop(pending);
        self.arrived.notify_one();
    }

    pub(super) fn close(&self) {
        self.pending().closed = true;
        self.arrived.notify_one();
    }
}

/// A subscriber's end of the changes. It begins with the present state of every service that is
/// known.
///
/// When a service changes again before the change was taken, the newer replaces the older in its
/// place: at most one waits for each service, and the last state is never lost.
#[derive(Debug)]
pub struct Changes(pub(super) Arc<ChangeQueue>);

impl Changes {
    /// The next change, or `None` when the aggregator is gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<Change> {
        loop {
            let arrived = self.0.arrived.notified();
            if let Some(next) = self.take() {
                return next;
            }
            arrived.await;
        }
    }

    fn take(&self) -> Option<Option<Change>> {
        let mut pending = self.0.pending();
        if let Some(service) = pending.order.pop_front() {
            return Some(pending.changes.remove(&service));
        }
        pending.closed.then_some(None)
    }
}

/// Every target has been probed once more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Round {
    /// Counts up from 1.
    pub number: u64,
    /// When it ended.
    pub at: WallTime,
}

/// A subscriber's end of the rounds: the signal that the supervision is alive.
#[derive(Debug)]
pub struct Rounds(pub(super) watch::Receiver<Round>);

impl Rounds {
    /// The next round that ends, or `None` when the aggregator is gone. Rounds that end while
    /// nobody asks are told as one. Cancel-safe.
    pub async fn next(&mut self) -> Option<Round> {
        self.0.changed().await.ok()?;
        Some(*self.0.borrow_and_update())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::clock::{ClockExt, ManualClock};

    fn change(service: &str, state: ServiceState) -> Change {
        Change {
            service: ServiceId::new(service).unwrap(),
            state,
            cause: None,
            ever_passed: true,
            flapping: false,
            instance: None,
            watched: true,
            at: WallTime::default(),
            began: ManualClock::new().stamp(),
        }
    }

    #[tokio::test]
    async fn a_slow_subscriber_gets_the_last_state_of_each_service() {
        let queue = Arc::new(ChangeQueue::default());
        let mut changes = Changes(Arc::clone(&queue));
        for state in [ServiceState::Down, ServiceState::Healthy, ServiceState::Down] {
            queue.push(&change("a", state));
            queue.push(&change("b", state));
        }
        queue.push(&change("b", ServiceState::Healthy));
        queue.close();
        assert_eq!(changes.next().await, Some(change("a", ServiceState::Down)));
        assert_eq!(changes.next().await, Some(change("b", ServiceState::Healthy)));
        assert_eq!(changes.next().await, None);
    }
}
