//! What the handle, the tasks and the loop share, and the way of a result through it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::backlog::Backlog;
use super::changes::{Change, ChangeQueue, Round};
use super::judge::{Sample, Tally};
use super::measure::Measured;
use super::pulse::{Pulse, TOO_LATE};
use super::service::{Outcome, Service, State, Target};
use base::clock::{Clock, ClockExt, Monotonic, SharedClock, Stamp, WallTime};
use base::events::{Event, EventBus};
use base::sync::{Mutex, MutexGuard};
use base::vocabulary::{FailureKind, Platform, ServiceId, ServiceState};

/// So many events wait for the bus; beyond that the oldest are dropped and counted.
const EVENT_BUFFER: usize = 8_192;

pub(super) type Services = BTreeMap<ServiceId, Arc<Service>>;

/// Events on their way to the bus. Nobody waits here.
#[derive(Debug, Default)]
pub(super) struct EventQueue {
    events: Mutex<VecDeque<Event>>,
    pub(super) arrived: Notify,
    pub(super) dropped: AtomicU64,
}

impl EventQueue {
    fn events(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.events.lock()
    }

    pub(super) fn push(&self, event: Event) {
        let mut events = self.events();
        if events.len() == EVENT_BUFFER {
            events.pop_front();
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        events.push_back(event);
        drop(events);
        self.arrived.notify_one();
    }

    pub(super) fn pop(&self) -> Option<Event> {
        self.events().pop_front()
    }
}

/// The round under way, and how many targets it still waits for.
#[derive(Debug, Default)]
struct RoundUnderWay {
    number: u32,
    targets: usize,
    awaited: usize,
}

impl RoundUnderWay {
    fn begin(&mut self) {
        // 0 is what a new target has.
        self.number = self.number.checked_add(1).unwrap_or(1);
        self.awaited = self.targets;
    }
}

/// How one probe began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Began {
    pub(super) at: Monotonic,
    pub(super) late: Duration,
    generation: (u32, u32),
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) clock: SharedClock,
    pub(super) bus: Arc<dyn EventBus>,
    services: Mutex<Arc<Services>>,
    tally: Mutex<Tally>,
    pub(super) events: EventQueue,
    subscribers: Mutex<Vec<Weak<ChangeQueue>>>,
    pub(super) pulse: Pulse,
    pub(super) rounds: watch::Sender<Round>,
    round: Mutex<RoundUnderWay>,
    /// The set of services changed.
    pub(super) reloaded: Notify,
    pub(super) running: AtomicBool,
    pub(super) backlog: Backlog,
    /// The wall time, in ms, of the monotonic axis' start.
    offset_ms: AtomicI64,
}

impl Shared {
    pub(super) fn new(clock: SharedClock, bus: Arc<dyn EventBus>) -> Self {
        Self {
            pulse: Pulse::new(&*clock),
            offset_ms: AtomicI64::new(offset_of(&*clock)),
            backlog: Backlog::default(),
            clock,
            bus,
            services: Mutex::default(),
            tally: Mutex::default(),
            events: EventQueue::default(),
            subscribers: Mutex::default(),
            rounds: watch::Sender::new(Round::default()),
            round: Mutex::default(),
            reloaded: Notify::new(),
            running: AtomicBool::new(false),
        }
    }

    /// The services as they are now. No lock is held while they are looked at.
    pub(super) fn services(&self) -> Arc<Services> {
        Arc::clone(&self.services.lock())
    }

    pub(super) fn replace_services(&self, services: Services) {
        let services = Arc::new(services);
        let mut place = self.services.lock();
        let before = std::mem::replace(&mut *place, services);
        drop(place);
        // What is dropped with it takes as long as it takes.
        drop(before);
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock()
    }

    /// The services as one. Owned: who holds a service's lock takes the tally's, so that nobody
    /// may hold the tally's and take a service's.
    pub(super) fn platform(&self) -> Platform {
        self.tally().platform().clone()
    }

    pub(super) fn offset_ms(&self) -> i64 {
        self.offset_ms.load(Ordering::Relaxed)
    }

    /// Follows the wall clock when it was set, or the machine slept. Slewing within a second is
    /// left alone.
    pub(super) fn follow_the_wall_clock(&self) {
        let offset = offset_of(&*self.clock);
        if offset.abs_diff(self.offset_ms()) > 1_000 {
            self.offset_ms.store(offset, Ordering::Relaxed);
        }
    }

    /// The wall time of a moment of ours.
    pub(super) fn wall_of(&self, at: Monotonic) -> WallTime {
        self.clock.wall() - self.clock.monotonic().saturating_since(at)
    }

    pub(super) fn subscribe(&self) -> Arc<ChangeQueue> {
        let queue = Arc::new(ChangeQueue::default());
        // First listed, then filled: what changes in between comes twice, never not at all.
        let mut subscribers = self.subscribers.lock();
        subscribers.retain(|subscriber| subscriber.strong_count() > 0);
        subscribers.push(Arc::downgrade(&queue));
        drop(subscribers);
        for service in self.services().values() {
            let state = service.state();
            if state.reported.state != ServiceState::Unknown {
                queue.push(&self.change(service, &state));
            }
        }
        queue
    }

    fn change(&self, service: &Service, state: &State) -> Change {
        Change {
            service: service.id.clone(),
            state: state.reported.state,
            cause: state.reported.cause.clone(),
            ever_passed: state.reported.ever_passed,
            flapping: state.reported.flapping,
            instance: state.instance.clone(),
            watched: !state.removed,
            at: self.clock.wall(),
            began: self.stamp_of(state.probed),
        }
    }

