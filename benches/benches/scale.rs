//! Scale: 10,000 plain HTTP targets every 30 s, history in SQLite on. At most 40 MB resident and
//! 6 % of a core; the 99th percentile of the probes' lateness at most 20 ms, or twice that of bare
//! tokio timers that do nothing else in the same run.
//!
//! `cargo bench -p jarvis-benches --bench scale [-- SECONDS]`
//!
//! The targets are served by another process (this program again). Measured after one interval of
//! warming up, in five windows; each window's lateness is compared with the timers of that window.
//! Ends with exit code 1 when a limit is exceeded.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench talks to a person")]
#![expect(clippy::disallowed_methods, reason = "real time is what is measured")]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jarvis_benches::{Failure, SERVE, Server, Spread, Usage, serve_for_parent};
use jarvis_core::clock::SystemClock;
use jarvis_core::events::MemoryBus;
use jarvis_core::health::aggregator::{Aggregator, CheckSpec, ServiceSpec};
use jarvis_core::health::http::{HttpConfig, HttpProbe};
use jarvis_core::health::uptime::SqliteHistory;
use jarvis_core::store::sqlite::{Options, Sqlite};

const TARGETS: usize = 10_000;
const PORTS: usize = 16;
const WINDOWS: u32 = 5;
const WARM_UP: Duration = Duration::from_secs(35);
const MIB: f64 = 1_048_576.0;

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
    let base = Usage::of(std::process::id())?.resident;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let history =
        SqliteHistory::new(&Sqlite::open(folder.path().join("history.db"), &Options::new())?);
    let clock: Arc<SystemClock> = Arc::new(SystemClock::new());
    let aggregator = Aggregator::new(clock.clone(), Arc::new(MemoryBus::new(clock, "bench")));
    aggregator.set_history(Arc::new(history));
    let services = (0..TARGETS).zip(addresses.iter().cycle()).map(|(number, address)| {
        let probe = HttpProbe::new(&HttpConfig::new(format!("http://{address}/health")))?;
        let check = CheckSpec::new("http".parse()?, Arc::new(probe));
        Ok(ServiceSpec::new(format!("target-{number}").parse()?, vec![check]))
    });
    aggregator.apply(services.collect::<Result<_, Failure>>()?)?;
    let running = aggregator.clone();
    let task = tokio::spawn(async move { running.run(std::future::pending()).await });
    tokio::time::sleep(WARM_UP).await;
    let good = measure(&aggregator, base, Duration::from_secs(seconds.unwrap_or(90))).await?;
    task.abort();
    Ok(good)
}

async fn measure(aggregator: &Aggregator, base: u64, length: Duration) -> Result<bool, Failure> {
    let window = length / WINDOWS;
    let (mut cpu, mut timers, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    let mut resident = 0;
    for _ in 0..WINDOWS {
        let (before, began) = (Usage::of(std::process::id())?, Instant::now());
        let probes = aggregator.loop_stats().probes;
        timers.push(tokio::task::spawn_blocking(move || bare_timers(window)).await??);
        let (after, took) = (Usage::of(std::process::id())?, began.elapsed());
        cpu.push((after.cpu - before.cpu).as_secs_f64() / took.as_secs_f64() * 100.0);
        rates.push((aggregator.loop_stats().probes - probes) as f64 / took.as_secs_f64());
        resident = resident.max(after.resident);
    }
    let snapshot = aggregator.snapshot();
    let stats = snapshot.loop_stats;
    let (late, bare) = (stats.lateness_p99.as_secs_f64() * 1_000.0, Spread::of(&timers));
    let (cpu, resident) = (Spread::of(&cpu), resident as f64 / MIB);
    println!("{TARGETS} HTTP targets every 30 s, history on, {WINDOWS} windows of {window:?}:");
    println!("  healthy        {} of {TARGETS}", snapshot.platform.healthy);
    println!("  probes a s     {}", Spread::of(&rates));
    println!(
        "  resident       {resident:.1} MiB ({:.1} MiB before the targets)",
        base as f64 / MIB
    );
    println!(
        "  a target       {:.0} bytes over that",
        (resident * MIB - base as f64) / TARGETS as f64
    );
    println!("  CPU            {cpu} % of a core");
    println!(
        "  lateness p99   {late:.1} ms since the start, p50 {:?}, max {:?}",
        stats.lateness_p50, stats.lateness_max
    );
    println!("  bare timer p99 {bare} ms");
    println!("  dropped        {} minutes, {} events", stats.dropped_minutes, stats.dropped_events);
    let on_time = late <= 20.0 || late <= 2.0 * bare.median;
    Ok(resident <= 40.0 && cpu.median <= 6.0 && on_time && snapshot.platform.healthy == TARGETS)
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
