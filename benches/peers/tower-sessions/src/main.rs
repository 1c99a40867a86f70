//! A peer of the session bench: tower-sessions-redis-store over one connection of fred.
//!
//!   tower-sessions tower-sessions PORT CALLERS SESSION-JSON
//!
//! Reads "get SECONDS" or "set SECONDS" a line, runs that many callers for so long, and answers with
//! the operations a second. Says "ready" first. A session is stored as MessagePack, by SET XX EXAT.

use std::io::BufRead as _;
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use tokio::task::JoinSet;
use tower_sessions_core::SessionStore as _;
use tower_sessions_core::session::{Id, Record};
use tower_sessions_redis_store::RedisStore;
use tower_sessions_redis_store::fred::prelude::{Builder, Client, ClientLike as _, Config};

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn pace(
    store: &RedisStore<Client>,
    records: &[Record],
    loads: bool,
    length: Duration,
) -> Result<f64, Failure> {
    let began = Instant::now();
    let mut callers = JoinSet::new();
    for record in records {
        let (store, record) = (store.clone(), record.clone());
        callers.spawn(async move {
            let mut done = 0_u64;
            while began.elapsed() < length {
                if loads {
                    store.load(&record.id).await?.ok_or("the session is gone")?;
                } else {
                    store.save(&record).await?;
                }
                done += 1;
            }
            Ok::<_, Failure>(done)
        });
    }
    let mut done = 0;
    while let Some(each) = callers.join_next().await {
        done += each??;
    }
    Ok(done as f64 / began.elapsed().as_secs_f64())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let [port, callers, session] = arguments.as_slice() else {
        return Err("PORT CALLERS SESSION-JSON are missing".into());
    };
    let config = Config::from_url(&format!("redis://127.0.0.1:{port}"))?;
    let client = Builder::from_config(config)
        .with_connection_config(|connection| connection.tcp.nodelay = Some(true))
        .build()?;
    client.init().await?;
    let store = RedisStore::new(client);
    let data: std::collections::HashMap<String, serde_json::Value> = serde_json::from_str(session)?;
    let expiry_date = OffsetDateTime::now_utc() + Duration::from_secs(3_600);
    let mut records = Vec::new();
    for _ in 0..callers.parse()? {
        let mut record = Record { id: Id::default(), data: data.clone(), expiry_date };
        store.create(&mut record).await?;
        records.push(record);
    }
    if store.load(&records[0].id).await?.is_none_or(|loaded| loaded.data != data) {
        return Err("the session did not come back as it was".into());
    }
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (operation, seconds) = line.split_once(' ').ok_or("an operation and seconds")?;
        let length = Duration::from_secs_f64(seconds.parse()?);
        println!("{}", pace(&store, &records, operation == "get", length).await?);
    }
    Ok(())
}
