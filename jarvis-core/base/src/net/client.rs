//! The HTTP client of every room that calls a service: pooled connections, a deadline for each
//! call, bounded answers, and errors that name the host and no secret.
//!
//! Redirects are never followed: one could take a message, or a credential, to another host. The
//! proxies of the environment (`HTTPS_PROXY`, `NO_PROXY`, …) are used, but never to reach this
//! machine. Probes don't use this client, because a pooled connection would hide what they look
//! for: see [`exchange`](super::exchange).

mod answer;
mod url;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, ClientBuilder};

use super::tls::TlsPolicy;
use crate::clock::{ClockExt, SharedClock};
use crate::{Error, ErrorKind, Result, Retry, Secret};

pub use answer::HttpAnswer;
pub use url::WebUrl;

/// How long a connection may take, within the deadline of its call.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a call may take unless it says otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The variables that name proxies.
const PROXIES: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/// Calls services over HTTP. Clones share their connections.
#[derive(Debug, Clone)]
pub struct HttpClient {
    direct: Client,
    proxied: Option<Client>,
    clock: SharedClock,
}

/// One request.
#[derive(Clone)]
pub struct HttpCall {
    method: Method,
    url: WebUrl,
    headers: HeaderMap,
    body: Bytes,
    timeout: Duration,
    secrets: Vec<Secret<String>>,
}

impl HttpCall {
    /// A request without headers and body.
    #[must_use]
    pub fn new(method: Method, url: &WebUrl) -> Self {
        Self {
            method,
            url: url.clone(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            timeout: TIMEOUT,
            secrets: Vec::new(),
        }
    }

    /// A GET request.
    #[must_use]
    pub fn get(url: &WebUrl) -> Self {
        Self::new(Method::GET, url)
    }

    /// A POST request with a JSON document.
    #[must_use]
    pub fn post_json(url: &WebUrl, document: impl Into<Bytes>) -> Self {
        let json = HeaderValue::from_static("application/json");
        let mut call = Self::new(Method::POST, url).with_body(document);
        call.headers.insert(hyper::header::CONTENT_TYPE, json);
        call
    }

    /// With this body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// With this header, instead of one of the same name.
    ///
    /// # Errors
    /// `InvalidInput` for a value that can't be sent.
    pub fn with_header(mut self, name: HeaderName, value: &str) -> Result<Self> {
        let value = HeaderValue::from_str(value).map_err(|_| {
            let message = format!("the header {name:?} has a value that can't be sent");
            Error::new(ErrorKind::InvalidInput, message)
        })?;
        self.headers.insert(name, value);
        Ok(self)
    }

    /// With these headers, instead of those of the same names. A value that is marked as sensitive
    /// is redacted in errors.
    #[must_use]
    pub fn with_headers(mut self, headers: HeaderMap) -> Self {
        // `extend` replaces the values of a name that was there.
        self.headers.extend(headers);
        self
    }

    /// How long the call may take, its answer's body included. 30 s unless set.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Redacts these values in what is shown of an answer, beside the sensitive headers and the
    /// parts of the URL.
    #[must_use]
    pub fn with_secrets(mut self, secrets: impl IntoIterator<Item = Secret<String>>) -> Self {
        self.secrets.extend(secrets);
        self
    }

    /// Every value that the server knows and nobody else may read.
    fn secret_values(&self) -> Vec<String> {
        let sensitive = self.headers.values().filter(|value| value.is_sensitive());
        let mut values = self.url.secrets();
        values.extend(self.secrets.iter().map(|secret| secret.expose().clone()));
        values.extend(sensitive.filter_map(|value| value.to_str().ok()).map(str::to_owned));
        values
    }
}

impl fmt::Debug for HttpCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpCall")
            .field("method", &self.method)
            .field("url", &self.url)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl HttpClient {
    /// Reads the files of the policy; connects to nothing.
    ///
    /// # Errors
    /// `ConfigInvalid` for a file that can't be used.
    pub fn new(tls: &TlsPolicy, clock: SharedClock) -> Result<Self> {
        let has_proxy = PROXIES
            .iter()
            .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
        let config = tls.client_config()?;
        let builder = || usual(&config);
        Self::assemble(builder().no_proxy(), has_proxy.then(builder), clock)
    }

    fn assemble(
        direct: ClientBuilder,
        proxied: Option<ClientBuilder>,
        clock: SharedClock,
    ) -> Result<Self> {
        let build = |builder: ClientBuilder| {
            builder.build().map_err(|error| {
                Error::new(ErrorKind::Internal, "the HTTP client could not be set up")
                    .with_source(error.without_url())
            })
        };
        Ok(Self { direct: build(direct)?, proxied: proxied.map(build).transpose()?, clock })
    }

    /// Sends a request and waits for the head of its answer, whatever its status.
    ///
    /// # Errors
    /// `Unavailable` (safe to repeat where no connection was made, else indeterminate), or
    /// `Timeout` (indeterminate).
    pub async fn send(&self, call: HttpCall) -> Result<HttpAnswer> {
        let deadline = self.clock.monotonic() + call.timeout;
        let secrets = call.secret_values();
        let url = call.url;
        let client = match &self.proxied {
            Some(proxied) if !url.is_this_machine() => proxied,
            _ => &self.direct,
        };
        let request = client.request(call.method, url.as_url().clone()).headers(call.headers);
        let sending = request.body(call.body).send();
        let response = match self.clock.until(deadline, sending).await {
            Some(response) => response.map_err(|error| failure(error, &url))?,
            None => return Err(late(&url)),
        };
        let clock = Arc::clone(&self.clock);
        Ok(HttpAnswer::new(response, url, secrets, clock, deadline))
    }

    /// As [`send`](Self::send), where any other status than 2xx is an error.
    ///
    /// # Errors
    /// As of `send` and of [`HttpAnswer::success`].
    pub async fn call(&self, call: HttpCall) -> Result<HttpAnswer> {
        self.send(call).await?.success().await
    }
}

fn usual(tls: &rustls::ClientConfig) -> ClientBuilder {
    Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .user_agent(concat!("jarvis/", env!("CARGO_PKG_VERSION")))
}

/// What a call without an answer means.
fn failure(error: reqwest::Error, url: &WebUrl) -> Error {
    let (kind, retry, message) = if error.is_builder() {
        (ErrorKind::InvalidInput, Retry::Never, "the request could not be made")
    } else if error.is_connect() {
        let retry = Retry::Safe { after: None };
        (ErrorKind::Unavailable, retry, "the server can't be reached")
    } else if error.is_timeout() {
        return late(url).with_source(error.without_url());
    } else {
        (ErrorKind::Unavailable, Retry::Indeterminate, "the connection broke before the answer")
    };
    Error::new(kind, message)
        .with_retry(retry)
        .with_context("server", url)
        .with_source(error.without_url())
}

fn late(url: &WebUrl) -> Error {
    Error::new(ErrorKind::Timeout, "the server did not answer in time")
        .with_retry(Retry::Indeterminate)
        .with_context("server", url)
}

#[cfg(test)]
mod tests;
