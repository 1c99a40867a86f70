//! `jarvis uptime`: how much of the time the services were up, and how much of it was observed.

use jarvis_core::Result;
use jarvis_core::clock::{Clock, SystemClock};
use jarvis_core::vocabulary::ServiceId;

use super::Context;
use crate::args::Since;
use crate::exit::ExitStatus;
use crate::text;

pub(crate) async fn run(
    context: &Context,
    services: &[ServiceId],
    since: Since,
) -> Result<ExitStatus> {
    let length = since.length(SystemClock::new().wall())?;
    let attached = context.attach().await?;
    let reading = attached.uptime(services, length);
    let answer = context.wait_for("reading the history", reading).await?;
    let width = context.width();
    context
        .printer
        .print(&answer, |answer, colored| text::uptime::report(answer, colored, width))?;
    Ok(ExitStatus::Done)
}
