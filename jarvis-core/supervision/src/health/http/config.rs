//! The configuration of the HTTP probe.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::rule::RuleConfig;
use crate::health::tls::TlsOptions;
use base::secret::{redact_url, serialize_redacted};
use base::{Error, ErrorKind, Result, Secret, units};

/// `type = "http"`.
///
/// ```toml
/// type = "http"
/// url = "http://127.0.0.1:8080/health"
/// expect = { status = "200-299", json = { "$.status" = "ok", "$.queue" = { lt = 100 } } }
/// tls = { warn_before = "21d", fail_before = "3d" }
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct HttpConfig {
    /// `http://…`, `https://…`, or `unix:/path/of.sock:/path/of/resource`. A `user:password@` in it
    /// is sent as basic authentication.
    #[serde(serialize_with = "serialize_redacted")]
    pub url: String,
    /// Default `GET`.
    #[serde(default = "get")]
    pub method: String,
    /// Request headers. Their values are never shown. Default: none of its own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Secret<String>>,
    /// Request body. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Secret<String>>,
    /// What a good answer looks like. Default: a status of 200 to 299, and a JSON `status` that
    /// does not say degraded or down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expect>,
    /// How many redirects to follow, at most 10. Default 0: a redirect is a failure unless
    /// `expect.status` has it.
    #[serde(default)]
    pub follow: u8,
    /// Follow redirects to another host or port, or from https to http? The request headers
    /// above don't go there. Default false.
    #[serde(default)]
    pub follow_other_hosts: bool,
    /// How much of the body is read, at most 16 MiB. Default 64 KiB.
    #[serde(default = "max_body", with = "units::bytes")]
    pub max_body: u64,
    /// Use a connection again where that is allowed (a verification always makes a new one).
    /// Default false: a new connection proves that the service still accepts them.
    #[serde(default)]
    pub reuse: bool,
    /// Certificates. Default: the machine's authorities, degraded 21 days and down 3 days before
    /// the end.
    #[serde(default)]
    pub tls: TlsOptions,
}

impl HttpConfig {
    /// A GET of this URL with all defaults.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            method: get(),
            headers: BTreeMap::new(),
            body: None,
            expect: None,
            follow: 0,
            follow_other_hosts: false,
            max_body: max_body(),
            reuse: false,
            tls: TlsOptions::default(),
        }
    }

    /// Does it ask and expect nothing of its own, as [`new`](Self::new) makes it? URL and `reuse`
    /// aside.
    pub(super) fn is_plain(&self) -> bool {
        let Self { url: _, method, headers, body, expect, follow, follow_other_hosts, .. } = self;
        *method == get()
            && headers.is_empty()
            && body.is_none()
            && expect.is_none()
            && *follow == 0
            && !follow_other_hosts
            && self.max_body == max_body()
    }

    /// Adds a request header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), Secret::new(value.into()));
        self
    }

    /// Says what a good answer looks like.
    #[must_use]
    pub fn with_expect(mut self, expect: Expect) -> Self {
        self.expect = Some(expect);
        self
    }

    /// Sets how certificates are looked at.
    #[must_use]
    pub fn with_tls(mut self, tls: TlsOptions) -> Self {
        self.tls = tls;
        self
    }
}

impl Debug for HttpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpConfig")
            .field("url", &redact_url(&self.url))
            .field("method", &self.method)
            .field("headers", &self.headers)
            .field("expect", &self.expect)
            .finish_non_exhaustive()
    }
}

fn get() -> String {
    "GET".to_owned()
}

pub(crate) const fn max_body() -> u64 {
    64 * 1_024
}

/// What a good answer looks like. Every part that is named must hold.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Expect {
    /// `200`, `"200-299"`, or a list of both. Default `"200-299"`.
    pub status: StatusSet,
    /// Headers of the answer: a text that the value must be, or a rule as for `json`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, RuleConfig>,
    /// A text in the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_contains: Option<String>,
    /// A regular expression that matches somewhere in the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_regex: Option<String>,
    /// JSON paths (RFC 9535) and what must be there: a value, or a rule such as `{ lt = 100 }`,
    /// `{ ne = "x" }`, `{ contains = "x" }`, `{ matches = "^ok" }`, `{ exists = false }`.
    /// The path must find something, and all that it finds must obey.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub json: BTreeMap<String, RuleConfig>,
}

