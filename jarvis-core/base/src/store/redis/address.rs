//! The URLs that [`Redis::open`](super::Redis::open) takes.

use std::fmt;
use std::path::PathBuf;

use crate::net::address::{self, Login};
use crate::percent;
use crate::secret::redact_url;
use crate::url_parts::{UrlParts, split_port};
use crate::{Error, ErrorKind, Result, Secret};

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
const EXAMPLES: &str = "redis://user:password@host:6379/0, rediss://host, unix:/path/to/socket, \
    redis+cluster://a:6379,b:6379 or redis+sentinel://h1:26379,h2:26379/master-name/0";

/// A host and its port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) port: u16,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

/// How we log in to a server.
pub(super) type Credentials = Login;

/// Which servers there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    One(Host),
    Socket(PathBuf),
    Cluster(Vec<Host>),
    Sentinel { sentinels: Vec<Host>, master: String, credentials: Credentials },
}

/// What a URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) place: Place,
    pub(super) tls: bool,
    pub(super) credentials: Credentials,
    pub(super) database: i64,
    /// The URL without its secrets.
    pub(super) shown: String,
}

fn invalid(url: &str, what: impl fmt::Display) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        format!("{} is not a valid Redis URL: {what}; write {EXAMPLES}", redact_url(url)),
    )
}

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self> {
        let wrong = |what: &str| invalid(url, what);
        if let Some(rest) = url.strip_prefix("unix:").or_else(|| url.strip_prefix("redis+unix:")) {
            return Self::socket(url, rest);
        }
        let parts = UrlParts::split(url);
        let (tls, kind) = match parts.scheme {
            "" => return Err(wrong("it has no scheme")),
            "redis" => (false, ""),
            "rediss" => (true, ""),
            "redis+cluster" => (false, "cluster"),
            "rediss+cluster" => (true, "cluster"),
            "redis+sentinel" => (false, "sentinel"),
            "rediss+sentinel" => (true, "sentinel"),
            _ => return Err(wrong("the scheme is unknown")),
        };
        let credentials = match parts.user_info {
            None => Credentials::default(),
            Some(user_info) => login(url, user_info)?,
        };
        let port = if kind == "sentinel" { SENTINEL_PORT } else { PORT };
        let hosts = parts.each_host().map(|host| self::host(url, host, port));
        let mut hosts = hosts.collect::<Result<Vec<_>>>()?;
        let query = parts.query.unwrap_or_default();
        let query = Query::parse(url, query, kind == "sentinel")?;
        let path = parts.path.strip_prefix('/').unwrap_or_default();
        let mut database = path.trim_end_matches('/');
        let place = match kind {
            "cluster" => Place::Cluster(hosts),
            "sentinel" => {
                let (master, rest) = database.split_once('/').unwrap_or((database, ""));
                database = rest;
                let master = decode(url, master)?;
                if master.is_empty() {
                    return Err(wrong("the name of the master must follow the sentinels"));
                }
                Place::Sentinel { sentinels: hosts, master, credentials: query.sentinel }
            }
            _ if hosts.len() > 1 => {
                return Err(wrong(
                    "several hosts are allowed with redis+cluster:// or redis+sentinel:// only",
                ));
            }
            _ => Place::One(hosts.remove(0)),
        };
        let database = number(url, database)?;
        if database != 0 && matches!(place, Place::Cluster(_)) {
            return Err(wrong("a cluster has no database but 0"));
        }
        Ok(Self { place, tls, credentials, database, shown: redact_url(url) })
    }

    /// `unix:/path?db=1&user=u&password=p`, with or without `//`.
    fn socket(url: &str, rest: &str) -> Result<Self> {
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = path.strip_prefix("//").unwrap_or(path);
        if !path.starts_with('/') {
            return Err(invalid(url, "the path of the socket must be absolute"));
        }
        let place = Place::Socket(decode(url, path)?.into());
        let query = Query::parse(url, query, false)?;
        let (credentials, database) = (query.own, query.database);
        Ok(Self { place, tls: false, credentials, database, shown: redact_url(url) })
    }
}

fn login(url: &str, user_info: &str) -> Result<Login> {
    let login = Login::parse(user_info).ok_or_else(|| wrong_encoding(url))?;
    if login.user.is_some() && login.password.is_none() {
        return Err(invalid(url, "a user needs a password (user:password@)"));
    }
    Ok(login)
}

#[derive(Default)]
struct Query {
    own: Credentials,
    sentinel: Credentials,
    database: i64,
}

