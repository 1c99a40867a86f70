//! Cases of [`AlertSink`].

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use super::cases;
use base::clock::WallTime;
use base::vocabulary::{ServiceId, Severity};
use base::{Error, ErrorKind, Result, Retry};
use supervision::alert::{Alert, AlertSink, AlertStatus};

/// What a sink that can be told apart does with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Receiver {
    /// It takes everything.
    Takes,
    /// It can't be reached, or is too busy: later is fine.
    Busy,
    /// It refuses the message for good.
    Refuses,
}

/// A sink with its receiver.
#[async_trait]
pub trait SinkEnv: Debug + Send + Sync {
    /// A sink whose receiver behaves so; `None` where this backend's never does.
    async fn sink(&self, receiver: Receiver) -> Result<Option<Arc<dyn AlertSink>>>;

    /// What the receiver has taken since the environment was made: text in which the titles and
    /// keys of the messages can be found, a piece a message. `None` where nobody can look.
    async fn taken(&self) -> Result<Option<Vec<String>>>;

    /// The secrets that the sinks were given.
    fn secrets(&self) -> Vec<String>;
}

cases!(dyn SinkEnv:
    ok_means_taken_and_in_order,
    every_status_severity_and_text_is_taken,
    many_at_once_are_all_taken,
    a_busy_receiver_is_worth_another_try,
    a_refusal_is_final,
    errors_and_debug_name_no_secret,
);

const NASTY: &str = "<b> & \"quotes\" 'and' \\ $(touch /tmp/x) `x` ünï; {{ 7 }} @everyone";

fn alert(number: usize) -> Result<Alert> {
    let key = format!("conformance-{number}");
    let title = format!("message {number} of the conformance cases");
    let id = format!("id-{number}");
    let status = AlertStatus::Triggered;
    Ok(Alert::new(
        id,
        key,
        status,
        Severity::Warning,
        title,
        WallTime::from_millis(1_767_225_600_000),
    )
    .with_service(ServiceId::new("vocal-coach")?)
    .with_body("first line\nsecond line"))
}

async fn taking(env: &dyn SinkEnv) -> Result<Arc<dyn AlertSink>> {
    let missing = || Error::new(ErrorKind::Internal, "the environment has no sink that takes");
    env.sink(Receiver::Takes).await?.ok_or_else(missing)
}

async fn ok_means_taken_and_in_order(env: &dyn SinkEnv) -> Result<()> {
    let sink = taking(env).await?;
    for number in 0..5 {
        sink.deliver(&alert(number)?).await?;
        if let Some(taken) = env.taken().await? {
            assert_eq!(taken.len(), number + 1, "Ok before it was taken");
            assert!(taken[number].contains(&alert(number)?.title), "{}", taken[number]);
        }
    }
    Ok(())
}

async fn every_status_severity_and_text_is_taken(env: &dyn SinkEnv) -> Result<()> {
    use AlertStatus::{Recovered, Reminder, Resolved, Test, Triggered, Updated};
    let sink = taking(env).await?;
    let mut count = 0;
    for status in [Triggered, Updated, Reminder, Recovered, Resolved, Test] {
        for severity in [Severity::Info, Severity::Warning, Severity::Critical] {
            let mut message = alert(count)?;
            (message.status, message.severity) = (status, severity);
            message.title = NASTY.to_owned();
            message.body = format!("{NASTY}\n\u{2028}\u{0}\u{7}{}", "x".repeat(5_000));
            message.service = None;
            sink.deliver(&message).await?;
            count += 1;
        }
    }
    if let Some(taken) = env.taken().await? {
        assert_eq!(taken.len(), count);
    }
    Ok(())
}

async fn many_at_once_are_all_taken(env: &dyn SinkEnv) -> Result<()> {
    let sink = taking(env).await?;
    let alerts: Vec<Alert> = (0..8).map(alert).collect::<Result<_>>()?;
    futures_util::future::try_join_all(alerts.iter().map(|alert| sink.deliver(alert))).await?;
    if let Some(taken) = env.taken().await? {
        assert_eq!(taken.len(), alerts.len());
        for alert in &alerts {
            assert!(taken.iter().any(|text| text.contains(&alert.title)), "{}", alert.title);
        }
    }
    Ok(())
}

async fn a_busy_receiver_is_worth_another_try(env: &dyn SinkEnv) -> Result<()> {
    let Some(sink) = env.sink(Receiver::Busy).await? else { return Ok(()) };
    let error = sink.deliver(&alert(1)?).await.err();
    let again = error.as_ref().is_some_and(|error| error.retry() != Retry::Never);
    assert!(again, "a busy receiver gave {error:?}");
    Ok(())
}

async fn a_refusal_is_final(env: &dyn SinkEnv) -> Result<()> {
    let Some(sink) = env.sink(Receiver::Refuses).await? else { return Ok(()) };
    let error = sink.deliver(&alert(1)?).await.err();
    let last = error.as_ref().is_some_and(|error| error.retry() == Retry::Never);
    assert!(last, "a refusal gave {error:?}");
    Ok(())
}

async fn errors_and_debug_name_no_secret(env: &dyn SinkEnv) -> Result<()> {
    for receiver in [Receiver::Takes, Receiver::Busy, Receiver::Refuses] {
        let Some(sink) = env.sink(receiver).await? else { continue };
        let error = sink.deliver(&alert(1)?).await.err();
        let said = format!(
            "{sink:?} {error:?} {}",
            error.as_ref().map_or(String::new(), Error::to_string)
        );
        for secret in env.secrets() {
            assert!(!said.contains(&secret), "a secret is told: {said}");
        }
    }
    Ok(())
}
