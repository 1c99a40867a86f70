//! The part `web`: what is pure in `jarvis_core::web`.

use std::time::Duration;

use jarvis_core::clock::WallTime;
use jarvis_core::events::Message;
use jarvis_core::vocabulary::{Platform, ServiceId, ServiceState};
use jarvis_core::web::{
    CookieRules, HealthDocument, Liveness, RequestMeter, SessionCookie, WebAnswer, error_answer,
};
use jarvis_core::{Error, ErrorKind, Result};
use serde_json::{Map, Value, json};

use crate::calls::{duration, flag, no_method, read, text};
use crate::play::Ended;

pub(crate) fn call(method: &str, args: &[Value], options: &Map<String, Value>) -> Result<Ended> {
    let cookie = || SessionCookie::new(read::<CookieRules>(&args[0])?);
    let https = flag(options, "https");
    Ok(Ended::Answer(match method {
        "http_status" => json!(read::<ErrorKind>(&args[0])?.http_status()),
        "error_answer" => {
            answer(&error_answer(read(&args[0])?, duration(options, "retry_after_ms")))?
        }
        "set_cookie" => {
            let left = duration(options, "left_ms").unwrap_or_default();
            json!(cookie()?.write(text(&options["id"])?, left, https))
        }
        "clear_cookie" => json!(cookie()?.clear(https)),
        "read_cookie" => json!(cookie()?.read(text(&args[1])?.as_bytes())),
        "health" => {
            let services: Vec<(ServiceId, ServiceState)> = read(&args[1])?;
            answer(&HealthDocument::new(read::<Platform>(&args[0])?, services).answer())?
        }
        "liveness" => {
            let (supervises, alive) = (flag(options, "supervises"), flag(options, "alive"));
            answer(&Liveness::new(supervises, alive, text(&options["reason"])?).answer())?
        }
        "requests" => requests(text(&args[0])?, read(&args[1])?, options)?,
        other => return Err(no_method(other)),
    }))
}

fn answer(answer: &WebAnswer) -> Result<Value> {
    let headers: Map<String, Value> =
        answer.headers.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    let body: Value = serde_json::from_str(&answer.body)
        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    Ok(json!({ "status": answer.status, "headers": headers, "body": body }))
}

/// Method, route, status, milliseconds, times.
type Record = (String, Option<String>, u16, u64, u64);

fn requests(service: &str, records: Vec<Record>, options: &Map<String, Value>) -> Result<Value> {
    let moment = |name: &str| text(&options[name])?.parse::<WallTime>();
    let meter = RequestMeter::of_service(service, moment("since")?)?;
    for (method, route, status, millis, times) in records {
        for number in 1..=times {
            let route = route.as_ref().map(|route| route.replace("{n}", &number.to_string()));
            meter.begin();
            meter.end(&method, route.as_deref(), status, Duration::from_millis(millis));
        }
    }
    let metrics = meter.metrics(None);
    let events = meter.take(moment("until")?);
    Ok(json!({
        "events": events.iter().map(Message::payload).collect::<Vec<_>>(),
        "snapshot": meter.snapshot(),
        "metrics": metrics.lines().collect::<Vec<_>>(),
    }))
}
