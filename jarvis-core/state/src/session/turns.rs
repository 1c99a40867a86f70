//! [`Turns`]: one at a time for each session, within this process.

use std::collections::HashMap;
use std::sync::Arc;

use base::sync::{Mutex, MutexGuard};

use super::SessionId;

/// Who waits for one session.
#[derive(Default)]
struct Queue {
    turn: Arc<tokio::sync::Mutex<()>>,
    places: usize,
}

/// Who wants to change which session. Holds nothing for a session that nobody changes.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<SessionId, Queue>>);

impl std::fmt::Debug for Turns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Turns({})", self.queues().len())
    }
}

impl Turns {
    fn queues(&self) -> MutexGuard<'_, HashMap<SessionId, Queue>> {
        self.0.lock()
    }

    /// A place in the session's queue, kept until it is dropped.
    pub(super) fn enter<'a>(&'a self, id: &'a SessionId) -> Place<'a> {
        let mut queues = self.queues();
        let queue = queues.entry(id.clone()).or_default();
        queue.places += 1;
        Place { turns: self, id, turn: Arc::clone(&queue.turn) }
    }
}

/// A place in a queue.
pub(super) struct Place<'a> {
    turns: &'a Turns,
    id: &'a SessionId,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Place<'_> {
    /// Complete when all who came before are done. First come, first served.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut queues = self.turns.queues();
        let Some(queue) = queues.get_mut(self.id) else { return };
        queue.places -= 1;
        if queue.places == 0 {
            queues.remove(self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn the_second_waits_for_the_first_and_nothing_is_left_behind() {
        let turns = Turns::default();
        let id = SessionId::new("a").unwrap();
        let (first, second) = (turns.enter(&id), turns.enter(&id));
        let held = first.turn().now_or_never().unwrap();
        assert!(second.turn().now_or_never().is_none());
        let other = SessionId::new("b").unwrap();
        assert!(turns.enter(&other).turn().now_or_never().is_some());
        drop(held);
        assert!(second.turn().now_or_never().is_some());
        drop(first);
        assert_eq!(format!("{turns:?}"), "Turns(1)");
        drop(second);
        assert_eq!(format!("{turns:?}"), "Turns(0)");
    }
}
