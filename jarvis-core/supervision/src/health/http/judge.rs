//! What an answer says about the health of whoever gave it.

use hyper::StatusCode;
use hyper::header::{CONTENT_ENCODING, HeaderMap, HeaderName};
use hyper::http::response::Parts;
use regex::Regex;
use serde::Deserialize;
use serde_json::Value;
use serde_json_path::JsonPath;

use super::config::{Expect, StatusSet};
use super::rule::{Rule, compile};
use crate::health::Observation;
use base::vocabulary::FailureKind;
use base::{Error, ErrorKind, Result};

/// An [`Expect`], ready to be applied.
#[derive(Debug)]
pub(crate) struct Rules {
    status: StatusSet,
    headers: Box<[(HeaderName, Rule)]>,
    contains: Option<Box<str>>,
    regex: Option<Regex>,
    json: Box<[(Box<str>, JsonPath, Rule)]>,
}

impl Rules {
    pub(crate) fn new(expect: &Expect) -> Result<Self> {
        let headers = expect.headers.iter().map(|(name, rule)| {
            let name: HeaderName = name.parse().map_err(|_| {
                Error::new(ErrorKind::ConfigInvalid, format!("{name:?} is not a valid header name"))
            })?;
            Ok((name, Rule::new(rule)?))
        });
        let json = expect.json.iter().map(|(path, rule)| {
            let parsed = JsonPath::parse(path).map_err(|error| {
                Error::new(
                    ErrorKind::ConfigInvalid,
                    format!("{path:?} is not a valid JSON path; write for example \"$.checks[0].status\""),
                )
                .with_source(error)
            })?;
            Ok((path.as_str().into(), parsed, Rule::new(rule)?))
        });
        Ok(Self {
            status: expect.status.clone(),
            headers: headers.collect::<Result<_>>()?,
            contains: expect.body_contains.as_deref().map(Into::into),
            regex: expect.body_regex.as_deref().map(compile).transpose()?,
            json: json.collect::<Result<_>>()?,
        })
    }

    pub(crate) fn allows(&self, status: StatusCode) -> bool {
        self.status.contains(status.as_u16())
    }

    fn looks_into_body(&self) -> bool {
        self.contains.is_some() || self.regex.is_some() || !self.json.is_empty()
    }

    /// What of the rules does not hold, beyond the status.
    fn broken_by(&self, head: &Parts, body: &Body<'_>) -> Option<String> {
        for (name, rule) in &self.headers {
            let values: Vec<Value> = header_values(&head.headers, name);
            if let Some(what) = rule.broken_by(&values.iter().collect::<Vec<_>>()) {
                return Some(format!("the header {name} {what}"));
            }
        }
        if !self.looks_into_body() {
            return None;
        }
        if let Some(coding) = body.coding {
            return Some(format!(
                "the body is encoded as {coding}, although identity was asked for"
            ));
        }
        self.broken_by_text(body).or_else(|| self.broken_by_json(body))
    }

    fn broken_by_text(&self, body: &Body<'_>) -> Option<String> {
        let text = String::from_utf8_lossy(body.bytes);
        if let Some(wanted) = &self.contains
            && !text.contains(&**wanted)
        {
            return Some(format!("the body does not contain {wanted:?}{}", body.limit()));
        }
        if let Some(pattern) = &self.regex
            && !pattern.is_match(&text)
        {
            return Some(format!("{pattern} does not match the body{}", body.limit()));
        }
        None
    }

    fn broken_by_json(&self, body: &Body<'_>) -> Option<String> {
        if self.json.is_empty() {
            return None;
        }
        let Ok(value) = serde_json::from_slice::<Value>(body.bytes) else {
            return Some(format!("the body is not JSON{}", body.limit()));
        };
        self.json.iter().find_map(|(path, query, rule)| {
            let found = query.query(&value).all();
            rule.broken_by(&found).map(|what| format!("{path} {what}"))
        })
    }
}

fn header_values(headers: &HeaderMap, name: &HeaderName) -> Vec<Value> {
    let values = headers.get_all(name).iter();
    values.map(|value| String::from_utf8_lossy(value.as_bytes()).into()).collect()
}

/// As much of the body as was read.
struct Body<'a> {
    bytes: &'a [u8],
    cut: bool,
    coding: Option<&'a str>,
}

impl Body<'_> {
    fn limit(&self) -> String {
        if !self.cut {
            return String::new();
        }
        format!(" (its first {} bytes; max_body allows more)", self.bytes.len())
    }
}

/// The judgement. `cut`: there was more of the body than was read.
pub(crate) fn judge(rules: Option<&Rules>, head: &Parts, bytes: &[u8], cut: bool) -> Observation {
    let status = head.status;
    let allowed = rules.map_or(status.is_success(), |rules| rules.allows(status));
    if !allowed {
        return refused(rules, status).with_fact("status", status.as_u16());
    }
    let coding = head.headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok());
    let body = Body { bytes, cut, coding: coding.filter(|coding| *coding != "identity") };
    let observation = match rules {
        Some(rules) => match rules.broken_by(head, &body) {
            Some(what) => Observation::fail(FailureKind::Body, format!("{status}, but {what}")),
            None => pass(status),
        },
        None => by_word(status, &body),
    };
    observation.with_fact("status", status.as_u16())
}

fn pass(status: StatusCode) -> Observation {
    match status {
        StatusCode::OK => Observation::pass("200 OK"),
        StatusCode::NO_CONTENT => Observation::pass("204 No Content"),
        other => Observation::pass(other.to_string()),
    }
}

