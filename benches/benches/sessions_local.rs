//! Sessions in memory and in SQLite: 64 callers, sessions of 500 bytes.
//!
//! `cargo bench -p jarvis-benches --bench sessions_local [-- FOLDER]`
//!
//! Memory: loads and saves through the store against a bare sharded map of the same sessions that
//! gives the same clones; 60 % is wanted of loads. SQLite, on the disk of FOLDER: loads, of which
//! 100,000 a second are wanted, and durable saves against a plain connection that makes the same
//! `UPDATE` in a copy of the file, one thread with batches of 64, of which half is wanted as in
//! `group_commit`; beside them rows that the store appends, which is what a write costs that
//! changes no row. Five interleaved rounds; medians with their spread. Ends with exit code 1 when a
//! limit is missed.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench talks to a person")]

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jarvis_benches::{Failure, Spread};
use jarvis_core::clock::{Clock, SystemClock};
use jarvis_core::session::{
    MemorySessions, NewSession, Save, SaveOutcome, Session, SessionData, SessionHandle, SessionId,
    SessionMeta, SessionPolicy, SessionStore, SqliteSessions,
};
use jarvis_core::store::sqlite::{Options, Sqlite};
use jarvis_core::testkit::rows::Rows;
use jarvis_core::vocabulary::UserId;

const ROUNDS: usize = 5;
const CALLERS: usize = 64;
const SESSIONS: usize = 10_000;
const MEMORY_CALLS: usize = 20_000;
const SQLITE_LOADS: usize = 2_000;
const SQLITE_SAVES: usize = 100;
const SHARDS: usize = 64;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sessions_local: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool, Failure> {
    let folder = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let folder = folder.map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    std::fs::create_dir_all(&folder)?;
    let scratch = tempfile::tempdir_in(&folder)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let memory = runtime.block_on(memory())?;
    let sqlite = runtime.block_on(sqlite(scratch.path()))?;
    Ok(memory && sqlite)
}

/// For callers to share without counting who does: two threads that count in one place at every
/// call measure that.
fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn new(n: usize) -> Result<NewSession, Failure> {
    let text = format!("{{\"n\":{n},\"cart\":\"{}\"}}", "x".repeat(480 - n.to_string().len()));
    let user = UserId::new(format!("user {}", n % 1_000))?;
    let meta = SessionMeta::new().with_user_agent("Mozilla/5.0 (X11; Linux x86_64)");
    Ok(NewSession::new().with_user(user).with_data(SessionData::parse(text)?).with_meta(meta))
}

async fn fill(store: &dyn SessionStore) -> Result<Vec<Session>, Failure> {
    let made = (0..SESSIONS).map(|n| async move { Ok::<_, Failure>(store.create(new(n)?).await?) });
    futures_util::future::try_join_all(made).await
}

/// Which session a caller wants next: far enough apart that two rarely want the same.
fn place(caller: usize, n: usize) -> usize {
    (caller * 157 + n * 7) % SESSIONS
}

/// Calls a second of 64 callers that each make so many.
async fn rate<F, Fut>(each: usize, call: F) -> Result<f64, Failure>
where
    F: Fn(usize) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<(), jarvis_core::Error>> + Send,
{
    let clock = SystemClock::new();
    let started = clock.monotonic();
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let call = call.clone();
            tokio::spawn(async move {
                for n in 0..each {
                    call(place(caller, n)).await?;
                }
                Ok::<(), jarvis_core::Error>(())
            })
        })
        .collect();
    for caller in callers {
        caller.await??;
    }
    let took: Duration = clock.monotonic().saturating_since(started);
    #[expect(clippy::cast_precision_loss, reason = "some millions")]
    let calls = (CALLERS * each) as f64;
    Ok(calls / took.as_secs_f64())
}

/// What one would write without a store: a map in shards, and a clone of what is found.
struct Bare {
    hasher: RandomState,
    shards: Vec<Mutex<HashMap<SessionId, Session>>>,
}

impl Bare {
    fn new(sessions: &[Session]) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        let bare = Self { hasher: RandomState::new(), shards };
        for session in sessions {
            bare.put(session.clone());
        }
        bare
    }

    fn shard(&self, id: &SessionId) -> std::sync::MutexGuard<'_, HashMap<SessionId, Session>> {
        let hash = usize::try_from(self.hasher.hash_one(id) >> 32).unwrap_or(0);
        self.shards[hash % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, id: &SessionId) -> Option<Session> {
        self.shard(id).get(id).cloned()
    }

    fn put(&self, session: Session) {
        self.shard(&session.id).insert(session.id.clone(), session);
    }
}

fn missing() -> jarvis_core::Error {
    jarvis_core::Error::new(jarvis_core::ErrorKind::Internal, "a session is missing")
}

async fn memory() -> Result<bool, Failure> {
    let clock = Arc::new(SystemClock::new());
    let store = leak(MemorySessions::new(SessionPolicy::default(), clock)?);
    let sessions = leak(fill(store).await?);
    let bare = leak(Bare::new(sessions));
    let (mut ours, mut theirs, mut saves, mut puts) = (vec![], vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        let get =
            move |n: usize| async move { bare.get(&sessions[n].id).map(drop).ok_or_else(missing) };
        theirs.push(rate(MEMORY_CALLS, get).await?);
        ours.push(rate(MEMORY_CALLS, move |n| load(store, &sessions[n])).await?);
        let put = move |n: usize| async move {
            bare.put(sessions[n].clone());
            Ok(())
        };
        puts.push(rate(MEMORY_CALLS, put).await?);
        saves.push(rate(MEMORY_CALLS, move |n| save(store, &sessions[n])).await?);
    }
    show("memory: a bare map, get and clone", &theirs);
    show("memory: load", &ours);
    show("memory: a bare map, insert", &puts);
    show("memory: save", &saves);
    show_ratio("memory: save / insert", &ratios(&saves, &puts));
    Ok(judge("memory: load / get and clone", &ratios(&ours, &theirs), 0.6))
}

