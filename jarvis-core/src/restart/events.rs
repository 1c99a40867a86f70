//! What a platform tells about a service as it happens.

use tokio::sync::mpsc;

use super::Exit;
use crate::vocabulary::{InstanceId, Verdict};

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
pub struct EventSender(mpsc::Sender<InstanceEvent>);

impl InstanceEvents {
    /// A pair of ends with room for `capacity` events.
    #[must_use]
    pub fn channel(capacity: usize) -> (EventSender, Self) {
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        (EventSender(sender), Self(receiver))
    }

    /// The next event, or `None` when the platform's connection is gone for good.
    pub async fn next(&mut self) -> Option<InstanceEvent> {
        self.0.recv().await
    }
}

impl EventSender {
    /// Hands an event over. `false` when nobody reads any more.
    pub async fn send(&self, event: InstanceEvent) -> bool {
        self.0.send(event).await.is_ok()
    }

    /// Completes when nobody reads any more.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}
