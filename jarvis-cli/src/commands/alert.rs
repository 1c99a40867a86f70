//! `jarvis alert test`: does the message arrive?

use jarvis_core::Result;

use super::{Context, with_progress};
use crate::args::AlertCommand;
use crate::exit::ExitStatus;
use crate::printer::{Cell, Style, Table};

pub(crate) async fn run(context: &Context, command: AlertCommand) -> Result<ExitStatus> {
    let AlertCommand::Test { sink } = command;
    let attached = context.attach().await?;
    let testing = attached.alert_test(sink.map(|sink| sink.to_string()));
    let answers = with_progress("sending a test alert", testing).await?;
    let width = context.width();
    context.printer.print(&answers, |answers, colored| {
        let mut table = Table::new(&["SINK", "RESULT", "WHY"]);
        for answer in answers {
            let result = match answer.error {
                None => Cell::styled("delivered", Style::Good),
                Some(_) => Cell::styled("failed", Style::Bad),
            };
            let why = answer.error.clone().unwrap_or_default();
            table.row(vec![Cell::new(answer.sink.clone()), result, Cell::new(why)]);
        }
        table.render(colored, width)
    })?;
    let failed = answers.iter().any(|answer| answer.error.is_some());
    Ok(if failed { ExitStatus::Failed } else { ExitStatus::Done })
}
