//! [`Turns`]: a lock for each session, within this process.

use std::collections::HashMap;
use std::sync::Arc;

use base::sync::Mutex;
use tokio::sync::OwnedMutexGuard;

use super::SessionId;

/// The queue of one session.
#[derive(Default)]
struct Queue {
    turn: Arc<tokio::sync::Mutex<()>>,
    places: usize,
}

type Queues = Mutex<HashMap<SessionId, Queue>>;

/// The queues of all sessions that are being changed. Holds nothing for a session that nobody
/// changes.
#[derive(Default)]
pub(super) struct Turns(Arc<Queues>);

impl std::fmt::Debug for Turns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Turns({})", self.0.lock().len())
    }
}

impl Turns {
    /// A place in the session's queue, kept until it is dropped.
    pub(super) fn enter(&self, id: &SessionId) -> Place {
        let mut queues = self.0.lock();
        let queue = queues.entry(id.clone()).or_default();
        queue.places += 1;
        Place { queues: Arc::clone(&self.0), id: id.clone(), turn: Arc::clone(&queue.turn) }
    }
}

/// A place in a queue.
pub(super) struct Place {
    queues: Arc<Queues>,
    id: SessionId,
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// The front place of a queue: the next one waits until this is dropped.
pub(super) struct Turn {
    // Dropped in this order: first the turn is passed on, then the place is given up.
    _turn: OwnedMutexGuard<()>,
    _place: Place,
}

impl Place {
    /// Complete when all who came before are done. First come, first served.
    pub(super) async fn turn(self) -> Turn {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        Turn { _turn: turn, _place: self }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut queues = self.queues.lock();
        let Some(queue) = queues.get_mut(&self.id) else { return };
        queue.places -= 1;
        if queue.places == 0 {
            queues.remove(&self.id);
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
        let mut second = Box::pin(second.turn());
        assert!((&mut second).now_or_never().is_none());
        let other = SessionId::new("b").unwrap();
        assert!(turns.enter(&other).turn().now_or_never().is_some());
        assert_eq!(format!("{turns:?}"), "Turns(1)");
        drop(held);
        let held = second.now_or_never().unwrap();
        assert_eq!(format!("{turns:?}"), "Turns(1)");
        drop(held);
        assert_eq!(format!("{turns:?}"), "Turns(0)");
    }

    #[test]
    fn a_place_that_is_given_up_stands_in_nobodys_way() {
        let turns = Turns::default();
        let id = SessionId::new("a").unwrap();
        let held = turns.enter(&id).turn().now_or_never().unwrap();
        let waits = turns.enter(&id).turn();
        assert!(waits.now_or_never().is_none());
        drop(held);
        assert_eq!(format!("{turns:?}"), "Turns(0)");
        assert!(turns.enter(&id).turn().now_or_never().is_some());
    }
}
