//! The answer of a completion as it comes: server-sent events, or one JSON document.

use std::ops::ControlFlow;
use std::time::Duration;

use hyper::http::response::Parts;
use serde_json::Value;

use base::clock::{Monotonic, SharedClock};
use base::net::exchange::Receive;

/// How much of an answer is read. One token takes a few hundred bytes.
const MOST_READ: usize = 256 * 1_024;

/// Takes a stream apart.
pub(super) struct Stream {
    clock: SharedClock,
    bytes: Vec<u8>,
    /// Where the next line begins.
    line: usize,
    events: bool,
    first: Option<Monotonic>,
    /// An error that came instead of a token.
    pub(super) error: Option<Value>,
}

impl Stream {
    pub(super) const fn new(clock: SharedClock) -> Self {
        Self { clock, bytes: Vec::new(), line: 0, events: false, first: None, error: None }
    }

    /// From the request to the first token.
    pub(super) fn first_token(&self, asked: Monotonic) -> Option<Duration> {
        self.first.map(|first| first.saturating_since(asked))
    }

    /// Did a model answer?
    pub(super) const fn spoke(&self) -> bool {
        self.first.is_some()
    }

    /// What came, for an answer that is no stream.
    pub(super) fn text(&self) -> &[u8] {
        &self.bytes
    }

    /// The answer has ended: what is left is read as one document.
    pub(super) fn end(&mut self) {
        if !self.events
            && let Ok(document) = serde_json::from_slice::<Value>(&self.bytes)
        {
            self.note(&document);
        }
    }

    fn note(&mut self, event: &Value) {
        if let Some(error) = event.get("error").filter(|error| !error.is_null()) {
            self.error = Some(error.clone());
        } else if self.first.is_none() && has_token(event) {
            self.first = Some(self.clock.monotonic());
        }
    }

    /// Reads the lines that are whole. `Break` after the last event.
    fn read_lines(&mut self) -> ControlFlow<()> {
        while let Some(end) = self.bytes[self.line..].iter().position(|byte| *byte == b'\n') {
            let line = &self.bytes[self.line..self.line + end];
            self.line += end + 1;
            let Some(data) = line.strip_prefix(b"data:").map(<[u8]>::trim_ascii) else { continue };
            if data == b"[DONE]" {
                return ControlFlow::Break(());
            }
            if let Ok(event) = serde_json::from_slice::<Value>(data) {
                self.note(&event);
            }
        }
        ControlFlow::Continue(())
    }
}

/// A choice with a text, a call, or the end because of the limit on tokens.
fn has_token(event: &Value) -> bool {
    let Some(choices) = event.get("choices").and_then(Value::as_array) else { return false };
    choices.iter().any(|choice| {
        let says = |part: &Value| {
            ["content", "reasoning_content", "reasoning", "tool_calls"].iter().any(|name| {
                part.get(name).is_some_and(|value| match value {
                    Value::Null => false,
                    Value::String(text) => !text.is_empty(),
                    _ => true,
                })
            })
        };
        let ended = choice.get("finish_reason").is_some_and(Value::is_string);
        ended || choice.get("delta").is_some_and(says) || choice.get("message").is_some_and(says)
    })
}

impl Receive for Stream {
    fn head(&mut self, head: &Parts) {
        let kind = head.headers.get("content-type").and_then(|value| value.to_str().ok());
        self.events = head.status.is_success()
            && kind.is_some_and(|kind| kind.starts_with("text/event-stream"));
        self.bytes.clear();
        self.line = 0;
    }

    fn data(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        let room = MOST_READ - self.bytes.len();
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if self.events {
            self.read_lines()?;
        }
        if bytes.len() > room { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::clock::SystemClock;
    use hyper::Response;
    use std::sync::Arc;

    fn stream(kind: &str) -> Stream {
        let mut stream = Stream::new(Arc::new(SystemClock::new()));
        let head = Response::builder().header("content-type", kind).body(()).unwrap();
        stream.head(&head.into_parts().0);
        stream
    }

    #[test]
    fn events_are_read_however_they_are_cut() {
        let text = b": hi\n\ndata: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"p\"}}]}\r\n\ndata: [DONE]\n\n";
        let mut stream = stream("text/event-stream; charset=utf-8");
        let last = text.len() - 2;
        let token = text.windows(5).position(|part| part == b"}]}\r\n").unwrap() + 4;
        for (index, byte) in text[..=last].iter().enumerate() {
            assert_eq!(stream.data(&[*byte]).is_break(), index == last, "{index}");
            assert_eq!(stream.spoke(), index >= token, "{index}");
        }
    }

    #[test]
    fn a_document_and_an_error_are_understood() {
        let mut document = stream("application/json");
        assert!(document.data(br#"{"choices":[{"message":{"content":"p"}}]}"#).is_continue());
        document.end();
        assert!(document.spoke() && document.error.is_none());
        let mut error = stream("text/event-stream");
        assert!(error.data(b"data: {\"error\":{\"message\":\"out of memory\"}}\n").is_continue());
        assert!(error.error.is_some() && !error.spoke());
        let mut long = stream("text/event-stream");
        assert!(long.data(&vec![b'a'; MOST_READ + 1]).is_break());
    }
}
