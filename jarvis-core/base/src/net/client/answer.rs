//! [`HttpAnswer`]: the answer to a call, and what its status means.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::RETRY_AFTER;
use reqwest::Response;

use super::{WebUrl, failure, late};
use crate::clock::{ClockExt, Monotonic, SharedClock, WallTime};
use crate::secret::REDACTED;
use crate::text::one_line;
use crate::{Error, ErrorKind, Result, Retry};

/// How much of an error's body is read.
const EXCERPT: usize = 2_048;
/// A shorter secret would be found everywhere.
const SHORTEST_SECRET: usize = 4;

/// The answer to a call. Its body comes as it is asked for, until the deadline of the call.
pub struct HttpAnswer {
    response: Response,
    url: WebUrl,
    /// The longest first, so that a secret that holds another one is not left in parts.
    secrets: Vec<String>,
    clock: SharedClock,
    deadline: Monotonic,
}

impl HttpAnswer {
    pub(super) fn new(
        response: Response,
        url: WebUrl,
        mut secrets: Vec<String>,
        clock: SharedClock,
        deadline: Monotonic,
    ) -> Self {
        secrets.retain(|secret| secret.len() >= SHORTEST_SECRET);
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self { response, url, secrets, clock, deadline }
    }

    /// The status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// A header, where it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// How long to wait before the next call, as the server says: seconds, or a date.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        read_retry_after(self.header(RETRY_AFTER.as_str())?, self.clock.wall())
    }

    /// The next part of the body. `None` at its end.
    ///
    /// # Errors
    /// `Unavailable` when the connection broke, `Timeout` when the call's time is up; both
    /// indeterminate.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        match self.clock.until(self.deadline, self.response.chunk()).await {
            Some(Ok(chunk)) => Ok(chunk),
            Some(Err(error)) => Err(failure(error, &self.url).with_retry(Retry::Indeterminate)),
            None => Err(late(&self.url)),
        }
    }

    /// The whole body.
    ///
    /// # Errors
    /// `TooLarge` for more than `most` bytes; as of [`chunk`](Self::chunk).
    pub async fn body(mut self, most: usize) -> Result<Bytes> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if chunk.len() > most - body.len() {
                let message = format!("the answer of the server is longer than {most} bytes");
                return Err(
                    Error::new(ErrorKind::TooLarge, message).with_context("server", &self.url)
                );
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.into())
    }

    /// The answer itself for a 2xx status, else what the status means. The error shows the first
    /// line of the body, without the secrets of the call.
    ///
    /// # Errors
    /// By the status: `RateLimited`, `Unavailable`, `Internal` (safe to repeat, after what
    /// `Retry-After` says), `Unauthorized`, `Forbidden`, `NotFound`, `TooLarge`, else
    /// `InvalidInput`, also for a redirect.
    pub async fn success(mut self) -> Result<Self> {
        let status = self.response.status();
        if status.is_success() {
            return Ok(self);
        }
        let safe = Retry::Safe { after: self.retry_after() };
        let (kind, retry) = match status.as_u16() {
            429 => (ErrorKind::RateLimited, safe),
            408 | 425 | 502 | 503 | 504 => (ErrorKind::Unavailable, safe),
            500.. => (ErrorKind::Internal, safe),
            401 => (ErrorKind::Unauthorized, Retry::Never),
            403 => (ErrorKind::Forbidden, Retry::Never),
            404 | 410 => (ErrorKind::NotFound, Retry::Never),
            413 => (ErrorKind::TooLarge, Retry::Never),
            _ => (ErrorKind::InvalidInput, Retry::Never),
        };
        let hint = match status.as_u16() {
            300..=399 => "; redirects are not followed, configure the address it leads to",
            401 | 404 => "; check the URL and the token",
            _ => "",
        };
        let error = Error::new(kind, format!("the server answered {status}{hint}"))
            .with_retry(retry)
            .with_context("server", &self.url);
        let said = self.first_line().await;
        Err(if said.is_empty() { error } else { error.with_context("answer", said) })
    }

    /// The text without the secrets of the call.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        self.secrets
            .iter()
            .fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), REDACTED))
    }

    async fn first_line(&mut self) -> String {
        let mut body = Vec::new();
        let mut cut = false;
        while let Ok(Some(chunk)) = self.chunk().await {
            let room = EXCERPT - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            cut = chunk.len() >= room;
            if cut {
                break;
            }
        }
        let mut text = self.redact(&String::from_utf8_lossy(&body));
        if cut {
            text.truncate(self.without_partial_secret(&text));
        }
        one_line(text.trim(), 160)
    }

    /// Where a text must end that was cut, so that no beginning of a secret stands at its end.
    fn without_partial_secret(&self, text: &str) -> usize {
        let begins = |at: usize| {
            let end = &text[at..];
            self.secrets.iter().any(|secret| secret.starts_with(end))
        };
        let longest = self.secrets.first().map_or(0, String::len);
        let from = text.len().saturating_sub(longest);
        (from..text.len())
            .filter(|at| text.is_char_boundary(*at))
            .find(|at| begins(*at))
            .unwrap_or(text.len())
    }
}

impl fmt::Debug for HttpAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpAnswer")
            .field("status", &self.status())
            .field("server", &self.url)
            .finish_non_exhaustive()
    }
}

/// Seconds, or a date.
fn read_retry_after(text: &str, now: WallTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_millisecond();
    Some(WallTime::from_millis(at).saturating_since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = WallTime::from_millis(1_767_225_600_000); // 2026-01-01T00:00:00Z
        let read = |text| read_retry_after(text, now);
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(read("0.5"), Some(Duration::from_millis(500)));
        assert_eq!(read("Thu, 01 Jan 2026 00:01:30 GMT"), Some(Duration::from_secs(90)));
        assert_eq!(read("Wed, 31 Dec 2025 23:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!((read("soon"), read("-1")), (None, None));
    }
}
