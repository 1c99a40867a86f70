//! Faults of network targets, 1 to 13: what the probe says, and whether that may lead to a restart.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that can't set its stage has to stop"
)]

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use jarvis_core::clock::{Clock, ClockExt, SystemClock};
use jarvis_core::health::dns::{Lookup, Resolver};
use jarvis_core::health::http::{HttpConfig, HttpProbe};
use jarvis_core::health::tcp::{TcpConfig, TcpProbe};
use jarvis_core::health::tls::TlsOptions;
use jarvis_core::health::{HealthProbe, Observation, ProbeContext};
use jarvis_core::vocabulary::{FailureKind, Verdict};
use jarvis_tests::targets::{ClosedPort, FullBacklog, Identity, Target, http_answer, request_head};
use serde_json::json;
use tokio::io::AsyncWriteExt;

const SHORT: Duration = Duration::from_millis(400);
const LONG: Duration = Duration::from_secs(10);

fn clock() -> Arc<SystemClock> {
    Arc::new(SystemClock::new())
}

async fn ask(probe: &dyn HealthProbe, timeout: Duration) -> Observation {
    probe.probe(ProbeContext::new(clock(), timeout)).await.expect("it could be measured")
}

fn http(config: serde_json::Value) -> HttpProbe {
    let config: HttpConfig = serde_json::from_value(config).expect("a configuration");
    HttpProbe::new(&config).expect("a valid one")
}

async fn get(url: &str, timeout: Duration) -> Observation {
    ask(&http(json!({ "url": url })), timeout).await
}

/// Fails with one of these, and that may or may not lead to a restart.
#[track_caller]
fn fails(observation: &Observation, kind: FailureKind, may_restart: bool) {
    assert_eq!(
        (observation.verdict, observation.kind),
        (Verdict::Fail, Some(kind)),
        "{observation:?}"
    );
    assert_eq!(kind.may_restart(), may_restart);
}

#[track_caller]
fn passes(observation: &Observation) {
    assert_eq!((observation.verdict, observation.kind), (Verdict::Pass, None), "{observation:?}");
}

#[tokio::test]
async fn fault_01_a_full_backlog_is_a_timeout_and_delays_nobody() {
    let full = FullBacklog::new().await;
    let well = Target::http("200 OK", &[], "ok").await;
    let stuck = format!("http://{}/", full.address());
    let hung = tokio::spawn(async move { get(&stuck, SHORT).await });
    let fine = get(&well.url("/"), LONG).await;
    passes(&fine);
    assert!(!hung.is_finished(), "the well target was answered while the other hung");
    let hung = hung.await.unwrap();
    fails(&hung, FailureKind::Timeout, true);
    assert!(hung.message.contains("no connection within 400ms"), "{}", hung.message);
    let tcp = TcpProbe::new(&TcpConfig::new(full.address().to_string())).unwrap();
    fails(&ask(&tcp, SHORT).await, FailureKind::Timeout, true);
    assert!(full.waiting() > 0);
}

#[tokio::test]
async fn fault_02_a_connection_without_a_byte_is_a_timeout() {
    let silent = Target::silent().await;
    let observation = get(&silent.url("/"), SHORT).await;
    fails(&observation, FailureKind::Timeout, true);
    assert!(observation.message.contains("connected, but no answer"), "{}", observation.message);
    assert!(observation.phases.connect.is_some() && observation.phases.first_byte.is_none());
    assert!(observation.latency >= SHORT && observation.latency < LONG);
    let config = TcpConfig::new(silent.address().to_string()).with_expect("hello");
    fails(&ask(&TcpProbe::new(&config).unwrap(), SHORT).await, FailureKind::Timeout, true);
}

#[tokio::test]
async fn fault_03_a_slow_loris_runs_into_the_total_timeout() {
    let slow = Target::trickling("HTTP/1.1 200 OK\r\nx-slow: ", "a").await;
    let observation = get(&slow.url("/"), SHORT).await;
    fails(&observation, FailureKind::Timeout, true);
    assert!(observation.message.contains("started but did not finish"), "{}", observation.message);
    assert!(observation.phases.first_byte.is_some());
    let fast = Target::endless("HTTP/1.1 200 OK\r\nx-long: ", &[b'a'; 16_384]).await;
    fails(&get(&fast.url("/"), LONG).await, FailureKind::Protocol, true);
}

