//! `jarvis events`: what happened, and with `--follow` what happens.

use jarvis_core::events::Envelope;
use jarvis_core::jarvis::{EventStream, EventsQuery};
use jarvis_core::{Error, ErrorKind, Result};

use super::Context;
use crate::args::{EventsArgs, Format};
use crate::exit::ExitStatus;
use crate::signals::{Asked, Signals};
use crate::text::event::line;

pub(crate) async fn run(context: &Context, args: EventsArgs) -> Result<ExitStatus> {
    if args.follow && context.printer.format() == Format::Json {
        let message = "what goes on is no one document; use --output jsonl with --follow";
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    let jarvis = context.open()?;
    let query = EventsQuery {
        topics: args.topic.into_iter().collect(),
        service: args.service,
        since: Some(jarvis.clock().wall() - args.since),
        limit: Some(args.limit),
        follow: args.follow,
    };
    let mut stream = jarvis.attach().await.events(query).await?;
    if context.printer.format() == Format::Json {
        return all(context, &mut stream).await;
    }
    let mut signals = Signals::new()?;
    loop {
        tokio::select! {
            envelope = stream.next() => match envelope {
                Some(envelope) => context.printer.item(&envelope?, line)?,
                None => return Ok(ExitStatus::Done),
            },
            asked = signals.next() => if let Asked::Leave(_) = asked {
                return Ok(ExitStatus::Done);
            },
        }
    }
}

/// As one document.
async fn all(context: &Context, stream: &mut EventStream) -> Result<ExitStatus> {
    let mut events: Vec<Envelope> = Vec::new();
    while let Some(envelope) = stream.next().await {
        events.push(envelope?);
    }
    context.printer.print(&events, |events, colored| {
        events.iter().map(|event| line(event, colored)).collect()
    })?;
    Ok(ExitStatus::Done)
}
