//! Loads that something overtakes, however long they take.

use std::sync::Arc;
use std::time::Duration;

use jarvis_core::cache::{Cache, CacheValue, LoadOptions, RedisCache, loader};
use jarvis_core::clock::ManualClock;
use jarvis_tests::engines::RedisServer;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::{cache, patient, redis, text};

const LOCK: &str = "jarvis:l:{shop:k}";

/// A load of `k` that is under way.
struct Load {
    gate: Arc<Semaphore>,
    task: JoinHandle<jarvis_core::Result<CacheValue>>,
}

impl Load {
    /// Returns when it is under way.
    async fn begin(cache: &RedisCache, value: &'static str) -> Self {
        let (begun, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let load = {
            let (begun, gate) = (Arc::clone(&begun), Arc::clone(&gate));
            loader(move || {
                let (begun, gate) = (Arc::clone(&begun), Arc::clone(&gate));
                async move {
                    begun.add_permits(1);
                    gate.acquire().await.expect("the gate").forget();
                    Ok(value.into())
                }
            })
        };
        let options = LoadOptions::new().with_wait(Duration::from_millis(1));
        let cache = cache.clone();
        let task = tokio::spawn(async move { cache.get_or_load("k", options, load).await });
        begun.acquire().await.expect("a load").forget();
        Self { gate, task }
    }

    /// Lets it end; what its caller got.
    async fn end(self) -> String {
        self.gate.add_permits(1);
        let value = self.task.await.expect("a task").expect("a value");
        value.as_str().expect("UTF-8").to_owned()
    }
}

#[tokio::test]
async fn a_deletion_overtakes_a_load_of_any_length() {
    let server = RedisServer::start(&[]).await;
    let (one, other) = (cache(&server.url(), patient()), cache(&server.url(), patient()));
    let keys = ["k".to_owned()];
    for act in ["delete", "pattern", "flush"] {
        let load = Load::begin(&one, "old").await;
        match act {
            "delete" => drop(other.delete(&keys).await.expect("a count")),
            "pattern" => drop(other.invalidate_pattern("k*").await.expect("a count")),
            _ => other.flush().await.expect("flushed"),
        }
        // Whatever was left to tell the load may have run out by the time it ends.
        let _ = server.cli(&["DEL", LOCK]);
        assert_eq!(load.end().await, "old", "its caller gets it");
        assert_eq!(text(&one, "k").await, None, "{act}");
    }
}

#[tokio::test]
async fn a_load_beside_another_stores_nothing_once_that_one_was_stored_and_deleted() {
    let server = RedisServer::start(&[]).await;
    let (one, other) = (cache(&server.url(), patient()), cache(&server.url(), patient()));
    let (first, beside) = (Load::begin(&one, "first").await, Load::begin(&other, "beside").await);
    assert_eq!(first.end().await, "first");
    assert_eq!(text(&other, "k").await.as_deref(), Some("first"));
    assert_eq!(one.delete(&["k".to_owned()]).await.expect("a count"), 1);
    assert_eq!(beside.end().await, "beside");
    assert_eq!(text(&other, "k").await, None);
}

#[tokio::test]
async fn a_load_without_a_sign_of_life_is_stored_unless_somebody_took_over() {
    let server = RedisServer::start(&[]).await;
    let other = cache(&server.url(), patient());
    // By this clock it is never time to give a sign of life.
    let clock = Arc::new(ManualClock::new());
    let one = RedisCache::new(&redis(&server.url()), patient(), clock).expect("a policy");
    // 600 s remain of a turn that has just become free.
    let silence = || server.cli(&["PEXPIRE", LOCK, "599000"]);
    let silent = Load::begin(&one, "silent").await;
    assert_eq!(silence().trim(), "1");
    assert_eq!(silent.end().await, "silent");
    assert_eq!(text(&other, "k").await.as_deref(), Some("silent"));
    assert_eq!(one.delete(&["k".to_owned()]).await.expect("a count"), 1);

    let silent = Load::begin(&one, "silent").await;
    let _ = silence();
    let next = Load::begin(&other, "next").await;
    assert_eq!(silent.end().await, "silent");
    assert_eq!(text(&one, "k").await, None, "the turn is another's");
    assert_eq!(next.end().await, "next");
    assert_eq!(text(&one, "k").await.as_deref(), Some("next"));
    assert_eq!(server.cli(&["EXISTS", LOCK]).trim(), "0");
}
