//! Faults of databases, 14 and 15, on real servers: what the probe says, and whether that may lead
//! to a restart.

#![expect(clippy::expect_used, reason = "a test that can't set its stage has to stop")]

use std::sync::Arc;
use std::time::Duration;

use jarvis_core::clock::SystemClock;
use jarvis_core::health::postgres::{PostgresConfig, PostgresProbe, PostgresRole};
use jarvis_core::health::redis::{RedisConfig, RedisProbe, RedisRole};
use jarvis_core::health::tls::TlsOptions;
use jarvis_core::health::{HealthProbe, Observation, ProbeContext};
use jarvis_core::vocabulary::{FailureKind, Verdict};
use jarvis_tests::engines::{PostgresServer, RedisServer};
use jarvis_tests::targets::{Identity, Target, until};

const SHORT: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(10);

async fn ask(probe: &dyn HealthProbe, timeout: Duration) -> Observation {
    let context = ProbeContext::new(Arc::new(SystemClock::new()), timeout);
    probe.probe(context).await.expect("it could be measured")
}

async fn redis(config: RedisConfig) -> Observation {
    ask(&RedisProbe::new(&config).expect("a configuration"), LONG).await
}

async fn postgres(config: PostgresConfig) -> Observation {
    ask(&PostgresProbe::new(&config).expect("a configuration"), LONG).await
}

#[track_caller]
fn says(observation: &Observation, verdict: Verdict, kind: FailureKind, may_restart: bool) {
    assert_eq!((observation.verdict, observation.kind), (verdict, Some(kind)), "{observation:?}");
    assert_eq!(kind.may_restart(), may_restart);
}

#[track_caller]
fn passes(observation: &Observation) {
    assert_eq!((observation.verdict, observation.kind), (Verdict::Pass, None), "{observation:?}");
}

fn fact(observation: &Observation, name: &str) -> Option<String> {
    let found = observation.facts.iter().find(|(fact, _)| fact == name);
    found.and_then(|(_, value)| value.as_str().map(str::to_owned))
}

#[tokio::test]
async fn fault_15_redis_passwords_are_told_and_never_restart_anything() {
    let server = RedisServer::start(&["--requirepass", "hunter2"]).await;
    says(&redis(RedisConfig::new(server.url())).await, Verdict::Fail, FailureKind::Auth, false);
    let wrong = redis(RedisConfig::new(server.url()).with_password("hunter3")).await;
    says(&wrong, Verdict::Fail, FailureKind::Auth, false);
    assert!(!format!("{wrong:?}").contains("hunter"), "{wrong:?}");
    let right = redis(RedisConfig::new(server.url()).with_password("hunter2")).await;
    passes(&right);
    assert_eq!(fact(&right, "role").as_deref(), Some("master"));

    let open = RedisServer::start(&[]).await;
    passes(&redis(RedisConfig::new(open.url())).await);
    let needless = redis(RedisConfig::new(open.url()).with_password("hunter2")).await;
    says(&needless, Verdict::Warn, FailureKind::Auth, false);
}

#[tokio::test]
async fn fault_15_redis_that_loads_is_not_ready() {
    let server = RedisServer::start(&["--enable-debug-command", "yes"]).await;
    let _ = server.cli(&["DEBUG", "POPULATE", "20000", "key", "100"]);
    assert!(server.cli(&["DBSIZE"]).contains("20000"));
    let folder = server.save_and_stop().await;
    // A tenth of a second a key: it loads until it is killed.
    let slow = ["--key-load-delay", "100000", "--loading-process-events-interval-bytes", "1024"];
    let server = RedisServer::spawn(folder, 0, &slow);
    until("redis-server listens", async || server.socket().exists()).await;
    let config = RedisConfig::new(server.url());
    until("redis-server says that it loads", async || {
        let observation = redis(config.clone()).await;
        observation.kind == Some(FailureKind::NotReady)
    })
    .await;
    says(&redis(config).await, Verdict::Fail, FailureKind::NotReady, false);
}

#[tokio::test]
async fn fault_15_redis_that_can_not_save_degrades() {
    let server =
        RedisServer::start(&["--save", "3600", "1", "--enable-protected-configs", "yes"]).await;
    let folder = tempfile::tempdir().unwrap();
    let gone = folder.path().join("gone");
    std::fs::create_dir(&gone).unwrap();
    assert!(server.cli(&["CONFIG", "SET", "dir", &gone.display().to_string()]).contains("OK"));
    std::fs::remove_dir(&gone).unwrap();
    let _ = server.cli(&["BGSAVE"]);
    until("the save fails", async || {
        server.cli(&["INFO", "persistence"]).contains("rdb_last_bgsave_status:err")
    })
    .await;
    let observation = redis(RedisConfig::new(server.url())).await;
    says(&observation, Verdict::Warn, FailureKind::Resource, false);
    assert!(observation.message.contains("MISCONF"), "{}", observation.message);
}

