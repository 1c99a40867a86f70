//! One line a backend.

use std::sync::Arc;

use super::{FactoryContext, Facts, Made, Registry};
#[cfg(feature = "docker")]
use crate::config::Section;
#[cfg(feature = "sqlite")]
use crate::config::StoreUrl;
use base::events::{EventBus, MemoryBus};
use base::vocabulary::ServiceId;
use base::{Error, ErrorKind, Result};
use supervision::lease::{MemoryLease, MemoryLedger};

pub(super) fn register(registry: &mut Registry) {
    probes(registry);
    restarters(registry);
    sinks(registry);
    registry.lease("memory", |section, context| {
        section.parse::<Nothing>()?;
        let lease = Arc::new(MemoryLease::new(context.clock.clone()));
        Ok((lease, Arc::new(MemoryLedger::new(context.clock.clone()))))
    });
    #[cfg(feature = "sqlite")]
    registry.lease("file", |section, context| {
        section.parse::<Nothing>()?;
        file_lease(context)
    });
    #[cfg(feature = "redis")]
    redis_lease(registry);
    registry.in_memory("memory");
    registry.bus("memory", |_url, _policy, context| {
        Ok(Arc::new(MemoryBus::new(context.clock.clone(), instance()?)) as Arc<dyn EventBus>)
    });
    #[cfg(feature = "redis")]
    redis_buses(registry);
    sessions(registry);
    caches(registry);
}

fn caches(registry: &mut Registry) {
    use state::cache::{Cache, MemoryCache};
    registry.cache("memory", |_url, policy, context| {
        let cache = MemoryCache::new(policy.clone(), context.clock.clone())?;
        Ok(Arc::new(cache) as Arc<dyn Cache>)
    });
    #[cfg(feature = "redis")]
    for scheme in super::redis::SCHEMES {
        use state::cache::{NearCache, RedisCache};
        let servers = registry.redis();
        registry.cache(*scheme, move |url, policy, context| {
            let redis = servers.open(url, &context.clock)?;
            let (policy, clock) = (policy.clone(), context.clock.clone());
            Ok(match policy.near {
                true => Arc::new(NearCache::new(&redis, policy, clock)?) as Arc<dyn Cache>,
                false => Arc::new(RedisCache::new(&redis, policy, clock)?),
            })
        });
    }
}

fn sessions(registry: &mut Registry) {
    use state::session::{MemorySessions, SessionStore};
    registry.session("memory", |_url, policy, context| {
        let sessions = MemorySessions::new(policy.clone(), context.clock.clone())?;
        Ok(Arc::new(sessions) as Arc<dyn SessionStore>)
    });
    #[cfg(feature = "sqlite")]
    registry.session("sqlite", |url, policy, context| {
        use base::store::sqlite::{Options, Sqlite};
        use state::session::SqliteSessions;
        let file = StoreUrl::from(url).sqlite_file(&context.state_dir);
        let sqlite = Sqlite::open(file.unwrap_or_default(), &Options::new())?;
        let sessions = SqliteSessions::new(&sqlite, policy.clone(), context.clock.clone())?;
        Ok(Arc::new(sessions) as Arc<dyn SessionStore>)
    });
    #[cfg(feature = "redis")]
    for scheme in super::redis::SCHEMES {
        use state::session::RedisSessions;
        let servers = registry.redis();
        registry.session(*scheme, move |url, policy, context| {
            let redis = servers.open(url, &context.clock)?;
            let sessions = RedisSessions::new(&redis, policy.clone(), context.clock.clone())?;
            Ok(Arc::new(sessions) as Arc<dyn SessionStore>)
        });
    }
}

#[cfg(feature = "redis")]
fn redis_lease(registry: &mut Registry) {
    let servers = registry.redis();
    registry.lease("redis", move |section, context| {
        let config: supervision::lease::RedisLeaseConfig = section.parse()?;
        let redis = servers.open(config.url.expose(), &context.clock)?;
        let (lease, ledger) = config.on(&redis, context.clock.clone())?;
        Ok((Arc::new(lease), Arc::new(ledger)))
    });
}

