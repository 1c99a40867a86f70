//! From a configuration to the objects that do the work.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::{FactoryContext, Facts, Leadership, Made, Registry, RestarterProbe};
use crate::config::{
    CheckSettings, Config, HostSettings, Problem, Report, Section, ServiceSettings,
};
use base::clock::SharedClock;
use base::secret::KnownSecrets;
use base::units::{format_duration, parse_duration};
use base::vocabulary::{CheckName, ServiceId};
use base::{Error, Result};
#[cfg(feature = "http")]
use supervision::alert::Heartbeat;
use supervision::alert::{Route, SinkEntry};
use supervision::health::aggregator::{CheckPolicy, CheckSpec, ServiceSpec};
use supervision::operator::{
    Calendar, ManagedService, OperatorSettings, RestartPolicy, RollbackPolicy,
};
use supervision::restart::ServiceRestarter;

/// What a platform needs beyond a service's own stop timeout: to kill, and to start.
const STOP_MARGIN: Duration = Duration::from_secs(10);

/// Everything that a configuration asks for, made and not yet used: nothing is connected.
#[derive(Debug)]
#[non_exhaustive]
pub struct Wiring {
    /// What is probed.
    pub services: Vec<ServiceSpec>,
    /// What is restarted, and how.
    pub managed: Vec<ManagedService>,
    /// Who is told.
    pub sinks: Vec<SinkEntry>,
    /// Which service needs which.
    pub depends_on: BTreeMap<ServiceId, Vec<ServiceId>>,
    /// What is not about one service.
    pub settings: OperatorSettings,
    /// What the factories said about what they made, with the tables that they made it of.
    pub(crate) made: Vec<Described>,
    /// Keeps the secrets of the configuration masked while what was made of it is used.
    pub secrets: KnownSecrets,
    /// Tells somebody outside that JARVIS is there.
    #[cfg(feature = "http")]
    pub heartbeat: Option<Heartbeat>,
}

/// What a factory said about what it made.
#[derive(Debug, Clone)]
pub(crate) struct Described {
    pub(crate) part: Part,
    /// The table that it was made of.
    pub(crate) section: Section,
    pub(crate) facts: Facts,
}

/// What something was made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Check,
    Restarter(ServiceId),
    /// A sink, or the heartbeat.
    Receiver,
}

impl Wiring {
    /// Facts about the restarter of a service.
    pub(crate) fn restarter_facts(&self, service: &ServiceId) -> Option<&Facts> {
        let is_it = |made: &&Described| matches!(&made.part, Part::Restarter(id) if id == service);
        self.made.iter().find(is_it).map(|made| &made.facts)
    }
}

impl Registry {
    /// Makes everything that a configuration asks for, or says all that is wrong with it.
    #[must_use]
    pub fn wire(&self, config: &Config, clock: &SharedClock) -> (Option<Wiring>, Report) {
        let mut wirer =
            Wirer { registry: self, config, clock, made: Vec::new(), report: Report::default() };
        let wiring = wirer.wire();
        let report = wirer.report;
        (if report.is_refused() { None } else { Some(wiring) }, report)
    }

    /// The lease and the ledger of a configuration; a file in the state directory unless it says
    /// otherwise.
    ///
    /// # Errors
    /// `ConfigInvalid`, or the store's when its file can't be opened.
    pub fn leadership(&self, config: &Config, clock: &SharedClock) -> Result<Leadership> {
        let context = FactoryContext::new(clock.clone(), &config.jarvis.state_dir);
        let (kind, section) = match &config.lease {
            Some(lease) => (lease.kind.as_str(), lease.section.clone()),
            None if self.leases.contains_key("file") => ("file", Section::from_toml("")?),
            None => ("memory", Section::from_toml("")?),
        };
        let factory = find(&self.leases, kind, &section, "type", "lease").map_err(Error::from)?;
        factory(&section, &context).map(|made| made.object)
    }
}

/// The factory of that kind, or what is wrong with the name.
fn find<'a, T>(
    factories: &'a BTreeMap<String, T>,
    kind: &str,
    section: &Section,
    key: &str,
    what: &str,
) -> std::result::Result<&'a T, Report> {
    factories.get(kind).ok_or_else(|| {
        let names: Vec<&str> = factories.keys().map(String::as_str).collect();
        let mut report = Report::default();
        report.push(section.unknown(key, what, kind, &names));
        report
    })
}