#[tokio::test]
async fn fault_04_an_endless_body_is_read_up_to_its_limit() {
    const CHUNK: &[u8] = b"2000\r\n";
    let mut chunk = CHUNK.to_vec();
    chunk.extend([b'a'; 0x2000]);
    chunk.extend(b"\r\n");
    let chunk: &'static [u8] = Box::leak(chunk.into_boxed_slice());
    let endless =
        Target::endless("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", chunk).await;
    passes(&get(&endless.url("/"), LONG).await);
    let wanting = http(json!({ "url": endless.url("/"), "expect": { "body_contains": "b" } }));
    let observation = ask(&wanting, LONG).await;
    fails(&observation, FailureKind::Body, true);
    assert!(observation.message.contains("65536 bytes"), "{}", observation.message);
    let huge =
        Target::endless("HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n", chunk).await;
    passes(&get(&huge.url("/"), LONG).await);
}

#[tokio::test]
async fn fault_05_a_compressed_body_is_never_unpacked() {
    let bomb = "\u{1f}b".repeat(1_000);
    let target = Target::http("200 OK", &["content-encoding: gzip"], &bomb).await;
    passes(&get(&target.url("/"), LONG).await);
    let wanting = http(json!({ "url": target.url("/"), "expect": { "json": { "$.a": 1 } } }));
    let observation = ask(&wanting, LONG).await;
    fails(&observation, FailureKind::Body, true);
    assert!(observation.message.contains("encoded as gzip"), "{}", observation.message);
}

#[tokio::test]
async fn fault_06_a_wrong_body_with_200_fails() {
    let target = Target::http("200 OK", &[], "the wrong page").await;
    let probe = http(json!({ "url": target.url("/"), "expect": { "body_contains": "ready" } }));
    fails(&ask(&probe, LONG).await, FailureKind::Body, true);
    let tcp = TcpConfig::new(target.address().to_string())
        .with_send("GET / HTTP/1.0\r\n\r\n")
        .with_expect("ready");
    fails(&ask(&TcpProbe::new(&tcp).unwrap(), LONG).await, FailureKind::Body, true);
}

