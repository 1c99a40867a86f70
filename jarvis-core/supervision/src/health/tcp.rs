//! [`TcpProbe`]: does somebody accept a connection there, and say what is expected?

use std::fmt::{self, Debug};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{HealthProbe, Observation, ProbeContext, meter};
use base::net::address::Endpoint;
use base::net::connect::connect;
use base::net::resolve::Resolver;
use base::net::stream::Socket;
use base::net::timing::{Meter, ProbeError, Stage, Step};
use base::text::excerpt;
use base::vocabulary::FailureKind;
use base::{Error, ErrorKind, Result, Secret};

/// How much is read while looking for what is expected.
const MOST_READ: usize = 4_096;

/// `type = "tcp"`.
///
/// ```toml
/// type = "tcp"
/// address = "127.0.0.1:6379"
/// send = "PING\r\n"
/// expect = "+PONG"
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TcpConfig {
    /// `host:port`, `[ipv6]:port` or `unix:/path`.
    pub address: String,
    /// Text to send after connecting. Default: nothing. May hold a password: it is never shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send: Option<Secret<String>>,
    /// Bytes to send, as hexadecimal digits (`"0a ff"`), instead of `send`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_hex: Option<Secret<String>>,
    /// Text that the first 4 KiB of the answer must contain. Default: a connection is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
    /// Bytes that they must contain, as hexadecimal digits, instead of `expect`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_hex: Option<String>,
}

impl TcpConfig {
    /// A connection to this address is enough.
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), send: None, send_hex: None, expect: None, expect_hex: None }
    }

    /// Sends this text after connecting.
    #[must_use]
    pub fn with_send(mut self, text: impl Into<String>) -> Self {
        self.send = Some(Secret::new(text.into()));
        self
    }

    /// Wants this text in the answer.
    #[must_use]
    pub fn with_expect(mut self, text: impl Into<String>) -> Self {
        self.expect = Some(text.into());
        self
    }
}

/// Connects; where it is told to, sends and looks for an answer.
pub struct TcpProbe {
    endpoint: Endpoint,
    send: Box<[u8]>,
    expect: Box<[u8]>,
    resolver: Option<Box<Resolver>>,
}

impl Debug for TcpProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpProbe")
            .field("endpoint", &format_args!("{}", self.endpoint))
            .finish_non_exhaustive()
    }
}

impl TcpProbe {
    /// Checks the configuration; touches no network.
    ///
    /// # Errors
    /// `ConfigInvalid`: an address that is none, hexadecimal digits that are none, both forms of
    /// one key, or an empty `expect`.
    pub fn new(config: &TcpConfig) -> Result<Self> {
        let send = either(
            "send",
            config.send.as_ref().map(|text| text.expose().as_str()),
            config.send_hex.as_ref().map(|text| text.expose().as_str()),
        )?;
        let expect = either("expect", config.expect.as_deref(), config.expect_hex.as_deref())?;
        let wanted = config.expect.is_some() || config.expect_hex.is_some();
        if expect.len() > MOST_READ || (wanted && expect.is_empty()) {
            return Err(Error::new(
                ErrorKind::ConfigInvalid,
                format!(
                    "\"expect\" must have 1 to {MOST_READ} bytes; leave it out if a connection is enough"
                ),
            ));
        }
        Ok(Self { endpoint: Endpoint::parse(&config.address)?, send, expect, resolver: None })
    }

    /// Resolves names with this resolver instead of the machine's.
    #[must_use]
    pub fn with_resolver(mut self, resolver: Resolver) -> Self {
        self.resolver = Some(Box::new(resolver));
        self
    }

    async fn run(&self, meter: &mut Meter) -> Step<Observation> {
        let mut socket = connect(&self.endpoint, self.resolver.as_deref(), meter).await?;
        if !self.send.is_empty() {
            let sent = socket.write_all(&self.send).await;
            sent.map_err(|error| ProbeError::io(error, &self.endpoint.to_string()))?;
        }
        if self.expect.is_empty() {
            return Ok(Observation::pass("connected"));
        }
        self.look(&mut socket, meter).await
    }

    async fn look(&self, socket: &mut Socket, meter: &mut Meter) -> Step<Observation> {
        meter.stage = Stage::Answer;
        let asked = meter.now();
        let mut seen = Vec::with_capacity(256);
        loop {
            let room = MOST_READ - seen.len();
            let read = (&mut *socket).take(room as u64).read_buf(&mut seen).await;
            let read = read.map_err(|error| ProbeError::io(error, &self.endpoint.to_string()))?;
            if meter.phases.first_byte.is_none() && read > 0 {
                meter.phases.first_byte = Some(meter.since(asked));
                meter.stage = Stage::Rest;
            }
            if seen.windows(self.expect.len()).any(|window| *window == *self.expect) {
                return Ok(Observation::pass("the expected answer"));
            }
            if read == 0 {
                return Err(self.disappointed(&seen));
            }
        }
    }

    fn disappointed(&self, seen: &[u8]) -> ProbeError {
        if seen.is_empty() {
            let message = format!("{} closed the connection without an answer", self.endpoint);
            return ProbeError::failed(FailureKind::Reset, message);
        }
        // What we sent may be a password, and the other side may have echoed it.
        let answer =
            if self.send.is_empty() { format!(": {}", excerpt(seen, 80)) } else { String::new() };
        let message =
            format!("the expected text is not in the {} bytes received{answer}", seen.len());
        ProbeError::failed(FailureKind::Body, message)
    }
}

#[async_trait]
impl HealthProbe for TcpProbe {
    async fn probe(&self, context: ProbeContext) -> Result<Observation> {
        let mut meter = meter::start(&context);
        let outcome = context.until_deadline(self.run(&mut meter)).await;
        meter::finish(&meter, outcome, &self.endpoint.to_string())
    }
}

fn either(key: &str, text: Option<&str>, hex: Option<&str>) -> Result<Box<[u8]>> {
    match (text, hex) {
        (Some(_), Some(_)) => Err(Error::new(
            ErrorKind::ConfigInvalid,
            format!("\"{key}\" and \"{key}_hex\" exclude each other; keep one"),
        )),
        (Some(text), None) => Ok(text.as_bytes().into()),
        (None, Some(hex)) => parse_hex(hex).ok_or_else(|| {
            Error::new(
                ErrorKind::ConfigInvalid,
                format!("\"{key}_hex\" takes pairs of hexadecimal digits, such as \"0a ff\""),
            )
        }),
        (None, None) => Ok(Box::default()),
    }
}

fn parse_hex(text: &str) -> Option<Box<[u8]>> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_configuration_is_refused_with_what_to_do() {
        let wrong = [
            r#"{"address": "nowhere"}"#,
            r#"{"address": "h:1", "send": "a", "send_hex": "00"}"#,
            r#"{"address": "h:1", "send_hex": "0"}"#,
            r#"{"address": "h:1", "expect": ""}"#,
        ];
        for text in wrong {
            let config: TcpConfig = serde_json::from_str(text).unwrap();
            assert_eq!(
                TcpProbe::new(&config).unwrap_err().kind(),
                ErrorKind::ConfigInvalid,
                "{text}"
            );
        }
        assert!(serde_json::from_str::<TcpConfig>(r#"{"address": "h:1", "port": 2}"#).is_err());
    }

    #[test]
    fn hexadecimal_digits_are_bytes() {
        assert_eq!(parse_hex("0a Ff").as_deref(), Some(&[10, 255][..]));
        assert_eq!(parse_hex("0g"), None);
    }
}
