//! A web service with axum that keeps sessions, caches what is slow, and says how it does.
//!
//! ```console
//! $ cargo run -p jarvis-examples --bin web
//! $ curl -c jar -b jar -d ada http://127.0.0.1:3100/login
//! $ curl -b jar http://127.0.0.1:3100/mix
//! $ jarvis session list --user ada
//! $ curl -b jar -X POST http://127.0.0.1:3100/logout
//! $ curl http://127.0.0.1:3100/health
//! $ curl http://127.0.0.1:3100/metrics
//! ```
//!
//! Sessions are in `jarvis.db` in the state directory and the cache is in memory, until the
//! configuration says otherwise: with `JARVIS_STORE__SESSION=redis://127.0.0.1:6379` and
//! `JARVIS_STORE__CACHE=redis://127.0.0.1:6379` any number of these services share both.

#![expect(clippy::print_stderr, reason = "an example logs to the terminal")]

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jarvis_core::cache::{Cache, CacheExt, LoadOptions, SetOptions};
use jarvis_core::clock::{ClockExt, SharedClock};
use jarvis_core::config::Source;
use jarvis_core::session::{
    NewSession, Session, SessionData, SessionId, SessionStore, UPDATE_DEADLINE,
};
use jarvis_core::vocabulary::UserId;
use jarvis_core::web::{
    CookieRules, OPEN_METRICS, RequestMeter, SessionCookie, WebAnswer, error_answer,
};
use jarvis_core::{Error, ErrorKind, Jarvis};
use serde::{Deserialize, Serialize};

/// How far apart the events about the requests are.
const EVERY: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct App {
    jarvis: Jarvis,
    clock: SharedClock,
    sessions: Arc<dyn SessionStore>,
    cache: Arc<dyn Cache>,
    cookie: Arc<SessionCookie>,
    requests: Arc<RequestMeter>,
}

impl App {
    async fn open(jarvis: &Jarvis) -> jarvis_core::Result<Self> {
        let clock = jarvis.clock();
        Ok(Self {
            jarvis: jarvis.clone(),
            sessions: jarvis.sessions().await?,
            cache: jarvis.cache().await?,
            cookie: Arc::new(SessionCookie::new(CookieRules::new())?),
            requests: Arc::new(RequestMeter::of_service("mixer", clock.wall())?),
            clock,
        })
    }

    /// The id in the visitor's cookie. What is not an id counts as none.
    fn visitor(&self, headers: &HeaderMap) -> Option<SessionId> {
        let mut cookies = headers.get_all(header::COOKIE).iter();
        let id = cookies.find_map(|header| self.cookie.read(header.as_bytes()))?;
        SessionId::new(id).ok()
    }
}

/// What a session holds.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Visit {
    mixes: u64,
}

/// What is slow to make.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Mix {
    user: String,
    bpm: u32,
}

/// An answer of the core, as axum writes it.
struct Answer(WebAnswer);

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let WebAnswer { status, headers, body, .. } = self.0;
        let mut response = Response::new(body.into());
        *response.status_mut() =
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::try_from(value) {
                response.headers_mut().insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

/// An error as its HTTP answer. It fails closed: without the store nobody is logged in.
struct Failure(Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let answer = error_answer(self.0.kind(), self.0.retry_after());
        if answer.status >= 500 {
            // The message may name servers: it is not for the visitor.
            eprintln!("{}", self.0);
        }
        Answer(answer).into_response()
    }
}

fn router(app: App) -> Router {
    Router::new()
        .route("/login", post(login))
        .route("/mix", get(mix))
        .route("/logout", post(logout))
        .route("/health", get(health))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .layer(from_fn_with_state(app.clone(), measured))
        .with_state(app)
}

/// Counts and times every request.
async fn measured(State(app): State<App>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let began = app.clock.monotonic();
    app.requests.begin();
    let response = next.run(request).await;
    let took = app.clock.monotonic().saturating_since(began);
    let route = route.as_ref().map(MatchedPath::as_str);
    if app.requests.end(method.as_str(), route, response.status().as_u16(), took) {
        tokio::spawn(async move {
            app.clock.sleep(EVERY).await;
            if let Err(error) = app.jarvis.publish_requests(&app.requests).await {
                eprintln!("{error}");
            }
        });
    }
    response
}

async fn health(State(app): State<App>) -> Result<Answer, Failure> {
    Ok(Answer(app.jarvis.health_answer(&[], Duration::from_secs(1)).await?))
}

async fn healthz(State(app): State<App>) -> Answer {
    Answer(app.jarvis.liveness_answer())
}

async fn metrics(State(app): State<App>) -> Result<Answer, Failure> {
    let others = app.jarvis.metrics().await?;
    Ok(Answer(WebAnswer::new(200, OPEN_METRICS, app.requests.metrics(Some(&others)))))
}