/// Every scheme of the shared client.
#[cfg(feature = "redis")]
fn redis_buses(registry: &mut Registry) {
    use base::events::RedisBus;
    for scheme in super::redis::SCHEMES {
        let servers = registry.redis();
        registry.bus(*scheme, move |url, policy, context| {
            let redis = servers.open(url, &context.clock)?;
            let bus = RedisBus::new(&redis, policy.clone(), context.clock.clone())?;
            Ok(Arc::new(bus) as Arc<dyn EventBus>)
        });
    }
}

fn probes(registry: &mut Registry) {
    use supervision::health::{command, dns, tcp};
    registry.probe("tcp", |section, _| {
        let config: tcp::TcpConfig = section.parse()?;
        let facts = Facts::new().with_endpoint("address", &config.address);
        Ok(Made::new(Arc::new(tcp::TcpProbe::new(&config)?), facts))
    });
    registry.probe("dns", |section, _| Ok(Arc::new(dns::DnsProbe::new(&section.parse()?)?)));
    registry.probe("command", |section, _| {
        let config: command::CommandConfig = section.parse()?;
        let facts = program(&config.command);
        Ok(Made::new(Arc::new(command::CommandProbe::new(config)?), facts))
    });
    #[cfg(feature = "http")]
    registry.probe("http", |section, _| {
        let config: supervision::health::http::HttpConfig = section.parse()?;
        let facts = Facts::new().with_endpoint("url", &config.url);
        Ok(Made::new(Arc::new(supervision::health::http::HttpProbe::new(&config)?), facts))
    });
    #[cfg(feature = "http")]
    registry.probe("model", |section, _| {
        let config: supervision::health::model::ModelConfig = section.parse()?;
        let facts = Facts::new().with_endpoint("base_url", &config.base_url);
        Ok(Made::new(Arc::new(supervision::health::model::ModelProbe::new(&config)?), facts))
    });
    #[cfg(feature = "host")]
    registry.probe("host", |section, _| {
        Ok(Arc::new(supervision::health::host::HostProbe::new(section.parse()?)?))
    });
    #[cfg(feature = "redis")]
    registry.probe("redis", |section, _| {
        let config: supervision::health::redis::RedisConfig = section.parse()?;
        let facts = Facts::new().with_endpoint("url", &config.url);
        Ok(Made::new(Arc::new(supervision::health::redis::RedisProbe::new(&config)?), facts))
    });
    #[cfg(feature = "postgres")]
    registry.probe("postgres", |section, _| {
        let config: supervision::health::postgres::PostgresConfig = section.parse()?;
        let facts = Facts::new().with_endpoint("url", &config.url);
        Ok(Made::new(Arc::new(supervision::health::postgres::PostgresProbe::new(&config)?), facts))
    });
    #[cfg(feature = "process")]
    registry.probe("process", |section, _| {
        Ok(Arc::new(supervision::health::process::ProcessProbe::new(section.parse()?)?))
    });
}

fn restarters(registry: &mut Registry) {
    use supervision::restart::{command, systemd};
    registry.restarter("command", |section, context| {
        let config: command::CommandConfig = section.parse()?;
        let facts = program(&config.command);
        let clock = context.clock.clone();
        let restarter = command::CommandRestarter::new(config, service(context)?, clock)?;
        Ok(Made::new(Arc::new(restarter), facts))
    });
    registry.restarter("systemd", |section, context| {
        let clock = context.clock.clone();
        let facts = Facts::new()
            .with_advice("To leave restarts to JARVIS alone, write Restart=no in the unit");
        let restarter = systemd::SystemdRestarter::new(section.parse()?, clock)?;
        Ok(Made::new(Arc::new(restarter), facts))
    });
    #[cfg(feature = "process")]
    registry.restarter("process", |section, context| {
        use supervision::restart::process::{ProcessConfig, ProcessRestarter};
        let config: ProcessConfig = section.parse()?;
        let facts = program(&config.command).with_running_loop();
        let (service, state_dir, clock) =
            (service(context)?, &context.state_dir, context.clock.clone());
        let restarter = ProcessRestarter::new(config, service, state_dir, clock)?;
        Ok(Made::new(Arc::new(restarter), facts))
    });
    #[cfg(feature = "docker")]
    docker(registry);
}