struct Wirer<'a> {
    registry: &'a Registry,
    config: &'a Config,
    clock: &'a SharedClock,
    made: Vec<Described>,
    report: Report,
}

impl Wirer<'_> {
    fn wire(&mut self) -> Wiring {
        let config = self.config;
        let mut wiring = Wiring {
            services: Vec::new(),
            managed: Vec::new(),
            sinks: self.sinks(),
            depends_on: BTreeMap::new(),
            settings: OperatorSettings::default(),
            made: Vec::new(),
            secrets: config.secrets(),
            #[cfg(feature = "http")]
            heartbeat: self.heartbeat(),
        };
        for service in &config.services {
            let (spec, managed) = self.service(service);
            wiring.services.push(spec);
            wiring.managed.push(managed);
            wiring.depends_on.insert(service.id.clone(), service.depends_on.clone());
        }
        #[cfg(not(feature = "http"))]
        self.heartbeat();
        self.lease();
        self.report.extend(self.registry.check_stores(config, self.clock));
        self.maintenance();
        self.limits();
        let settings = &mut wiring.settings;
        settings.mode = config.jarvis.mode;
        settings.limits = config.limits.clone();
        settings.allow = config.allow.clone();
        settings.suspicion = config.limits.suspicion();
        settings.maintenance.clone_from(&config.maintenance);
        settings.kill_switch = Some(config.jarvis.kill_switch.clone());
        wiring.made = std::mem::take(&mut self.made);
        wiring
    }

    fn problem(&mut self, section: &Section, key: &str, message: &str) {
        self.report.push(section.problem(key, message));
    }

    fn warn(&mut self, section: &Section, key: &str, message: &str) {
        let problem = section.problem(key, message);
        self.report.push(Problem { weight: crate::config::Weight::Warning, ..problem });
    }

    /// Takes over the problems of a result.
    fn keep<T>(&mut self, section: &Section, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.report.extend(section.report(&error))).ok()
    }

    fn take<T>(&mut self, result: std::result::Result<T, Report>) -> Option<T> {
        result.map_err(|report| self.report.extend(report)).ok()
    }

    fn context(&self, service: &ServiceSettings) -> FactoryContext {
        FactoryContext::new(self.clock.clone(), &self.config.jarvis.state_dir)
            .with_service(service.id.clone())
            .with_host(self.host(service).map(|host| host.section.clone()))
    }

    /// The other machine that the service runs on.
    fn host(&self, service: &ServiceSettings) -> Option<&HostSettings> {
        let name = service.host.as_ref()?;
        self.config.hosts.iter().find(|host| host.name == *name)
    }

    /// Takes the object, and keeps what is known about it.
    fn describe<T>(&mut self, part: Part, section: &Section, made: Made<T>) -> T {
        let Made { object, facts } = made;
        self.made.push(Described { part, section: section.clone(), facts });
        object
    }

    fn service(&mut self, service: &ServiceSettings) -> (ServiceSpec, ManagedService) {
        let mut checks: Vec<CheckSpec> =
            service.checks.iter().filter_map(|check| self.check(service, check)).collect();
        let host = checks.iter().find_map(|check| check.host.as_ref().map(ToString::to_string));
        let mut managed = ManagedService::new(service.id.clone())
            .with_dependencies(service.depends_on.iter().cloned())
            .with_start_grace(service.start_grace)
            .with_critical(service.critical)
            .with_fingerprint(fingerprint(service));
        managed.restart_with_dependency = service.restart_with_dependencies;
        managed.host = host;
        managed.renamed_from.clone_from(&service.renamed_from);
        if let Some((restarter, policy, target)) = self.restarter(service) {
            if service.checks.is_empty() {
                checks.extend(self.implicit(&restarter));
            } else if checks.iter().all(|check| !check.policy.critical) {
                let message = "none of its checks is critical, so nothing can trigger this restart but an exit";
                self.warn(&service.section, "restart", message);
            }
            managed = managed.with_restarter(restarter, policy).with_target(target);
        }
        managed.rollback = self.rollback(service);
        let spec = ServiceSpec::new(service.id.clone(), checks)
            .with_critical(service.critical)
            .with_start_grace(service.start_grace);
        (spec, managed)
    }

    fn check(&mut self, service: &ServiceSettings, check: &CheckSettings) -> Option<CheckSpec> {
        let mut section = check.section.clone();
        let (written, policy) = section.split::<CheckPolicy>();
        let policy = self.take(policy);
        if let Some(policy) = &policy {
            self.keep(&written, policy.validate());
            // No error: one probe at a time, and a round that is missed is skipped and counted.
            if policy.timeout >= policy.interval {
                let message = format!(
                    "a probe may take {} and is due every {}: one that hangs skips the next",
                    format_duration(policy.timeout),
                    format_duration(policy.interval)
                );
                self.warn(&written, "timeout", &message);
            }
        }
        let factory = find(&self.registry.probes, &check.kind, &check.section, "type", "probe");
        let factory = self.take(factory)?;
        let made = factory(&section, &self.context(service));
        let made = self.keep(&section, made)?;
        let host = made.facts.host();
        let probe = self.describe(Part::Check, &check.section, made);
        let mut spec = CheckSpec::new(check.name.clone(), probe)
            .with_policy(policy?)
            .with_fingerprint(&format!("{} {}", check.kind, section.written()));
        if let Some(host) = host {
            spec = spec.with_host(host);
        }
        Some(spec)
    }

    /// The check of a service that has none: does its platform say that it runs?
    fn implicit(&mut self, restarter: &Arc<dyn ServiceRestarter>) -> Option<CheckSpec> {
        let name = CheckName::new("instance").ok()?;
        let defaults = self.config.check_defaults();
        let policy = self.take(defaults.read::<CheckPolicy>())?;
        let probe = Arc::new(RestarterProbe::new(Arc::clone(restarter)));
        Some(CheckSpec::new(name, probe).with_policy(policy))
    }

    fn restarter(
        &mut self,
        service: &ServiceSettings,
    ) -> Option<(Arc<dyn ServiceRestarter>, RestartPolicy, String)> {
        let settings = service.restart.as_ref()?;
        let mut section = settings.section.clone();
        let (written, policy) = section.split::<RestartPolicy>();
        let policy = self.take(policy);
        if let Some(policy) = &policy {
            self.keep(&written, policy.validate());
            self.long_window(&written, policy);
            self.stop_timeout(&section, policy);
        }
        // The restarters that can go back by a command read it as their own key.
        let rollback = service.rollback.as_ref();
        if let Some(command) = rollback.and_then(|rollback| rollback.entry("command")) {
            section.put("rollback", command);
        }
        let factory =
            find(&self.registry.restarters, &settings.via, &settings.section, "via", "restarter");
        let factory = self.take(factory)?;
        let made = factory(&section, &self.context(service));
        let made = self.keep(&section, made)?;
        let part = Part::Restarter(service.id.clone());
        let restarter = self.describe(part, &settings.section, made);
        // Another engine has other containers, also under the same names.
        let host = self.host(service).map(|host| host.section.written().to_string());
        let target = section.written().to_string() + &host.unwrap_or_default();
        let target = format!("{}:{:016x}", settings.via, hash(&target));
        Some((restarter, policy?, target))
    }

    fn long_window(&mut self, section: &Section, policy: &RestartPolicy) {
        let cycles = policy.shortest_cycle().saturating_mul(policy.long_max);
        if cycles >= policy.long_window {
            let message = format!(
                "{} attempts take at least {}, so that the limit would never be reached",
                policy.long_max,
                format_duration(cycles)
            );
            self.problem(section, "long_window", &message);
        }
    }

    /// A stop that outlasts the deadline of its own action ends in an unknown result, and eats the
    /// budget each time.
    fn stop_timeout(&mut self, section: &Section, policy: &RestartPolicy) {
        let Some(stop) = section.text("stop_timeout").and_then(|text| parse_duration(&text).ok())
        else {
            return;
        };
        if stop + STOP_MARGIN > policy.command_timeout {
            let message = format!(
                "stopping may take {} and then {} more to kill and start, but command_timeout = {} is over before that: such a restart would count as failed while it goes on; make command_timeout longer",
                format_duration(stop),
                format_duration(STOP_MARGIN),
                format_duration(policy.command_timeout)
            );
            self.problem(section, "stop_timeout", &message);
        }
    }

    fn rollback(&mut self, service: &ServiceSettings) -> Option<RollbackPolicy> {
        let mut section = service.rollback.clone()?;
        if service.restart.is_none() {
            self.problem(&section, "", "a rollback needs a [restart] section beside it");
        }
        let (_, policy) = section.split::<RollbackPolicy>();
        self.take(section.read::<RollbackKeys>());
        self.take(policy)
    }

    fn sinks(&mut self) -> Vec<SinkEntry> {
        let mut sinks = Vec::new();
        for alert in &self.config.alerts {
            let mut section = alert.section.clone();
            let (written, route) = section.split::<Route>();
            let route = self.take(route);
            if let Some(route) = &route {
                self.keep(&written, route.validate());
            }
            let factory = find(&self.registry.sinks, &alert.kind, &alert.section, "type", "sink");
            let Some(factory) = self.take(factory) else { continue };
            let mut context =
                FactoryContext::new(self.clock.clone(), &self.config.jarvis.state_dir);
            context.name.clone_from(&alert.name);
            let made = factory(&section, &context);
            if let (Some(made), Some(route)) = (self.keep(&section, made), route) {
                let sink = self.describe(Part::Receiver, &alert.section, made);
                sinks.push(SinkEntry::new(alert.name.clone(), sink).with_route(route));
            }
        }
        sinks
    }

    #[cfg(feature = "http")]
    fn heartbeat(&mut self) -> Option<Heartbeat> {
        let section = self.config.heartbeat.as_ref()?;
        let made = heartbeat(section, self.clock);
        let (heartbeat, facts) = self.keep(section, made)?;
        self.made.push(Described { part: Part::Receiver, section: section.clone(), facts });
        Some(heartbeat)
    }

    #[cfg(not(feature = "http"))]
    fn heartbeat(&mut self) {
        if let Some(section) = &self.config.heartbeat {
            self.problem(section, "", "this build has no HTTP client (feature `http`)");
        }
    }

    fn lease(&mut self) {
        let Some(lease) = &self.config.lease else {
            return self.file_lease_across_hosts("file");
        };
        if let Err(report) =
            find(&self.registry.leases, &lease.kind, &lease.section, "type", "lease")
        {
            self.report.extend(report);
        }
        self.file_lease_across_hosts(&lease.kind.clone());
    }

    fn file_lease_across_hosts(&mut self, kind: &str) {
        if kind != "file" {
            return;
        }
        let config = self.config;
        let acts_elsewhere =
            |service: &&ServiceSettings| service.host.is_some() && service.restart.is_some();
        if let Some(service) = config.services.iter().find(acts_elsewhere) {
            let message = "it is restarted on another machine, and the lease is a file of this one: a second JARVIS elsewhere would not see it; run one JARVIS for this service, or share a lease with [lease] type = \"redis\"";
            self.warn(&service.section, "host", message);
        }
    }

    fn limits(&mut self) {
        if let Err(error) = self.config.limits.validate() {
            let problem = self.config.root().problem("limits", error.message());
            self.report.push(problem);
        }
    }

    fn maintenance(&mut self) {
        let root = self.config.root();
        for (index, window) in self.config.maintenance.iter().enumerate() {
            if let Err(error) = Calendar::new(std::slice::from_ref(window)) {
                let problem = root.problem("maintenance", error.message());
                self.report.push(Problem { key: format!("maintenance[{index}]"), ..problem });
            }
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the restarter reads it")]
struct RollbackKeys {
    #[serde(default)]
    command: Vec<String>,
}

/// The dead-man ping of a configuration.
#[cfg(feature = "http")]
fn heartbeat(section: &Section, clock: &SharedClock) -> Result<(Heartbeat, Facts)> {
    let config: supervision::alert::HeartbeatConfig = section.parse()?;
    let facts = Facts::new().with_endpoint("url", config.url.expose());
    Ok((Heartbeat::new(&config, clock.clone())?, facts))
}

/// Changes when the checks of a service do. Made of what is written, so that no secret is in it.
fn fingerprint(service: &ServiceSettings) -> String {
    let written: Vec<String> = service
        .checks
        .iter()
        .map(|check| {
            let mut section = check.section.clone();
            drop(section.split::<CheckPolicy>());
            format!("{} {}", check.kind, section.written())
        })
        .collect();
    format!("{:016x}", hash(&written.join("\n")))
}

/// FNV-1a: the same in every build, because it is kept on disk.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
