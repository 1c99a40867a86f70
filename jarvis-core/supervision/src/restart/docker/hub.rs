//! What the restarters of one engine share: who listens to its events, and what those said.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::broadcast;

use crate::restart::Exit;
use base::sync::{Mutex, MutexGuard};
use base::vocabulary::Verdict;

/// Containers remembered; a machine that has more forgets the memory, not the container.
pub(super) const REMEMBERED: usize = 1_024;

/// What a restarter hears.
#[derive(Debug, Clone)]
pub(super) enum Note {
    /// The connection stands; `again` after one that was lost, or that took a second try.
    Connected { again: bool },
    /// Something happened to a container.
    Event(Arc<ContainerEvent>),
}

#[derive(Debug)]
pub(super) struct ContainerEvent {
    pub(super) id: String,
    pub(super) name: String,
    /// Labels and facts.
    pub(super) attributes: HashMap<String, String>,
    pub(super) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Started,
    Died {
        exit: Exit,
        person: Option<String>,
    },
    /// After a death: it was a stop through the API, not ours.
    Stopped {
        evidence: String,
    },
    Health(Verdict),
    Paused,
    Unpaused,
    Renamed {
        from: String,
    },
    Removed {
        ours: bool,
    },
}

#[derive(Debug, Default)]
pub(super) struct Hub(Mutex<State>);

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) sender: Option<broadcast::Sender<Note>>,
    pub(super) connected: bool,
    /// Container id -> when and how a person stopped it.
    stopped: HashMap<String, (i128, String)>,
    removed: HashMap<String, ()>,
}

impl Hub {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// How a person stopped this container after that time, where we saw it.
    pub(super) fn stopped(&self, container: &str, after: i128) -> Option<String> {
        let state = self.state();
        state.stopped.get(container).filter(|(at, _)| *at >= after).map(|(_, text)| text.clone())
    }

    /// Did we see somebody else remove it?
    pub(super) fn removed(&self, container: &str) -> bool {
        self.state().removed.contains_key(container)
    }

    pub(super) fn remember(&self, event: &ContainerEvent, at: i128) {
        let mut state = self.state();
        match &event.what {
            What::Died { person: Some(text), .. } | What::Stopped { evidence: text } => {
                if state.stopped.len() >= REMEMBERED {
                    state.stopped.clear();
                }
                state.stopped.insert(event.id.clone(), (at, text.clone()));
            }
            What::Started => drop(state.stopped.remove(&event.id)),
            What::Removed { ours: false } => {
                if state.removed.len() >= REMEMBERED {
                    state.removed.clear();
                }
                state.stopped.remove(&event.id);
                state.removed.insert(event.id.clone(), ());
            }
            _ => {}
        }
    }
}
