//! Hearing what is announced, by others and by this cache itself.

use std::sync::Arc;

use super::copies::Copies;
use crate::cache::redis::Change;
use base::store::redis::{Event, Redis};

/// So many announcements may wait. When there are more, all copies go.
const CAPACITY: usize = 10_000;

/// There are copies only while this lives: when its runtime ends, nobody listens any more.
struct Hearing(Arc<Copies>);

impl Drop for Hearing {
    fn drop(&mut self) {
        self.0.deafen();
    }
}

/// Drops the copies of what is changed, until it is dropped itself.
///
/// Own changes too, although they were dropped when they were answered: of one whose caller went
/// away, or whose answer came too late, nothing else tells when it was applied.
pub(super) async fn listen(redis: Redis, channel: String, copies: Arc<Copies>) {
    let hearing = Hearing(copies);
    let copies = &hearing.0;
    let mut subscription = match redis.subscribe(&[channel], &[], CAPACITY) {
        Ok(subscription) => subscription,
        Err(error) => {
            tracing::warn!(%error, "near cache disabled: failed to subscribe to its invalidations");
            return;
        }
    };
    // The connection to it keeps nothing of ours alive.
    drop(redis);
    loop {
        match subscription.next().await {
            Event::Restored => copies.listen(),
            Event::Lost(error) => {
                tracing::info!(%error, "near cache cleared: the subscription to its invalidations was lost");
                copies.deafen();
            }
            Event::Dropped(_) => copies.forget_all(),
            Event::Message { payload, .. } => match Change::decode(&payload) {
                Some(change) => forget(copies, change),
                None => copies.forget_all(),
            },
        }
    }
}

fn forget(copies: &Copies, change: Change<'_>) {
    match change {
        Change::Key(key) => copies.forget(&key),
        Change::Tag(tag) => copies.forget_tag(&tag),
        Change::Pattern(pattern) => copies.forget_matching(&pattern),
        Change::Everything => copies.forget_all(),
    }
}