#[tokio::test]
async fn fault_15_redis_after_a_failover_is_told_and_never_restarted() {
    let master = RedisServer::with_port(&[]).await;
    let other = RedisServer::start(&[]).await;
    let config = RedisConfig::new(other.url()).with_role(RedisRole::Master);
    passes(&redis(config.clone()).await);
    // The failover: the one that was master follows the other now.
    let follows = ["REPLICAOF", "127.0.0.1", &master.port().to_string()];
    assert!(other.cli(&follows).contains("OK"));
    let observation = redis(config).await;
    says(&observation, Verdict::Fail, FailureKind::Resource, false);
    assert!(observation.message.contains("is a replica"), "{}", observation.message);
    let follower = RedisConfig::new(other.url()).with_role(RedisRole::Replica);
    until("the replica is linked", async || redis(follower.clone()).await.verdict == Verdict::Pass)
        .await;
    let network = RedisConfig::new(format!("redis://127.0.0.1:{}", master.port()));
    passes(&redis(network.with_role(RedisRole::Master)).await);
    drop(master);
    until("the replica has lost its master", async || {
        let observation = redis(follower.clone()).await;
        (observation.verdict, observation.kind) == (Verdict::Warn, Some(FailureKind::Resource))
    })
    .await;
}

#[tokio::test]
async fn fault_15_redis_that_is_full_hangs_or_is_no_redis() {
    let server = RedisServer::start(&["--maxclients", "1"]).await;
    let _held = std::os::unix::net::UnixStream::connect(server.socket()).unwrap();
    until("the held connection is counted", async || {
        redis(RedisConfig::new(server.url())).await.kind == Some(FailureKind::RateLimited)
    })
    .await;
    assert!(!FailureKind::RateLimited.may_restart());

    let server = RedisServer::start(&[]).await;
    server.signal("STOP");
    let probe = RedisProbe::new(&RedisConfig::new(server.url())).unwrap();
    says(&ask(&probe, SHORT).await, Verdict::Fail, FailureKind::Timeout, true);
    server.signal("CONT");

    let web = Target::answering("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let config = RedisConfig::new(format!("redis://{}", web.address()));
    let probe = RedisProbe::new(&config).unwrap();
    // It waits for the end of a request that never comes.
    says(&ask(&probe, SHORT).await, Verdict::Fail, FailureKind::Timeout, true);
    let ssh = Target::serve(|mut stream| async move {
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"SSH-2.0-x\r\n").await?;
        std::future::pending().await
    })
    .await;
    let config = RedisConfig::new(format!("redis://{}", ssh.address()));
    says(&redis(config).await, Verdict::Fail, FailureKind::Protocol, true);
}

#[tokio::test]
async fn redis_over_tls_is_measured_too() {
    let identity = Identity::signed("localhost", 90);
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("authority.pem");
    std::fs::write(&authority, identity.authority()).unwrap();
    let server = RedisServer::start(&[]).await;
    let (acceptor, socket) = (identity.acceptor(), server.socket());
    // Debian's redis-server may be built without TLS, so something in front of it speaks it.
    let front = Target::serve(move |stream| {
        let (acceptor, socket) = (acceptor.clone(), socket.clone());
        async move {
            let mut secure = acceptor.accept(stream).await?;
            let mut plain = tokio::net::UnixStream::connect(socket).await?;
            tokio::io::copy_bidirectional(&mut secure, &mut plain).await.map(|_| ())
        }
    })
    .await;
    let url = format!("rediss://localhost:{}", front.port());
    let trusting = TlsOptions::default().with_ca_file(authority);
    let observation = redis(RedisConfig::new(&url).with_tls(trusting)).await;
    passes(&observation);
    assert!(observation.phases.tls.is_some());
    let distrusting = redis(RedisConfig::new(&url).with_tls(TlsOptions::default().with_ca_file({
        let path = folder.path().join("other.pem");
        std::fs::write(&path, Identity::signed("localhost", 90).authority()).unwrap();
        path
    })))
    .await;
    says(&distrusting, Verdict::Fail, FailureKind::Tls, false);
}

