//! Alerts over TLS, with a certificate authority of one's own.

#![expect(clippy::unwrap_used, reason = "a test that fails has to stop")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jarvis_core::ErrorKind;
use jarvis_core::alert::{
    Alert, AlertSink, AlertStatus, Heartbeat, HeartbeatConfig, WebhookConfig, WebhookSink,
};
use jarvis_core::clock::{Clock, ClockExt, SharedClock, SystemClock};
use jarvis_core::vocabulary::Severity;
use jarvis_tests::receiver::{Answer, HttpReceiver};
use jarvis_tests::targets::Identity;

const PATIENCE: Duration = Duration::from_secs(30);

fn clock() -> SharedClock {
    Arc::new(SystemClock::new())
}

fn alert() -> Alert {
    let at = SystemClock::new().wall();
    Alert::new("id-1", "api-1", AlertStatus::Triggered, Severity::Critical, "api is down", at)
}

fn written(folder: &tempfile::TempDir, identity: &Identity) -> PathBuf {
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, identity.authority()).unwrap();
    path
}

fn sink(url: String, ca_file: Option<PathBuf>) -> WebhookSink {
    let mut config = WebhookConfig::new(url);
    config.ca_file = ca_file.map(Into::into);
    WebhookSink::new(config, clock()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_over_tls_trusts_its_own_authority_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::signed("localhost", 30);
    let ca_file = written(&folder, &identity);
    let receiver = HttpReceiver::start_tls(Answer::status(200), &identity).await;
    let url = receiver.tls_url("/hook");

    sink(url.clone(), Some(ca_file.clone())).deliver(&alert()).await.unwrap();
    let received = receiver.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].json()["title"], "api is down");

    // The machine's authorities don't know this one, and another one is not enough either.
    let machine = sink(url.clone(), None).deliver(&alert()).await.unwrap_err();
    assert_eq!(machine.kind(), ErrorKind::Unavailable, "{machine:?}");
    let other = tempfile::tempdir().unwrap();
    let stranger = written(&other, &Identity::signed("localhost", 30));
    let refused = sink(url.clone(), Some(stranger)).deliver(&alert()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused:?}");
    assert!(!refused.to_string().contains("/hook"), "a URL is a secret: {refused}");
    assert_eq!(receiver.received().len(), 1, "nothing was sent to a stranger");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_name_or_that_expired_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for identity in [Identity::signed("elsewhere.example", 30), Identity::signed("localhost", -1)] {
        let ca_file = written(&folder, &identity);
        let receiver = HttpReceiver::start_tls(Answer::status(200), &identity).await;
        let refused =
            sink(receiver.tls_url("/"), Some(ca_file)).deliver(&alert()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused:?}");
        assert!(receiver.received().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_heartbeat_beats_over_tls_too() {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::signed("localhost", 30);
    let receiver = HttpReceiver::start_tls(Answer::status(200), &identity).await;
    let mut config = HeartbeatConfig::new(receiver.tls_url("/ping"), Duration::from_secs(1));
    config.ca_file = Some(written(&folder, &identity).into());
    let heartbeat = Heartbeat::new(&config, clock()).unwrap();
    heartbeat.round_done();
    let clock = clock();
    let arrived = async {
        receiver.wait_for(1).await;
    };
    let deadline = clock.monotonic() + PATIENCE;
    clock.until(deadline, heartbeat.run(arrived)).await.expect("a ping");
}

#[test]
fn a_file_that_is_no_authority_is_refused_when_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    for text in [None, Some(""), Some("-----BEGIN CERTIFICATE-----\nnonsense\n")] {
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        let mut config = WebhookConfig::new("https://localhost/");
        config.ca_file = Some(path.clone().into());
        let error = WebhookSink::new(config, clock()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConfigInvalid, "{text:?}");
        assert!(error.message().contains("ca_file"), "{error}");
    }
}
