//! [`Link`]: the connections to one server, and what happens when it stops answering.
//!
//! ```text
//!          first call            connected
//!   Idle ------------> Connecting ---------> Up
//!                        |     ^             |  | answers are late, and none came over that
//!          not connected |     '-------------'  | connection for as long as a call may take
//!                        v     connection lost  v
//!                       Down <------------------'
//! ```
//!
//! From the moment it leaves `Up`, one background task tries to connect, at once and then with a
//! growing, random wait, until it succeeds or the handle is gone. Callers wait for the first try
//! (`Connecting`) and are refused at once from then on (`Down`).

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::TryFutureExt;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, PushInfo, PushKind, RedisError, Value};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::board::Board;
use super::command::Effect;
use super::dial::{Dialer, OnPush, Target, slow};
use super::failure;
use super::line::Line;
use super::sentinel::Sentinels;
use crate::clock::{ClockExt, Monotonic, SharedClock};
use crate::resilience::{Backoff, BackoffPolicy};
use crate::{Error, ErrorKind, Result};

/// How often the Sentinels are asked whether the master is still the same. A master that is cut off
/// from them, but not from us, would go on taking writes that are lost.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const BACKOFF: BackoffPolicy = BackoffPolicy {
    initial: Duration::from_millis(100),
    factor: 2.0,
    max: Duration::from_secs(2),
    jitter: true,
};

/// Until when a call waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    pub(super) at: Monotonic,
    /// How long that was when the call began.
    pub(super) within: Duration,
}

/// Whom a link connects to.
#[derive(Debug)]
pub(super) enum Dial {
    /// Always the same server.
    Fixed(Target),
    /// Whoever is the master now.
    Sentinel(Sentinels),
}

impl Dial {
    async fn target(&self, dialer: &Dialer) -> Result<Target> {
        match self {
            Self::Fixed(target) => Ok(target.clone()),
            Self::Sentinel(sentinels) => sentinels.master(dialer).await,
        }
    }

    /// Connects; what the Sentinels call the master has to call itself that too.
    pub(super) async fn connect(
        &self,
        dialer: &Dialer,
        on_push: Option<OnPush>,
    ) -> Result<(Target, MultiplexedConnection)> {
        let target = self.target(dialer).await?;
        let mut connection = dialer.connect(&target, on_push).await?;
        if let Self::Sentinel(sentinels) = self {
            sentinels.check_role(dialer, &target, &mut connection).await?;
        }
        Ok((target, connection))
    }
}

/// Who wants to know that a server can't be reached.
#[async_trait]
pub(super) trait Owner: std::fmt::Debug + Send + Sync {
    /// Called after each failed try.
    async fn unreachable(&self);
}

/// The connections of one epoch in `Up`.
#[derive(Debug)]
struct Lines {
    id: u64,
    target: Target,
    lines: Box<[Arc<Line>]>,
    closed: Arc<AtomicBool>,
}

#[derive(Debug, Clone)]
enum Phase {
    Idle,
    Connecting,
    Up(Arc<Lines>),
    Down(Error),
}

/// What is sent at once.
#[derive(Debug, Clone, Copy)]
enum Request<'a> {
    One(&'a Cmd),
    Many(&'a Pipeline),
}

/// What comes back. A server's refusal is a [`Value::ServerError`] in here.
#[derive(Debug)]
enum Output {
    One(Value),
    Many(Vec<Value>),
}

/// An answer, and in which epoch it was given.
#[derive(Debug)]
pub(super) struct Answer<T> {
    pub(super) epoch: u64,
    /// Was it the answer to a second sending, after the one to the first was lost?
    pub(super) resent: bool,
    pub(super) value: T,
}

impl Output {
    fn one(self) -> Value {
        match self {
            Self::One(value) => value,
            Self::Many(mut values) => values.pop().unwrap_or(Value::Nil),
        }
    }

    fn many(self) -> Vec<Value> {
        match self {
            Self::One(value) => vec![value],
            Self::Many(values) => values,
        }
    }
}

impl<T> Answer<T> {
    fn map<U>(self, with: impl FnOnce(T) -> U) -> Answer<U> {
        Answer { epoch: self.epoch, resent: self.resent, value: with(self.value) }
    }
}

#[derive(Debug)]
pub(super) struct Link {
    name: String,
    dial: Dial,
    dialer: Arc<Dialer>,
    board: Arc<Board>,
    owner: Option<Weak<dyn Owner>>,
    phase: watch::Sender<Phase>,
    epochs: AtomicU64,
    turn: AtomicUsize,
    waiting: AtomicUsize,
    me: Weak<Self>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.board.forget(&self.name);
    }
}