#[tokio::test]
async fn fault_07_a_json_status_of_degraded_degrades_and_down_fails() {
    let degraded = Target::http("200 OK", &[], r#"{"status":"degraded"}"#).await;
    let observation = get(&degraded.url("/"), LONG).await;
    assert_eq!((observation.verdict, observation.kind), (Verdict::Warn, Some(FailureKind::Body)));
    let down = Target::http("200 OK", &[], r#"{"status":"DOWN"}"#).await;
    fails(&get(&down.url("/"), LONG).await, FailureKind::Body, true);
}

#[tokio::test]
async fn fault_08_redirects_are_followed_only_as_told() {
    let circle = Target::http("302 Found", &["location: /again"], "").await;
    fails(&get(&circle.url("/"), LONG).await, FailureKind::ClientError, false);
    let following = http(json!({ "url": circle.url("/"), "follow": 5 }));
    let observation = ask(&following, LONG).await;
    fails(&observation, FailureKind::ClientError, false);
    assert!(observation.message.contains("circle"), "{}", observation.message);
    let allowed = http(json!({ "url": circle.url("/"), "expect": { "status": [200, 302] } }));
    passes(&ask(&allowed, LONG).await);

    let (heard, hears) = tokio::sync::oneshot::channel();
    let heard = Arc::new(std::sync::Mutex::new(Some(heard)));
    let other = Target::serve(move |mut stream| {
        let heard = Arc::clone(&heard);
        async move {
            let head = request_head(&mut stream).await?;
            if let Some(heard) = heard.lock().unwrap().take() {
                heard.send(head).ok();
            }
            stream.write_all(&http_answer("200 OK", &[], "ok")).await
        }
    })
    .await;
    let location = format!("location: {}", other.url("/landing"));
    let leaving = Target::http("301 Moved Permanently", &[&location], "").await;
    let mut config =
        json!({ "url": leaving.url("/"), "follow": 1, "headers": { "x-key": "hunter2" } });
    let observation = ask(&http(config.clone()), LONG).await;
    fails(&observation, FailureKind::ClientError, false);
    assert_eq!(other.connections(), 0);
    config["follow_other_hosts"] = true.into();
    passes(&ask(&http(config), LONG).await);
    let head = hears.await.unwrap();
    assert!(head.starts_with("GET /landing ") && !head.contains("hunter2"), "{head}");
}

#[tokio::test]
async fn fault_09_a_dead_kept_connection_is_no_false_up() {
    // Answers once on each connection, then says nothing more, as after a cable was pulled.
    let vanishing = Target::serve(|mut stream| async move {
        request_head(&mut stream).await?;
        stream.write_all(&http_answer("200 OK", &[], "ok")).await?;
        std::future::pending().await
    })
    .await;
    let probe = http(json!({ "url": vanishing.url("/"), "reuse": true }));
    let again = |timeout| ProbeContext::new(clock(), timeout).with_reuse();
    passes(&probe.probe(again(LONG)).await.unwrap());
    let observation = probe.probe(again(SHORT)).await.unwrap();
    fails(&observation, FailureKind::Timeout, true);
    assert_eq!(vanishing.connections(), 1, "the second call used the kept connection");
    // A verification makes a new one, and so does the next call after the failure.
    passes(&ask(&probe, LONG).await);
    assert_eq!(vanishing.connections(), 2);

    // A server that closes an idle connection is not sick for that.
    let closing = Target::http("200 OK", &[], "ok").await;
    let probe = http(json!({ "url": closing.url("/"), "reuse": true }));
    for _ in 0..3 {
        passes(&probe.probe(again(LONG)).await.unwrap());
    }
}

#[tokio::test]
async fn a_connection_is_kept_only_where_that_is_allowed() {
    let keeping = Target::serve(|mut stream| async move {
        loop {
            request_head(&mut stream).await?;
            stream.write_all(&http_answer("200 OK", &[], "ok")).await?;
        }
    })
    .await;
    let probe = http(json!({ "url": keeping.url("/"), "reuse": true }));
    let reuse = || ProbeContext::new(clock(), LONG).with_reuse();
    for _ in 0..5 {
        passes(&probe.probe(reuse()).await.unwrap());
    }
    assert_eq!(keeping.connections(), 1);
    passes(&ask(&probe, LONG).await);
    assert_eq!(keeping.connections(), 2);
    let plain = http(json!({ "url": keeping.url("/") }));
    passes(&plain.probe(reuse()).await.unwrap());
    assert_eq!(keeping.connections(), 3);
}

#[tokio::test]
async fn fault_10_a_reset_in_the_middle_of_an_answer_is_a_reset() {
    for first in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"] {
        let target = Target::resetting(first).await;
        fails(&get(&target.url("/"), LONG).await, FailureKind::Reset, true);
    }
    for first in ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"] {
        let target = Target::answering(first).await;
        fails(&get(&target.url("/"), LONG).await, FailureKind::Reset, true);
    }
    let closed = ClosedPort::new();
    let refused = format!("http://{}/", closed.address());
    fails(&get(&refused, LONG).await, FailureKind::Refused, true);
}

#[tokio::test]
async fn fault_11_what_is_not_http_is_a_protocol_error() {
    for garbage in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let target = Target::answering(garbage).await;
        let observation = get(&target.url("/"), LONG).await;
        fails(&observation, FailureKind::Protocol, true);
    }
}

async fn https(target: &Target, name: &str, tls: TlsOptions, timeout: Duration) -> Observation {
    // `*.localhost` is the loopback address without asking a resolver.
    let url = format!("https://{name}:{}/", target.port());
    let probe = HttpProbe::new(&HttpConfig::new(url).with_tls(tls)).expect("a configuration");
    ask(&probe, timeout).await
}

fn days_left(observation: &Observation) -> Option<i64> {
    let fact = observation.facts.iter().find(|(name, _)| name == "tls_days_left");
    fact.and_then(|(_, days)| days.as_i64())
}

