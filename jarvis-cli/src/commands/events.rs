//! `jarvis events`: what happened, and with `--follow` what happens.

use jarvis_core::clock::{Clock, SystemClock};
use jarvis_core::events::Delivery;
use jarvis_core::jarvis::{EventStream, EventsQuery};
use jarvis_core::{Error, ErrorKind, Result};

use super::Context;
use crate::args::{EventsArgs, Format};
use crate::exit::ExitStatus;
use crate::signals::{Asked, Signals};
use crate::text::event::delivered;

pub(crate) async fn run(context: &Context, args: EventsArgs) -> Result<ExitStatus> {
    let format = context.printer.format();
    if args.follow && format == Format::Json {
        let message = "--follow has no end, so it can't be one JSON document; use --output jsonl";
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    let query = EventsQuery {
        topics: args.topics.into_iter().chain(args.topic).collect(),
        service: args.service,
        since: Some(args.since.start(SystemClock::new().wall())?),
        limit: Some(args.limit),
        follow: args.follow,
        everywhere: args.everywhere,
    };
    // Without a loop, the stream ends when the handle is dropped.
    let attached = context.attach().await?;
    let mut stream = attached.events(query).await?;
    if args.follow {
        return follow(context, &mut stream).await;
    }
    if format == Format::Json {
        let mut events: Vec<Delivery> = Vec::new();
        while let Some(delivery) = stream.next().await {
            events.push(delivery?);
        }
        context.printer.print(&events, |_, _| String::new())?;
        return Ok(ExitStatus::Done);
    }
    while let Some(delivery) = stream.next().await {
        context.printer.item(&delivery?, delivered)?;
    }
    Ok(ExitStatus::Done)
}

/// Until a signal asks to end: that is how a follower ends, so it is no failure.
async fn follow(context: &Context, stream: &mut EventStream) -> Result<ExitStatus> {
    let mut signals = Signals::new()?;
    loop {
        tokio::select! {
            delivery = stream.next() => match delivery {
                Some(delivery) => context.printer.item(&delivery?, delivered)?,
                None => return Ok(ExitStatus::Done),
            },
            asked = signals.next() => if let Asked::Leave(_) = asked {
                return Ok(ExitStatus::Done);
            },
        }
    }
}
