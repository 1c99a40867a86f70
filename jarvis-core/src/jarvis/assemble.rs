//! From sections to objects: every backend is made, or every reason why not is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::builder::Extras;
use super::instance_probe::InstanceProbe;
use crate::Result;
use crate::alert::{Route, SinkEntry};
use crate::clock::SharedClock;
use crate::config::{CheckSettings, Config, Report, RestartSettings, Section, ServiceSettings};
use crate::health::aggregator::{CheckPolicy, CheckSpec, ServiceSpec};
use crate::operator::{ManagedService, OperatorSettings, RestartPolicy, RollbackPolicy};
use crate::registry::{Registry, RestarterContext};
use crate::restart::ServiceRestarter;
use crate::vocabulary::{CheckName, ServiceId};

/// The name of the check that asks the restarter.
const INSTANCE_CHECK: &str = "instance";

/// The keys of a restart section that say what it acts on.
const TARGET_KEYS: &[&str] = &["container", "compose", "unit", "command", "host"];

/// Everything that a configuration describes, made but not started.
#[derive(Debug, Clone)]
pub(super) struct Assembly {
    pub(super) specs: Vec<ServiceSpec>,
    pub(super) managed: Vec<ManagedService>,
    pub(super) sinks: Vec<SinkEntry>,
    pub(super) settings: OperatorSettings,
}

impl Assembly {
    pub(super) fn new(
        config: &Config,
        registry: &Registry,
        clock: &SharedClock,
        extras: &Extras,
    ) -> Result<Self> {
        let mut report = Report::default();
        let mut assembler = Assembler { config, registry, clock, report: &mut report };
        let services: Vec<(ServiceSpec, ManagedService)> =
            config.services.iter().map(|service| assembler.service(service)).collect();
        let sinks = assembler.sinks();
        if report.is_refused() {
            return Err(report.into_error());
        }
        let (mut specs, mut managed): (Vec<_>, Vec<_>) = services.into_iter().unzip();
        for (spec, service) in &extras.services {
            specs.push(spec.clone());
            managed.push(service.clone());
        }
        let sinks = sinks.into_iter().chain(extras.sinks.iter().cloned()).collect();
        Ok(Self { specs, managed, sinks, settings: settings(config) })
    }

    /// Which service needs which.
    pub(super) fn dependencies(&self) -> BTreeMap<ServiceId, Vec<ServiceId>> {
        self.managed.iter().map(|service| (service.id.clone(), service.depends_on.clone())).collect()
    }

    /// How many services may be restarted.
    pub(super) fn restartable(&self) -> usize {
        self.managed.iter().filter(|service| service.restarter.is_some()).count()
    }
}

fn settings(config: &Config) -> OperatorSettings {
    OperatorSettings {
        mode: config.jarvis.mode,
        limits: config.limits.clone(),
        allow: config.allow.clone(),
        maintenance: config.maintenance.clone(),
        kill_switch: Some(config.jarvis.kill_switch.clone()),
        ..OperatorSettings::default()
    }
}

struct Assembler<'a> {
    config: &'a Config,
    registry: &'a Registry,
    clock: &'a SharedClock,
    report: &'a mut Report,
}

