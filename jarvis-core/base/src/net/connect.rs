//! Making a connection: the addresses of a name are tried as RFC 8305 says.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::{TcpStream, UnixStream};

use super::address::{Endpoint, Host};
use super::resolve::Resolver;
use super::stream::Socket;
use super::timing::{Meter, ProbeError, Stage, Step};
use crate::clock::{ClockExt, SharedClock};
use crate::vocabulary::FailureKind;
use crate::{Error, ErrorKind};

/// How long an address may take before the next one is tried beside it (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);
/// What `localhost` means, without a lookup.
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Connects by the machine's own resolver, address after address, and measures nothing.
///
/// # Errors
/// Of the last address.
pub async fn open(endpoint: &Endpoint) -> io::Result<Socket> {
    let (host, port) = match endpoint {
        Endpoint::Unix(path) => return Ok(Box::new(UnixStream::connect(path).await?)),
        Endpoint::Tcp(host, port) => (host, *port),
    };
    let stream = match host {
        Host::Ip(ip) => TcpStream::connect((*ip, port)).await?,
        Host::Localhost(_) => {
            let both = LOOPBACK.map(|ip| SocketAddr::new(ip, port));
            TcpStream::connect(&both[..]).await?
        }
        Host::Name(name) => TcpStream::connect((&**name, port)).await?,
    };
    Ok(Box::new(stream))
}

/// Connects, and notes how long the name and the connection took.
pub async fn connect(
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
            ProbeError::failed(FailureKind::Timeout, format!("{endpoint} accepts no connection"))
        }
        _ => ProbeError::io(error, &endpoint.to_string()),
    })?;
    meter.phases.connect = Some(meter.since(began));
    Ok(Box::new(stream))
}

async fn connect_one(address: SocketAddr, meter: &mut Meter) -> Step<Socket> {
    meter.stage = Stage::Connect;
    let began = meter.now();
    let stream = TcpStream::connect(address).await.map_err(|error| sort(error, address))?;
    meter.phases.connect = Some(meter.since(began));
    Ok(Box::new(stream))
}

fn sort(error: io::Error, address: SocketAddr) -> ProbeError {
    let no_such_family =
        matches!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT));
    let denied = matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM));
    if denied || (no_such_family && address.is_ipv6()) {
        return ProbeError::failed(
            FailureKind::Unreachable,
            format!("{address} can't be reached from here: {error}"),
        );
    }
    ProbeError::io(error, &address.to_string())
}

async fn addresses(
    host: &Host,
    resolver: Option<&Resolver>,
    meter: &mut Meter,
) -> Step<Arc<[IpAddr]>> {
    let name = match host {
        Host::Ip(ip) => return Ok(Arc::new([*ip])),
        Host::Localhost(_) => return Ok(Arc::new(LOOPBACK)),
        Host::Name(name) => name,
    };
    let found = match resolver {
        Some(resolver) => resolve(name, resolver, meter).await?,
        None => resolve(name, &Resolver::system(), meter).await?,
    };
    Ok(interleave(&found))
}

/// All addresses of a name, and how long that took.
pub async fn resolve(name: &str, resolver: &Resolver, meter: &mut Meter) -> Step<Arc<[IpAddr]>> {
    let began = meter.now();
    meter.stage = Stage::Queue;
    let pending = resolver.begin(name).await?;
    meter.stage = Stage::Dns;
    let answer = pending.answer().await;
    meter.phases.dns = Some(meter.since(began));
    match answer {
        Some(Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
        Some(Ok(_)) => Err(ProbeError::failed(FailureKind::Dns, format!("{name} has no address"))),
        Some(Err(error)) if error.raw_os_error().is_some() => Err(Error::new(
            ErrorKind::Exhausted,
            format!("the lookup of {name} could not run: {error}"),
        )
        .into()),
        Some(Err(error)) => {
            Err(ProbeError::failed(FailureKind::Dns, format!("{name} does not resolve: {error}")))
        }
        None => Err(Error::new(ErrorKind::Internal, "the name lookup panicked").into()),
    }
}

/// The address families in turn, beginning with the one that the resolver prefers (RFC 8305,
/// section 4), so that a family that leads nowhere costs one [`STAGGER`]. At most eight addresses.
fn interleave(addresses: &[IpAddr]) -> Arc<[IpAddr]> {
    let preferred = addresses.first().is_some_and(IpAddr::is_ipv6);
    let family = |v6: bool| addresses.iter().filter(move |ip| ip.is_ipv6() == v6);
    let (mut first, mut second) = (family(preferred), family(!preferred));
    let mut mixed = Vec::with_capacity(addresses.len());
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] || mixed.len() >= 8 {
            return mixed.into();
        }
        mixed.extend(pair.into_iter().flatten().copied());
    }
}

/// Tries the addresses beside each other, each a little later than the one before. The attempts
/// live in this future: dropping it ends them.
async fn connect_any(addresses: &[IpAddr], port: u16, meter: &mut Meter) -> Step<Socket> {
    meter.stage = Stage::Connect;
    let began = meter.now();
    let clock = SharedClock::clone(meter.clock());
    let mut waiting = addresses.iter().map(|ip| SocketAddr::new(*ip, port));
    let mut trying = FuturesUnordered::new();
    let mut worst: Option<ProbeError> = None;
    let attempt = |address: SocketAddr| async move { (address, TcpStream::connect(address).await) };
    loop {
        match waiting.next() {
            Some(address) => trying.push(attempt(address)),
            None if trying.is_empty() => {
                return Err(worst.unwrap_or_else(|| {
                    ProbeError::failed(FailureKind::Dns, "there is no address to connect to")
                }));
            }
            None => {}
        }
        tokio::select! {
            biased;
            Some((address, outcome)) = trying.next() => match outcome {
                Ok(stream) => {
                    meter.phases.connect = Some(meter.since(began));
                    return Ok(Box::new(stream));
                }
                Err(error) => worst = Some(more_telling(worst, sort(error, address))),
            },
            () = clock.sleep(STAGGER), if waiting.len() > 0 => {}
        }
    }
}

/// Of two addresses that both failed: "unreachable" says least, for example of a machine
/// without IPv6.
fn more_telling(before: Option<ProbeError>, now: ProbeError) -> ProbeError {
    match (before, now) {
        (None, now) | (Some(ProbeError::Failed { kind: FailureKind::Unreachable, .. }), now) => now,
        (Some(_), now @ ProbeError::NotMeasured(_)) => now,
        (Some(before), _) => before,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::net::resolve::Lookup;
    use tokio::net::TcpListener;

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
        Meter::start(clock, Duration::from_secs(10))
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
        assert!(outcome.is_ok(), "{outcome:?}");
        assert!(meter.phases.dns.is_some() && meter.phases.connect.is_some());
    }

    #[tokio::test]
    async fn refused_says_more_than_unreachable() {
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap().port()
        };
        let (outcome, _) = connect_name(&["127.0.0.1", "127.0.0.2"], port).await;
        let Err(ProbeError::Failed { kind, .. }) = outcome else { panic!("{outcome:?}") };
        assert_eq!(kind, FailureKind::Refused);
    }

    #[test]
    fn our_own_lack_is_not_the_targets_fault() {
        for errno in [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS, libc::EADDRNOTAVAIL]
        {
            let error = io::Error::from_raw_os_error(errno);
            let trouble = sort(error, "127.0.0.1:1".parse().unwrap());
            assert!(matches!(trouble, ProbeError::NotMeasured(_)), "{errno}: {trouble:?}");
        }
    }
}