#[tokio::test]
async fn fault_14_postgres_in_all_its_moods() {
    let mut server = PostgresServer::new();
    server.start("-c max_connections=6 -c superuser_reserved_connections=0 -c autovacuum=off");
    let open = || PostgresConfig::new(server.url());

    // The handshake needs no password, and leaves nothing in the log.
    let stranger = format!("postgres://127.0.0.1:{}", server.port());
    let logged = server.log();
    passes(&postgres(PostgresConfig::new(&stranger)).await);
    assert_eq!(server.log(), logged);
    let through_socket =
        format!("postgres:///postgres?host={}&port={}", server.folder().display(), server.port());
    passes(&postgres(PostgresConfig::new(through_socket)).await);

    passes(&postgres(open().with_query("select 1")).await);
    let primary = postgres(open().with_role(PostgresRole::Primary)).await;
    passes(&primary);
    assert_eq!(fact(&primary, "role").as_deref(), Some("primary"));
    passes(&postgres(open().with_query("select 'x' || 'y'").with_expect("xy")).await);
    let other = postgres(open().with_expect("2")).await;
    says(&other, Verdict::Fail, FailureKind::Body, true);

    let wrong = server.url().replace(":jarvis@", ":hunter2@");
    let observation = postgres(PostgresConfig::new(wrong).with_query("select 1")).await;
    says(&observation, Verdict::Fail, FailureKind::Auth, false);
    assert!(!format!("{observation:?}").contains("hunter2"));
    let without = PostgresConfig::new(&stranger).with_query("select 1");
    says(&postgres(without).await, Verdict::Fail, FailureKind::Auth, false);

    // A lock that never ends, and nothing of ours left on the server afterwards.
    assert!(server.session("create table t (n int)").succeeded());
    let locked = "select count(*) from pg_locks where relation = 't'::regclass and granted and mode = 'AccessExclusiveLock'";
    let holder = server.session("begin; lock table t; select pg_sleep(600)");
    until("the table is locked", async || {
        postgres(open().with_query(locked).with_expect("1")).await.verdict == Verdict::Pass
    })
    .await;
    let hung = PostgresProbe::new(&open().with_query("select count(*) from t")).unwrap();
    says(&ask(&hung, SHORT).await, Verdict::Fail, FailureKind::Timeout, true);
    let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'";
    until("nobody waits for the lock", async || {
        postgres(open().with_query(waiting).with_expect("0")).await.verdict == Verdict::Pass
    })
    .await;
    drop(holder);

    // Every connection taken.
    let _held: Vec<_> = (0..6).map(|_| server.session("select pg_sleep(600)")).collect();
    until("the server is full", async || {
        postgres(open()).await.kind == Some(FailureKind::RateLimited)
    })
    .await;
    says(&postgres(open()).await, Verdict::Fail, FailureKind::RateLimited, false);
    let asked = postgres(open().with_query("select 1")).await;
    says(&asked, Verdict::Fail, FailureKind::RateLimited, false);
    server.stop();
    says(&postgres(open()).await, Verdict::Fail, FailureKind::Refused, true);

    // A hot standby answers, and is not what was expected.
    server.become_standby();
    server.start("-c hot_standby=on -c max_connections=6");
    let open = || PostgresConfig::new(server.url());
    passes(&postgres(open().with_role(PostgresRole::Replica)).await);
    let standby = postgres(open().with_role(PostgresRole::Primary)).await;
    says(&standby, Verdict::Fail, FailureKind::Resource, false);
    assert!(standby.message.contains("is a replica"), "{}", standby.message);
    let writing = postgres(open().with_query("create table u (n int)")).await;
    says(&writing, Verdict::Fail, FailureKind::Resource, false);
    server.stop();

    // Still recovering, and not yet letting anybody in.
    server.start("-c hot_standby=off -c max_connections=6");
    let open = PostgresConfig::new(server.url());
    let observation = postgres(open.clone()).await;
    says(&observation, Verdict::Fail, FailureKind::NotReady, false);
    let asked = postgres(open.with_query("select 1")).await;
    says(&asked, Verdict::Fail, FailureKind::NotReady, false);
}

#[tokio::test]
async fn postgres_over_tls_is_measured_too() {
    let identity = Identity::signed("localhost", 2);
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("authority.pem");
    std::fs::write(&authority, identity.authority()).unwrap();
    let mut server = PostgresServer::new();
    server.write("server.crt", &identity.chain_pem());
    server.write("server.key", &identity.key_pem());
    server.start("-c ssl=on");
    let url =
        format!("postgres://jarvis:jarvis@localhost:{}/postgres?sslmode=require", server.port());
    for query in [None, Some("select ssl::text from pg_stat_ssl where pid = pg_backend_pid()")] {
        let mut config = PostgresConfig::new(&url);
        if let Some(query) = query {
            config = config.with_query(query).with_expect("true");
        }
        let observation = postgres(config.clone()).await;
        passes(&observation);
        assert!(observation.phases.tls.is_some());
        let judged = TlsOptions::default().with_ca_file(&authority);
        let observation = postgres(config.with_tls(judged)).await;
        says(&observation, Verdict::Fail, FailureKind::Tls, false);
        assert!(observation.message.contains("ends in 2 days"), "{}", observation.message);
    }
    server.stop();
    server.start("-c ssl=off");
    let url = format!("postgres://localhost:{}/?sslmode=require", server.port());
    says(&postgres(PostgresConfig::new(url)).await, Verdict::Fail, FailureKind::Tls, false);

    let silent = Target::silent().await;
    let config = PostgresConfig::new(format!("postgres://{}/", silent.address()));
    let probe = PostgresProbe::new(&config).unwrap();
    says(&ask(&probe, SHORT).await, Verdict::Fail, FailureKind::Timeout, true);
    let web = Target::serve(|mut stream| async move {
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await
    })
    .await;
    let config = PostgresConfig::new(format!("postgres://{}/", web.address()));
    says(&postgres(config).await, Verdict::Fail, FailureKind::Protocol, true);
}