impl Assembler<'_> {
    fn service(&mut self, settings: &ServiceSettings) -> (ServiceSpec, ManagedService) {
        let mut managed = ManagedService::new(settings.id.clone())
            .with_critical(settings.critical)
            .with_start_grace(settings.start_grace)
            .with_dependencies(settings.depends_on.iter().cloned());
        if settings.restart_with_dependencies {
            managed = managed.with_dependency_restart();
        }
        let mut checks = Vec::new();
        for check in &settings.checks {
            checks.extend(self.check(check));
        }
        if let Some(host) = checks.iter().find_map(|check| check.host.as_deref()) {
            managed = managed.with_host(host);
        }
        if let Some(restart) = &settings.restart
            && let Some((restarter, policy, target)) = self.restarter(settings, restart)
        {
            if checks.is_empty() {
                checks.extend(instance_check(&restarter, &settings.section, self.report));
            }
            managed = managed.with_restarter(restarter, policy).with_target(target);
            if let Some(rollback) = &settings.rollback {
                managed = self.rollback(managed, rollback);
            }
        }
        let spec = ServiceSpec::new(settings.id.clone(), checks)
            .with_critical(settings.critical)
            .with_start_grace(settings.start_grace);
        (spec, managed)
    }

    fn check(&mut self, settings: &CheckSettings) -> Option<CheckSpec> {
        let mut section = settings.section.clone();
        let (rest, policy) = section.split::<CheckPolicy>();
        let policy = policy.map_err(|report| self.report.extend(report)).ok();
        if let Some(error) = policy.as_ref().and_then(|policy| policy.validate().err()) {
            self.report.extend(settings.section.report(&error));
        }
        let made = self.registry.probe(&settings.kind, &rest, self.clock);
        let (probe, host) = made.map_err(|error| self.report.extend(rest.report(&error))).ok()?;
        let check = CheckSpec::new(settings.name.clone(), probe).with_policy(policy?);
        Some(match host {
            Some(host) => check.with_host(host),
            None => check,
        })
    }

    fn restarter(
        &mut self,
        service: &ServiceSettings,
        settings: &RestartSettings,
    ) -> Option<(Arc<dyn ServiceRestarter>, RestartPolicy, String)> {
        let mut section = settings.section.clone();
        let (rest, policy) = section.split::<RestartPolicy>();
        let policy = policy.map_err(|report| self.report.extend(report)).ok();
        if let Some(error) = policy.as_ref().and_then(|policy| policy.validate().err()) {
            self.report.extend(settings.section.report(&error));
        }
        let host = service.host.as_ref().and_then(|name| self.config.host(name));
        let context = RestarterContext {
            service: &service.id,
            state_dir: &self.config.jarvis.state_dir,
            clock: self.clock,
            host,
        };
        let made = self.registry.restarter(&settings.via, &rest, &context);
        let restarter = made.map_err(|error| self.report.extend(rest.report(&error))).ok()?;
        let target = target(&settings.via, service.host.as_deref(), &rest);
        Some((restarter, policy?, target))
    }

    fn rollback(&mut self, managed: ManagedService, section: &Section) -> ManagedService {
        match section.clone().split::<RollbackPolicy>().1 {
            Ok(policy) => managed.with_rollback(policy),
            Err(report) => {
                self.report.extend(report);
                managed
            }
        }
    }

    fn sinks(&mut self) -> Vec<SinkEntry> {
        let mut sinks = Vec::new();
        for alert in &self.config.alerts {
            let mut section = alert.section.clone();
            let (rest, route) = section.split::<Route>();
            let route = route.map_err(|report| self.report.extend(report)).ok();
            if let Some(error) = route.as_ref().and_then(|route| route.validate().err()) {
                self.report.extend(alert.section.report(&error));
            }
            match self.registry.sink(&alert.kind, &rest, self.clock) {
                Ok(sink) => sinks.extend(
                    route.map(|route| SinkEntry::new(&alert.name, sink).with_route(route)),
                ),
                Err(error) => self.report.extend(rest.report(&error)),
            }
        }
        sinks
    }
}

fn instance_check(
    restarter: &Arc<dyn ServiceRestarter>,
    section: &Section,
    report: &mut Report,
) -> Option<CheckSpec> {
    match CheckName::new(INSTANCE_CHECK) {
        Ok(name) => Some(CheckSpec::new(name, Arc::new(InstanceProbe(Arc::clone(restarter))))),
        Err(error) => {
            report.extend(section.report(&error));
            None
        }
    }
}

/// What the restarter acts on, in a form that stays when the service is only renamed.
fn target(via: &str, host: Option<&str>, section: &Section) -> String {
    let values: BTreeMap<String, serde_json::Value> = section.parse().unwrap_or_default();
    let named: BTreeMap<_, _> =
        values.into_iter().filter(|(key, _)| TARGET_KEYS.contains(&key.as_str())).collect();
    let named = serde_json::to_string(&named).unwrap_or_default();
    format!("{via}@{}:{named}", host.unwrap_or("local"))
}
