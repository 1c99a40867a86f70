//! The lines of the protocol, read within limits: the other side is not trusted.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use super::{PROTOCOL, Request};
use base::units;
use base::{Error, ErrorKind, Result, Retry};

/// The longest request line, in bytes: the largest message of an application fits.
pub const MAX_REQUEST: usize = 128 * 1024;
/// The longest line a client takes from a server, in bytes.
pub const MAX_REPLY: usize = 16 * 1024 * 1024;

/// The server's first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Hello {
    /// Always `control`.
    pub jarvis: String,
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// The server's version.
    pub version: String,
    /// The server's process.
    pub pid: u32,
}

impl Hello {
    pub(super) fn ours() -> Self {
        Self {
            jarvis: "control".to_owned(),
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
        }
    }
}

/// A request with the number that its answers carry.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    pub(super) id: u64,
    #[serde(flatten)]
    pub(super) request: Request,
}

/// The commands that earlier versions wrote as requests of their own.
const COMMANDS: [&str; 8] =
    ["restart", "stop", "start", "reset", "pause", "resume", "maintain", "end_maintenance"];

impl Asked {
    /// Reads a line, also one in which a command is a request of its own:
    /// `{"type": "restart", "service": "…"}`.
    pub(super) fn from_line(line: &[u8]) -> serde_json::Result<Self> {
        let mut fields: Map<String, Value> = serde_json::from_slice(line)?;
        let kind = fields.get("type").and_then(Value::as_str);
        if let Some(kind) = kind.filter(|kind| COMMANDS.contains(kind)) {
            let command = Value::from(kind);
            fields.insert("command".to_owned(), command);
            fields.insert("type".to_owned(), Value::from("command"));
        }
        Self::deserialize(Value::Object(fields))
    }
}

/// One line of an answer.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Answer {
    #[serde(default)]
    pub(super) id: u64,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub(super) ok: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) err: Option<WireError>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub(super) item: Option<Value>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) done: bool,
}

/// `"ok": null` is an answer, not an absent one.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Answer {
    pub(super) fn ok(id: u64, value: Value) -> Self {
        Self { id, ok: Some(value), ..Self::default() }
    }

    pub(super) fn err(id: u64, error: &Error) -> Self {
        Self { id, err: Some(WireError::from(error)), ..Self::default() }
    }

    pub(super) fn item(id: u64, value: Value) -> Self {
        Self { id, item: Some(value), ..Self::default() }
    }

    pub(super) fn done(id: u64) -> Self {
        Self { id, done: true, ..Self::default() }
    }
}

/// An [`Error`] as it travels, so that a client shows what the server would have shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WireError {
    /// The kind; a kind that this version does not know is read as `internal`.
    #[serde(deserialize_with = "known_kind")]
    pub kind: ErrorKind,
    /// The kind's stable code, for those who read the socket without this crate.
    #[serde(default)]
    pub code: String,
    /// What happened and what to do.
    pub message: String,
    /// The operation that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The facts, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub context: Vec<(String, String)>,
    /// May the request be repeated?
    #[serde(default)]
    pub retryable: bool,
    /// May it have been applied?
    #[serde(default)]
    pub indeterminate: bool,
    /// How long to wait before repeating it.
    #[serde(
        default,
        rename = "retry_after_ms",
        with = "units::optional_millis",
        skip_serializing_if = "Option::is_none"
    )]
    pub retry_after: Option<Duration>,
    /// The chain of causes, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
}

fn known_kind<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<ErrorKind, D::Error> {
    let word = String::deserialize(deserializer)?;
    Ok(serde_json::from_value(Value::String(word)).unwrap_or(ErrorKind::Internal))
}

impl From<&Error> for WireError {
    fn from(error: &Error) -> Self {
        let mut causes = Vec::new();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        Self {
            kind: error.kind(),
            code: error.code().to_owned(),
            message: error.message().to_owned(),
            operation: error.operation().map(str::to_owned),
            context: error
                .context()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            retryable: error.is_retryable(),
            indeterminate: error.retry() == Retry::Indeterminate,
            retry_after: error.retry_after(),
            causes,
        }
    }
}

impl From<WireError> for Error {
    fn from(wire: WireError) -> Self {
        let retry = if wire.indeterminate {
            Retry::Indeterminate
        } else if wire.retryable {
            Retry::Safe { after: wire.retry_after }
        } else {
            Retry::Never
        };
        let mut error = Self::new(wire.kind, wire.message).with_retry(retry);
        if let Some(operation) = wire.operation {
            error = error.with_operation(operation);
        }
        for (key, value) in wire.context {
            error = error.with_context(key, value);
        }
        if wire.causes.is_empty() { error } else { error.with_source(wire.causes.join(": ")) }
    }
}

/// A message as one line.
pub(super) fn to_line(message: &impl Serialize) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message).map_err(|error| {
        Error::new(ErrorKind::Internal, "failed to serialize a control message as JSON")
            .with_source(error)
    })?;
    line.push(b'\n');
    Ok(line)
}

/// Collects one line of at most `limit` bytes. Cancel-safe: what was read stays in `line`.
#[derive(Debug, Default)]
pub(super) struct LineBuffer {
    line: Vec<u8>,
}

