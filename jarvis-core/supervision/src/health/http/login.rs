//! A user and a password in the URL: sent as HTTP's basic authentication.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::HttpConfig;
use base::percent;
use base::{Error, ErrorKind, Result, Secret};

const HEADER: &str = "authorization";

/// The configuration with the user information of its URL as a header.
///
/// # Errors
/// `ConfigInvalid` for wrong percent-encoding, or where there is an `authorization` header already.
pub(super) fn as_header(config: &HttpConfig) -> Result<Cow<'_, HttpConfig>> {
    let refuse = |message: &'static str| Error::new(ErrorKind::ConfigInvalid, message);
    let Some((scheme, user_info, rest)) = split(&config.url) else {
        return Ok(Cow::Borrowed(config));
    };
    if config.headers.keys().any(|name| name.eq_ignore_ascii_case(HEADER)) {
        return Err(refuse(
            "the URL has a user, and there is an authorization header; use one of them",
        ));
    }
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    let (Some(user), Some(password)) = (percent::decode(user), percent::decode(password)) else {
        return Err(refuse(
            "the user or the password in the URL has a % without two hexadecimal digits after it; write %25 for a %",
        ));
    };
    let value = format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")));
    let url = format!("{scheme}{rest}");
    let config = HttpConfig { url, ..config.clone() };
    Ok(Cow::Owned(HttpConfig {
        headers: config
            .headers
            .into_iter()
            .chain([(HEADER.to_owned(), Secret::new(value))])
            .collect(),
        ..config
    }))
}

/// `http://`, the user information, and what follows its `@`.
fn split(url: &str) -> Option<(&str, &str, &str)> {
    let begins = ["http://", "https://"].into_iter().find(|scheme| url.starts_with(scheme))?.len();
    let (scheme, rest) = url.split_at(begins);
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let at = authority.rfind('@')?;
    Some((scheme, &rest[..at], &rest[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_in_the_url_becomes_a_header() {
        let config = HttpConfig::new("https://ann:hun%40ter%2Ftwo@h:8443/x?a=b@c");
        let config = as_header(&config).unwrap();
        assert_eq!(config.url, "https://h:8443/x?a=b@c");
        assert_eq!(config.headers[HEADER].expose(), "Basic YW5uOmh1bkB0ZXIvdHdv");
        let plain = HttpConfig::new("http://h/@x");
        assert!(matches!(as_header(&plain).unwrap(), Cow::Borrowed(_)));
        let twice = HttpConfig::new("http://u:p@h").with_header("Authorization", "x");
        assert_eq!(as_header(&twice).unwrap_err().kind(), ErrorKind::ConfigInvalid);
        assert!(as_header(&HttpConfig::new("http://u:%zz@h")).is_err());
    }
}
