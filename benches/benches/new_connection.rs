//! New connections: 64 HTTP targets through the public aggregator with an interval of 1 ms (what
//! can't be made in time is skipped), history on, against a bare hyper loop with 64 connections,
//! and against prometheus-blackbox-exporter asked by 64 clients.
//!
//! `cargo bench -p jarvis-benches --bench new_connection`
//!
//! Five interleaved rounds of four seconds each; medians with their spread. The aggregator must
//! reach 85 % of the bare loop and four times the exporter, at a fifth of its CPU for each probe.
//! Ends with exit code 1 when it does not.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench talks to a person")]
#![expect(clippy::disallowed_methods, reason = "real time is what is measured")]

use std::net::SocketAddr;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper_util::rt::TokioIo;
use jarvis_benches::{Failure, SERVE, Server, Spread, Usage, serve_for_parent};
use jarvis_core::clock::SystemClock;
use jarvis_core::events::MemoryBus;
use jarvis_core::health::aggregator::{Aggregator, CheckPolicy, CheckSpec, ServiceSpec};
use jarvis_core::health::http::{HttpConfig, HttpProbe};
use jarvis_core::health::uptime::SqliteHistory;
use jarvis_core::store::sqlite::{Options, Sqlite};
use tokio::net::TcpStream;

const ROUNDS: usize = 5;
const TARGETS: usize = 64;
const WARM_UP: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_secs(4);

