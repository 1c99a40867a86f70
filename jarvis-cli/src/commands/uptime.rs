//! `jarvis uptime`: how much of the time the services were up, and how much of it was observed.

use std::time::Duration;

use jarvis_core::Result;
use jarvis_core::vocabulary::ServiceId;

use super::{Context, with_progress};
use crate::exit::ExitStatus;
use crate::text;

pub(crate) async fn run(
    context: &Context,
    services: &[ServiceId],
    window: Duration,
) -> Result<ExitStatus> {
    let attached = context.attach().await?;
    let answer = with_progress("reading the history", attached.uptime(services, window)).await?;
    let width = context.width();
    context
        .printer
        .print(&answer, |answer, colored| text::uptime::report(answer, colored, width))?;
    Ok(ExitStatus::Done)
}