fn nobody() -> Error {
    Error::new(ErrorKind::Unauthorized, "nobody is logged in")
}

/// Rights change, and so does the id: one that somebody planted before is worth nothing.
async fn login(
    State(app): State<App>,
    headers: HeaderMap,
    user: String,
) -> Result<impl IntoResponse, Failure> {
    let user = UserId::new(user.trim())?;
    let moved = match app.visitor(&headers) {
        Some(id) => app.sessions.regenerate(&id, Some(user.clone())).await?,
        None => None,
    };
    let session = match moved {
        Some(session) => session,
        None => app.sessions.create(NewSession::new().with_user(user)).await?,
    };
    let cookie = app.cookie.write(session.id.expose(), session.ttl, false);
    Ok(([(header::SET_COOKIE, cookie)], StatusCode::NO_CONTENT))
}

/// Counts in the session, and makes what is asked for once for all who ask.
async fn mix(State(app): State<App>, headers: HeaderMap) -> Result<impl IntoResponse, Failure> {
    let id = app.visitor(&headers).ok_or_else(nobody)?;
    let mut count = |session: &mut Session| {
        let mut visit: Visit = session.data.get()?;
        visit.mixes += 1;
        session.data = SessionData::of(&visit)?;
        Ok(())
    };
    let session = app.sessions.update(&id, UPDATE_DEADLINE, &mut count).await?;
    let user = session.and_then(|session| session.user).ok_or_else(nobody)?.to_string();
    let set = SetOptions::new().with_ttl(Duration::from_secs(60)).with_tag(format!("user:{user}"));
    let options = LoadOptions::new().with_set(set).with_stale(Duration::from_secs(30));
    let key = format!("mix:{user}");
    let made = app.cache.get_or_load_json(&key, options, move || render(user.clone())).await?;
    Ok(Json(made))
}

/// Stands for what takes seconds.
async fn render(user: String) -> jarvis_core::Result<Mix> {
    Ok(Mix { bpm: 120, user })
}

async fn logout(State(app): State<App>, headers: HeaderMap) -> Result<impl IntoResponse, Failure> {
    if let Some(id) = app.visitor(&headers) {
        app.sessions.delete(&id.into()).await?;
    }
    Ok(([(header::SET_COOKIE, app.cookie.clear(false))], StatusCode::NO_CONTENT))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let jarvis = Jarvis::open(Source::from_environment())?;
    let app = App::open(&jarvis).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3100").await?;
    let stop = async { drop(tokio::signal::ctrl_c().await) };
    axum::serve(listener, router(app.clone())).with_graceful_shutdown(stop).await?;
    jarvis.publish_requests(&app.requests).await?;
    jarvis.close().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt as _;

    async fn ask(
        router: &Router,
        method: &str,
        path: &str,
        cookie: &str,
        body: &'static str,
    ) -> Response {
        let request = Request::builder().method(method).uri(path).header(header::COOKIE, cookie);
        router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap()
    }

    fn given(response: &Response) -> String {
        let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap();
        cookie.split(';').next().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_login_opens_and_a_logout_closes_for_good() {
        let text = "[store]\nsession = \"memory:\"\n";
        let jarvis = Jarvis::open(Source::empty().with_text(text)).unwrap();
        let app = App::open(&jarvis).await.unwrap();
        let router = router(app.clone());
        let stranger = ask(&router, "GET", "/mix", "", "").await;
        assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED);
        let first = given(&ask(&router, "POST", "/login", "", "ada").await);
        let second = given(&ask(&router, "POST", "/login", &first, "ada").await);
        assert_ne!(first, second);
        assert_eq!(
            ask(&router, "GET", "/mix", &first, "").await.status(),
            StatusCode::UNAUTHORIZED
        );
        for _ in 0..3 {
            assert_eq!(ask(&router, "GET", "/mix", &second, "").await.status(), StatusCode::OK);
        }
        let ada = UserId::new("ada").unwrap();
        assert_eq!(app.sessions.count(Some(&ada)).await.unwrap(), 1);
        assert_eq!(app.cache.stats().await.unwrap().loads, 1);
        ask(&router, "POST", "/logout", &second, "").await;
        assert_eq!(
            ask(&router, "GET", "/mix", &second, "").await.status(),
            StatusCode::UNAUTHORIZED
        );
        let refused = ask(&router, "POST", "/login", "", "\u{7}").await;
        assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);

        let health = ask(&router, "GET", "/health", "", "").await;
        assert_eq!(health.status(), StatusCode::OK);
        let routes = app.requests.snapshot().routes;
        let login = routes.iter().find(|one| one.route == "/login").unwrap();
        assert_eq!((login.method, login.count, login.errors), ("POST", 3, 0));
        assert_eq!(login.statuses[&422], 1);
    }
}
