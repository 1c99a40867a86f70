//! Where something listens: a host and a port, or a Unix socket; and the one reading of the URLs
//! and addresses that people write.
//!
//! A single host is read by the `url` crate (IPv4, IPv6, internationalised names). The lists of
//! Redis Cluster and Sentinel are not URLs by its rules and are split here.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use crate::percent;
use crate::url_parts::{UrlParts, split_port};
use crate::{Error, ErrorKind, Result, Secret};

/// How the hosts of this machine are called, so that they count as one.
pub const THIS_MACHINE: &str = "localhost";

/// The longest name that DNS can carry.
const LONGEST_NAME: usize = 253;

/// Where a target listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A Unix socket.
    Unix(Box<Path>),
    /// A TCP port.
    Tcp(Host, u16),
}

/// The machine part of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address: nothing to resolve.
    Ip(IpAddr),
    /// `localhost` and the names below it (RFC 6761): both loopback addresses, nothing to resolve.
    Localhost(Box<str>),
    /// A name to resolve.
    Name(Box<str>),
}

impl Host {
    /// Reads a name, an IPv4 address, or an IPv6 address with or without brackets.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Ok(ip) = bare.unwrap_or(text).parse() {
            return Some(Self::Ip(ip));
        }
        if text.contains('%') {
            // Decoding is the caller's business: it happens once.
            return None;
        }
        let name = match url::Host::parse(text).ok()? {
            url::Host::Ipv4(ip) => return Some(Self::Ip(ip.into())),
            url::Host::Ipv6(ip) => return Some(Self::Ip(ip.into())),
            url::Host::Domain(name) => name,
        };
        let usual = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(usual) {
            return None;
        }
        let relative = name.trim_end_matches('.');
        if relative == THIS_MACHINE || relative.ends_with(".localhost") {
            return Some(Self::Localhost(name.into()));
        }
        Some(Self::Name(name.into()))
    }

    /// Whether a connection to it stays on this machine.
    #[must_use]
    pub fn is_this_machine(&self) -> bool {
        match self {
            Self::Ip(ip) => {
                let ip = ip.to_canonical();
                // Linux connects the unspecified address to itself.
                ip.is_loopback() || ip.is_unspecified()
            }
            Self::Localhost(_) => true,
            Self::Name(_) => false,
        }
    }

    /// The host as it is counted: [`THIS_MACHINE`] for everything on this machine, else the
    /// address, or the name in lower case.
    #[must_use]
    pub fn normalized(&self) -> String {
        if self.is_this_machine() { THIS_MACHINE.to_owned() } else { self.to_string() }
    }
}

impl fmt::Display for Host {
    /// Without brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Localhost(name) | Self::Name(name) => f.write_str(name),
        }
    }
}