impl Expect {
    /// Wants one of these statuses.
    #[must_use]
    pub fn with_status(mut self, status: StatusSet) -> Self {
        self.status = status;
        self
    }

    /// Wants this text in the body.
    #[must_use]
    pub fn with_body_contains(mut self, text: impl Into<String>) -> Self {
        self.body_contains = Some(text.into());
        self
    }

    /// Wants this value at a JSON path.
    #[must_use]
    pub fn with_json(mut self, path: impl Into<String>, rule: RuleConfig) -> Self {
        self.json.insert(path.into(), rule);
        self
    }
}

/// A set of HTTP statuses.
///
/// ```
/// # #[cfg(feature = "http")] {
/// use jarvis_core::health::http::StatusSet;
///
/// let set: StatusSet = serde_json::from_str(r#"["200-299", 304]"#)?;
/// assert!(set.contains(204) && set.contains(304) && !set.contains(301));
/// # }
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusSet(Box<[(u16, u16)]>);

impl Default for StatusSet {
    fn default() -> Self {
        Self(Box::new([(200, 299)]))
    }
}

impl StatusSet {
    /// The statuses from `first` to `last`.
    ///
    /// # Errors
    /// `InvalidInput` unless 100 ≤ first ≤ last ≤ 599.
    pub fn range(first: u16, last: u16) -> Result<Self> {
        if !(100..=599).contains(&first) || !(first..=599).contains(&last) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "{first}-{last} are not valid HTTP statuses; write \"200-299\", 204, or a list of both"
                ),
            ));
        }
        Ok(Self(Box::new([(first, last)])))
    }

    /// Is it in the set?
    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            if first == last {
                write!(f, "{separator}{first}")?;
            } else {
                write!(f, "{separator}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a status such as 204, a range such as \"200-299\", or a list of both"
)]
enum Written {
    Number(u16),
    Text(String),
    List(Vec<Written>),
}

impl Written {
    fn collect(&self, depth: u8, ranges: &mut Vec<(u16, u16)>) -> Result<()> {
        let (first, last) = match self {
            Self::Number(status) => (*status, *status),
            Self::Text(text) => {
                let (first, last) = text.split_once('-').unwrap_or((text, text));
                let parse = |part: &str| part.trim().parse().unwrap_or(0);
                (parse(first), parse(last))
            }
            Self::List(list) if depth == 0 && !list.is_empty() => {
                return list.iter().try_for_each(|each| each.collect(1, ranges));
            }
            Self::List(_) => (0, 0),
        };
        ranges.extend_from_slice(&StatusSet::range(first, last)?.0);
        Ok(())
    }
}

impl Serialize for StatusSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|(first, last)| match first == last {
            true => Written::Number(*first),
            false => Written::Text(format!("{first}-{last}")),
        }))
    }
}

impl<'de> Deserialize<'de> for StatusSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut ranges = Vec::new();
        Written::deserialize(deserializer)?
            .collect(0, &mut ranges)
            .map_err(|error| serde::de::Error::custom(error.message()))?;
        Ok(Self(ranges.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_sets_are_read_and_written() {
        for (text, inside, outside) in
            [("204", 204, 200), ("\"200-299\"", 250, 300), ("[200, \"400-404\"]", 403, 405)]
        {
            let set: StatusSet = serde_json::from_str(text).unwrap();
            assert!(set.contains(inside) && !set.contains(outside), "{text}");
            let again = serde_json::to_string(&set).unwrap();
            assert_eq!(serde_json::from_str::<StatusSet>(&again).unwrap(), set);
        }
        for text in ["\"ok\"", "[]", "99", "\"300-200\"", "[[200]]", "600"] {
            assert!(serde_json::from_str::<StatusSet>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_whole_configuration_is_read() {
        let config: HttpConfig = toml::from_str(
            r#"
            url = "https://127.0.0.1:8080/health"
            expect = { status = "200-299", json = { "$.status" = "ok", "$.q" = { lt = 9 } }, body_contains = "ok" }
            max_body = "128KiB"
            tls = { warn_before = "21d", fail_before = "3d" }
            "#,
        )
        .unwrap();
        assert_eq!(config.tls, TlsOptions::default());
        assert_eq!(config.max_body, 128 * 1_024);
        crate::health::http::HttpProbe::new(&config).unwrap();
    }

    #[test]
    fn no_secret_of_a_configuration_is_shown() {
        let config = HttpConfig::new("http://h/?token=hunter2").with_header("x-key", "hunter2");
        let shown = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
