//! A process of its own that uses its stores, forks as a pre-forking server does, and goes on in
//! both processes.
//!
//! `forking-child URL SQLITE PREFIX` says what it found in the child, then in the parent. The
//! child opens Redis anew. SQLite itself forbids it to open a file that was open before the fork.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use fork::{Fork, fork};
use jarvis_core::cache::{Cache, CachePolicy, NearCache, SetOptions};
use jarvis_core::clock::{SharedClock, SystemClock};
use jarvis_core::events::{
    BusPolicy, Delivery, Event, EventBus, Filter, Message, RedisBus, Subscription, TopicName,
};
use jarvis_core::session::{
    NewSession, RedisSessions, Save, SessionId, SessionPolicy, SessionStore, SqliteSessions,
};
use jarvis_core::store::redis::{Options, Redis};
use jarvis_core::store::sqlite::{self, Sqlite};
use jarvis_core::vocabulary::KeyPrefix;
use jarvis_core::{Error, ErrorKind, Result};
use jarvis_tests::child::{ended, say};
use jarvis_tests::targets::{pause, within};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

/// What nothing here takes.
const LONG: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, path, prefix] = arguments.as_slice() else {
        return ended(Err(Error::new(ErrorKind::InvalidInput, "URL SQLITE PREFIX")));
    };
    ended(run(url, path, prefix))
}

fn wrong(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Internal, what.into())
}

/// What a server has in Redis.
struct Stores {
    sessions: RedisSessions,
    cache: NearCache,
    bus: RedisBus,
    session: SessionId,
}

impl Stores {
    /// Opens and uses all of them.
    async fn open(url: &str, prefix: &str) -> Result<Self> {
        let clock = clock();
        let redis = Redis::open(url, &Options::new(), clock.clone())?;
        let own = KeyPrefix::new(prefix)?;
        let policy = SessionPolicy::default().with_prefix(own.clone());
        let sessions = RedisSessions::new(&redis, policy, clock.clone())?;
        let cache_policy = CachePolicy::new(prefix).with_deadline(LONG);
        let cache = NearCache::new(&redis, cache_policy, clock.clone())?;
        let bus = RedisBus::new(&redis, BusPolicy::new().with_prefix(own), clock)?;
        let session = sessions.create(NewSession::new()).await?.id;
        let stores = Self { sessions, cache, bus, session };
        stores.copy_something().await?;
        Ok(stores)
    }

    /// Until it is answered from this process's memory.
    async fn copy_something(&self) -> Result<()> {
        self.cache.set("k", "v".into(), SetOptions::new()).await?;
        while self.cache.stats().await?.near_hits == 0 {
            self.cache.get("k").await?;
            pause(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// After a fork all of it is refused, and says what to do.
    async fn are_refused(&self, file: &SqliteSessions) -> Result<()> {
        let answers = [
            ("session", self.sessions.load(&self.session).await.map(drop)),
            ("file", file.load(&self.session).await.map(drop)),
            ("copy", self.cache.get("k").await.map(drop)),
            ("cache", self.cache.get("nothing").await.map(drop)),
            ("subscribe", self.bus.subscribe(Filter::all()).await.map(drop)),
            ("publish", self.bus.publish(message("of the child")?).await.map(drop)),
        ];
        for (name, answer) in answers {
            let Err(error) = answer else { return Err(wrong(format!("{name} was answered"))) };
            let advice = if name == "file" { "after the fork" } else { "again in the child" };
            if !refuses(&error, advice) {
                return Err(wrong(format!("{name}: {error}")));
            }
        }
        Ok(())
    }

    /// Each works, and has what was there before the fork.
    async fn work(&self, before: &Self) -> Result<()> {
        let session = self.sessions.load(&before.session).await?;
        let session = session.ok_or_else(|| wrong("a session is lost"))?;
        self.sessions.save(Save::new(session)).await?;
        self.cache.set("k", "v".into(), SetOptions::new()).await?;
        self.cache.get("k").await?.ok_or_else(|| wrong("the cache lost it"))?;
        Ok(())
    }
}

fn refuses(error: &Error, advice: &str) -> bool {
    let says = error.message().contains(&format!("open it {advice}"));
    error.kind() == ErrorKind::Unsupported && says
}

/// SQLite's locks were the parent's: the same file is refused, whoever opens it, another is not.
async fn reopened_file_is_refused(path: &str) -> Result<()> {
    match Sqlite::open(path, &sqlite::Options::new()) {
        Err(error) if refuses(&error, "after the fork") => {}
        answer => return Err(wrong(format!("the parent's file: {answer:?}"))),
    }
    file(&format!("{path}.of-the-child")).await.map(drop)
}

fn clock() -> SharedClock {
    Arc::new(SystemClock::new())
}

async fn file(path: &str) -> Result<SqliteSessions> {
    let sqlite = Sqlite::open(path, &sqlite::Options::new())?;
    let file = SqliteSessions::new(&sqlite, SessionPolicy::default(), clock())?;
    file.create(NewSession::new()).await?;
    Ok(file)
}

fn message(text: &str) -> Result<Event> {
    Ok(Event::Message(Message::new(TopicName::new("forked")?, json!(text))?))
}

async fn hear(from: &mut Box<dyn Subscription>, text: &str) -> Result<()> {
    loop {
        match from.next().await {
            Some(Delivery::Event(envelope)) if envelope.event == message(text)? => return Ok(()),
            Some(Delivery::Event(_)) => {}
            other => return Err(wrong(format!("instead of {text:?}: {other:?}"))),
        }
    }
}

fn runtime() -> Result<Runtime> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|error| wrong("no runtime").with_source(error))
}

/// A hang is an error.
async fn in_time(who: &str, work: impl Future<Output = Result<()>>) -> Result<()> {
    let done = within(LONG, work).await;
    done.unwrap_or_else(|| Err(wrong(format!("the {who} hangs"))))
}

fn run(url: &str, path: &str, prefix: &str) -> Result<()> {
    let before = runtime()?;
    let stores = before.block_on(Stores::open(url, prefix))?;
    let file = before.block_on(file(path))?;
    let mut heard = before.block_on(stores.bus.subscribe(Filter::all()))?;
    match fork().map_err(|error| wrong("no fork").with_source(error))? {
        Fork::Child => {
            let work = async move {
                stores.are_refused(&file).await?;
                let own = Stores::open(url, prefix).await?;
                own.work(&stores).await?;
                // As when a garbage collector finds them.
                drop((stores, file, heard));
                reopened_file_is_refused(path).await?;
                own.bus.publish(message("from the child")?).await?;
                say("the child works");
                Ok(())
            };
            let done = runtime().and_then(|after| after.block_on(in_time("child", work)));
            if let Err(error) = &done {
                say(&error.to_string());
            }
            // Nothing of the parent's is ended here.
            std::process::exit(i32::from(done.is_err()));
        }
        Fork::Parent(child) => {
            let status = fork::waitpid(child).map_err(|error| wrong("wait").with_source(error))?;
            if status != 0 {
                return Err(wrong(format!("the child ended with {status}")));
            }
            before.block_on(in_time("parent", async {
                for _ in 0..50 {
                    stores.work(&stores).await?;
                }
                file.create(NewSession::new()).await?;
                hear(&mut heard, "from the child").await?;
                stores.bus.publish(message("from the parent")?).await?;
                hear(&mut heard, "from the parent").await?;
                say("the parent works");
                Ok(())
            }))
        }
    }
}
