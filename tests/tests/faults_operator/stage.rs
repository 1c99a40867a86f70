//! What these tests share: scripted and real services under a real operator.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jarvis_core::clock::{ClockExt, SharedClock, SystemClock};
use jarvis_core::health::Observation;
use jarvis_core::health::memory::{Answer, MemoryProbe};
use jarvis_core::operator::ManagedService;
use jarvis_core::restart::memory::MemoryRestarter;
use jarvis_core::restart::process::{ProcessConfig, ProcessRestarter};
use jarvis_core::restart::{ActionRequest, InstanceEvents, Receipt, Running, ServiceRestarter};
use jarvis_core::vocabulary::{FailureKind, IntentId, VersionId};
use jarvis_core::{Error, ErrorKind, Result};
use jarvis_tests::operating::{Stage, id, quick};

pub(crate) fn clock() -> SharedClock {
    Arc::new(SystemClock::new())
}

/// A scripted service whose probe passes while it runs and is not sick.
pub(crate) fn scripted() -> (MemoryRestarter, MemoryProbe, Arc<AtomicBool>) {
    let restarter = MemoryRestarter::running(clock());
    let sick = Arc::new(AtomicBool::new(false));
    let (seen, ill) = (restarter.clone(), Arc::clone(&sick));
    let probe = MemoryProbe::new(Answer::ask(move || {
        if !seen.is_running() {
            Observation::fail(FailureKind::Refused, "nobody listens")
        } else if ill.load(Ordering::SeqCst) {
            Observation::fail(FailureKind::ServerError, "HTTP 500")
        } else {
            Observation::pass("HTTP 200")
        }
    }));
    (restarter, probe, sick)
}

pub(crate) fn managed(name: &str, restarter: &MemoryRestarter) -> ManagedService {
    ManagedService::new(id(name)).with_restarter(Arc::new(restarter.clone()), quick())
}

pub(crate) fn owned(folder: &Path, name: &str, script: &str) -> Arc<dyn ServiceRestarter> {
    let command = ["sh", "-c", script].map(str::to_owned).to_vec();
    Arc::new(
        ProcessRestarter::new(ProcessConfig::new(command), &id(name), folder, clock()).unwrap(),
    )
}

pub(crate) async fn stop_process(restarter: &Arc<dyn ServiceRestarter>) {
    let clock = clock();
    let request = ActionRequest::new(
        IntentId::new("tidy").unwrap(),
        jarvis_core::vocabulary::FencingToken::new(u64::MAX >> 1),
        clock.monotonic() + Duration::from_secs(15),
    );
    restarter.stop(request).await.unwrap();
}

/// What a restarter does differently from the one that it stands before.
#[async_trait]
pub(crate) trait Twist: Debug + Send + Sync + 'static {
    async fn observe(&self, inner: &dyn ServiceRestarter) -> Result<Running> {
        inner.observe().await
    }
    async fn restart(
        &self,
        inner: &dyn ServiceRestarter,
        request: ActionRequest,
    ) -> Result<Receipt>;
    async fn last_log_lines(
        &self,
        inner: &dyn ServiceRestarter,
        lines: usize,
    ) -> Result<Vec<String>> {
        inner.last_log_lines(lines).await
    }
}

/// A restarter with a twist. It has no events, so that it must be asked.
#[derive(Debug)]
pub(crate) struct Twisted<T>(pub(crate) Arc<dyn ServiceRestarter>, pub(crate) T);

#[async_trait]
impl<T: Twist> ServiceRestarter for Twisted<T> {
    async fn observe(&self) -> Result<Running> {
        self.1.observe(&*self.0).await
    }
    async fn restart(&self, request: ActionRequest) -> Result<Receipt> {
        self.1.restart(&*self.0, request).await
    }
    async fn start(&self, request: ActionRequest) -> Result<Receipt> {
        self.0.start(request).await
    }
    async fn stop(&self, request: ActionRequest) -> Result<Receipt> {
        self.0.stop(request).await
    }
    async fn roll_back(&self, request: ActionRequest, to: VersionId) -> Result<Receipt> {
        self.0.roll_back(request, to).await
    }
    async fn settle_roll_back(&self, keep: bool) -> Result<()> {
        self.0.settle_roll_back(keep).await
    }
    async fn watch(&self) -> Result<InstanceEvents> {
        Err(Error::new(ErrorKind::Unsupported, "no events"))
    }
    async fn last_log_lines(&self, lines: usize) -> Result<Vec<String>> {
        self.1.last_log_lines(&*self.0, lines).await
    }
}

/// Stops at once, starts after a while, as a real service does.
#[derive(Debug)]
struct Slow {
    takes: Duration,
    half: Arc<AtomicBool>,
}

#[async_trait]
impl Twist for Slow {
    async fn restart(
        &self,
        inner: &dyn ServiceRestarter,
        request: ActionRequest,
    ) -> Result<Receipt> {
        let half = ActionRequest::new(
            IntentId::new(format!("{}-half", request.intent))?,
            request.token,
            request.deadline,
        );
        inner.stop(half).await?;
        self.half.store(true, Ordering::SeqCst);
        clock().sleep(self.takes).await;
        inner.start(request).await
    }
}

/// A stage in the middle of a restart: stopped, not started yet.
pub(crate) async fn halfway(
    folder: &Path,
    takes: Duration,
) -> (Stage, MemoryRestarter, MemoryProbe) {
    let mut stage = Stage::new(folder, |_| {});
    let (restarter, probe, sick) = scripted();
    let half = Arc::new(AtomicBool::new(false));
    let slow = Twisted(Arc::new(restarter.clone()), Slow { takes, half: Arc::clone(&half) });
    let service = ManagedService::new(id("api")).with_restarter(Arc::new(slow), quick());
    stage.add(service.with_target("test:api"), Arc::new(probe.clone()));
    stage.start();
    stage.well().await;
    sick.store(true, Ordering::SeqCst);
    stage.seen("api", "action_started", 1).await;
    stage.wait("the first half", || half.load(Ordering::SeqCst)).await;
    sick.store(false, Ordering::SeqCst);
    assert!(!restarter.is_running());
    (stage, restarter, probe)
}
