//! [`RequestMeter`]: how many requests, how they ended and how long they took.

mod durations;
mod metrics;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use self::durations::Durations;
use self::metrics::Series;
use base::clock::WallTime;
use base::events::{MAX_PAYLOAD, Message, TopicName};
use base::sync::Mutex;
use base::{Error, ErrorKind, Result};

/// The most routes that are counted separately. A route that contains a visitor's text would add
/// new ones without end.
pub const MAX_ROUTES: usize = 500;

/// The route of all routes beyond [`MAX_ROUTES`].
pub const OTHER_ROUTES: &str = "(other)";

/// The route of a request that no route matched.
pub const UNMATCHED: &str = "(unmatched)";

/// The status of a request whose client went away before the answer was written, as nginx has it.
pub const CLIENT_CLOSED_REQUEST: u16 = 499;

/// The most bytes of a route that are kept.
const MAX_ROUTE: usize = 512;

/// Room in an event for the commas between its routes, and for what is around them.
const ENVELOPE: usize = 512;

/// Methods that are counted separately. A visitor can send any word.
const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY"];
const OTHER_METHOD: &str = "OTHER";

/// Requests of one method and route.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RouteSummary {
    /// `GET`, …; `OTHER` for a method that is not standard.
    pub method: &'static str,
    /// The route's template, `/songs/{song}`.
    pub route: String,
    /// How many requests ended.
    pub count: u64,
    /// How many of them with a status from 500 on.
    pub errors: u64,
    /// How many by status.
    pub statuses: BTreeMap<u16, u64>,
    /// The median of how long they took, in milliseconds.
    pub p50_ms: f64,
    /// The 99th percentile, in milliseconds.
    pub p99_ms: f64,
    /// The longest, in milliseconds.
    pub max_ms: f64,
}

/// All requests since the meter was made.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RequestSnapshot {
    /// How many are being answered.
    pub active: u64,
    /// Each route and method, by route.
    pub routes: Vec<RouteSummary>,
}

/// One method and status of a route: what was taken into an event, and what was not yet.
#[derive(Debug)]
struct Counted {
    method: &'static str,
    status: u16,
    taken: Durations,
    fresh: Durations,
}

impl Counted {
    fn total(&self) -> Durations {
        let mut total = self.taken;
        total.merge(&self.fresh);
        total
    }
}

#[derive(Debug)]
struct State {
    routes: BTreeMap<String, Vec<Counted>>,
    /// From when on the fresh ones are.
    since: WallTime,
    has_fresh: bool,
}

/// Counts and times requests by method, route and status; shows them as `OpenMetrics`, and tells
/// them in events.
///
/// It keeps no address, header, argument or body. An adapter calls [`begin`](Self::begin) and
/// [`end`](Self::end) for each request, and [`take`](Self::take) every few seconds and at the end.
///
/// ```
/// use std::time::Duration;
/// use jarvis_core::clock::WallTime;
/// use jarvis_core::web::RequestMeter;
///
/// let meter = RequestMeter::of_service("coach", WallTime::from_millis(0))?;
/// meter.begin();
/// let is_first = meter.end("GET", Some("/songs/{song}"), 200, Duration::from_millis(3));
/// assert!(is_first);
/// let events = meter.take(WallTime::from_millis(10_000));
/// assert_eq!(events[0].topic().as_str(), "requests.coach");
/// assert_eq!(events[0].payload()["routes"][0]["count"], 1);
/// # Ok::<(), jarvis_core::Error>(())
/// ```
#[derive(Debug)]
pub struct RequestMeter {
    service: Option<(String, TopicName)>,
    active: AtomicI64,
    state: Mutex<State>,
}

impl RequestMeter {
    /// A meter that counts, and tells nobody: [`take`](Self::take) gives no events.
    #[must_use]
    pub fn new(since: WallTime) -> Self {
        let state = State { routes: BTreeMap::new(), since, has_fresh: false };
        Self { service: None, active: AtomicI64::new(0), state: Mutex::new(state) }
    }

