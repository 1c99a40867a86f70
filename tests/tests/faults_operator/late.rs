//! What was seen of the old life and arrives after the new one was verified.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jarvis_core::Result;
use jarvis_core::health::{HealthProbe, Observation, ProbeContext};
use jarvis_core::operator::ManagedService;
use jarvis_core::restart::{ActionRequest, Receipt, Running, ServiceRestarter};
use jarvis_core::vocabulary::{FailureKind, InstanceId};
use jarvis_tests::operating::{Runs, Stage, id, quick};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::Semaphore;

use crate::stage::{Twist, Twisted, owned, stop_process};

/// As [`Runs`], and it says which life it saw.
#[derive(Debug)]
struct Lives(Arc<dyn ServiceRestarter>);

#[async_trait]
impl HealthProbe for Lives {
    async fn probe(&self, _: ProbeContext) -> Result<Observation> {
        let running = self.0.observe().await?;
        let seen = if running.is_running() {
            Observation::pass("it runs")
        } else {
            Observation::fail(FailureKind::Exited, "it does not run")
        };
        Ok(seen.with_instance(running.instance))
    }
}

fn kill(life: &InstanceId) {
    let pid = life.as_str().split(' ').nth(1).unwrap().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

/// Its check needs three passes to take back that it is down, more than the verification has
/// waited for; a new life is news of its own meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_that_still_says_down_of_the_old_life_opens_no_glitch() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(folder.path(), |_| {});
    stage.with_checks(|checks| checks.success_threshold = 3);
    let restarter = owned(folder.path(), "api", "exec sleep 600");
    let service = ManagedService::new(id("api")).with_restarter(Arc::clone(&restarter), quick());
    stage.add(service, Arc::new(Lives(Arc::clone(&restarter))));
    stage.start();
    stage.well().await;
    for nth in 1..=2 {
        let life = restarter.observe().await.unwrap().instance.unwrap();
        kill(&life);
        stage.seen("api", "incident_resolved", nth).await;
        assert_ne!(restarter.observe().await.unwrap().instance, Some(life));
    }
    assert_eq!(stage.events.count("api", "verify_failed"), 0);
    assert_eq!(stage.events.count("api", "incident_opened"), 2);
    stage.stop().await;
    stop_process(&restarter).await;
}

/// A platform that answers the first question after a restart with what it knew before it, and
/// late.
#[derive(Debug)]
struct Stale {
    before: Mutex<Option<Running>>,
    due: AtomicBool,
    /// It may answer now.
    gate: Arc<Semaphore>,
    answered: Arc<AtomicBool>,
}

#[async_trait]
impl Twist for Stale {
    async fn observe(&self, inner: &dyn ServiceRestarter) -> Result<Running> {
        if !self.due.swap(false, Ordering::SeqCst) {
            return inner.observe().await;
        }
        let before = self.before.lock().unwrap().take().unwrap();
        self.gate.acquire().await.unwrap().forget();
        self.answered.store(true, Ordering::SeqCst);
        Ok(before)
    }
    async fn restart(
        &self,
        inner: &dyn ServiceRestarter,
        request: ActionRequest,
    ) -> Result<Receipt> {
        let before = inner.observe().await?;
        *self.before.lock().unwrap() = Some(before);
        let receipt = inner.restart(request).await;
        self.due.store(true, Ordering::SeqCst);
        receipt
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_at_the_old_life_that_arrives_after_the_verification_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(folder.path(), |_| {});
    let inner = owned(folder.path(), "api", "exec sleep 600");
    let (gate, answered) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicBool::new(false)));
    let stale = Stale {
        before: Mutex::default(),
        due: AtomicBool::new(false),
        gate: Arc::clone(&gate),
        answered: Arc::clone(&answered),
    };
    let service = ManagedService::new(id("api"))
        .with_restarter(Arc::new(Twisted(Arc::clone(&inner), stale)), quick());
    stage.add(service, Arc::new(Runs(Arc::clone(&inner))));
    stage.start();
    stage.well().await;
    let passed = stage.events.count("api", "verify_passed");
    kill(&inner.observe().await.unwrap().instance.unwrap());
    stage.seen("api", "verify_passed", passed + 1).await;
    assert!(!answered.load(Ordering::SeqCst), "the old answer is still on its way");
    gate.add_permits(1);
    stage.wait("the old answer", || answered.load(Ordering::SeqCst)).await;
    stage.seen("api", "incident_resolved", 1).await;
    assert_eq!(stage.events.count("api", "verify_failed"), 0);
    assert_eq!(stage.events.count("api", "incident_opened"), 1);
    // And it is not blind since then.
    stage.linger(Duration::from_millis(100)).await;
    kill(&inner.observe().await.unwrap().instance.unwrap());
    gate.add_permits(10);
    stage.seen("api", "incident_resolved", 2).await;
    stage.stop().await;
    stop_process(&inner).await;
}
