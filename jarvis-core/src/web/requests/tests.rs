use std::collections::BTreeSet;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn meter() -> RequestMeter {
    RequestMeter::of_service("coach", WallTime::from_millis(0)).unwrap()
}

fn seen(meter: &RequestMeter, method: &str, route: &str, status: u16, took: Duration) -> bool {
    meter.begin();
    meter.end(method, Some(route), status, took)
}

fn at(millis: i64) -> WallTime {
    WallTime::from_millis(millis)
}

#[test]
fn an_event_has_what_came_since_the_last_one() {
    let meter = meter();
    assert!(meter.take(at(1)).is_empty());
    assert!(seen(&meter, "GET", "/songs/{song}", 200, 3 * MS));
    assert!(!seen(&meter, "GET", "/songs/{song}", 500, 40 * MS));
    assert!(!seen(&meter, "POST", "/songs/{song}", 201, MS));
    let events = meter.take(at(10_000));
    assert_eq!(events.len(), 1);
    let payload = events[0].payload();
    assert_eq!(payload["service"], "coach");
    assert_eq!(payload["since"], "1970-01-01T00:00:00.000Z");
    assert_eq!(payload["until"], "1970-01-01T00:00:10.000Z");
    let get = &payload["routes"][0];
    assert_eq!(
        (&get["method"], &get["count"], &get["errors"]),
        (&"GET".into(), &2.into(), &1.into())
    );
    assert_eq!(get["statuses"], serde_json::json!({ "200": 1, "500": 1 }));
    assert_eq!(get["max_ms"], 40.0);
    assert_eq!(payload["routes"][1]["method"], "POST");

    assert!(meter.take(at(20_000)).is_empty());
    assert!(seen(&meter, "GET", "/songs/{song}", 200, 3 * MS));
    let later = meter.take(at(30_000));
    assert_eq!(later[0].payload()["routes"].as_array().unwrap().len(), 1);
    assert_eq!(later[0].payload()["routes"][0]["count"], 1);
    let total = meter.snapshot();
    assert_eq!((total.active, total.routes[0].count, total.routes.len()), (0, 3, 2));
}

#[test]
fn five_hundred_long_routes_are_told_in_events_within_the_limit() {
    let meter = meter();
    let route = |number: usize| format!("/{}/{number}/\"{{id}}\"", "ä".repeat(150));
    for number in 0..MAX_ROUTES {
        seen(&meter, "GET", &route(number), 200, MS);
        seen(&meter, "POST", &route(number), 503, MS);
    }
    let events = meter.take(at(1));
    assert!(events.len() > 1, "it is more than fits into one");
    let mut told = BTreeSet::new();
    for event in &events {
        assert!(event.payload().to_string().len() <= MAX_PAYLOAD);
        for one in event.payload()["routes"].as_array().unwrap() {
            assert!(told.insert((one["route"].to_string(), one["method"].to_string())));
            assert_eq!(one["count"], 1);
        }
    }
    assert_eq!(told.len(), 2 * MAX_ROUTES);
}

#[test]
fn what_visitors_can_write_makes_no_series_without_end() {
    let meter = meter();
    for number in 0..2_000 {
        seen(&meter, "GET", &format!("/{number}"), 200, MS);
        seen(&meter, &format!("M{number}"), "/", 200, MS);
    }
    meter.begin();
    meter.end("GET", None, CLIENT_CLOSED_REQUEST, MS);
    seen(&meter, "GET", &"x".repeat(100_000), 200, MS);
    let routes = meter.snapshot().routes;
    let count = |route: &str, method: &str| {
        routes.iter().find(|one| one.route == route && one.method == method).map(|one| one.count)
    };
    assert_eq!(routes.len(), MAX_ROUTES + 2);
    assert_eq!(count("/", OTHER_METHOD), Some(2_000));
    assert_eq!(count(UNMATCHED, "GET"), Some(1));
    assert_eq!(count(OTHER_ROUTES, "GET"), Some(2_000 - 499 + 1));
}

#[test]
fn the_largest_summary_fits_into_an_event() {
    let meter = meter();
    for status in 100..1_000 {
        seen(&meter, "GET", &"\u{1}".repeat(10_000), status, MS);
    }
    let events = meter.take(at(1));
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].payload()["routes"][0]["count"], 900);
}

#[test]
fn the_metrics_follow_those_of_others() {
    let meter = meter();
    seen(&meter, "GET", "/a\"b\\c\nd", 200, 3 * MS);
    seen(&meter, "GET", "/a\"b\\c\nd", 200, 20_000 * MS);
    meter.begin();
    let text = meter.metrics(Some("# TYPE other gauge\nother 1\n# EOF\n"));
    assert!(text.starts_with("# TYPE other gauge\nother 1\n# HELP http_server_active_requests"));
    assert!(text.ends_with("\n# EOF\n") && text.matches("# EOF").count() == 1);
    let labels =
        r#"http_request_method="GET",http_route="/a\"b\\c\nd",http_response_status_code="200""#;
    for line in [
        "http_server_active_requests 1".to_owned(),
        format!("http_server_request_duration_seconds_bucket{{{labels},le=\"0.0025\"}} 0"),
        format!("http_server_request_duration_seconds_bucket{{{labels},le=\"0.005\"}} 1"),
        format!("http_server_request_duration_seconds_bucket{{{labels},le=\"1.0\"}} 1"),
        format!("http_server_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} 2"),
        format!("http_server_request_duration_seconds_sum{{{labels}}} 20.003"),
        format!("http_server_request_duration_seconds_count{{{labels}}} 2"),
    ] {
        assert!(text.lines().any(|one| one == line), "{line}\n{text}");
    }
}

#[test]
fn a_meter_of_no_service_counts_and_tells_nothing() {
    let meter = RequestMeter::new(at(0));
    assert!(seen(&meter, "GET", "/", 200, MS));
    assert!(meter.take(at(1)).is_empty());
    assert_eq!(meter.snapshot().routes[0].count, 1);
    for wrong in ["", "a b", "a.b", "ä", &"a".repeat(65)] {
        assert!(RequestMeter::of_service(wrong, at(0)).is_err(), "{wrong:?}");
    }
}

#[test]
fn more_ends_than_begins_are_no_negative_number() {
    let meter = meter();
    meter.end("GET", None, 200, MS);
    assert_eq!(meter.snapshot().active, 0);
}
