//! Plays one case, step by step.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jarvis_core::clock::{Clock, ClockExt, SystemClock};
use jarvis_core::config::Source;
use jarvis_core::events::{Delivery, Subscription};
use jarvis_core::jarvis::{EventStream, HealthWatch};
use jarvis_core::operator::ServiceStatus;
use jarvis_core::restart::Leaving;
use jarvis_core::session::Session;
use jarvis_core::vocabulary::Lifecycle;
use jarvis_core::{Error, ErrorKind, Jarvis};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::values::Names;
use crate::{Backend, Case, Step, calls, expect};

/// How a call ended: with an answer, or an error and, for a conflict, what is stored.
pub(crate) enum Ended {
    Answer(Value),
    Stream(Stream),
    Failed { error: Error, current: Option<Box<Session>> },
}

/// What gives one item after the other.
pub(crate) enum Stream {
    Bus(Box<dyn Subscription>),
    Events(Box<EventStream>),
    Watch(Box<HealthWatch>),
    Items(VecDeque<Value>),
    /// Fails once.
    Failed(Option<Error>),
}

impl Stream {
    /// The next item; `None` at the end.
    async fn item(&mut self) -> Result<Option<Value>, Error> {
        let delivery = match self {
            Self::Items(items) => return Ok(items.pop_front()),
            Self::Failed(error) => return error.take().map_or(Ok(None), Err),
            Self::Watch(watch) => {
                return Ok(watch.next().await.transpose()?.map(|change| json!(change)));
            }
            Self::Bus(stream) => stream.next().await,
            Self::Events(stream) => stream.next().await.transpose()?,
        };
        match delivery {
            None => Ok(None),
            Some(Delivery::Event(envelope)) => Ok(Some(calls::envelope(&envelope))),
            Some(other) => Err(Error::new(ErrorKind::Internal, format!("got {other:?}"))),
        }
    }
}

impl Ended {
    /// An answer among others: an error is one as its members.
    pub(crate) fn into_json(self) -> Value {
        match self {
            Self::Answer(answer) => answer,
            Self::Stream(_) => Value::Null,
            Self::Failed { error, current } => failed(&error, current.as_deref()),
        }
    }
}

fn failed(error: &Error, current: Option<&Session>) -> Value {
    json!({ "code": error.code(), "retryable": error.is_retryable(), "current": current })
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Failed { error, current: None }
    }
}

struct Stage {
    jarvis: Jarvis,
    folder: TempDir,
    names: Names,
    streams: BTreeMap<String, Stream>,
}

pub(crate) async fn case(
    case: &Case,
    config: &Value,
    backend: Option<Backend>,
) -> Result<(), String> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let folder = TempDir::new().map_err(|error| error.to_string())?;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let unique = format!("{}x{number}", std::process::id());
    let url = backend.map_or_else(|| Ok(String::new()), |backend| url(backend, &folder))?;
    let config = text_replaced(&text_replaced(config, "$url", &url), "$unique", &unique);
    let jarvis = open(&config, &folder).map_err(|error| format!("open: {error}"))?;
    let names = Names { unique, answers: BTreeMap::new() };
    let mut stage = Stage { jarvis, folder, names, streams: BTreeMap::new() };
    let (stop, stopped) = oneshot::channel();
    let running = case.run.then(|| {
        let jarvis = stage.jarvis.clone();
        tokio::spawn(async move {
            jarvis.run(async { stopped.await.unwrap_or(Leaving::Interrupted) }).await
        })
    });
    if running.is_some() {
        settled(&stage.jarvis).await?;
    }
    for (index, step) in case.steps.iter().enumerate() {
        stage.step(step).await.map_err(|error| format!("step {}: {error}", index + 1))?;
    }
    // It may have ended by itself.
    let _ = stop.send(Leaving::Interrupted);
    if let Some(running) = running {
        let ended = running.await.map_err(|error| error.to_string())?;
        ended.map_err(|error| format!("run: {error}"))?;
    }
    stage.jarvis.close().await.map_err(|error| format!("close: {error}"))
}

/// Before its process was started, a service is steady and has no instance.
fn is_settled(service: &ServiceStatus) -> bool {
    let is_started = !service.restartable || service.instance.is_some();
    is_started && service.lifecycle == Lifecycle::Steady
}

/// Waits until the loop has the lease, knows every service, and has nothing to do about any.
async fn settled(jarvis: &Jarvis) -> Result<(), String> {
    let clock = SystemClock::new();
    let by = clock.monotonic() + Duration::from_secs(10);
    let settling = async {
        loop {
            let status = jarvis.attach().await.status().await;
            if let Ok(status) = status
                && status.platform.unknown == 0
                && let Some(operator) = status.operator
                && operator.lease.is_some()
                && operator.services.iter().all(is_settled)
            {
                return;
            }
            clock.sleep(Duration::from_millis(10)).await;
        }
    };
    clock.until(by, settling).await.ok_or_else(|| "the loop did not settle in 10 s".to_owned())
}

