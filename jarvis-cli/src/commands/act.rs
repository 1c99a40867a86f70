//! What a person asks the operator for: restart, stop, start, pause, resume, reset.

use jarvis_core::Result;
use jarvis_core::jarvis::ActionAnswer;
use jarvis_core::operator::{Action, Command};
use jarvis_core::vocabulary::ServiceId;

use super::Context;
use crate::args::{ActionArgs, PauseArgs};
use crate::exit::ExitStatus;

/// Who asks, for the record. A running loop adds the user that the kernel reports.
pub(crate) fn by() -> String {
    std::env::var("USER").ok().filter(|user| !user.is_empty()).unwrap_or_else(|| {
        match rustix::process::getuid().as_raw() {
            0 => "root".to_owned(),
            user => format!("user {user}"),
        }
    })
}

pub(crate) async fn restart(context: &Context, args: ActionArgs) -> Result<ExitStatus> {
    let what = format!("restarting {} and verifying it", args.service);
    act(
        context,
        Command::new(Action::Restart { service: args.service }, by()),
        !args.no_wait,
        &what,
    )
    .await
}

pub(crate) async fn stop(context: &Context, args: ActionArgs) -> Result<ExitStatus> {
    let what = format!("stopping {}", args.service);
    act(context, Command::new(Action::Stop { service: args.service }, by()), !args.no_wait, &what)
        .await
}

pub(crate) async fn start(context: &Context, args: ActionArgs) -> Result<ExitStatus> {
    let what = format!("starting {} and verifying it", args.service);
    act(context, Command::new(Action::Start { service: args.service }, by()), !args.no_wait, &what)
        .await
}

pub(crate) async fn pause(context: &Context, args: PauseArgs) -> Result<ExitStatus> {
    let pause = Action::Pause { lasting: args.duration };
    let command = Command::new(pause, by()).with_reason(args.reason);
    act(context, command, false, "pausing").await
}

pub(crate) async fn resume(context: &Context) -> Result<ExitStatus> {
    act(context, Command::new(Action::Resume, by()), false, "resuming").await
}

pub(crate) async fn reset(context: &Context, service: ServiceId) -> Result<ExitStatus> {
    act(context, Command::new(Action::Reset { service }, by()), false, "resetting").await
}

pub(crate) async fn act(
    context: &Context,
    command: Command,
    wait: bool,
    what: &str,
) -> Result<ExitStatus> {
    let attached = context.attach().await?;
    let answer = context.wait_for(what, attached.act(command, wait)).await?;
    confirm(context, &answer)
}

fn confirm(context: &Context, answer: &ActionAnswer) -> Result<ExitStatus> {
    context.printer.confirm(answer, |answer| format!("{}\n", answer.message))?;
    Ok(ExitStatus::Done)
}
