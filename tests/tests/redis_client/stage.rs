//! What these tests share.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jarvis_core::clock::{Clock, SystemClock};
use jarvis_core::store::redis::{Options, Redis};
use jarvis_core::testkit::redis::{Repeat, call};
use jarvis_core::{Error, Result};

pub(crate) fn open(url: &str) -> Redis {
    open_with(url, &Options::new())
}

pub(crate) fn open_with(url: &str, options: &Options) -> Redis {
    Redis::open(url, options, Arc::new(SystemClock::new())).expect("a URL")
}

pub(crate) async fn get(redis: &Redis, key: &str) -> Result<Option<String>> {
    call(redis, &["GET", key], Repeat::Read).await
}

pub(crate) async fn set(redis: &Redis, key: &str, value: &str) -> Result<()> {
    call(redis, &["SET", key, value], Repeat::Idempotent).await.map(drop)
}

/// How long something took.
pub(crate) async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let clock = SystemClock::new();
    let before = clock.monotonic();
    let output = work.await;
    (output, clock.monotonic().saturating_since(before))
}

pub(crate) async fn fails<T: std::fmt::Debug>(
    work: impl Future<Output = Result<T>>,
) -> (Error, Duration) {
    let (result, took) = timed(work).await;
    (result.expect_err("the server is not there"), took)
}

/// Tries until it works; how long that took.
pub(crate) async fn recovers(redis: &Redis) -> Duration {
    let trying = async {
        for _ in 0..2_000 {
            if get(redis, "any").await.is_ok() {
                return;
            }
            jarvis_tests::targets::pause(Duration::from_millis(5)).await;
        }
        panic!("it does not come back: {:?}", redis.state());
    };
    timed(trying).await.1
}

/// A hundred calls fail, and hardly any of them waits: on a busy machine a single one may.
pub(crate) async fn fail_at_once(redis: &Redis) -> Vec<Error> {
    let (mut errors, mut times) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        let (error, took) = fails(set(redis, "a", "never")).await;
        errors.push(error);
        times.push(took);
    }
    times.sort_unstable();
    assert!(times[89] < Duration::from_millis(5), "the slow ones took {:?}", &times[89..]);
    errors
}
