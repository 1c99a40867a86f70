//! Backends of `HealthProbe` that look at the network.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jarvis_core::clock::{SharedClock, SystemClock};
use jarvis_core::health::HealthProbe;
use jarvis_core::health::http::{HttpConfig, HttpProbe};
use jarvis_core::health::model::{ModelConfig, ModelProbe};
use jarvis_core::health::postgres::{PostgresConfig, PostgresProbe};
use jarvis_core::health::redis::{RedisConfig, RedisProbe};
use jarvis_core::health::tcp::{TcpConfig, TcpProbe};
use jarvis_core::testkit::health::{CASES, Mood, ProbeEnv, SECRET};
use jarvis_core::{Error, ErrorKind, Result};
use jarvis_tests::engines::RedisServer;
use jarvis_tests::targets::{Target, request_head};
use tokio::io::AsyncWriteExt;

use crate::harness::{self, Suite};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http,
    Tcp,
    Redis,
    Postgres,
    Model,
}

#[derive(Debug)]
struct Network {
    kind: Kind,
    targets: Mutex<Vec<Target>>,
    redis: Mutex<Vec<RedisServer>>,
}

const SICK: &str = "-ERR broken\r\n";

/// Says what it was asked, so that a probe that repeats it shows its secret.
async fn echo() -> Target {
    Target::serve(|mut stream| async move {
        let head = request_head(&mut stream).await?;
        let answer = format!(
            "HTTP/1.1 500 Internal Server Error\r\ncontent-length: {}\r\n\r\n{head}",
            head.len()
        );
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    })
    .await
}

impl Network {
    fn new(kind: Kind) -> Self {
        Self { kind, targets: Mutex::default(), redis: Mutex::default() }
    }

    async fn target(&self, mood: Mood) -> Target {
        match (mood, self.kind) {
            (Mood::Well, Kind::Model) => {
                Target::http("200 OK", &[], r#"{"data":[{"id":"small"}]}"#).await
            }
            (Mood::Well, _) => Target::http("200 OK", &[], "well").await,
            (Mood::Sick, Kind::Redis | Kind::Postgres) => {
                Target::serve(|mut stream| async move {
                    stream.write_all(SICK.as_bytes()).await?;
                    stream.shutdown().await
                })
                .await
            }
            (Mood::Sick, _) => echo().await,
            (Mood::Hung, _) => Target::silent().await,
            (_, Kind::Redis) => {
                Target::serve(|mut stream| async move {
                    stream.write_all(b"*60000\r\n").await?;
                    loop {
                        stream.write_all(&b":1\r\n".repeat(1_024)).await?;
                    }
                })
                .await
            }
            (_, Kind::Postgres) => {
                // No TLS, let in without a password, and then notices for ever.
                Target::serve(|mut stream| async move {
                    stream.write_all(b"NR\0\0\0\x08\0\0\0\0").await?;
                    loop {
                        stream.write_all(&b"N\0\0\0\x0aSLOG\0\0".repeat(1_024)).await?;
                    }
                })
                .await
            }
            _ => Target::endless("HTTP/1.1 200 OK\r\n\r\n", &[b'a'; 16_384]).await,
        }
    }

    fn look_at(&self, address: &str) -> Result<Arc<dyn HealthProbe>> {
        Ok(match self.kind {
            Kind::Http => {
                let config =
                    HttpConfig::new(format!("http://{address}/")).with_header("x-key", SECRET);
                Arc::new(HttpProbe::new(&config)?)
            }
            Kind::Tcp => {
                let config = TcpConfig::new(address)
                    .with_send(format!("GET /{SECRET} HTTP/1.0\r\n\r\n"))
                    .with_expect("well");
                Arc::new(TcpProbe::new(&config)?)
            }
            Kind::Redis => {
                let config = RedisConfig::new(format!("redis://:{SECRET}@{address}"));
                Arc::new(RedisProbe::new(&config)?)
            }
            Kind::Postgres => {
                let url = format!("postgres://jarvis:{SECRET}@{address}/postgres");
                Arc::new(PostgresProbe::new(&PostgresConfig::new(url).with_query("select 1"))?)
            }
            Kind::Model => {
                let config = ModelConfig::new(format!("http://{address}/v1"), "small");
                Arc::new(ModelProbe::new(&config.with_api_key(SECRET))?)
            }
        })
    }

    async fn real(&self) -> Result<Arc<dyn HealthProbe>> {
        if self.kind == Kind::Postgres {
            let url = harness::server("JARVIS_TEST_POSTGRES_URL")?;
            let config = PostgresConfig::new(url).with_query("select 1");
            return Ok(Arc::new(PostgresProbe::new(&config)?));
        }
        let server = RedisServer::start(&["--requirepass", SECRET]).await;
        let config = RedisConfig::new(server.url()).with_password(SECRET);
        self.redis.lock().unwrap_or_else(PoisonError::into_inner).push(server);
        Ok(Arc::new(RedisProbe::new(&config)?))
    }
}

#[async_trait]
impl ProbeEnv for Network {
    async fn probe(&self, mood: Mood) -> Result<Option<Arc<dyn HealthProbe>>> {
        if mood == Mood::Well && matches!(self.kind, Kind::Redis | Kind::Postgres) {
            return self.real().await.map(Some);
        }
        let target = self.target(mood).await;
        let probe = self.look_at(&target.address().to_string())?;
        self.targets.lock().unwrap_or_else(PoisonError::into_inner).push(target);
        Ok(Some(probe))
    }

    fn clock(&self) -> SharedClock {
        Arc::new(SystemClock::new())
    }

    async fn open(&self) -> Result<Option<usize>> {
        let targets = self.targets.lock().map_err(|_| {
            Error::new(ErrorKind::Internal, "a case panicked while it held the targets")
        })?;
        Ok(Some(targets.iter().map(Target::open).sum()))
    }
}

pub(crate) fn add(suite: &mut Suite) {
    for (name, kind) in [
        ("http", Kind::Http),
        ("tcp", Kind::Tcp),
        ("redis", Kind::Redis),
        ("postgres", Kind::Postgres),
        ("model", Kind::Model),
    ] {
        suite.backend(
            "health",
            name,
            CASES,
            |env: &Network| env,
            move || async move { Ok(Network::new(kind)) },
        );
    }
}