    /// That moment of ours, as it is compared with others' stamps.
    fn stamp_of(&self, at: Monotonic) -> Stamp {
        let ago = self.clock.monotonic().saturating_since(at);
        let Stamp { boot, boottime, wall } = self.clock.stamp();
        Stamp { boot, boottime: boottime.saturating_sub(ago), wall: wall - ago }
    }

    /// Tells the operator. Called with the service's lock held, so that the order is right.
    pub(super) fn tell(&self, service: &Service, state: &State) {
        let change = self.change(service, state);
        let subscribers = self.subscribers.lock();
        subscribers.iter().filter_map(Weak::upgrade).for_each(|queue| queue.push(&change));
    }

    /// A probe begins.
    pub(super) fn begin(&self, service: &Service, late: Duration) -> Began {
        let resumes = self.pulse.look(&*self.clock);
        self.pulse.began(late);
        let generation = (service.generation(), resumes);
        Began { at: self.clock.monotonic(), late, generation }
    }

    /// Takes a result to its judge. Says how long to wait for the next probe.
    pub(super) fn record(
        &self,
        service: &Service,
        target: &Arc<Target>,
        began: &Began,
        measured: Measured,
    ) -> Duration {
        let now = self.clock.monotonic();
        let resumes = self.pulse.look(&*self.clock);
        let mut guard = service.state();
        let state = &mut *guard;
        let Some(check) = state.check_mut(target) else { return target.policy.interval };
        check.counters.panics += u64::from(measured.panicked);
        check.counters.blocked += u64::from(measured.blocked);
        if check.resumes != resumes {
            check.resumes = resumes;
            check.judge.resumed(self.pulse.resumed_at() + target.policy.interval);
        }
        if began.generation != (service.generation(), resumes) {
            check.counters.discarded += 1;
            return check.judge.interval(&target.policy);
        }
        let observation = measured.observation;
        let ours = began.late > TOO_LATE || self.pulse.stalled_since(began.at, now);
        let sample = Sample {
            verdict: observation.verdict,
            kind: observation.kind,
            latency: observation.latency,
            ours,
        };
        state.settle(now, self.offset_ms());
        state.probed = began.at;
        let new_life = state.saw(observation.instance.as_ref(), now);
        let Some(check) = state.check_mut(target) else { return target.policy.interval };
        let passed_before = check.judge.ever_passed();
        let verdict = check.observe(&sample, &observation.message, now);
        let interval = check.judge.interval(&target.policy);
        if check.judge.ever_passed() && !passed_before {
            self.backlog.passed(&service.id, target);
        }
        state.account(target, verdict, sample.latency, now);
        let mut outcome = state.judge(now);
        outcome.tell |= new_life && !state.fresh;
        self.publish(service, state, &outcome);
        interval
    }

    /// Tells everybody who wants to know what a judgement changed.
    pub(super) fn publish(&self, service: &Service, state: &State, outcome: &Outcome) {
        if outcome.tell {
            self.tell(service, state);
        }
        if let Some(from) = outcome.from {
            self.events.push(Event::ServiceChanged {
                service: service.id.clone(),
                from,
                to: state.reported.state,
                cause: state.reported.cause.clone(),
            });
            self.recount(|tally| {
                tally.remove(from, state.critical);
                tally.add(state.reported.state, state.critical);
            });
        }
        if let Some(flapping) = outcome.flapping {
            let service = service.id.clone();
            self.events.push(if flapping {
                Event::FlappingStarted { service }
            } else {
                Event::FlappingStopped { service }
            });
        }
    }

    /// Changes the platform's count and tells when that changed its state.
    pub(super) fn recount(&self, change: impl FnOnce(&mut Tally)) {
        let mut tally = self.tally();
        let from = tally.platform().state;
        change(&mut tally);
        let to = tally.platform().clone();
        if to.state != from {
            self.events.push(Event::PlatformChanged { from, to });
        }
    }

    /// The target had its turn in this round.
    pub(super) fn had_its_turn(&self, target: &Target) {
        let mut round = self.round.lock();
        if target.round.swap(round.number, Ordering::Relaxed) == round.number {
            return;
        }
        round.awaited = round.awaited.saturating_sub(1);
        if round.awaited == 0 {
            round.begin();
            let at = self.clock.wall();
            self.rounds.send_modify(|last| *last = Round { number: last.number + 1, at });
        }
    }

    /// A new round waits for so many targets.
    pub(super) fn begin_round(&self, targets: usize) {
        let mut round = self.round.lock();
        round.targets = targets;
        round.begin();
    }

    /// Forgets everybody who waits for changes; they are told that it is over.
    pub(super) fn close(&self) {
        let subscribers = self.subscribers.lock();
        subscribers.iter().filter_map(Weak::upgrade).for_each(|queue| queue.close());
    }
}

fn offset_of(clock: &dyn Clock) -> i64 {
    let monotonic = i64::try_from(clock.monotonic().since_start().as_millis()).unwrap_or(i64::MAX);
    clock.wall().millis().saturating_sub(monotonic)
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.close();
    }
}

/// Could the other side not have caused this?
pub(super) fn is_suspicious(kind: Option<FailureKind>) -> bool {
    kind.is_some_and(FailureKind::suspects_self)
}
