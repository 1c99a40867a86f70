//! [`RedisProbe`]: `PING` and `ROLE` over a connection of its own.
//!
//! The protocol (RESP2) is spoken by hand: a client library would reconnect and repeat behind our
//! back, and so hide exactly what a probe is to see.

use std::fmt::{self, Debug};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::tls::{self, TlsOptions};
use super::{HealthProbe, Observation, ProbeContext, meter};
use base::net::address::{Endpoint, Login};
use base::net::connect::connect;
use base::net::resolve::Resolver;
use base::net::stream::Socket;
use base::net::timing::{Meter, ProbeError, Stage, Step};
use base::net::tls::TlsClient;
use base::secret::{REDACTED, redact_url, serialize_redacted};
use base::text::excerpt;
use base::url_parts::UrlParts;
use base::vocabulary::FailureKind;
use base::{Error, ErrorKind, Result, Secret};

/// How much of the answers is read.
const MOST_READ: usize = 64 * 1_024;
const DEEPEST: u8 = 4;

/// `type = "redis"`.
///
/// ```toml
/// type = "redis"
/// url = "redis://127.0.0.1:6379"
/// password = "${env:REDIS_PASSWORD}"
/// role = "master"
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RedisConfig {
    /// `redis://[user:password@]host[:port]`, `rediss://…` for TLS, or `unix:/path`.
    #[serde(serialize_with = "serialize_redacted")]
    pub url: String,
    /// The ACL user. Default: the one in the URL, else the default user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password. Default: the one in the URL, else none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret<String>>,
    /// The role that it must have. Default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<RedisRole>,
    /// Certificates, for `rediss://`.
    #[serde(default)]
    pub tls: TlsOptions,
}

impl RedisConfig {
    /// Any role, no password but the URL's.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            username: None,
            password: None,
            role: None,
            tls: TlsOptions::default(),
        }
    }

    /// Sets the password.
    #[must_use]
    pub fn with_password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Secret::new(password.into()));
        self
    }

    /// Wants this role.
    #[must_use]
    pub const fn with_role(mut self, role: RedisRole) -> Self {
        self.role = Some(role);
        self
    }

    /// Sets how certificates are looked at.
    #[must_use]
    pub fn with_tls(mut self, tls: TlsOptions) -> Self {
        self.tls = tls;
        self
    }
}

impl Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("url", &redact_url(&self.url))
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// What a Redis server is to its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RedisRole {
    /// It takes writes. Also written `primary`.
    #[serde(alias = "primary")]
    Master,
    /// It follows a master. Also written `slave`.
    #[serde(alias = "slave")]
    Replica,
}

impl RedisRole {
    /// The stable word, as it is serialised.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Replica => "replica",
        }
    }
}

/// Measures one Redis server.
pub struct RedisProbe {
    endpoint: Endpoint,
    /// `AUTH`, `PING` and `ROLE`, ready to be sent.
    commands: Secret<Box<[u8]>>,
    password: Option<Secret<Box<str>>>,
    role: Option<RedisRole>,
    tls: Option<Box<TlsClient>>,
    resolver: Option<Box<Resolver>>,
}

impl Debug for RedisProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisProbe")
            .field("endpoint", &format_args!("{}", self.endpoint))
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

impl RedisProbe {
    /// Checks the configuration and reads `tls.ca_file`; touches no network.
    ///
    /// # Errors
    /// `ConfigInvalid` for an invalid URL, a user without a password, or a `ca_file` that can't be
    /// read.
    pub fn new(config: &RedisConfig) -> Result<Self> {
        let address = Address::parse(&config.url)?;
        let user = config.username.clone().or(address.user);
        let password = config.password.as_ref().map(|password| password.expose().clone());
        let password = password.or(address.password);
        let mut commands = Vec::new();
        match (&user, &password) {
            (Some(user), Some(password)) => command(&mut commands, &["AUTH", user, password]),
            (None, Some(password)) => command(&mut commands, &["AUTH", password]),
            (None, None) => {}
            (Some(_), None) => {
                return Err(Error::new(
                    ErrorKind::ConfigInvalid,
                    "a Redis user needs a password; set \"password\" or leave \"username\" out",
                ));
            }
        }
        command(&mut commands, &["PING"]);
        command(&mut commands, &["ROLE"]);
        let tls = address.secure.then(|| config.tls.client(&address.endpoint));
        Ok(Self {
            tls: tls.transpose()?.map(Box::new),
            endpoint: address.endpoint,
            commands: Secret::new(commands.into()),
            password: password.map(|password| Secret::new(password.into())),
            role: config.role,
            resolver: None,
        })
    }