/// Counts a call for as long as it waits.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Puts a link whose task was dropped with its runtime back to `Idle`, so that the next call
/// starts another.
struct Trying {
    link: Weak<Link>,
    done: bool,
}

impl Drop for Trying {
    fn drop(&mut self) {
        if let Some(link) = self.link.upgrade().filter(|_| !self.done) {
            link.phase.send_replace(Phase::Idle);
        }
    }
}

impl Link {
    pub(super) fn new(
        name: String,
        dial: Dial,
        dialer: Arc<Dialer>,
        board: Arc<Board>,
        owner: Option<Weak<dyn Owner>>,
    ) -> Arc<Self> {
        let (phase, _) = watch::channel(Phase::Idle);
        Arc::new_cyclic(|me| Self {
            name,
            dial,
            dialer,
            board,
            owner,
            phase,
            epochs: AtomicU64::new(0),
            turn: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            me: me.clone(),
        })
    }

    pub(super) fn name(&self) -> &String {
        &self.name
    }

    pub(super) const fn dial(&self) -> &Dial {
        &self.dial
    }

    /// May the server be another one the next time?
    pub(super) const fn may_move(&self) -> bool {
        matches!(self.dial, Dial::Sentinel(_))
    }

    /// Is it connected, and to another one by now?
    pub(super) fn has_moved_from(&self, target: &Target) -> bool {
        matches!(&*self.phase.borrow(), Phase::Up(lines) if lines.target != *target)
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Up(_))
    }

    /// Sends a command, and waits for the answer until then.
    pub(super) fn send(
        &self,
        cmd: &Cmd,
        effect: Effect,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Answer<Value>>> + Send {
        let answer = self.request(Request::One(cmd), effect, deadline);
        answer.map_ok(|answer| answer.map(Output::one))
    }

    /// Sends a pipeline, and waits for all of its answers until then.
    pub(super) fn send_all(
        &self,
        pipeline: &Pipeline,
        effect: Effect,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Answer<Vec<Value>>>> + Send {
        let answer = self.request(Request::Many(pipeline), effect, deadline);
        answer.map_ok(|answer| answer.map(Output::many))
    }

    /// After a lost connection it is sent once more where that can do no harm.
    async fn request(
        &self,
        request: Request<'_>,
        effect: Effect,
        deadline: Deadline,
    ) -> Result<Answer<Output>> {
        let _waiting = self.wait_in_line()?;
        let mut lost: Option<Error> = None;
        loop {
            let lines = match self.lines(deadline).await {
                Ok(lines) => lines,
                // What was sent may have been applied, whatever keeps it from being sent again.
                Err(error) => return Err(lost.filter(|_| effect != Effect::Read).unwrap_or(error)),
            };
            match self.exchange(&lines, request, deadline).await {
                Some(Ok(value)) => {
                    return Ok(Answer { epoch: lines.id, resent: lost.is_some(), value });
                }
                Some(Err(error)) => {
                    let error = failure::lost(&self.name, effect, &error);
                    self.lost(lines.id, &error);
                    if effect == Effect::Write || lost.is_some() {
                        return Err(error);
                    }
                    lost = Some(error);
                }
                None => return Err(failure::late(&self.name, effect, deadline.within)),
            }
        }
    }

    /// One exchange; `None` when the deadline came first.
    async fn exchange(
        &self,
        lines: &Lines,
        request: Request<'_>,
        deadline: Deadline,
    ) -> Option<Result<Output, RedisError>> {
        let turn = match lines.lines.len() {
            1 => 0,
            count => self.turn.fetch_add(1, Ordering::Relaxed) % count,
        };
        let line = &lines.lines[turn];
        let before = line.answers();
        let exchange = pin!(async move {
            match request {
                Request::One(cmd) => line.send(cmd).await.map(Output::One),
                // Boxed, so that a single command is a small future.
                Request::Many(pipeline) => {
                    Box::pin(line.send_all(pipeline)).await.map(Output::Many)
                }
            }
        });
        let outcome = self.dialer.clock.until(deadline.at, exchange).await;
        if outcome.is_none() && line.answers() == before {
            let patience = self.dialer.options.deadline;
            let (asked, now) = (deadline.at - deadline.within, self.dialer.clock.monotonic());
            let silent = line.silence.lasts(before, asked, now, patience);
            if silent >= patience {
                self.hung(lines.id, silent);
            }
        }
        outcome
    }

    fn wait_in_line(&self) -> Result<Waiting<'_>> {
        let waiting = Waiting(&self.waiting);
        let limit = self.dialer.options.max_waiting;
        if self.waiting.fetch_add(1, Ordering::Relaxed) < limit {
            return Ok(waiting);
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!(
                "{limit} calls are already waiting for Redis at {}; send fewer at once",
                self.name
            ),
        ))
    }

    fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    /// The connections, waiting for those that are being made.
    async fn lines(&self, deadline: Deadline) -> Result<Arc<Lines>> {
        loop {
            match self.phase() {
                Phase::Up(lines) if !lines.closed.load(Ordering::Relaxed) => return Ok(lines),
                Phase::Up(lines) => self.lost(lines.id, &self.closed()),
                Phase::Down(error) => return Err(self.refuse(error)),
                Phase::Idle => {
                    let idle = |phase: &Phase| matches!(phase, Phase::Idle);
                    self.start(idle, &Phase::Connecting, None)?;
                }
                // Boxed, so that a call on a connection that is there is a small future.
                Phase::Connecting => Box::pin(self.settled(deadline)).await?,
            }
        }
    }

    /// Waits until it is known whether a connection can be made.
    async fn settled(&self, deadline: Deadline) -> Result<()> {
        let mut changes = self.phase.subscribe();
        let settled = changes.wait_for(|phase| !matches!(phase, Phase::Connecting));
        match self.dialer.clock.until(deadline.at, settled).await {
            Some(_) => Ok(()),
            None => Err(slow(&self.name, deadline.within)),
        }
    }

    fn closed(&self) -> Error {
        Error::new(ErrorKind::Unavailable, format!("Redis at {} closed the connection", self.name))
    }

    /// The error of a call while it is down. Nothing was sent.
    fn refuse(&self, error: Error) -> Error {
        match self.board.since(&self.name) {
            Some(since) => error.with_context("down_since", since),
            None => error,
        }
    }

    /// A connection of that epoch is gone, or its server is not what it was.
    pub(super) fn lost(&self, epoch: u64, error: &Error) {
        let up = |phase: &Phase| matches!(phase, Phase::Up(up) if up.id == epoch);
        // Without a runtime the next call finds it idle and says so.
        drop(self.start(up, &Phase::Connecting, Some(error)));
    }

    /// Answers are late, and none came over that connection for that long.
    fn hung(&self, epoch: u64, silent: Duration) {
        let error = Error::new(
            ErrorKind::Unavailable,
            format!("Redis at {} has not answered for {} ms", self.name, silent.as_millis()),
        );
        let up = |phase: &Phase| matches!(phase, Phase::Up(up) if up.id == epoch);
        let down = Phase::Down(error.clone());
        drop(self.start(up, &down, Some(&error)));
    }

    /// Leaves a phase and starts the task that brings the link up again. What the board says
    /// changes under the same lock, so that the two never disagree; what is news goes to the log
    /// after it, as whoever writes the log may ask whether the link is up.
    fn start(
        &self,
        from: impl Fn(&Phase) -> bool,
        to: &Phase,
        trouble: Option<&Error>,
    ) -> Result<()> {
        let runtime = Handle::try_current();
        let mut news = false;
        let started = self.phase.send_if_modified(|phase| {
            let leaves = from(phase);
            if leaves {
                *phase = if runtime.is_ok() { to.clone() } else { Phase::Idle };
                if let Some(error) = trouble {
                    news = self.board.down(&self.name, error);
                }
            }
            leaves
        });
        if let Some(error) = trouble.filter(|_| news) {
            self.log_down(error);
        }
        let runtime = runtime.map_err(|error| {
            Error::new(ErrorKind::Internal, "Redis was used outside of a Tokio runtime")
                .with_source(error)
        })?;
        if started {
            runtime.spawn(keep_trying(Trying { link: self.me.clone(), done: false }));
        }
        Ok(())
    }

    fn log_down(&self, error: &Error) {
        tracing::warn!(server = self.name, "{}", error.message());
    }

    /// Makes all connections.
    async fn connect(&self) -> Result<Arc<Lines>> {
        let id = self.epochs.fetch_add(1, Ordering::Relaxed);
        let closed = Arc::new(AtomicBool::new(false));
        let on_push = self.on_push(id, &closed);
        let (target, first) = self.dial.connect(&self.dialer, Some(on_push.clone())).await?;
        let mut lines = vec![Arc::new(Line::new(first))];
        for _ in 1..self.dialer.options.connections {
            let connection = self.dialer.connect(&target, Some(on_push.clone())).await?;
            lines.push(Arc::new(Line::new(connection)));
        }
        Ok(Arc::new(Lines { id, target, lines: lines.into(), closed }))
    }

    /// Hears when a connection closes, also when nobody waits for an answer.
    fn on_push(&self, epoch: u64, closed: &Arc<AtomicBool>) -> OnPush {
        let (link, closed) = (self.me.clone(), Arc::clone(closed));
        Arc::new(move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                closed.store(true, Ordering::Relaxed);
                if let Some(link) = link.upgrade() {
                    link.lost(epoch, &link.closed());
                }
            }
        })
    }
}

