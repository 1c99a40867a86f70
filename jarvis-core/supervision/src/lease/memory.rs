//! [`MemoryLease`] and [`MemoryLedger`]: within one process; the reference implementation.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::axis::Axis;
use super::rules::{self, REMEMBERED};
use super::{Attempt, Grant, Lease, Limit, Reservation, RestartLedger, Usage};
use base::Result;
use base::clock::{ClockExt, SharedClock};
use base::resilience::SlidingWindow;
use base::sync::{Mutex, MutexGuard};
use base::vocabulary::{FencingToken, HolderId, IntentId, ServiceId};

#[derive(Debug)]
struct Held {
    grant: Grant,
    expires: Duration,
}

#[derive(Debug)]
struct LeaseState {
    axis: Axis,
    highest: u64,
    held: Option<Held>,
}

/// A lease within one process. Clones share it.
#[derive(Debug, Clone)]
pub struct MemoryLease {
    clock: SharedClock,
    state: Arc<Mutex<LeaseState>>,
}

impl MemoryLease {
    /// A lease that nobody holds.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        let axis = Axis::new(clock.stamp());
        let state = Arc::new(Mutex::new(LeaseState { axis, highest: 0, held: None }));
        Self { clock, state }
    }

    /// The state with what ran out removed, and the time.
    fn now(&self) -> (MutexGuard<'_, LeaseState>, Duration) {
        let mut state = self.state.lock();
        let now = state.axis.advance(self.clock.stamp());
        state.held.take_if(|held| held.expires <= now);
        (state, now)
    }
}

#[async_trait]
impl Lease for MemoryLease {
    async fn acquire(&self, holder: &HolderId, ttl: Duration) -> Result<Option<Grant>> {
        let (mut state, now) = self.now();
        let expires = now.saturating_add(ttl);
        if let Some(held) = &mut state.held {
            if held.grant.holder != *holder {
                return Ok(None);
            }
            held.expires = expires;
            return Ok(Some(held.grant.clone()));
        }
        state.highest = rules::next_token(state.highest, self.clock.wall());
        let token = FencingToken::new(state.highest);
        let grant = Grant::new(holder.clone(), token, self.clock.wall());
        state.held = Some(Held { grant: grant.clone(), expires });
        Ok(Some(grant))
    }

    async fn renew(&self, grant: &Grant, ttl: Duration) -> Result<bool> {
        let (mut state, now) = self.now();
        let ours = state.held.as_mut().filter(|held| same(&held.grant, grant));
        Ok(ours.map(|held| held.expires = now.saturating_add(ttl)).is_some())
    }

    async fn release(&self, grant: &Grant) -> Result<()> {
        let (mut state, _) = self.now();
        state.held.take_if(|held| same(&held.grant, grant));
        Ok(())
    }

    async fn current(&self) -> Result<Option<Grant>> {
        let (state, _) = self.now();
        Ok(state.held.as_ref().map(|held| held.grant.clone()))
    }
}

fn same(held: &Grant, grant: &Grant) -> bool {
    held.token == grant.token && held.holder == grant.holder
}

#[derive(Debug)]
struct Counted {
    intent: IntentId,
    /// Absent after a reset: it counts for the global limits only.
    service: Option<ServiceId>,
    at: Duration,
}

#[derive(Debug)]
struct LedgerState {
    axis: Axis,
    highest: FencingToken,
    longest: Duration,
    counted: Vec<Counted>,
}

impl LedgerState {
    fn window(&self, service: Option<&ServiceId>) -> SlidingWindow {
        let mut window = SlidingWindow::new();
        let wanted = |it: &&Counted| service.is_none() || it.service.as_ref() == service;
        for counted in self.counted.iter().filter(wanted) {
            window.record(counted.at);
        }
        window
    }

    fn prune(&mut self, now: Duration) {
        let keep = self.longest.max(REMEMBERED);
        self.counted.retain(|counted| now.saturating_sub(counted.at) <= keep);
    }
}

/// A ledger within one process. Clones share it.
#[derive(Debug, Clone)]
pub struct MemoryLedger {
    clock: SharedClock,
    state: Arc<Mutex<LedgerState>>,
}

impl MemoryLedger {
    /// A ledger in which nothing is counted.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        let state = LedgerState {
            axis: Axis::new(clock.stamp()),
            highest: FencingToken::default(),
            longest: Duration::ZERO,
            counted: Vec::new(),
        };
        Self { clock, state: Arc::new(Mutex::new(state)) }
    }

    fn now(&self) -> (MutexGuard<'_, LedgerState>, Duration) {
        let mut state = self.state.lock();
        let now = state.axis.advance(self.clock.stamp());
        (state, now)
    }
}

#[async_trait]
impl RestartLedger for MemoryLedger {
    async fn reserve(&self, attempt: Attempt) -> Result<Reservation> {
        let (mut state, now) = self.now();
        if attempt.token < state.highest {
            return Err(rules::fenced(&attempt.service, attempt.token, state.highest)
                .with_operation("lease.memory.reserve"));
        }
        state.highest = attempt.token;
        state.longest = state.longest.max(rules::longest(&attempt));
        state.prune(now);
        if state.counted.iter().any(|counted| counted.intent == attempt.intent) {
            return Ok(Reservation::Granted);
        }
        let own = state.window(Some(&attempt.service));
        let answer = rules::judge(&attempt, now, &own, &state.window(None));
        if answer == Reservation::Granted {
            let (intent, service) = (attempt.intent, Some(attempt.service));
            state.counted.push(Counted { intent, service, at: now });
        }
        Ok(answer)
    }

    async fn usage(&self, service: &ServiceId, limits: &[Limit]) -> Result<Vec<Usage>> {
        let (state, now) = self.now();
        Ok(rules::usage(limits, now, &state.window(Some(service))))
    }

    async fn reset(&self, service: &ServiceId) -> Result<()> {
        let (mut state, _) = self.now();
        for counted in &mut state.counted {
            counted.service.take_if(|its| its == service);
        }
        Ok(())
    }

    async fn rename(&self, from: &ServiceId, to: &ServiceId) -> Result<()> {
        let (mut state, _) = self.now();
        let its = |counted: &&mut Counted| counted.service.as_ref() == Some(from);
        for counted in state.counted.iter_mut().filter(its) {
            counted.service = Some(to.clone());
        }
        Ok(())
    }
}
