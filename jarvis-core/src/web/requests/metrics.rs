//! The `OpenMetrics` text of the requests, with OpenTelemetry's names for HTTP servers.

use std::fmt::Write as _;

use super::durations::{BOUNDS, Durations, seconds};

const DURATION: &str = "http_server_request_duration_seconds";
const ACTIVE: &str = "http_server_active_requests";
const END: &str = "# EOF\n";

/// One method, route and status.
pub(super) struct Series<'a> {
    pub(super) method: &'a str,
    pub(super) route: &'a str,
    pub(super) status: u16,
    pub(super) durations: Durations,
}

/// The text after `others`, which is `OpenMetrics` text too.
pub(super) fn text<'a>(
    others: &str,
    active: u64,
    series: impl Iterator<Item = Series<'a>>,
) -> String {
    let mut text = others.strip_suffix(END).unwrap_or(others).to_owned();
    // Writing to a String does not fail.
    let _ = write!(
        text,
        "# HELP {ACTIVE} Requests that are being answered.\n\
         # TYPE {ACTIVE} gauge\n\
         {ACTIVE} {active}\n\
         # HELP {DURATION} How long requests took.\n\
         # TYPE {DURATION} histogram\n\
         # UNIT {DURATION} seconds\n"
    );
    for one in series {
        histogram(&mut text, &one);
    }
    text.push_str(END);
    text
}

fn histogram(text: &mut String, series: &Series<'_>) {
    let Series { method, route, status, durations } = series;
    let labels = format!(
        "http_request_method=\"{method}\",http_route=\"{}\",http_response_status_code=\"{status}\"",
        escaped(route)
    );
    let mut below = 0;
    for (at, count) in durations.buckets.iter().enumerate() {
        below += count;
        let _ = match BOUNDS.get(at) {
            Some(bound) => {
                let bound = seconds(*bound);
                writeln!(text, "{DURATION}_bucket{{{labels},le=\"{bound:?}\"}} {below}")
            }
            None => writeln!(text, "{DURATION}_bucket{{{labels},le=\"+Inf\"}} {below}"),
        };
    }
    let total = durations.total.as_secs_f64();
    let _ = writeln!(text, "{DURATION}_count{{{labels}}} {below}");
    let _ = writeln!(text, "{DURATION}_sum{{{labels}}} {total}");
}

/// The value of a label as it stands between quotes.
fn escaped(label: &str) -> String {
    label.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}
