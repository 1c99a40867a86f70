//! Web frameworks: the request meter, the session cookie, and errors as HTTP answers.

use std::sync::Arc;
use std::time::Duration;

use jarvis_core::ErrorKind;
use jarvis_core::clock::{Clock, SystemClock};
use jarvis_core::session::SessionData;
use jarvis_core::web::{self as core, CookieRules, Liveness, WebAnswer};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::Value;

use crate::convert::{self, Span, duration};
use crate::error;

/// Status, headers and body of an HTTP answer.
pub(crate) type Answer = (u16, Vec<(&'static str, String)>, String);

/// An HTTP answer as a tuple.
pub(crate) fn answer(answer: WebAnswer) -> Answer {
    (answer.status, answer.headers, answer.body)
}

/// The HTTP answer to an error of this kind.
#[pyfunction(name = "_error_answer")]
#[pyo3(signature = (kind, retry_after=None))]
pub(crate) fn error_answer(kind: &str, retry_after: Option<Span>) -> PyResult<Answer> {
    let known: ErrorKind = serde_json::from_value(Value::from(kind))
        .map_err(|_| error::invalid(format!("unknown kind of error {kind:?}")))?;
    Ok(answer(core::error_answer(known, duration(retry_after))))
}

/// The answer to `GET /healthz` of a process that supervises, or does not.
#[pyfunction(name = "_liveness")]
pub(crate) fn liveness(supervises: bool, alive: bool, reason: &str) -> Answer {
    answer(Liveness::new(supervises, alive, reason).answer())
}

/// The three-way merge of session data, as JSON text: `theirs`, with the changes from `base` to
/// `mine` on top.
#[pyfunction(name = "_merged")]
pub(crate) fn merged(base: &str, mine: &str, theirs: &str) -> PyResult<String> {
    let data = |text: &str| SessionData::parse(text).map_err(error::raise);
    let merged = data(base)?.merged(&data(mine)?, &data(theirs)?).map_err(error::raise)?;
    Ok(merged.as_str().to_owned())
}

/// Counts requests by route and status, with their durations.
#[pyclass(frozen, module = "jarvis._core")]
pub(crate) struct RequestMeter(pub(crate) Arc<core::RequestMeter>);

#[pymethods]
impl RequestMeter {
    #[new]
    fn new(service: &str) -> PyResult<Self> {
        let since = SystemClock::new().wall();
        let meter = core::RequestMeter::of_service(service, since).map_err(error::raise)?;
        Ok(Self(Arc::new(meter)))
    }

    /// A request begins.
    fn begin(&self) {
        self.0.begin();
    }

    /// A request ends. Returns whether it is the first one since the last event.
    #[pyo3(signature = (method, route, status, seconds))]
    fn end(&self, method: &str, route: Option<&str>, status: u16, seconds: f64) -> bool {
        let took = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        self.0.end(method, route, status, took)
    }

    /// The requests since the start, by route.
    fn snapshot(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        convert::plain(py, &self.0.snapshot())
    }

    /// OpenMetrics text: that of others, and the requests.
    #[pyo3(signature = (others=None))]
    fn metrics(&self, others: Option<&str>) -> String {
        self.0.metrics(others)
    }
}

/// The cookie that carries a session id.
#[pyclass(frozen, module = "jarvis._core")]
pub(crate) struct SessionCookie(core::SessionCookie);

impl SessionCookie {
    fn rules(given: &Bound<'_, PyDict>) -> serde_json::Result<CookieRules> {
        let text = convert::to_json(given).unwrap_or_default();
        serde_json::from_str(&text)
    }
}

#[pymethods]
impl SessionCookie {
    #[new]
    fn new(rules: &Bound<'_, PyDict>) -> PyResult<Self> {
        // Rule by rule first, so that the error names the rule.
        for (name, value) in rules {
            let rule = PyDict::new(rules.py());
            rule.set_item(&name, value)?;
            Self::rules(&rule).map_err(|error| error::invalid(format!("{name}: {error}")))?;
        }
        let rules = Self::rules(rules).map_err(|error| error::invalid(error.to_string()))?;
        core::SessionCookie::new(rules).map(Self).map_err(error::raise)
    }

    /// The id in a `Cookie` header.
    fn read<'h>(&self, header: &'h [u8]) -> Option<&'h str> {
        self.0.read(header)
    }

    /// The `Set-Cookie` header that gives the visitor an id.
    fn write(&self, id: &str, left: Span, https: bool) -> String {
        self.0.write(id, left.0, https)
    }

    /// The `Set-Cookie` header that removes the cookie.
    fn clear(&self, https: bool) -> String {
        self.0.clear(https)
    }
}
