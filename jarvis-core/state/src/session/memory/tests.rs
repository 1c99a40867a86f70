use std::sync::Arc;

use futures_util::FutureExt;

use super::*;
use crate::session::{NewSession, Save, SaveOutcome, SessionStore};
use base::clock::ManualClock;

fn stage(policy: SessionPolicy) -> (ManualClock, MemorySessions) {
    let clock = ManualClock::new();
    let store = MemorySessions::new(policy, Arc::new(clock.clone())).unwrap();
    (clock, store)
}

fn left(store: &MemorySessions) -> (usize, usize, usize) {
    let memory = store.0.records();
    (
        memory.shards.iter().map(|shard| shard.lock().len()).sum(),
        memory.handles.iter().map(|map| map.lock().len()).sum(),
        memory.users.iter().map(|map| map.lock().len()).sum(),
    )
}

#[test]
fn every_call_is_complete_on_the_first_poll_without_a_runtime() {
    let clock = Arc::new(base::clock::SystemClock::new());
    let store = MemorySessions::new(SessionPolicy::default(), clock).unwrap();
    let user = UserId::new("ada").unwrap();
    let new = NewSession::new().with_user(user.clone());
    let made = store.create(new).now_or_never().unwrap().unwrap();
    let loaded = store.load(&made.id).now_or_never().unwrap().unwrap().unwrap();
    assert_eq!(loaded, made);
    let saved = store.save(Save::new(loaded)).now_or_never().unwrap().unwrap();
    assert!(matches!(saved, SaveOutcome::Saved(_)));
    let second = Duration::from_secs(1);
    let updated = store.update(&made.id, second, &mut |_| Ok(())).now_or_never().unwrap();
    assert_eq!(updated.unwrap().unwrap().version, 3);
    let moved = store.regenerate(&made.id, None).now_or_never().unwrap().unwrap().unwrap();
    assert_eq!(store.list(&user).now_or_never().unwrap().unwrap().len(), 1);
    assert_eq!(store.count(None).now_or_never().unwrap().unwrap(), 1);
    assert!(store.delete(&moved.id.into()).now_or_never().unwrap().unwrap());
    assert_eq!(left(&store), (0, 0, 0));
}

#[tokio::test]
async fn what_expired_is_reclaimed_without_a_task() {
    let (clock, store) = stage(SessionPolicy::default());
    for round in 0..20 {
        for n in 0..500 {
            let user = UserId::new(format!("user {}", n % 7)).unwrap();
            store.create(NewSession::new().with_user(user)).await.unwrap();
        }
        let (sessions, handles, users) = left(&store);
        assert_eq!(sessions, handles);
        assert!(users <= 7);
        assert!(sessions <= 1_000, "{sessions} sessions in round {round}");
        clock.advance(Duration::from_secs(3_600));
    }
    assert_eq!(store.count(None).await.unwrap(), 0);
    assert_eq!(left(&store), (0, 0, 0));
}

#[tokio::test]
async fn prolonging_and_shortening_keep_one_place_in_the_order() {
    let (clock, store) = stage(SessionPolicy::default());
    let made = store.create(NewSession::new()).await.unwrap();
    for seconds in [600, 10, 6_000, 9, 100, 8] {
        let ttl = Some(Duration::from_secs(seconds));
        store.extend(&made.id.clone().into(), ttl).await.unwrap().unwrap();
    }
    clock.advance(Duration::from_millis(7_999));
    assert!(store.load(&made.id).await.unwrap().is_some());
    clock.advance(Duration::from_millis(1));
    assert!(store.load(&made.id).await.unwrap().is_none());
    assert_eq!(left(&store), (0, 0, 0));
}
