//! `jarvis completions`: the shell's script.

use clap::CommandFactory;
use clap_complete::Shell;
use jarvis_core::Result;

use super::Context;
use crate::args::Cli;
use crate::exit::ExitStatus;

pub(crate) fn run(context: &Context, shell: Shell) -> Result<ExitStatus> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "jarvis", &mut script);
    context.printer.raw(&String::from_utf8_lossy(&script))?;
    Ok(ExitStatus::Done)
}
