//! What a platform tells about a service as it happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::Exit;
use base::vocabulary::{InstanceId, Verdict};

/// Something that happened to a service.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InstanceEvent {
    /// A life began.
    Started {
        /// Which.
        instance: Option<InstanceId>,
    },
    /// A life ended.
    Exited {
        /// Which.
        instance: Option<InstanceId>,
        /// How.
        exit: Exit,
    },
    /// Somebody other than us stopped, paused or removed it on purpose.
    StoppedByPerson {
        /// How we know.
        evidence: String,
    },
    /// The platform's own health check changed its mind.
    NativeHealth(Verdict),
    /// Events were missed; ask [`observe`](super::ServiceRestarter::observe).
    Gap,
}

/// The reading end. Dropping it ends the watch.
#[derive(Debug)]
pub struct InstanceEvents(mpsc::Receiver<InstanceEvent>);

/// The writing end, for a restarter.
#[derive(Debug, Clone)]
pub struct EventSender {
    sender: mpsc::Sender<InstanceEvent>,
    missed: Arc<AtomicBool>,
}

impl InstanceEvents {
    /// A pair of ends with room for `capacity` events.
    #[must_use]
    pub fn channel(capacity: usize) -> (EventSender, Self) {
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        (EventSender { sender, missed: Arc::default() }, Self(receiver))
    }

    /// The next event, or `None` when the platform's connection is gone for good.
    pub async fn next(&mut self) -> Option<InstanceEvent> {
        self.0.recv().await
    }
}

impl EventSender {
    /// Hands an event over. `false` when nobody reads any more.
    pub async fn send(&self, event: InstanceEvent) -> bool {
        self.sender.send(event).await.is_ok()
    }

    /// Hands an event over without waiting. `false` when nobody reads any more. What finds no
    /// room is left out, and the next event that finds some follows an [`InstanceEvent::Gap`].
    pub fn offer(&self, event: InstanceEvent) -> bool {
        if self.missed.swap(false, Ordering::AcqRel)
            && let Err(error) = self.sender.try_send(InstanceEvent::Gap)
        {
            self.missed.store(true, Ordering::Release);
            return matches!(error, TrySendError::Full(_));
        }
        match self.sender.try_send(event) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.missed.store(true, Ordering::Release);
                true
            }
            Err(TrySendError::Closed(_)) => false,
        }
    }

    /// Completes when nobody reads any more.
    pub async fn closed(&self) {
        self.sender.closed().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_finds_no_room_leaves_a_gap_that_is_told() {
        let (sender, mut events) = InstanceEvents::channel(2);
        let started = InstanceEvent::Started { instance: None };
        for _ in 0..3 {
            assert!(sender.offer(started.clone()));
        }
        assert_eq!(events.next().await, Some(started.clone()));
        assert_eq!(events.next().await, Some(started.clone()));
        assert!(sender.offer(started.clone()));
        assert_eq!(events.next().await, Some(InstanceEvent::Gap));
        assert_eq!(events.next().await, Some(started.clone()));
        drop(events);
        assert!(!sender.offer(started));
    }
}
