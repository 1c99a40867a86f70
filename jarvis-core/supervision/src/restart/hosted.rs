//! [`HostedRestarter`]: a restarter that the embedding program wrote in its own language.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::intents::Intents;
use super::{
    ActionRequest, Exit, InstanceEvents, Leaving, Receipt, RunState, Running, ServiceRestarter,
};
use base::clock::SharedClock;
use base::hosted::{Hosted, HostedObject, LeftBehind};
use base::vocabulary::{InstanceId, VersionId};
use base::{Error, ErrorKind, Result, Retry};

const OPERATION: &str = "restart.hosted";

/// How long a question may take; an action has its own deadline.
const QUESTION: Duration = Duration::from_secs(10);

/// Calls the methods of a [`HostedObject`].
///
/// | method | its answer |
/// |---|---|
/// | `observe()` | does it run: a bool, the name of its life, or `{"state": "running" \| "starting" \| "exited" \| "missing" \| …, "instance": …, "version": …}` |
/// | `restart(request)` | nothing, a line for a person, or `{"message": …, "before": …, "after": …}` |
/// | `start(request)`, `stop(request)` | the same; without the method it is `Unsupported` |
/// | `roll_back(request)` | the same; `request["to"]` is the version |
/// | `settle_roll_back({"keep": …})` | nothing; may be left out |
/// | `last_log_lines({"lines": …})` | texts; may be left out |
/// | `release({"why": "interrupted" \| "terminated"})` | nothing; may be left out |
///
/// A request is `{"intent": …, "token": …, "timeout_ms": …}`. The same intent is never acted on
/// twice. An action that is not done at its deadline goes on, and is an error that says so.
#[derive(Debug)]
pub struct HostedRestarter {
    hosted: Hosted,
    intents: Intents,
}

