//! Carrying out what was decided. Each call has its own task and deadline, so that a restarter
//! that hangs or panics holds up nobody else.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::sync::{OwnedMutexGuard, oneshot};
use tokio::task::AbortHandle;

use super::{Message, Shared};
use crate::health::aggregator::CheckResult;
use crate::lease::{Attempt, Reservation};
use crate::operator::failpoint;
use crate::operator::machine::input::{Effect, Fresh, Input, Look, Reserved};
use crate::operator::settings::OperatorSettings;
use crate::restart::{ActionRequest, Receipt, Running, ServiceRestarter};
use base::clock::{ClockExt, Monotonic};
use base::sync::Mutex;
use base::vocabulary::{
    ActionKind, ActionOutcome, FencingToken, Gate, IntentId, ServiceId, Verdict,
};
use base::{Error, ErrorKind, Result, Retry};

/// How long a platform may take to say what runs.
const OBSERVE: Duration = Duration::from_secs(10);
/// How long the probes of a verification may take together; each has a deadline of its own.
const PROBE: Duration = Duration::from_secs(30);
/// How long the ledger may take.
const LEDGER: Duration = Duration::from_secs(10);
/// A restarter keeps its own deadline; beyond it we stop waiting after this.
const MARGIN: Duration = Duration::from_secs(5);
/// An intent that took longer to get to disk is not carried out any more.
const STALE: Duration = Duration::from_secs(10);
/// How many lines of its log go into an escalation.
const LOG_LINES: usize = 20;

/// Actions on services: one at a time for each, and none beside one that hangs.
#[derive(Debug, Default)]
pub(super) struct Actions {
    lanes: Mutex<HashMap<ServiceId, oneshot::Receiver<()>>>,
    running: Mutex<HashMap<ServiceId, AbortHandle>>,
    ledger: Arc<tokio::sync::Mutex<()>>,
}

impl Actions {
    /// Does a restarter work now?
    pub(super) fn any(&self) -> bool {
        self.running.lock().values().any(|call| !call.is_finished())
    }

    fn hangs(&self, id: &ServiceId) -> bool {
        self.running.lock().get(id).is_some_and(|call| !call.is_finished())
    }

    /// Our place behind what was asked of the ledger before. It is taken at this call, not when a
    /// task gets to run: a reservation must not overtake the reset that it follows.
    fn ledger_turn(&self) -> impl Future<Output = OwnedMutexGuard<()>> + Send + use<> {
        let mut turn = Box::pin(Arc::clone(&self.ledger).lock_owned());
        let taken = (&mut turn).now_or_never();
        async move {
            match taken {
                Some(turn) => turn,
                None => turn.await,
            }
        }
    }

    /// Our place behind what was asked of this service before.
    fn queue(&self, id: &ServiceId) -> (Option<oneshot::Receiver<()>>, oneshot::Sender<()>) {
        let (done, ours) = oneshot::channel();
        (self.lanes.lock().insert(id.clone(), ours), done)
    }
}

/// The kill switch's reason, while its file is there or can't be looked at.
pub(super) fn kill_switch(settings: &OperatorSettings) -> Option<String> {
    let path = settings.kill_switch.as_ref()?;
    match path.try_exists() {
        Ok(false) => None,
        Ok(true) => Some(format!("{} exists", path.display())),
        Err(error) => Some(format!("failed to observe {}: {error}", path.display())),
    }
}

