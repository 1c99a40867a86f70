//! Fault 16: AI models that are not there, not loaded, too busy, or stop in the middle of a word.

#![expect(clippy::expect_used, reason = "a test that can't set its stage has to stop")]

use std::sync::Arc;
use std::time::Duration;

use jarvis_core::clock::SystemClock;
use jarvis_core::health::model::{ModelConfig, ModelProbe};
use jarvis_core::health::{HealthProbe, Observation, ProbeContext};
use jarvis_core::vocabulary::{FailureKind, Verdict};
use jarvis_tests::targets::{Target, http_answer, request_head};
use tokio::io::AsyncWriteExt;

const SHORT: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(10);
const LIST: &str = r#"{"object":"list","data":[{"id":"small"},{"id":"big:latest"}]}"#;
const TOKEN: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"p\"}}]}\n\n";

async fn ask(config: &ModelConfig, timeout: Duration) -> Observation {
    let probe = ModelProbe::new(config).expect("a configuration");
    let context = ProbeContext::new(Arc::new(SystemClock::new()), timeout);
    probe.probe(context).await.expect("it could be measured")
}

fn model(target: &Target, name: &str) -> ModelConfig {
    ModelConfig::new(target.url("/v1/"), name)
}

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

/// A provider that lists `LIST` and answers completions with these events, then does `then`.
async fn provider(events: &'static str, stalls: bool) -> Target {
    Target::serve(move |mut stream| async move {
        let head = request_head(&mut stream).await?;
        if head.starts_with("GET /v1/models ") {
            return stream.write_all(&http_answer("200 OK", &[], LIST)).await;
        }
        assert!(head.starts_with("POST /v1/chat/completions "), "{head}");
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(events.as_bytes()).await?;
        if stalls {
            std::future::pending::<()>().await;
        }
        stream.shutdown().await
    })
    .await
}

#[tokio::test]
async fn fault_16_a_model_that_is_not_listed_is_missing() {
    let target = provider("", false).await;
    passes(&ask(&model(&target, "small"), LONG).await);
    passes(&ask(&model(&target, "big"), LONG).await);
    fails(&ask(&model(&target, "other"), LONG).await, FailureKind::Missing, false);
    let error = r#"{"error":{"message":"The model `x` does not exist","code":"model_not_found"}}"#;
    let target = Target::http("404 Not Found", &[], error).await;
    let config = model(&target, "x").with_completion();
    fails(&ask(&config, LONG).await, FailureKind::Missing, false);
}

#[tokio::test]
async fn fault_16_a_model_that_is_not_loaded_is_not_ready() {
    for state in
        [r#""state":"not-loaded""#, r#""status":{"value":"unloaded"}"#, r#""status":"loading""#]
    {
        let list = format!(r#"{{"data":[{{"id":"small",{state}}}]}}"#);
        let target = Target::http("200 OK", &[], &list).await;
        fails(&ask(&model(&target, "small"), LONG).await, FailureKind::NotReady, false);
    }
    let loading = r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#;
    let target = Target::http("503 Service Unavailable", &[], loading).await;
    fails(&ask(&model(&target, "small"), LONG).await, FailureKind::NotReady, false);
    let config = model(&target, "small").with_completion();
    fails(&ask(&config, LONG).await, FailureKind::NotReady, false);
    // 200, and an error inside.
    let target = Target::http("200 OK", &[], r#"{"error":"model is still loading"}"#).await;
    fails(&ask(&model(&target, "small"), LONG).await, FailureKind::NotReady, false);
    let target = provider("data: {\"error\":{\"message\":\"out of memory\"}}\n\n", false).await;
    let config = model(&target, "small").with_completion();
    fails(&ask(&config, LONG).await, FailureKind::Body, true);
}

#[tokio::test]
async fn fault_16_a_busy_model_is_rate_limited_and_a_wrong_key_is_told_without_the_key() {
    let busy = r#"{"error":{"message":"Rate limit reached","type":"tokens"}}"#;
    let target = Target::http("429 Too Many Requests", &[], busy).await;
    let config = model(&target, "small").with_completion();
    fails(&ask(&config, LONG).await, FailureKind::RateLimited, false);
    let wrong = r#"{"error":{"message":"Incorrect API key provided: sk-hunter2"}}"#;
    let target = Target::http("401 Unauthorized", &[], wrong).await;
    let config = model(&target, "small").with_api_key("sk-hunter2");
    let observation = ask(&config, LONG).await;
    fails(&observation, FailureKind::Auth, false);
    let shown = format!("{observation:?} {config:?}");
    assert!(shown.contains("Incorrect API key") && !shown.contains("hunter2"), "{shown}");
    let target = Target::http("500 Internal Server Error", &[], "").await;
    fails(&ask(&model(&target, "small"), LONG).await, FailureKind::ServerError, true);
}

#[tokio::test]
async fn fault_16_a_stream_that_stalls_after_its_first_token_is_a_timeout() {
    let target = provider(TOKEN, true).await;
    let observation = ask(&model(&target, "small").with_completion(), SHORT).await;
    fails(&observation, FailureKind::Timeout, true);
    assert!(
        observation.message.contains("stalled after its first token"),
        "{}",
        observation.message
    );
    assert!(observation.phases.first_byte.is_some_and(|first| first < SHORT));

    let target = provider("", true).await;
    let observation = ask(&model(&target, "small").with_completion(), SHORT).await;
    fails(&observation, FailureKind::Timeout, true);
    assert!(!observation.message.contains("stalled"), "{}", observation.message);

    // The last event ends the probe, whether or not the server closes.
    let done: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"p\"}}]}\n\ndata: [DONE]\n\n";
    let target = provider(done, true).await;
    let observation = ask(&model(&target, "small").with_completion(), LONG).await;
    passes(&observation);
    assert!(observation.phases.first_byte.is_some());
    let target = provider("data: {\"choices\":[]}\n\n", false).await;
    let empty = ask(&model(&target, "small").with_completion(), LONG).await;
    fails(&empty, FailureKind::Body, true);
}

#[tokio::test]
async fn fault_16_the_days_money_is_never_exceeded() {
    let target = provider(TOKEN, false).await;
    let usd = |text: &str| text.parse().expect("dollars");
    // 36 tokens at a dollar and one at 64, for a million: 100 millionths a call.
    let config = model(&target, "small").with_completion().with_max_cost_per_day(
        usd("0.00025"),
        usd("1"),
        usd("64"),
    );
    let probe = ModelProbe::new(&config).expect("a configuration");
    let mut capped = Vec::new();
    for _ in 0..4 {
        let context = ProbeContext::new(Arc::new(SystemClock::new()), LONG);
        let observation = probe.probe(context).await.expect("it could be measured");
        passes(&observation);
        capped.push(observation.message.contains("0.00025 dollars are used up"));
    }
    assert_eq!(capped, [false, false, true, true]);
}
