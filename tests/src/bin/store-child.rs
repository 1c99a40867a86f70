//! A process of its own for the store's tests: writes, is limited, is stopped, is killed.
//!
//! What it prints is its acknowledgement: a line leaves only after the store answered.

use std::io::BufRead;
use std::sync::Arc;
use std::time::Duration;

use jarvis_core::clock::{SharedClock, SystemClock};
use jarvis_core::lease::{
    Attempt, Lease, Limit, Reservation, RestartLedger, SqliteLease, SqliteLedger,
};
use jarvis_core::store::sqlite::{Options, Sqlite};
use jarvis_core::testkit::rows::Rows;
use jarvis_core::vocabulary::{FencingToken, HolderId, IntentId, ServiceId};
use jarvis_core::{Error, ErrorKind, Result};
use jarvis_tests::child::{ended, number, say};
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["append", file, name, count, callers] => append(file, name, count, callers).await,
        ["full", file] => full(file).await,
        ["hold", file] => hold(file).await,
        ["keep", file] => keep(file).await,
        ["open", file] => Sqlite::open(file, &Options::new()).map(|_| say("opened")),
        _ => Err(Error::new(ErrorKind::InvalidInput, "append, full, hold, keep or open")),
    };
    ended(done)
}

async fn append(file: &str, name: &str, count: &str, callers: &str) -> Result<()> {
    let rows = Rows::new(&Sqlite::open(file, &Options::new())?);
    let (count, callers) = (number(count)?, number(callers)?);
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let (rows, name) = (rows.clone(), name.to_owned());
            tokio::spawn(async move {
                for row in 0..count {
                    let body = format!("{name}-{caller}-{row}");
                    rows.append(body.clone()).await?;
                    say(&body);
                }
                Ok::<(), Error>(())
            })
        })
        .collect();
    for task in tasks {
        task.await.map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))??;
    }
    Ok(())
}

fn attempt(intent: &str, token: u64) -> Result<Attempt> {
    let attempt =
        Attempt::new(ServiceId::new("api")?, IntentId::new(intent)?, FencingToken::new(token));
    Ok(attempt.with_limit(Limit { max: 3, window: Duration::from_secs(86_400) }))
}

fn tell(answer: &Result<Reservation>) {
    match answer {
        Ok(Reservation::Granted) => say("granted"),
        Ok(_) => say("refused"),
        Err(error) => say(&format!("{} {error}", error.code())),
    }
}

/// Two attempts, then a file size limit that lets nothing more through, then none again.
async fn full(file: &str) -> Result<()> {
    // With a handler in place a write over the limit fails instead of killing the process.
    let _handler = signal(SignalKind::from_raw(libc::SIGXFSZ))?;
    let ledger = SqliteLedger::new(&Sqlite::open(file, &Options::new())?, clock());
    for intent in ["1", "2"] {
        tell(&ledger.reserve(attempt(intent, 1)?).await);
    }
    limit_files(Some(4_096))?;
    tell(&ledger.reserve(attempt("3", 1)?).await);
    limit_files(None)?;
    tell(&ledger.reserve(attempt("4", 1)?).await);
    tell(&ledger.reserve(attempt("5", 1)?).await);
    Ok(())
}

fn limit_files(bytes: Option<u64>) -> Result<()> {
    let limit = Rlimit { current: bytes, maximum: None };
    setrlimit(Resource::Fsize, limit).map_err(|error| Error::from(std::io::Error::from(error)))
}

fn clock() -> SharedClock {
    Arc::new(SystemClock::new())
}

/// Takes the lease for an hour, says its token, and waits to be killed.
async fn keep(file: &str) -> Result<()> {
    let lease = SqliteLease::new(&Sqlite::open(file, &Options::new())?, clock());
    let grant = lease
        .acquire(&HolderId::new("killed one")?, Duration::from_secs(3_600))
        .await?
        .ok_or_else(|| Error::new(ErrorKind::Conflict, "somebody else has the lease"))?;
    say(&grant.token.to_string());
    std::future::pending().await
}

/// Takes the lease, says its token, waits for a line, and then acts as if it still had it.
async fn hold(file: &str) -> Result<()> {
    let sqlite = Sqlite::open(file, &Options::new())?;
    let (lease, ledger) = (SqliteLease::new(&sqlite, clock()), SqliteLedger::new(&sqlite, clock()));
    let holder = HolderId::new("stopped one")?;
    let grant = lease
        .acquire(&holder, Duration::from_millis(300))
        .await?
        .ok_or_else(|| Error::new(ErrorKind::Conflict, "somebody else has the lease"))?;
    say(&grant.token.to_string());
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    tell(&ledger.reserve(attempt("late", grant.token.number())?).await);
    say(&format!("renewed {}", lease.renew(&grant, Duration::from_secs(1)).await?));
    Ok(())
}
