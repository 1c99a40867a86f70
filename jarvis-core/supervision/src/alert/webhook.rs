//! [`WebhookSink`]: an HTTP request, signed, in the words of the receiver.

mod preset;
mod template;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use hmac::{Hmac, KeyInit, Mac};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::{Alert, AlertSink};
use base::clock::SharedClock;
use base::net::client::{HttpCall, HttpClient, WebUrl};
use base::net::tls::{PemFile, TlsPolicy};
use base::vocabulary::ConfigPath;
use base::{Error, ErrorKind, Result, Secret};
use template::Template;

/// The header with the signature: `t=SECONDS,v1=HEX`, where `HEX` is the HMAC-SHA256 of
/// `SECONDS.BODY` with the shared secret. The receiver refuses an old `t`.
pub const SIGNATURE_HEADER: &str = "x-jarvis-signature";

/// A backstop: whoever delivers has a deadline of their own.
const TIMEOUT: Duration = Duration::from_secs(300);

/// In whose words a message is put.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Preset {
    /// The [`Alert`] itself.
    #[default]
    Json,
    /// A Slack incoming webhook, and what imitates one (Mattermost, Rocket.Chat).
    Slack,
    /// A Discord webhook.
    Discord,
    /// An ntfy topic: `https://ntfy.sh/TOPIC`.
    Ntfy,
}

/// The keys of a sink with `type = "webhook"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct WebhookConfig {
    /// Where to. Treated as a secret: with most receivers it is one.
    pub url: Secret<String>,
    /// In whose words. Not together with `body`.
    #[serde(default)]
    pub preset: Option<Preset>,
    /// A JSON document with `{{ title }}` and so on, without quotes around them: each value is
    /// written as JSON. The names are those of [`Alert`]'s fields.
    #[serde(default)]
    pub body: Option<String>,
    /// More headers, such as `Authorization`.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret<String>>,
    /// Signs each request: see [`SIGNATURE_HEADER`].
    #[serde(default)]
    pub hmac_secret: Option<Secret<String>>,
    /// The certificates (PEM) to trust, instead of the machine's.
    #[serde(default)]
    pub ca_file: Option<ConfigPath>,
}

impl WebhookConfig {
    /// The [`Alert`] as JSON to that URL.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: Secret::new(url.into()),
            preset: None,
            body: None,
            headers: BTreeMap::new(),
            hmac_secret: None,
            ca_file: None,
        }
    }
}

#[derive(Debug)]
enum Words {
    Preset(Preset),
    Template(Box<Template>),
}

/// Delivers by HTTP POST. `Ok` means a 2xx answer; redirects are not followed.
pub struct WebhookSink {
    client: HttpClient,
    clock: SharedClock,
    url: WebUrl,
    words: Words,
    topic: String,
    headers: HeaderMap,
    hmac_secret: Option<Secret<String>>,
    /// What no error may show of an answer, beside the headers.
    secrets: Vec<Secret<String>>,
}

impl fmt::Debug for WebhookSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookSink")
            .field("receiver", &format_args!("{}", self.url))
            .field("words", &self.words)
            .finish_non_exhaustive()
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::ConfigInvalid, message.into())
}

fn read_headers(given: &BTreeMap<String, Secret<String>>) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let key = HeaderName::try_from(name.as_str())
            .map_err(|_| invalid(format!("{name:?} is not a valid header name")))?;
        let mut value = HeaderValue::try_from(value.expose().as_str())
            .map_err(|_| invalid(format!("the header {name:?} has an invalid value")))?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}

impl WebhookSink {
    /// Checks the configuration and the template. Connects to nothing.
    ///
    /// # Errors
    /// `ConfigInvalid` for a URL that is not http or https, a `ca_file` that can't be used, a header
    /// that can't be sent, a template that is wrong or does not give JSON, or both `preset` and
    /// `body`.
    pub fn new(config: WebhookConfig, clock: SharedClock) -> Result<Self> {
        let mut url = WebUrl::parse(&config.url)?;
        // Before the topic of ntfy is taken off.
        let mut secrets: Vec<_> = url.secrets().into_iter().map(Secret::new).collect();
        let words = match (config.preset, &config.body) {
            (Some(_), Some(_)) => return Err(invalid("use preset or body, not both")),
            (None, Some(body)) => Words::Template(Box::new(Template::new(body)?)),
            (preset, None) => Words::Preset(preset.unwrap_or_default()),
        };
        let mut topic = String::new();
        if matches!(words, Words::Preset(Preset::Ntfy)) {
            topic = url
                .pop_segment()
                .ok_or_else(|| invalid("url must end in the topic, such as https://ntfy.sh/ops"))?;
        }
        secrets.extend(config.hmac_secret.clone());
        let authorities = config.ca_file.map(|path| PemFile::new("ca_file", path.into_path_buf()));
        Ok(Self {
            client: HttpClient::new(&TlsPolicy::trusting(authorities), clock.clone())?,
            clock,
            url,
            words,
            topic,
            headers: read_headers(&config.headers)?,
            hmac_secret: config.hmac_secret,
            secrets,
        })
    }

    fn body(&self, alert: &Alert) -> Result<Vec<u8>> {
        match &self.words {
            Words::Template(template) => template.render(alert).map(String::into_bytes),
            Words::Preset(preset) => {
                let document = preset::document(*preset, &self.topic, alert)?;
                serde_json::to_vec(&document).map_err(|error| {
                    Error::new(ErrorKind::Internal, "failed to serialize an alert as JSON")
                        .with_source(error)
                })
            }
        }
    }

    fn signature(&self, body: &[u8]) -> Result<Option<String>> {
        let Some(secret) = &self.hmac_secret else { return Ok(None) };
        let seconds = self.clock.wall().millis().div_euclid(1_000);
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes())
            .map_err(|_| Error::new(ErrorKind::Internal, "the message could not be signed"))?;
        mac.update(seconds.to_string().as_bytes());
        mac.update(b".");
        mac.update(body);
        let code = mac.finalize().into_bytes();
        let hex: String = code.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Some(format!("t={seconds},v1={hex}")))
    }

    async fn send(&self, alert: &Alert) -> Result<()> {
        let body = self.body(alert)?;
        let signature = self.signature(&body)?;
        let mut call = HttpCall::post_json(&self.url, body)
            .with_timeout(TIMEOUT)
            .with_header(HeaderName::from_static("idempotency-key"), &alert.id)?
            .with_headers(self.headers.clone())
            .with_secrets(self.secrets.iter().cloned());
        if let Some(signature) = signature {
            call = call.with_header(HeaderName::from_static(SIGNATURE_HEADER), &signature)?;
        }
        self.client.call(call).await.map(drop)
    }
}

#[async_trait]
impl AlertSink for WebhookSink {
    async fn deliver(&self, alert: &Alert) -> Result<()> {
        self.send(alert).await.map_err(|error| error.with_operation("alert.webhook"))
    }
}
