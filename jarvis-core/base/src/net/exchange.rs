//! One request and its answer over a connection of our own, with the time of each part.

pub mod target;

use std::future::poll_fn;
use std::io;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use hyper::http::response::Parts;
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;

use self::target::Target;
use super::connect::connect;
use super::resolve::Resolver;
use super::stream::{ReadHook, Watched};
use super::timing::{Meter, ProbeError, Stage, Step, io_cause};
use super::tls::{TlsClient, Validity};
use crate::clock::SharedClock;
use crate::vocabulary::FailureKind;
use crate::{Error, ErrorKind};

/// The longest head of an answer.
const MOST_HEAD: usize = 64 * 1_024;
const AGENT: HeaderValue = HeaderValue::from_static(concat!("jarvis/", env!("CARGO_PKG_VERSION")));

/// What is asked, of whom.
#[derive(Debug)]
pub struct Call<'a> {
    /// The URL.
    pub target: &'a Target,
    /// The method.
    pub method: &'a Method,
    /// Headers, beside or instead of the usual ones.
    pub headers: &'a [(HeaderName, HeaderValue)],
    /// The body.
    pub body: Bytes,
    /// How to speak TLS, where the URL asks for it.
    pub tls: Option<&'a TlsClient>,
    /// How to resolve the host, instead of the machine's way.
    pub resolver: Option<&'a Resolver>,
    /// Keep the connection for a later call?
    pub keep: bool,
}

/// Takes the answer as it comes.
pub trait Receive: Send {
    /// The head is there.
    fn head(&mut self, head: &Parts);
    /// Bytes of the body. `Break` ends the exchange.
    fn data(&mut self, bytes: &[u8]) -> ControlFlow<()>;
}

/// A connection between two calls. Nothing drives it meanwhile: no task is left behind.
#[derive(Debug)]
pub struct Link {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once it has ended; dropping it then tells the sender.
    connection: Option<Connection<TokioIo<Watched<Counting>>, Full<Bytes>>>,
    count: Arc<Count>,
    /// What the certificates say.
    pub validity: Option<Validity>,
}

/// The answer's head, and the connection where it can be used again.
#[derive(Debug)]
pub struct Answered {
    /// Status and headers.
    pub head: Parts,
    /// What the certificates say.
    pub validity: Option<Validity>,
    /// The connection, where it can be used again.
    pub link: Option<Link>,
}

/// What came in.
#[derive(Debug, Default)]
struct Count {
    received: AtomicU64,
    /// Nanoseconds on the clock's axis, 0 before.
    first: AtomicU64,
}

/// Notes in a [`Count`] what comes in.
#[derive(Debug)]
struct Counting {
    count: Arc<Count>,
    clock: SharedClock,
}

