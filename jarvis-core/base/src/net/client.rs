//! The HTTP client of the sinks and the heartbeat: no redirects, deadlines, bounded answers, and
//! errors that name the host and nothing else of a URL.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Response, StatusCode, Url};
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls_platform_verifier::BuilderVerifierExt;

use crate::clock::WallTime;
use crate::secret::REDACTED;
use crate::text::one_line;
use crate::{Error, ErrorKind, Result, Retry, Secret};

const CONNECT: Duration = Duration::from_secs(10);
/// A backstop; the callers have deadlines of their own.
const TOTAL: Duration = Duration::from_secs(300);
const ANSWER: usize = 2_048;

fn tls(ca_file: Option<&Path>) -> Result<ClientConfig> {
    let failed = |error: rustls::Error| {
        Error::new(ErrorKind::Internal, "TLS could not be set up").with_source(error)
    };
    let provider = Arc::new(ring::default_provider());
    let builder = || {
        ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(failed)
    };
    if let Some(path) = ca_file {
        return Ok(builder()?.with_root_certificates(read_roots(path)?).with_no_client_auth());
    }
    match builder()?.with_platform_verifier() {
        Ok(builder) => Ok(builder.with_no_client_auth()),
        Err(error) => {
            // A machine without root certificates can still call plain http.
            tracing::warn!(%error, "no root certificates: https receivers won't be trusted");
            let none = rustls::RootCertStore::empty();
            Ok(builder()?.with_root_certificates(none).with_no_client_auth())
        }
    }
}

/// The certificates of a PEM file, which alone are trusted then.
fn read_roots(path: &Path) -> Result<rustls::RootCertStore> {
    let wrong = |what: &str| {
        let message = format!("ca_file {what}; name a file with certificates in PEM form");
        Error::new(ErrorKind::ConfigInvalid, message).with_context("path", path.display())
    };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path)
        .map_err(|error| wrong("can't be read").with_source(error))?
    {
        let certificate = certificate.map_err(|error| wrong("is damaged").with_source(error))?;
        roots
            .add(certificate)
            .map_err(|error| wrong("holds no usable certificate").with_source(error))?;
    }
    if roots.is_empty() { Err(wrong("holds no certificate")) } else { Ok(roots) }
}

/// A client that trusts the machine's certificates, or those of `ca_file` alone. Redirects are not
/// followed: one could take a message, or a secret, elsewhere.
pub fn client(ca_file: Option<&Path>) -> Result<Client> {
    Client::builder()
        .tls_backend_preconfigured(tls(ca_file)?)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .timeout(TOTAL)
        .user_agent(concat!("jarvis/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| {
            Error::new(ErrorKind::Internal, "the HTTP client could not be set up")
                .with_source(error.without_url())
        })
}

/// A URL to call; the error doesn't repeat it.
pub fn parse_url(text: &Secret<String>) -> Result<Url> {
    let url = Url::parse(text.expose()).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|it| !it.is_empty())
    });
    url.ok_or_else(|| {
        Error::new(ErrorKind::ConfigInvalid, "url must be an http:// or https:// address")
    })
}

/// Scheme, host and port: all that may be shown of a URL whose path may be the secret.
pub fn shown(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// What a call that got no answer means.
pub fn call_error(error: reqwest::Error, url: &Url) -> Error {
    let (kind, retry, message) = if error.is_builder() {
        (ErrorKind::InvalidInput, Retry::Never, "the request could not be made")
    } else if error.is_connect() {
        let retry = Retry::Safe { after: None };
        (ErrorKind::Unavailable, retry, "the receiver can't be reached")
    } else if error.is_timeout() {
        (ErrorKind::Timeout, Retry::Indeterminate, "the receiver did not answer in time")
    } else {
        (ErrorKind::Unavailable, Retry::Indeterminate, "the connection broke before the answer")
    };
    Error::new(kind, message)
        .with_retry(retry)
        .with_context("receiver", shown(url))
        .with_source(error.without_url())
}

/// What an answer means. Its first line is told, without the secrets that we know.
pub async fn check_answer(
    mut response: Response,
    url: &Url,
    secrets: &[String],
    now: WallTime,
) -> Result<()> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let after = header(reqwest::header::RETRY_AFTER).and_then(|text| retry_after(text, now));
    let safe = Retry::Safe { after };
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
    let mut message = format!("the receiver answered {status}");
    if status.is_redirection() {
        message.push_str("; redirects are not followed, configure the address it leads to");
    } else if status == StatusCode::UNAUTHORIZED || status == StatusCode::NOT_FOUND {
        message.push_str("; check the URL and the token");
    }
    let mut error =
        Error::new(kind, message).with_retry(retry).with_context("receiver", shown(url));
    let said = first_line(&mut response, secrets).await;
    if !said.is_empty() {
        error = error.with_context("answer", said);
    }
    Err(error)
}

async fn first_line(response: &mut Response, secrets: &[String]) -> String {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk[..chunk.len().min(ANSWER - body.len())]);
        if body.len() >= ANSWER {
            break;
        }
    }
    let text = String::from_utf8_lossy(&body);
    let masked = mask(&text, secrets);
    one_line(masked.trim(), 160)
}

/// The text without the secrets, also where a boundary cut the text after the start of one.
fn mask(text: &str, secrets: &[String]) -> String {
    secrets
        .iter()
        .filter(|secret| secret.len() >= 4)
        .fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), REDACTED))
}

/// Seconds, or a date.
fn retry_after(text: &str, now: WallTime) -> Option<Duration> {
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
        let read = |text| retry_after(text, now);
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(read("0.5"), Some(Duration::from_millis(500)));
        assert_eq!(read("Thu, 01 Jan 2026 00:01:30 GMT"), Some(Duration::from_secs(90)));
        assert_eq!(read("Wed, 31 Dec 2025 23:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!((read("soon"), read("-1")), (None, None));
    }

    #[test]
    fn only_the_host_of_a_url_is_shown() {
        let secret = Secret::new("https://u:pw@hooks.example:8443/services/T0/B0/xyz?k=v".into());
        assert_eq!(shown(&parse_url(&secret).unwrap()), "https://hooks.example:8443");
        for wrong in ["ftp://h/x", "hooks.example/secret", "http://"] {
            let error = parse_url(&Secret::new(wrong.into())).unwrap_err();
            assert!(!format!("{error:?}").contains("secret"));
        }
    }
}