    /// Resolves names with this resolver instead of the machine's.
    #[must_use]
    pub fn with_resolver(mut self, resolver: Resolver) -> Self {
        self.resolver = Some(Box::new(resolver));
        self
    }

    async fn run(&self, meter: &mut Meter) -> Step<Observation> {
        let socket = connect(&self.endpoint, self.resolver.as_deref(), meter).await?;
        socket.without_delay();
        let Some(tls) = &self.tls else { return self.talk(socket, meter).await };
        let (socket, validity) = tls.handshake(socket, None, meter).await?;
        Ok(tls::judge(&validity, self.talk(socket, meter).await?))
    }

    async fn talk(&self, mut socket: Socket, meter: &mut Meter) -> Step<Observation> {
        meter.stage = Stage::Answer;
        let asked = meter.now();
        // A server that turns a client away says why and closes: what it said counts, even when
        // the commands could not be written any more.
        let sent = socket.write_all(self.commands.expose()).await;
        let sent = match sent {
            Ok(()) => socket.flush().await,
            Err(error) => Err(error),
        };
        let mut replies = Replies::default();
        let mut next = async |meter: &mut Meter| {
            let reply = replies.next(&mut socket, &self.endpoint).await;
            meter.stage = Stage::Rest;
            let since = meter.since(asked);
            meter.phases.first_byte.get_or_insert(since);
            reply
        };
        let first = match (next(meter).await, sent) {
            (Ok(reply), _) => reply,
            (Err(_), Err(error)) => return Err(ProbeError::io(error, &self.endpoint.to_string())),
            (Err(trouble), Ok(())) => return Err(trouble),
        };
        let mut unneeded_password = false;
        let pong = if self.password.is_none() {
            first
        } else {
            match first {
                Reply::Error(text) if text.contains("without any password configured") => {
                    unneeded_password = true;
                }
                Reply::Error(text) => return Ok(refusal(&text)),
                _ => {}
            }
            next(meter).await?
        };
        let role = match pong {
            Reply::Error(text) => return Ok(refusal(&text)),
            Reply::Text(text) if text == "PONG" => next(meter).await?,
            _ => return Err(self.no_redis("its answer to PING is not PONG")),
        };
        let observation = self.judge(&role);
        if unneeded_password && observation.kind.is_none() {
            let message = "works, but asks for no password although one is configured here";
            let mut warning = Observation::warn(FailureKind::Auth, message);
            warning.facts = observation.facts;
            return Ok(warning);
        }
        Ok(observation)
    }

    fn judge(&self, reply: &Reply) -> Observation {
        let Some(seen) = Seen::read(reply) else {
            return match (reply, self.role) {
                (_, None) => Observation::pass("PONG"),
                (Reply::Error(text), Some(_)) => refusal(text),
                (_, Some(role)) => Observation::fail(
                    FailureKind::Resource,
                    format!("does not tell its role, expected {}", role.as_str()),
                ),
            };
        };
        let role = seen.role.map_or("sentinel", RedisRole::as_str);
        let observation = if self.role.is_some() && self.role != seen.role {
            let wanted = self.role.map_or("", RedisRole::as_str);
            let of = seen.master.as_deref().map_or(String::new(), |master| format!(" of {master}"));
            let message = format!("is a {role}{of}, expected a {wanted}; was there a failover?");
            Observation::fail(FailureKind::Resource, message)
        } else if let (Some(master), false) = (&seen.master, seen.linked) {
            let message = format!("PONG, but the replica has no link to its master {master}");
            Observation::warn(FailureKind::Resource, message)
        } else {
            Observation::pass("PONG")
        };
        observation.with_fact("role", role)
    }

    fn no_redis(&self, what: &str) -> ProbeError {
        ProbeError::failed(FailureKind::Protocol, format!("{} is no Redis: {what}", self.endpoint))
    }

    /// Takes our own password out of what the other side may have echoed.
    fn scrub(&self, mut observation: Observation) -> Observation {
        if let Some(password) = &self.password
            && observation.message.contains(&**password.expose())
        {
            observation.message =
                observation.message.replace(&**password.expose(), REDACTED).into();
        }
        observation
    }
}

#[async_trait]
impl HealthProbe for RedisProbe {
    async fn probe(&self, context: ProbeContext) -> Result<Observation> {
        let mut meter = meter::start(&context);
        let outcome = context.until_deadline(self.run(&mut meter)).await;
        let observation = meter::finish(&meter, outcome, &self.endpoint.to_string())?;
        Ok(self.scrub(observation))
    }
}

