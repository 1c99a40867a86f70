//! The public paths: each one that existed when `jarvis-core` was one crate still exists, and the
//! inner crates are released with it.

#![expect(
    unused_imports,
    clippy::expect_used,
    reason = "importing a path is the test; a manifest that can't be read has to stop it"
)]

mod alert {
    use jarvis_core::alert::{
        Alert, AlertJournal, AlertKind, AlertSink, AlertStatus, Alerter, CommandConfig,
        CommandSink, Heartbeat, HeartbeatConfig, HostedSink, LogConfig, LogSink, MIN_REMINDER,
        MemoryJournal, MemorySink, MockAlertSink, Preset, Route, Row, SIGNATURE_HEADER, SinkEntry,
        SinkStats, SqliteJournal, WebhookConfig, WebhookSink,
    };
}

mod cache {
    use jarvis_core::cache::{
        Cache, CacheExt, CachePolicy, CacheStats, CacheValue, Condition, DEFAULT_TTL, Entry,
        Lifetime, LoadOptions, Loader, Loading, MAX_TAGS, MemoryCache, MockCache, NearCache,
        RedisCache, SetOptions, escape_pattern, json_loader, loader,
    };
}

mod clock {
    use jarvis_core::clock::{
        BootId, Clock, ClockExt, ManualClock, Monotonic, SharedClock, Sleep, Stamp, SystemClock,
        WallTime,
    };
}

mod config {
    use jarvis_core::config::{
        CheckSettings, Config, Container, FILE_NAME, HostSettings, JarvisSettings, MAX_FILE,
        NamedSection, Origin, Problem, Report, RestartSettings, Section, ServiceSettings, Shown,
        Source, StoreSettings, StoreUrl, Weight, ai_dawg, from_containers,
    };
}

mod control {
    use jarvis_core::control::{
        ControlClient, ControlHandler, ControlServer, Hello, MAX_REPLY, MAX_REQUEST, PROTOCOL,
        Peer, Reply, ReplyItems, ReplyStream, Request, SOCKET_NAME, ServerOptions, WireError,
        socket_path,
    };
}

mod error {
    use jarvis_core::error::{Error, ErrorKind, Result, Retry};
}

mod events {
    use jarvis_core::events::{
        Backlog, BusPolicy, Delivery, Envelope, Event, EventBus, EventLog, EventQuery, Filter,
        Follow, Gap, LogEntry, MAX_PAYLOAD, MAX_PAYLOAD_DEPTH, MAX_SUBSCRIBER_BUFFER, MAX_TOPIC,
        MemoryBus, Message, Origin, Overflow, Page, RedisBus, Retention, SUBSCRIBER_BUFFER,
        StreamPosition, Subscription, Topic, TopicName, TopicPattern, UnknownEvent,
    };
}

mod health {
    use jarvis_core::health::{
        HealthProbe, HostedProbe, MAX_MESSAGE, MockHealthProbe, Observation, Phases, ProbeContext,
    };
}

mod health_aggregator {
    use jarvis_core::health::aggregator::{
        Aggregator, Change, Changes, CheckCounters, CheckPolicy, CheckResult, CheckSnapshot,
        CheckSpec, LatencyPercentiles, LoopStats, PlatformSnapshot, RecentResult, Round, Rounds,
        ServiceSnapshot, ServiceSpec, SuspicionFacts, platform_of,
    };
}

mod health_command {
    use jarvis_core::health::command::{CommandConfig, CommandProbe, ExitCodes};
}

mod health_dns {
    use jarvis_core::health::dns::{DnsConfig, DnsProbe, Lookup, Resolver, SystemLookup};
}

mod health_host {
    use jarvis_core::health::host::{DiskConfig, HostConfig, HostProbe, LevelsConfig};
}

mod health_http {
    use jarvis_core::health::http::{
        Expect, HttpConfig, HttpProbe, Operators, RuleConfig, StatusSet,
    };
}

mod health_memory {
    use jarvis_core::health::memory::{Answer, MemoryProbe};
}

