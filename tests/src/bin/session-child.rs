//! A process of its own for the tests of session stores: counts, or writes until it is killed.
//!
//! What it prints is its acknowledgement: a line leaves only after the store answered.

use std::sync::Arc;
use std::time::Duration;

use jarvis_core::clock::SystemClock;
use jarvis_core::session::{
    NewSession, RedisSessions, SessionData, SessionId, SessionPolicy, SessionStore, SqliteSessions,
};
use jarvis_core::store::redis::{self, Redis};
use jarvis_core::store::sqlite::{self, Sqlite};
use jarvis_core::vocabulary::KeyPrefix;
use jarvis_core::{Error, ErrorKind, Result};
use jarvis_tests::child::{ended, number, say};

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["count", url, prefix, id, callers, each] => count(url, prefix, id, callers, each).await,
        ["write", url, prefix, name] => write(url, prefix, name).await,
        _ => Err(Error::new(ErrorKind::InvalidInput, "count or write")),
    };
    ended(done)
}

fn open(url: &str, prefix: &str) -> Result<Arc<dyn SessionStore>> {
    let clock = Arc::new(SystemClock::new());
    let policy = SessionPolicy::default();
    Ok(match url.strip_prefix("sqlite:") {
        Some(path) => {
            let sqlite = Sqlite::open(path, &sqlite::Options::new())?;
            Arc::new(SqliteSessions::new(&sqlite, policy, clock)?)
        }
        None => {
            let redis = Redis::open(url, &redis::Options::new(), clock.clone())?;
            let policy = policy.with_prefix(KeyPrefix::new(prefix)?);
            Arc::new(RedisSessions::new(&redis, policy, clock)?)
        }
    })
}

/// So many callers add one to `{"n":…}` so often.
async fn count(url: &str, prefix: &str, id: &str, callers: &str, each: &str) -> Result<()> {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Counter {
        n: u64,
    }
    let store = open(url, prefix)?;
    let (id, each) = (SessionId::new(id)?, number(each)?);
    let callers = (0..number(callers)?).map(|_| async {
        for _ in 0..each {
            let mut change = |session: &mut jarvis_core::session::Session| {
                let Counter { n } = session.data.get()?;
                session.data = SessionData::of(&Counter { n: n + 1 })?;
                Ok(())
            };
            let updated = store.update(&id, Duration::from_secs(60), &mut change).await?;
            updated.ok_or_else(|| Error::new(ErrorKind::NotFound, "the counter is gone"))?;
        }
        Ok::<(), Error>(())
    });
    futures_util::future::try_join_all(callers).await?;
    say("done");
    Ok(())
}

/// Makes sessions and changes them, for ever. Says `id version` after each answer.
async fn write(url: &str, prefix: &str, name: &str) -> Result<()> {
    let store = open(url, prefix)?;
    for n in 0.. {
        let id = SessionId::new(format!("{name}-{n}"))?;
        let made = store.create(NewSession::new().with_id(id.clone())).await?;
        say(&format!("{name}-{n} {}", made.version));
        let saved = store.update(&id, Duration::from_secs(30), &mut |_| Ok(())).await?;
        say(&format!("{name}-{n} {}", saved.map_or(0, |session| session.version)));
    }
    Ok(())
}
