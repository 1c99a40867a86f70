//! Sessions on Redis: 64 callers, sessions of 500 bytes, each call waiting for its answer.
//!
//! Loads against a bare GET of the same string over one pipelined connection of the redis crate;
//! saves (compare-and-swap, and the user's index) against the very same script with the same
//! arguments over such a connection. And both against connect-redis, ioredis and redis-py with
//! asyncio, which store plain JSON with SET, and tower-sessions-redis-store, which stores
//! MessagePack; redis-benchmark shows what the server can do.
//!
//! `benches/peers/setup && cargo bench -p jarvis-benches --bench sessions`
//!
//! Five interleaved rounds of a second each, medians with their spread, on a Redis of the bench's
//! own that shares the machine with its clients. Ends with exit code 1 when a limit is missed.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench talks to a person")]

use std::ffi::OsString;
use std::ops::Range;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jarvis_benches::Failure;
use jarvis_benches::pace::{Paces, pace};
use jarvis_benches::peer::{Peer, folder};
use jarvis_benches::redis::RedisServer;
use jarvis_core::clock::SystemClock;
use jarvis_core::session::{
    NewSession, RedisSessions, Save, SaveOutcome, Session, SessionData, SessionPolicy, SessionStore,
};
use jarvis_core::store::redis::{Options, Redis};
use jarvis_core::vocabulary::UserId;
use redis::aio::MultiplexedConnection;

const ROUNDS: usize = 5;
const CALLERS: usize = 64;
const LENGTH: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sessions: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What a shop keeps of a visitor, 500 bytes of JSON.
fn data() -> String {
    let cart: Vec<_> =
        (0..6).map(|n| serde_json::json!({"track": 48_000 + n, "gain": n})).collect();
    let mut value = serde_json::json!({
        "user": {"id": 4711, "name": "Ada Lovelace", "roles": ["artist", "admin"]},
        "csrf": "k3J9x0aQpL2vWm7ZbT5dRf8s", "theme": "dark", "cart": cart, "note": "",
    });
    let missing = 500_usize.saturating_sub(value.to_string().len());
    value["note"] = "n".repeat(missing).into();
    value.to_string()
}

struct Peers {
    connect_redis: Peer,
    ioredis: Peer,
    redis_py: Peer,
    tower_sessions: Peer,
}

impl Peers {
    fn start(port: u16, data: &str) -> Result<Self, Failure> {
        let (port, callers) = (port.to_string(), CALLERS.to_string());
        let python = folder().join("python/bin/python");
        let start = |program: &Path, script: Option<&str>, which: &str| {
            let mut arguments: Vec<_> =
                script.map(|it| folder().join(it).into()).into_iter().collect();
            arguments.extend([which, &port, &callers, data].map(OsString::from));
            Peer::start(program, &arguments)
        };
        Ok(Self {
            connect_redis: start(Path::new("node"), Some("sessions.mjs"), "connect-redis")?,
            ioredis: start(Path::new("node"), Some("sessions.mjs"), "ioredis")?,
            redis_py: start(&python, Some("sessions.py"), "redis-py")?,
            tower_sessions: start(&folder().join("tower-sessions"), None, "tower-sessions")?,
        })
    }
}

