//! Alerts, with real receivers: fault 38, restarts, kills, signatures, secrets.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails has to stop")]

#[path = "alerts/standby.rs"]
mod standby;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jarvis_core::alert::{
    Alert, AlertJournal, AlertSink, AlertStatus, Alerter, Heartbeat, HeartbeatConfig,
    MemoryJournal, MemorySink, Route, Row, SIGNATURE_HEADER, SinkEntry, SqliteJournal,
    WebhookConfig, WebhookSink,
};
use jarvis_core::clock::{Clock, ClockExt, ManualClock, SharedClock, SystemClock};
use jarvis_core::events::{Delivery, Event, EventBus, Filter, MemoryBus, Subscription, Topic};
use jarvis_core::store::sqlite::{Options, Sqlite};
use jarvis_core::vocabulary::{Cause, CheckName, FailureKind, IncidentId, ServiceId};
use jarvis_core::{Error, ErrorKind, Result, Secret};
use jarvis_tests::receiver::{Answer, HttpReceiver, Received};

fn opened(service: &str) -> Event {
    let cause = Cause {
        check: CheckName::new("http").unwrap(),
        kind: Some(FailureKind::Refused),
        message: "connection refused".into(),
    };
    Event::IncidentOpened {
        incident: incident(service),
        service: ServiceId::new(service).unwrap(),
        cause,
        because_of: None,
    }
}

fn incident(service: &str) -> IncidentId {
    IncidentId::new(format!("{service}-1")).unwrap()
}

fn later(service: &str) -> [Event; 3] {
    let (id, service) = (incident(service), ServiceId::new(service).unwrap());
    let after = Duration::from_secs(30);
    [
        Event::Escalated {
            incident: id.clone(),
            service: service.clone(),
            attempts: 3,
            reason: "3 attempts in 5m".into(),
            last_log_lines: vec!["boom".into()],
        },
        Event::IncidentRecovered {
            incident: id.clone(),
            service: service.clone(),
            after,
            attempts: 3,
        },
        Event::IncidentResolved { incident: id, service, after, attempts: 3 },
    ]
}

fn at_once() -> Route {
    let mut route = Route::default();
    route.group_wait = Duration::ZERO;
    route
}

fn webhook(url: String, clock: &SharedClock) -> Arc<dyn AlertSink> {
    Arc::new(WebhookSink::new(WebhookConfig::new(url), Arc::clone(clock)).unwrap())
}

fn sqlite(path: &Path) -> Arc<dyn AlertJournal> {
    Arc::new(SqliteJournal::new(Sqlite::open(path, &Options::new()).unwrap()))
}

fn alerter(
    clock: &SharedClock,
    journal: &Arc<dyn AlertJournal>,
    sinks: &[(&str, &Arc<dyn AlertSink>)],
) -> Alerter {
    let alerter = Alerter::new(Arc::clone(clock), Arc::clone(journal));
    configure(&alerter, sinks);
    alerter
}

fn configure(alerter: &Alerter, sinks: &[(&str, &Arc<dyn AlertSink>)]) {
    let entry = |(name, sink): &(&str, &Arc<dyn AlertSink>)| {
        SinkEntry::new(*name, Arc::clone(sink)).with_route(at_once())
    };
    alerter.configure(sinks.iter().map(entry).collect(), BTreeMap::new()).unwrap();
}

/// Runs the alerter while `work` goes on, for at most 30 s of real time.
async fn while_running<T: Send>(alerter: &Alerter, work: impl Future<Output = T> + Send) -> T {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = alerter.clone();
    let run = tokio::spawn(async move { running.run(async { drop(stopped.await) }).await });
    let clock = SystemClock::new();
    let deadline = clock.monotonic() + Duration::from_secs(30);
    let result = clock.until(deadline, work).await.expect("it took longer than 30 s");
    drop(stop);
    run.await.unwrap();
    result
}

