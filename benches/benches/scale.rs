//! Scale: 10,000 plain HTTP targets every 30 s, with history, event log and metrics: SQLite keeps
//! what happens, and a scraper asks every 15 s. At most 40 MB resident, 3,000 bytes of heap a target,
//! and 6 % of a core; the 99th percentile of the probes' lateness at most 20 ms, or twice that of bare tokio
//! timers that do nothing else in the same run; a scrape takes at most 25 ms.
//!
//! `cargo bench -p jarvis-benches --bench scale [-- SECONDS]`
//!
//! The targets are served by another process (this program again). Measured after one interval of
//! warming up, in five windows; each window's lateness is compared with the timers of that window.
//! Memory is sampled every second and the largest sample counts. It grows for ten minutes, until
//! each target has its last 20 results: that long it measures unless told otherwise. Ends with exit
//! code 1 when a limit is exceeded.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench talks to a person")]
#![expect(clippy::disallowed_methods, reason = "real time is what is measured")]

use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jarvis_benches::{Failure, SERVE, Server, Spread, Usage, serve_for_parent};
use jarvis_core::clock::SystemClock;
use jarvis_core::events::{EventBus, EventLog, Filter, MemoryBus, Retention};
use jarvis_core::health::aggregator::{Aggregator, CheckSpec, ServiceSpec};
use jarvis_core::health::http::{HttpConfig, HttpProbe};
use jarvis_core::health::uptime::SqliteHistory;
use jarvis_core::metrics::Scrape;
use jarvis_core::store::sqlite::{Options, Sqlite};

const TARGETS: usize = 10_000;
const PORTS: usize = 16;
const WINDOWS: u32 = 5;
const WARM_UP: Duration = Duration::from_secs(35);
const MEASURED: Duration = Duration::from_secs(610);
const SCRAPE_EVERY: Duration = Duration::from_secs(15);
const MB: f64 = 1e6;

const MOST_MB: f64 = 40.0;
const MOST_BYTES_A_TARGET: f64 = 3_000.0;
const MOST_CPU_PERCENT: f64 = 6.0;
const MOST_LATE_MS: f64 = 20.0;
const MOST_SCRAPE_MS: f64 = 25.0;

