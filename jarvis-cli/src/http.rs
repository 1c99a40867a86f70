//! `/healthz`, `/status` and `/metrics` for other machines and for Prometheus.

mod written;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use jarvis_core::clock::{ClockExt, SharedClock};
use jarvis_core::jarvis::Jarvis;
use jarvis_core::metrics::Scrape;
use jarvis_core::{Error, ErrorKind, Result};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use written::Written;

type Answer = Response<Either<Full<Bytes>, Written>>;

/// Connections beyond this wait: a scraper that hangs must not eat the descriptors that the
/// probes need.
const MAX_CONNECTIONS: usize = 64;

/// How long a client may take for its request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one connection may live: one that never reads its answer is cut off.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Before the next attempt when a connection can't be taken (no descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is served; each is asked at each request.
pub(crate) trait Pages: Send + Sync + 'static {
    /// Is the loop alive? And the JSON that says why.
    fn healthz(&self) -> (bool, String);
    /// Everything that is known, as JSON.
    fn status(&self) -> impl Future<Output = Result<String>> + Send;
    /// The numbers of the Prometheus text.
    fn scrape(&self) -> impl Future<Output = Scrape> + Send;
}

impl Pages for Jarvis {
    fn healthz(&self) -> (bool, String) {
        let health = Self::healthz(self);
        let body = serde_json::to_string(&health).unwrap_or_default();
        (health.alive, body)
    }

    async fn status(&self) -> Result<String> {
        serde_json::to_string(&Self::status(self).await).map_err(|error| {
            Error::new(ErrorKind::Internal, "the status has no JSON form").with_source(error)
        })
    }

    async fn scrape(&self) -> Scrape {
        Self::scrape(self).await
    }
}

/// A server that has its address.
#[derive(Debug)]
pub(crate) struct Server {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) async fn bind(address: SocketAddr) -> Result<Self> {
        let named = |error: std::io::Error| {
            Error::from(error).with_operation("http.bind").with_context("address", address)
        };
        let listener = TcpListener::bind(address).await.map_err(named)?;
        let address = listener.local_addr().map_err(named)?;
        Ok(Self { listener, address })
    }

    /// Serves until it is dropped.
    pub(crate) async fn serve<P: Pages>(self, pages: Arc<P>, clock: SharedClock) {
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection to the HTTP address could not be taken");
                    clock.sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let pages = Arc::clone(&pages);
            let clock = Arc::clone(&clock);
            connections.spawn(async move {
                let service = service_fn(move |request| {
                    let pages = Arc::clone(&pages);
                    async move { Ok::<_, Infallible>(answer(&*pages, &request).await) }
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEADER_TIMEOUT)
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), service);
                let deadline = clock.monotonic() + CONNECTION_TIMEOUT;
                if let Some(Err(error)) = clock.until(deadline, connection).await {
                    tracing::debug!(%error, "a client of the HTTP address went away");
                }
                drop(permit);
            });
            while connections.try_join_next().is_some() {}
        }
    }
}

async fn answer<P: Pages>(pages: &P, request: &Request<Incoming>) -> Answer {
    const JSON: &str = "application/json";
    const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response =
            page(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET is served\n".into());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/healthz" => {
            let (alive, body) = pages.healthz();
            page(if alive { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, JSON, body)
        }
        "/status" => page_or_error(pages.status().await, JSON),
        "/metrics" => {
            let scrape = pages.scrape().await;
            let body = Either::Right(Written::by(move |to| scrape.write_to(to)));
            respond(StatusCode::OK, METRICS, body)
        }
        _ => page(
            StatusCode::NOT_FOUND,
            "text/plain",
            "there are /healthz, /status and /metrics\n".into(),
        ),
    }
}

fn page_or_error(body: Result<String>, kind: &'static str) -> Answer {
    match body {
        Ok(body) => page(StatusCode::OK, kind, body),
        Err(error) => page(StatusCode::SERVICE_UNAVAILABLE, "text/plain", format!("{error}\n")),
    }
}

fn page(status: StatusCode, kind: &'static str, body: String) -> Answer {
    respond(status, kind, Either::Left(Full::new(Bytes::from(body))))
}

fn respond(status: StatusCode, kind: &'static str, body: Either<Full<Bytes>, Written>) -> Answer {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
