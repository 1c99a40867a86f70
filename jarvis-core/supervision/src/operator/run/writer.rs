//! First to disk, then to the world: steps are committed in order, and a step's effects follow
//! its commit.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::announce::Announcer;
use super::{Message, Shared};
use crate::operator::machine::input::{Commit, Effect, Output};
use base::clock::{ClockExt, Monotonic, SharedClock};
use base::events::Event;
use base::resilience::{Backoff, BackoffPolicy};
use base::vocabulary::{FencingToken, Severity};
use base::{Error, ErrorKind};

/// What one step of the machine wants.
pub(super) struct Step {
    pub(super) output: Output,
    /// Our lease, while we hold it: without it nothing is persisted.
    pub(super) token: Option<FencingToken>,
    pub(super) issued: Monotonic,
}

pub(super) struct Writer {
    steps: Option<mpsc::UnboundedSender<Step>>,
    done: Option<tokio::sync::oneshot::Receiver<()>>,
}

impl Writer {
    pub(super) fn send(&self, step: Step) {
        if let Some(steps) = &self.steps {
            drop(steps.send(step));
        }
    }

    /// Waits until everything is written, within limits.
    pub(super) async fn finish(&mut self, clock: &SharedClock, limit: Duration) {
        self.steps = None;
        if let Some(done) = self.done.take() {
            // Late or not, the loop ends.
            let _ = clock.until(clock.monotonic() + limit, done).await;
        }
    }
}

/// How many steps share one commit.
const BATCH: usize = 64;

pub(super) fn start(shared: &Arc<Shared>, events: &Announcer, tasks: &mut JoinSet<()>) -> Writer {
    let (sender, mut steps) = mpsc::unbounded_channel();
    let (finished, done) = tokio::sync::oneshot::channel();
    let (shared, events) = (Arc::clone(shared), events.clone());
    tasks.spawn(async move {
        let mut batch = Vec::new();
        while steps.recv_many(&mut batch, BATCH).await > 0 {
            write(&shared, &events, std::mem::take(&mut batch)).await;
        }
        let _ = finished.send(());
    });
    Writer { steps: Some(sender), done: Some(done) }
}

/// Commits what belongs to the same lease together, in order.
async fn write(shared: &Arc<Shared>, events: &Announcer, batch: Vec<Step>) {
    let mut rest = batch.into_iter().peekable();
    while let Some(first) = rest.next() {
        let token = first.token;
        let mut steps = vec![first];
        while let Some(next) = rest.next_if(|next| next.token == token) {
            steps.push(next);
        }
        write_together(shared, events, token, steps).await;
    }
}

async fn write_together(
    shared: &Arc<Shared>,
    events: &Announcer,
    token: Option<FencingToken>,
    steps: Vec<Step>,
) {
    let mut commit = Commit::default();
    let mut effects = Vec::new();
    for Step { output, issued, .. } in steps {
        commit.globals = output.commit.globals.or(commit.globals);
        commit.records.extend(output.commit.records);
        commit.events.extend(output.commit.events);
        effects.extend(output.effects.into_iter().map(|effect| (issued, effect)));
    }
    let committed = match token {
        _ if commit.is_empty() => true,
        None => {
            commit.events.into_iter().for_each(|event| events.announce(None, event));
            true
        }
        Some(token) => persist(shared, events, token, commit).await,
    };
    crate::operator::failpoint("committed");
    for (issued, effect) in effects {
        let harmless = matches!(effect, Effect::Answer { .. } | Effect::ActionEnded { .. });
        if committed || harmless {
            super::execute::execute(shared, effect, issued);
        }
    }
}

/// Tries until it is on disk, or until the lease is not ours any more (`false`).
async fn persist(
    shared: &Arc<Shared>,
    events: &Announcer,
    token: FencingToken,
    commit: Commit,
) -> bool {
    let policy = BackoffPolicy {
        initial: Duration::from_secs(1),
        max: Duration::from_secs(15),
        ..BackoffPolicy::default()
    };
    let mut backoff = Backoff::new(policy);
    let mut told = false;
    loop {
        match shared.parts.state.0.commit(token, commit.clone()).await {
            Ok(ids) => {
                let numbered = ids.into_iter().zip(commit.events);
                numbered.for_each(|(id, event)| events.announce(Some(id), event));
                if told {
                    let message = "the operator's state can be written again".to_owned();
                    events.announce(None, trouble(Severity::Info, message));
                }
                return true;
            }
            Err(error) if error.kind() == ErrorKind::Forbidden => {
                shared.send(Message::Lost(token, error.message().to_owned()));
                return false;
            }
            Err(error) => {
                if !told {
                    events.announce(None, cannot_write(&error));
                    told = true;
                }
                shared.parts.clock.sleep(backoff.failed()).await;
                if shared.leading.token() != Some(token) {
                    return false;
                }
            }
        }
    }
}

fn cannot_write(error: &Error) -> Event {
    let message = format!(
        "failed to write the operator's state, so no action begins until that works: {}",
        error.message()
    );
    trouble(Severity::Critical, message)
}

pub(super) fn trouble(severity: Severity, message: String) -> Event {
    Event::OperatorTrouble { severity, message }
}