/// The next failed delivery of the sink that is down.
async fn next_failure(events: &mut dyn Subscription) {
    loop {
        match events.next().await.expect("the bus lives") {
            Delivery::Event(envelope) => {
                if let Event::AlertFailed { sink, given_up, reason, .. } = &envelope.event {
                    assert!(!given_up && sink == "down", "{reason}");
                    return;
                }
            }
            missed => assert!(matches!(missed, Delivery::Event(_)), "{missed:?}"),
        }
    }
}

fn statuses(bodies: &[serde_json::Value]) -> Vec<&str> {
    bodies.iter().map(|body| body["status"].as_str().unwrap()).collect()
}

/// 500, 429 with Retry-After, no answer, and an hour of 503: everything arrives once, in order,
/// and the healthy sink beside it notices nothing.
#[tokio::test(flavor = "multi_thread")]
async fn fault_38_a_receiver_that_is_down_for_an_hour_gets_everything_once_in_order() {
    let manual = ManualClock::new();
    let clock: SharedClock = Arc::new(manual.clone());
    let bus: Arc<dyn EventBus> = Arc::new(MemoryBus::new(Arc::clone(&clock), "test"));
    let mut failures = bus.subscribe(Filter::all().with_topic(Topic::Alert)).await.unwrap();
    let receiver = HttpReceiver::start(Answer::status(503)).await;
    receiver.then(Answer::status(500));
    receiver.then(Answer::status(429).with_header("retry-after: 120"));
    receiver.then(Answer::never());
    let healthy = MemorySink::new();
    let journal: Arc<dyn AlertJournal> = Arc::new(MemoryJournal::new());
    let alerter = Alerter::new(Arc::clone(&clock), journal).with_bus(bus);
    let (down, well) = (webhook(receiver.url("/hook"), &clock), Arc::new(healthy.clone()));
    let well: Arc<dyn AlertSink> = well;
    configure(&alerter, &[("down", &down), ("well", &well)]);

    while_running(&alerter, async {
        alerter.accept(&opened("api")).await.unwrap();
        healthy.wait_for(1).await;
        for event in later("api") {
            alerter.accept(&event).await.unwrap();
        }
        let told = healthy.wait_for(4).await;
        let told: Vec<AlertStatus> = told.iter().map(|alert| alert.status).collect();
        use AlertStatus::{Recovered, Resolved, Triggered, Updated};
        assert_eq!(told, [Triggered, Updated, Recovered, Resolved], "not delayed by the other");

        let begun = manual.monotonic();
        let mut tries = 0;
        while manual.monotonic().saturating_since(begun) < Duration::from_secs(3_600) {
            tries += 1;
            receiver.wait_for(tries).await;
            if tries == 3 {
                // No answer: the deadline has to come.
                manual.advance(Duration::from_secs(31));
            }
            next_failure(failures.as_mut()).await;
            if tries == 2 {
                manual.advance(Duration::from_secs(119));
                tokio::task::yield_now().await;
                assert_eq!(receiver.received().len(), 2, "Retry-After is honoured");
            }
            manual.advance(Duration::from_secs(300));
        }
        assert!((12..20).contains(&tries), "{tries} tries in an hour");
        receiver.wait_for(tries + 1).await;
        next_failure(failures.as_mut()).await;
        receiver.answer(Answer::status(200));
        manual.advance(Duration::from_secs(300));
        receiver.wait_for(tries + 1 + 4).await;
    })
    .await;

    let taken: Vec<serde_json::Value> = receiver.taken().iter().map(Received::json).collect();
    assert_eq!(statuses(&taken), ["triggered", "updated", "recovered", "resolved"]);
    assert!(taken.iter().all(|body| body["key"] == "api-1"));
    let stats = alerter.stats();
    let down = stats.iter().find(|stats| stats.sink == "down").unwrap();
    assert_eq!((down.delivered, down.given_up, down.waiting), (4, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_final_refusal_is_given_up_and_told_through_the_other_sink() {
    let clock: SharedClock = Arc::new(SystemClock::new());
    let receiver = HttpReceiver::start(Answer::status(410)).await;
    let healthy = MemorySink::new();
    let other: Arc<dyn AlertSink> = Arc::new(healthy.clone());
    let gone = webhook(receiver.url("/hook"), &clock);
    let journal: Arc<dyn AlertJournal> = Arc::new(MemoryJournal::new());
    let alerter = alerter(&clock, &journal, &[("gone", &gone), ("well", &other)]);
    let told = while_running(&alerter, async {
        alerter.accept(&opened("api")).await.unwrap();
        healthy.wait_for(2).await
    })
    .await;
    assert!(
        told.iter().any(|alert| alert.title.contains("\"gone\" are not delivered")),
        "{told:?}"
    );
    assert_eq!(receiver.received().len(), 1);
    assert_eq!(alerter.stats()[0].given_up, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_told_twice_across_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("operator.db");
    let clock: SharedClock = Arc::new(SystemClock::new());
    let memory = MemorySink::new();
    let sink: Arc<dyn AlertSink> = Arc::new(memory.clone());
    for round in 0..3 {
        let journal = sqlite(&path);
        let alerter = alerter(&clock, &journal, &[("ops", &sink)]);
        while_running(&alerter, async {
            // Announced at least once: also by each process that comes after a crash.
            alerter.accept(&opened("api")).await.unwrap();
            if round == 2 {
                for event in later("api").into_iter().chain(later("api")) {
                    alerter.accept(&event).await.unwrap();
                }
                memory.wait_for(4).await;
                alerter.accept(&opened("api")).await.unwrap();
            } else {
                memory.wait_for(1).await;
            }
        })
        .await;
    }
    let delivered = memory.delivered();
    let told: Vec<AlertStatus> = delivered.iter().map(|alert| alert.status).collect();
    use AlertStatus::{Recovered, Resolved, Triggered, Updated};
    assert_eq!(told, [Triggered, Updated, Recovered, Resolved]);
}

/// The child of the next test: accepts, tries to deliver to a receiver that never answers, and is
/// killed there.
#[test]
fn killed_between_commit_and_delivery_it_is_delivered_by_the_next_process() {
    let variable = |name: &str| std::env::var(name).ok();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if let Some((path, url)) = variable("ALERT_CHILD_DB").zip(variable("ALERT_CHILD_URL")) {
        runtime.block_on(async {
            let clock: SharedClock = Arc::new(SystemClock::new());
            let journal = sqlite(Path::new(&path));
            let sink = webhook(url, &clock);
            let alerter = alerter(&clock, &journal, &[("ops", &sink)]);
            alerter.accept(&opened("api")).await.unwrap();
            alerter.run(std::future::pending()).await;
        });
        return;
    }
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operator.db");
        let silent = HttpReceiver::start(Answer::never()).await;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "killed_between_commit_and_delivery_it_is_delivered_by_the_next_process",
            ])
            .env("ALERT_CHILD_DB", &path)
            .env("ALERT_CHILD_URL", silent.url("/hook"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let clock: SharedClock = Arc::new(SystemClock::new());
        let deadline = clock.monotonic() + Duration::from_secs(30);
        let came = clock.until(deadline, silent.wait_for(1)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let tried = came.expect("the child tried to deliver")[0].json();

        let receiver = HttpReceiver::start(Answer::status(200)).await;
        let sink = webhook(receiver.url("/hook"), &clock);
        let journal = sqlite(&path);
        let alerter = alerter(&clock, &journal, &[("ops", &sink)]);
        while_running(&alerter, async {
            receiver.wait_for(1).await;
            alerter.accept(&opened("api")).await.unwrap();
        })
        .await;
        let received = receiver.received();
        assert_eq!(received.len(), 1);
        assert_eq!(
            received[0].json()["id"],
            tried["id"],
            "a receiver can tell that it is the same"
        );
        assert_eq!(received[0].header("idempotency-key").as_deref(), tried["id"].as_str());
    });
}

#[derive(Debug)]
struct FullDisk(MemoryJournal, Mutex<bool>);

#[async_trait::async_trait]
impl AlertJournal for FullDisk {
    async fn load(&self) -> Result<Vec<Row>> {
        self.0.load().await
    }

    async fn commit(&self, rows: Vec<Row>) -> Result<()> {
        if *self.1.lock().unwrap() {
            return Err(Error::new(ErrorKind::Exhausted, "no space left"));
        }
        self.0.commit(rows).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_31_alerts_go_out_while_the_disk_is_full_and_are_written_later() {
    let clock: SharedClock = Arc::new(SystemClock::new());
    let disk = Arc::new(FullDisk(MemoryJournal::new(), Mutex::new(true)));
    let journal: Arc<dyn AlertJournal> = disk.clone();
    let memory = MemorySink::new();
    let sink: Arc<dyn AlertSink> = Arc::new(memory.clone());
    let alerter = alerter(&clock, &journal, &[("ops", &sink)]);
    while_running(&alerter, async {
        let refused = alerter.accept(&opened("api")).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Exhausted);
        memory.wait_for(1).await;
        *disk.1.lock().unwrap() = false;
        alerter.accept(&opened("api")).await.unwrap();
    })
    .await;
    assert_eq!(memory.delivered().len(), 1);
    let rows = disk.load().await.unwrap();
    assert!(rows.iter().any(|row| row.kind == "record"), "{rows:?}");
    assert!(rows.iter().all(|row| row.kind != "outbox"), "{rows:?}");
}

#[tokio::test]
async fn a_signature_is_what_an_independent_program_computes() {
    let receiver = HttpReceiver::start(Answer::status(200)).await;
    let clock: SharedClock = Arc::new(SystemClock::new());
    let mut config = WebhookConfig::new(receiver.url("/signed"));
    config.hmac_secret = Some(Secret::new("shared secret".into()));
    config.body = Some(r#"{"text": {{ title }}, "key": {{ key }}}"#.into());
    let sink = WebhookSink::new(config, Arc::clone(&clock)).unwrap();
    let title = "ünï \"quoted\" \\ title\n";
    let severity = jarvis_core::vocabulary::Severity::Critical;
    let alert = Alert::new("i", "k", AlertStatus::Triggered, severity, title, clock.wall());
    sink.deliver(&alert).await.unwrap();
    let received = &receiver.received()[0];
    assert_eq!(received.json()["text"], title);
    let signature = received.header(SIGNATURE_HEADER).unwrap();
    let (time, code) = signature.split_once(',').unwrap();
    let time = time.strip_prefix("t=").unwrap();
    let age = clock.wall().millis() / 1_000 - time.parse::<i64>().unwrap();
    assert!((0..30).contains(&age), "{age}");
    let mut python = Command::new("python3")
        .args([
            "-c",
            "import hmac,sys;print(hmac.new(b'shared secret',sys.stdin.buffer.read(),'sha256').hexdigest())",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let signed = format!("{time}.{}", received.body);
    python.stdin.take().unwrap().write_all(signed.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    let expected = String::from_utf8(output.stdout).unwrap();
    assert_eq!(code.strip_prefix("v1=").unwrap(), expected.trim());
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn fault_38_no_secret_is_ever_logged() {
    const SECRET: &str = "T0SECRET-B0SECRET-xyzzy";
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing_subscriber::util::SubscriberInitExt::set_default(subscriber);
    // One thread, so that the subscriber sees all of it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let said = runtime.block_on(async {
        let clock: SharedClock = Arc::new(SystemClock::new());
        let echo = format!("bad token {SECRET} in /services/{SECRET}");
        let receiver = HttpReceiver::start(Answer::status(404).with_body(&echo)).await;
        let closed = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            format!("http://{}/services/{SECRET}?token={SECRET}", listener.local_addr().unwrap())
        };
        let sink = |url: String| -> Arc<dyn AlertSink> {
            let mut config = WebhookConfig::new(url);
            config.headers.insert("Authorization".into(), Secret::new(format!("Bearer {SECRET}")));
            config.hmac_secret = Some(Secret::new(SECRET.into()));
            Arc::new(WebhookSink::new(config, Arc::new(SystemClock::new())).unwrap())
        };
        let (refused, unreachable) =
            (sink(receiver.url(&format!("/services/{SECRET}"))), sink(closed));
        let journal: Arc<dyn AlertJournal> = Arc::new(MemoryJournal::new());
        let alerter = alerter(&clock, &journal, &[("a", &refused), ("b", &unreachable)]);
        let said = while_running(&alerter, async {
            alerter.accept(&opened("api")).await.unwrap();
            receiver.wait_for(1).await;
            let mut said = Vec::new();
            for name in ["a", "b", "nobody"] {
                let error = alerter.test(name).await.unwrap_err();
                said.push(format!("{error} {error:?}"));
            }
            said
        })
        .await;
        let heartbeat =
            HeartbeatConfig::new(receiver.url(&format!("/{SECRET}")), Duration::from_secs(1));
        let heartbeat = Heartbeat::new(&heartbeat, clock).unwrap();
        heartbeat.round_done();
        let seen = receiver.received().len();
        heartbeat.run(async { drop(receiver.wait_for(seen + 1).await) }).await;
        format!("{said:?} {alerter:?} {heartbeat:?}")
    });
    drop(guard);
    let log = String::from_utf8_lossy(&captured.0.lock().unwrap()).into_owned();
    assert!(log.contains("an alert was not delivered"), "{log}");
    assert!(said.contains("unknown alert sink"), "{said}");
    for (what, text) in [("the log", &log), ("an error", &said)] {
        assert!(!text.contains("SECRET-"), "{what} tells the secret: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_takes_no_message_elsewhere() {
    let elsewhere = HttpReceiver::start(Answer::status(200)).await;
    let redirect = Answer::status(307).with_header(&format!("location: {}", elsewhere.url("/")));
    let receiver = HttpReceiver::start(redirect).await;
    let clock: SharedClock = Arc::new(SystemClock::new());
    let sink = webhook(receiver.url("/hook"), &clock);
    let severity = jarvis_core::vocabulary::Severity::Info;
    let alert = Alert::new("i", "k", AlertStatus::Test, severity, "t", clock.wall());
    let error = sink.deliver(&alert).await.unwrap_err();
    assert!(error.to_string().contains("redirects are not followed"), "{error}");
    assert!(elsewhere.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_heartbeat_follows_the_rounds_and_never_beats_too_often() {
    let manual = ManualClock::new();
    let clock: SharedClock = Arc::new(manual.clone());
    let receiver = HttpReceiver::start(Answer::status(200)).await;
    receiver.then(Answer::status(200));
    receiver.then(Answer::status(500));
    let config = HeartbeatConfig::new(receiver.url("/ping"), Duration::from_secs(60));
    let heartbeat = Heartbeat::new(&config, clock).unwrap();
    let (beating, counted) = (heartbeat.clone(), heartbeat.clone());
    let work = async {
        for _ in 0..5 {
            heartbeat.round_done();
        }
        receiver.wait_for(1).await;
        for beat in 2..5_usize {
            heartbeat.round_done();
            // It waits for its time: the only sleeper is not a call's deadline.
            while counted.counts().0 + counted.counts().1 < beat as u64 - 1
                || manual.sleepers() == 0
            {
                tokio::task::yield_now().await;
            }
            manual.advance(Duration::from_secs(59));
            assert_eq!(receiver.received().len(), beat - 1);
            manual.advance(Duration::from_secs(1));
            receiver.wait_for(beat).await;
        }
    };
    let real = SystemClock::new();
    let deadline = real.monotonic() + Duration::from_secs(30);
    let (done, finished) = tokio::sync::oneshot::channel::<()>();
    let run = tokio::spawn(async move { beating.run(async { drop(finished.await) }).await });
    real.until(deadline, work).await.expect("the heartbeat stopped");
    drop(done);
    run.await.unwrap();
    assert_eq!(counted.counts().1, 1, "a failure is counted and stops nothing");
}
