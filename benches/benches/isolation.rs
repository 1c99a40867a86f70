//! Isolation: 100 targets every second, of which 5, then 30, accept and never answer. The others
//! keep at least 99 % of their rate. Monit, which probes one after the other, does the same work
//! beside it.
//!
//! `cargo bench -p jarvis-benches --bench isolation`
//!
//! The hung ones lie evenly between the others, so that a prober that goes from one to the next
//! meets both kinds in any window. Five interleaved rounds; medians with their spread. JARVIS is
//! measured for ten seconds after its first round; Monit for 26 seconds from its first probe on,
//! which is the time of five of its timeouts. A Monit that probed nothing is an error. Ends with exit code 1
//! when the others lost more than 1 %.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench talks to a person")]
#![expect(clippy::disallowed_methods, reason = "real time is what is measured")]

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jarvis_benches::{Failure, Spread};
use jarvis_core::clock::SystemClock;
use jarvis_core::events::MemoryBus;
use jarvis_core::health::aggregator::{Aggregator, CheckPolicy, CheckSpec, ServiceSpec};
use jarvis_core::health::http::{HttpConfig, HttpProbe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const ROUNDS: usize = 5;
const TARGETS: usize = 100;
const SECOND: Duration = Duration::from_secs(1);
/// The first seconds, in which the first probes are spread, are not counted.
const WARM_UP: Duration = Duration::from_secs(3);
const MEASURED: Duration = Duration::from_secs(10);
/// Monit waits five seconds for each that hangs.
const MEASURED_PEER: Duration = Duration::from_secs(26);
const PEER_STARTS: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("isolation: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn run() -> Result<bool, Failure> {
    let mut good = true;
    for hung in [5, 30] {
        let (mut ours, mut monit) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(jarvis(hung).await?);
            monit.push(peer(hung).await?);
        }
        let (ours, monit) = (Spread::of(&ours), Spread::of(&monit));
        println!("{hung} of {TARGETS} hang, share of their rate that the others keep:");
        println!("  jarvis  {ours}");
        println!("  monit   {monit}");
        println!("  ratio   {:.1}", ours.median / monit.median);
        good &= ours.median >= 0.99;
    }
    Ok(good)
}

/// Targets that count the requests to those that answer.
struct Targets {
    addresses: Vec<SocketAddr>,
    answered: Arc<AtomicUsize>,
    tasks: tokio::task::JoinSet<()>,
}

impl Targets {
    async fn new(hung: usize) -> Result<Self, Failure> {
        let (mut addresses, mut tasks) = (Vec::new(), tokio::task::JoinSet::new());
        let answered = Arc::new(AtomicUsize::new(0));
        for number in 0..TARGETS {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            addresses.push(listener.local_addr()?);
            let hangs = (number + 1) * hung / TARGETS > number * hung / TARGETS;
            let answered = (!hangs).then(|| Arc::clone(&answered));
            tasks.spawn(serve(listener, answered));
        }
        Ok(Self { addresses, answered, tasks })
    }

    /// The share of the ideal number of probes that the well ones get.
    async fn measure(&self, hung: usize, length: Duration) -> f64 {
        let before = self.answered.load(Ordering::Relaxed);
        tokio::time::sleep(length).await;
        let answered = self.answered.load(Ordering::Relaxed) - before;
        let ideal = (TARGETS - hung) as f64 * length.as_secs_f64();
        answered as f64 / ideal
    }
}

impl Drop for Targets {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}

async fn serve(listener: TcpListener, answered: Option<Arc<AtomicUsize>>) {
    let mut held = tokio::task::JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        let answered = answered.clone();
        held.spawn(async move {
            let mut head = [0_u8; 1_024];
            let _request = stream.read(&mut head).await;
            let Some(answered) = answered else { return std::future::pending().await };
            answered.fetch_add(1, Ordering::Relaxed);
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
            drop(stream.write_all(answer).await);
        });
        while held.try_join_next().is_some() {}
    }
}

async fn jarvis(hung: usize) -> Result<f64, Failure> {
    let targets = Targets::new(hung).await?;
    let clock: Arc<SystemClock> = Arc::new(SystemClock::new());
    let aggregator = Aggregator::new(clock.clone(), Arc::new(MemoryBus::new(clock, "bench")));
    let policy = CheckPolicy { interval: SECOND, interval_down: SECOND, ..CheckPolicy::default() };
    let services = targets.addresses.iter().enumerate().map(|(number, address)| {
        let probe = HttpProbe::new(&HttpConfig::new(format!("http://{address}/")))?;
        let check = CheckSpec::new("http".parse()?, Arc::new(probe)).with_policy(policy.clone());
        Ok(ServiceSpec::new(format!("target-{number}").parse()?, vec![check]))
    });
    aggregator.apply(services.collect::<Result<_, Failure>>()?)?;
    let running = aggregator.clone();
    let task = tokio::spawn(async move { running.run(std::future::pending()).await });
    tokio::time::sleep(WARM_UP).await;
    let share = targets.measure(hung, MEASURED).await;
    task.abort();
    Ok(share)
}

async fn peer(hung: usize) -> Result<f64, Failure> {
    let targets = Targets::new(hung).await?;
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let mut rules = format!(
        "set daemon 1\nset pidfile {}\nset idfile {}\nset statefile {}\n",
        path("pid").display(),
        path("id").display(),
        path("state").display()
    );
    for (number, address) in targets.addresses.iter().enumerate() {
        writeln!(
            rules,
            "check host t{number} with address 127.0.0.1\n  if failed port {} protocol http request \"/\" with timeout 5 seconds then alert",
            address.port()
        )?;
    }
    std::fs::write(path("monitrc"), rules)?;
    std::fs::set_permissions(path("monitrc"), std::fs::Permissions::from_mode(0o600))?;
    let mut monit = Command::new("monit")
        .arg("-I")
        .arg("-c")
        .arg(path("monitrc"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("monit (Debian package) could not be started: {error}"))?;
    let deadline = Instant::now() + PEER_STARTS;
    while targets.answered.load(Ordering::Relaxed) == 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let started = targets.answered.load(Ordering::Relaxed) > 0;
    let share = targets.measure(hung, MEASURED_PEER).await;
    monit.kill()?;
    monit.wait()?;
    if started { Ok(share) } else { Err("monit probed no target that answers".into()) }
}