mod health_model {
    use jarvis_core::health::model::{ModelConfig, ModelDepth, ModelProbe};
}

mod health_postgres {
    use jarvis_core::health::postgres::{PostgresConfig, PostgresProbe, PostgresRole};
}

mod health_process {
    use jarvis_core::health::process::{ProcessConfig, ProcessProbe};
}

mod health_redis {
    use jarvis_core::health::redis::{RedisConfig, RedisProbe, RedisRole};
}

mod health_tcp {
    use jarvis_core::health::tcp::{TcpConfig, TcpProbe};
}

mod health_tls {
    use jarvis_core::health::tls::TlsOptions;
}

mod health_uptime {
    use jarvis_core::health::uptime::{
        Account, ClosedMinute, Histogram, History, PassedCheck, ServiceUptime, SqliteHistory,
        Uptime, UptimeReport,
    };
}

mod hosted {
    use jarvis_core::hosted::{HostedCall, HostedObject, LeftBehind, METHODS, Running};
}

mod jarvis {
    use jarvis_core::jarvis::{
        ActionAnswer, AlertTestAnswer, AnswerSource, Attached, CacheServer, CheckAnswer,
        DEFAULT_WINDOW, END_WITHIN, EventStream, EventsQuery, Healthz, Jarvis, JarvisBuilder,
        ServiceCheck, StatusAnswer, UptimeAnswer,
    };
}

mod layers {
    use jarvis_core::layers::{CountedSessions, SessionCall, SessionCounts, SessionOutcome};
}

mod lease {
    use jarvis_core::lease::{
        Attempt, Grant, Lease, Limit, MemoryLease, MemoryLedger, MockLease, MockRestartLedger,
        Reservation, RestartLedger, SqliteLease, SqliteLedger, Usage,
    };
}

mod lease_redis {
    use jarvis_core::lease::redis::{RedisLease, RedisLeaseConfig, RedisLedger};
}

mod metrics {
    use jarvis_core::metrics::Scrape;
}

mod money {
    use jarvis_core::money::{PicoPrice, Usd};
}

mod operator {
    use jarvis_core::operator::{
        Action, Allow, AllowedAction, Calendar, Command, IncidentStatus, LeaseStatus, Limits,
        MaintenanceStatus, MaintenanceWindow, ManagedService, Operator, OperatorParts,
        OperatorSettings, OperatorStatus, Outlet, Reply, RestartPolicy, RollbackPolicy,
        SelfSuspicion, ServiceStatus, StateStore,
    };
}

mod registry {
    use jarvis_core::registry::{
        FactoryContext, Leadership, Registry, RestarterProbe, Wiring, examine,
    };
}

mod resilience {
    use jarvis_core::resilience::{
        Backoff, BackoffPolicy, Breaker, BreakerPolicy, BreakerState, Permit, SingleFlight,
        SlidingWindow, random_fraction,
    };
}

mod restart {
    use jarvis_core::restart::{
        ActionRequest, EventSender, Exit, HostedRestarter, InstanceEvent, InstanceEvents, Leaving,
        MockServiceRestarter, Receipt, RunState, Running, ServiceRestarter,
    };
}

mod restart_command {
    use jarvis_core::restart::command::{CommandConfig, CommandRestarter};
}

mod restart_docker {
    use jarvis_core::restart::docker::{
        ComposeTarget, Discovered, DockerConfig, DockerHosts, DockerRestarter, DockerTls,
        PublishedPort, discover,
    };
}

mod restart_memory {
    use jarvis_core::restart::memory::{Call, MemoryRestarter, Script};
}

mod restart_process {
    use jarvis_core::restart::process::{OnExit, ProcessConfig, ProcessRestarter};
}

mod restart_systemd {
    use jarvis_core::restart::systemd::{SystemdConfig, SystemdRestarter};
}

mod secret {
    use jarvis_core::secret::{REDACTED, Secret, redact_url};
}

