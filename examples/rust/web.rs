//! A web service that keeps sessions and caches what is slow, with axum.
//!
//! ```console
//! $ cargo run -p jarvis-examples --bin web
//! $ curl -c jar -b jar -d ada http://127.0.0.1:3100/login
//! $ curl -b jar http://127.0.0.1:3100/mix
//! $ jarvis session list --user ada
//! $ curl -b jar -X POST http://127.0.0.1:3100/logout
//! ```
//!
//! Sessions are in `jarvis.db` in the state directory and the cache is in memory, until the
//! configuration says otherwise: with `JARVIS_STORE__SESSION=redis://127.0.0.1:6379` and
//! `JARVIS_STORE__CACHE=redis://127.0.0.1:6379` any number of these services share both.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jarvis_core::cache::{Cache, CacheExt, LoadOptions, SetOptions};
use jarvis_core::config::Source;
use jarvis_core::session::{
    NewSession, Session, SessionData, SessionId, SessionStore, UPDATE_DEADLINE,
};
use jarvis_core::vocabulary::UserId;
use jarvis_core::{Error, ErrorKind, Jarvis};
use serde::{Deserialize, Serialize};

const COOKIE: &str = "jarvis_sid";

#[derive(Clone)]
struct App {
    sessions: Arc<dyn SessionStore>,
    cache: Arc<dyn Cache>,
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

/// An error as its status. Its message may name servers: that is for the log.
struct Failure(Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match self.0.kind() {
            ErrorKind::InvalidInput => StatusCode::BAD_REQUEST,
            ErrorKind::Unauthorized => StatusCode::UNAUTHORIZED,
            // Fail closed: without the store nobody is logged in, and nobody is told otherwise.
            ErrorKind::Unavailable | ErrorKind::Timeout => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, self.0.code()).into_response()
    }
}

fn router(app: App) -> Router {
    Router::new()
        .route("/login", post(login))
        .route("/mix", get(mix))
        .route("/logout", post(logout))
        .with_state(app)
}

/// The id in the visitor's cookie. What is no id is as good as none.
fn cookie(headers: &HeaderMap) -> Option<SessionId> {
    let cookies = headers.get(header::COOKIE)?.to_str().ok()?;
    let mut pairs = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
    SessionId::new(pairs.find(|(name, _)| *name == COOKIE)?.1).ok()
}

fn set_cookie(id: &str, max_age: Duration) -> [(header::HeaderName, String); 1] {
    let cookie =
        format!("{COOKIE}={id}; Path=/; HttpOnly; SameSite=Lax; Max-Age={}", max_age.as_secs());
    [(header::SET_COOKIE, cookie)]
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
    let moved = match cookie(&headers) {
        Some(id) => app.sessions.regenerate(&id, Some(user.clone())).await?,
        None => None,
    };
    let session = match moved {
        Some(session) => session,
        None => app.sessions.create(NewSession::new().with_user(user)).await?,
    };
    Ok((set_cookie(session.id.expose(), session.ttl), StatusCode::NO_CONTENT))
}

/// Counts in the session, and makes what is asked for once for all who ask.
async fn mix(State(app): State<App>, headers: HeaderMap) -> Result<impl IntoResponse, Failure> {
    let id = cookie(&headers).ok_or_else(nobody)?;
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
    if let Some(id) = cookie(&headers) {
        app.sessions.delete(&id.into()).await?;
    }
    Ok((set_cookie("", Duration::ZERO), StatusCode::NO_CONTENT))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let jarvis = Jarvis::open(Source::from_environment())?;
    let app = App { sessions: jarvis.sessions().await?, cache: jarvis.cache().await? };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3100").await?;
    let stop = async { drop(tokio::signal::ctrl_c().await) };
    axum::serve(listener, router(app)).with_graceful_shutdown(stop).await?;
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
        let app = App {
            sessions: jarvis.sessions().await.unwrap(),
            cache: jarvis.cache().await.unwrap(),
        };
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
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    }
}
