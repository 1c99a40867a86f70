//! [`WebAnswer`]: status, headers and body, for any framework to write.

use std::time::Duration;

use serde::Serialize;

use base::ErrorKind;

/// The content type of [`WebAnswer::json`].
pub const JSON: &str = "application/json";

/// The content type of [`RequestMeter::metrics`](super::RequestMeter::metrics) and of
/// `Jarvis::metrics`.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How long a client should wait where nobody knows.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// An HTTP answer that a framework only has to write.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WebAnswer {
    /// The status code.
    pub status: u16,
    /// Header names in lower case, with their values.
    pub headers: Vec<(&'static str, String)>,
    /// The body, as text.
    pub body: String,
}

impl WebAnswer {
    /// An answer that no cache may keep.
    #[must_use]
    pub fn new(status: u16, content_type: &str, body: impl Into<String>) -> Self {
        let headers = vec![
            ("cache-control", "no-store".to_owned()),
            ("content-type", content_type.to_owned()),
        ];
        Self { status, headers, body: body.into() }
    }

    /// The same with a JSON body.
    #[must_use]
    pub fn json<T: Serialize + ?Sized>(status: u16, body: &T) -> Self {
        // The documents of this crate always have a JSON form.
        Self::new(status, JSON, serde_json::to_string(body).unwrap_or_default())
    }

    /// The value of a header, by its lower-case name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }
}

/// An error as an HTTP answer: the status of its kind, and a body with the code.
///
/// The body is `{"detail":"Service Unavailable","code":"ERR_JARVIS_UNAVAILABLE"}`. The message is
/// left out: it may name servers and paths, and belongs in the log. `Retry-After` is set with 429
/// and 503, in seconds rounded up; it is 1 where `retry_after` is unknown.
///
/// ```
/// use jarvis_core::ErrorKind;
/// use jarvis_core::web::error_answer;
///
/// let answer = error_answer(ErrorKind::BudgetExceeded, None);
/// assert_eq!(answer.status, 402);
/// assert_eq!(answer.header("retry-after"), None);
/// ```
#[must_use]
pub fn error_answer(kind: ErrorKind, retry_after: Option<Duration>) -> WebAnswer {
    #[derive(Serialize)]
    struct Body {
        detail: &'static str,
        code: &'static str,
    }
    let status = kind.http_status();
    let mut answer = WebAnswer::json(status, &Body { detail: reason(status), code: kind.code() });
    if matches!(status, 429 | 503) {
        let wait = ceil_seconds(retry_after.unwrap_or(RETRY_AFTER));
        answer.headers.push(("retry-after", wait.to_string()));
    }
    answer
}

/// The reason phrase of a status that an error may have (RFC 9110), and nginx's for 499.
#[must_use]
pub const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        499 => "Client Closed Request",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Internal Server Error",
    }
}

/// Whole seconds, rounded up.
pub(super) fn ceil_seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_status_with_a_phrase_and_shows_its_code_alone() {
        for kind in ErrorKind::ALL {
            let answer = error_answer(*kind, None);
            assert_eq!(answer.status, kind.http_status());
            let is_internal = answer.status == 500;
            assert_eq!(reason(answer.status) == "Internal Server Error", is_internal, "{kind:?}");
            let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            assert_eq!(body["code"], kind.code());
            assert_eq!(body.as_object().unwrap().len(), 2);
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
    }

    #[test]
    fn only_what_may_be_repeated_later_says_when() {
        let wait = |kind, after| error_answer(kind, after).header("retry-after").map(str::to_owned);
        assert_eq!(wait(ErrorKind::Unavailable, None).as_deref(), Some("1"));
        let after = Some(Duration::from_millis(2_001));
        assert_eq!(wait(ErrorKind::RateLimited, after).as_deref(), Some("3"));
        assert_eq!(wait(ErrorKind::BudgetExceeded, after), None);
        assert_eq!(wait(ErrorKind::Timeout, after), None);
    }
}
