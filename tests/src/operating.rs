//! A running operator with short waits, for tests of the real loop.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jarvis_core::Result;
use jarvis_core::clock::{ClockExt, SharedClock, SystemClock};
use jarvis_core::events::{Event, MemoryBus};
use jarvis_core::health::aggregator::{Aggregator, CheckPolicy, CheckSpec, ServiceSpec};
use jarvis_core::health::{HealthProbe, Observation, ProbeContext};
use jarvis_core::lease::{RestartLedger, SqliteLease, SqliteLedger};
use jarvis_core::operator::{
    ManagedService, Operator, OperatorParts, OperatorSettings, Outlet, RestartPolicy,
    ServiceStatus, StateStore,
};
use jarvis_core::registry::Leadership;
use jarvis_core::restart::ServiceRestarter;
use jarvis_core::store::sqlite::{Options, Sqlite};
use jarvis_core::vocabulary::{CheckName, FailureKind, Lifecycle, ServiceId, ServiceState};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

/// How long anything here may take before a test says that it never came.
const PATIENCE: Duration = Duration::from_secs(30);

/// A service name.
#[must_use]
pub fn id(name: &str) -> ServiceId {
    ServiceId::new(name).expect("a service name")
}

/// The default budgets with waits that a test has time for.
#[must_use]
pub fn quick() -> RestartPolicy {
    let mut policy = RestartPolicy::default();
    policy.wait = Duration::from_millis(200);
    policy.verify_interval = Duration::from_millis(100);
    policy.stabilise = Duration::from_secs(2);
    policy.backoff.initial = Duration::from_millis(100);
    policy.backoff.jitter = false;
    policy.native_grace = Duration::from_secs(1);
    policy
}

/// Passes while the restarter says that the service runs.
#[derive(Debug)]
pub struct Runs(pub Arc<dyn ServiceRestarter>);

#[async_trait]
impl HealthProbe for Runs {
    async fn probe(&self, _: ProbeContext) -> Result<Observation> {
        let running = self.0.observe().await?;
        Ok(if running.is_running() {
            Observation::pass("it runs")
        } else {
            Observation::fail(FailureKind::Exited, "it does not run")
        })
    }
}

/// Keeps every event.
#[derive(Debug, Default)]
pub struct Recorder {
    events: Mutex<Vec<Event>>,
    arrived: Notify,
    aloud: AtomicBool,
}

impl Recorder {
    /// From now on each event is also a line of JSON on standard output, before it counts as
    /// announced.
    pub fn aloud(&self) {
        self.aloud.store(true, Ordering::SeqCst);
    }

    /// All of them, in order.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many are of this type (`incident_opened`) and about this service.
    #[must_use]
    pub fn count(&self, service: &str, kind: &str) -> usize {
        let of = |event: &&Event| {
            event.service().is_some_and(|id| id.as_str() == service) && name(event) == kind
        };
        self.events().iter().filter(of).count()
    }
}

/// The type of an event as it is serialised.
#[must_use]
pub fn name(event: &Event) -> String {
    let value = serde_json::to_value(event).expect("an event is JSON");
    value["type"].as_str().unwrap_or_default().to_owned()
}

#[async_trait]
impl Outlet for Recorder {
    async fn announce(&self, event: &Event) -> Result<()> {
        if self.aloud.load(Ordering::SeqCst) {
            let mut line = serde_json::to_string(event).expect("an event is JSON");
            line.push('\n');
            std::io::stdout().lock().write_all(line.as_bytes())?;
        }
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event.clone());
        self.arrived.notify_waiters();
        Ok(())
    }
}

/// A folder, an aggregator and an operator on its `operator.db`.
#[derive(Debug)]
pub struct Stage {
    /// The real clock.
    pub clock: SharedClock,
    /// Everything that was announced.
    pub events: Arc<Recorder>,
    /// The operator.
    pub operator: Operator,
    /// Its folder.
    pub folder: PathBuf,
    health: Aggregator,
    checks: CheckPolicy,
    specs: Vec<ServiceSpec>,
    services: Vec<ManagedService>,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

fn operator_db(folder: &Path) -> Sqlite {
    let options = Options::new().with_busy_timeout(Duration::from_millis(500));
    Sqlite::open(folder.join("operator.db"), &options).expect("operator.db")
}

impl Stage {
    /// Nothing runs yet. Lease and ledger are in the folder.
    #[must_use]
    pub fn new(folder: &Path, change: impl FnOnce(&mut OperatorSettings)) -> Self {
        Self::with_ledger(folder, change, |ledger| ledger)
    }

    /// As [`new`](Self::new), with a ledger of the test's own around the real one.
    #[must_use]
    pub fn with_ledger(
        folder: &Path,
        change: impl FnOnce(&mut OperatorSettings),
        wrap: impl FnOnce(Arc<dyn RestartLedger>) -> Arc<dyn RestartLedger>,
    ) -> Self {
        let clock: SharedClock = Arc::new(SystemClock::new());
        let sqlite = operator_db(folder);
        let lease = Arc::new(SqliteLease::new(&sqlite, Arc::clone(&clock)));
        let ledger = wrap(Arc::new(SqliteLedger::new(&sqlite, clock)));
        Self::with_leadership(folder, (lease, ledger), change)
    }

