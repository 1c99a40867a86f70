use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::FutureExt;

use super::*;
use crate::cache::{Cache, Condition, loader};
use base::clock::ManualClock;
use base::{Error, ErrorKind};

fn cache(policy: CachePolicy) -> (MemoryCache, ManualClock) {
    let clock = ManualClock::new();
    (MemoryCache::new(policy, Arc::new(clock.clone())).unwrap(), clock)
}

fn now<T>(future: impl Future<Output = Result<T>>) -> T {
    future.now_or_never().expect("complete on the first poll").unwrap()
}

#[test]
fn everything_is_complete_on_the_first_poll_without_a_runtime() {
    let (cache, clock) = cache(CachePolicy::default());
    let tagged = SetOptions::new().with_tag("t");
    assert!(now(cache.set("a", "1".into(), tagged.clone())));
    assert_eq!(now(cache.set_many(vec![Entry::new("b", "2")], tagged)), 1);
    assert_eq!(now(cache.get("a")).unwrap().as_str(), Some("1"));
    assert_eq!(now(cache.get_many(&["a".to_owned(), "x".to_owned()])).len(), 2);
    assert_eq!(now(cache.increment("n", 2, None)), 2);
    assert!(now(cache.expire("n", Lifetime::Unlimited)));
    assert_eq!(now(cache.lifetime("n")), Some(Lifetime::Unlimited));
    let load = loader(|| async { Ok("loaded".into()) });
    let options = LoadOptions::new().with_stale(Duration::from_secs(60)).with_early(1.0);
    assert_eq!(now(cache.get_or_load("l", options.clone(), Arc::clone(&load))).len(), 6);
    // Ran out, and nowhere to refresh it in the background: the caller does it.
    clock.advance(crate::cache::DEFAULT_TTL);
    now(cache.get_or_load("l", options, load));
    assert_eq!(now(cache.stats()).loads, 2);
    now(cache.invalidate_tag("t"));
    assert_eq!(now(cache.invalidate_pattern("l*")), 1);
    assert_eq!(now(cache.delete(&["n".to_owned()])), 1);
    now(cache.flush());
    now(cache.close());
}

#[test]
fn without_a_runtime_a_failed_refresh_gives_the_old_value() {
    let (cache, clock) = cache(CachePolicy::default());
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let load = loader(move || {
        let call = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            match call {
                0 => Ok("old".into()),
                _ => Err(Error::new(ErrorKind::Unavailable, "the database is down")),
            }
        }
    });
    let options = LoadOptions::new().with_stale(Duration::from_secs(60));
    now(cache.get_or_load("k", options.clone(), Arc::clone(&load)));
    clock.advance(crate::cache::DEFAULT_TTL + Duration::from_secs(59));
    let stale = now(cache.get_or_load("k", options.clone(), Arc::clone(&load)));
    assert_eq!((stale.as_str(), calls.load(Ordering::SeqCst)), (Some("old"), 2));
    clock.advance(Duration::from_secs(1));
    let late = cache.get_or_load("k", options, load).now_or_never().unwrap();
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Unavailable);
    let stats = now(cache.stats());
    assert_eq!((stats.hits, stats.stale_hits, stats.misses), (1, 1, 2));
    assert_eq!((stats.loads, stats.load_failures), (1, 2));
}

#[test]
fn what_does_not_fit_makes_room_and_is_counted() {
    let policy = CachePolicy::default().with_max_memory_bytes(1 << 20).with_max_value_bytes(10_000);
    let (cache, _) = cache(policy);
    let value = CacheValue::from(vec![7; 10_000]);
    for key in 0..1_000 {
        now(cache.set(&key.to_string(), value.clone(), SetOptions::new()));
    }
    let stats = now(cache.stats());
    let entries = stats.entries.unwrap();
    assert!((50..=102).contains(&entries), "{entries} entries of 10 kB in 1 MiB");
    assert_eq!(stats.evictions + entries, 1_000);
}

#[test]
fn what_ran_out_gives_its_room_back() {
    let clock = Arc::new(base::clock::SystemClock::new());
    let cache = MemoryCache::new(CachePolicy::default(), clock).unwrap();
    let brief = SetOptions::new().with_ttl(Duration::from_millis(1));
    now(cache.set("k", "v".into(), brief));
    now(cache.set("stays", "v".into(), SetOptions::new()));
    // Each look at the numbers lets moka do its work.
    while now(cache.stats()).entries != Some(1) {
        std::thread::yield_now();
    }
    assert_eq!(now(cache.stats()).evictions, 0);
    assert!(now(cache.exists("stays")));
}

#[test]
fn a_new_lifetime_keeps_the_time_for_stale_answers() {
    let (cache, clock) = cache(CachePolicy::default());
    let load = loader(|| async { Ok("v".into()) });
    let options = LoadOptions::new().with_stale(Duration::from_secs(60));
    now(cache.get_or_load("k", options, load));
    assert!(now(cache.expire("k", Lifetime::For(Duration::from_secs(1)))));
    clock.advance(Duration::from_secs(30));
    let failing = loader(|| async { Err(Error::new(ErrorKind::Unavailable, "down")) });
    let options = LoadOptions::new().with_stale(Duration::from_secs(60));
    assert_eq!(now(cache.get_or_load("k", options, failing)).as_str(), Some("v"));
    let absent = SetOptions::new().with_condition(Condition::IfAbsent);
    assert!(now(cache.set("k", "w".into(), absent)));
}