impl ReadHook for Counting {
    fn after(&mut self, bytes: usize) {
        if bytes > 0 && self.count.received.fetch_add(bytes as u64, Ordering::Relaxed) == 0 {
            let nanos = self.clock.monotonic().since_start().as_nanos();
            self.count.first.store(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }
}

/// Asks once, over `kept` where it still works, else over a new connection.
pub async fn exchange(
    call: &Call<'_>,
    kept: Option<Link>,
    meter: &mut Meter,
    receiver: &mut dyn Receive,
) -> Step<Answered> {
    if let Some(mut link) = kept {
        link.count.received.store(0, Ordering::Relaxed);
        link.count.first.store(0, Ordering::Relaxed);
        let safe = matches!(*call.method, Method::GET | Method::HEAD | Method::OPTIONS);
        match talk(call, &mut link, meter, receiver).await {
            // The other side closed it while it lay idle: that says nothing about its health.
            Err(_) if safe && link.count.received.load(Ordering::Relaxed) == 0 => {}
            outcome => return finish(call, outcome, link),
        }
    }
    let mut link = open(call, meter).await?;
    let outcome = talk(call, &mut link, meter, receiver).await;
    finish(call, outcome, link)
}

fn finish(
    call: &Call<'_>,
    outcome: Result<(Parts, bool), hyper::Error>,
    link: Link,
) -> Step<Answered> {
    let (head, whole) = outcome.map_err(|error| sort(&error, &link.count, call.target))?;
    let validity = link.validity.clone();
    let link = (call.keep && whole && link.connection.is_some()).then_some(link);
    Ok(Answered { head, validity, link })
}

async fn open(call: &Call<'_>, meter: &mut Meter) -> Step<Link> {
    let mut socket = connect(&call.target.endpoint, call.resolver, meter).await?;
    let mut validity = None;
    if call.target.secure {
        let tls = call.tls.ok_or_else(|| {
            Error::new(ErrorKind::Internal, "a probe over TLS was made without its TLS settings")
        })?;
        socket.without_delay();
        let (secured, seen) = tls.handshake(socket, Some(b"http/1.1"), meter).await?;
        (socket, validity) = (secured, Some(seen));
    }
    let count = Arc::new(Count::default());
    let clock = SharedClock::clone(meter.clock());
    let counted = Watched::new(socket, Counting { count: Arc::clone(&count), clock });
    let (sender, connection) = Builder::new()
        .max_buf_size(MOST_HEAD)
        .handshake(TokioIo::new(counted))
        .await
        .map_err(|error| sort(&error, &count, call.target))?;
    Ok(Link { sender, connection: Some(connection), count, validity })
}

/// Drives the connection and the exchange in one place, so that dropping it ends both. Says
/// whether the body was read to its end.
async fn talk(
    call: &Call<'_>,
    link: &mut Link,
    meter: &mut Meter,
    receiver: &mut dyn Receive,
) -> Result<(Parts, bool), hyper::Error> {
    meter.stage = Stage::Answer;
    meter.phases.first_byte = None;
    let asked = meter.now();
    meter.asked = asked;
    let request = request(call);
    let Link { sender, connection, count, .. } = link;
    let mut converse = pin!(async {
        sender.ready().await?;
        let (head, mut body) = sender.send_request(request).await?.into_parts();
        receiver.head(&head);
        while let Some(frame) = body.frame().await {
            if let Some(bytes) = frame?.data_ref()
                && receiver.data(bytes).is_break()
            {
                return Ok((head, false));
            }
        }
        Ok((head, true))
    });
    poll_fn(|context| {
        let outcome = converse.as_mut().poll(context);
        if outcome.is_ready() {
            return outcome;
        }
        if connection.as_mut().is_some_and(|each| Pin::new(each).poll(context).is_ready()) {
            *connection = None;
        }
        if meter.stage == Stage::Answer {
            let first = count.first.load(Ordering::Relaxed);
            if first != 0 {
                let since = std::time::Duration::from_nanos(first);
                meter.phases.first_byte = Some(since.saturating_sub(asked.since_start()));
                meter.stage = Stage::Rest;
            }
        }
        converse.as_mut().poll(context)
    })
    .await
}

fn request(call: &Call<'_>) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(call.body.clone()));
    *request.method_mut() = call.method.clone();
    *request.uri_mut() = Uri::from(call.target.path.clone());
    let mut headers = HeaderMap::with_capacity(6 + call.headers.len());
    headers.insert(HOST, call.target.host.clone());
    headers.insert(USER_AGENT, AGENT);
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if !call.keep {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    for (name, value) in call.headers {
        headers.insert(name.clone(), value.clone());
    }
    *request.headers_mut() = headers;
    request
}

fn sort(error: &hyper::Error, count: &Count, target: &Target) -> ProbeError {
    let began = count.received.load(Ordering::Relaxed) > 0;
    if error.is_parse() {
        let message = format!("{} does not answer with HTTP/1.1: {error}", target.endpoint);
        return ProbeError::failed(FailureKind::Protocol, message);
    }
    io_cause(error).map_or_else(|| closed(began, target), |io| sort_io(io, began, target))
}

fn sort_io(error: &io::Error, began: bool, target: &Target) -> ProbeError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => closed(began, target),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            let message = format!("{} broke the protocol: {error}", target.endpoint);
            ProbeError::failed(FailureKind::Protocol, message)
        }
        _ => ProbeError::io_of(error, &target.endpoint.to_string()),
    }
}

fn closed(began: bool, target: &Target) -> ProbeError {
    let what = if began { "in the middle of its answer" } else { "without an answer" };
    let message = format!("{} closed the connection {what}", target.endpoint);
    ProbeError::failed(FailureKind::Reset, message)
}
