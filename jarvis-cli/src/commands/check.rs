//! `jarvis check`: one round of real probes, now.

use jarvis_core::Result;
use jarvis_core::vocabulary::ServiceId;

use super::Context;
use crate::exit::ExitStatus;
use crate::text;

const NO_FILE: &str = "
No configuration file was found: these are AI DAWG's services on 127.0.0.1.
`jarvis config init` writes a jarvis.toml to edit for your own services.
";

pub(crate) async fn run(context: &Context, services: &[ServiceId]) -> Result<ExitStatus> {
    let jarvis = context.open()?;
    let answer = context.wait_for("probing the services", jarvis.check(services)).await?;
    let width = context.width();
    context.printer.print(&answer, |answer, colored| text::check::round(answer, colored, width))?;
    if jarvis.config().is_built_in() {
        context.printer.hint(NO_FILE)?;
    }
    Ok(ExitStatus::of_state(answer.platform.state))
}
