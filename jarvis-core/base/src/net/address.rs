//! Where something listens: a host and a port, or a Unix socket.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use crate::{Error, ErrorKind, Result};

/// Where a target listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix socket.
    Unix(Box<Path>),
    /// A TCP port.
    Tcp(Host, u16),
}

/// The machine part of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An address: nothing to resolve.
    Ip(IpAddr),
    /// `localhost` and what is below it (RFC 6761): both loopback addresses, nothing to resolve.
    Localhost(Box<str>),
    /// A name to resolve.
    Name(Box<str>),
}

impl Host {
    /// From a name, an IPv4 address or an IPv6 address with or without brackets.
    pub fn parse(text: &str) -> Option<Self> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(ip) = bare.parse() {
            return Some(Self::Ip(ip));
        }
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if text.is_empty() || text.len() > 253 || !text.bytes().all(good) {
            return None;
        }
        let name = text.to_ascii_lowercase();
        if name == "localhost" || name.ends_with(".localhost") {
            return Some(Self::Localhost(name.into()));
        }
        Some(Self::Name(name.into()))
    }
}

impl Endpoint {
    /// From `host:port`, `[v6]:port` or `unix:/path`.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Self::unix(path);
        }
        let parts = text.rsplit_once(':').and_then(|(host, port)| {
            let port = port.parse::<u16>().ok().filter(|port| *port != 0)?;
            let host = Host::parse(host)?;
            let bare_v6 = matches!(host, Host::Ip(IpAddr::V6(_))) && !text.starts_with('[');
            (!bare_v6).then_some(Self::Tcp(host, port))
        });
        parts.ok_or_else(|| {
            Error::new(
                ErrorKind::ConfigInvalid,
                format!(
                    "{text:?} is no address; write \"host:port\", \"[ipv6]:port\" or \"unix:/path\""
                ),
            )
        })
    }

    /// A Unix socket by its path.
    pub fn unix(path: &str) -> Result<Self> {
        if path.starts_with('/') && path.len() < 108 && !path.contains('\0') {
            return Ok(Self::Unix(Path::new(path).into()));
        }
        Err(Error::new(
            ErrorKind::ConfigInvalid,
            format!("{path:?} is no path of a socket; write an absolute path of at most 107 bytes"),
        ))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(Host::Ip(IpAddr::V6(ip)), port) => write!(f, "[{ip}]:{port}"),
            Self::Tcp(Host::Ip(ip), port) => write!(f, "{ip}:{port}"),
            Self::Tcp(Host::Localhost(name) | Host::Name(name), port) => write!(f, "{name}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let good = ["127.0.0.1:80", "[::1]:80", "localhost:80", "db.internal:5432", "unix:/run/x"];
        for text in good {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "host", "host:0", "host:99999", "::1:80", "a b:1", "unix:relative", ":80"]
        {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
        assert_eq!(Host::parse("API.Localhost"), Some(Host::Localhost("api.localhost".into())));
    }
}