mod session {
    use jarvis_core::session::{
        Change, LONGEST_TTL, MemorySessions, MockSessionStore, NewSession, RedisSessions, Save,
        SaveOutcome, Session, SessionData, SessionHandle, SessionId, SessionMeta, SessionPage,
        SessionPolicy, SessionRef, SessionStore, SessionSummary, SqliteSessions, UPDATE_DEADLINE,
    };
}

mod store_redis {
    use jarvis_core::store::redis::{Options, Redis, State, StateChanges};
}

mod store_sqlite {
    use jarvis_core::store::sqlite::{Options, Sqlite};
}

mod testkit {
    use jarvis_core::testkit::{Case, Running};
}

mod testkit_alert {
    use jarvis_core::testkit::alert::{CASES, Receiver, SinkEnv};
}

mod testkit_bus {
    use jarvis_core::testkit::bus::{BusEnv, CASES};
}

mod testkit_cache {
    use jarvis_core::testkit::cache::{CASES, CacheEnv, Opened};
}

mod testkit_health {
    use jarvis_core::testkit::health::{CASES, Mood, ProbeEnv, SECRET};
}

mod testkit_lease {
    use jarvis_core::testkit::lease::{CASES, LeaseEnv};
}

mod testkit_ledger {
    use jarvis_core::testkit::ledger::{CASES, LedgerEnv};
}

mod testkit_redis {
    use jarvis_core::testkit::redis::{
        Listener, ListenerEvent, Repeat, add_by_script, call, clock_and_version, pipeline,
        remove_all, subscribe,
    };
}

mod testkit_restart {
    use jarvis_core::testkit::restart::{CASES, RestarterEnv};
}

mod testkit_rows {
    use jarvis_core::testkit::rows::Rows;
}

mod testkit_session {
    use jarvis_core::testkit::session::{CASES, SessionEnv};
}

mod units {
    use jarvis_core::units::{
        MAX_DURATION, format_duration, parse_bytes, parse_duration, parse_percent,
    };
}

mod units_bytes {
    use jarvis_core::units::bytes::{deserialize, serialize};
}

mod units_duration {
    use jarvis_core::units::duration::{deserialize, serialize};
}

mod units_millis {
    use jarvis_core::units::millis::{deserialize, serialize};
}

mod units_optional_duration {
    use jarvis_core::units::optional_duration::{deserialize, serialize};
}

mod units_optional_millis {
    use jarvis_core::units::optional_millis::{deserialize, serialize};
}

mod units_percent {
    use jarvis_core::units::percent::{deserialize, serialize};
}

mod vocabulary {
    use jarvis_core::vocabulary::{
        ActionKind, ActionOutcome, Cause, CheckName, FailureKind, FencingToken, Gate, Hold,
        HolderId, IncidentId, InstanceId, IntentId, KeyPrefix, Lifecycle, Mode, Platform,
        ServiceId, ServiceState, Severity, Trigger, UserId, Verdict, VersionId,
    };
}

mod root {
    use jarvis_core::{
        Error, ErrorKind, Jarvis, JarvisBuilder, PicoPrice, Result, Retry, Secret, Usd,
    };
}

/// The manifest of a package of this workspace.
fn manifest(folder: &str) -> toml::Table {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let text = std::fs::read_to_string(path.join("Cargo.toml")).expect("a manifest");
    text.parse().expect("a manifest in TOML")
}

#[test]
fn the_inner_crates_share_the_version_of_the_package() {
    let workspace = manifest("");
    let version = workspace["workspace"]["package"]["version"].as_str().expect("a version");
    for name in ["base", "state", "supervision"] {
        let package = manifest(&format!("jarvis-core/{name}"));
        let shared = package["package"]["version"]["workspace"].as_bool();
        assert_eq!(shared, Some(true), "{name} has a version of its own");
        let wanted = workspace["workspace"]["dependencies"][name]["version"].as_str();
        assert_eq!(wanted, Some(version), "{name} is wanted in another version");
    }
}
