//! `jarvis maintenance`: planned work that is in no calendar.

use jarvis_core::Result;
use jarvis_core::operator::{Command, MaintenanceStatus};

use super::{Context, act, with_progress};
use crate::args::MaintenanceCommand;
use crate::exit::ExitStatus;
use crate::printer::{Cell, Table};

pub(crate) async fn run(context: &Context, command: MaintenanceCommand) -> Result<ExitStatus> {
    let by = act::by();
    match command {
        MaintenanceCommand::Add { services, all, duration, reason } => {
            let services = if all { vec!["*".to_owned()] } else { services };
            let command = Command::Maintain { services, duration, by, reason };
            act::act(context, command, false, "opening the window").await
        }
        MaintenanceCommand::Remove { window, .. } => {
            let command = Command::EndMaintenance { window, by };
            act::act(context, command, false, "closing the window").await
        }
        MaintenanceCommand::List => list(context).await,
    }
}

async fn list(context: &Context) -> Result<ExitStatus> {
    let attached = context.attach().await?;
    let answer = with_progress("asking `jarvis up`", attached.status()).await?;
    let windows = answer.operator.map(|operator| operator.maintenance).unwrap_or_default();
    let width = context.width();
    context.printer.print(&windows, |windows, colored| {
        if windows.is_empty() {
            return "no maintenance window is open that was opened by hand\n".to_owned();
        }
        table(windows, colored, width)
    })?;
    Ok(if attached.is_live() { ExitStatus::Done } else { ExitStatus::Unknown })
}

fn table(windows: &[MaintenanceStatus], colored: bool, width: Option<usize>) -> String {
    let mut table = Table::new(&["WINDOW", "SERVICES", "UNTIL", "BY", "REASON"]);
    for window in windows {
        table.row(vec![
            Cell::new(window.window.to_string()),
            Cell::new(window.services.join(", ")),
            Cell::new(window.until.to_string()),
            Cell::new(&window.by),
            Cell::new(&window.reason),
        ]);
    }
    table.render(colored, width)
}
