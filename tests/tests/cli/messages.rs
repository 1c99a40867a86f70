//! `jarvis publish`, and who sees it.

use std::time::Duration;

use jarvis_tests::cli::Workplace;
use jarvis_tests::engines::RedisServer;

use super::stage::{House, LONG};

/// A workplace with these sections and no service.
fn place(sections: &str) -> Workplace {
    Workplace::with_config(&format!("[jarvis]\nstate_dir = \"STATE\"\n{sections}"))
}

#[test]
fn a_bus_within_one_process_and_no_loop_is_wrong_usage() {
    let place = place("");
    let finished = place.run(&["publish", "project.42.chat", "{}"]);
    assert_eq!(finished.code, 2, "{finished:?}");
    assert!(finished.stderr.contains("start `jarvis up`"), "{finished:?}");
    assert!(finished.stderr.contains("[store] bus"), "{finished:?}");
}

#[test]
fn a_wrong_topic_or_payload_is_wrong_usage() {
    let place = place("");
    for (words, says) in [
        (&["health", "{}"][..], "reserved for JARVIS's own"),
        (&["a b", "{}"], "letters, digits"),
        (&["a.b", "hello"], "not JSON"),
        (&["a.b"], "JSON"),
    ] {
        let finished = place.run(&[&["publish"], words].concat());
        assert_eq!(finished.code, 2, "{words:?}: {finished:?}");
        assert!(finished.stderr.contains(says), "{words:?}: {finished:?}");
    }
    let finished = place.run(&["events", "--topic", "project.*"]);
    assert_eq!(finished.code, 2, "{finished:?}");
    assert!(finished.stderr.contains("--follow"), "{finished:?}");
}

#[test]
fn a_message_goes_through_the_loop_and_a_follower_sees_it() {
    let house = House::of(&["api"]);
    let _up = house.up(&["api"]);
    let mut follower =
        house.place.start(&["events", "--topic", "project.**", "--follow", "--output", "jsonl"]);
    let text = seen(&mut follower, || {
        let finished = house.run(&["publish", "project.42.chat", r#"{"text": "hi"}"#]);
        assert_eq!(finished.code, 0, "{finished:?}");
        assert!(finished.stdout.starts_with("published to project.42.chat"), "{finished:?}");
    });
    assert!(text.contains(r#""payload":{"text":"hi"}"#), "{text}");
    // Messages are shown as they come, and are not kept.
    let kept = house.run(&["events", "--output", "json"]).json();
    assert!(kept.as_array().unwrap().iter().all(|it| it["event"]["type"] != "message"), "{kept}");
    let sent = house.run(&["publish", "a.b", "[1]", "--output", "json"]).json();
    assert_eq!(sent["event"]["payload"][0], 1, "{sent}");
    assert!(sent["stream"]["sequence"].as_u64().unwrap() >= 2, "{sent}");
}

#[test]
fn without_a_loop_it_goes_straight_to_redis() {
    for url in super::redis_urls() {
        let place = place(&format!("[store]\nbus = \"{url}\"\n"));
        let mut follower =
            place.start(&["events", "--topic", "cli.*", "--follow", "--output", "jsonl"]);
        let topic = format!("cli.{}", std::process::id());
        let text = seen(&mut follower, || {
            let finished = place.run(&["publish", &topic, "\"straight\""]);
            assert_eq!(finished.code, 0, "{url}: {finished:?}");
        });
        assert!(text.contains("straight"), "{url}: {text}");
        assert!(!place.state_dir().exists(), "a message left files behind");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_is_told_what_it_missed_with_and_without_a_loop() {
    for with_loop in [false, true] {
        let server = RedisServer::start(&[]).await;
        let bus = format!("\n[store]\nbus = \"{}\"\n", server.url());
        let house = if with_loop { House::with(&["api"], &bus) } else { House::with(&[], &bus) };
        let _up = with_loop.then(|| house.up(&["api"]));
        let follow = |more: &[&str]| {
            house.place.start(&[&["events", "--topic", "cli.*", "--follow"], more].concat())
        };
        let (mut lines, mut text) = (follow(&["--output", "jsonl"]), follow(&[]));
        let publish = || {
            let finished = house.run(&["publish", "cli.a", r#"{"payload": 1}"#]);
            assert_eq!(finished.code, 0, "{finished:?}");
        };
        seen(&mut lines, publish);
        seen(&mut text, publish);
        assert_eq!(server.cli(&["FLUSHALL"]).trim(), "OK");
        publish();
        let gap = lines.line_with("{\"gap\"", LONG);
        assert_eq!(gap, r#"{"gap":"stream_lost"}"#, "on stdout, with_loop: {with_loop}");
        text.line_with("events may be missing here: the bus's Redis lost its data", LONG);
        lines.line_with(r#""sequence":1}"#, LONG);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_came_while_the_server_was_away_sees_what_is_published_later() {
    let mut server = RedisServer::start(&[]).await;
    let house = House::with(&["api"], &format!("\n[store]\nbus = \"{}\"\n", server.url()));
    let _up = house.up(&["api"]);
    server.crash();
    let mut follower = house.place.start(&["events", "--follow", "--output", "jsonl"]);
    follower.line_with("operator_started", LONG);
    server.restart(&[]);
    // A publisher is refused until the loop is connected again, the follower waits for the loop.
    let publish = || drop(house.run(&["publish", "cli.a", r#"{"payload": 1}"#]));
    let text = seen(&mut follower, publish);
    assert!(text.contains("cli.a"), "{text}");
}

#[test]
fn a_server_that_is_not_there_is_exit_3_soon() {
    let place = place("[store]\nbus = \"redis://:hunter2@127.0.0.1:1\"\n");
    let finished = place.run(&["publish", "a.b", "1"]);
    assert_eq!(finished.code, 3, "{finished:?}");
    assert!(finished.stderr.contains("127.0.0.1:1"), "{finished:?}");
    assert!(!finished.stderr.contains("hunter2"), "{finished:?}");
}

/// Publishes until the follower, which may still be starting, shows one.
fn seen(follower: &mut jarvis_tests::cli::Running, publish: impl Fn()) -> String {
    for _ in 0..200 {
        publish();
        if let Some(text) = follower.line_within("payload", Duration::from_millis(200)) {
            return text;
        }
    }
    follower.line_with("payload", LONG)
}
