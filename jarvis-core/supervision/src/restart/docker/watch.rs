//! The events of one container, out of all of its engine's.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::container::Inner;
use super::hub::{ContainerEvent, Note, What};
use super::life::Life;
use crate::restart::{EventSender, InstanceEvent, InstanceEvents};
use base::Result;
use base::clock::ClockExt;

/// How long a watch waits for its connection before it goes on without: the first event tells of
/// the gap then.
const CONNECT: Duration = Duration::from_secs(2);

pub(super) async fn watch(inner: &Arc<Inner>) -> Result<InstanceEvents> {
    let (sender, events) = InstanceEvents::channel(64);
    let (mut notes, connected) = inner.engine.subscribe();
    let mut follower = Follower { inner: Arc::clone(inner), sender, known: None };
    if !connected {
        let deadline = inner.engine.clock.monotonic() + CONNECT;
        let first = inner.engine.clock.until(deadline, notes.recv()).await;
        if let Some(Ok(Note::Connected { again: true })) = first {
            follower.sender.send(InstanceEvent::Gap).await;
        }
    }
    follower.look().await;
    tokio::spawn(follower.run(notes));
    Ok(events)
}

struct Follower {
    inner: Arc<Inner>,
    sender: EventSender,
    known: Option<Life>,
}

impl Follower {
    async fn run(mut self, mut notes: broadcast::Receiver<Note>) {
        loop {
            let note = tokio::select! {
                biased;
                note = notes.recv() => note,
                () = self.sender.closed() => return,
            };
            let event = match note {
                Ok(Note::Event(event)) => self.event(&event).await,
                Ok(Note::Connected { again }) => {
                    self.look().await;
                    again.then_some(InstanceEvent::Gap)
                }
                Err(RecvError::Lagged(_)) => {
                    self.look().await;
                    Some(InstanceEvent::Gap)
                }
                Err(RecvError::Closed) => return,
            };
            if let Some(event) = event
                && !self.sender.send(event).await
            {
                return;
            }
        }
    }

    /// Learns which container and which life it is. What can't be learnt now is learnt later.
    async fn look(&mut self) {
        if let Ok(found) = self.inner.locate().await {
            self.known = found;
        }
    }

    async fn event(&mut self, event: &ContainerEvent) -> Option<InstanceEvent> {
        let known = self.known.as_ref().filter(|known| known.id == event.id);
        if known.is_none() && !self.inner.target.matches(&event.name, &event.attributes) {
            return None;
        }
        let instance = known.map(|known| known.instance.clone());
        match &event.what {
            What::Died { exit, person: None } => {
                Some(InstanceEvent::Exited { instance, exit: *exit })
            }
            What::Died { person: Some(evidence), .. } | What::Stopped { evidence } => {
                Some(InstanceEvent::StoppedByPerson { evidence: evidence.clone() })
            }
            What::Health(verdict) => Some(InstanceEvent::NativeHealth(*verdict)),
            What::Started | What::Unpaused => {
                self.look().await;
                let instance = self.known.as_ref().map(|known| known.instance.clone());
                Some(InstanceEvent::Started { instance })
            }
            What::Paused => Some(InstanceEvent::StoppedByPerson {
                evidence: "the container is paused".to_owned(),
            }),
            What::Removed { ours: false } if known.is_some_and(|known| !known.auto_remove) => {
                let evidence = format!("the container {:?} was removed", event.name);
                Some(InstanceEvent::StoppedByPerson { evidence })
            }
            // Only an observation tells what a rename means.
            What::Renamed { .. } | What::Removed { .. } => {
                self.look().await;
                Some(InstanceEvent::Gap)
            }
        }
    }
}
