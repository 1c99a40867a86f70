//! `jarvis publish`: a message of an application.

use jarvis_core::events::{Envelope, MAX_PAYLOAD, Message};
use jarvis_core::{Error, ErrorKind, Result};

use super::Context;
use crate::args::PublishArgs;
use crate::exit::ExitStatus;

/// How many bytes are read of a payload. White space around it does not count towards its limit.
const MAX_TEXT: u64 = 2 * MAX_PAYLOAD as u64;

pub(crate) async fn run(context: &Context, args: PublishArgs) -> Result<ExitStatus> {
    let text = args.payload.text(MAX_TEXT)?;
    let payload = serde_json::from_str(&text).map_err(|error| {
        let message =
            format!("the payload is not JSON: {error}. Text needs double quotes: '\"text\"'");
        Error::new(ErrorKind::InvalidInput, message)
    })?;
    let message = Message::new(args.topic, payload)?;
    let sent = context.attach().await?.publish(message).await?;
    context.printer.confirm(&sent, published)?;
    Ok(ExitStatus::Done)
}

fn published(sent: &Envelope) -> String {
    let sequence = sent.stream.as_ref().map_or(sent.sequence, |position| position.sequence);
    format!("published to {} with sequence number {sequence}\n", sent.topic)
}
