//! [`Line`]: one connection, over which calls that are made at about the same time go out together.
//!
//! If each call were sent alone, each would cost a write to the socket and a wake-up of the server,
//! which is more work than the call itself. So the first call starts a task that first lets
//! the other calls join and then sends all of them as one pipeline. The answers of a batch are
//! returned together.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use crate::sync::{Mutex, MutexGuard};

use futures_util::future::{BoxFuture, Either, FutureExt, join_all, select};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::silence::Silence;

/// How many calls are sent as one. An answer waits for so many others at most.
const BATCH: usize = 64;

/// A command that is longer is sent alone, so that no other waits until it is written.
const ALONE: usize = 16 << 10;

type Outcome<T> = Result<T, RedisError>;

#[derive(Debug)]
struct Call {
    cmd: Cmd,
    answer: oneshot::Sender<Outcome<Value>>,
}

#[derive(Debug)]
pub(super) struct Line {
    connection: MultiplexedConnection,
    /// Of the connection, whose own task runs there.
    runtime: Handle,
    gathered: Mutex<Vec<Call>>,
    answers: AtomicU64,
    pub(super) silence: Silence,
}

impl Line {
    /// A connection that was made on this runtime.
    pub(super) fn new(connection: MultiplexedConnection) -> Self {
        let (runtime, gathered) = (Handle::current(), Mutex::default());
        let (answers, silence) = (AtomicU64::new(0), Silence::default());
        Self { connection, runtime, gathered, answers, silence }
    }

    /// How many answers came over it so far.
    pub(super) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Sends a command, with others where there are any.
    pub(super) async fn send(self: &Arc<Self>, cmd: &Cmd) -> Outcome<Value> {
        let length: usize = cmd.args_iter().map(|arg| length(&arg)).sum();
        if length > ALONE {
            // Boxed, so that all other calls are small futures.
            return Box::pin(self.send_alone(cmd)).await;
        }
        let (sender, answer) = oneshot::channel();
        let first = {
            let mut gathered = self.gathered();
            gathered.push(Call { cmd: cmd.clone(), answer: sender });
            gathered.len() == 1
        };
        if first {
            self.runtime.spawn(send_gathered(Gathering { line: Arc::clone(self), sent: false }));
        }
        // Without an answer the runtime of the connection has ended, and with it the connection.
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    async fn send_alone(&self, cmd: &Cmd) -> Outcome<Value> {
        let mut connection = self.connection.clone();
        self.counted(connection.send_packed_command(cmd).await)
    }

    /// Sends a pipeline at once.
    pub(super) async fn send_all(&self, pipeline: &Pipeline) -> Outcome<Vec<Value>> {
        let mut connection = self.connection.clone();
        self.counted(connection.send_packed_commands(pipeline, 0, pipeline.len()).await)
    }

    fn counted<T>(&self, outcome: Outcome<T>) -> Outcome<T> {
        if outcome.is_ok() {
            self.answers.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }

    fn gathered(&self) -> MutexGuard<'_, Vec<Call>> {
        self.gathered.lock()
    }

    /// Sends these as one, and gives out the answers.
    fn exchange(self: Arc<Self>, calls: Vec<Call>) -> BoxFuture<'static, ()> {
        async move {
            let mut pipeline = Pipeline::with_capacity(calls.len());
            let mut callers = Vec::with_capacity(calls.len());
            for Call { cmd, answer } in calls {
                // Nobody waits for it any more: it was not sent, and is not.
                if !answer.is_closed() {
                    pipeline.add_command(cmd);
                    callers.push(answer);
                }
            }
            if callers.is_empty() {
                return;
            }
            let nobody_waits = async {
                for caller in &mut callers {
                    caller.closed().await;
                }
            };
            let answers = match select(pin!(self.send_all(&pipeline)), pin!(nobody_waits)).await {
                Either::Left((answers, _)) => answers,
                // What is never answered must not keep the connection.
                Either::Right(_) => return,
            };
            let mut answers = match answers {
                Ok(answers) => answers.into_iter().map(Ok).collect::<Vec<_>>(),
                Err(error) => vec![Err(error); callers.len()],
            };
            answers.resize_with(callers.len(), || Err(ended()));
            for (caller, answer) in callers.into_iter().zip(answers) {
                // Who has stopped waiting meanwhile needs none.
                drop(caller.send(answer));
            }
        }
        .boxed()
    }
}

/// Calls that gather. Where they can't be sent any more, because the task went with its runtime,
/// they are dropped, so that their callers hear of it and the next call starts another task.
struct Gathering {
    line: Arc<Line>,
    sent: bool,
}

impl Drop for Gathering {
    fn drop(&mut self) {
        if !self.sent {
            let calls = std::mem::take(&mut *self.line.gathered());
            drop(calls);
        }
    }
}

async fn send_gathered(mut gathering: Gathering) {
    tokio::task::yield_now().await;
    // What was gathered first is sent first: under the lock all of it is handed to the connection,
    // before anybody can start the next batch.
    let mut under_way = Vec::new();
    std::future::poll_fn(|context| {
        let line = &gathering.line;
        let mut gathered = line.gathered();
        let mut rest = std::mem::take(&mut *gathered);
        gathering.sent = true;
        while !rest.is_empty() {
            let batch = rest.drain(..rest.len().min(BATCH)).collect();
            let mut exchange = Arc::clone(line).exchange(batch);
            if exchange.poll_unpin(context).is_pending() {
                under_way.push(exchange);
            }
        }
        Poll::Ready(())
    })
    .await;
    join_all(under_way).await;
}

fn length(arg: &redis::Arg<&[u8]>) -> usize {
    match arg {
        redis::Arg::Simple(bytes) => bytes.len(),
        _ => 0,
    }
}

fn ended() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::BrokenPipe).into()
}
