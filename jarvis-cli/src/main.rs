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

use std::io;
use std::process::ExitCode;

use clap::Parser;
use jarvis_core::config::Report;
use jarvis_core::operator::control::WireError;
use jarvis_core::{Error, Result};

use args::{Cli, Command, Format};
use commands::Context;
use exit::ExitStatus;
use printer::Printer;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let format = cli.global.output;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&Error::from(error), format),
    };
    let result = runtime.block_on(run(cli));
    // What still runs then was given up on; nothing may hold up the end.
    runtime.shutdown_background();
    match result {
        Ok(status) => status.into(),
        Err(error) => report(&error, format),
    }
}

async fn run(cli: Cli) -> Result<ExitStatus> {
    let usual = match cli.command {
        // The demo shows its alerts as events.
        Command::Demo { .. } => "error,jarvis::alert=off",
        _ => "warn",
    };
    let log = logging::start(cli.global.verbose, usual);
    let context = Context { printer: Printer::new(&cli.global), global: cli.global, log };
    match cli.command {
        Command::Up(args) => Box::pin(commands::up::run(&context, args)).await,
        Command::Check { services } => commands::check::run(&context, &services).await,
        Command::Status { service } => commands::status::run(&context, service.as_ref()).await,
        Command::Uptime { services, window } => {
            commands::uptime::run(&context, &services, window).await
        }
        Command::Events(args) => commands::events::run(&context, args).await,
        Command::Restart(args) => commands::act::restart(&context, args).await,
        Command::Stop(args) => commands::act::stop(&context, args).await,
        Command::Start(args) => commands::act::start(&context, args).await,
        Command::Pause { duration, reason } => {
            commands::act::pause(&context, duration, reason).await
        }
        Command::Resume => commands::act::resume(&context).await,
        Command::Maintenance(command) => commands::maintenance::run(&context, command).await,
        Command::Reset { service } => commands::act::reset(&context, service).await,
        Command::Session(command) => commands::session::run(&context, command).await,
        Command::Cache(command) => commands::cache::run(&context, command).await,
        Command::Alert(command) => commands::alert::run(&context, command).await,
        Command::Config(command) => commands::config::run(&context, command).await,
        Command::Completions { shell } => commands::completions::run(&context, shell),
        Command::Demo { keep } => Box::pin(commands::demo::run(&context, keep)).await,
        Command::StandIn(args) => Ok(stand_in::serve(args).await?),
    }
}

/// Says what went wrong: a line for a person, or for a program (`--output json`) an object with
/// `code`, `message` and, for a configuration, `problems`. A reader that went away
/// (`jarvis events | head`) is no error.
#[expect(clippy::print_stderr, reason = "the one place that reports errors")]
fn report(error: &Error, format: Format) -> ExitCode {
    let broken_pipe = std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<io::Error>())
        .is_some_and(|source| source.kind() == io::ErrorKind::BrokenPipe);
    if broken_pipe {
        return ExitStatus::Done.into();
    }
    let problems = Report::of(error);
    if format == Format::Text {
        match problems {
            Some(problems) => {
                let count = text::problems::count(problems);
                let list = text::problems::list(problems, false);
                eprint!("jarvis: the configuration is refused: {count}\n{list}");
            }
            None => eprintln!("jarvis: {error}"),
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