impl HostedRestarter {
    /// A restarter.
    ///
    /// # Errors
    /// `InvalidInput` when the object has no method `observe` or no method `restart`.
    pub fn new(
        object: Arc<dyn HostedObject>,
        clock: SharedClock,
        left_behind: LeftBehind,
    ) -> Result<Self> {
        if let Some(missing) = ["observe", "restart"].iter().find(|method| !object.has(method)) {
            let message = format!("a restarter needs a method `{missing}`");
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let hosted = Hosted::new(object, clock, left_behind);
        Ok(Self { hosted, intents: Intents::default() })
    }

    /// Asks something that changes nothing.
    async fn ask(&self, method: &'static str, argument: Value) -> Result<Value> {
        let deadline = self.hosted.clock.monotonic() + QUESTION;
        let answer = self.hosted.call(method, argument, deadline).await;
        answer.map_err(|error| error.with_operation(OPERATION))?.ok_or_else(|| {
            Error::new(ErrorKind::Timeout, format!("{method}() did not answer within 10 s"))
                .with_retry(Retry::Safe { after: None })
                .with_operation(OPERATION)
        })
    }

    /// Asks what may be left out.
    async fn ask_if_there(&self, method: &'static str, argument: Value) -> Result<Option<Value>> {
        if !self.hosted.has(method) {
            return Ok(None);
        }
        match self.ask(method, argument).await {
            Err(error) if error.kind() == ErrorKind::Unsupported => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// Acts, once for each intent.
    async fn act(
        &self,
        method: &'static str,
        request: ActionRequest,
        to: Option<VersionId>,
    ) -> Result<Receipt> {
        if !self.hosted.has(method) {
            let message = format!("this restarter has no method `{method}`");
            return Err(Error::new(ErrorKind::Unsupported, message).with_operation(OPERATION));
        }
        let hosted = self.hosted.clone();
        let argument = argument(&hosted, &request, to.as_ref());
        let deadline = request.deadline;
        let action = async move {
            match hosted.call::<Value>(method, argument, deadline).await? {
                Some(answer) => receipt(method, answer),
                None => Err(Error::new(
                    ErrorKind::Timeout,
                    format!("{method}() is not done at its deadline; it continues"),
                )),
            }
        };
        self.intents.carry_out(&self.hosted.clock, &request, OPERATION, action).await
    }
}

fn argument(hosted: &Hosted, request: &ActionRequest, to: Option<&VersionId>) -> Value {
    let left = request.deadline.saturating_since(hosted.clock.monotonic());
    let mut argument = json!({
        "intent": request.intent,
        "token": request.token,
        "timeout_ms": u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
    });
    if let Some(to) = to {
        argument["to"] = json!(to);
    }
    argument
}

fn wrong(method: &str, expected: &str) -> Error {
    let message = format!("{method}() returned an unexpected value: expected {expected}");
    Error::new(ErrorKind::InvalidInput, message).with_operation(OPERATION)
}

fn running(answer: Value) -> Result<Running> {
    let expected = "a bool, a text or {\"state\": …}";
    Ok(match answer {
        Value::Bool(true) => Running::new(RunState::Running),
        Value::Bool(false) => Running::new(RunState::Exited { exit: Exit::Unknown }),
        Value::String(life) => {
            let life = InstanceId::new(&life).map_err(|error| error.with_operation(OPERATION))?;
            Running::new(RunState::Running).with_instance(Some(life))
        }
        Value::Object(mut fields) => {
            if fields.get("state").and_then(Value::as_str) == Some("exited") {
                fields.entry("exit").or_insert_with(|| json!(Exit::Unknown));
            }
            serde_json::from_value(Value::Object(fields))
                .map_err(|error| wrong("observe", expected).with_source(error))?
        }
        _ => return Err(wrong("observe", expected)),
    })
}

fn receipt(method: &str, answer: Value) -> Result<Receipt> {
    let expected = "nothing, a text or {\"message\": …}";
    Ok(match answer {
        Value::Null => Receipt::new(format!("{method}() is done")),
        Value::String(message) => Receipt::new(message),
        Value::Object(mut fields) => {
            fields.entry("message").or_insert_with(|| json!(format!("{method}() is done")));
            // It was done: what is wrong is only how that was told.
            serde_json::from_value(Value::Object(fields)).map_err(|error| {
                wrong(method, expected).with_retry(Retry::Indeterminate).with_source(error)
            })?
        }
        _ => return Err(wrong(method, expected).with_retry(Retry::Indeterminate)),
    })
}

#[async_trait]
impl ServiceRestarter for HostedRestarter {
    async fn observe(&self) -> Result<Running> {
        running(self.ask("observe", json!({})).await?)
    }

    async fn restart(&self, request: ActionRequest) -> Result<Receipt> {
        self.act("restart", request, None).await
    }

    async fn start(&self, request: ActionRequest) -> Result<Receipt> {
        self.act("start", request, None).await
    }

    async fn stop(&self, request: ActionRequest) -> Result<Receipt> {
        self.act("stop", request, None).await
    }

    async fn roll_back(&self, request: ActionRequest, to: VersionId) -> Result<Receipt> {
        self.act("roll_back", request, Some(to)).await
    }

    async fn settle_roll_back(&self, keep: bool) -> Result<()> {
        self.ask_if_there("settle_roll_back", json!({ "keep": keep })).await.map(drop)
    }

    async fn watch(&self) -> Result<InstanceEvents> {
        Err(Error::new(ErrorKind::Unsupported, "this restarter reports no events")
            .with_operation(OPERATION))
    }

    async fn release(&self, why: Leaving) -> Result<()> {
        self.ask_if_there("release", json!({ "why": why })).await.map(drop)
    }

    async fn last_log_lines(&self, lines: usize) -> Result<Vec<String>> {
        let answer = self.ask_if_there("last_log_lines", json!({ "lines": lines })).await?;
        let Some(answer) = answer else { return Ok(Vec::new()) };
        let told: Vec<String> = serde_json::from_value(answer)
            .map_err(|error| wrong("last_log_lines", "a list of texts").with_source(error))?;
        Ok(newest(told, lines))
    }
}

/// The last lines, at most so many and 4 KiB.
fn newest(lines: Vec<String>, most: usize) -> Vec<String> {
    const MOST_BYTES: usize = 4_096;
    let mut bytes = 0;
    let mut kept: Vec<String> = lines
        .into_iter()
        .rev()
        .take(most)
        .take_while(|line| {
            bytes += line.len();
            bytes <= MOST_BYTES
        })
        .collect();
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::clock::{Clock, ManualClock};
    use base::hosted::METHODS;
    use base::hosted::scripted::ScriptedObject;
    use base::vocabulary::{FencingToken, IntentId};

    const ALL: &[&str] = &METHODS;

    struct Scene {
        clock: Arc<ManualClock>,
        object: Arc<ScriptedObject>,
        restarter: Arc<HostedRestarter>,
        hung: std::sync::mpsc::Receiver<base::hosted::Running>,
        left: LeftBehind,
    }

    fn scene(methods: &'static [&'static str]) -> Scene {
        let (clock, left) = (Arc::new(ManualClock::new()), LeftBehind::new());
        let (object, hung) = ScriptedObject::new(methods);
        let restarter = HostedRestarter::new(object.clone(), clock.clone(), left.clone()).unwrap();
        Scene { clock, object, restarter: Arc::new(restarter), hung, left }
    }

    impl Scene {
        fn request(&self, intent: &str) -> ActionRequest {
            let deadline = self.clock.monotonic() + Duration::from_secs(3);
            ActionRequest::new(IntentId::new(intent).unwrap(), FencingToken::new(7), deadline)
        }
    }

    #[tokio::test]
    async fn what_it_observes_is_told_in_three_ways() {
        let scene = scene(ALL);
        for (said, state, life) in [
            (json!(true), RunState::Running, None),
            (json!(false), RunState::Exited { exit: Exit::Unknown }, None),
            (json!("life-1"), RunState::Running, Some("life-1")),
            (
                json!({ "state": "starting", "instance": "life-2" }),
                RunState::Starting,
                Some("life-2"),
            ),
            (json!({ "state": "exited" }), RunState::Exited { exit: Exit::Unknown }, None),
            (
                json!({ "state": "exited", "exit": { "code": 3 } }),
                RunState::Exited { exit: Exit::Code(3) },
                None,
            ),
            (json!({ "state": "missing" }), RunState::Missing, None),
        ] {
            scene.object.answer(Ok(said.clone()));
            let running = scene.restarter.observe().await.unwrap();
            assert_eq!(running.state, state, "{said}");
            assert_eq!(running.instance.as_ref().map(InstanceId::as_str), life, "{said}");
        }
        for nonsense in [json!(null), json!(3), json!({}), json!({ "state": "odd" })] {
            scene.object.answer(Ok(nonsense.clone()));
            let error = scene.restarter.observe().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{nonsense}");
        }
    }

    #[tokio::test]
    async fn an_intent_is_carried_out_once() {
        let scene = scene(ALL);
        scene.object.answer(Ok(json!({ "after": "life-2" })));
        let first = scene.restarter.restart(scene.request("i1")).await.unwrap();
        assert_eq!(first.message, "restart() is done");
        assert_eq!(first.after.as_ref().map(InstanceId::as_str), Some("life-2"));
        assert_eq!(scene.restarter.restart(scene.request("i1")).await.unwrap(), first);
        {
            let asked = scene.object.calls.lock();
            let request = json!({ "intent": "i1", "token": 7, "timeout_ms": 3_000 });
            assert_eq!(*asked, [("restart", request)]);
        }
        scene.object.answer(Ok(json!("stopped")));
        let stopped = scene.restarter.stop(scene.request("i2")).await.unwrap();
        assert_eq!(stopped.message, "stopped");
        scene.object.answer(Ok(json!(null)));
        let to = VersionId::new("v1").unwrap();
        scene.restarter.roll_back(scene.request("i3"), to).await.unwrap();
        assert_eq!(scene.object.calls.lock().last().unwrap().1["to"], "v1");
        scene.object.answer(Ok(json!(7)));
        let error = scene.restarter.start(scene.request("i4")).await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::InvalidInput, Retry::Indeterminate));
    }

