//! How long an owned process takes from SIGKILL to verified, beyond what its policy asks for.
//!
//! `cargo bench -p jarvis-benches --bench heal`: five kills; what is printed is the time over
//! wait + (passes - 1) × verify_interval + the service's own start-up, measured in the same run.
//! The first attempt has no backoff. Ends with exit code 1 when the median is over 250 ms.

#![expect(clippy::print_stdout, reason = "a bench says what it measured")]

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use jarvis_core::clock::{Clock, ClockExt, SystemClock};
use jarvis_core::config::Source;
use jarvis_core::events::{Delivery, Event, Filter, Subscription};
use jarvis_core::jarvis::Jarvis;
use jarvis_core::restart::Leaving;
use rustix::process::{Pid, Signal, kill_process};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const RUNS: usize = 5;
const WAIT: Duration = Duration::from_millis(500);
const VERIFY_INTERVAL: Duration = Duration::from_millis(200);
const LIMIT: Duration = Duration::from_millis(250);
const PORT: &str = "JARVIS_BENCH_HEAL_PORT";

fn main() -> Outcome<()> {
    if let Ok(port) = std::env::var(PORT) {
        return serve(port.parse()?);
    }
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let start_up = start_up(port)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut over = runtime.block_on(heal(port, start_up))?;
    over.sort_unstable();
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let median = over[over.len() / 2];
    println!("start-up of the service: {:.1} ms", millis(start_up));
    println!(
        "SIGKILL to verified, over the policy: median {:.1} ms, {:.1} to {:.1} ms; {:.2} of the {} ms allowed",
        millis(median),
        millis(over[0]),
        millis(over[over.len() - 1]),
        median.as_secs_f64() / LIMIT.as_secs_f64(),
        LIMIT.as_millis(),
    );
    if median > LIMIT {
        return Err(format!("over the limit of {} ms", LIMIT.as_millis()).into());
    }
    Ok(())
}

/// The service: takes connections.
fn serve(port: u16) -> Outcome<()> {
    for stream in TcpListener::bind((Ipv4Addr::LOCALHOST, port))?.incoming() {
        drop(stream);
    }
    Ok(())
}

/// From the start of the service to its first answer.
fn start_up(port: u16) -> Outcome<Duration> {
    let clock = SystemClock::new();
    let began = clock.monotonic();
    let mut child = Command::new(std::env::current_exe()?).env(PORT, port.to_string()).spawn()?;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        std::thread::yield_now();
    }
    let took = clock.monotonic().saturating_since(began);
    child.kill()?;
    child.wait()?;
    Ok(took)
}

async fn heal(port: u16, start_up: Duration) -> Outcome<Vec<Duration>> {
    let folder = tempfile::tempdir()?;
    let executable = std::env::current_exe()?;
    let text = format!(
        "[jarvis]\nstate_dir = {state:?}\ninterval = \"1s\"\n\
         [service.a]\n[[service.a.check]]\ntype = \"tcp\"\naddress = \"127.0.0.1:{port}\"\n\
         [service.a.restart]\nvia = \"process\"\ncommand = [{executable:?}]\nenv = {{ {PORT} = \"{port}\" }}\n\
         wait = \"{wait}ms\"\nverify_passes = 2\nverify_interval = \"{interval}ms\"\nstabilise = \"200ms\"\n\
         max_restarts = 100\nlong_max = 100\n",
        state = folder.path(),
        wait = WAIT.as_millis(),
        interval = VERIFY_INTERVAL.as_millis(),
    );
    let jarvis = Jarvis::open(Source::empty().with_text(text))?;
    let mut events = jarvis.bus().subscribe(Filter::all()).await?;
    let (leave, left) = tokio::sync::oneshot::channel();
    let running = tokio::spawn({
        let jarvis = jarvis.clone();
        async move { jarvis.run(async { left.await.unwrap_or(Leaving::Interrupted) }).await }
    });
    let clock = SystemClock::new();
    let mut pid = verified(&mut *events).await?;
    let mut over = Vec::new();
    for _ in 0..RUNS {
        clock.sleep(Duration::from_secs(2)).await;
        let killed = clock.monotonic();
        kill_process(pid, Signal::KILL)?;
        pid = verified(&mut *events).await?;
        let took = clock.monotonic().saturating_since(killed);
        over.push(took.saturating_sub(WAIT + VERIFY_INTERVAL + start_up));
    }
    let _ = leave.send(Leaving::Interrupted);
    running.await??;
    Ok(over)
}

/// The process that was verified.
async fn verified(events: &mut dyn Subscription) -> Outcome<Pid> {
    while let Some(delivery) = events.next().await {
        if let Delivery::Event(envelope) = delivery
            && let Event::VerifyPassed { instance: Some(instance), .. } = &envelope.event
        {
            let pid = instance.as_str().split(' ').nth(1).and_then(|pid| pid.parse().ok());
            return pid.and_then(Pid::from_raw).ok_or_else(|| "no process".into());
        }
    }
    Err("the bus ended".into())
}
