//! How soon a message is with a subscriber of another instance, and how many are in a second: the
//! Redis bus against a plain PUBLISH of the same bytes on the same server, in the same run.
//!
//! `cargo bench -p jarvis-benches --bench bus`
//!
//! Five interleaved rounds on a `redis-server` of its own. A plain PUBLISH numbers nothing, keeps
//! nothing and tells nobody of a gap; the ratio is the price of that.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench talks to a person")]

use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::iter;
use jarvis_benches::{Failure, Spread};
use jarvis_core::clock::{ClockExt, SharedClock, SystemClock};
use jarvis_core::events::{
    BusPolicy, Delivery, Event, EventBus, Filter, Message, RedisBus, Subscription, TopicName,
};
use jarvis_core::store::redis::{Options, Redis};
use redis::aio::MultiplexedConnection;

const ROUNDS: usize = 5;
/// One after the other, each when the one before has arrived.
const SINGLE: usize = 3_000;
/// By 64 publishers at once.
const MANY: usize = 30_000;
const PUBLISHERS: usize = 64;
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bus: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A server of our own. Killed at the end.
struct Server {
    child: Child,
    _folder: tempfile::TempDir,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Server {
    fn start() -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--appendonly", "no", "--save", ""])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("redis-server (apt-get install redis-server): {error}"))?;
        Ok(Self { child, _folder: folder, port })
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

fn run() -> Result<(), Failure> {
    let server = Server::start()?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(&server))
}

async fn measure(server: &Server) -> Result<(), Failure> {
    let clock: SharedClock = Arc::new(SystemClock::new());
    let mut ours = Ours::open(&server.url(), &clock).await?;
    let mut plain = Plain::open(&server.url(), &clock).await?;
    let (mut p50, mut p99, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let (one, two) = (ours.single().await?, plain.single().await?);
        let (fast, bare) = (ours.many().await?, plain.many().await?);
        println!(
            "round {round}: bus p50 {:.0} us, p99 {:.0} us, {fast:.0}/s; plain PUBLISH p50 {:.0} us, p99 {:.0} us, {bare:.0}/s",
            micros(&one, 50),
            micros(&one, 99),
            micros(&two, 50),
            micros(&two, 99),
        );
        p50.push(micros(&one, 50) / micros(&two, 50));
        p99.push(micros(&one, 99) / micros(&two, 99));
        rates.push(fast / bare);
    }
    println!("publish to delivery, bus / plain: p50 {}", Spread::of(&p50));
    println!("publish to delivery, bus / plain: p99 {}", Spread::of(&p99));
    println!("messages a second with {PUBLISHERS} publishers, bus / plain: {}", Spread::of(&rates));
    Ok(())
}

fn micros(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand")]
fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

fn payload(number: usize) -> serde_json::Value {
    serde_json::json!({ "number": number, "text": "x".repeat(200) })
}

struct Ours {
    clock: SharedClock,
    bus: RedisBus,
    /// The subscription ends with its instance.
    _other: RedisBus,
    subscription: Box<dyn Subscription>,
}

impl Ours {
    async fn open(url: &str, clock: &SharedClock) -> Result<Self, Failure> {
        let instance = || -> Result<RedisBus, Failure> {
            let redis = Redis::open(url, &Options::new(), clock.clone())?;
            Ok(RedisBus::new(&redis, BusPolicy::new(), clock.clone())?)
        };
        let (bus, other) = (instance()?, instance()?);
        let filter = Filter::all().with_buffer(60_000);
        let deadline = clock.monotonic() + PATIENCE;
        let subscription = loop {
            match other.subscribe(filter.clone()).await {
                Ok(subscription) => break subscription,
                Err(error) if clock.monotonic() > deadline => return Err(error.into()),
                Err(_) => clock.sleep(Duration::from_millis(20)).await,
            }
        };
        Ok(Self { clock: clock.clone(), bus, _other: other, subscription })
    }

    fn message(number: usize) -> Result<Event, Failure> {
        Ok(Event::Message(Message::new(TopicName::new("project.42.chat")?, payload(number))?))
    }

    async fn arrived(&mut self) -> Result<(), Failure> {
        match self.subscription.next().await {
            Some(Delivery::Event(_)) => Ok(()),
            other => Err(format!("{other:?}").into()),
        }
    }

    async fn single(&mut self) -> Result<Vec<Duration>, Failure> {
        let mut times = Vec::with_capacity(SINGLE);
        for number in 0..SINGLE {
            let message = Self::message(number)?;
            let began = self.clock.monotonic();
            let bus = self.bus.clone();
            let sent = tokio::spawn(async move { bus.publish(message).await });
            self.arrived().await?;
            times.push(self.clock.monotonic().saturating_since(began));
            sent.await??;
        }
        times.sort_unstable();
        Ok(times)
    }

    async fn many(&mut self) -> Result<f64, Failure> {
        let began = self.clock.monotonic();
        let bus = self.bus.clone();
        let sending = tokio::spawn(async move {
            iter(0..MANY)
                .map(|number| {
                    let bus = bus.clone();
                    async move { bus.publish(Self::message(number)?).await.map_err(Failure::from) }
                })
                .buffer_unordered(PUBLISHERS)
                .map(|sent| sent.map(drop))
                .collect::<Vec<_>>()
                .await
        });
        for _ in 0..MANY {
            self.arrived().await?;
        }
        let took = self.clock.monotonic().saturating_since(began);
        sending.await?.into_iter().collect::<Result<(), Failure>>()?;
        Ok(rate(MANY, took))
    }
}

struct Plain {
    clock: SharedClock,
    connection: MultiplexedConnection,
    messages: redis::aio::PubSub,
}

impl Plain {
    async fn open(url: &str, clock: &SharedClock) -> Result<Self, Failure> {
        let client = redis::Client::open(url)?;
        let connection = client.get_multiplexed_async_connection().await?;
        let mut messages = client.get_async_pubsub().await?;
        messages.subscribe("plain").await?;
        Ok(Self { clock: clock.clone(), connection, messages })
    }

    /// As many bytes as the bus's envelope has.
    fn text(number: usize) -> String {
        format!("{}{:190}", payload(number), "")
    }

    async fn publish(mut connection: MultiplexedConnection, text: String) -> Result<(), Failure> {
        redis::cmd("PUBLISH").arg("plain").arg(text).exec_async(&mut connection).await?;
        Ok(())
    }

    async fn single(&mut self) -> Result<Vec<Duration>, Failure> {
        let mut times = Vec::with_capacity(SINGLE);
        let mut stream = self.messages.on_message();
        for number in 0..SINGLE {
            let text = Self::text(number);
            let began = self.clock.monotonic();
            let sent = tokio::spawn(Self::publish(self.connection.clone(), text));
            stream.next().await.ok_or("the server is gone")?;
            times.push(self.clock.monotonic().saturating_since(began));
            sent.await??;
        }
        times.sort_unstable();
        Ok(times)
    }

    async fn many(&mut self) -> Result<f64, Failure> {
        let began = self.clock.monotonic();
        let connection = self.connection.clone();
        let sending = tokio::spawn(async move {
            iter(0..MANY)
                .map(|number| Self::publish(connection.clone(), Self::text(number)))
                .buffer_unordered(PUBLISHERS)
                .collect::<Vec<_>>()
                .await
        });
        let mut stream = self.messages.on_message();
        for _ in 0..MANY {
            stream.next().await.ok_or("the server is gone")?;
        }
        let took = self.clock.monotonic().saturating_since(began);
        sending.await?.into_iter().collect::<Result<(), Failure>>()?;
        Ok(rate(MANY, took))
    }
}
