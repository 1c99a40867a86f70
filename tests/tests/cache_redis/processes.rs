//! Many processes that want the same value.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use jarvis_core::cache::{Cache, LoadOptions, SetOptions, loader};
use jarvis_tests::engines::RedisServer;

use crate::{cache, patient, text, timed};

struct Asking {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Asking {
    fn start(server: &RedisServer, key: &str, callers: u32, load: Duration) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_cache-child"))
            .args([&server.url(), key, &callers.to_string(), &load.as_millis().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the child");
        let lines = BufReader::new(child.stdout.take().expect("its output"));
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        line.trim().to_owned()
    }

    fn go(&mut self) {
        let input = self.child.stdin.as_mut().expect("its input");
        input.write_all(b"go\n").expect("a child that reads");
    }

    /// What its callers got, until it ends.
    fn answers(mut self) -> Vec<String> {
        let mut answers = Vec::new();
        loop {
            match self.line() {
                line if line.is_empty() => return answers,
                line if line == "loading" => {}
                line => answers.push(line),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_callers_in_four_processes_cause_one_load() {
    let server = RedisServer::start(&[]).await;
    for key in ["first", "second", "third"] {
        let start = || Asking::start(&server, key, 250, Duration::from_millis(300));
        let mut processes: Vec<Asking> = (0..4).map(|_| start()).collect();
        for process in &mut processes {
            assert_eq!(process.line(), "ready");
        }
        processes.iter_mut().for_each(Asking::go);
        let answers: Vec<Vec<String>> = processes.into_iter().map(Asking::answers).collect();
        let loads = cache(&server.url(), patient().with_namespace("loads"));
        assert_eq!(text(&loads, key).await.as_deref(), Some("1"), "{answers:?}");
        assert!(answers.iter().all(|got| got.len() == 1 && got == &answers[0]), "{answers:?}");
        assert!(answers[0][0].starts_with("250 got "), "{answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_while_it_loads_is_not_waited_for_long() {
    let server = RedisServer::start(&[]).await;
    let mut dying = Asking::start(&server, "k", 1, Duration::from_secs(600));
    assert_eq!(dying.line(), "ready");
    dying.go();
    assert_eq!(dying.line(), "loading");
    drop(dying);
    let cache = cache(&server.url(), patient().with_namespace("child"));
    let options = LoadOptions::new().with_wait(Duration::from_secs(60));
    let load = loader(|| async { Ok("ours".into()) });
    let (value, took) = timed(cache.get_or_load("k", options, load)).await;
    assert_eq!(value.expect("a value").as_str(), Some("ours"));
    assert!(took < Duration::from_secs(10), "its turn lasts 3 s, and this took {took:?}");
    assert_eq!(text(&cache, "k").await.as_deref(), Some("ours"), "it was stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_is_waited_for_no_longer_than_asked() {
    let server = RedisServer::start(&[]).await;
    let mut slow = Asking::start(&server, "k", 1, Duration::from_secs(600));
    assert_eq!(slow.line(), "ready");
    slow.go();
    assert_eq!(slow.line(), "loading");
    let cache = cache(&server.url(), patient().with_namespace("child"));
    let options = LoadOptions::new().with_wait(Duration::from_millis(200));
    let load = loader(|| async { Ok("ours".into()) });
    let (value, took) = timed(cache.get_or_load("k", options, load)).await;
    assert_eq!(value.expect("a value").as_str(), Some("ours"));
    assert!(took >= Duration::from_millis(200), "{took:?}");
    assert_eq!(text(&cache, "k").await.as_deref(), Some("ours"), "it was stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_is_kept_for_as_long_as_the_load_takes() {
    let server = RedisServer::start(&[]).await;
    let mut slow = Asking::start(&server, "k", 1, Duration::from_secs(5));
    assert_eq!(slow.line(), "ready");
    slow.go();
    assert_eq!(slow.line(), "loading");
    let cache = cache(&server.url(), patient().with_namespace("child"));
    let options = LoadOptions::new().with_wait(Duration::from_secs(60));
    let load = loader(|| async { Ok("ours".into()) });
    let value = cache.get_or_load("k", options, load).await.expect("a value");
    assert_eq!(slow.answers(), [format!("1 got {}", value.as_str().expect("a number"))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_elsewhere_keeps_a_load_from_storing() {
    let server = RedisServer::start(&[]).await;
    let mut slow = Asking::start(&server, "k", 1, Duration::from_secs(1));
    assert_eq!(slow.line(), "ready");
    slow.go();
    assert_eq!(slow.line(), "loading");
    let cache = cache(&server.url(), patient().with_namespace("child"));
    assert_eq!(cache.delete(&["k".to_owned()]).await.expect("a count"), 0);
    assert_eq!(slow.answers().len(), 1);
    assert_eq!(text(&cache, "k").await, None);
    assert!(cache.set("k", "v".into(), SetOptions::new()).await.expect("stored"));
}