pub(super) fn execute(shared: &Arc<Shared>, effect: Effect, issued: Monotonic) {
    let health = &shared.parts.health;
    match effect {
        Effect::Observe { service, era, with_log, dependencies } => {
            spawn(shared, observe(Arc::clone(shared), service, era, with_log, dependencies));
        }
        Effect::Reserve(attempt) => {
            let turn = shared.actions.ledger_turn();
            spawn(shared, reserve(Arc::clone(shared), attempt, turn));
        }
        Effect::ResetLedger { service } => {
            let turn = shared.actions.ledger_turn();
            spawn(shared, ledger(Arc::clone(shared), service, None, turn));
        }
        Effect::RenameLedger { from, to } => {
            rename(shared, &from, &to);
            let turn = shared.actions.ledger_turn();
            spawn(shared, ledger(Arc::clone(shared), from, Some(to), turn));
        }
        Effect::Act { service, intent, action, token, timeout, finishing } => {
            let order = Order { service, intent, action, token, timeout, finishing, issued };
            act(shared, order);
        }
        Effect::Settle { service, keep } => settle(shared, &service, keep),
        Effect::Verify { service, intent } => {
            spawn(shared, verify(Arc::clone(shared), service, intent));
        }
        Effect::ActionBegan { service } => health.action_began(&service),
        Effect::ActionEnded { service, started_ago } => {
            health.action_ended(&service, Some(shared.now() - started_ago));
        }
        Effect::Accelerate { service } => health.accelerate(&service),
        Effect::Maintenance { service, open } => health.maintenance(&service, open),
        Effect::Answer { ticket, answer } => {
            if let Some(waiting) = shared.tickets.lock().remove(&ticket) {
                drop(waiting.send(answer));
            }
        }
    }
}

fn spawn(_: &Arc<Shared>, task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

/// The call's result; a panic or a missed deadline is an error. The call is dropped then.
async fn guarded<T: Send + 'static>(
    shared: &Shared,
    limit: Duration,
    call: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let clock = &shared.parts.clock;
    let call = tokio::spawn(call);
    let abort = call.abort_handle();
    match clock.until(clock.monotonic() + limit, call).await {
        Some(Ok(result)) => result,
        Some(Err(_)) => Err(Error::new(ErrorKind::Internal, "it panicked")),
        None => {
            abort.abort();
            Err(Error::new(ErrorKind::Timeout, "it did not answer in time"))
        }
    }
}

async fn look(shared: &Shared, restarter: &Arc<dyn ServiceRestarter>) -> Result<Running, String> {
    let restarter = Arc::clone(restarter);
    guarded(shared, OBSERVE, async move { restarter.observe().await })
        .await
        .map_err(|error| error.message().to_owned())
}

async fn observe(
    shared: Arc<Shared>,
    service: ServiceId,
    era: u64,
    with_log: bool,
    dependencies: Vec<ServiceId>,
) {
    let Some(restarter) = shared.restarter(&service) else {
        let running = Err("it no longer has a restarter".to_owned());
        let look = Look { era, running, log: Vec::new(), failing: Vec::new() };
        return shared.input(Input::Observed { service, look });
    };
    let log = async {
        if !with_log {
            return Vec::new();
        }
        let restarter = Arc::clone(&restarter);
        let lines = async move { restarter.last_log_lines(LOG_LINES).await };
        guarded(&shared, OBSERVE, lines).await.unwrap_or_default()
    };
    let failing = async {
        let fresh = join_all(dependencies.iter().map(|on| fresh(&shared, on))).await;
        let failing = dependencies.iter().zip(fresh);
        failing
            .filter(|(_, fresh)| matches!(fresh, Some(Fresh::Fail(_))))
            .map(|(on, _)| on.clone())
            .collect()
    };
    let (running, log, failing) = tokio::join!(look(&shared, &restarter), log, failing);
    shared.input(Input::Observed { service, look: Look { era, running, log, failing } });
}

/// What fresh probes say; `None` for a service without checks.
async fn fresh(shared: &Shared, service: &ServiceId) -> Option<Fresh> {
    let clock = &shared.parts.clock;
    let probes = shared.parts.health.probe_now(service);
    match clock.until(clock.monotonic() + PROBE, probes).await {
        Some(Ok(results)) => judge(&results),
        Some(Err(error)) => Some(Fresh::Unknown(error.message().to_owned())),
        None => Some(Fresh::Unknown("its probes did not end in time".to_owned())),
    }
}