async fn keep_trying(mut trying: Trying) {
    let mut backoff = Backoff::new(BACKOFF);
    while let Some(link) = trying.link.upgrade() {
        match link.connect().await {
            Ok(lines) => {
                trying.done = true;
                let mut news = false;
                link.phase.send_modify(|phase| {
                    news = link.board.up(&link.name);
                    *phase = Phase::Up(Arc::clone(&lines));
                });
                if news {
                    tracing::info!(server = link.name, "Redis answers again");
                }
                if lines.closed.load(Ordering::Relaxed) {
                    link.lost(lines.id, &link.closed());
                }
                if !link.may_move() {
                    return;
                }
                let (clock, epoch) = (link.dialer.clock.clone(), lines.id);
                drop((link, lines));
                return look_again(&clock, &trying.link, epoch).await;
            }
            Err(error) => {
                let mut news = false;
                link.phase.send_modify(|phase| {
                    news = link.board.down(&link.name, &error);
                    *phase = Phase::Down(error.clone());
                });
                if news {
                    link.log_down(&error);
                }
            }
        }
        let wait = link.dialer.clock.sleep(backoff.failed());
        let owner = link.owner.as_ref().and_then(Weak::upgrade);
        drop(link);
        if let Some(owner) = owner {
            owner.unreachable().await;
        }
        wait.await;
    }
}

/// While a master is connected: is it still the one that the Sentinels name?
async fn look_again(clock: &SharedClock, link: &Weak<Link>, epoch: u64) {
    loop {
        clock.sleep(LOOK_AGAIN).await;
        let Some(link) = link.upgrade() else { return };
        let (Dial::Sentinel(sentinels), Phase::Up(lines)) = (&link.dial, link.phase()) else {
            return;
        };
        if lines.id != epoch {
            return;
        }
        // Sentinels that don't answer say nothing about the master.
        if let Ok(named) = sentinels.master(&link.dialer).await
            && named != lines.target
        {
            let old = &lines.target;
            let message = format!("Redis at {old} is no longer the master: it is {named}");
            return link.lost(epoch, &Error::new(ErrorKind::Unavailable, message));
        }
    }
}