async fn load(store: &dyn SessionStore, session: &Session) -> Result<(), jarvis_core::Error> {
    store.load(&session.id).await?.map(drop).ok_or_else(missing)
}

async fn save(store: &dyn SessionStore, session: &Session) -> Result<(), jarvis_core::Error> {
    let outcome = store.save(Save::forced(session.clone())).await?;
    if matches!(outcome, SaveOutcome::Saved(_)) { Ok(()) } else { Err(missing()) }
}

async fn sqlite(folder: &Path) -> Result<bool, Failure> {
    let sqlite = Sqlite::open(folder.join("jarvis.db"), &Options::new())?;
    let clock = Arc::new(SystemClock::new());
    let store = leak(SqliteSessions::new(&sqlite, SessionPolicy::default(), clock)?);
    let sessions = leak(fill(store).await?);
    let bare = BareFile::open(&sqlite, &folder.join("bare.db"), sessions)?;
    let body = sessions[0].data.as_str();
    let other = Sqlite::open(folder.join("rows.db"), &Options::new())?;
    let rows = leak(Rows::new(&other));
    rows.append("first use makes the table").await?;
    let (mut loads, mut saves, mut appends, mut updates) = (vec![], vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        loads.push(rate(SQLITE_LOADS, move |n| load(store, &sessions[n])).await?);
        let append = move |_: usize| async move { rows.append(body).await.map(drop) };
        appends.push(rate(SQLITE_SAVES, append).await?);
        updates.push(bare.rate(sessions)?);
        saves.push(rate(SQLITE_SAVES, move |n| save(store, &sessions[n])).await?);
    }
    show("sqlite: append a row, durable", &appends);
    show("sqlite: bare UPDATE, batches of 64", &updates);
    show("sqlite: save, durable", &saves);
    show_ratio("sqlite: save / append a row", &ratios(&saves, &appends));
    show_ratio("sqlite: bare UPDATE / append a row", &ratios(&updates, &appends));
    let saves = judge("sqlite: save / bare UPDATE", &ratios(&saves, &updates), 0.5);
    show("sqlite: load", &loads);
    let wanted = [100_000.0; ROUNDS];
    Ok(judge("sqlite: loads of 100,000 a second", &ratios(&loads, &wanted), 1.0) && saves)
}

/// A plain connection to a copy of the store's file, with the store's journal.
struct BareFile {
    connection: rusqlite::Connection,
    /// The names of the sessions, which the store works out for itself.
    handles: Vec<SessionHandle>,
}

impl BareFile {
    fn open(sqlite: &Sqlite, copy: &Path, sessions: &[Session]) -> Result<Self, Failure> {
        let original = rusqlite::Connection::open(sqlite.path())?;
        original.execute("VACUUM INTO ?1", [copy.to_str().ok_or("a folder that is no text")?])?;
        let connection = rusqlite::Connection::open(copy)?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        let handles = sessions.iter().map(|session| session.id.handle(true)).collect();
        Ok(Self { connection, handles })
    }

    /// Updates a second, as many and in the order in which the callers' saves come.
    fn rate(&self, sessions: &[Session]) -> Result<f64, Failure> {
        let clock = SystemClock::new();
        let meta = serde_json::to_vec(&sessions[0].meta)?;
        let started = clock.monotonic();
        for n in 0..SQLITE_SAVES {
            self.connection.execute_batch("BEGIN IMMEDIATE")?;
            for caller in 0..CALLERS {
                let (handle, session) =
                    (&self.handles[place(caller, n)], &sessions[place(caller, n)]);
                let now = clock.wall();
                let updated = self
                    .connection
                    .prepare_cached(
                        "UPDATE session SET version = version + 1, updated_ms = ?2,
                            expires_ms = ?3, ttl_ms = ?4, data = ?5, meta = ?6
                         WHERE handle = ?1 AND expires_ms > ?2",
                    )?
                    .execute(rusqlite::params![
                        handle.as_str(),
                        now.millis(),
                        (now + session.ttl).millis(),
                        i64::try_from(session.ttl.as_millis())?,
                        session.data.as_str().as_bytes(),
                        meta,
                    ])?;
                if updated != 1 {
                    return Err("a session is missing in the copy".into());
                }
            }
            self.connection.execute_batch("COMMIT")?;
        }
        #[expect(clippy::cast_precision_loss, reason = "some thousands")]
        let updates = (CALLERS * SQLITE_SAVES) as f64;
        Ok(updates / clock.monotonic().saturating_since(started).as_secs_f64())
    }
}

fn ratios(ours: &[f64], theirs: &[f64]) -> Vec<f64> {
    ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect()
}

fn show(what: &str, rates: &[f64]) {
    let Spread { median, min, max } = Spread::of(rates);
    println!("{what:<36} {median:>10.0} /s  ({min:.0} to {max:.0})");
}

fn show_ratio(what: &str, ratios: &[f64]) {
    println!("{what:<36} {}", Spread::of(ratios));
}

fn judge(what: &str, ratios: &[f64], wanted: f64) -> bool {
    let reached = Spread::of(ratios);
    let passed = reached.median >= wanted;
    let word = if passed { "passed" } else { "missed" };
    println!("{what:<36} {reached}, {wanted} is wanted: {word}");
    passed
}
