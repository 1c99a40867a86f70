//! A million keys in Redis: how long a tag's invalidation takes, and what an invalidation by
//! pattern does to somebody else's reads, beside `KEYS` in the same run.
//!
//! `cargo bench -p jarvis-benches --bench cache_invalidation [-- KEYS]`
//!
//! Ends with exit code 1 when 99 of 100 invalidations of a tag that 100,000 entries have take 1 ms
//! or more, or p99.9 of the other client's reads is over 10 ms while a pattern is invalidated.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench talks to a person")]

use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jarvis_benches::Failure;
use jarvis_core::cache::{Cache, CachePolicy, Entry, RedisCache, SetOptions};
use jarvis_core::clock::{Clock, ClockExt, SystemClock};
use jarvis_core::store::redis::{Options, Redis};

const ROUNDS: usize = 5;
const INVALIDATIONS: usize = 200;
const TAG_LIMIT: Duration = Duration::from_millis(1);
const READ_LIMIT: Duration = Duration::from_millis(10);

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cache_invalidation: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn serve(socket: &Path) -> Result<Server, Failure> {
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]).arg(socket);
    Ok(Server(command.stdout(Stdio::null()).spawn()?))
}

fn run() -> Result<bool, Failure> {
    let keys = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let keys: usize = keys.map_or(Ok(1_000_000), |keys| keys.parse())?;
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("sock");
    let _server = serve(&socket)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(&socket, keys))
}

fn open(socket: &Path) -> Result<RedisCache, Failure> {
    let clock = Arc::new(SystemClock::new());
    let options = Options::new().with_deadline(Duration::from_secs(5));
    let redis = Redis::open(&format!("unix:{}", socket.display()), &options, clock.clone())?;
    let policy = CachePolicy::new("bench").with_strict(true).with_deadline(Duration::from_secs(5));
    Ok(RedisCache::new(&redis, policy, clock)?)
}

async fn answers(cache: &RedisCache) -> Result<(), Failure> {
    let clock = SystemClock::new();
    for _ in 0..1_000 {
        if cache.exists("any").await.is_ok() {
            return Ok(());
        }
        clock.sleep(Duration::from_millis(10)).await;
    }
    Err("redis-server does not answer".into())
}

/// Every tenth key has the tag.
async fn fill(cache: &RedisCache, keys: usize) -> Result<(), Failure> {
    let hour = SetOptions::new().with_ttl(Duration::from_secs(3_600));
    for tenth in 0..10 {
        let options = if tenth == 0 { hour.clone().with_tag("tag") } else { hour.clone() };
        let numbers: Vec<usize> = (tenth..keys).step_by(10).collect();
        for chunk in numbers.chunks(5_000) {
            let entries = chunk.iter().map(|key| Entry::new(format!("k:{key}"), "a small value"));
            cache.set_many(entries.collect(), options.clone()).await?;
        }
    }
    Ok(())
}

async fn measure(socket: &Path, keys: usize) -> Result<bool, Failure> {
    let cache = open(socket)?;
    answers(&cache).await?;
    fill(&cache, keys).await?;
    println!("{keys} keys, every tenth with a tag; {ROUNDS} rounds");
    let tags = tags(&cache).await?;
    let (mut quiet, mut patterns, mut blocking) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        quiet.extend(beside(socket, async { Ok(()) }).await?);
        let pattern = format!("k:{}*", 11 * (round + 1));
        let walk = async {
            let took = timed(cache.invalidate_pattern(&pattern)).await;
            println!("  {pattern}: {} keys in {:.0?}", took.0?, took.1);
            Ok(())
        };
        patterns.extend(beside(socket, walk).await?);
        blocking.extend(beside(socket, list(socket)).await?);
    }
    let ok = [
        told("invalidating a tag", &tags, 0.99, TAG_LIMIT),
        told("reads beside nothing", &quiet, 0.999, Duration::MAX),
        told("reads beside an invalidation by pattern", &patterns, 0.999, READ_LIMIT),
        told("reads beside KEYS, for comparison", &blocking, 0.999, Duration::MAX),
    ];
    Ok(ok.into_iter().all(|ok| ok))
}

async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let clock = SystemClock::new();
    let before = clock.monotonic();
    let output = work.await;
    (output, clock.monotonic().saturating_since(before))
}

/// Invalidates the tag of a tenth of all keys, and then a tag that was used anew each time.
async fn tags(cache: &RedisCache) -> Result<Vec<Duration>, Failure> {
    let mut took = Vec::new();
    assert!(cache.get("k:0").await?.is_some() && cache.get("k:10").await?.is_some());
    for _ in 0..INVALIDATIONS {
        let (done, time) = timed(cache.invalidate_tag("tag")).await;
        done?;
        took.push(time);
        assert!(cache.get("k:0").await?.is_none() && cache.get("k:10").await?.is_none());
        let tagged = SetOptions::new().with_tag("tag");
        cache.set("k:0", "anew".into(), tagged.clone()).await?;
        cache.set("k:10", "anew".into(), tagged).await?;
    }
    Ok(took)
}

/// What `KEYS` does: nobody is served until it has looked at all.
async fn list(socket: &Path) -> Result<(), Failure> {
    let mut command = Command::new("redis-cli");
    command.arg("-s").arg(socket).args(["KEYS", "jarvis:c:{bench:nothing*"]);
    let listed = tokio::task::spawn_blocking(move || command.stdout(Stdio::null()).status());
    if listed.await??.success() { Ok(()) } else { Err("redis-cli failed".into()) }
}

/// How long each read of another client took while that ran, and for a second at least.
async fn beside(
    socket: &Path,
    work: impl Future<Output = Result<(), Failure>>,
) -> Result<Vec<Duration>, Failure> {
    let over = Arc::new(AtomicBool::new(false));
    let (reader, ending) = (open(socket)?, Arc::clone(&over));
    let reading = std::thread::spawn(move || -> Result<Vec<Duration>, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut took = Vec::new();
            reader.get("k:1").await?;
            while !ending.load(Ordering::Relaxed) {
                let (read, time) = timed(reader.get("k:1")).await;
                read?;
                took.push(time);
            }
            Ok(took)
        })
    });
    let done = work.await;
    SystemClock::new().sleep(Duration::from_secs(1)).await;
    over.store(true, Ordering::Relaxed);
    done?;
    let joined = tokio::task::spawn_blocking(move || reading.join()).await?;
    joined.map_err(|_| "the reader ended")?
}

fn told(what: &str, took: &[Duration], share: f64, limit: Duration) -> bool {
    let mut sorted = took.to_vec();
    sorted.sort_unstable();
    let at = |share: f64| {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index"
        )]
        let index = (sorted.len() as f64 * share) as usize;
        sorted.get(index.min(sorted.len() - 1)).copied().unwrap_or_default()
    };
    let reached = at(share) < limit;
    println!(
        "{what}: {} calls, p50 {:.2?}, p99 {:.2?}, p99.9 {:.2?}, worst {:.2?}{}",
        sorted.len(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
        if reached { "" } else { ": MISSED" }
    );
    reached
}
