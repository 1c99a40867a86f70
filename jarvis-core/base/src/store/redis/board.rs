//! State of the connections, as [`Redis::state`](super::Redis::state) reports it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::Error;
use crate::clock::{SharedClock, WallTime};
use crate::sync::Mutex;

/// Is Redis there?
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// Nothing was asked of it so far.
    Idle,
    /// Every server that was asked answers.
    Connected,
    /// A server (of a cluster: one of them) does not answer. It is tried again in the background.
    Down {
        /// Since when.
        since: WallTime,
        /// Which one, and why.
        why: String,
    },
}

/// Tells each change of the [`State`]. Changes that follow each other fast are told as one.
#[derive(Debug)]
pub struct StateChanges(watch::Receiver<State>);

impl StateChanges {
    /// The state now; [`changed`](Self::changed) waits for another one from here.
    pub fn current(&mut self) -> State {
        self.0.borrow_and_update().clone()
    }

    /// Waits for the next change. `None` when the last handle is gone.
    pub async fn changed(&mut self) -> Option<State> {
        self.0.changed().await.ok()?;
        Some(self.current())
    }
}

type Downs = BTreeMap<String, (WallTime, String)>;

#[derive(Debug)]
pub(super) struct Board {
    clock: SharedClock,
    downs: Mutex<Downs>,
    state: watch::Sender<State>,
}

impl Board {
    pub(super) fn new(clock: SharedClock) -> Arc<Self> {
        let (state, _) = watch::channel(State::Idle);
        Arc::new(Self { clock, downs: Mutex::default(), state })
    }

    pub(super) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    pub(super) fn changes(&self) -> StateChanges {
        let mut receiver = self.state.subscribe();
        receiver.mark_changed();
        receiver.borrow_and_update();
        StateChanges(receiver)
    }

    /// It answers. Is that news?
    pub(super) fn up(&self, server: &str) -> bool {
        let mut news = false;
        self.change(|downs| {
            news = downs.remove(server).is_some();
            true
        });
        news
    }

    /// It does not answer. Is that news?
    pub(super) fn down(&self, server: &str, error: &Error) -> bool {
        let (why, mut news) = (error.message(), false);
        self.change(|downs| {
            if let Some((_, known)) = downs.get_mut(server) {
                why.clone_into(known);
            } else {
                downs.insert(server.to_owned(), (self.clock.wall(), why.to_owned()));
                news = true;
            }
            true
        });
        news
    }

    /// A server that is no longer asked.
    pub(super) fn forget(&self, server: &str) {
        self.change(|downs| downs.remove(server).is_some());
    }

    /// Since when a server is down.
    pub(super) fn since(&self, server: &str) -> Option<WallTime> {
        let downs = self.downs.lock();
        downs.get(server).map(|(since, _)| *since)
    }

    fn change(&self, change: impl FnOnce(&mut Downs) -> bool) {
        let mut downs = self.downs.lock();
        if !change(&mut downs) {
            return;
        }
        let next = downs.values().min_by_key(|(since, _)| *since).map_or(
            State::Connected,
            |(since, why)| State::Down { since: *since, why: why.clone() },
        );
        self.state.send_if_modified(|state| {
            let changed = *state != next;
            *state = next;
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::clock::{Clock, ManualClock};

    #[tokio::test]
    async fn it_is_down_while_one_is_and_tells_changes() {
        let clock = ManualClock::new();
        let board = Board::new(Arc::new(clock.clone()));
        let mut changes = board.changes();
        assert_eq!(changes.current(), State::Idle);
        board.up("a");
        assert_eq!(changes.changed().await, Some(State::Connected));
        let since = clock.wall();
        board.down("b", &Error::new(ErrorKind::Unavailable, "b is gone"));
        let down = State::Down { since, why: "b is gone".to_owned() };
        assert_eq!(changes.changed().await, Some(down.clone()));
        board.up("a");
        assert_eq!(board.state(), down);
        board.forget("b");
        assert_eq!(changes.changed().await, Some(State::Connected));
        drop(board);
        assert_eq!(changes.changed().await, None);
    }
}
