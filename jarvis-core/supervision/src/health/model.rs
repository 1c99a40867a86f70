//! [`ModelProbe`]: is the AI model there, and does it say a word?
//!
//! Speaks the OpenAI-compatible protocol that vLLM, llama.cpp, Ollama, LM Studio and the clouds
//! share: `GET /models`, and `POST /chat/completions` with `stream = true`.

mod budget;
mod config;
mod stream;

use std::fmt::{self, Debug};
use std::ops::ControlFlow;

use async_trait::async_trait;
use bytes::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::response::Parts;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

pub use config::{ModelConfig, ModelDepth};

use self::budget::Budget;
use self::stream::Stream;
use super::http::judge::kind_of;
use super::tls;
use super::{HealthProbe, Observation, ProbeContext, meter};
use base::net::exchange::target::Target;
use base::net::exchange::{Call, Receive, exchange};
use base::net::resolve::Resolver;
use base::net::timing::{Meter, Stage, Step};
use base::net::tls::{TlsClient, Validity};
use base::secret::REDACTED;
use base::text::excerpt;
use base::vocabulary::FailureKind;
use base::{Error, ErrorKind, Result};

/// A provider that resells hundreds of models lists them in about a megabyte.
const MOST_LIST: usize = 4 << 20;

/// Measures one model of one provider.
pub struct ModelProbe {
    model: Box<str>,
    list: Target,
    completion: Option<Box<Completion>>,
    headers: Box<[(HeaderName, HeaderValue)]>,
    tls: Option<Box<TlsClient>>,
    resolver: Option<Box<Resolver>>,
}

struct Completion {
    target: Target,
    body: Bytes,
    budget: Option<Budget>,
}

impl Debug for ModelProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelProbe")
            .field("model", &self.model)
            .field("list", &format_args!("{}", self.list))
            .field("completes", &self.completion.is_some())
            .finish_non_exhaustive()
    }
}

impl ModelProbe {
    /// Checks the configuration and reads `tls.ca_file`; touches no network.
    ///
    /// # Errors
    /// `ConfigInvalid`: an URL, header or limit that is none, or a daily limit without prices.
    pub fn new(config: &ModelConfig) -> Result<Self> {
        if config.model.is_empty() {
            return Err(Error::new(ErrorKind::ConfigInvalid, "\"model\" is empty; name a model"));
        }
        let base = config.base_url.trim_end_matches('/');
        let list = Target::parse(&format!("{base}/models"))?;
        let completion = match config.probe {
            ModelDepth::List => None,
            ModelDepth::Completion => Some(Box::new(Completion {
                target: Target::parse(&format!("{base}/chat/completions"))?,
                body: body(config),
                budget: Budget::new(config)?,
            })),
        };
        let tls = list.secure.then(|| config.tls.client(&list.endpoint)).transpose()?;
        Ok(Self {
            model: config.model.as_str().into(),
            headers: headers(config)?,
            tls: tls.map(Box::new),
            list,
            completion,
            resolver: None,
        })
    }

    /// Resolves names with this resolver instead of the machine's.
    #[must_use]
    pub fn with_resolver(mut self, resolver: Resolver) -> Self {
        self.resolver = Some(Box::new(resolver));
        self
    }

    async fn run(&self, meter: &mut Meter, stream: &mut Stream) -> Step<Observation> {
        let Some(completion) = &self.completion else { return self.look(meter).await };
        if let Some(budget) = &completion.budget
            && !budget.take(meter.clock().wall())
        {
            let mut observation = self.look(meter).await?;
            if observation.kind.is_none() {
                let message = format!(
                    "listed; no completion was requested: today's {budget} dollars are used up"
                );
                let facts = std::mem::take(&mut observation.facts);
                observation = Observation::pass(message);
                observation.facts = facts;
            }
            return Ok(observation.with_fact("completion", "capped"));
        }
        self.complete(completion, meter, stream).await
    }

    fn call<'a>(&'a self, target: &'a Target, method: &'a Method, body: Bytes) -> Call<'a> {
        Call {
            target,
            method,
            headers: &self.headers,
            body,
            tls: self.tls.as_deref(),
            resolver: self.resolver.as_deref(),
            keep: false,
        }
    }

    /// Is the model in the list?
    async fn look(&self, meter: &mut Meter) -> Step<Observation> {
        let mut page = Page::default();
        let call = self.call(&self.list, &Method::GET, Bytes::new());
        let answered = exchange(&call, None, meter, &mut page).await?;
        let status = answered.head.status;
        let observation =
            if status.is_success() { self.find(&page) } else { refusal(status, &page.bytes) };
        let observation = observation.with_fact("status", status.as_u16());
        Ok(judge_certificate(answered.validity.as_ref(), observation))
    }

    fn find(&self, page: &Page) -> Observation {
        let parsed = serde_json::from_slice::<Value>(&page.bytes).ok();
        let entries = parsed.as_ref().and_then(|list| list.get("data")).and_then(Value::as_array);
        let Some(entries) = entries else {
            if let Some(error) = parsed.as_ref().and_then(|list| list.get("error")) {
                return about_error(StatusCode::OK, error);
            }
            return Observation::fail(FailureKind::Protocol, "failed to parse its list of models");
        };
        let wanted = &*self.model;
        let is_it = |id: &str| id == wanted || id.strip_suffix(":latest") == Some(wanted);
        let found =
            entries.iter().find(|entry| entry.get("id").and_then(Value::as_str).is_some_and(is_it));
        match found.map(|entry| (entry, state(entry))) {
            None => Observation::fail(
                FailureKind::Missing,
                format!("{wanted} is not among the {} models there", entries.len()),
            ),
            Some((_, Some(state))) if is_unloaded(state) => Observation::fail(
                FailureKind::NotReady,
                format!("{wanted} is known there, but {}", excerpt(state.as_bytes(), 40)),
            ),
            Some(_) => Observation::pass("listed"),
        }
    }

    /// Does it say a word?
    async fn complete(
        &self,
        completion: &Completion,
        meter: &mut Meter,
        stream: &mut Stream,
    ) -> Step<Observation> {
        let call = self.call(&completion.target, &Method::POST, completion.body.clone());
        let answered = exchange(&call, None, meter, stream).await?;
        stream.end();
        meter.phases.first_byte = stream.first_token(meter.asked);
        let status = answered.head.status;
        let observation = if let Some(error) = &stream.error {
            about_error(status, error)
        } else if !status.is_success() {
            refusal(status, stream.text())
        } else if stream.spoke() {
            Observation::pass("it answers")
        } else {
            Observation::fail(FailureKind::Body, "200, but the answer contains no text of a model")
        };
        let observation = observation.with_fact("status", status.as_u16());
        Ok(judge_certificate(answered.validity.as_ref(), observation))
    }

    /// Takes our own secrets out of what the other side may have echoed.
    fn scrub(&self, mut observation: Observation) -> Observation {
        for (_, value) in &self.headers {
            let Ok(text) = value.to_str() else { continue };
            let secret = text.strip_prefix("Bearer ").unwrap_or(text);
            if value.is_sensitive() && secret.len() > 3 && observation.message.contains(secret) {
                observation.message = observation.message.replace(secret, REDACTED).into();
            }
        }
        observation
    }
}

