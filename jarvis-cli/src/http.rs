//! `/health`, `/healthz`, `/status` and `/metrics` for load balancers, other machines and
//! Prometheus: an adapter of [`jarvis_core::web`].

mod written;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use jarvis_core::clock::{ClockExt, SharedClock};
use jarvis_core::jarvis::Jarvis;
use jarvis_core::metrics::Scrape;
use jarvis_core::web::{OPEN_METRICS, WebAnswer, error_answer};
use jarvis_core::{Error, Result};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use written::Written;

/// The content type of what is for people.
const TEXT: &str = "text/plain; charset=utf-8";

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

/// How long a round of probes holds, where `/health` has to probe.
const MAX_AGE: Duration = Duration::from_secs(1);

/// What is served. Each is asked at each request.
pub(crate) trait Pages: Send + Sync + 'static {
    /// The state of each service, for a load balancer.
    fn health(&self) -> impl Future<Output = Result<WebAnswer>> + Send;
    /// Whether the loop is alive, and why not.
    fn healthz(&self) -> WebAnswer;
    /// Everything that is known.
    fn status(&self) -> impl Future<Output = WebAnswer> + Send;
    /// The numbers of the Prometheus text.
    fn scrape(&self) -> impl Future<Output = Scrape> + Send;
}

impl Pages for Jarvis {
    async fn health(&self) -> Result<WebAnswer> {
        self.health_answer(&[], MAX_AGE).await
    }

    fn healthz(&self) -> WebAnswer {
        Self::healthz(self).answer()
    }

    async fn status(&self) -> WebAnswer {
        WebAnswer::json(200, &Self::status(self).await)
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
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = page(WebAnswer::new(405, TEXT, "only GET is served\n"));
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/health" => page(pages.health().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "/health could not be answered");
            error_answer(error.kind(), error.retry_after())
        })),
        "/healthz" => page(pages.healthz()),
        "/status" => page(pages.status().await),
        "/metrics" => {
            let scrape = pages.scrape().await;
            let body = Either::Right(Written::by(move |to| scrape.write_to(to)));
            let head = WebAnswer::new(200, OPEN_METRICS, "");
            respond(&head, body)
        }
        _ => page(WebAnswer::new(
            404,
            TEXT,
            "not found; there are /health, /healthz, /status and /metrics\n",
        )),
    }
}

fn page(mut answer: WebAnswer) -> Answer {
    let body = Full::new(Bytes::from(std::mem::take(&mut answer.body)));
    respond(&answer, Either::Left(body))
}

fn respond(answer: &WebAnswer, body: Either<Full<Bytes>, Written>) -> Answer {
    let mut response = Response::new(body);
    // Both come from the core, which knows only valid ones.
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in &answer.headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(*name, value);
        }
    }
    response
}
