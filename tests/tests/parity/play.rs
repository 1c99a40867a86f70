//! Plays one case, step by step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jarvis_core::clock::{Clock, ClockExt, SystemClock};
use jarvis_core::config::Source;
use jarvis_core::events::{Delivery, Subscription};
use jarvis_core::session::Session;
use jarvis_core::{Error, ErrorKind, Jarvis};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::values::Names;
use crate::{Backend, Case, Step, calls, expect};

/// How a call ended: with an answer, or an error and, for a conflict, what is stored.
pub(crate) enum Ended {
    Answer(Value),
    Stream(Box<dyn Subscription>),
    Failed { error: Error, current: Option<Box<Session>> },
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
    streams: BTreeMap<String, Box<dyn Subscription>>,
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
    let jarvis = open(&text_replaced(config, "$url", &url), &folder)
        .map_err(|error| format!("open: {error}"))?;
    let names = Names { unique, answers: BTreeMap::new() };
    let mut stage = Stage { jarvis, folder, names, streams: BTreeMap::new() };
    for (index, step) in case.steps.iter().enumerate() {
        stage.step(step).await.map_err(|error| format!("step {}: {error}", index + 1))?;
    }
    stage.jarvis.close().await.map_err(|error| format!("close: {error}"))
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
        let name = step.next.as_ref().ok_or("a step without an act")?;
        let stream = self.streams.get_mut(name).ok_or("no such stream")?;
        next(stream).await.map(Ended::Answer)
    }

    fn judge(&mut self, step: &Step, ended: Ended) -> Result<(), String> {
        match (ended, &step.error) {
            (Ended::Failed { error, .. }, None) => Err(format!("failed: {error}")),
            (Ended::Failed { error, current }, Some(expected)) => {
                let current = current.map_or(Value::Null, |it| json!(*it));
                let told = json!({
                    "code": error.code(), "retryable": error.is_retryable(), "current": current,
                });
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

async fn next(stream: &mut Box<dyn Subscription>) -> Result<Value, String> {
    let clock = SystemClock::new();
    let by = clock.monotonic() + Duration::from_secs(10);
    match clock.until(by, stream.next()).await.ok_or("nothing came in 10 s")? {
        Some(Delivery::Event(envelope)) => calls::envelope(&Arc::unwrap_or_clone(envelope)),
        other => Err(format!("got {other:?}")),
    }
}