impl Query {
    fn parse(url: &str, text: &str, sentinel: bool) -> Result<Self> {
        let mut query = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(url, value)?;
            let socket = url.starts_with("unix") || url.starts_with("redis+unix");
            match key {
                "sentinel_user" if sentinel => query.sentinel.user = Some(value),
                "sentinel_password" if sentinel => {
                    query.sentinel.password = Some(Secret::new(value));
                }
                "db" if socket => query.database = number(url, &value)?,
                "user" if socket => query.own.user = Some(value),
                "password" if socket => query.own.password = Some(Secret::new(value)),
                _ => return Err(invalid(url, format_args!("unknown parameter {key:?}"))),
            }
        }
        Ok(query)
    }
}

fn number(url: &str, database: &str) -> Result<i64> {
    if database.is_empty() {
        return Ok(0);
    }
    let number = database.parse::<u16>();
    number.map(i64::from).map_err(|_| invalid(url, "the database must be a number from 0 to 65535"))
}

fn host(url: &str, text: &str, port: u16) -> Result<Host> {
    let wrong = || invalid(url, "a host is missing, or a host or its port is not valid");
    let (name, given) = split_port(text).ok_or_else(wrong)?;
    let port = given.map_or(Ok(port), str::parse).map_err(|_| wrong())?;
    let name = decode(url, name)?;
    let name = match address::Host::parse(&name) {
        Some(host) => host.to_string(),
        None => scoped(&name).ok_or_else(wrong)?,
    };
    if port == 0 { Err(wrong()) } else { Ok(Host { name, port }) }
}

/// `[fe80::1%eth0]`: an address with a zone, which only the resolver understands (RFC 6874).
fn scoped(name: &str) -> Option<String> {
    let bare = name.strip_prefix('[')?.strip_suffix(']')?;
    let (address, zone) = bare.split_once('%')?;
    let known = address.parse::<std::net::Ipv6Addr>().is_ok();
    let usual = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (known && !zone.is_empty() && zone.chars().all(usual)).then(|| bare.to_owned())
}

fn decode(url: &str, text: &str) -> Result<String> {
    percent::decode(text).ok_or_else(|| wrong_encoding(url))
}

fn wrong_encoding(url: &str) -> Error {
    invalid(url, "% must be followed by two hexadecimal digits, and the text must be UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, port: u16) -> Host {
        Host { name: name.to_owned(), port }
    }

    #[test]
    fn every_form_is_read() {
        let address = Address::parse("redis://h").unwrap();
        assert_eq!(address.place, Place::One(host("h", 6379)));
        let address = Address::parse("rediss://u:p%40ss@[::1]:7000/3").unwrap();
        assert_eq!((address.place, address.tls), (Place::One(host("::1", 7000)), true));
        assert_eq!(address.credentials.user.as_deref(), Some("u"));
        assert_eq!(address.credentials.password.unwrap().expose(), "p@ss");
        assert_eq!(address.database, 3);
        let address = Address::parse("redis://[fe80::1%25eth0]:1").unwrap();
        assert_eq!(address.place, Place::One(host("fe80::1%eth0", 1)));
        let address = Address::parse("unix:/run/redis.sock?db=2&password=pw").unwrap();
        assert_eq!(address.place, Place::Socket("/run/redis.sock".into()));
        assert_eq!((address.database, address.credentials.password.is_some()), (2, true));
        let address = Address::parse("redis+cluster://:pw@a,b:7001").unwrap();
        assert_eq!(address.place, Place::Cluster(vec![host("a", 6379), host("b", 7001)]));
        assert_eq!(
            (address.credentials.user, address.credentials.password.is_some()),
            (None, true)
        );
    }

    #[test]
    fn a_sentinel_has_a_password_of_its_own() {
        let url = "redis+sentinel://u:p@s1,s2:1/main/4?sentinel_password=s3cret";
        let address = Address::parse(url).unwrap();
        let Place::Sentinel { sentinels, master, credentials } = address.place else { panic!() };
        assert_eq!(sentinels, [host("s1", 26379), host("s2", 1)]);
        assert_eq!((master.as_str(), address.database), ("main", 4));
        assert_eq!(credentials.password.unwrap().expose(), "s3cret");
        assert_eq!(address.credentials.user.as_deref(), Some("u"));
    }

    #[test]
    fn an_error_shows_an_example_and_no_password() {
        for url in [
            "http://h",
            "h:6379",
            "redis://",
            "redis://h:port",
            "redis://h/first",
            "redis://a,b",
            "redis://hunter2@h",
            "redis://u:hunter2@h?x=1",
            "redis://u:hunter2%zz@h",
            "redis+cluster://a/1",
            "redis+sentinel://a:1",
            "unix:relative",
            "unix:/s?sentinel_password=hunter2",
        ] {
            let error = Address::parse(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{url}");
            let text = format!("{error} {error:?}");
            assert!(text.contains("redis+sentinel://"), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
        let address = Address::parse("redis://u:hunter2@h").unwrap();
        assert!(!format!("{address:?}").contains("hunter2"));
    }
}
