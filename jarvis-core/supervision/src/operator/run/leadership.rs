//! The lease: asked for, kept, lost, given back.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::announce::Announcer;
use super::writer::trouble;
use super::{Message, Shared};
use crate::lease::Grant;
use crate::operator::machine::input::Input;
use base::Result;
use base::clock::ClockExt;
use base::sync::Mutex;
use base::vocabulary::{FencingToken, Severity};

/// The lease as those who act see it.
#[derive(Debug, Default)]
pub(super) struct Leading(Mutex<Option<(Grant, Duration)>>);

impl Leading {
    pub(super) fn token(&self) -> Option<FencingToken> {
        self.0.lock().as_ref().map(|(grant, _)| grant.token)
    }

    /// Is this lease ours at that boot time? A process that was stopped for longer than its lease
    /// finds out here, before it acts.
    pub(super) fn holds(&self, token: FencingToken, boottime: Duration) -> bool {
        self.0
            .lock()
            .as_ref()
            .is_some_and(|(grant, until)| grant.token == token && boottime < *until)
    }

    /// Forgets the lease with this token. `false` when another one is held by now.
    pub(super) fn lost(&self, token: FencingToken) -> bool {
        let mut leading = self.0.lock();
        if leading.as_ref().is_some_and(|(grant, _)| grant.token > token) {
            return false;
        }
        *leading = None;
        true
    }

    fn set(&self, grant: Grant, until: Duration) {
        *self.0.lock() = Some((grant, until));
    }

    fn grant(&self) -> Option<(Grant, Duration)> {
        self.0.lock().clone()
    }
}

pub(super) struct Leadership(Arc<Shared>);

impl Leadership {
    /// Gives the lease back, so that another operator need not wait.
    pub(super) async fn release(&self) {
        let Some((grant, _)) = self.0.leading.grant() else { return };
        self.0.leading.lost(grant.token);
        let release = self.0.parts.lease.release(&grant);
        drop(bounded(&self.0, release).await);
    }
}

pub(super) fn start(
    shared: &Arc<Shared>,
    events: &Announcer,
    tasks: &mut JoinSet<()>,
) -> Leadership {
    let (keeper, events) = (Arc::clone(shared), events.clone());
    tasks.spawn(async move {
        let mut told = false;
        loop {
            match keeper.leading.grant() {
                None => seek(&keeper, &events, &mut told).await,
                Some((grant, until)) => keep(&keeper, &grant, until).await,
            }
            keeper.parts.clock.sleep(keeper.settings().lease_ttl / 3).await;
        }
    });
    Leadership(Arc::clone(shared))
}

/// A third of the lease's life is all that the store may take.
async fn bounded<T>(
    shared: &Shared,
    call: impl Future<Output = Result<T>> + Send,
) -> Option<Result<T>> {
    let clock = &shared.parts.clock;
    clock.until(clock.monotonic() + shared.settings().lease_ttl / 3, call).await
}

async fn seek(shared: &Arc<Shared>, events: &Announcer, told: &mut bool) {
    let before = shared.parts.clock.boottime();
    let ttl = shared.settings().lease_ttl;
    let answer = bounded(shared, shared.parts.lease.acquire(&shared.holder, ttl)).await;
    let problem = match answer {
        Some(Ok(None)) => {
            *told = false;
            return;
        }
        Some(Ok(Some(grant))) => match shared.parts.state.0.load(grant.token).await {
            Ok(loaded) => {
                for (id, event) in loaded.unannounced {
                    events.announce(Some(id), event);
                }
                for what in loaded.damaged {
                    let message = format!("failed to read a part of the operator's state: {what}");
                    events.announce(None, trouble(Severity::Critical, message));
                }
                *told = false;
                let (holder, token) = (shared.holder.clone(), grant.token);
                shared.leading.set(grant, before + ttl);
                let saved = loaded.saved;
                return shared.input(Input::Activate { holder, token, saved });
            }
            Err(error) => {
                drop(bounded(shared, shared.parts.lease.release(&grant)).await);
                format!("failed to read the operator's state: {}", error.message())
            }
        },
        Some(Err(error)) => format!("failed to acquire the lease: {}", error.message()),
        None => "failed to acquire the lease: its store does not answer".to_owned(),
    };
    if !std::mem::replace(told, true) {
        let message = format!("{problem}; JARVIS takes no actions until then");
        events.announce(None, trouble(Severity::Critical, message));
    }
}

async fn keep(shared: &Arc<Shared>, grant: &Grant, until: Duration) {
    let before = shared.parts.clock.boottime();
    let ttl = shared.settings().lease_ttl;
    let answer = bounded(shared, shared.parts.lease.renew(grant, ttl)).await;
    let reason = match answer {
        Some(Ok(true)) => return shared.leading.renewed(grant.token, before + ttl),
        Some(Ok(false)) => "another operator took it, or it expired".to_owned(),
        _ if shared.parts.clock.boottime() < until => return,
        Some(Err(error)) => format!("it could not be renewed: {}", error.message()),
        None => "it could not be renewed: its store does not answer".to_owned(),
    };
    shared.send(Message::Lost(grant.token, reason));
    // The next round asks anew; until then whoever acts sees that it ran out.
    shared.leading.renewed(grant.token, Duration::ZERO);
}

impl Leading {
    fn renewed(&self, token: FencingToken, valid_until: Duration) {
        if let Some((grant, until)) = self.0.lock().as_mut()
            && grant.token == token
        {
            *until = valid_until;
        }
    }
}