#[tokio::test]
async fn fault_12_certificates_are_judged_and_never_restart_anything() {
    let folder = tempfile::tempdir().unwrap();
    let trusting = |identity: &Identity| {
        let path = folder.path().join("authority.pem");
        std::fs::write(&path, identity.authority()).unwrap();
        TlsOptions::default().with_ca_file(path)
    };
    const NAME: &str = "api.localhost";

    for (days, verdict) in [(90, Verdict::Pass), (5, Verdict::Warn), (1, Verdict::Fail)] {
        let identity = Identity::signed(NAME, days);
        let target = Target::tls(&identity).await;
        let observation = https(&target, NAME, trusting(&identity), LONG).await;
        assert_eq!(observation.verdict, verdict, "{days} days: {observation:?}");
        assert_eq!(days_left(&observation), Some(days));
        assert!(observation.phases.tls.is_some());
        if verdict != Verdict::Pass {
            assert_eq!(observation.kind, Some(FailureKind::Tls));
        }
    }

    let expired = Identity::signed(NAME, -5);
    let target = Target::tls(&expired).await;
    let observation = https(&target, NAME, trusting(&expired), LONG).await;
    fails(&observation, FailureKind::Tls, false);
    assert!(observation.message.contains("expired 5 days ago"), "{}", observation.message);
    let observation = https(&target, NAME, trusting(&expired).with_insecure(), LONG).await;
    assert_eq!((observation.verdict, observation.kind), (Verdict::Warn, Some(FailureKind::Tls)));
    assert_eq!(days_left(&observation), Some(-5));

    let other = Identity::signed("other.localhost", 90);
    let target = Target::tls(&other).await;
    let observation = https(&target, NAME, trusting(&other), LONG).await;
    fails(&observation, FailureKind::Tls, false);
    assert!(observation.message.contains("but for other.localhost"), "{}", observation.message);
    let named = trusting(&other).with_server_name("other.localhost");
    passes(&https(&target, NAME, named, LONG).await);

    let stranger = Identity::signed(NAME, 90);
    let observation = https(&target, NAME, trusting(&stranger), LONG).await;
    fails(&observation, FailureKind::Tls, false);

    let own = Identity::self_signed(NAME, 90);
    let target = Target::tls(&own).await;
    let observation = https(&target, NAME, trusting(&stranger), LONG).await;
    fails(&observation, FailureKind::Tls, false);
    assert!(observation.message.contains("self-signed"), "{}", observation.message);
    let observation = https(&target, NAME, TlsOptions::default().with_insecure(), LONG).await;
    passes(&observation);
    assert_eq!(days_left(&observation), Some(90));

    let garbage = Target::serve(|mut stream| async move {
        stream.write_all(b"220 mail ready\r\n").await?;
        std::future::pending().await
    })
    .await;
    let observation = https(&garbage, NAME, trusting(&own), LONG).await;
    fails(&observation, FailureKind::Tls, false);
    let stalled = Target::silent().await;
    let observation = https(&stalled, NAME, trusting(&own), SHORT).await;
    fails(&observation, FailureKind::Timeout, true);
    assert!(observation.message.contains("TLS handshake"), "{}", observation.message);
}

/// Answers what the test puts in; the name `slow` only when it is released.
#[derive(Debug)]
struct Scripted {
    asked: AtomicU32,
    address: std::sync::Mutex<Vec<IpAddr>>,
    release: std::sync::Mutex<mpsc::Receiver<()>>,
}

impl Lookup for Scripted {
    fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if host == "slow.test" {
            self.release.lock().unwrap().recv().ok();
        }
        if host == "broken.test" {
            return Err(io::Error::other("temporary failure in name resolution"));
        }
        Ok(self.address.lock().unwrap().clone())
    }
}