fn main() -> ExitCode {
    let serves = std::env::args().nth(1).is_some_and(|argument| argument == SERVE);
    match if serves { serve_for_parent(TARGETS) } else { run() } {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("new_connection: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Probes a second, and microseconds of CPU for each.
type Pace = (f64, f64);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn run() -> Result<bool, Failure> {
    let (_server, targets) = Server::start()?;
    let exporter = Exporter::start().await?;
    let (mut ours, mut bare, mut peer) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(jarvis(&targets).await?);
        bare.push(loops(&targets, std::process::id(), |_| "/".to_owned()).await?);
        let probe = |target: SocketAddr| format!("/probe?module=http_2xx&target=http://{target}/");
        let asked = vec![exporter.address; TARGETS];
        let mut all = targets.iter().cycle();
        let paths: Vec<_> =
            asked.iter().map(|_| all.next().map_or_else(String::new, |t| probe(*t))).collect();
        peer.push(loops(&asked, exporter.child.id(), |number| paths[number].clone()).await?);
    }
    Ok(report(&ours, &bare, &peer))
}

fn report(ours: &[Pace], bare: &[Pace], peer: &[Pace]) -> bool {
    let line = |name: &str, paces: &[Pace]| {
        let rates: Vec<_> = paces.iter().map(|pace| pace.0).collect();
        let costs: Vec<_> = paces.iter().map(|pace| pace.1).collect();
        println!(
            "  {name:<18} {} probes a s, {} us of CPU each",
            Spread::of(&rates),
            Spread::of(&costs)
        );
    };
    println!("{TARGETS} HTTP targets, a new connection for each probe:");
    line("jarvis", ours);
    line("bare hyper", bare);
    line("blackbox exporter", peer);
    let ratio = |over: &[Pace], pick: fn(&Pace) -> f64| {
        Spread::of(&ours.iter().zip(over).map(|(a, b)| pick(a) / pick(b)).collect::<Vec<_>>())
    };
    let (of_bare, of_peer) = (ratio(bare, |pace| pace.0), ratio(peer, |pace| pace.0));
    let cost = ratio(peer, |pace| pace.1);
    println!("  rate / bare hyper  {of_bare}   (at least 0.85)");
    println!("  rate / exporter    {of_peer}   (at least 4)");
    println!("  CPU / exporter     {cost}   (at most 0.2)");
    of_bare.median >= 0.85 && of_peer.median >= 4.0 && cost.median <= 0.2
}

/// Measures what `count` grows by, and what the process spends meanwhile.
async fn measure(pid: u32, count: impl Fn() -> u64) -> Result<Pace, Failure> {
    tokio::time::sleep(WARM_UP).await;
    let (usage, before, began) = (Usage::of(pid)?, count(), Instant::now());
    tokio::time::sleep(MEASURED).await;
    let (cpu, made, took) = (Usage::of(pid)?.cpu - usage.cpu, count() - before, began.elapsed());
    let made = made as f64;
    Ok((made / took.as_secs_f64(), cpu.as_secs_f64() * 1e6 / made))
}

async fn jarvis(targets: &[SocketAddr]) -> Result<Pace, Failure> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let history =
        SqliteHistory::new(&Sqlite::open(folder.path().join("history.db"), &Options::new())?);
    let clock: Arc<SystemClock> = Arc::new(SystemClock::new());
    let aggregator = Aggregator::new(clock.clone(), Arc::new(MemoryBus::new(clock, "bench")));
    aggregator.set_history(Arc::new(history));
    let policy = CheckPolicy { interval: Duration::from_millis(1), ..CheckPolicy::default() };
    let services = targets.iter().enumerate().map(|(number, target)| {
        let probe = HttpProbe::new(&HttpConfig::new(format!("http://{target}/")))?;
        let check = CheckSpec::new("http".parse()?, Arc::new(probe)).with_policy(policy.clone());
        Ok(ServiceSpec::new(format!("target-{number}").parse()?, vec![check]))
    });
    aggregator.apply(services.collect::<Result<_, Failure>>()?)?;
    let running = aggregator.clone();
    let task = tokio::spawn(async move { running.run(std::future::pending()).await });
    let pace = measure(std::process::id(), || aggregator.loop_stats().probes).await?;
    let snapshot = aggregator.snapshot();
    task.abort();
    if snapshot.platform.healthy != TARGETS {
        return Err(format!("not all targets are healthy: {:?}", snapshot.platform).into());
    }
    Ok(pace)
}

/// A connection, a request, the whole answer, over and over on each address.
async fn loops(
    addresses: &[SocketAddr],
    pid: u32,
    path: impl Fn(usize) -> String,
) -> Result<Pace, Failure> {
    let made = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for (number, address) in addresses.iter().copied().enumerate() {
        let (path, made) = (path(number), Arc::clone(&made));
        tasks.spawn(async move {
            loop {
                ask(address, &path).await?;
                made.fetch_add(1, Ordering::Relaxed);
            }
            #[expect(unreachable_code, reason = "names the type of the error")]
            Ok::<(), Failure>(())
        });
    }
    let pace = measure(pid, || made.load(Ordering::Relaxed)).await?;
    if let Some(ended) = tasks.try_join_next() {
        ended??;
    }
    Ok(pace)
}

async fn ask(address: SocketAddr, path: &str) -> Result<(), Failure> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request =
        Request::get(path).header("host", address.to_string()).body(Empty::<Bytes>::new())?;
    let exchange = async move {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        answer.into_body().collect().await?;
        Ok::<_, hyper::Error>(status)
    };
    let (status, _closed) = tokio::join!(exchange, connection);
    if status?.is_success() { Ok(()) } else { Err("not a 200".into()) }
}

struct Exporter {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Drop for Exporter {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Exporter {
    async fn start() -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("blackbox.yml");
        std::fs::write(
            &config,
            "modules:\n  http_2xx:\n    prober: http\n    timeout: 5s\n    http:\n      preferred_ip_protocol: ip4\n",
        )?;
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let child = Command::new("prometheus-blackbox-exporter")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| {
                format!(
                    "prometheus-blackbox-exporter (Debian package) could not be started: {error}"
                )
            })?;
        let exporter = Self { child, address, _folder: folder };
        for _ in 0..100 {
            if TcpStream::connect(address).await.is_ok() {
                return Ok(exporter);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err("prometheus-blackbox-exporter does not listen".into())
    }
}
