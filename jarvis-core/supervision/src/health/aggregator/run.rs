//! The loop: a task for each target, one that carries events to the bus, and a tick.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;

use super::keeper;
use super::measure::measure;
use super::pulse::TICK;
use super::schedule::{Schedule, fingerprint};
use super::service::{Service, Target};
use super::shared::Shared;
use base::clock::ClockExt;
use base::{Error, ErrorKind, Result};

/// So long the last events may take to reach the bus.
const FAREWELL: Duration = Duration::from_secs(2);

/// Stops the tasks when the loop ends, or is dropped.
struct Running<'a>(&'a Shared);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        for service in self.0.services().values() {
            service.state().checks.iter().for_each(|check| check.target.abort());
        }
        self.0.pulse.tick(self.0.clock.monotonic(), None);
        self.0.running.store(false, Ordering::Release);
    }
}

pub(super) async fn run(
    shared: &Arc<Shared>,
    until: impl Future<Output = ()> + Send,
) -> Result<()> {
    if shared.running.swap(true, Ordering::AcqRel) {
        return Err(Error::new(ErrorKind::Conflict, "this aggregator is already running"));
    }
    let running = Running(shared);
    let mut tasks = JoinSet::new();
    tasks.spawn(carry_events(Arc::clone(shared)));
    tasks.spawn(tick(Arc::clone(shared)));
    tasks.spawn(keeper::keep(Arc::clone(shared)));
    let mut until = pin!(until);
    loop {
        let reloaded = shared.reloaded.notified();
        start_missing(shared);
        tokio::select! {
            biased;
            () = until.as_mut() => break,
            () = reloaded => {}
        }
    }
    drop(running);
    drop(tasks);
    keeper::sweep(shared, true).await;
    let farewell = async {
        keeper::append_waiting(shared).await;
        publish_waiting(shared).await;
    };
    shared.clock.until(shared.clock.monotonic() + FAREWELL, farewell).await;
    Ok(())
}

fn start_missing(shared: &Arc<Shared>) {
    for service in shared.services().values() {
        for check in &service.state().checks {
            let mut task = check.target.task.lock();
            if task.as_ref().is_none_or(tokio::task::AbortHandle::is_finished) {
                let (shared, service) = (Arc::clone(shared), Arc::clone(service));
                // Not in a set: `Running` stops it, and an entry for each target costs 64 bytes.
                let watching = tokio::spawn(watch(shared, service, Arc::clone(&check.target)));
                *task = Some(watching.abort_handle());
            }
        }
    }
}

/// Probes one target for as long as it is watched.
async fn watch(shared: Arc<Shared>, service: Arc<Service>, target: Arc<Target>) {
    let hash = fingerprint(&[service.id.as_str(), target.name.as_str()]);
    let clock = &shared.clock;
    let mut schedule =
        Schedule::new(hash, target.policy.interval, clock.monotonic(), clock.boottime());
    loop {
        let due = schedule.due();
        let in_turn = tokio::select! {
            biased;
            () = clock.sleep_until(due) => true,
            () = target.wake.notified() => false,
        };
        let now = clock.monotonic();
        let late = if in_turn { now.saturating_since(due) } else { Duration::ZERO };
        // Boxed: most of the time a target waits, and then it costs no room for a probe.
        let interval = Box::pin(turn(&shared, &service, &target, late)).await;
        shared.had_its_turn(&target);
        let now = clock.monotonic();
        if in_turn {
            let missed = schedule.advance(now, interval.unwrap_or(target.policy.interval));
            let missed = missed + u64::from(interval.is_none() && !service.is_acting());
            if missed > 0
                && let Some(check) = service.state().check_mut(&target)
            {
                check.counters.overruns += missed;
            }
        } else {
            schedule.out_of_turn(now, interval.unwrap_or(target.policy.interval));
        }
    }
}

/// One probe, unless one is under way or an action is. Says when the next is due.
async fn turn(
    shared: &Shared,
    service: &Service,
    target: &Arc<Target>,
    late: Duration,
) -> Option<Duration> {
    if service.is_acting() {
        return None;
    }
    let _one_at_a_time = target.permit.try_acquire().ok()?;
    let began = shared.begin(service, late);
    let measured = measure(&shared.clock, target.probe(), target.policy.timeout).await;
    Some(shared.record(service, target, &began, measured))
}

async fn carry_events(shared: Arc<Shared>) {
    loop {
        let arrived = shared.events.arrived.notified();
        publish_waiting(&shared).await;
        arrived.await;
    }
}

async fn publish_waiting(shared: &Shared) {
    while let Some(event) = shared.events.pop() {
        if let Err(error) = shared.bus.publish(event).await {
            shared.events.dropped.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%error, "an event could not be published");
        }
    }
}

/// Notices our own stalls and the machine's sleep, also while no probe is due.
async fn tick(shared: Arc<Shared>) {
    let clock = &shared.clock;
    let mut minute = 0;
    loop {
        let now = clock.monotonic();
        let next = now + TICK;
        shared.pulse.tick(now, Some(next));
        shared.pulse.look(&**clock);
        shared.follow_the_wall_clock();
        let this_minute = clock.wall().millis().div_euclid(60_000);
        if std::mem::replace(&mut minute, this_minute) != this_minute {
            keeper::sweep(&shared, false).await;
        }
        clock.sleep_until(next).await;
    }
}
