//! `jarvis status`: the state of the services, from the running loop or as last recorded.

use jarvis_core::health::aggregator::ServiceSnapshot;
use jarvis_core::jarvis::{AnswerSource, StatusAnswer};
use jarvis_core::operator::ServiceStatus;
use jarvis_core::vocabulary::{ServiceId, ServiceState};
use jarvis_core::{Error, ErrorKind, Result};
use serde::Serialize;

use super::Context;
use crate::exit::ExitStatus;
use crate::text;

/// The answer about one service.
#[derive(Debug, Serialize)]
struct One<'a> {
    source: &'a AnswerSource,
    health: &'a ServiceSnapshot,
    #[serde(skip_serializing_if = "Option::is_none")]
    operator: Option<&'a ServiceStatus>,
}

pub(crate) async fn run(context: &Context, service: Option<&ServiceId>) -> Result<ExitStatus> {
    let attached = context.attach().await?;
    let answer = context.wait_for("asking `jarvis up`", attached.status()).await?;
    let state = match service {
        Some(service) => one(context, &answer, service)?,
        None => {
            let width = context.width();
            context
                .printer
                .print(&answer, |answer, colored| text::status::answer(answer, colored, width))?;
            answer.platform.state
        }
    };
    // A recorded state says nothing about the present.
    let live = answer.source == AnswerSource::Live;
    Ok(if live { ExitStatus::of_state(state) } else { ExitStatus::Unknown })
}

fn one(context: &Context, answer: &StatusAnswer, service: &ServiceId) -> Result<ServiceState> {
    let found = answer.health.as_ref().and_then(|health| {
        health.services.iter().find(|found| found.service == *service).zip(Some(health.at))
    });
    let Some((health, at)) = found else {
        return Err(unknown(answer, service));
    };
    let operator = answer.operator.as_ref();
    let operator = operator
        .and_then(|operator| operator.services.iter().find(|found| found.service == *service));
    let one = One { source: &answer.source, health, operator };
    let width = context.width();
    context.printer.print(&one, |one, colored| {
        let page = text::status::service(one.health, one.operator, at, colored, width);
        text::freshness(one.source, colored) + &page
    })?;
    Ok(health.state)
}

fn unknown(answer: &StatusAnswer, service: &ServiceId) -> Error {
    let Some(health) = &answer.health else {
        let message = "`jarvis up` has not run here yet: nothing is known";
        return Error::new(ErrorKind::Unavailable, message);
    };
    let names: Vec<&str> = health.services.iter().map(|known| known.service.as_str()).collect();
    let near = names
        .iter()
        .map(|name| (strsim::damerau_levenshtein(name, service.as_str()), name))
        .filter(|(distance, _)| *distance <= 3)
        .min();
    let hint = match near {
        Some((_, name)) => format!("did you mean {name:?}?"),
        None => format!("there are {}", names.join(", ")),
    };
    Error::new(ErrorKind::NotFound, format!("no service is called {:?}; {hint}", service.as_str()))
}
