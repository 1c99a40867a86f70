//! Group commit: 64 callers at once through the store, against one commit a row and against one
//! thread that commits batches of 64, on the same disk in the same run.
//!
//! `cargo bench -p jarvis-benches --bench group_commit [-- FOLDER]`
//!
//! Five interleaved rounds; medians with their spread. Where one commit costs 1 ms or more the
//! callers must reach 20 times its rate, else half the rate of the one thread with batches. Ends
//! with exit code 1 when they do not.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench talks to a person")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use jarvis_core::Result;
use jarvis_core::clock::{Clock, SystemClock};
use jarvis_core::store::sqlite::{Options, Sqlite};
use jarvis_core::testkit::rows::Rows;

const ROUNDS: usize = 5;
const CALLERS: usize = 64;
const ROWS_A_CALLER: usize = 100;
const SINGLE_ROWS: usize = 400;
const BATCHES: usize = 100;
const BODY: &str = "a row of about the size of an attempt in the ledger, or of a small event";

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The magic number of tmpfs, from statfs(2): it syncs nothing.
const TMPFS: i64 = 0x0102_1994;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("group_commit: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool, Failure> {
    let folder = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let folder = folder.map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    std::fs::create_dir_all(&folder)?;
    if rustix::fs::statfs(&folder)?.f_type == TMPFS {
        return Err(format!(
            "{} is a tmpfs, which syncs nothing; name a folder on a disk",
            folder.display()
        )
        .into());
    }
    let scratch = tempfile::tempdir_in(&folder)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;

    let (mut single, mut batched, mut grouped) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let file = |name: &str| scratch.path().join(format!("{name}-{round}.db"));
        single.push(raw(&file("single"), SINGLE_ROWS, 1)?);
        grouped.push(runtime.block_on(callers(&file("grouped")))?);
        batched.push(raw(&file("batched"), BATCHES, 64)?);
    }
    Ok(report(&single, &grouped, &batched))
}

fn rate(rows: usize, took: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a few thousand rows")]
    let rows = rows as f64;
    rows / took.as_secs_f64()
}

/// One thread on a plain connection with the store's settings.
fn raw(file: &Path, commits: usize, rows: usize) -> Result<f64, Failure> {
    let clock = SystemClock::new();
    let connection = rusqlite::Connection::open(file)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch("CREATE TABLE rows (id INTEGER PRIMARY KEY, body TEXT) STRICT")?;
    let started = clock.monotonic();
    for _ in 0..commits {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        for _ in 0..rows {
            connection.prepare_cached("INSERT INTO rows (body) VALUES (?1)")?.execute([BODY])?;
        }
        connection.execute_batch("COMMIT")?;
    }
    Ok(rate(commits * rows, clock.monotonic().saturating_since(started)))
}

/// Callers that each wait for their row to be acknowledged before they send the next.
async fn callers(file: &Path) -> Result<f64, Failure> {
    let clock = SystemClock::new();
    let rows = Rows::new(&Sqlite::open(file, &Options::new())?);
    rows.append("first use makes the table").await?;
    let started = clock.monotonic();
    let tasks: Vec<_> = (0..CALLERS)
        .map(|_| {
            let rows = rows.clone();
            tokio::spawn(async move {
                for _ in 0..ROWS_A_CALLER {
                    rows.append(BODY).await?;
                }
                Ok::<(), jarvis_core::Error>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    let took = clock.monotonic().saturating_since(started);
    let stored = rows.all().await?.len();
    if stored != CALLERS * ROWS_A_CALLER + 1 {
        return Err(format!("{stored} rows are there").into());
    }
    Ok(rate(CALLERS * ROWS_A_CALLER, took))
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn line(name: &str, rates: &[f64]) {
    let (low, high) = rates
        .iter()
        .fold((f64::MAX, 0.0_f64), |(low, high), rate| (low.min(*rate), high.max(*rate)));
    println!("{name:<34} {:>9.0} rows/s  ({low:.0} to {high:.0})", median(rates));
}

fn report(single: &[f64], grouped: &[f64], batched: &[f64]) -> bool {
    line("one commit a row, one thread", single);
    line("64 callers through the store", grouped);
    line("one thread, batches of 64", batched);
    let ratios = |base: &[f64]| -> Vec<f64> {
        grouped.iter().zip(base).map(|(group, base)| group / base).collect()
    };
    let (over_single, over_batched) = (ratios(single), ratios(batched));
    let commit_ms = 1_000.0 / median(single);
    println!("one commit costs {commit_ms:.2} ms");
    spread("64 callers / one commit a row", &over_single);
    spread("64 callers / batches of 64", &over_batched);
    let (reached, wanted, what) = if commit_ms >= 1.0 {
        (median(&over_single), 20.0, "one commit a row")
    } else {
        (median(&over_batched), 0.5, "one thread with batches of 64")
    };
    let passed = reached >= wanted;
    println!(
        "{}: {reached:.2}x {what}, {wanted}x is wanted",
        if passed { "passed" } else { "missed" }
    );
    passed
}

fn spread(name: &str, ratios: &[f64]) {
    let (low, high) = ratios
        .iter()
        .fold((f64::MAX, 0.0_f64), |(low, high), ratio| (low.min(*ratio), high.max(*ratio)));
    println!("{name:<34} {:>9.2}x        ({low:.2} to {high:.2})", median(ratios));
}