/// Only critical checks count; one that fails decides, then one that could not be made.
fn judge(results: &[CheckResult]) -> Option<Fresh> {
    let critical = || results.iter().filter(|result| result.critical);
    let say = |result: &CheckResult| format!("{}: {}", result.check, result.observation.message);
    let first =
        |verdict: Verdict| critical().find(|result| result.observation.verdict == verdict).map(say);
    critical().next()?;
    Some(match (first(Verdict::Fail), first(Verdict::Unknown)) {
        (Some(failed), _) => Fresh::Fail(failed),
        (None, Some(unknown)) => Fresh::Unknown(unknown),
        (None, None) => Fresh::Pass,
    })
}

async fn verify(shared: Arc<Shared>, service: ServiceId, intent: IntentId) {
    let running = async {
        match shared.restarter(&service) {
            Some(restarter) => look(&shared, &restarter).await,
            None => Err("it no longer has a restarter".to_owned()),
        }
    };
    let (running, fresh) = tokio::join!(running, fresh(&shared, &service));
    let fresh = fresh.unwrap_or_else(|| match &running {
        Ok(running) if running.is_running() => Fresh::Pass,
        Ok(_) => Fresh::Fail("it does not run".to_owned()),
        Err(reason) => Fresh::Unknown(reason.clone()),
    });
    shared.input(Input::Verified { service, intent, running, fresh });
}

async fn reserve(
    shared: Arc<Shared>,
    attempt: Attempt,
    turn: impl Future<Output = OwnedMutexGuard<()>> + Send,
) {
    let (service, intent) = (attempt.service.clone(), attempt.intent.clone());
    let token = attempt.token;
    let turn = turn.await;
    let ledger = Arc::clone(&shared.parts.ledger);
    let answer = guarded(&shared, LEDGER, async move { ledger.reserve(attempt).await }).await;
    drop(turn);
    failpoint("reserved");
    let answer = match answer {
        Ok(Reservation::Granted) => Reserved::Granted,
        Ok(Reservation::Refused { gate, limit, retry_in }) => {
            Reserved::Refused { gate, limit, retry_in }
        }
        Err(error) if error.kind() == ErrorKind::Forbidden => {
            shared.send(Message::Lost(token, error.message().to_owned()));
            Reserved::Fenced
        }
        Err(error) => Reserved::Failed(error.message().to_owned()),
    };
    shared.input(Input::Reserved { service, intent, answer });
}

/// Forgets, or moves, the attempts of a service.
async fn ledger(
    shared: Arc<Shared>,
    service: ServiceId,
    to: Option<ServiceId>,
    turn: impl Future<Output = OwnedMutexGuard<()>> + Send,
) {
    let turn = turn.await;
    let ledger = Arc::clone(&shared.parts.ledger);
    let call = async move {
        match to {
            Some(to) => ledger.rename(&service, &to).await,
            None => ledger.reset(&service).await,
        }
    };
    let result = guarded(&shared, LEDGER, call).await;
    drop(turn);
    if let Err(error) = result {
        tracing::warn!(error = %error, "the restart ledger could not be changed");
    }
}

fn rename(shared: &Arc<Shared>, from: &ServiceId, to: &ServiceId) {
    let mut lanes = shared.actions.lanes.lock();
    if let Some(lane) = lanes.remove(from) {
        lanes.insert(to.clone(), lane);
    }
    let mut running = shared.actions.running.lock();
    if let Some(call) = running.remove(from) {
        running.insert(to.clone(), call);
    }
}

struct Order {
    service: ServiceId,
    intent: IntentId,
    action: ActionKind,
    token: FencingToken,
    timeout: Duration,
    finishing: bool,
    issued: Monotonic,
}