    /// A meter whose events are on the topic `requests.SERVICE`.
    ///
    /// # Errors
    /// `InvalidInput` for a service that is not 1 to 64 letters, digits, `-`, `_` or `:`.
    pub fn of_service(service: &str, since: WallTime) -> Result<Self> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b':');
        if !(1..=64).contains(&service.len()) || !service.bytes().all(good) {
            let message = format!(
                "service name {service:?} is invalid: use 1 to 64 letters, digits, '-', '_' or ':'"
            );
            return Err(Error::new(ErrorKind::InvalidInput, message).with_operation("web.requests"));
        }
        let topic = TopicName::new(format!("requests.{service}"))?;
        Ok(Self { service: Some((service.to_owned(), topic)), ..Self::new(since) })
    }

    /// A request began.
    pub fn begin(&self) {
        self.active.fetch_add(1, Ordering::Relaxed);
    }

    /// A request that began has ended. `None` is a request that no route matched.
    ///
    /// Returns whether it is the first since the last [`take`](Self::take): the moment to start
    /// the timer of the next one, so that no timer runs while there is nothing to tell.
    pub fn end(&self, method: &str, route: Option<&str>, status: u16, took: Duration) -> bool {
        self.active.fetch_sub(1, Ordering::Relaxed);
        let method = METHODS.into_iter().find(|known| *known == method).unwrap_or(OTHER_METHOD);
        let route = cut(route.unwrap_or(UNMATCHED));
        let mut state = self.state.lock();
        state.add(route, method, status, took);
        !std::mem::replace(&mut state.has_fresh, true)
    }

    /// The events about the requests since the last time: none where there was no request or no
    /// service, else as many as it takes to keep each within the bus's [`MAX_PAYLOAD`].
    ///
    /// Each payload is `{"service", "since", "until", "routes": [RouteSummary, …]}`.
    pub fn take(&self, now: WallTime) -> Vec<Message> {
        let (since, routes) = {
            let mut state = self.state.lock();
            if !std::mem::take(&mut state.has_fresh) {
                return Vec::new();
            }
            let routes = state.summaries(|one| one.fresh);
            for one in state.routes.values_mut().flatten() {
                one.taken.merge(&std::mem::take(&mut one.fresh));
            }
            (std::mem::replace(&mut state.since, now), routes)
        };
        let Some((service, topic)) = &self.service else { return Vec::new() };
        in_parts(routes)
            .into_iter()
            .filter_map(|routes| {
                let mut payload = Map::new();
                payload.insert("service".to_owned(), service.as_str().into());
                payload.insert("since".to_owned(), since.to_string().into());
                payload.insert("until".to_owned(), now.to_string().into());
                payload.insert("routes".to_owned(), routes.into());
                // It is within the limit: `in_parts` has counted.
                Message::new(topic.clone(), payload.into()).ok()
            })
            .collect()
    }

    /// All requests since the meter was made.
    #[must_use]
    pub fn snapshot(&self) -> RequestSnapshot {
        RequestSnapshot {
            active: self.active(),
            routes: self.state.lock().summaries(Counted::total),
        }
    }

    /// The `OpenMetrics` text of all requests since the meter was made, with OpenTelemetry's names,
    /// after the text of `others` where there is one.
    #[must_use]
    pub fn metrics(&self, others: Option<&str>) -> String {
        let state = self.state.lock();
        let series = state.routes.iter().flat_map(|(route, counted)| {
            let mut series: Vec<_> = counted
                .iter()
                .map(|one| Series {
                    method: one.method,
                    route,
                    status: one.status,
                    durations: one.total(),
                })
                .collect();
            series.sort_unstable_by_key(|one| (one.method, one.status));
            series
        });
        metrics::text(others.unwrap_or_default(), self.active(), series)
    }

    fn active(&self) -> u64 {
        u64::try_from(self.active.load(Ordering::Relaxed)).unwrap_or(0)
    }
}

impl State {
    fn add(&mut self, route: &str, method: &'static str, status: u16, took: Duration) {
        // A known route is not copied.
        if let Some(counted) = self.routes.get_mut(route) {
            return add(counted, method, status, took);
        }
        let is_over = self.routes.len() >= MAX_ROUTES && route != UNMATCHED;
        let route = if is_over { OTHER_ROUTES } else { route };
        add(self.routes.entry(route.to_owned()).or_default(), method, status, took);
    }

    /// Each route and method that `durations` has something of.
    fn summaries(&self, durations: impl Fn(&Counted) -> Durations) -> Vec<RouteSummary> {
        let mut summaries = Vec::new();
        for (route, counted) in &self.routes {
            let mut methods: BTreeMap<&'static str, (Durations, BTreeMap<u16, u64>)> =
                BTreeMap::new();
            for one in counted {
                let durations = durations(one);
                let count = durations.count();
                if count > 0 {
                    let (whole, statuses) = methods.entry(one.method).or_default();
                    whole.merge(&durations);
                    statuses.insert(one.status, count);
                }
            }
            summaries.extend(
                methods
                    .into_iter()
                    .map(|(method, (whole, statuses))| summary(method, route, &whole, statuses)),
            );
        }
        summaries
    }
}

fn add(counted: &mut Vec<Counted>, method: &'static str, status: u16, took: Duration) {
    match counted.iter_mut().find(|one| one.method == method && one.status == status) {
        Some(one) => one.fresh.add(took),
        None => {
            let (taken, mut fresh) = (Durations::default(), Durations::default());
            fresh.add(took);
            counted.push(Counted { method, status, taken, fresh });
        }
    }
}

fn summary(
    method: &'static str,
    route: &str,
    durations: &Durations,
    statuses: BTreeMap<u16, u64>,
) -> RouteSummary {
    RouteSummary {
        method,
        route: route.to_owned(),
        count: durations.count(),
        errors: statuses.range(500..).map(|(_, count)| count).sum(),
        statuses,
        p50_ms: millis(durations.quantile(0.5)),
        p99_ms: millis(durations.quantile(0.99)),
        max_ms: millis(durations.longest.as_secs_f64()),
    }
}

/// Seconds as milliseconds, to the microsecond.
fn millis(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e3
}

/// At most [`MAX_ROUTE`] bytes of a route.
fn cut(route: &str) -> &str {
    &route[..route.floor_char_boundary(MAX_ROUTE)]
}

/// The routes as JSON, in parts that each fit into an event.
fn in_parts(routes: Vec<RouteSummary>) -> Vec<Vec<Value>> {
    let mut parts: Vec<Vec<Value>> = Vec::new();
    let mut room = 0;
    for route in routes {
        // A summary always has a JSON form.
        let value = serde_json::to_value(route).unwrap_or_default();
        let bytes = value.to_string().len() + 1;
        if parts.is_empty() || bytes > room {
            parts.push(Vec::new());
            room = MAX_PAYLOAD - ENVELOPE;
        }
        room = room.saturating_sub(bytes);
        if let Some(part) = parts.last_mut() {
            part.push(value);
        }
    }
    parts
}

#[cfg(test)]
mod tests;
