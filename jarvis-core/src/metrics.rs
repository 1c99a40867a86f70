//! The Prometheus text: made at the scrape from what the parts know, in a registry of its own.
//!
//! Base units, `_total` for what only grows, and labels only from validated names, so that no
//! service can smuggle in a line. Nothing is kept between two scrapes and no probe waits for one.

mod stores;

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::layers::SessionCounts;
use base::events::Backlog;
use base::vocabulary::{Lifecycle, Platform, ServiceState};
use base::{Error, ErrorKind, Result};
use state::cache::CacheStats;
use supervision::alert::SinkStats;
use supervision::health::aggregator::{Aggregator, CheckReading, LoopStats, ServiceReading};
use supervision::operator::{OperatorStatus, ServiceStatus};

/// What a scrape shows.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Scrape {
    platform: Platform,
    services: Vec<ServiceReading>,
    loop_stats: LoopStats,
    /// Where each service stands in the loop; absent where nothing is acted on.
    pub operator: Option<OperatorStatus>,
    /// How the alerts go.
    pub alerts: Vec<SinkStats>,
    /// What waits for the other instances on the bus; absent where there are none.
    pub bus: Option<Backlog>,
    /// What the sessions were asked; absent where nobody used them.
    pub sessions: Option<SessionCounts>,
    /// What the cache has seen; absent where nobody used it.
    pub cache: Option<CacheStats>,
    /// The servers that stores are kept on, without secrets, and whether they answer; those of
    /// which nothing was asked yet are left out.
    pub servers: Vec<(String, bool)>,
}

impl Scrape {
    /// What the checks say at this moment, and nothing else.
    #[must_use]
    pub fn new(health: &Aggregator) -> Self {
        Self {
            platform: health.platform(),
            services: health.readings(),
            loop_stats: health.loop_stats(),
            operator: None,
            alerts: Vec::new(),
            bus: None,
            sessions: None,
            cache: None,
            servers: Vec::new(),
        }
    }

    /// The `OpenMetrics` text, about 1 KB a service.
    ///
    /// # Errors
    /// None in practice: a `String` takes all that is written.
    pub fn to_text(self) -> Result<String> {
        let mut text = String::new();
        self.write_to(&mut text)?;
        Ok(text)
    }

    /// Writes the `OpenMetrics` text piece by piece, so that the text of many services need not
    /// be in memory as a whole. Takes microseconds a service: run it where it may block.
    ///
    /// # Errors
    /// `Unavailable` when `to` takes no more.
    pub fn write_to(self, to: &mut impl fmt::Write) -> Result<()> {
        let mut registry = Registry::with_prefix("jarvis");
        registry.register_collector(Box::new(Snapshot(self)));
        encode(to, &registry).map_err(|error| {
            Error::new(ErrorKind::Unavailable, "failed to write the metrics").with_source(error)
        })
    }
}

#[derive(Debug)]
struct Snapshot(Scrape);

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = Writer(encoder);
        self.services(&mut writer)?;
        self.checks(&mut writer)?;
        self.aggregator(&mut writer)?;
        self.operator(&mut writer)?;
        self.alerts(&mut writer)?;
        stores::encode(&self.0, &mut writer)
    }
}

/// Writes families one after the other.
struct Writer<'a>(DescriptorEncoder<'a>);

impl Writer<'_> {
    fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        values: impl Iterator<Item = (L, f64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (labels, value) in values {
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: f64) -> fmt::Result {
        let family = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        ConstGauge::new(value).encode(family)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(family)
    }
}

const STATES: [ServiceState; 4] =
    [ServiceState::Healthy, ServiceState::Degraded, ServiceState::Down, ServiceState::Unknown];

const fn flag(value: bool) -> f64 {
    if value { 1.0 } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "counts of services and alerts are small")]
const fn number(value: usize) -> f64 {
    value as f64
}

impl Snapshot {
    fn each_service(&self) -> impl Iterator<Item = &ServiceReading> {
        self.0.services.iter()
    }

    fn each_check(&self) -> impl Iterator<Item = ([(&str, &str); 2], &CheckReading)> {
        self.each_service().flat_map(|service| {
            service.checks.iter().map(|check| {
                ([("service", service.service.as_str()), ("check", check.check.as_str())], check)
            })
        })
    }

    fn services(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let platform = &self.0.platform;
        writer.gauges(
            "platform_state",
            "1 for the state that the platform is in",
            None,
            STATES
                .into_iter()
                .map(|state| ([("state", state.as_str())], flag(platform.state == state))),
        )?;
        writer.gauges(
            "service_state",
            "1 for the state that the service is in",
            None,
            self.each_service().flat_map(|service| {
                STATES.into_iter().map(|state| {
                    let labels = [("service", service.service.as_str()), ("state", state.as_str())];
                    (labels, flag(service.state == state))
                })
            }),
        )?;
        writer.gauges(
            "service_flapping",
            "1 while the service is flapping",
            None,
            self.each_service()
                .map(|service| ([("service", service.service.as_str())], flag(service.flapping))),
        )
    }

