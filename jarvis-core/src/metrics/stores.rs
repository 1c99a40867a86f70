//! The bus, sessions, the cache, and the servers that they are kept on.

use std::fmt;
use std::time::Duration;

use prometheus_client::registry::Unit;

use super::{Scrape, Writer, flag, number};
use crate::layers::{SessionCall, SessionCounts, SessionOutcome};
use base::events::Backlog;
use state::cache::CacheStats;

pub(super) fn encode(scrape: &Scrape, writer: &mut Writer<'_>) -> fmt::Result {
    if let Some(backlog) = &scrape.bus {
        bus(backlog, writer)?;
    }
    if let Some(counts) = &scrape.sessions {
        sessions(counts, writer)?;
    }
    if let Some(stats) = &scrape.cache {
        cache(stats, writer)?;
    }
    if scrape.servers.is_empty() {
        return Ok(());
    }
    writer.gauges(
        "redis_up",
        "1 while the server answers",
        None,
        scrape.servers.iter().map(|(url, up)| ([("url", url.as_str())], flag(*up))),
    )
}

fn bus(backlog: &Backlog, writer: &mut Writer<'_>) -> fmt::Result {
    writer.gauge(
        "bus_events_waiting",
        "Events waiting to be sent to the other instances",
        None,
        number(backlog.events),
    )?;
    writer.gauge(
        "bus_waiting",
        "The size of the events that wait",
        Some(&Unit::Bytes),
        number(backlog.bytes),
    )?;
    writer.counter(
        "bus_events_dropped",
        "Events dropped because too many were waiting for the other instances",
        backlog.dropped,
    )
}

fn sessions(counts: &SessionCounts, writer: &mut Writer<'_>) -> fmt::Result {
    writer.counters(
        "session_calls",
        "What the session store was asked, by how it ended",
        SessionCall::ALL.into_iter().flat_map(|call| {
            SessionOutcome::ALL.into_iter().map(move |outcome| {
                let labels = [("call", call.as_str()), ("outcome", outcome.as_str())];
                (labels, counts.get(call, outcome))
            })
        }),
    )
}

fn cache(stats: &CacheStats, writer: &mut Writer<'_>) -> fmt::Result {
    for (name, help, value) in [
        ("cache_hits", "Reads that found a value", stats.hits),
        ("cache_near_hits", "Hits in this process's memory", stats.near_hits),
        ("cache_stale_hits", "Hits on an expired value", stats.stale_hits),
        ("cache_misses", "Reads that found none", stats.misses),
        ("cache_loads", "Loads that succeeded", stats.loads),
        ("cache_load_failures", "Loads that failed", stats.load_failures),
        ("cache_errors", "Calls of the cache's storage that failed", stats.errors),
        ("cache_evictions", "Entries evicted before they expired", stats.evictions),
    ] {
        writer.counter(name, help, value)?;
    }
    if let Some(entries) = stats.entries {
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a floating-point number")]
        let entries = entries as f64;
        writer.gauge("cache_entries", "Entries in the cache", None, entries)?;
    }
    let seconds = |micros: u64| Duration::from_micros(micros).as_secs_f64();
    writer.gauges(
        "cache_read_latency",
        "How long reads take, by quantile",
        Some(&Unit::Seconds),
        [("0.5", stats.read_p50_us), ("0.99", stats.read_p99_us)]
            .into_iter()
            .map(|(quantile, micros)| ([("quantile", quantile)], seconds(micros))),
    )
}
