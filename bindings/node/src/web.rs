//! What web frameworks need: [`RequestMeter`], [`SessionCookie`], and answers for them to write.

#![expect(clippy::needless_pass_by_value, reason = "arguments from JavaScript are owned")]

use std::sync::Arc;
use std::time::Duration;

use jarvis_core::clock::WallTime;
use jarvis_core::vocabulary::{Platform, ServiceId, ServiceState};
use jarvis_core::web::{self, HealthDocument, Liveness, WebAnswer};
use jarvis_core::{Error, ErrorKind, Result};
use napi_derive::napi;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::convert::{json, millis};
use crate::error::{Thrown, thrown};

/// An answer as JSON: its status, its headers by name, and its body as text.
pub(crate) fn text(answer: &WebAnswer) -> String {
    let headers: serde_json::Map<_, _> = answer
        .headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.as_str().into()))
        .collect();
    json!({ "status": answer.status, "headers": headers, "body": answer.body }).to_string()
}

fn read<T: DeserializeOwned>(json: &str, what: &str) -> Result<T> {
    serde_json::from_str(json).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, format!("invalid {what}: {error}")).with_source(error)
    })
}

fn kind(word: &str) -> Result<ErrorKind> {
    serde_json::from_value(word.into()).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, format!("unknown kind of error {word:?}"))
            .with_source(error)
    })
}

/// The HTTP status of a kind of error.
#[napi]
pub fn http_status(kind: String) -> std::result::Result<u16, Thrown> {
    Ok(self::kind(&kind).map_err(thrown)?.http_status())
}

/// The answer to a request that failed with this kind of error, as JSON.
#[napi]
pub fn error_answer(kind: String, retry_after: Option<f64>) -> std::result::Result<String, Thrown> {
    let answer = || {
        let retry_after = retry_after.map(millis).transpose()?;
        Ok(text(&web::error_answer(self::kind(&kind)?, retry_after)))
    };
    answer().map_err(thrown)
}

/// The answer of a health route, as JSON. The platform and the list of pairs of a service and its
/// state are JSON too.
#[napi]
pub fn health_document(platform: String, services: String) -> std::result::Result<String, Thrown> {
    let answer = || {
        let platform: Platform = read(&platform, "platform")?;
        let services: Vec<(ServiceId, ServiceState)> = read(&services, "services")?;
        Ok(text(&HealthDocument::new(platform, services).answer()))
    };
    answer().map_err(thrown)
}

/// The answer of a liveness route, as JSON.
#[napi]
pub fn liveness(supervises: bool, alive: bool, reason: String) -> String {
    text(&Liveness::new(supervises, alive, &reason).answer())
}

/// The rules of a session cookie.
#[napi]
#[derive(Debug)]
pub struct SessionCookie {
    cookie: web::SessionCookie,
}

#[napi]
impl SessionCookie {
    /// A cookie with these rules, as JSON.
    #[napi(constructor)]
    pub fn new(rules: String) -> std::result::Result<Self, Thrown> {
        let cookie = read(&rules, "cookie rules").and_then(web::SessionCookie::new);
        Ok(Self { cookie: cookie.map_err(thrown)? })
    }

    /// The session id in a `Cookie` header.
    #[napi]
    pub fn read(&self, header: String) -> Option<String> {
        self.cookie.read(header.as_bytes()).map(str::to_owned)
    }

    /// The `Set-Cookie` header for a session that lives for this long.
    #[napi]
    pub fn write(&self, id: String, left: f64, https: bool) -> std::result::Result<String, Thrown> {
        let left = millis(left).map_err(thrown)?;
        Ok(self.cookie.write(&id, left, https))
    }

    /// The `Set-Cookie` header that removes the cookie.
    #[napi]
    pub fn clear(&self, https: bool) -> String {
        self.cookie.clear(https)
    }
}

/// Milliseconds since 1970.
fn moment(millis: f64) -> Result<WallTime> {
    #[expect(clippy::cast_possible_truncation, reason = "saturates, far from any date")]
    let whole = millis as i64;
    if millis.is_finite() { Ok(WallTime::from_millis(whole)) } else { Err(no_moment()) }
}

fn no_moment() -> Error {
    Error::new(ErrorKind::InvalidInput, "invalid time: give milliseconds since 1970")
}

/// Counts requests and how long they take.
#[napi]
#[derive(Debug, Clone)]
pub struct RequestMeter {
    meter: Arc<web::RequestMeter>,
}

impl RequestMeter {
    pub(crate) fn meter(&self) -> &Arc<web::RequestMeter> {
        &self.meter
    }
}

#[napi]
impl RequestMeter {
    /// A meter since this time, with events on `requests.SERVICE` when there is a service.
    #[napi(constructor)]
    pub fn new(since: f64, service: Option<String>) -> std::result::Result<Self, Thrown> {
        let since = moment(since).map_err(thrown)?;
        let meter = match service {
            None => web::RequestMeter::new(since),
            Some(service) => web::RequestMeter::of_service(&service, since).map_err(thrown)?,
        };
        Ok(Self { meter: Arc::new(meter) })
    }

    /// One more request is being answered.
    #[napi]
    pub fn begin(&self) {
        self.meter.begin();
    }

    /// A request has ended after this many milliseconds; true for the first since the last event.
    #[napi]
    pub fn end(&self, method: String, route: Option<String>, status: u16, took: f64) -> bool {
        let took = Duration::try_from_secs_f64(took / 1_000.0).unwrap_or_default();
        self.meter.end(&method, route.as_deref(), status, took)
    }

    /// Takes the events that were not published yet: their payloads, as JSON.
    #[napi]
    pub fn take(&self, now: f64) -> std::result::Result<Vec<String>, Thrown> {
        let events = self.meter.take(moment(now).map_err(thrown)?);
        Ok(events.iter().map(|event| event.payload().to_string()).collect())
    }

    /// All requests since the start, as JSON.
    #[napi(ts_return_type = "string")]
    pub fn snapshot(&self) -> std::result::Result<crate::convert::Answer, Thrown> {
        Ok(json(&self.meter.snapshot()).map_err(thrown)?.into())
    }

    /// The `OpenMetrics` text, after that of others.
    #[napi]
    pub fn metrics(&self, others: Option<String>) -> String {
        self.meter.metrics(others.as_deref())
    }
}