fn url(backend: Backend, folder: &TempDir) -> Result<String, String> {
    match backend {
        Backend::Memory => Ok("memory:".to_owned()),
        Backend::Sqlite => Ok(format!("sqlite:{}", folder.path().join("parity.db").display())),
        Backend::Redis => std::env::var("JARVIS_TEST_REDIS_URL")
            .map_err(|_| "JARVIS_TEST_REDIS_URL is not set; use tests/run".to_owned()),
    }
}

fn text_replaced(value: &Value, from: &str, to: &str) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace(from, to)),
        Value::Array(items) => items.iter().map(|it| text_replaced(it, from, to)).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), text_replaced(value, from, to)))
            .collect(),
        other => other.clone(),
    }
}

fn open(config: &Value, folder: &TempDir) -> Result<Jarvis, Error> {
    let text = match config {
        Value::Null => String::new(),
        config => toml::to_string(config)
            .map_err(|error| Error::new(ErrorKind::InvalidInput, error.to_string()))?,
    };
    let source = Source::empty()
        .with_text(text)
        .with_variable("JARVIS_JARVIS__STATE_DIR", folder.path().display().to_string());
    Jarvis::builder().with_source(source).open()
}

impl Stage {
    async fn step(&mut self, step: &Step) -> Result<(), String> {
        let ended = self.ended(step).await?;
        self.judge(step, ended)
    }

    async fn ended(&mut self, step: &Step) -> Result<Ended, String> {
        if let Some(call) = &step.call {
            let args: Vec<Value> =
                step.args.iter().map(|it| self.names.resolve(it)).collect::<Result<_, _>>()?;
            let options = self.names.members(&step.options)?;
            for _ in 1..step.times.unwrap_or(1) {
                let ended = calls::call(&self.jarvis, call, &args, &options).await?;
                if let Ended::Failed { error, .. } = ended {
                    return Err(format!("failed: {error}"));
                }
            }
            return calls::call(&self.jarvis, call, &args, &options).await;
        }
        if let Some(config) = &step.open {
            return Ok(match open(config, &self.folder) {
                Ok(jarvis) => match jarvis.close().await {
                    Ok(()) => Ended::Answer(Value::Null),
                    Err(error) => error.into(),
                },
                Err(error) => error.into(),
            });
        }
        if let Some(name) = &step.set {
            let data = self.names.resolve(step.data.as_ref().ok_or("set needs data")?)?;
            let session = self.names.answers.get_mut(name).ok_or("set what?")?;
            session["data"] = data;
            return Ok(Ended::Answer(session.clone()));
        }
        let name = step.next.as_ref().or(step.collect.as_ref()).ok_or("a step without an act")?;
        let mut items = Vec::new();
        loop {
            match self.item(name).await? {
                Err(error) => return Ok(error.into()),
                Ok(item) if step.next.is_some() => {
                    return Ok(Ended::Answer(item.unwrap_or_default()));
                }
                Ok(Some(item)) => items.push(item),
                Ok(None) => return Ok(Ended::Answer(items.into())),
            }
        }
    }

    /// The next item of a stream.
    async fn item(&mut self, name: &str) -> Result<Result<Option<Value>, Error>, String> {
        let stream = self.streams.get_mut(name).ok_or("no such stream")?;
        let clock = SystemClock::new();
        let by = clock.monotonic() + Duration::from_secs(10);
        Ok(clock.until(by, stream.item()).await.ok_or("nothing came in 10 s")?)
    }

    fn judge(&mut self, step: &Step, ended: Ended) -> Result<(), String> {
        match (ended, &step.error) {
            (Ended::Failed { error, .. }, None) => Err(format!("failed: {error}")),
            (Ended::Failed { error, current }, Some(expected)) => {
                let told = failed(&error, current.as_deref());
                expect::matches(&self.names.resolve(expected)?, &told, "error")
            }
            (_, Some(expected)) => Err(format!("succeeded, expected {expected}")),
            (Ended::Stream(stream), None) => {
                self.streams.insert(step.name.clone().ok_or("name the stream")?, stream);
                Ok(())
            }
            (Ended::Answer(answer), None) => {
                if let Some(name) = &step.name {
                    self.names.answers.insert(name.clone(), answer.clone());
                }
                match &step.answer {
                    None => Ok(()),
                    Some(expected) => {
                        expect::matches(&self.names.resolve(expected)?, &answer, "answer")
                    }
                }
            }
        }
    }
}
