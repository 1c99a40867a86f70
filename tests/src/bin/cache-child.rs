//! A process of its own for the cache's tests: many callers that want the same key at once.
//!
//! It says `ready`, waits for a line, asks, and prints each value that a caller got, once, with
//! how many got it.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::sync::Arc;
use std::time::Duration;

use jarvis_core::cache::{Cache, CachePolicy, LoadOptions, Loader, RedisCache, loader};
use jarvis_core::clock::{ClockExt, SystemClock};
use jarvis_core::store::redis::{Options, Redis};
use jarvis_core::{Error, ErrorKind, Result};
use jarvis_tests::child::{ended, number, say};

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        [url, key, callers, millis] => ask(url, key, callers, millis).await,
        _ => Err(Error::new(ErrorKind::InvalidInput, "URL KEY CALLERS MILLISECONDS")),
    };
    ended(done)
}

fn policy(namespace: &str) -> CachePolicy {
    CachePolicy::new(namespace).with_deadline(Duration::from_secs(20)).with_strict(true)
}

/// Counts itself in the storage, takes its time, and gives the process' number.
fn counted(loads: RedisCache, key: &str, millis: u64) -> Loader {
    let key = key.to_owned();
    loader(move || {
        let (loads, key) = (loads.clone(), key.clone());
        async move {
            loads.increment(&key, 1, None).await?;
            say("loading");
            SystemClock::new().sleep(Duration::from_millis(millis)).await;
            Ok(std::process::id().to_string().into())
        }
    })
}

async fn ask(url: &str, key: &str, callers: &str, millis: &str) -> Result<()> {
    let (callers, millis) = (number(callers)?, number(millis)?);
    let clock = Arc::new(SystemClock::new());
    let redis = Redis::open(url, &Options::new(), clock.clone())?;
    let cache = RedisCache::new(&redis, policy("child"), clock.clone())?;
    let loads = RedisCache::new(&redis, policy("loads"), clock)?;
    let load = counted(loads.clone(), key, millis);
    // Connected, so that all begin at the same time.
    loads.exists(key).await?;
    say("ready");
    std::io::stdin().lock().read_line(&mut String::new())?;
    let options = LoadOptions::new().with_wait(Duration::from_secs(60));
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (cache, key, load) = (cache.clone(), key.to_owned(), Arc::clone(&load));
            let options = options.clone();
            tokio::spawn(async move { cache.get_or_load(&key, options, load).await })
        })
        .collect();
    let mut values: BTreeMap<String, u32> = BTreeMap::new();
    for task in tasks {
        let value = task.await.map_err(|error| {
            Error::new(ErrorKind::Internal, "a caller ended").with_source(error)
        })??;
        *values.entry(value.as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    for (value, callers) in values {
        say(&format!("{callers} got {value}"));
    }
    Ok(())
}