    #[tokio::test]
    async fn an_action_that_hangs_is_indeterminate_and_not_begun_again() {
        let scene = scene(ALL);
        let (restarter, request) = (Arc::clone(&scene.restarter), scene.request("i1"));
        let call = tokio::spawn(async move { restarter.restart(request).await });
        while scene.clock.sleepers() < 2 {
            tokio::task::yield_now().await;
        }
        scene.clock.advance(Duration::from_secs(3));
        let late = call.await.unwrap().unwrap_err();
        assert_eq!((late.kind(), late.retry()), (ErrorKind::Timeout, Retry::Indeterminate));
        while scene.left.count() == 0 {
            tokio::task::yield_now().await;
        }
        let refused = scene.restarter.restart(scene.request("i2")).await.unwrap_err();
        assert!(refused.message().contains("still hangs"), "{refused}");
        assert_eq!(scene.object.calls.lock().len(), 1);
        scene.object.answer(Ok(json!(true)));
        assert!(scene.restarter.observe().await.unwrap().is_running());
        drop(scene.hung.recv().unwrap());
        scene.object.answer(Ok(json!(null)));
        assert!(scene.restarter.restart(scene.request("i3")).await.is_ok());
    }

    #[tokio::test]
    async fn what_it_has_no_method_for_is_unsupported_or_nothing() {
        let scene = scene(&["observe", "restart"]);
        let error = scene.restarter.start(scene.request("i1")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(scene.restarter.settle_roll_back(true).await.is_ok());
        assert!(scene.restarter.last_log_lines(5).await.unwrap().is_empty());
        assert!(scene.restarter.release(Leaving::Terminated).await.is_ok());
        assert_eq!(scene.object.calls.lock().len(), 0);
        assert_eq!(scene.restarter.watch().await.unwrap_err().kind(), ErrorKind::Unsupported);
        let (object, _) = ScriptedObject::new(&["observe"]);
        let error = HostedRestarter::new(object, scene.clock.clone(), LeftBehind::new());
        assert!(error.unwrap_err().message().contains("`restart`"));
    }

    #[tokio::test]
    async fn an_object_that_was_made_late_may_leave_out_as_much() {
        let scene = scene(ALL);
        let unsupported = || Err(Error::new(ErrorKind::Unsupported, "it has no such method"));
        (0..4).for_each(|_| scene.object.answer(unsupported()));
        assert!(scene.restarter.settle_roll_back(true).await.is_ok());
        assert!(scene.restarter.last_log_lines(5).await.unwrap().is_empty());
        assert!(scene.restarter.release(Leaving::Interrupted).await.is_ok());
        let error = scene.restarter.start(scene.request("i1")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        scene.object.answer(Ok(Value::Null));
        scene.restarter.release(Leaving::Terminated).await.unwrap();
        let why = json!({ "why": "terminated" });
        assert_eq!(*scene.object.calls.lock().last().unwrap(), ("release", why));
    }

    #[tokio::test]
    async fn of_a_log_the_newest_lines_are_taken() {
        let scene = scene(ALL);
        scene.object.answer(Ok(json!(["one", "two", "three"])));
        assert_eq!(scene.restarter.last_log_lines(2).await.unwrap(), ["two", "three"]);
        scene.object.answer(Ok(json!(["x".repeat(5_000), "short"])));
        assert_eq!(scene.restarter.last_log_lines(9).await.unwrap(), ["short"]);
        scene.object.answer(Ok(json!(null)));
        scene.restarter.settle_roll_back(true).await.unwrap();
        assert_eq!(
            *scene.object.calls.lock().last().unwrap(),
            ("settle_roll_back", json!({ "keep": true }))
        );
    }
}