#[derive(Default)]
struct Results {
    ours: Paces,
    bare: Paces,
    connect_redis: Paces,
    ioredis: Paces,
    redis_py: Paces,
    tower_sessions: Paces,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn run() -> Result<bool, Failure> {
    let (server, data) = (RedisServer::start()?, data());
    let mut peers = Peers::start(server.port, &data)?;
    let clock = Arc::new(SystemClock::new());
    let redis = Redis::open(&server.url(), &Options::new(), clock.clone())?;
    let store: Arc<dyn SessionStore> =
        Arc::new(RedisSessions::new(&redis, SessionPolicy::new(), clock)?);
    let bare = connection(&server).await?;
    let sessions = Arc::new(make(&*store, &data).await?);
    let calls = Arc::new(calls(&server, &*store, &sessions).await?);
    let (mut loads, mut saves) = (Results::default(), Results::default());
    for _ in 0..ROUNDS {
        loads.ours.0.push(load(&store, &sessions).await?);
        loads.bare.0.push(bare_load(&bare, &calls).await?);
        loads.connect_redis.0.push(peers.connect_redis.pace("get", LENGTH)?);
        loads.ioredis.0.push(peers.ioredis.pace("get", LENGTH)?);
        loads.redis_py.0.push(peers.redis_py.pace("get", LENGTH)?);
        loads.tower_sessions.0.push(peers.tower_sessions.pace("get", LENGTH)?);
        saves.ours.0.push(save(&store, &sessions).await?);
        saves.bare.0.push(bare_save(&bare, &calls).await?);
        saves.connect_redis.0.push(peers.connect_redis.pace("set", LENGTH)?);
        saves.ioredis.0.push(peers.ioredis.pace("set", LENGTH)?);
        saves.redis_py.0.push(peers.redis_py.pace("set", LENGTH)?);
        saves.tower_sessions.0.push(peers.tower_sessions.pace("set", LENGTH)?);
    }
    let good = report(&loads, &saves, data.len());
    limits(&server);
    Ok(good)
}

fn report(loads: &Results, saves: &Results, bytes: usize) -> bool {
    println!("{CALLERS} callers, sessions of {bytes} bytes, {ROUNDS} rounds of {LENGTH:?}:");
    for (what, results, bare) in
        [("load", loads, "bare pipelined GET"), ("save", saves, "bare script, same arguments")]
    {
        results.ours.print(&format!("{what}: jarvis"));
        results.bare.print(&format!("{what}: {bare}"));
        results.connect_redis.print(&format!("{what}: connect-redis"));
        results.ioredis.print(&format!("{what}: ioredis"));
        results.redis_py.print(&format!("{what}: redis-py, asyncio"));
        results.tower_sessions.print(&format!("{what}: tower-sessions-redis-store"));
    }
    let reached = [
        loads.ours.against("load / bare GET", &loads.bare, 0.8),
        loads.ours.against("load / connect-redis", &loads.connect_redis, 3.0),
        loads.ours.against("load / redis-py", &loads.redis_py, 8.0),
        loads.ours.against("load / ioredis", &loads.ioredis, 0.0),
        loads.ours.against("load / tower-sessions", &loads.tower_sessions, 0.0),
        saves.ours.against("save / bare script", &saves.bare, 0.8),
        saves.ours.against("save / connect-redis's SET", &saves.connect_redis, 1.8),
        saves.ours.against("save / redis-py's SET", &saves.redis_py, 0.0),
        saves.ours.against("save / ioredis's SET", &saves.ioredis, 0.0),
        saves.ours.against("save / tower-sessions's SET", &saves.tower_sessions, 0.0),
    ];
    reached.into_iter().all(|reached| reached)
}

/// What the server can do with clients that parse nothing.
fn limits(server: &RedisServer) {
    for (depth, what) in [("1", "one call at a time"), ("32", "32 calls at a time")] {
        let output = Command::new("redis-benchmark")
            .args(["-p", &server.port.to_string(), "-t", "get,set", "-d", "500"])
            .args(["-n", "300000", "-c", "64", "-P", depth, "-q", "--csv"])
            .output();
        match output {
            Ok(output) => {
                for line in String::from_utf8_lossy(&output.stdout).lines().skip(1) {
                    let mut fields = line.split(',').map(|field| field.trim_matches('"'));
                    let (name, rate) = (fields.next(), fields.next());
                    println!(
                        "  redis-benchmark, {what}: {} {} a s",
                        name.unwrap_or_default(),
                        rate.unwrap_or_default()
                    );
                }
            }
            Err(error) => println!("  redis-benchmark (Debian's redis-tools) did not run: {error}"),
        }
    }
}

async fn connection(server: &RedisServer) -> Result<MultiplexedConnection, Failure> {
    use redis::IntoConnectionInfo;
    let settings = redis::io::tcp::TcpSettings::default().set_nodelay(true);
    let info = server.url().into_connection_info()?.set_tcp_settings(settings);
    Ok(redis::Client::open(info)?.get_multiplexed_async_connection().await?)
}

type Sessions = Vec<Mutex<Session>>;

/// A session of a user for each caller.
async fn make(store: &dyn SessionStore, data: &str) -> Result<Sessions, Failure> {
    let mut sessions = Vec::new();
    for caller in 0..CALLERS {
        let user = UserId::new(format!("user-{caller}"))?;
        let new = NewSession::new().with_user(user).with_data(SessionData::parse(data)?);
        sessions.push(Mutex::new(store.create(new).await?));
    }
    Ok(sessions)
}

fn present(sessions: &Sessions, caller: usize) -> Session {
    sessions[caller].lock().unwrap_or_else(PoisonError::into_inner).clone()
}

async fn load(store: &Arc<dyn SessionStore>, sessions: &Arc<Sessions>) -> Result<f64, Failure> {
    let store = Arc::clone(store);
    let ids: Vec<_> = (0..CALLERS).map(|caller| present(sessions, caller).id).collect();
    pace(CALLERS, LENGTH, move |caller| {
        let (store, id) = (Arc::clone(&store), ids[caller].clone());
        async move {
            let session = store.load(&id).await?.ok_or("the session is gone")?;
            if session.data.as_str().is_empty() { Err("an empty session".into()) } else { Ok(()) }
        }
    })
    .await
}

async fn save(store: &Arc<dyn SessionStore>, sessions: &Arc<Sessions>) -> Result<f64, Failure> {
    // The bare script has moved the versions on.
    for session in sessions.iter() {
        let id = session.lock().unwrap_or_else(PoisonError::into_inner).id.clone();
        let stored = store.load(&id).await?.ok_or("the session is gone")?;
        *session.lock().unwrap_or_else(PoisonError::into_inner) = stored;
    }
    let (store, sessions) = (Arc::clone(store), Arc::clone(sessions));
    pace(CALLERS, LENGTH, move |caller| {
        let (store, sessions) = (Arc::clone(&store), Arc::clone(&sessions));
        async move {
            let saved = store.save(Save::new(present(&sessions, caller))).await?;
            let SaveOutcome::Saved(session) = saved else { return Err("not saved".into()) };
            *sessions[caller].lock().unwrap_or_else(PoisonError::into_inner) = *session;
            Ok(())
        }
    })
    .await
}

/// What our save of each caller's session sends: the arguments of EVALSHA, as the server saw them.
type Calls = Vec<Vec<Vec<u8>>>;

/// Watches the server while every session is saved once.
async fn calls(
    server: &RedisServer,
    store: &dyn SessionStore,
    sessions: &Sessions,
) -> Result<Calls, Failure> {
    // The first save loads the script, which takes an EVAL.
    store.save(Save::new(present(sessions, 0))).await?;
    let monitor = redis::Client::open(server.url())?.get_async_monitor().await?;
    let mut lines = monitor.into_on_message::<String>();
    let mut calls = Vec::new();
    for caller in 0..CALLERS {
        let id = present(sessions, caller).id;
        let stored = store.load(&id).await?.ok_or("the session is gone")?;
        store.save(Save::new(stored)).await?;
        loop {
            let line = futures_util::StreamExt::next(&mut lines).await.ok_or("no more is seen")?;
            let words = words(&line);
            if words.first().is_some_and(|word| word.eq_ignore_ascii_case(b"EVALSHA")) {
                calls.push(words[1..].to_vec());
                break;
            }
        }
    }
    Ok(calls)
}

/// The words of a line of MONITOR: `TIME [DB ADDRESS] "WORD" …`, with escapes.
fn words(line: &str) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut bytes = line.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'"' {
            continue;
        }
        let mut word = Vec::new();
        while let Some(byte) = bytes.next() {
            match byte {
                b'"' => break,
                b'\\' => match bytes.next() {
                    Some(b'x') => {
                        let digits: String = bytes.by_ref().take(2).map(char::from).collect();
                        word.push(u8::from_str_radix(&digits, 16).unwrap_or_default());
                    }
                    Some(b'n') => word.push(b'\n'),
                    Some(b'r') => word.push(b'\r'),
                    Some(b't') => word.push(b'\t'),
                    Some(other) => word.push(other),
                    None => {}
                },
                byte => word.push(byte),
            }
        }
        words.push(word);
    }
    words
}