/// What an error reply says about health.
fn refusal(text: &str) -> Observation {
    let shown = excerpt(text.as_bytes(), 160);
    match text.split(' ').next().unwrap_or_default() {
        "LOADING" => Observation::fail(FailureKind::NotReady, "still loads its data"),
        "MASTERDOWN" => Observation::fail(FailureKind::NotReady, shown),
        "NOAUTH" => {
            Observation::fail(FailureKind::Auth, "asks for a password, and none is configured")
        }
        "WRONGPASS" | "NOPERM" | "DENIED" => Observation::fail(FailureKind::Auth, shown),
        "MISCONF" => Observation::warn(
            FailureKind::Resource,
            "refuses writes, because it can't save to disk (MISCONF)",
        ),
        "BUSY" => Observation::fail(FailureKind::Resource, "busy with a script that does not end"),
        "ERR" if text.contains("max number of clients") => {
            Observation::fail(FailureKind::RateLimited, "has no connection left (maxclients)")
        }
        "ERR" if text.contains("AUTH") || text.contains("invalid password") => {
            Observation::fail(FailureKind::Auth, shown)
        }
        _ => Observation::fail(FailureKind::Protocol, format!("answers an error: {shown}")),
    }
}

/// What `ROLE` says.
struct Seen {
    role: Option<RedisRole>,
    master: Option<String>,
    linked: bool,
}

