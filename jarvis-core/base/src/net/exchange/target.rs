//! Where an HTTP request goes.

use std::fmt;

use hyper::Uri;
use hyper::header::HeaderValue;
use hyper::http::uri::{PathAndQuery, Scheme};

use crate::net::address::{Endpoint, Host};
use crate::secret::redact_url;
use crate::{Error, ErrorKind, Result};

/// One URL, taken apart once.
#[derive(Clone)]
pub struct Target {
    /// Whether TLS is spoken.
    pub secure: bool,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// The `Host` header.
    pub host: HeaderValue,
    /// Path and query.
    pub path: PathAndQuery,
}

impl Target {
    /// From `http://…`, `https://…` or `unix:/socket:/path`.
    pub fn parse(url: &str) -> Result<Self> {
        let url = url.split_once('#').map_or(url, |(url, _)| url);
        match url.strip_prefix("unix:") {
            Some(rest) => Self::unix(rest),
            None => Self::web(url).ok_or_else(|| {
                let shown = redact_url(url);
                Error::new(
                    ErrorKind::ConfigInvalid,
                    format!(
                        "{shown:?} is no URL for an HTTP probe; write \"http://host:port/path\", \"https://…\" or \"unix:/path.sock:/path\", credentials go into \"headers\""
                    ),
                )
            }),
        }
    }

    fn unix(rest: &str) -> Result<Self> {
        let (socket, path) = rest.split_once(":/").unwrap_or((rest, ""));
        let path = format!("/{path}");
        Ok(Self {
            secure: false,
            endpoint: Endpoint::unix(socket)?,
            host: HeaderValue::from_static("localhost"),
            path: path.parse().map_err(|_| {
                let message = format!("{path:?} is no path of an HTTP request");
                Error::new(ErrorKind::ConfigInvalid, message)
            })?,
        })
    }

    fn web(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let secure = match uri.scheme()? {
            scheme if *scheme == Scheme::HTTP => false,
            scheme if *scheme == Scheme::HTTPS => true,
            _ => return None,
        };
        let authority = uri.authority()?;
        if authority.as_str().contains('@') {
            return None;
        }
        let host = Host::parse(authority.host())?;
        let port = match (authority.port(), secure) {
            (Some(port), _) => port.as_str().parse().ok().filter(|port| *port != 0)?,
            (None, true) => 443,
            (None, false) => 80,
        };
        Some(Self {
            secure,
            endpoint: Endpoint::Tcp(host, port),
            host: HeaderValue::from_str(authority.as_str()).ok()?,
            path: uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")),
        })
    }

    /// Where a `Location` leads from here (RFC 3986, section 5.2, without dot segments).
    pub fn redirected(&self, location: &str) -> Option<Self> {
        let location = location.split_once('#').map_or(location, |(location, _)| location);
        let scheme = if self.secure { "https:" } else { "http:" };
        if location.starts_with("http://") || location.starts_with("https://") {
            return Self::web(location);
        }
        if location.starts_with("//") {
            return Self::web(&format!("{scheme}{location}"));
        }
        let path = match location.chars().next() {
            Some('/') => location.to_owned(),
            Some('?') => format!("{}{location}", self.path.path()),
            Some(_) => {
                let folder = self.path.path().rsplit_once('/').map_or("", |(folder, _)| folder);
                format!("{folder}/{location}")
            }
            None => return None,
        };
        Some(Self { path: path.parse().ok()?, ..self.clone() })
    }

    /// Is it the same host, reached at least as safely?
    pub fn stays_with(&self, before: &Self) -> bool {
        if self.endpoint == before.endpoint {
            return self.secure == before.secure;
        }
        match (&self.endpoint, &before.endpoint) {
            (Endpoint::Tcp(host, 443), Endpoint::Tcp(other, 80)) => host == other && self.secure,
            _ => false,
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (&self.endpoint, self.secure) {
            (Endpoint::Unix(_), _) => "",
            (_, true) => "https://",
            (_, false) => "http://",
        };
        write!(f, "{scheme}{}", self.endpoint)?;
        if matches!(self.endpoint, Endpoint::Unix(_)) {
            f.write_str(":")?;
        }
        f.write_str(&redact_url(self.path.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (url, shown) in [
            ("http://127.0.0.1:3001/api/health", "http://127.0.0.1:3001/api/health"),
            ("https://api.example.com", "https://api.example.com:443/"),
            ("http://[::1]:8000/health?deep=1", "http://[::1]:8000/health?deep=[redacted]"),
            ("unix:/run/app.sock:/health", "unix:/run/app.sock:/health"),
            ("unix:/run/app.sock", "unix:/run/app.sock:/"),
        ] {
            assert_eq!(Target::parse(url).unwrap().to_string(), shown);
        }
        for url in ["", "host/path", "ftp://h/", "http://", "http://u:hunter2@h/", "http://h:0/"] {
            let error = Target::parse(url).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConfigInvalid, "{url}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn redirects_are_resolved_and_judged() {
        let base = Target::parse("http://h/a/b?x").unwrap();
        for (location, shown, stays) in [
            ("/c", "http://h:80/c", true),
            ("c", "http://h:80/a/c", true),
            ("?y", "http://h:80/a/b?y", true),
            ("https://h/c", "https://h:443/c", true),
            ("http://h:81/c", "http://h:81/c", false),
            ("//other/c", "http://other:80/c", false),
        ] {
            let next = base.redirected(location).unwrap();
            assert_eq!((next.to_string().as_str(), next.stays_with(&base)), (shown, stays));
        }
        let secure = Target::parse("https://h/").unwrap();
        assert!(!secure.redirected("http://h/").unwrap().stays_with(&secure));
        assert!(base.redirected("gopher://h/").is_none_or(|next| next.endpoint == base.endpoint));
    }
}