    /// Nothing runs yet. Lease and ledger are these.
    #[must_use]
    pub fn with_leadership(
        folder: &Path,
        (lease, ledger): Leadership,
        change: impl FnOnce(&mut OperatorSettings),
    ) -> Self {
        let clock: SharedClock = Arc::new(SystemClock::new());
        let sqlite = operator_db(folder);
        let mut settings = OperatorSettings::default();
        settings.kill_switch = Some(folder.join("STOP"));
        settings.lease_ttl = Duration::from_secs(3);
        settings.dependency_grace = Duration::from_millis(500);
        settings.stagger = Duration::from_millis(200);
        change(&mut settings);
        let health = Aggregator::new(
            Arc::clone(&clock),
            Arc::new(MemoryBus::new(Arc::clone(&clock), "stage")),
        );
        let events = Arc::new(Recorder::default());
        let parts = OperatorParts {
            clock: Arc::clone(&clock),
            health: health.clone(),
            lease,
            ledger,
            state: StateStore::sqlite(&sqlite),
            outlet: Arc::clone(&events) as Arc<dyn Outlet>,
        };
        let operator = Operator::new(parts, settings).expect("an operator");
        Self {
            clock,
            events,
            operator,
            folder: folder.to_owned(),
            health,
            checks: CheckPolicy {
                interval: Duration::from_millis(100),
                interval_down: Duration::from_millis(50),
                timeout: Duration::from_secs(1),
                success_threshold: 1,
                failure_threshold: 2,
                ..CheckPolicy::default()
            },
            specs: Vec::new(),
            services: Vec::new(),
            running: None,
        }
    }

    /// Adds a service with one check.
    pub fn add(&mut self, service: ManagedService, probe: Arc<dyn HealthProbe>) {
        let check = CheckSpec::new(CheckName::new("runs").expect("a name"), probe);
        let checks = vec![check.with_policy(self.checks.clone())];
        self.specs.push(ServiceSpec::new(service.id.clone(), checks));
        self.services.push(service);
    }

    /// Takes a service out, for the next [`apply`](Self::apply).
    pub fn remove(&mut self, name: &str) -> ManagedService {
        self.specs.retain(|spec| spec.id.as_str() != name);
        let at = self.services.iter().position(|service| service.id.as_str() == name);
        self.services.remove(at.expect("a known service"))
    }

    /// Puts the services in force.
    pub fn apply(&self) {
        self.health.apply(self.specs.clone()).expect("services that can be watched");
        self.operator.apply(self.services.clone());
    }

    /// Runs the aggregator and the operator.
    pub fn start(&mut self) {
        self.apply();
        let (stop, stopped) = oneshot::channel::<()>();
        let (health, operator) = (self.health.clone(), self.operator.clone());
        let task = tokio::spawn(async move {
            let watching = tokio::spawn(async move { health.run(std::future::pending()).await });
            let until = async {
                let _ = stopped.await;
            };
            operator.run(until).await.expect("it runs once");
            watching.abort();
        });
        self.running = Some((stop, task));
    }

    /// Asks it to end, as SIGTERM does, and waits until it has.
    pub async fn stop(&mut self) {
        let Some((stop, task)) = self.running.take() else { return };
        drop(stop);
        let ended = self.clock.until(self.clock.monotonic() + PATIENCE, task).await;
        ended.expect("it ends within 30 s").expect("it did not panic");
    }

    /// Waits until `done` says so about what was announced.
    pub async fn until(&self, what: &str, done: impl Fn(&Recorder) -> bool) {
        let deadline = self.clock.monotonic() + PATIENCE;
        loop {
            let arrived = self.events.arrived.notified();
            if done(&self.events) {
                return;
            }
            if self.clock.until(deadline, arrived).await.is_none() {
                let story: Vec<String> =
                    self.events.events().iter().map(|e| format!("{e:?}")).collect();
                panic!("{what} never came; what came:\n{}", story.join("\n"));
            }
        }
    }

    /// Waits for that many events of this type about this service.
    pub async fn seen(&self, service: &str, kind: &str, times: usize) {
        let what = format!("{kind} of {service} x{times}");
        self.until(&what, |events| events.count(service, kind) >= times).await;
    }

    /// Waits until we lead and every service is well and trusted.
    ///
    /// # Panics
    /// When that does not come about.
    pub async fn well(&self) {
        let deadline = self.clock.monotonic() + PATIENCE;
        loop {
            let status = self.operator.status().await;
            let steady = |service: &ServiceStatus| {
                service.state == ServiceState::Healthy && service.lifecycle == Lifecycle::Steady
            };
            let all = status.services.len() == self.services.len();
            if status.lease.is_some() && all && status.services.iter().all(steady) {
                return;
            }
            assert!(self.clock.monotonic() < deadline, "not all is well: {status:#?}");
            self.linger(Duration::from_millis(10)).await;
        }
    }

    /// Waits until `done`, for what no event tells.
    ///
    /// # Panics
    /// When that does not come about.
    pub async fn wait(&self, what: &str, done: impl Fn() -> bool) {
        let deadline = self.clock.monotonic() + PATIENCE;
        while !done() {
            assert!(self.clock.monotonic() < deadline, "{what} never came");
            self.linger(Duration::from_millis(5)).await;
        }
    }

    /// The policy of the check of every service that is added from now on.
    pub fn with_checks(&mut self, change: impl FnOnce(&mut CheckPolicy)) {
        change(&mut self.checks);
    }

    /// Lets real time pass: for what must not happen.
    pub async fn linger(&self, duration: Duration) {
        self.clock.sleep(duration).await;
    }
}