impl Seen {
    fn read(reply: &Reply) -> Option<Self> {
        let Reply::List(parts) = reply else { return None };
        let text = |index: usize| match parts.get(index) {
            Some(Reply::Text(text)) => Some(text.as_str()),
            _ => None,
        };
        let role = match text(0)? {
            "master" => Some(RedisRole::Master),
            "slave" | "replica" => Some(RedisRole::Replica),
            "sentinel" => None,
            _ => return None,
        };
        let port = match parts.get(2) {
            Some(Reply::Number(port)) => *port,
            _ => 0,
        };
        let is_replica = role == Some(RedisRole::Replica);
        let master = text(1).filter(|_| is_replica).map(|host| format!("{host}:{port}"));
        Some(Self { role, master, linked: text(3) == Some("connected") })
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Reply {
    Text(String),
    Error(String),
    Number(i64),
    Nothing,
    List(Vec<Reply>),
}

/// Reads replies, one after the other, up to a limit.
#[derive(Default)]
struct Replies {
    bytes: Vec<u8>,
    taken: usize,
}

impl Replies {
    async fn next(&mut self, socket: &mut Socket, endpoint: &Endpoint) -> Step<Reply> {
        loop {
            match parse(&self.bytes[self.taken..], 0) {
                Parsed::Whole(reply, length) => {
                    self.taken += length;
                    return Ok(reply);
                }
                Parsed::Wrong => {
                    let message = format!("{endpoint} is no Redis: its answer is not RESP");
                    return Err(ProbeError::failed(FailureKind::Protocol, message));
                }
                Parsed::Part if self.bytes.len() >= MOST_READ => {
                    let message = format!("{endpoint} answers more than {MOST_READ} bytes");
                    return Err(ProbeError::failed(FailureKind::Protocol, message));
                }
                Parsed::Part => {}
            }
            let room = (MOST_READ - self.bytes.len()) as u64;
            let read = (&mut *socket).take(room).read_buf(&mut self.bytes).await;
            if read.map_err(|error| ProbeError::io(error, &endpoint.to_string()))? == 0 {
                let message = format!("{endpoint} closed the connection without an answer");
                return Err(ProbeError::failed(FailureKind::Reset, message));
            }
        }
    }
}

enum Parsed {
    Whole(Reply, usize),
    Part,
    Wrong,
}

/// One RESP2 reply at the start of `bytes`.
fn parse(bytes: &[u8], depth: u8) -> Parsed {
    let Some((&mark, rest)) = bytes.split_first() else { return Parsed::Part };
    if !b"+-:$*".contains(&mark) || depth > DEEPEST {
        return Parsed::Wrong;
    }
    let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else {
        return if rest.len() > 4_096 { Parsed::Wrong } else { Parsed::Part };
    };
    let line = String::from_utf8_lossy(&rest[..end]);
    let used = 1 + end + 2;
    let number = line.parse::<i64>();
    match (mark, number) {
        (b'+', _) => Parsed::Whole(Reply::Text(line.into_owned()), used),
        (b'-', _) => Parsed::Whole(Reply::Error(line.into_owned()), used),
        (b':', Ok(number)) => Parsed::Whole(Reply::Number(number), used),
        (b'$' | b'*', Ok(-1)) => Parsed::Whole(Reply::Nothing, used),
        (b'$', Ok(length)) => bulk(bytes, used, length),
        (_, Ok(count)) => list(bytes, used, count, depth),
        (_, Err(_)) => Parsed::Wrong,
    }
}

fn bulk(bytes: &[u8], used: usize, length: i64) -> Parsed {
    let Ok(length) = usize::try_from(length) else { return Parsed::Wrong };
    if length > MOST_READ {
        return Parsed::Wrong;
    }
    let end = used + length;
    match bytes.get(end..end + 2) {
        None => Parsed::Part,
        Some(b"\r\n") => {
            let text = String::from_utf8_lossy(&bytes[used..end]).into_owned();
            Parsed::Whole(Reply::Text(text), end + 2)
        }
        Some(_) => Parsed::Wrong,
    }
}

fn list(bytes: &[u8], mut used: usize, count: i64, depth: u8) -> Parsed {
    let mut items = Vec::new();
    if !(0..=i64::try_from(MOST_READ).unwrap_or(0)).contains(&count) {
        return Parsed::Wrong;
    }
    for _ in 0..count {
        match parse(&bytes[used..], depth + 1) {
            Parsed::Whole(item, length) => {
                items.push(item);
                used += length;
            }
            other => return other,
        }
    }
    Parsed::Whole(Reply::List(items), used)
}

fn command(into: &mut Vec<u8>, words: &[&str]) {
    into.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        into.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
}

/// What a Redis URL says.
struct Address {
    secure: bool,
    endpoint: Endpoint,
    user: Option<String>,
    password: Option<String>,
}

impl Address {
    fn parse(url: &str) -> Result<Self> {
        if let Some(path) = url.strip_prefix("unix:") {
            let endpoint = Endpoint::unix(path)?;
            return Ok(Self { secure: false, endpoint, user: None, password: None });
        }
        Self::network(url).ok_or_else(|| {
            Error::new(
                ErrorKind::ConfigInvalid,
                format!(
                    "{:?} is not a valid Redis URL; write \"redis://host:port\", \"rediss://…\" or \"unix:/path\"",
                    redact_url(url)
                ),
            )
        })
    }

    fn network(url: &str) -> Option<Self> {
        let parts = UrlParts::split(url);
        let secure = match parts.scheme {
            "redis" => false,
            "rediss" => true,
            _ => return None,
        };
        let database = parts.path.strip_prefix('/').unwrap_or_default();
        if parts.query.is_some() || !database.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let endpoint = Endpoint::tcp(parts.hosts, Some(6_379))?;
        let login = Login::parse(parts.user_info.unwrap_or_default())?;
        let password = login.password.map(|password| password.expose().clone());
        let password = password.filter(|password| !password.is_empty());
        Some(Self { secure, endpoint, user: login.user, password })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn urls_are_read() {
        let address = |url: &str| Address::parse(url).unwrap();
        assert_eq!(address("redis://cache").endpoint.to_string(), "cache:6379");
        assert_eq!(address("redis://[::1]:6380/2").endpoint.to_string(), "[::1]:6380");
        assert_eq!(address("redis://[::1]").endpoint.to_string(), "[::1]:6379");
        let full = address("rediss://app:p%40ss@cache:7000");
        assert!(full.secure);
        assert_eq!((full.user.as_deref(), full.password.as_deref()), (Some("app"), Some("p@ss")));
        assert_eq!(address("redis://:pw@h").user, None);
        for url in
            ["", "h:1", "http://h", "redis://", "redis://h/db", "redis://h:x", "redis://u:%zz@h"]
        {
            assert!(Address::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn replies_are_read_whole_or_not_at_all() {
        let text = b"*3\r\n$6\r\nmaster\r\n:42\r\n*0\r\n+PONG\r\n";
        for length in 0..25 {
            assert!(matches!(parse(&text[..length], 0), Parsed::Part), "{length}");
        }
        let Parsed::Whole(reply, 25) = parse(text, 0) else { panic!("it is whole") };
        assert_eq!(Seen::read(&reply).unwrap().role, Some(RedisRole::Master));
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes in prop::collection::vec(prop_oneof![Just(b'*'), Just(b'$'), Just(b'1'), Just(b'\r'), Just(b'\n'), any::<u8>()], 0..200)) {
            parse(&bytes, 0);
        }
    }
}
