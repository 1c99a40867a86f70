//! What the benches share: plain HTTP targets in a process of their own, medians with their spread,
//! and this process' own costs.

pub mod pace;
pub mod peer;
pub mod redis;

use std::convert::Infallible;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

/// Why a bench could not run.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A median with the smallest and the largest value beside it.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of at least one value.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        Self { median: at(sorted.len() / 2), min: at(0), max: at(sorted.len().saturating_sub(1)) }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} ({:.3} to {:.3})", self.median, self.min, self.max)
    }
}

/// What a process has used so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// User and system time.
    pub cpu: Duration,
    /// Resident memory in bytes, the program's code included.
    pub resident: u64,
    /// Of that, what no file backs: heap and stacks.
    pub private: u64,
}

impl Usage {
    /// Of a process, from `/proc/PID/stat` and `/proc/PID/status`.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of(pid: u32) -> Result<Self, Failure> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, rest) = stat.rsplit_once(')').ok_or("no stat")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| -> Result<u64, Failure> {
            Ok(fields.get(number).ok_or("a short stat")?.parse()?)
        };
        // utime and stime in ticks of 10 ms (USER_HZ is 100 on Linux), rss in pages.
        let page = u64::try_from(rustix::param::page_size())?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let private = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let private =
            private.and_then(|rest| rest.trim().strip_suffix(" kB")).ok_or("no RssAnon")?;
        Ok(Self {
            cpu: Duration::from_millis((field(11)? + field(12)?) * 10),
            resident: field(21)? * page,
            private: private.parse::<u64>()? * 1_024,
        })
    }
}

/// The argument with which a bench starts itself as the targets.
pub const SERVE: &str = "serve";

/// Targets in a process of their own, so that their costs are not ours. Ends with this value.
#[derive(Debug)]
pub struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Server {
    /// Starts this program once more, with [`SERVE`], and gives the addresses that it serves.
    ///
    /// # Errors
    /// When it does not start, or does not say its addresses.
    pub fn start() -> Result<(Self, Vec<SocketAddr>), Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.arg(SERVE).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("no output")?;
        let server = Self(child);
        let mut addresses = Vec::new();
        for line in BufReader::new(output).lines() {
            let line = line?;
            if line.is_empty() {
                return Ok((server, addresses));
            }
            addresses.push(line.parse()?);
        }
        Err("the targets ended before they served".into())
    }
}

/// Serves HTTP on that many loopback ports, says where, and ends when the parent does.
///
/// # Errors
/// Without ports, descriptors or threads.
pub fn serve_for_parent(ports: usize) -> Result<bool, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut out = std::io::stdout().lock();
    for _ in 0..ports {
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        writeln!(out, "{}", listener.local_addr()?)?;
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream));
            }
        });
    }
    writeln!(out)?;
    out.flush()?;
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    // The parent holds the other end for as long as it lives.
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest)?;
    Ok(true)
}

async fn answer(stream: tokio::net::TcpStream) {
    let service = service_fn(|_: Request<Incoming>| async {
        let body = Full::new(Bytes::from_static(b"{\"status\":\"ok\"}"));
        Ok::<_, Infallible>(Response::new(body))
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A client that went away is its own affair.
    drop(connection.await);
}
