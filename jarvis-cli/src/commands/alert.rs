//! `jarvis alert test`: sends a test alert and reports whether it was delivered.

use jarvis_core::Result;

use super::Context;
use crate::args::AlertCommand;
use crate::exit::ExitStatus;
use crate::text;

pub(crate) async fn run(context: &Context, command: AlertCommand) -> Result<ExitStatus> {
    let AlertCommand::Test { sink } = command;
    let attached = context.attach().await?;
    let testing = attached.alert_test(sink.map(|sink| sink.to_string()));
    let answers = context.wait_for("sending a test alert", testing).await?;
    let width = context.width();
    context
        .printer
        .print(&answers, |answers, colored| text::alert::tested(answers, colored, width))?;
    let failed = answers.iter().any(|answer| answer.error.is_some());
    Ok(if failed { ExitStatus::Failed } else { ExitStatus::Done })
}