/// What closed between the intent and the act.
fn closed(shared: &Shared, order: &Order) -> Option<(Gate, String)> {
    let clock = &shared.parts.clock;
    if !shared.leading.holds(order.token, clock.boottime()) {
        return Some((Gate::Lease, "the lease expired in the meantime".to_owned()));
    }
    if order.finishing {
        return None;
    }
    if let Some(reason) = kill_switch(&shared.settings()) {
        return Some((Gate::KillSwitch, format!("the kill switch is on: {reason}")));
    }
    let late = shared.now().saturating_since(order.issued) >= STALE;
    late.then(|| (Gate::Lease, "writing the intent to disk took too long".to_owned()))
}

fn act(shared: &Arc<Shared>, order: Order) {
    let (before, done) = shared.actions.queue(&order.service);
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        if let Some(before) = before {
            // Whoever was before us is through, however that ended.
            drop(before.await);
        }
        failpoint("before_act");
        if let Some((gate, reason)) = closed(&shared, &order) {
            let Order { service, intent, .. } = order;
            return shared.input(Input::NotActed { service, intent, gate, reason });
        }
        perform(&shared, order).await;
        drop(done);
    });
}

async fn perform(shared: &Arc<Shared>, order: Order) {
    let clock = &shared.parts.clock;
    let began = clock.monotonic();
    let Order { service, intent, action, token, timeout, .. } = order;
    let call = match shared.restarter(&service) {
        None => Err(Error::new(ErrorKind::NotFound, "it no longer has a restarter")),
        Some(_) if shared.actions.hangs(&service) => {
            Err(Error::new(ErrorKind::Conflict, "an earlier call of its restarter still hangs"))
        }
        Some(restarter) => {
            let request = ActionRequest::new(intent.clone(), token, began + timeout);
            Ok(tokio::spawn(async move { dispatch(&*restarter, action, request).await }))
        }
    };
    let result = match call {
        Err(error) => Err(error),
        Ok(call) => {
            shared.actions.running.lock().insert(service.clone(), call.abort_handle());
            // Not aborted: an action that began to stop something also starts it.
            match clock.until(began + timeout + MARGIN, call).await {
                Some(Ok(result)) => result,
                Some(Err(_)) => Err(Error::new(ErrorKind::Internal, "the restarter panicked")
                    .with_retry(Retry::Indeterminate)),
                None => Err(Error::new(ErrorKind::Timeout, "the restarter did not answer in time")),
            }
        }
    };
    failpoint("acted");
    let took = clock.monotonic().saturating_since(began);
    let (outcome, receipt) = match result {
        Ok(receipt) => (ActionOutcome::Done, receipt),
        Err(error) => (outcome(&error), Receipt::new(error.message())),
    };
    shared.input(Input::Acted { service, intent, outcome, receipt, took });
}

fn outcome(error: &Error) -> ActionOutcome {
    match error.retry() {
        Retry::Indeterminate => ActionOutcome::Indeterminate,
        Retry::Never | Retry::Safe { .. } => ActionOutcome::Failed,
    }
}

async fn dispatch(
    restarter: &dyn ServiceRestarter,
    action: ActionKind,
    request: ActionRequest,
) -> Result<Receipt> {
    match action {
        ActionKind::Restart => restarter.restart(request).await,
        ActionKind::Start => restarter.start(request).await,
        ActionKind::Stop => restarter.stop(request).await,
        ActionKind::RollBack { to } => restarter.roll_back(request, to).await,
    }
}

fn settle(shared: &Arc<Shared>, service: &ServiceId, keep: bool) {
    let Some(restarter) = shared.restarter(service) else { return };
    let (before, done) = shared.actions.queue(service);
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        if let Some(before) = before {
            drop(before.await);
        }
        let call = async move { restarter.settle_roll_back(keep).await };
        if let Err(error) = guarded(&shared, PROBE, call).await {
            tracing::warn!(error = %error, "a rollback could not be settled");
        }
        drop(done);
    });
}
