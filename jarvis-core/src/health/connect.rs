//! One way to a target, shared by all network probes: names, addresses, sockets.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{Either, select};
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::dns::Resolver;
use super::meter::{Meter, Stage, Step, Trouble};
use crate::clock::{ClockExt, SharedClock};
use crate::vocabulary::FailureKind;
use crate::{Error, ErrorKind, Result};

/// How long an address may take before the next one is tried beside it (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// Where a target listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// A Unix socket.
    Unix(Box<Path>),
    /// A TCP port.
    Tcp(Host, u16),
}

/// The machine part of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// An address: nothing to resolve.
    Ip(IpAddr),
    /// `localhost` and what is below it (RFC 6761): both loopback addresses, nothing to resolve.
    Localhost(Box<str>),
    /// A name to resolve.
    Name(Box<str>),
}

impl Host {
    /// From a name, an IPv4 address or an IPv6 address with or without brackets.
    pub(crate) fn parse(text: &str) -> Option<Self> {
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
    pub(crate) fn parse(text: &str) -> Result<Self> {
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
    pub(crate) fn unix(path: &str) -> Result<Self> {
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

/// A connection, with or without TLS.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    #[cfg(any(feature = "http", feature = "redis", feature = "postgres"))]
    Tls(Box<tokio_rustls::client::TlsStream<Socket>>),
}

impl Socket {
    #[cfg(any(feature = "http", feature = "redis", feature = "postgres"))]
    /// Sends small writes at once. For protocols that talk back and forth.
    pub(crate) fn without_delay(self) -> Self {
        if let Self::Tcp(stream) = &self {
            // A socket that can't do that is only slower.
            stream.set_nodelay(true).ok();
        }
        self
    }
}

macro_rules! each {
    ($socket:expr, $stream:ident => $call:expr) => {
        match $socket.get_mut() {
            Socket::Tcp($stream) => $call,
            Socket::Unix($stream) => $call,
            #[cfg(any(feature = "http", feature = "redis", feature = "postgres"))]
            Socket::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(context, buffer))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(context))
    }
}

/// Connects, and notes how long the name and the connection took.
pub(crate) async fn connect(
    endpoint: &Endpoint,
    resolver: Option<&Resolver>,
    meter: &mut Meter,
) -> Step<Socket> {
    let (host, port) = match endpoint {
        Endpoint::Unix(path) => return connect_unix(path, endpoint, meter).await,
        Endpoint::Tcp(host, port) => (host, *port),
    };
    if let Host::Ip(ip) = host {
        return connect_one(SocketAddr::new(*ip, port), meter).await;
    }
    let addresses = addresses(host, resolver, meter).await?;
    match *addresses {
        [ip] => connect_one(SocketAddr::new(ip, port), meter).await,
        _ => connect_any(&addresses, port, meter).await,
    }
}

async fn connect_unix(path: &Path, endpoint: &Endpoint, meter: &mut Meter) -> Step<Socket> {
    meter.stage = Stage::Connect;
    let began = meter.now();
    let stream = UnixStream::connect(path).await.map_err(|error| match error.raw_os_error() {
        // The listener's queue is full: nobody accepts.
        Some(libc::EAGAIN) => {
            Trouble::sick(FailureKind::Timeout, format!("{endpoint} accepts no connection"))
        }
        _ => Trouble::io(error, &endpoint.to_string()),
    })?;
    meter.phases.connect = Some(meter.since(began));
    Ok(Socket::Unix(stream))
}

async fn connect_one(address: SocketAddr, meter: &mut Meter) -> Step<Socket> {
    meter.stage = Stage::Connect;
    let began = meter.now();
    let stream = TcpStream::connect(address).await.map_err(|error| sort(error, address))?;
    meter.phases.connect = Some(meter.since(began));
    Ok(Socket::Tcp(stream))
}

fn sort(error: io::Error, address: SocketAddr) -> Trouble {
    let no_such_family =
        matches!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT));
    let denied = matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM));
    if denied || (no_such_family && address.is_ipv6()) {
        return Trouble::sick(
            FailureKind::Unreachable,
            format!("{address} can't be reached from here: {error}"),
        );
    }
    Trouble::io(error, &address.to_string())
}

async fn addresses(
    host: &Host,
    resolver: Option<&Resolver>,
    meter: &mut Meter,
) -> Step<Arc<[IpAddr]>> {
    let name = match host {
        Host::Ip(ip) => return Ok(Arc::new([*ip])),
        Host::Localhost(_) => {
            return Ok(Arc::new([Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]));
        }
        Host::Name(name) => name,
    };
    let found = match resolver {
        Some(resolver) => resolve(name, resolver, meter).await?,
        None => resolve(name, &Resolver::system(), meter).await?,
    };
    Ok(interleave(&found))
}

