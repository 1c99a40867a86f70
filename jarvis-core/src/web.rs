//! What web frameworks share: the request meter, the health document, cookie rules, and errors as
//! HTTP answers.
//!
//! Everything here is pure: no sockets, no clock, no async. `FastAPI`, Express, the axum example
//! and the HTTP server of the command line are adapters: they read a request, call this room, and
//! write the [`WebAnswer`]. What needs the handle (probing, publishing) is on
//! [`Jarvis`](crate::Jarvis): [`health_answer`](crate::Jarvis::health_answer),
//! [`liveness_answer`](crate::Jarvis::liveness_answer) and
//! [`publish_requests`](crate::Jarvis::publish_requests).

mod answer;
mod cookie;
mod health;
mod requests;

pub use answer::{JSON, OPEN_METRICS, WebAnswer, error_answer, reason};
pub use cookie::{CookieRules, SameSite, SessionCookie};
pub use health::{HealthDocument, Liveness, ServiceLine};
pub use requests::{
    CLIENT_CLOSED_REQUEST, MAX_ROUTES, OTHER_ROUTES, RequestMeter, RequestSnapshot, RouteSummary,
    UNMATCHED,
};
