//! The shared Redis client: 64 callers that read, and 64 that run a script, against the same on a
//! bare multiplexed connection of the redis crate, on one server in the same run.
//!
//! `cargo bench -p jarvis-benches --bench redis_client`
//!
//! Needs a `redis-server`. Five interleaved rounds; medians of the ratios with their spread. Each
//! has to reach 80 % of the bare connection; ends with exit code 1 when it does not.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench talks to a person")]

use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use jarvis_benches::{Failure, Spread};
use jarvis_core::clock::{Clock, ClockExt, SystemClock};
use jarvis_core::store::redis::{Options, Redis};
use jarvis_core::testkit::redis::{Repeat, add_by_script, call};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo, ProtocolVersion};

const ROUNDS: usize = 5;
const CALLERS: usize = 64;
const CALLS: usize = 1_000;
const WANTED: f64 = 0.8;

fn main() -> ExitCode {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime.map_err(Failure::from).and_then(|runtime| runtime.block_on(run())) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("redis_client: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A server without persistence. Ends with this value.
struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Server {
    async fn start() -> Result<Self, Failure> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()?;
        let server = Self { child, port };
        for _ in 0..200 {
            if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Ok(server);
            }
            SystemClock::new().sleep(Duration::from_millis(20)).await;
        }
        Err("redis-server does not listen".into())
    }
}

async fn run() -> Result<bool, Failure> {
    let server = Server::start().await?;
    let url = format!("redis://127.0.0.1:{}", server.port);
    let ours = Redis::open(&url, &Options::new(), Arc::new(SystemClock::new()))?;
    let bare = connect(&url).await?;
    call(&ours, &["SET", "key", &"x".repeat(500)], Repeat::Write).await?;

    let mut reached = true;
    let (mut reads, mut scripts) = (Vec::new(), Vec::new());
    let (mut read_rates, mut script_rates) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let plain = callers(|| read_bare(bare.clone())).await?;
        let rate = callers(|| read_ours(ours.clone())).await?;
        read_rates.push(rate);
        reads.push(rate / plain);
        let plain = callers(|| add_bare(bare.clone())).await?;
        let rate = callers(|| add_ours(ours.clone())).await?;
        script_rates.push(rate);
        scripts.push(rate / plain);
    }
    for (what, ratios, rates) in
        [("GET of 500 bytes", reads, read_rates), ("a script", scripts, script_rates)]
    {
        let ratio = Spread::of(&ratios);
        let rate = Spread::of(&rates).median;
        println!("{what}: {ratio} of the bare connection, at {rate:.0} a second");
        reached &= ratio.median >= WANTED;
    }
    println!("wanted: {WANTED}");
    Ok(reached)
}

/// As the crate makes it, but for Nagle's algorithm, which would slow it down.
async fn connect(url: &str) -> Result<MultiplexedConnection, Failure> {
    let info = url.into_connection_info()?;
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let info = info.set_redis_settings(settings);
    let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
    let config = AsyncConnectionConfig::new();
    let client = Client::open(info)?;
    Ok(client.get_multiplexed_async_connection_with_config(&config).await?)
}

/// How many calls a second all callers make together.
async fn callers<F, W>(work: F) -> Result<f64, Failure>
where
    F: Fn() -> W,
    W: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let clock = SystemClock::new();
    let before = clock.monotonic();
    let tasks: Vec<_> = (0..CALLERS).map(|_| tokio::spawn(work())).collect();
    for task in tasks {
        task.await??;
    }
    let took = clock.monotonic().saturating_since(before);
    #[expect(clippy::cast_precision_loss, reason = "a few thousand calls")]
    let calls = (CALLERS * CALLS) as f64;
    Ok(calls / took.as_secs_f64())
}

async fn read_ours(redis: Redis) -> Result<(), Failure> {
    for _ in 0..CALLS {
        call(&redis, &["GET", "key"], Repeat::Read).await?.ok_or("no value")?;
    }
    Ok(())
}

async fn read_bare(mut connection: MultiplexedConnection) -> Result<(), Failure> {
    for _ in 0..CALLS {
        let value: Option<String> =
            redis::cmd("GET").arg("key").query_async(&mut connection).await?;
        value.ok_or("no value")?;
    }
    Ok(())
}

async fn add_ours(redis: Redis) -> Result<(), Failure> {
    for _ in 0..CALLS {
        add_by_script(&redis, "counter", 1).await?;
    }
    Ok(())
}

async fn add_bare(mut connection: MultiplexedConnection) -> Result<(), Failure> {
    let script = redis::Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    for _ in 0..CALLS {
        let _: i64 = script.key("counter").arg(1).invoke_async(&mut connection).await?;
    }
    Ok(())
}
