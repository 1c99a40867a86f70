//! `jarvis check`: one round of real probes, now.

use jarvis_core::Result;
use jarvis_core::vocabulary::ServiceId;

use super::{Context, with_progress};
use crate::exit::ExitStatus;
use crate::text;

pub(crate) async fn run(context: &Context, services: &[ServiceId]) -> Result<ExitStatus> {
    let jarvis = context.open()?;
    let answer = with_progress("probing the services", jarvis.check(services)).await?;
    let width = context.width();
    context.printer.print(&answer, |answer, colored| {
        let mut page = text::check::round(answer, colored, width);
        if jarvis.config().is_built_in() {
            page.push_str(NO_FILE);
        }
        page
    })?;
    let states = answer.services.iter().map(|service| service.state);
    Ok(ExitStatus::of_state(text::status::worst(states)))
}

const NO_FILE: &str = "
There is no configuration file: these are AI DAWG's services on 127.0.0.1.
`jarvis config init` writes a jarvis.toml to point it at your own.
";
