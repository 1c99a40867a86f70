//! The `jarvis` command: parses, calls the library, prints.

mod args;
mod commands;
mod display;
mod exit;
mod http;
mod input;
mod logging;
mod merge_patch;
mod printer;
mod service_manager;
mod signals;
mod stand_in;
mod text;
mod watch;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::Parser;
use jarvis_core::config::Report;
use jarvis_core::control::WireError;
use jarvis_core::{Error, ErrorKind, Result};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use args::{Cli, Command, EventsCommand, Format, Global};
use commands::Context;
use exit::ExitStatus;
use printer::{Printer, Style, paint, wants_color};
use signals::Interrupt;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let global = cli.global.clone();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&Error::from(error), &global),
    };
    let result = runtime.block_on(run(cli));
    // Whatever still runs was given up on; it must not delay the exit.
    runtime.shutdown_background();
    match result {
        Ok(status) => status.into(),
        Err(error) => report(&error, &global),
    }
}

async fn run(cli: Cli) -> Result<ExitStatus> {
    let usual = match cli.command {
        // The demo shows its alerts as events.
        Command::Demo { .. } => "error,jarvis::alert=off",
        _ => "warn",
    };
    let log = logging::start(&cli.global, usual);
    let context = Context { printer: Printer::new(&cli.global), global: cli.global, log };
    if cli.command.handles_signals() {
        return dispatch(context, cli.command).await;
    }
    let interrupt = Interrupt::new()?;
    // In a thread of its own, so that Ctrl-C ends it even while it waits for standard input.
    let (sender, ended) = oneshot::channel();
    let runtime = Handle::current();
    std::thread::Builder::new().name("command".to_owned()).spawn(move || {
        // Nobody receives it after Ctrl-C.
        let _ = sender.send(runtime.block_on(dispatch(context, cli.command)));
    })?;
    tokio::select! {
        ended = ended => ended.unwrap_or_else(|_| {
            let message = "the command crashed; please report this";
            Err(Error::new(ErrorKind::Internal, message))
        }),
        () = interrupt.received() => Ok(ExitStatus::Interrupted),
    }
}

async fn dispatch(context: Context, command: Command) -> Result<ExitStatus> {
    let context = &context;
    match command {
        Command::Up(args) => Box::pin(commands::up::run(context, args)).await,
        Command::Check { services } => commands::check::run(context, &services).await,
        Command::Status { service } => commands::status::run(context, service.as_ref()).await,
        Command::Uptime { services, since } => {
            commands::uptime::run(context, &services, since).await
        }
        Command::Events(mut args) => match args.command.take() {
            Some(EventsCommand::Publish(args)) => commands::publish::run(context, args).await,
            None => commands::events::run(context, args).await,
        },
        Command::Publish(args) => commands::publish::run(context, args).await,
        Command::Restart(args) => commands::act::restart(context, args).await,
        Command::Stop(args) => commands::act::stop(context, args).await,
        Command::Start(args) => commands::act::start(context, args).await,
        Command::Pause(args) => commands::act::pause(context, args).await,
        Command::Resume => commands::act::resume(context).await,
        Command::Maintenance(command) => commands::maintenance::run(context, command).await,
        Command::Reset { service } => commands::act::reset(context, service).await,
        Command::Session(command) => commands::session::run(context, command).await,
        Command::Cache(command) => commands::cache::run(context, command).await,
        Command::Alert(command) => commands::alert::run(context, command).await,
        Command::Config(command) => commands::config::run(context, command).await,
        Command::Completions { shell } => commands::completions::run(context, shell),
        Command::Demo { keep } => Box::pin(commands::demo::run(context, keep)).await,
        Command::StandIn(args) => Ok(stand_in::serve(args).await?),
    }
}

/// Reports an error: for people a line that begins with `error:` and a line for each detail, for programs (`--output json`) an
/// object with `code`, `message` and, for a configuration, `problems`. A reader that went away
/// (`jarvis events | head`) is no error.
#[expect(clippy::print_stderr, reason = "the one place that reports errors")]
fn report(error: &Error, global: &Global) -> ExitCode {
    let broken_pipe = std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<io::Error>())
        .is_some_and(|source| source.kind() == io::ErrorKind::BrokenPipe);
    if broken_pipe {
        return ExitStatus::Done.into();
    }
    let problems = Report::of(error);
    if global.output == Format::Text {
        let colored = wants_color(global.color, io::stderr().is_terminal());
        let label = paint("error:", Style::Bad, colored);
        match problems {
            Some(problems) => {
                let count = text::problems::count(problems);
                let list = text::problems::list(problems, false);
                eprint!("{label} the configuration is invalid: {count}\n{list}");
            }
            None => {
                eprintln!("{label} {}", error.message());
                error.context().for_each(|(key, value)| eprintln!("  {key}: {value}"));
            }
        }
    } else {
        let mut object = serde_json::json!({ "error": WireError::from(error) });
        if let Some(problems) = problems {
            object["error"]["problems"] = serde_json::json!(problems.problems);
        }
        eprintln!("{object}");
    }
    ExitStatus::of_error(error).into()
}
