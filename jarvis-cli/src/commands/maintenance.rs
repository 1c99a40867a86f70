//! `jarvis maintenance`: windows that are opened by hand.

use jarvis_core::Result;
use jarvis_core::operator::{Action, Command};

use super::{Context, act};
use crate::args::MaintenanceCommand;
use crate::exit::ExitStatus;
use crate::text;

pub(crate) async fn run(context: &Context, command: MaintenanceCommand) -> Result<ExitStatus> {
    let by = act::by();
    match command {
        MaintenanceCommand::Add { services, all, duration, reason } => {
            let services = if all { vec!["*".to_owned()] } else { services };
            let action = Action::Maintain { services, lasting: duration };
            let command = Command::new(action, by).with_reason(reason);
            act::act(context, command, false, "opening the window").await
        }
        MaintenanceCommand::Delete { window, .. } => {
            let command = Command::new(Action::EndMaintenance { window }, by);
            act::act(context, command, false, "closing the window").await
        }
        MaintenanceCommand::List => list(context).await,
    }
}

async fn list(context: &Context) -> Result<ExitStatus> {
    let attached = context.attach().await?;
    let answer = context.wait_for("asking `jarvis up`", attached.status()).await?;
    let windows = answer.operator.map(|operator| operator.maintenance).unwrap_or_default();
    let width = context.width();
    context
        .printer
        .print(&windows, |windows, colored| text::maintenance::list(windows, colored, width))?;
    Ok(if attached.is_live() { ExitStatus::Done } else { ExitStatus::Unknown })
}