    fn checks(&self, writer: &mut Writer<'_>) -> fmt::Result {
        writer.counters(
            "probes",
            "Probes that were made",
            self.each_check().map(|(labels, check)| (labels, check.counters.probes)),
        )?;
        writer.counters(
            "probe_failures",
            "Probes that counted as failures",
            self.each_check().map(|(labels, check)| (labels, check.counters.failures)),
        )?;
        writer.counters(
            "probe_unknowns",
            "Probes that could not measure",
            self.each_check().map(|(labels, check)| (labels, check.counters.unknowns)),
        )?;
        writer.counters(
            "probe_overruns",
            "Due times skipped because a probe was still under way",
            self.each_check().map(|(labels, check)| (labels, check.counters.overruns)),
        )?;
        writer.counters(
            "probe_panics",
            "Probes that panicked",
            self.each_check().map(|(labels, check)| (labels, check.counters.panics)),
        )?;
        writer.gauges(
            "probe_latency",
            "Latency of the last passing probes, by quantile",
            Some(&Unit::Seconds),
            self.each_check()
                .filter_map(|(labels, check)| Some((labels, check.latency?)))
                .flat_map(|([service, check], latency)| {
                    [("0.5", latency.p50), ("0.95", latency.p95), ("0.99", latency.p99)].map(
                        |(quantile, latency): (&str, Duration)| {
                            ([service, check, ("quantile", quantile)], latency.as_secs_f64())
                        },
                    )
                }),
        )
    }

    fn aggregator(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let stats = &self.0.loop_stats;
        writer.counter("rounds", "Full rounds: every target was probed", stats.rounds)?;
        writer.gauge("targets", "Checks that are watched", None, number(stats.targets))?;
        writer.gauge(
            "loop_lag",
            "How late the loop's last tick was",
            Some(&Unit::Seconds),
            stats.lag.as_secs_f64(),
        )?;
        writer.gauges(
            "probe_lateness",
            "How late probes begin, by quantile",
            Some(&Unit::Seconds),
            [("0.5", stats.lateness_p50), ("0.99", stats.lateness_p99), ("1", stats.lateness_max)]
                .into_iter()
                .map(|(quantile, late)| ([("quantile", quantile)], late.as_secs_f64())),
        )?;
        writer.counter("loop_stalls", "Ticks more than a second late", stats.stalls)?;
        writer.counter(
            "dropped_events",
            "Events that the bus did not take",
            stats.dropped_events,
        )?;
        writer.counter(
            "dropped_minutes",
            "Closed minutes that the history did not take",
            stats.dropped_minutes,
        )
    }

    fn each_managed(&self) -> impl Iterator<Item = (&str, &ServiceStatus)> {
        let services = self.0.operator.iter().flat_map(|operator| &operator.services);
        services.map(|status| (status.service.as_str(), status))
    }

    fn operator(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let Some(operator) = &self.0.operator else { return Ok(()) };
        writer.gauge("acting", "1 while actions may be begun", None, flag(operator.acting))?;
        writer.gauge(
            "leading",
            "1 while the lease is held",
            None,
            flag(operator.lease.is_some()),
        )?;
        writer.gauge(
            "self_suspected",
            "1 while JARVIS suspects itself",
            None,
            flag(operator.suspected.is_some()),
        )?;
        writer.gauges(
            "restart_budget_left",
            "Restarts that are left in the window",
            None,
            self.each_managed().flat_map(|(service, status)| {
                status.budget.iter().map(move |usage| {
                    let window = usage.limit.window.as_secs().to_string();
                    let labels = vec![
                        ("service".to_owned(), service.to_owned()),
                        ("window_seconds".to_owned(), window),
                    ];
                    (labels, f64::from(usage.limit.max.saturating_sub(usage.used)))
                })
            }),
        )?;
        writer.gauges(
            "incident_open",
            "1 while an incident is open",
            None,
            self.each_managed()
                .map(|(service, status)| ([("service", service)], flag(status.incident.is_some()))),
        )?;
        writer.gauges(
            "incident_attempts",
            "Actions tried in the open incident",
            None,
            self.each_managed().filter_map(|(service, status)| {
                let attempts = status.incident.as_ref()?.attempts;
                Some(([("service", service)], f64::from(attempts)))
            }),
        )?;
        writer.gauges(
            "cooling_down",
            "1 while the breaker is open after an escalation",
            None,
            self.each_managed().map(|(service, status)| {
                ([("service", service)], flag(matches!(status.lifecycle, Lifecycle::CoolingDown)))
            }),
        )?;
        writer.gauges(
            "held",
            "1 for the gate that holds an action back",
            None,
            self.each_managed().filter_map(|(service, status)| match &status.lifecycle {
                Lifecycle::Held { hold } => {
                    Some(([("service", service), ("gate", hold.gate.as_str())], 1.0))
                }
                _ => None,
            }),
        )
    }

    fn alerts(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let sinks = || self.0.alerts.iter().map(|stats| ([("sink", stats.sink.as_str())], stats));
        writer.gauges(
            "alerts_waiting",
            "Messages that wait for delivery",
            None,
            sinks().map(|(labels, stats)| (labels, number(stats.waiting))),
        )?;
        writer.counters(
            "alerts_delivered",
            "Messages that a receiver took",
            sinks().map(|(labels, stats)| (labels, stats.delivered)),
        )?;
        writer.counters(
            "alert_failures",
            "Deliveries that failed",
            sinks().map(|(labels, stats)| (labels, stats.failed)),
        )?;
        writer.counters(
            "alerts_given_up",
            "Messages that were given up",
            sinks().map(|(labels, stats)| (labels, stats.given_up)),
        )
    }
}