/// All addresses of a name, and how long that took.
pub(crate) async fn resolve(
    name: &str,
    resolver: &Resolver,
    meter: &mut Meter,
) -> Step<Arc<[IpAddr]>> {
    let began = meter.now();
    meter.stage = Stage::Queue;
    let pending = resolver.begin(name).await?;
    meter.stage = Stage::Dns;
    let answer = pending.answer().await;
    meter.phases.dns = Some(meter.since(began));
    match answer {
        Some(Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
        Some(Ok(_)) => Err(Trouble::sick(FailureKind::Dns, format!("{name} has no address"))),
        Some(Err(error)) if error.raw_os_error().is_some() => Err(Error::new(
            ErrorKind::Exhausted,
            format!("the lookup of {name} could not run: {error}"),
        )
        .into()),
        Some(Err(error)) => {
            Err(Trouble::sick(FailureKind::Dns, format!("{name} does not resolve: {error}")))
        }
        None => Err(Error::new(ErrorKind::Internal, "the name lookup panicked").into()),
    }
}

/// The families in turn, beginning with the resolver's favourite (RFC 8305, section 4), so that
/// one family that leads nowhere costs one [`STAGGER`]. At most eight addresses.
fn interleave(addresses: &[IpAddr]) -> Arc<[IpAddr]> {
    let favourite = addresses.first().is_some_and(IpAddr::is_ipv6);
    let family = |v6: bool| addresses.iter().filter(move |ip| ip.is_ipv6() == v6);
    let (mut first, mut second) = (family(favourite), family(!favourite));
    let mut mixed = Vec::with_capacity(addresses.len());
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] || mixed.len() >= 8 {
            return mixed.into();
        }
        mixed.extend(pair.into_iter().flatten().copied());
    }
}

/// Tries the addresses beside each other, each a little later than the one before.
async fn connect_any(addresses: &[IpAddr], port: u16, meter: &mut Meter) -> Step<Socket> {
    meter.stage = Stage::Connect;
    let began = meter.now();
    let clock = SharedClock::clone(meter.clock());
    let mut waiting = addresses.iter().map(|ip| SocketAddr::new(*ip, port));
    let mut trying = FuturesUnordered::new();
    let mut worst: Option<Trouble> = None;
    let attempt = |address: SocketAddr| async move { (address, TcpStream::connect(address).await) };
    loop {
        match waiting.next() {
            Some(address) => trying.push(attempt(address)),
            None if trying.is_empty() => {
                return Err(worst.unwrap_or_else(|| {
                    Trouble::sick(FailureKind::Dns, "there is no address to connect to")
                }));
            }
            None => {}
        }
        let pause = async {
            if waiting.len() == 0 {
                std::future::pending::<()>().await;
            }
            clock.sleep(STAGGER).await;
        };
        match select(trying.next(), std::pin::pin!(pause)).await {
            Either::Left((Some((_, Ok(stream))), _)) => {
                meter.phases.connect = Some(meter.since(began));
                return Ok(Socket::Tcp(stream));
            }
            Either::Left((Some((address, Err(error))), _)) => {
                worst = Some(more_telling(worst, sort(error, address)));
            }
            Either::Left((None, _)) | Either::Right(_) => {}
        }
    }
}

/// Of two addresses that both failed: "unreachable" says least, for example of a machine
/// without IPv6.
fn more_telling(before: Option<Trouble>, now: Trouble) -> Trouble {
    match (before, now) {
        (None, now) | (Some(Trouble::Sick { kind: FailureKind::Unreachable, .. }), now) => now,
        (Some(_), now @ Trouble::Ours(_)) => now,
        (Some(before), _) => before,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::health::ProbeContext;
    use crate::health::dns::Lookup;
    use tokio::net::TcpListener;

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
    fn families_take_turns() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let mixed = interleave(&[ip("::1"), ip("::2"), ip("::3"), ip("1.1.1.1")]);
        assert_eq!(*mixed, [ip("::1"), ip("1.1.1.1"), ip("::2"), ip("::3")]);
    }

    #[derive(Debug)]
    struct Fixed(Vec<IpAddr>);

    impl Lookup for Fixed {
        fn lookup(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            Ok(self.0.clone())
        }
    }

    fn meter() -> Meter {
        let clock = Arc::new(SystemClock::new());
        Meter::start(&ProbeContext::new(clock, Duration::from_secs(10)))
    }

    async fn connect_name(addresses: &[&str], port: u16) -> (Step<Socket>, Meter) {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let resolver = Resolver::new(Arc::new(Fixed(addresses)), 1);
        let endpoint = Endpoint::Tcp(Host::Name("name".into()), port);
        let mut meter = meter();
        let outcome = connect(&endpoint, Some(&resolver), &mut meter).await;
        (outcome, meter)
    }

    #[tokio::test]
    async fn an_address_that_fails_makes_way_for_the_next() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // Nobody listens on 127.0.0.2 and the documentation prefix leads nowhere.
        let (outcome, meter) = connect_name(&["2001:db8::1", "127.0.0.2", "127.0.0.1"], port).await;
        assert!(matches!(outcome, Ok(Socket::Tcp(_))), "{outcome:?}");
        assert!(meter.phases.dns.is_some() && meter.phases.connect.is_some());
    }

    #[tokio::test]
    async fn refused_says_more_than_unreachable() {
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap().port()
        };
        let (outcome, _) = connect_name(&["127.0.0.1", "127.0.0.2"], port).await;
        let Err(Trouble::Sick { kind, .. }) = outcome else { panic!("{outcome:?}") };
        assert_eq!(kind, FailureKind::Refused);
    }

    #[test]
    fn our_own_lack_is_not_the_targets_fault() {
        for errno in [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS, libc::EADDRNOTAVAIL]
        {
            let error = io::Error::from_raw_os_error(errno);
            let trouble = sort(error, "127.0.0.1:1".parse().unwrap());
            assert!(matches!(trouble, Trouble::Ours(_)), "{errno}: {trouble:?}");
        }
    }
}