impl Endpoint {
    /// Reads `host:port`, `[ipv6]:port` or `unix:/path`.
    ///
    /// # Errors
    /// `ConfigInvalid` for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Self::unix(path);
        }
        Self::tcp(text, None).ok_or_else(|| {
            Error::new(
                ErrorKind::ConfigInvalid,
                format!(
                    "{text:?} is not a valid address; write \"host:port\", \"[ipv6]:port\" or \"unix:/path\""
                ),
            )
        })
    }

    /// Reads `host:port`, or `host` where there is a default port.
    #[must_use]
    pub fn tcp(text: &str, default_port: Option<u16>) -> Option<Self> {
        let (host, port) = split_port(text)?;
        let port = port.map_or(default_port, |port| port.parse().ok()).filter(|port| *port != 0)?;
        if host.contains(':') && !host.starts_with('[') {
            return None;
        }
        Some(Self::Tcp(Host::parse(host)?, port))
    }

    /// A Unix socket by its path.
    ///
    /// # Errors
    /// `ConfigInvalid` for a relative path, or one that is longer than the kernel allows.
    pub fn unix(path: &str) -> Result<Self> {
        if path.starts_with('/') && path.len() < 108 && !path.contains('\0') {
            return Ok(Self::Unix(Path::new(path).into()));
        }
        Err(Error::new(
            ErrorKind::ConfigInvalid,
            format!(
                "{path:?} is not a valid socket path; write an absolute path of at most 107 bytes"
            ),
        ))
    }

    /// Reads a URL or a `host:port`: where its target listens, the first one where it names
    /// several. `None` where it names no host, or no port and its scheme has no usual one.
    #[must_use]
    pub fn of_url(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.split_once(":/").map_or(path, |(socket, _)| socket);
            return Self::unix(path).ok();
        }
        let parts = UrlParts::split(text);
        let usual = match parts.scheme {
            "http" => Some(80),
            "https" => Some(443),
            "redis+sentinel" | "rediss+sentinel" => Some(26_379),
            scheme if scheme.starts_with("redis") => Some(6_379),
            "postgres" | "postgresql" => Some(5_432),
            _ => None,
        };
        Self::tcp(parts.each_host().next()?, usual)
    }

    /// Whether a connection to it stays on this machine.
    #[must_use]
    pub fn is_this_machine(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(host, _) => host.is_this_machine(),
        }
    }

    /// Its host as it is counted: [`THIS_MACHINE`] for everything on this machine, else the
    /// address, or the name in lower case.
    #[must_use]
    pub fn normalized_host(&self) -> String {
        match self {
            Self::Unix(_) => THIS_MACHINE.to_owned(),
            Self::Tcp(host, _) => host.normalized(),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(Host::Ip(IpAddr::V6(ip)), port) => write!(f, "[{ip}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

/// A host by its name alone, as it is counted. What is no host stays as it is.
#[must_use]
pub fn normalized_host(name: &str) -> String {
    Host::parse(name).map_or_else(|| name.to_owned(), |host| host.normalized())
}

/// The user information of a URL, decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// The user, where one is named.
    pub user: Option<String>,
    /// The password, where there is one. May be empty.
    pub password: Option<Secret<String>>,
}

impl Login {
    /// Reads `user:password`, `:password` or `user`. `None` where the percent-encoding is wrong.
    #[must_use]
    pub fn parse(user_info: &str) -> Option<Self> {
        let (user, password) = match user_info.split_once(':') {
            Some((user, password)) => (user, Some(Secret::new(percent::decode(password)?))),
            None => (user_info, None),
        };
        let user = Some(percent::decode(user)?).filter(|user| !user.is_empty());
        Some(Self { user, password })
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

    #[test]
    fn hosts_are_read_as_the_url_standard_says() {
        let name = |text: &str| Host::parse(text).map(|host| host.to_string());
        assert_eq!(name("Bücher.Example").as_deref(), Some("xn--bcher-kva.example"));
        assert_eq!(name("under_score-1").as_deref(), Some("under_score-1"));
        assert_eq!(Host::parse("127.1"), Some(Host::Ip([127, 0, 0, 1].into())));
        assert_eq!(Host::parse("[::1]"), Host::parse("::1"));
        let long = "a.".repeat(127);
        for text in ["", "a b", "a,b", "a/b", "a%62", "u@h", "1.2.3.4.5", "[h]", "[::1", &long] {
            assert_eq!(name(text), None, "{text}");
        }
    }

    #[test]
    fn everything_on_this_machine_is_one_host() {
        for text in [
            "http://localhost:3001/health",
            "http://127.0.0.1:8000",
            "http://[::1]/",
            "redis://u:p@127.0.0.2",
            "unix:///run/app.sock",
            "0.0.0.0:80",
            "http://api.localhost",
            "[::ffff:127.0.0.1]:1",
            "unix:/run/app.sock:/health",
        ] {
            let endpoint = Endpoint::of_url(text).unwrap();
            assert!(endpoint.is_this_machine(), "{text}");
            assert_eq!(endpoint.normalized_host(), THIS_MACHINE, "{text}");
        }
        let host_of = |text: &str| Endpoint::of_url(text).map(|it| it.normalized_host());
        assert_eq!(
            host_of("https://u:p@API.example.com:8443/x").as_deref(),
            Some("api.example.com")
        );
        assert_eq!(host_of("redis+cluster://10.0.0.1:1,10.0.0.2").as_deref(), Some("10.0.0.1"));
        assert_eq!(host_of("http://[fe80::1]:80").as_deref(), Some("fe80::1"));
        for text in ["", "host=db user=u password=p", "postgres:///d"] {
            assert_eq!(host_of(text), None, "{text}");
        }
        assert_eq!(normalized_host("127.0.0.1"), THIS_MACHINE);
        assert_eq!(normalized_host("rack 7"), "rack 7");
    }

    #[test]
    fn a_url_names_an_endpoint() {
        let of = |text: &str| Endpoint::of_url(text).map(|endpoint| endpoint.to_string());
        assert_eq!(of("https://user:pw@example.org/hook").as_deref(), Some("example.org:443"));
        assert_eq!(of("redis+sentinel://a,b:2/m/0").as_deref(), Some("a:26379"));
        assert_eq!(of("unix:/run/app.sock:/health").as_deref(), Some("unix:/run/app.sock"));
        for text in ["host-without-port", "ftp://h", "http://h:port", ""] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn a_login_is_decoded_once() {
        let login = Login::parse("app:p%40ss%2525").unwrap();
        assert_eq!(login.user.as_deref(), Some("app"));
        assert_eq!(login.password.unwrap().expose(), "p@ss%25");
        assert_eq!(Login::parse(":pw").unwrap().user, None);
        assert_eq!(Login::parse("u").unwrap().password, None);
        assert!(Login::parse("u:%zz").is_none());
    }
}
