//! The `jarvis` command: parses, calls the library, prints.

mod args;
mod exit;
mod printer;
mod stand_in;

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use jarvis_core::{Error, Result};

use args::{Cli, Command};
use exit::ExitStatus;
use printer::Printer;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&Error::from(error)),
    };
    match runtime.block_on(run(cli)) {
        Ok(status) => status.into(),
        Err(error) => report(&error),
    }
}

async fn run(cli: Cli) -> Result<ExitStatus> {
    let printer = Printer::new(&cli.global);
    match cli.command {
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "jarvis", &mut script);
            printer.raw(&String::from_utf8_lossy(&script))?;
            Ok(ExitStatus::Done)
        }
        Command::StandIn(args) => Ok(stand_in::serve(args).await?),
        _ => Err(Error::new(jarvis_core::ErrorKind::Unsupported, "not wired yet")),
    }
}

/// Says what went wrong, in one line. A reader that went away (`jarvis events | head`) is no error.
#[expect(clippy::print_stderr, reason = "the one place that reports errors")]
fn report(error: &Error) -> ExitCode {
    let broken_pipe = std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<io::Error>())
        .is_some_and(|source| source.kind() == io::ErrorKind::BrokenPipe);
    if broken_pipe {
        return ExitStatus::Done.into();
    }
    eprintln!("jarvis: {error}");
    ExitStatus::of_error(error).into()
}
