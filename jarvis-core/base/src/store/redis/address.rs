//! Where a Redis is: the URLs that [`Redis::open`](super::Redis::open) takes.

use std::fmt;
use std::path::PathBuf;

use crate::secret::redact_url;
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

/// Who we are for a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret<String>>,
}

/// Which servers there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    One(Host),
    Socket(PathBuf),
    Cluster(Vec<Host>),
    Sentinel { sentinels: Vec<Host>, master: String, credentials: Credentials },
}

/// A URL, read.
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
        format!("{} is no Redis URL: {what}; write it as {EXAMPLES}", redact_url(url)),
    )
}

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self> {
        let wrong = |what: &str| invalid(url, what);
        if let Some(rest) = url.strip_prefix("unix:").or_else(|| url.strip_prefix("redis+unix:")) {
            return Self::socket(url, rest);
        }
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("it has no scheme"))?;
        let (tls, kind) = match scheme {
            "redis" => (false, ""),
            "rediss" => (true, ""),
            "redis+cluster" => (false, "cluster"),
            "rediss+cluster" => (true, "cluster"),
            "redis+sentinel" => (false, "sentinel"),
            "rediss+sentinel" => (true, "sentinel"),
            _ => return Err(wrong("the scheme is unknown")),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            None => (Credentials::default(), authority),
            Some((who, hosts)) => (Credentials::parse(url, who)?, hosts),
        };
        let port = if kind == "sentinel" { SENTINEL_PORT } else { PORT };
        let mut hosts =
            hosts.split(',').map(|host| self::host(url, host, port)).collect::<Result<Vec<_>>>()?;
        let query = Query::parse(url, query, kind == "sentinel")?;
        let mut database = path.trim_end_matches('/');
        let place = match kind {
            "cluster" => Place::Cluster(hosts),
            "sentinel" => {
                let (master, rest) = database.split_once('/').unwrap_or((database, ""));
                database = rest;
                let master = decode(url, master)?;
                if master.is_empty() {
                    return Err(wrong("the master's name is missing after the sentinels"));
                }
                Place::Sentinel { sentinels: hosts, master, credentials: query.sentinel }
            }
            _ if hosts.len() > 1 => {
                return Err(wrong("several hosts need redis+cluster:// or redis+sentinel://"));
            }
            _ => Place::One(hosts.remove(0)),
        };
        let database = number(url, database)?;
        if database != 0 && matches!(place, Place::Cluster(_)) {
            return Err(wrong("a cluster has database 0 alone"));
        }
        Ok(Self { place, tls, credentials, database, shown: redact_url(url) })
    }

    /// `unix:/path?db=1&user=u&password=p`, with or without `//`.
    fn socket(url: &str, rest: &str) -> Result<Self> {
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = path.strip_prefix("//").unwrap_or(path);
        if !path.starts_with('/') {
            return Err(invalid(url, "the path of the socket has to be absolute"));
        }
        let place = Place::Socket(decode(url, path)?.into());
        let query = Query::parse(url, query, false)?;
        let (credentials, database) = (query.own, query.database);
        Ok(Self { place, tls: false, credentials, database, shown: redact_url(url) })
    }
}

impl Credentials {
    fn parse(url: &str, text: &str) -> Result<Self> {
        let (user, password) = match text.split_once(':') {
            None => (text, None),
            Some((user, password)) => (user, Some(Secret::new(decode(url, password)?))),
        };
        let user = Some(decode(url, user)?).filter(|user| !user.is_empty());
        if user.is_some() && password.is_none() {
            return Err(invalid(url, "a user needs a password (user:password@)"));
        }
        Ok(Self { user, password })
    }
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
                _ => return Err(invalid(url, format_args!("{key:?} is unknown here"))),
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
    number.map(i64::from).map_err(|_| invalid(url, "the database after the last / is no number"))
}

fn host(url: &str, text: &str, port: u16) -> Result<Host> {
    let wrong = || invalid(url, "a host is missing or has a wrong port");
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (name, rest) = rest.split_once(']').ok_or_else(wrong)?;
            (name, rest.strip_prefix(':').map_or(Ok(port), str::parse).map_err(|_| wrong())?)
        }
        None => match text.rsplit_once(':') {
            None => (text, port),
            Some((name, port)) => (name, port.parse().map_err(|_| wrong())?),
        },
    };
    let name = decode(url, name)?;
    if name.is_empty() || port == 0 { Err(wrong()) } else { Ok(Host { name, port }) }
}

/// Undoes percent-encoding.
fn decode(url: &str, text: &str) -> Result<String> {
    let wrong = || invalid(url, "what follows a % has to be two hexadecimal digits, in UTF-8");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = after.get(..2).ok_or_else(wrong)?;
        let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        rest = &after[2..];
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, port: u16) -> Host {
        Host { name: name.to_owned(), port }
    }

    #[test]
    fn the_forms_that_are_read() {
        let address = Address::parse("redis://h").unwrap();
        assert_eq!(address.place, Place::One(host("h", 6379)));
        let address = Address::parse("rediss://u:p%40ss@[::1]:7000/3").unwrap();
        assert_eq!((address.place, address.tls), (Place::One(host("::1", 7000)), true));
        assert_eq!(address.credentials.user.as_deref(), Some("u"));
        assert_eq!(address.credentials.password.unwrap().expose(), "p@ss");
        assert_eq!(address.database, 3);
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
    fn what_is_wrong_is_said_with_an_example_and_without_the_password() {
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
