use std::sync::Arc;

use super::*;
use crate::clock::SystemClock;

fn open(url: &str, options: &Options) -> Result<Redis> {
    Redis::open(url, options, Arc::new(SystemClock::new()))
}

#[tokio::test]
async fn a_handle_from_before_a_fork_is_refused() {
    let mut redis = open("redis://127.0.0.1:1", &Options::new()).unwrap();
    // As the child finds it.
    Arc::get_mut(&mut redis.shared).unwrap().process += 1;
    let get = || Command::new("GET").arg("a");
    let error = redis.query::<Value>("test", get(), Effect::Read).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Unsupported, Some("test")));
    assert!(error.message().contains("forked"), "{error}");
    let answers = redis.pipeline::<Value>("test", &[get()], Effect::Read).await;
    assert_eq!(answers[0].as_ref().unwrap_err().kind(), ErrorKind::Unsupported);
    assert!(redis.subscribe(&["a".to_owned()], &[], 1).is_err());
    assert!(redis.masters("test").await.is_err());
}

#[test]
fn without_a_runtime_it_says_so() {
    let redis = open("redis://127.0.0.1:1", &Options::new()).unwrap();
    let asked = redis.query::<Value>("test", Command::new("PING"), Effect::Read);
    let error = futures_util::FutureExt::now_or_never(asked).unwrap().unwrap_err();
    assert!(error.message().contains("runtime"), "{error}");
}

#[test]
fn options_that_let_nothing_through_are_refused() {
    for options in [
        Options::new().with_connections(0),
        Options::new().with_connections(9),
        Options::new().with_deadline(Duration::ZERO),
        Options::new().with_max_waiting(0),
    ] {
        let error = open("redis://h", &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
}

#[test]
fn no_password_is_shown() {
    let url = "redis+sentinel://u:hunter2@s1,s2/main?sentinel_password=hunter2";
    let redis = open(url, &Options::new()).unwrap();
    let shown = format!("{redis:?} {} {:?}", redis.url(), redis.shared.dialer);
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("s1,s2/main"), "{shown}");
}

/// A log whose writer asks whether the server is there, as one does that keeps the log in Redis.
struct Asking {
    redis: Redis,
    asked: std::sync::mpsc::Sender<bool>,
}

impl tracing::Subscriber for Asking {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::INFO
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        let Servers::One(link) = &self.redis.shared.servers else { return };
        let _ = self.asked.send(link.is_up());
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn whoever_writes_the_log_may_ask_for_the_server() {
    let (asked, answers) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let redis = open("redis://127.0.0.1:1", &Options::new()).unwrap();
        let _log = tracing::subscriber::set_default(Asking { redis: redis.clone(), asked });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ping = redis.query::<Value>("test", Command::new("PING"), Effect::Read);
        runtime.block_on(ping).unwrap_err();
    });
    let up = answers.recv_timeout(Duration::from_secs(60)).expect("the log waits for the link");
    assert!(!up);
}