fn main() -> ExitCode {
    let argument = std::env::args().nth(1).unwrap_or_default();
    let outcome =
        if argument == SERVE { serve_for_parent(PORTS) } else { run(argument.parse().ok()) };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("scale: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run(seconds: Option<u64>) -> Result<bool, Failure> {
    let (_server, addresses) = Server::start()?;
    let base = Usage::of(std::process::id())?;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let file = Sqlite::open(folder.path().join("history.db"), &Options::new())?;
    let clock: Arc<SystemClock> = Arc::new(SystemClock::new());
    let bus = Arc::new(MemoryBus::new(clock.clone(), "bench"));
    let log = EventLog::new(&file, clock.clone(), Retention::new());
    let events = bus.subscribe(Filter::all()).await?;
    tokio::spawn(async move { log.record(events, std::future::pending()).await });
    let aggregator = Aggregator::new(clock, bus);
    aggregator.set_history(Arc::new(SqliteHistory::new(&file)));
    let services = (0..TARGETS).zip(addresses.iter().cycle()).map(|(number, address)| {
        let probe = HttpProbe::new(&HttpConfig::new(format!("http://{address}/health")))?;
        let check = CheckSpec::new("http".parse()?, Arc::new(probe));
        Ok(ServiceSpec::new(format!("target-{number}").parse()?, vec![check]))
    });
    aggregator.apply(services.collect::<Result<_, Failure>>()?)?;
    let running = aggregator.clone();
    let task = tokio::spawn(async move { running.run(std::future::pending()).await });
    tokio::time::sleep(WARM_UP).await;
    let length = seconds.map_or(MEASURED, Duration::from_secs);
    let good = measure(&aggregator, base, length).await?;
    task.abort();
    Ok(good)
}

/// The largest amounts of memory, in bytes, looked at every second.
#[derive(Default)]
struct Memory {
    resident: AtomicU64,
    private: AtomicU64,
}

async fn watch_memory(most: Arc<Memory>) -> Result<(), Failure> {
    loop {
        let usage = Usage::of(std::process::id())?;
        most.resident.fetch_max(usage.resident, Ordering::Relaxed);
        most.private.fetch_max(usage.private, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Takes a scrape as `/metrics` serves it: the text is written on a thread of its own, in pieces.
/// Gives the milliseconds that it takes, and the bytes.
async fn scrape(aggregator: &Aggregator) -> Result<(f64, usize), Failure> {
    let began = Instant::now();
    let scrape = Scrape::new(aggregator);
    let bytes = tokio::task::spawn_blocking(move || {
        let mut counted = Counted::default();
        scrape.write_to(&mut counted).map(|()| counted.bytes)
    });
    let bytes = bytes.await??;
    Ok((began.elapsed().as_secs_f64() * 1_000.0, bytes))
}

/// Takes pieces of 64 KiB and forgets them, as a socket does.
#[derive(Default)]
struct Counted {
    piece: String,
    bytes: usize,
}

impl fmt::Write for Counted {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes += text.len();
        if self.piece.len() + text.len() > 64 * 1_024 {
            self.piece.clear();
        }
        self.piece.push_str(text);
        Ok(())
    }
}

/// What was seen in all windows.
#[derive(Default)]
struct Seen {
    cpu: Vec<f64>,
    timers: Vec<f64>,
    rates: Vec<f64>,
    scrapes: Vec<f64>,
    scraped: usize,
}

async fn measure(aggregator: &Aggregator, base: Usage, length: Duration) -> Result<bool, Failure> {
    let window = length / WINDOWS;
    let (mut seen, most) = (Seen::default(), Arc::new(Memory::default()));
    let watching = tokio::spawn(watch_memory(Arc::clone(&most)));
    for _ in 0..WINDOWS {
        let (before, began) = (Usage::of(std::process::id())?, Instant::now());
        let probes = aggregator.loop_stats().probes;
        let mut timers = tokio::task::spawn_blocking(move || bare_timers(window));
        let late = loop {
            tokio::select! {
                late = &mut timers => break late??,
                () = tokio::time::sleep(SCRAPE_EVERY) => {
                    let (took, bytes) = scrape(aggregator).await?;
                    seen.scrapes.push(took);
                    seen.scraped = bytes;
                }
            }
        };
        seen.timers.push(late);
        let (after, took) = (Usage::of(std::process::id())?, began.elapsed());
        seen.cpu.push((after.cpu - before.cpu).as_secs_f64() / took.as_secs_f64() * 100.0);
        seen.rates.push((aggregator.loop_stats().probes - probes) as f64 / took.as_secs_f64());
    }
    watching.abort();
    Ok(report(aggregator, base, &most, window, &seen))
}

fn report(
    aggregator: &Aggregator,
    base: Usage,
    most: &Memory,
    window: Duration,
    seen: &Seen,
) -> bool {
    let snapshot = aggregator.snapshot();
    let stats = snapshot.loop_stats;
    let (late, bare) = (stats.lateness_p99.as_secs_f64() * 1_000.0, Spread::of(&seen.timers));
    let (cpu, scrapes) = (Spread::of(&seen.cpu), Spread::of(&seen.scrapes));
    let private = most.private.load(Ordering::Relaxed);
    let a_target = private.saturating_sub(base.private) as f64 / TARGETS as f64;
    let resident = most.resident.load(Ordering::Relaxed) as f64 / MB;
    println!(
        "{TARGETS} HTTP targets every 30 s, history, event log and metrics on, {WINDOWS} windows of {window:?}:"
    );
    println!("  healthy        {} of {TARGETS}", snapshot.platform.healthy);
    println!("  probes a s     {}", Spread::of(&seen.rates));
    println!(
        "  resident       {resident:.1} MB at most, {:.1} MB of it heap and stacks ({:.1} MB before the targets)",
        private as f64 / MB,
        base.resident as f64 / MB
    );
    println!("  a target       {a_target:.0} bytes of heap");
    println!("  CPU            {cpu} % of a core");
    println!(
        "  lateness p99   {late:.1} ms since the start, p50 {:?}, max {:?}",
        stats.lateness_p50, stats.lateness_max
    );
    println!("  bare timer p99 {bare} ms");
    println!(
        "  scrape         {scrapes} ms, {:.1} MB of text, {} scrapes",
        seen.scraped as f64 / MB,
        seen.scrapes.len()
    );
    println!("  dropped        {} minutes, {} events", stats.dropped_minutes, stats.dropped_events);
    let limits = [
        ("all targets are healthy", snapshot.platform.healthy == TARGETS),
        ("at most 40 MB resident", resident <= MOST_MB),
        ("at most 3,000 bytes of heap a target", a_target <= MOST_BYTES_A_TARGET),
        ("at most 6 % of a core", cpu.median <= MOST_CPU_PERCENT),
        ("p99 at most 20 ms late", late <= MOST_LATE_MS || late <= 2.0 * bare.median),
        ("a scrape takes at most 25 ms", scrapes.median <= MOST_SCRAPE_MS),
    ];
    for (what, reached) in limits {
        println!("  {what}: {}", if reached { "reached" } else { "MISSED" });
    }
    limits.iter().all(|(_, reached)| *reached)
}

/// The 99th percentile, in ms, of how late plain timers wake that are due every 50 ms, on a thread
/// and runtime of their own.
fn bare_timers(length: Duration) -> Result<f64, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async {
        let (end, mut late) = (Instant::now() + length, Vec::new());
        while Instant::now() < end {
            let due = tokio::time::Instant::now() + Duration::from_millis(50);
            tokio::time::sleep_until(due).await;
            late.push(due.elapsed().as_secs_f64() * 1_000.0);
        }
        late.sort_by(f64::total_cmp);
        Ok(late[late.len() * 99 / 100])
    })
}