impl LineBuffer {
    /// The next line without its end, or `None` at the end of the stream.
    pub(super) async fn next(
        &mut self,
        reader: &mut (impl AsyncBufRead + Unpin),
        limit: usize,
    ) -> Result<Option<Vec<u8>>> {
        loop {
            let available = reader.fill_buf().await?;
            if available.is_empty() {
                if self.line.is_empty() {
                    return Ok(None);
                }
                return Err(Error::new(ErrorKind::Unavailable, "the connection ended mid-line"));
            }
            let newline = available.iter().position(|byte| *byte == b'\n');
            let taken = newline.map_or(available.len(), |at| at + 1);
            if self.line.len() + taken > limit + 1 {
                return Err(Error::new(
                    ErrorKind::TooLarge,
                    format!("a control line is longer than {limit} bytes"),
                ));
            }
            self.line.extend_from_slice(&available[..taken]);
            reader.consume(taken);
            if newline.is_some() {
                self.line.pop();
                return Ok(Some(std::mem::take(&mut self.line)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::vocabulary::ServiceId;
    use supervision::operator::{Action, Command};

    #[test]
    fn an_error_arrives_as_it_was() {
        let error = Error::new(ErrorKind::RateLimited, "too many tests")
            .with_retry(Retry::Safe { after: Some(Duration::from_secs(7)) })
            .with_operation("alert.test")
            .with_context("sink", "ops")
            .with_source("429");
        let line = serde_json::to_string(&WireError::from(&error)).unwrap();
        let back = Error::from(serde_json::from_str::<WireError>(&line).unwrap());
        assert_eq!(back.to_string(), error.to_string());
        assert_eq!((back.kind(), back.retry()), (error.kind(), error.retry()));
        assert_eq!(std::error::Error::source(&back).unwrap().to_string(), "429");
        let newer = line.replace("rate_limited", "not_invented_yet");
        let back: WireError = serde_json::from_str(&newer).unwrap();
        assert_eq!(back.kind, ErrorKind::Internal);
    }

    #[test]
    fn requests_are_one_flat_object() {
        let line = br#"{"id": 3, "type": "command", "command": "pause", "for_ms": 60000,
            "by": "ann", "reason": "deploy"}"#;
        let asked = Asked::from_line(line).unwrap();
        assert_eq!(asked.id, 3);
        let pause = Action::Pause { lasting: Some(Duration::from_secs(60)) };
        let expected = Request::Command(Command::new(pause, "ann").with_reason("deploy"));
        assert_eq!(asked.request, expected);
        let back = Asked::from_line(&to_line(&asked).unwrap()).unwrap();
        assert_eq!((back.id, back.request), (3, expected));
        let status =
            Asked::from_line(&to_line(&Asked { id: 4, request: Request::Status }).unwrap());
        assert_eq!(status.unwrap().request, Request::Status);
    }

    #[test]
    fn commands_of_earlier_versions_are_understood() {
        let read = |line: &str| Asked::from_line(line.as_bytes()).map(|asked| asked.request);
        let service = ServiceId::new("coach").unwrap();
        let all = [
            (
                r#"{"type": "restart", "service": "coach"}"#,
                Action::Restart { service: service.clone() },
            ),
            (r#"{"type": "stop", "service": "coach"}"#, Action::Stop { service: service.clone() }),
            (
                r#"{"type": "start", "service": "coach"}"#,
                Action::Start { service: service.clone() },
            ),
            (r#"{"type": "reset", "service": "coach"}"#, Action::Reset { service }),
            (r#"{"type": "pause"}"#, Action::Pause { lasting: None }),
            (r#"{"type": "resume"}"#, Action::Resume),
            (
                r#"{"type": "maintain", "services": ["c*"], "for_ms": 5000}"#,
                Action::Maintain { services: vec!["c*".into()], lasting: Duration::from_secs(5) },
            ),
            (
                r#"{"type": "end_maintenance", "window": 2}"#,
                Action::EndMaintenance { window: Some(2) },
            ),
        ];
        assert_eq!(all.len(), COMMANDS.len());
        for (line, action) in all {
            assert_eq!(read(line).unwrap(), Request::Command(Command::new(action, "")), "{line}");
        }
        let paused = read(r#"{"type": "pause", "reason": "deploy", "for_ms": 60000}"#).unwrap();
        let pause = Action::Pause { lasting: Some(Duration::from_secs(60)) };
        assert_eq!(paused, Request::Command(Command::new(pause, "").with_reason("deploy")));
    }

    #[test]
    fn a_wrong_request_is_refused_with_its_reason() {
        let refused = |line: &str| Asked::from_line(line.as_bytes()).unwrap_err().to_string();
        assert!(refused(r#"{"type": "restart", "service": "a/b"}"#).contains("a/b"));
        assert!(refused(r#"{"type": "dance"}"#).contains("unknown variant `dance`"));
        assert!(refused(r#"{"type": "restart"}"#).contains("missing field `service`"));
        assert!(refused("[]").contains("expected a map"));
    }

    #[tokio::test]
    async fn a_line_is_bounded_and_survives_cancellation() {
        let mut reader = &b"one\ntwo\nlonger than ten bytes\n"[..];
        let mut lines = LineBuffer::default();
        assert_eq!(lines.next(&mut reader, 10).await.unwrap().unwrap(), b"one");
        assert_eq!(lines.next(&mut reader, 3).await.unwrap().unwrap(), b"two");
        assert_eq!(lines.next(&mut reader, 10).await.unwrap_err().kind(), ErrorKind::TooLarge);
        let mut reader = &b"half"[..];
        let mut lines = LineBuffer::default();
        assert_eq!(lines.next(&mut reader, 10).await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
}