/// The kind of failure that a status is.
pub(crate) fn kind_of(status: StatusCode) -> FailureKind {
    match status.as_u16() {
        401 | 403 | 407 => FailureKind::Auth,
        429 => FailureKind::RateLimited,
        300..=499 => FailureKind::ClientError,
        500..=599 => FailureKind::ServerError,
        _ => FailureKind::Body,
    }
}

fn refused(rules: Option<&Rules>, status: StatusCode) -> Observation {
    let message = match rules {
        Some(rules) => format!("{status}, expected {}", rules.status),
        None => status.to_string(),
    };
    Observation::fail(kind_of(status), message)
}

/// The `status` that health endpoints commonly answer.
#[derive(Deserialize)]
struct Word<'a> {
    #[serde(borrow)]
    status: std::borrow::Cow<'a, str>,
}

/// Without rules: a JSON object whose `status` says so is degraded or down.
fn by_word(status: StatusCode, body: &Body<'_>) -> Observation {
    let is_object = body.bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    if !is_object || body.cut || body.coding.is_some() {
        return pass(status);
    }
    let Ok(word) = serde_json::from_slice::<Word<'_>>(body.bytes) else { return pass(status) };
    let word = word.status;
    let is = |words: &[&str]| words.iter().any(|each| word.eq_ignore_ascii_case(each));
    let make = if is(&["degraded", "warn", "warning"]) {
        Observation::warn
    } else if is(&["down", "error", "fail", "unhealthy"]) {
        Observation::fail
    } else {
        return pass(status);
    };
    make(FailureKind::Body, format!("{status}, its body says {}", word.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::vocabulary::Verdict;
    use hyper::Response;
    use serde_json::json;

    fn head(status: u16) -> Parts {
        Response::builder().status(status).header("x-role", "api").body(()).unwrap().into_parts().0
    }

    fn judged(expect: Option<Value>, status: u16, body: &str) -> (Verdict, Option<FailureKind>) {
        let rules =
            expect.map(|expect| Rules::new(&serde_json::from_value(expect).unwrap()).unwrap());
        let observation = judge(rules.as_ref(), &head(status), body.as_bytes(), false);
        (observation.verdict, observation.kind)
    }

    #[test]
    fn without_an_expectation_the_status_and_the_word_decide() {
        use FailureKind::{Auth, Body, ClientError, RateLimited, ServerError};
        for (status, body, expected) in [
            (200, "", (Verdict::Pass, None)),
            (204, "", (Verdict::Pass, None)),
            (200, "plain text", (Verdict::Pass, None)),
            (200, r#"{"status":"ok"}"#, (Verdict::Pass, None)),
            (200, r#"{"status":"UP","components":{}}"#, (Verdict::Pass, None)),
            (200, r#" {"a":[1],"status":"Degraded"}"#, (Verdict::Warn, Some(Body))),
            (200, r#"{"status":"warning"}"#, (Verdict::Warn, Some(Body))),
            (200, r#"{"status":"DOWN"}"#, (Verdict::Fail, Some(Body))),
            (200, r#"{"status":"unhealthy"}"#, (Verdict::Fail, Some(Body))),
            (200, r#"{"status":7}"#, (Verdict::Pass, None)),
            (200, r#"{"status":"#, (Verdict::Pass, None)),
            (302, "", (Verdict::Fail, Some(ClientError))),
            (404, "", (Verdict::Fail, Some(ClientError))),
            (401, "", (Verdict::Fail, Some(Auth))),
            (403, "", (Verdict::Fail, Some(Auth))),
            (429, "", (Verdict::Fail, Some(RateLimited))),
            (500, "", (Verdict::Fail, Some(ServerError))),
            (503, r#"{"status":"degraded"}"#, (Verdict::Fail, Some(ServerError))),
        ] {
            assert_eq!(judged(None, status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn every_expectation_must_hold() {
        let broken = (Verdict::Fail, Some(FailureKind::Body));
        let held = (Verdict::Pass, None);
        for (expect, status, body, expected) in [
            (json!({"status": [204, "300-302"]}), 301, "", held),
            (json!({"status": 204}), 200, "", broken),
            (json!({}), 200, r#"{"status":"down"}"#, held),
            (json!({"body_contains": "pong"}), 200, "ping pong", held),
            (json!({"body_contains": "pong"}), 200, "ping", broken),
            (json!({"body_regex": "^p.ng$"}), 200, "ping", held),
            (json!({"body_regex": "^p.ng$"}), 200, "pinging", broken),
            (json!({"json": {"$.a[*].s": "ok"}}), 200, r#"{"a":[{"s":"ok"},{"s":"ok"}]}"#, held),
            (json!({"json": {"$.a[*].s": "ok"}}), 200, r#"{"a":[{"s":"ok"},{"s":"no"}]}"#, broken),
            (json!({"json": {"$.q": {"lt": 9}}}), 200, "not json", broken),
            (json!({"headers": {"X-Role": "api"}}), 200, "", held),
            (json!({"headers": {"x-role": {"matches": "^db"}}}), 200, "", broken),
            (json!({"headers": {"x-absent": {"exists": false}}}), 200, "", held),
        ] {
            assert_eq!(judged(Some(expect.clone()), status, body), expected, "{expect}");
        }
    }

    #[test]
    fn wrong_expectations_are_refused() {
        for expect in [
            json!({"json": {"$.[": 1}}),
            json!({"body_regex": "("}),
            json!({"headers": {"a b": "x"}}),
        ] {
            let error = Rules::new(&serde_json::from_value(expect).unwrap()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
        }
    }
}
