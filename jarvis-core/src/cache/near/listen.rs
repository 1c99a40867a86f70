//! Hearing what others announce.

use std::sync::Arc;

use super::copies::Copies;
use crate::cache::redis::{Announcement, Change};
use crate::store::redis::{Event, Redis};

/// So many announcements may wait. When there are more, all copies go.
const CAPACITY: usize = 10_000;

/// There are copies only while this lives: when its runtime ends, nobody listens any more.
struct Hearing(Arc<Copies>);

impl Drop for Hearing {
    fn drop(&mut self) {
        self.0.deafen();
    }
}

/// Drops the copies of what others change, until it is dropped itself.
pub(super) async fn listen(redis: Redis, channel: String, own: String, copies: Arc<Copies>) {
    let hearing = Hearing(copies);
    let copies = &hearing.0;
    let mut subscription = match redis.subscribe(&[channel], &[], CAPACITY) {
        Ok(subscription) => subscription,
        Err(error) => {
            tracing::warn!(%error, "no near copies: their changes can't be listened to");
            return;
        }
    };
    // The connection to it keeps nothing of ours alive.
    drop(redis);
    loop {
        match subscription.next().await {
            Event::Restored => copies.listen(),
            Event::Lost(error) => {
                tracing::info!(%error, "near copies dropped: changes can't be heard of");
                copies.deafen();
            }
            Event::Dropped(_) => copies.forget_all(),
            Event::Message { payload, .. } => match Announcement::decode(&payload) {
                Some(announcement) if announcement.from == own => {}
                Some(announcement) => forget(copies, announcement.change),
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
