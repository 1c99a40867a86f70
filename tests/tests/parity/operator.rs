//! The part `operator`: what a person asks of the loop.

use jarvis_core::jarvis::EventsQuery;
use jarvis_core::operator::{Action, Command};
use jarvis_core::vocabulary::ServiceId;
use jarvis_core::{Jarvis, Result};
use serde_json::{Value, json};

use crate::calls::{Options, answer, duration, no_method, read, text};
use crate::play::{Ended, Stream};

pub(crate) async fn call(
    jarvis: &Jarvis,
    method: &str,
    args: &[Value],
    options: &Options,
) -> Result<Ended> {
    let attached = jarvis.attach().await;
    let service = || ServiceId::new(text(&args[0])?);
    let by = options.get("by").map_or(Ok("parity"), text)?.to_owned();
    let reason = options.get("reason").map_or(Ok(""), text)?.to_owned();
    let wait = options.get("wait").and_then(Value::as_bool).unwrap_or(true);
    let action = match method {
        "status" => return answer(attached.status().await?),
        "reload" => return answer(attached.reload().await?),
        "test_alert" => return answer(attached.alert_test(None).await?),
        "events" => return Ok(Ended::Stream(events(jarvis, options).await?)),
        "pause" => Action::Pause { lasting: duration(options, "lasting_ms") },
        "resume" => Action::Resume,
        "restart" => Action::Restart { service: service()? },
        "stop" => Action::Stop { service: service()? },
        "start" => Action::Start { service: service()? },
        "reset" => Action::Reset { service: service()? },
        "maintain" => Action::Maintain {
            services: read(&options["services"])?,
            lasting: duration(options, "duration_ms").unwrap_or_default(),
        },
        "end_maintenance" => Action::EndMaintenance { window: None },
        other => return Err(no_method(other)),
    };
    let waits = matches!(method, "restart" | "start" | "stop") && wait;
    let command = Command::new(action, by).with_reason(reason);
    Ok(Ended::Answer(json!(attached.act(command, waits).await?)))
}

/// As the bindings have it, a stream that fails when it is read.
async fn events(jarvis: &Jarvis, options: &Options) -> Result<Stream> {
    let mut query = EventsQuery::retained();
    query.topics = options.get("topics").map_or(Ok(Vec::new()), read)?;
    query.service = options.get("service").map(read).transpose()?;
    query.limit = options.get("limit").map(read).transpose()?;
    Ok(match jarvis.attach().await.events(query).await {
        Ok(stream) => Stream::Events(Box::new(stream)),
        Err(error) => Stream::Failed(Some(error)),
    })
}
