//! `jarvis status`: the state of the services, from the running loop or as last recorded.

use jarvis_core::Result;
use jarvis_core::health::aggregator::ServiceSnapshot;
use jarvis_core::jarvis::{AnswerSource, StatusAnswer};
use jarvis_core::operator::ServiceStatus;
use jarvis_core::vocabulary::{ServiceId, ServiceState};
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
    let (health, operator) = answer.service(service)?;
    let one = One { source: &answer.source, health, operator };
    let (width, now) = (context.width(), answer.health.as_ref().map(|health| health.at));
    context.printer.print(&one, |one, colored| {
        let now = now.unwrap_or(one.health.since);
        let page = text::status::service(one.health, one.operator, now, colored, width);
        text::freshness(one.source, colored) + &page
    })?;
    Ok(health.state)
}
