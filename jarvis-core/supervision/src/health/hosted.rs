//! [`HostedProbe`]: a probe that the embedding program wrote in its own language.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{HealthProbe, Observation, ProbeContext};
use base::clock::SharedClock;
use base::hosted::{Hosted, HostedObject, LeftBehind};
use base::vocabulary::{FailureKind, InstanceId, Verdict};
use base::{Error, ErrorKind, Result};

/// Calls `probe({"timeout_ms": …, "fresh": …})` of a [`HostedObject`].
///
/// | its answer | means |
/// |---|---|
/// | `null`, `true` | it is well |
/// | `false` | it is not |
/// | a text | it is well, and this is the message |
/// | `{"verdict": "pass" \| "warn" \| "fail" \| "unknown", "kind": …, "message": …, "instance": …, "facts": {…}}` | that |
///
/// An exception means that it could not be measured, but for those that say what a client sees of a
/// sick target: `Unavailable` is a refused connection, `Timeout` no answer in time.
#[derive(Debug)]
pub struct HostedProbe(Hosted);

impl HostedProbe {
    /// A probe.
    ///
    /// # Errors
    /// `InvalidInput` when the object has no method `probe`.
    pub fn new(
        object: Arc<dyn HostedObject>,
        clock: SharedClock,
        left_behind: LeftBehind,
    ) -> Result<Self> {
        if !object.has("probe") {
            let message = "a probe needs a method `probe`";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        Ok(Self(Hosted::new(object, clock, left_behind)))
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Nothing(()),
    Well(bool),
    Said(String),
    Observed(Reply),
    Wrong(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reply {
    verdict: Verdict,
    #[serde(default)]
    kind: Option<FailureKind>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    instance: Option<InstanceId>,
    #[serde(default)]
    facts: serde_json::Map<String, Value>,
}

impl Reply {
    fn observation(self) -> Observation {
        let message = self.message;
        let said = |otherwise: &str| message.clone().unwrap_or_else(|| otherwise.to_owned());
        let kind = self.kind.unwrap_or(FailureKind::Check);
        let observation = match self.verdict {
            Verdict::Pass => Observation::pass(said("it is well")),
            Verdict::Warn => Observation::warn(kind, said("it warns")),
            Verdict::Fail => Observation::fail(kind, said("it is not well")),
            Verdict::Unknown => Observation::unknown(said("it can't tell")),
        };
        let facts = self.facts.into_iter();
        facts
            .fold(observation, |it, (name, value)| it.with_fact(name, value))
            .with_instance(self.instance)
    }
}

impl Answer {
    fn observation(self) -> Result<Observation> {
        Ok(match self {
            Self::Nothing(()) | Self::Well(true) => Observation::pass("it is well"),
            Self::Well(false) => Observation::fail(FailureKind::Check, "it is not well"),
            Self::Said(message) => Observation::pass(message),
            Self::Observed(reply) => reply.observation(),
            Self::Wrong(_) => {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    "probe() answers nothing, a bool, a text or an observation such as {\"verdict\": \"fail\", \"message\": \"no disk\"}",
                ));
            }
        })
    }
}

/// What an exception says of the target, where it says something of the target.
fn seen(error: Error) -> Result<Observation> {
    let kind = match error.kind() {
        ErrorKind::Unavailable => FailureKind::Refused,
        ErrorKind::Timeout => FailureKind::Timeout,
        ErrorKind::RateLimited => FailureKind::RateLimited,
        ErrorKind::Unauthorized => FailureKind::Auth,
        _ => return Err(error),
    };
    Ok(Observation::fail(kind, error.message().to_owned()))
}

#[async_trait]
impl HealthProbe for HostedProbe {
    async fn probe(&self, context: ProbeContext) -> Result<Observation> {
        let clock = &context.clock;
        let began = clock.monotonic();
        let timeout = u64::try_from(context.remaining().as_millis()).unwrap_or(u64::MAX);
        let argument = json!({ "timeout_ms": timeout, "fresh": context.fresh });
        self.0.refused("probe")?;
        let observation = match self.0.call::<Answer>("probe", argument, context.deadline).await {
            Ok(Some(answer)) => answer.observation()?,
            Ok(None) => Observation::fail(FailureKind::Timeout, "no answer in time"),
            Err(error) => seen(error)?,
        };
        let latency: Duration = clock.monotonic().saturating_since(began);
        Ok(observation.with_latency(latency))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::clock::ManualClock;
    use base::hosted::scripted::ScriptedObject as Object;

    async fn answer(answer: Result<Value>) -> Result<Observation> {
        let clock: SharedClock = Arc::new(ManualClock::new());
        let (object, _) = Object::new(&["probe"]);
        object.answer(answer);
        let probe = HostedProbe::new(object.clone(), clock.clone(), LeftBehind::new())?;
        let observation = probe.probe(ProbeContext::new(clock, Duration::from_secs(2))).await;
        let asked = object.calls.lock();
        assert_eq!(*asked, [("probe", json!({ "timeout_ms": 2_000, "fresh": true }))]);
        observation
    }

    #[tokio::test]
    async fn every_answer_is_an_observation() {
        for (said, verdict, kind, message) in [
            (json!(null), Verdict::Pass, None, "it is well"),
            (json!(true), Verdict::Pass, None, "it is well"),
            (json!(false), Verdict::Fail, Some(FailureKind::Check), "it is not well"),
            (json!("42 tracks"), Verdict::Pass, None, "42 tracks"),
            (
                json!({ "verdict": "warn", "kind": "slow", "message": "3 s" }),
                Verdict::Warn,
                Some(FailureKind::Slow),
                "3 s",
            ),
            (
                json!({ "verdict": "fail" }),
                Verdict::Fail,
                Some(FailureKind::Check),
                "it is not well",
            ),
            // A pass has no kind, whatever is said.
            (json!({ "verdict": "pass", "kind": "slow" }), Verdict::Pass, None, "it is well"),
        ] {
            let observation = answer(Ok(said.clone())).await.unwrap();
            assert_eq!(
                (observation.verdict, observation.kind, &*observation.message),
                (verdict, kind, message),
                "{said}"
            );
        }
        let told = json!({ "verdict": "pass", "facts": { "n": 1 }, "instance": "life-2" });
        let observation = answer(Ok(told)).await.unwrap();
        assert_eq!(observation.facts, [("n".into(), json!(1))]);
        assert_eq!(observation.instance.unwrap().as_str(), "life-2");
    }

    #[tokio::test]
    async fn nonsense_is_no_verdict_and_an_exception_may_be_one() {
        for nonsense in [json!(7), json!([]), json!({ "verdict": "great" }), json!({ "ok": 1 })] {
            let error = answer(Ok(nonsense.clone())).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{nonsense}");
        }
        let raised = |kind| answer(Err(Error::new(kind, "raised")));
        let refused = raised(ErrorKind::Unavailable).await.unwrap();
        assert_eq!(refused.kind, Some(FailureKind::Refused));
        let late = raised(ErrorKind::Timeout).await.unwrap();
        assert_eq!((late.kind, &*late.message), (Some(FailureKind::Timeout), "raised"));
        assert_eq!(raised(ErrorKind::Internal).await.unwrap_err().kind(), ErrorKind::Internal);
    }

    #[tokio::test]
    async fn a_probe_that_hangs_fails_and_is_not_called_again() {
        let clock = Arc::new(ManualClock::new());
        let (object, hung) = Object::new(&["probe"]);
        let left = LeftBehind::new();
        let probe =
            Arc::new(HostedProbe::new(object.clone(), clock.clone(), left.clone()).unwrap());
        let context = || ProbeContext::new(clock.clone(), Duration::from_secs(2));
        let (asking, first) = (Arc::clone(&probe), context());
        let call = tokio::spawn(async move { asking.probe(first).await });
        while clock.sleepers() == 0 {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_secs(2));
        let late = call.await.unwrap().unwrap();
        assert_eq!((late.kind, late.latency), (Some(FailureKind::Timeout), Duration::from_secs(2)));
        assert_eq!(left.count(), 1);
        let error = probe.probe(context()).await.unwrap_err();
        assert!(error.message().contains("still hangs"), "{error}");
        drop(hung.recv().unwrap());
        object.answer(Ok(json!(true)));
        assert_eq!(probe.probe(context()).await.unwrap().verdict, Verdict::Pass);
    }

    #[test]
    fn an_object_without_the_method_is_no_probe() {
        let (object, _) = Object::new(&[]);
        let clock = Arc::new(ManualClock::new());
        let error = HostedProbe::new(object, clock, LeftBehind::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}
