//! `jarvis events`: what happened, with `--follow` what happens, and with `publish` what shall be
//! known.

use std::io::Read as _;

use jarvis_core::clock::{Clock, SystemClock};
use jarvis_core::events::{Delivery, Envelope, MAX_PAYLOAD, Message, TopicName};
use jarvis_core::jarvis::{EventStream, EventsQuery};
use jarvis_core::{Error, ErrorKind, Result};

use super::Context;
use crate::args::{EventsArgs, EventsCommand, Format};
use crate::exit::ExitStatus;
use crate::signals::{Asked, Signals};
use crate::text::event::delivered;

pub(crate) async fn run(context: &Context, args: EventsArgs) -> Result<ExitStatus> {
    if let Some(EventsCommand::Publish { topic, payload }) = args.command {
        return publish(context, topic, &payload).await;
    }
    if args.follow && context.printer.format() == Format::Json {
        let message = "what goes on is no one document; use --output jsonl with --follow";
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    let attached = context.attach().await?;
    let query = EventsQuery {
        topics: args.topic.into_iter().collect(),
        service: args.service,
        since: Some(SystemClock::new().wall() - args.since),
        limit: Some(args.limit),
        follow: args.follow,
        everywhere: args.everywhere,
    };
    let mut stream = attached.events(query).await?;
    if context.printer.format() == Format::Json {
        return all(context, &mut stream).await;
    }
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

/// As one document.
async fn all(context: &Context, stream: &mut EventStream) -> Result<ExitStatus> {
    let mut events: Vec<Delivery> = Vec::new();
    while let Some(delivery) = stream.next().await {
        events.push(delivery?);
    }
    context.printer.print(&events, |events, colored| {
        events.iter().map(|event| delivered(event, colored)).collect()
    })?;
    Ok(ExitStatus::Done)
}

async fn publish(context: &Context, topic: TopicName, payload: &str) -> Result<ExitStatus> {
    let text = if payload == "-" { from_stdin()? } else { payload.to_owned() };
    let payload = serde_json::from_str(&text).map_err(|error| {
        let message =
            format!("the payload is no JSON: {error}; text is JSON in quotes: '\"text\"'");
        Error::new(ErrorKind::InvalidInput, message)
    })?;
    let message = Message::new(topic, payload)?;
    let sent = context.attach().await?.publish(message).await?;
    context.printer.print(&sent, |sent, _| published(sent))?;
    Ok(ExitStatus::Done)
}

fn published(sent: &Envelope) -> String {
    let place = sent.stream.as_ref().map_or(sent.sequence, |position| position.sequence);
    format!("published to {} as number {place}\n", sent.topic)
}

/// No more than a payload may have, and space around it.
fn from_stdin() -> Result<String> {
    let most = 2 * MAX_PAYLOAD;
    let mut text = String::new();
    std::io::stdin().take(most as u64 + 1).read_to_string(&mut text)?;
    if text.len() > most {
        let message =
            format!("standard input has over {most} bytes, a payload at most {MAX_PAYLOAD}");
        return Err(Error::new(ErrorKind::TooLarge, message));
    }
    Ok(text)
}
