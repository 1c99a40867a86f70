//! Sessions while Redis is gone: killed, and hung (SIGSTOP). The first error within 1.2 s, the next
//! within 5 ms each, and back within 2.5 s of the server's first answer.
//!
//! `cargo bench -p jarvis-benches --bench redis_down`
//!
//! Five rounds of both, the worst of each counts. Ends with exit code 1 when a limit is missed.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench talks to a person")]
#![expect(clippy::disallowed_methods, reason = "real time is what is measured")]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jarvis_benches::redis::RedisServer;
use jarvis_benches::{Failure, Spread};
use jarvis_core::clock::SystemClock;
use jarvis_core::session::{NewSession, RedisSessions, SessionId, SessionPolicy, SessionStore};
use jarvis_core::store::redis::{Options, Redis};
use rustix::process::{Pid, Signal, kill_process};

const ROUNDS: usize = 5;
/// How long it is gone after the first error.
const GONE: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("redis_down: {error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Clone, Copy)]
enum Trouble {
    Killed,
    Hung,
}

/// In milliseconds.
#[derive(Default)]
struct Times {
    first: Vec<f64>,
    next: Vec<f64>,
    back: Vec<f64>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn run() -> Result<bool, Failure> {
    let mut server = RedisServer::start()?;
    let clock = Arc::new(SystemClock::new());
    let redis = Redis::open(&server.url(), &Options::new(), clock.clone())?;
    let store = RedisSessions::new(&redis, SessionPolicy::new(), clock)?;
    let mut good = true;
    for (name, trouble) in [("killed", Trouble::Killed), ("hung", Trouble::Hung)] {
        let mut times = Times::default();
        for _ in 0..ROUNDS {
            round(&mut server, &store, trouble, &mut times).await?;
        }
        good &= report(name, &times);
    }
    Ok(good)
}

fn report(name: &str, times: &Times) -> bool {
    let [first, next, back] = [&times.first, &times.next, &times.back].map(|all| Spread::of(all));
    let reached = first.max < 1_200.0 && next.max < 5.0 && back.max < 2_500.0;
    println!("{name}, {ROUNDS} rounds, in ms:");
    println!("  first error                 {first}   (under 1,200)");
    println!("  each of {:>6} errors after  {next}   (under 5)", times.next.len());
    println!("  back after the first answer {back}   (under 2,500)");
    println!("  {}", if reached { "reached" } else { "MISSED" });
    reached
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1_000.0
}

async fn round(
    server: &mut RedisServer,
    store: &RedisSessions,
    trouble: Trouble,
    times: &mut Times,
) -> Result<(), Failure> {
    let id = store.create(NewSession::new()).await?.id;
    begin(server, trouble)?;
    let began = Instant::now();
    if store.load(&id).await.is_ok() {
        return Err("a Redis that is gone gave an answer".into());
    }
    times.first.push(millis(began));
    let gone = Instant::now();
    while gone.elapsed() < GONE {
        let asked = Instant::now();
        if store.load(&id).await.is_ok() {
            return Err("a Redis that is gone gave an answer".into());
        }
        times.next.push(millis(asked));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    end(server, trouble)?;
    times.back.push(back(store, &id).await?);
    Ok(())
}

fn begin(server: &mut RedisServer, trouble: Trouble) -> Result<(), Failure> {
    match trouble {
        Trouble::Killed => server.kill(),
        Trouble::Hung => signal(server, Signal::STOP)?,
    }
    Ok(())
}

/// Until the server answers others again.
fn end(server: &mut RedisServer, trouble: Trouble) -> Result<(), Failure> {
    match trouble {
        Trouble::Killed => server.start_again(),
        Trouble::Hung => signal(server, Signal::CONT),
    }
}

fn signal(server: &RedisServer, signal: Signal) -> Result<(), Failure> {
    let pid = server.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    Ok(kill_process(pid.ok_or("no server")?, signal)?)
}

/// How long until a load is answered.
async fn back(store: &RedisSessions, id: &SessionId) -> Result<f64, Failure> {
    let began = Instant::now();
    while store.load(id).await.is_err() {
        if began.elapsed() > PATIENCE {
            return Err("it does not come back".into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(millis(began))
}