#[async_trait]
impl HealthProbe for ModelProbe {
    async fn probe(&self, context: ProbeContext) -> Result<Observation> {
        let mut meter = meter::start(&context);
        let mut stream = Stream::new(base::clock::SharedClock::clone(&context.clock));
        let outcome = context.until_deadline(self.run(&mut meter, &mut stream)).await;
        if outcome.is_none()
            && let Some(first) = stream.first_token(meter.asked)
        {
            meter.stage = Stage::Stream;
            meter.phases.first_byte = Some(first);
        }
        let target = format!("{} at {}", self.model, self.list.endpoint);
        meter::finish(&meter, outcome, &target).map(|observation| self.scrub(observation))
    }
}

fn judge_certificate(validity: Option<&Validity>, observation: Observation) -> Observation {
    match validity {
        Some(validity) => tls::judge(validity, observation),
        None => observation,
    }
}

/// `state: "loaded"`, `status: "loaded"` or `status: { value: "loaded" }`, where a server tells.
fn state(entry: &Value) -> Option<&str> {
    let status = entry.get("state").or_else(|| entry.get("status"))?;
    status.as_str().or_else(|| status.get("value")?.as_str())
}

fn is_unloaded(state: &str) -> bool {
    ["not-loaded", "not_loaded", "unloaded", "loading", "failed"]
        .iter()
        .any(|word| state.eq_ignore_ascii_case(word))
}

fn refusal(status: StatusCode, body: &[u8]) -> Observation {
    let parsed = serde_json::from_slice::<Value>(body).ok();
    match parsed.as_ref().and_then(|body| body.get("error")) {
        Some(error) => about_error(status, error),
        None => Observation::fail(kind_of(status), status.to_string()),
    }
}

/// `{"message": …, "type": …, "code": …}`, or a text.
fn about_error(status: StatusCode, error: &Value) -> Observation {
    let field = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
    let text = error.as_str().unwrap_or_else(|| field("message"));
    let lower = format!("{} {} {text}", field("code"), field("type")).to_ascii_lowercase();
    let says_missing = lower.contains("model_not_found")
        || (lower.contains("model")
            && (lower.contains("not found") || lower.contains("not exist")));
    let kind = if lower.contains("loading") || lower.contains("not loaded") {
        FailureKind::NotReady
    } else if says_missing {
        FailureKind::Missing
    } else if status.is_success() {
        FailureKind::Body
    } else {
        kind_of(status)
    };
    Observation::fail(kind, format!("{status}: {}", excerpt(text.as_bytes(), 160)))
}

fn body(config: &ModelConfig) -> Bytes {
    let body = json!({
        "model": config.model,
        "messages": [{ "role": "user", "content": config.prompt }],
        "max_tokens": config.max_tokens,
        "stream": true,
    });
    body.to_string().into()
}

fn headers(config: &ModelConfig) -> Result<Box<[(HeaderName, HeaderValue)]>> {
    let wrong = |name: &str| {
        let message =
            format!("the request header {name:?} has a name or value that HTTP does not allow");
        Error::new(ErrorKind::ConfigInvalid, message)
    };
    let mut headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    let key = config.api_key.as_ref().map(|key| format!("Bearer {}", key.expose()));
    if let Some(key) = key {
        let mut value: HeaderValue = key.parse().map_err(|_| wrong("authorization"))?;
        value.set_sensitive(true);
        headers.push((AUTHORIZATION, value));
    }
    for (name, value) in &config.headers {
        let parsed = name.parse().ok().zip(value.expose().parse().ok());
        let (name, mut value): (HeaderName, HeaderValue) = parsed.ok_or_else(|| wrong(name))?;
        value.set_sensitive(true);
        headers.push((name, value));
    }
    Ok(headers.into())
}

/// A list, whole up to its limit.
#[derive(Default)]
struct Page {
    bytes: Vec<u8>,
}

impl Receive for Page {
    fn head(&mut self, _: &Parts) {
        self.bytes.clear();
    }

    fn data(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        if self.bytes.len() + bytes.len() > MOST_LIST {
            return ControlFlow::Break(());
        }
        self.bytes.extend_from_slice(bytes);
        ControlFlow::Continue(())
    }
}