/// All containers of one engine share its connection and its event stream.
#[cfg(feature = "docker")]
fn docker(registry: &mut Registry) {
    use supervision::restart::docker::{DockerHosts, DockerRestarter};
    let hosts = std::sync::OnceLock::new();
    registry.restarter("docker", move |section, context| {
        let hosts = hosts.get_or_init(|| DockerHosts::new(context.clock.clone()));
        let facts = Facts::new().with_advice(
            "To leave restarts to JARVIS alone, write restart: \"no\" in the compose file (docker update --restart=no NAME)",
        );
        let section = on_its_host(section, context);
        Ok(Made::new(Arc::new(DockerRestarter::new(section.parse()?, hosts)?), facts))
    });
}

/// A service on another machine is restarted through that machine's engine, unless it names one.
#[cfg(feature = "docker")]
fn on_its_host(section: &Section, context: &FactoryContext) -> Section {
    let mut section = section.clone();
    for (theirs, own) in [("docker", "host"), ("tls", "tls")] {
        if let Some(entry) = context.host.as_ref().and_then(|host| host.entry(theirs)) {
            section.put(own, entry);
        }
    }
    section
}

fn sinks(registry: &mut Registry) {
    use supervision::alert::{CommandConfig, CommandSink, LogConfig, LogSink};
    registry.sink("log", |section, _| Ok(Arc::new(LogSink::new(section.parse::<LogConfig>()?)?)));
    registry.sink("command", |section, context| {
        let config: CommandConfig = section.parse()?;
        let facts = program(&config.command);
        Ok(Made::new(Arc::new(CommandSink::new(config, context.clock.clone())?), facts))
    });
    #[cfg(feature = "http")]
    registry.sink("webhook", |section, context| {
        use supervision::alert::{WebhookConfig, WebhookSink};
        let config: WebhookConfig = section.parse()?;
        let facts = Facts::new().with_endpoint("url", config.url.expose());
        Ok(Made::new(Arc::new(WebhookSink::new(config, context.clock.clone())?), facts))
    });
}

/// What runs the program that stands first in `command`.
fn program(command: &[String]) -> Facts {
    match command.first() {
        Some(program) => Facts::new().with_program("command", program),
        None => Facts::new(),
    }
}

/// For kinds without keys.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[cfg(feature = "sqlite")]
fn file_lease(context: &FactoryContext) -> Result<super::Leadership> {
    use supervision::lease::{SqliteLease, SqliteLedger};
    let sqlite = super::open_operator_db(&context.state_dir)?;
    let lease = Arc::new(SqliteLease::new(&sqlite, context.clock.clone()));
    Ok((lease, Arc::new(SqliteLedger::new(&sqlite, context.clock.clone()))))
}

fn service(context: &FactoryContext) -> Result<&ServiceId> {
    context.service.as_ref().ok_or_else(|| {
        Error::new(ErrorKind::InvalidInput, "this restarter has to be told its service")
    })
}

/// Names this process: random, so that two with the same pid on two machines differ.
fn instance() -> Result<String> {
    let mut bytes = [0_u8; 8];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::new(ErrorKind::Exhausted, format!("no random numbers: {error}")))?;
    Ok(format!("{}-{:016x}", std::process::id(), u64::from_le_bytes(bytes)))
}
