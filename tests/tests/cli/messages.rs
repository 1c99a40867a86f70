//! `jarvis events publish`, and who sees it.

use std::time::Duration;

use jarvis_tests::cli::Workplace;

use super::stage::{House, LONG};

fn redis() -> String {
    std::env::var("JARVIS_TEST_REDIS_URL").unwrap_or_else(|_| {
        panic!("JARVIS_TEST_REDIS_URL is not set; `tests/run` starts the servers and sets it")
    })
}

/// A workplace with these sections and no service.
fn place(sections: &str) -> Workplace {
    Workplace::with_config(&format!("[jarvis]\nstate_dir = \"STATE\"\n{sections}"))
}

#[test]
fn a_bus_within_one_process_and_no_loop_is_wrong_usage() {
    let place = place("");
    let finished = place.run(&["events", "publish", "project.42.chat", "{}"]);
    assert_eq!(finished.code, 2, "{finished:?}");
    assert!(finished.stderr.contains("start `jarvis up`"), "{finished:?}");
    assert!(finished.stderr.contains("[store] bus"), "{finished:?}");
}

#[test]
fn a_wrong_topic_or_payload_is_wrong_usage() {
    let place = place("");
    for (words, says) in [
        (&["health", "{}"][..], "one of JARVIS's own"),
        (&["a b", "{}"], "letters, digits"),
        (&["a.b", "hello"], "no JSON"),
        (&["a.b"], "JSON"),
    ] {
        let finished = place.run(&[&["events", "publish"], words].concat());
        assert_eq!(finished.code, 2, "{words:?}: {finished:?}");
        assert!(finished.stderr.contains(says), "{words:?}: {finished:?}");
    }
    let finished = place.run(&["events", "project.*"]);
    assert_eq!(finished.code, 2, "{finished:?}");
    assert!(finished.stderr.contains("--follow"), "{finished:?}");
}

#[test]
fn a_message_goes_through_the_loop_and_a_follower_sees_it() {
    let house = House::of(&["api"]);
    let _up = house.up(&["api"]);
    let mut follower =
        house.place.start(&["events", "project.**", "--follow", "--output", "jsonl"]);
    let text = seen(&mut follower, || {
        let finished = house.run(&["events", "publish", "project.42.chat", r#"{"text": "hi"}"#]);
        assert_eq!(finished.code, 0, "{finished:?}");
        assert!(finished.stdout.starts_with("published to project.42.chat"), "{finished:?}");
    });
    assert!(text.contains(r#""payload":{"text":"hi"}"#), "{text}");
    // Messages are shown as they come, and are not kept.
    let kept = house.run(&["events", "--output", "json"]).json();
    assert!(kept.as_array().unwrap().iter().all(|it| it["event"]["type"] != "message"), "{kept}");
    let sent = house.run(&["events", "publish", "a.b", "[1]", "--output", "json"]).json();
    assert_eq!(sent["event"]["payload"][0], 1, "{sent}");
    assert!(sent["stream"]["sequence"].as_u64().unwrap() >= 2, "{sent}");
}

#[test]
fn without_a_loop_it_goes_straight_to_redis() {
    let place = place(&format!("[store]\nbus = \"{}\"\n", redis()));
    let mut follower = place.start(&["events", "cli.*", "--follow", "--output", "jsonl"]);
    let topic = format!("cli.{}", std::process::id());
    let text = seen(&mut follower, || {
        let finished = place.run(&["events", "publish", &topic, "\"straight\""]);
        assert_eq!(finished.code, 0, "{finished:?}");
    });
    assert!(text.contains("straight"), "{text}");
    assert!(!place.state_dir().exists(), "a message left files behind");
}

#[test]
fn a_server_that_is_not_there_is_exit_3_soon() {
    let place = place("[store]\nbus = \"redis://:hunter2@127.0.0.1:1\"\n");
    let finished = place.run(&["events", "publish", "a.b", "1"]);
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
