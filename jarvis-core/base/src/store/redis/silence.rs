//! [`Silence`]: how long a connection has not answered.

use std::time::Duration;

use crate::clock::Monotonic;
use crate::sync::Mutex;

/// A time in which answers were late and none came, put together from what late calls tell.
#[derive(Debug, Default)]
pub(super) struct Silence(Mutex<Option<Span>>);

#[derive(Debug, Clone, Copy)]
struct Span {
    /// How many answers had come before it.
    after: u64,
    since: Monotonic,
    /// When somebody last gave up.
    until: Monotonic,
}

impl Silence {
    /// For how long nothing has come, as far as late calls know: one that asked at `asked` gives up
    /// now, and `after` answers have come so far. Calls that wait for less than `patience` together
    /// know what one that waits for all of it knows; between two that were further apart there is
    /// no telling.
    pub(super) fn lasts(
        &self,
        after: u64,
        asked: Monotonic,
        now: Monotonic,
        patience: Duration,
    ) -> Duration {
        let mut silence = self.0.lock();
        let known = silence.filter(|it| it.after == after && asked <= it.until + patience);
        let since = known.map_or(asked, |it| it.since.min(asked));
        *silence = Some(Span { after, since, until: now });
        now.saturating_since(since)
    }
}