/// Of EVALSHA's arguments: the script, the number of keys, the session's and the index's, then the
/// session itself and what is believed to be stored.
const SESSION_KEY: usize = 2;
const SESSION: usize = 4;
const BELIEF: usize = 5;

/// Where in a session its version is. With that a belief begins.
const VERSION: Range<usize> = 124..140;

async fn bare_load(connection: &MultiplexedConnection, calls: &Arc<Calls>) -> Result<f64, Failure> {
    let (connection, calls) = (connection.clone(), Arc::clone(calls));
    pace(CALLERS, LENGTH, move |caller| {
        let (mut connection, calls) = (connection.clone(), Arc::clone(&calls));
        async move {
            let mut command = redis::cmd("GET");
            command.arg(&calls[caller][SESSION_KEY]);
            let session: Vec<u8> = command.query_async(&mut connection).await?;
            if session.is_empty() { Err("an empty session".into()) } else { Ok(()) }
        }
    })
    .await
}

async fn bare_save(connection: &MultiplexedConnection, calls: &Arc<Calls>) -> Result<f64, Failure> {
    let (connection, calls) = (connection.clone(), Arc::clone(calls));
    let versions = Arc::new(versions(&connection, &calls).await?);
    pace(CALLERS, LENGTH, move |caller| {
        let (mut connection, calls) = (connection.clone(), Arc::clone(&calls));
        let versions = Arc::clone(&versions);
        async move {
            let version = versions[caller].fetch_add(1, Ordering::Relaxed);
            let mut command = redis::cmd("EVALSHA");
            for (place, argument) in calls[caller].iter().enumerate() {
                let (at, version) = match place {
                    SESSION => (VERSION, version + 1),
                    BELIEF => (0..VERSION.len(), version),
                    _ => {
                        command.arg(argument);
                        continue;
                    }
                };
                let mut argument = argument.clone();
                argument[at].copy_from_slice(format!("{version:016}").as_bytes());
                command.arg(argument);
            }
            match command.query_async(&mut connection).await? {
                redis::Value::Int(1) => Ok(()),
                other => Err(format!("the script did not save: {other:?}").into()),
            }
        }
    })
    .await
}

async fn versions(
    connection: &MultiplexedConnection,
    calls: &Calls,
) -> Result<Vec<AtomicU64>, Failure> {
    let mut versions = Vec::new();
    for call in calls {
        let mut command = redis::cmd("GETRANGE");
        command.arg(&call[SESSION_KEY]).arg(VERSION.start).arg(VERSION.end - 1);
        let version: String = command.query_async(&mut connection.clone()).await?;
        versions.push(version.parse::<u64>()?.into());
    }
    Ok(versions)
}
