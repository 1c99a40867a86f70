//! An answer that never comes.

use std::time::Duration;

use jarvis_core::store::redis::Options;
use jarvis_core::testkit::redis::{Repeat, call};
use jarvis_core::{ErrorKind, Retry};
use jarvis_tests::engines::RedisServer;
use jarvis_tests::proxy::Proxy;

use crate::stage::{fail_at_once, fails, get, open, open_with, recovers, set};

fn through(proxy: &Proxy) -> String {
    format!("redis://127.0.0.1:{}", proxy.port())
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_told_and_not_repeated() {
    let server = RedisServer::with_port(&[]).await;
    let (proxy, direct) = (Proxy::to(server.port()).await, open(&server.url()));
    let redis = open(&through(&proxy));
    set(&redis, "warm", "1").await.expect("set");
    proxy.swallow_one_answer();
    let (error, _) = fails(call(&redis, &["INCR", "n"], Repeat::Write)).await;
    assert!(proxy.swallowed());
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Indeterminate));
    assert_eq!(get(&direct, "n").await.expect("get").as_deref(), Some("1"), "applied once");
    assert_eq!(call(&redis, &["INCR", "n"], Repeat::Write).await.expect("back"), Some("2".into()));
}

#[tokio::test]
async fn what_may_be_repeated_is() {
    let server = RedisServer::with_port(&[]).await;
    let proxy = Proxy::to(server.port()).await;
    let redis = open(&through(&proxy));
    set(&redis, "a", "1").await.expect("set");
    proxy.swallow_one_answer();
    assert_eq!(get(&redis, "a").await.expect("asked again").as_deref(), Some("1"));
    assert!(proxy.swallowed());
    proxy.swallow_one_answer();
    set(&redis, "a", "2").await.expect("set again");
    assert!(proxy.swallowed());
}

#[tokio::test]
async fn a_cut_wire_is_a_late_answer_and_then_a_refusal_until_it_is_mended() {
    let server = RedisServer::with_port(&[]).await;
    let proxy = Proxy::to(server.port()).await;
    let options = Options::new().with_deadline(Duration::from_millis(300));
    let redis = open_with(&through(&proxy), &options);
    set(&redis, "a", "1").await.expect("set");
    proxy.cut();
    let (error, took) = fails(set(&redis, "a", "2")).await;
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Timeout, Retry::Indeterminate));
    assert!(took < Duration::from_millis(500), "{took:?}");
    for error in fail_at_once(&redis).await {
        assert!(error.is_retryable(), "{error:?}");
    }
    proxy.mend();
    assert!(recovers(&redis).await < Duration::from_millis(2_500));
}