#[tokio::test]
async fn fault_13_names_that_do_not_resolve_never_restart_anything() {
    let well = Target::http("200 OK", &[], "ok").await;
    let (release, hold) = mpsc::channel();
    let scripted = Arc::new(Scripted {
        asked: AtomicU32::new(0),
        address: std::sync::Mutex::new(vec![IpAddr::from([127, 0, 0, 1])]),
        release: std::sync::Mutex::new(hold),
    });
    let resolver = Resolver::new(Arc::clone(&scripted) as Arc<dyn Lookup>, 2);
    let named = |host: &str| {
        let url = format!("http://{host}:{}/", well.port());
        HttpProbe::new(&HttpConfig::new(url)).unwrap().with_resolver(resolver.clone())
    };

    // The machine's own resolver, a name that can't exist (RFC 6761).
    fails(&get("http://nothing.invalid/", LONG).await, FailureKind::Dns, false);
    // SERVFAIL and friends.
    fails(&ask(&named("broken.test"), LONG).await, FailureKind::Dns, false);

    // A resolver that hangs: the deadline holds, others are not delayed, the name is asked once.
    let slow = Arc::new(named("slow.test"));
    let before = scripted.asked.load(Ordering::SeqCst);
    let hung: Vec<_> = (0..20)
        .map(|_| {
            let slow = Arc::clone(&slow);
            tokio::spawn(async move { ask(&*slow, SHORT).await })
        })
        .collect();
    passes(&ask(&named("fast.test"), LONG).await);
    for hung in hung {
        let observation = hung.await.unwrap();
        fails(&observation, FailureKind::Dns, false);
        assert!(observation.message.contains("did not resolve within"), "{}", observation.message);
    }
    fails(&ask(&*slow, SHORT).await, FailureKind::Dns, false);
    assert_eq!(scripted.asked.load(Ordering::SeqCst), before + 2, "once slow, once fast");
    release.send(()).unwrap();

    // A changed address is seen at once.
    passes(&ask(&named("moved.test"), LONG).await);
    *scripted.address.lock().unwrap() = vec![IpAddr::from([127, 0, 0, 7])];
    fails(&ask(&named("moved.test"), LONG).await, FailureKind::Refused, true);

    // An address that swallows every SYN costs one stagger, not the probe: of the other family
    // where this machine has it, and of the same one.
    for black_hole in ["::1", "127.0.0.2"] {
        let black_hole: IpAddr = black_hole.parse().unwrap();
        let Ok(_full) = FullBacklog::on(SocketAddr::new(black_hole, well.port())).await else {
            assert!(black_hole.is_ipv6(), "127.0.0.2 is part of every loopback");
            continue;
        };
        *scripted.address.lock().unwrap() = vec![black_hole, IpAddr::from([127, 0, 0, 1])];
        let observation = ask(&named("dual.test"), LONG).await;
        passes(&observation);
        let took = observation.phases.connect.unwrap();
        assert!(took >= Duration::from_millis(250) && took < LONG / 2, "{took:?}");
    }
}

#[tokio::test]
async fn an_address_or_localhost_asks_no_resolver() {
    #[derive(Debug)]
    struct Never;
    impl Lookup for Never {
        fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
            panic!("{host} needs no resolver")
        }
    }
    let well = Target::http("200 OK", &[], "ok").await;
    for host in ["127.0.0.1", "localhost", "api.localhost"] {
        let url = format!("http://{host}:{}/", well.port());
        let probe = HttpProbe::new(&HttpConfig::new(url)).unwrap();
        let probe = probe.with_resolver(Resolver::new(Arc::new(Never), 1));
        passes(&ask(&probe, LONG).await);
    }
}

#[tokio::test]
async fn a_dropped_probe_leaves_no_connection_behind() {
    let (gone, seen) = tokio::sync::mpsc::unbounded_channel();
    let target = Target::serve(move |mut stream| {
        let gone = gone.clone();
        async move {
            let mut sink = Vec::new();
            tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut sink).await.ok();
            gone.send(()).ok();
            Ok(())
        }
    })
    .await;
    let mut seen = seen;
    let probe = http(json!({ "url": target.url("/") }));
    let clock = clock();
    let deadline = clock.monotonic() + SHORT;
    let dropped = clock.until(deadline, probe.probe(ProbeContext::new(clock.clone(), LONG))).await;
    assert!(dropped.is_none());
    assert!(clock.until(clock.monotonic() + LONG, seen.recv()).await.is_some());
}
