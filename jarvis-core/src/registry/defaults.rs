//! One line a backend.

use std::sync::Arc;

use super::{FactoryContext, Registry};
#[cfg(feature = "sqlite")]
use crate::config::StoreUrl;
use base::events::{EventBus, MemoryBus};
use base::vocabulary::ServiceId;
use base::{Error, ErrorKind, Result};
use supervision::health::HealthProbe;
use supervision::lease::{MemoryLease, MemoryLedger};
use supervision::restart::ServiceRestarter;

pub(super) fn register(registry: &mut Registry) {
    probes(registry);
    restarters(registry);
    sinks(registry);
    registry.lease("memory", |section, context| {
        section.parse::<Nothing>()?;
        let lease = Arc::new(MemoryLease::new(context.clock.clone()));
        let ledger = Arc::new(MemoryLedger::new(context.clock.clone()));
        Ok((lease, ledger))
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
    registry.probe("tcp", |section, _| Ok(Arc::new(tcp::TcpProbe::new(&section.parse()?)?)));
    registry.probe("dns", |section, _| Ok(Arc::new(dns::DnsProbe::new(&section.parse()?)?)));
    registry.probe("command", |section, _| {
        Ok(Arc::new(command::CommandProbe::new(section.parse()?)?) as Arc<dyn HealthProbe>)
    });
    #[cfg(feature = "http")]
    registry.probe("http", |section, _| {
        Ok(Arc::new(supervision::health::http::HttpProbe::new(&section.parse()?)?))
    });
    #[cfg(feature = "http")]
    registry.probe("model", |section, _| {
        Ok(Arc::new(supervision::health::model::ModelProbe::new(&section.parse()?)?))
    });
    #[cfg(feature = "host")]
    registry.probe("host", |section, _| {
        Ok(Arc::new(supervision::health::host::HostProbe::new(section.parse()?)?))
    });
    #[cfg(feature = "redis")]
    registry.probe("redis", |section, _| {
        Ok(Arc::new(supervision::health::redis::RedisProbe::new(&section.parse()?)?))
    });
    #[cfg(feature = "postgres")]
    registry.probe("postgres", |section, _| {
        Ok(Arc::new(supervision::health::postgres::PostgresProbe::new(&section.parse()?)?))
    });
    #[cfg(feature = "process")]
    registry.probe("process", |section, _| {
        Ok(Arc::new(supervision::health::process::ProcessProbe::new(section.parse()?)?))
    });
}

fn restarters(registry: &mut Registry) {
    use supervision::restart::{command, systemd};
    registry.restarter("command", |section, context| {
        let (config, clock) = (section.parse()?, context.clock.clone());
        let restarter = command::CommandRestarter::new(config, service(context)?, clock)?;
        Ok(Arc::new(restarter) as Arc<dyn ServiceRestarter>)
    });
    registry.restarter("systemd", |section, context| {
        let clock = context.clock.clone();
        Ok(Arc::new(systemd::SystemdRestarter::new(section.parse()?, clock)?))
    });
    #[cfg(feature = "process")]
    registry.restarter("process", |section, context| {
        use supervision::restart::process::ProcessRestarter;
        let (config, clock) = (section.parse()?, context.clock.clone());
        let (service, state_dir) = (service(context)?, &context.state_dir);
        let restarter = ProcessRestarter::new(config, service, state_dir, clock)?;
        Ok(Arc::new(restarter) as Arc<dyn ServiceRestarter>)
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
        Ok(Arc::new(DockerRestarter::new(section.parse()?, hosts)?))
    });
}

fn sinks(registry: &mut Registry) {
    use supervision::alert::{AlertSink, CommandSink, LogConfig, LogSink};
    registry.sink("log", |section, _| Ok(Arc::new(LogSink::new(section.parse::<LogConfig>()?)?)));
    registry.sink("command", |section, context| {
        let sink = CommandSink::new(section.parse()?, context.clock.clone())?;
        Ok(Arc::new(sink) as Arc<dyn AlertSink>)
    });
    #[cfg(feature = "http")]
    registry.sink("webhook", |section, context| {
        let clock = context.clock.clone();
        Ok(Arc::new(supervision::alert::WebhookSink::new(section.parse()?, clock)?))
    });
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
