//! [`Bridge`]: how calls that take a while leave JavaScript's thread, and how their answers reach it,
//! both in batches.
//!
//! What is in memory is polled where it is called, and given back at once. Everything else gets a
//! ticket and gathers; at the end of its turn JavaScript lets all that gathered begin, in the order in
//! which it was called, in one task of the runtime: one wake for many calls. When a call is done it lies
//! in the inbox; the first in an empty inbox wakes JavaScript's thread, which takes all that is there by
//! then: one wake for many answers.

use std::any::Any;
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_util::stream::FuturesUnordered;
use futures_util::task::AtomicWaker;
use futures_util::{FutureExt as _, StreamExt as _};
use jarvis_core::sync::{Mutex, MutexGuard};
use jarvis_core::{Error, ErrorKind};
use napi::bindgen_prelude::{Either6, Function, Null};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Env, Status};
use napi_derive::napi;
use tokio_util::sync::CancellationToken;

use crate::convert::{Answer, Value, text};
use crate::error::{Caught, Failure, Thrown};
use crate::foreign::Calls;
use crate::runtime;

/// Wakes JavaScript's thread. Weak: it keeps no process from ending.
type Wake = ThreadsafeFunction<(), (), (), Status, false, true, 0>;

/// What a call ends with.
pub(crate) type Outcome = Result<Value, Failure>;

/// Where a call is polled first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Where it is made, without a runtime: as a rule it is complete at once.
    Here,
    /// Within the runtime: it may start timers or connections.
    Runtime,
}

/// So many calls begin at once, before the turn ends: then both threads have something to do.
const AT_ONCE: usize = 16;

/// What lies in the inbox, as JavaScript takes it: three values each.
#[derive(Debug)]
pub(crate) enum Message {
    /// A call is done.
    Answered { ticket: u32, outcome: Outcome },
    /// A JavaScript function is wanted.
    Called { call: u32, function: u32, arguments: String },
    /// A JavaScript function will not be called again.
    Forgotten { function: u32 },
    /// Nobody waits for a call any more.
    Dropped { call: u32 },
}

/// Calls that have not begun, with their tickets.
#[derive(Default)]
struct Gathered {
    calls: Vec<(u32, Work)>,
    last_ticket: u32,
    /// Is there a task that takes them?
    is_served: bool,
}

/// One environment's end: what tasks in the runtime hold.
pub(crate) struct Shared {
    gathered: Mutex<Gathered>,
    /// Wakes the task that takes them.
    serving: AtomicWaker,
    inbox: Mutex<Vec<Message>>,
    wake: Wake,
    pub(crate) calls: Calls,
    /// JavaScript's thread ends.
    ended: CancellationToken,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock()
    }

    fn inbox(&self) -> MutexGuard<'_, Vec<Message>> {
        self.inbox.lock()
    }

    pub(crate) fn push(&self, message: Message) {
        let is_first = {
            let mut inbox = self.inbox();
            inbox.push(message);
            inbox.len() == 1
        };
        if is_first && !self.ended.is_cancelled() {
            // The status says no more than that the environment is gone, and then nobody waits.
            let _ = self.wake.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }

    /// Is JavaScript's thread gone?
    pub(crate) fn is_over(&self) -> bool {
        self.ended.is_cancelled()
    }

    fn gather(self: &Arc<Self>, work: Work) -> u32 {
        let mut gathered = self.gathered();
        gathered.last_ticket = gathered.last_ticket.wrapping_add(1);
        let ticket = gathered.last_ticket;
        gathered.calls.push((ticket, work));
        let are_enough = gathered.calls.len() >= AT_ONCE;
        drop(gathered);
        if are_enough {
            self.begin();
        }
        ticket
    }

    /// Lets everything begin that gathered.
    fn begin(self: &Arc<Self>) {
        let is_served = std::mem::replace(&mut self.gathered().is_served, true);
        if is_served {
            return self.serving.wake();
        }
        match runtime::get() {
            Ok(runtime) => drop(runtime.spawn(serve(Arc::clone(self)))),
            Err(error) => self.refuse(&error),
        }
    }

    /// Without a runtime nothing begins.
    fn refuse(&self, error: &Error) {
        let calls = {
            let mut gathered = self.gathered();
            gathered.is_served = false;
            std::mem::take(&mut gathered.calls)
        };
        for (ticket, _) in calls {
            let failure = error.clone().into();
            self.push(Message::Answered { ticket, outcome: Err(failure) });
        }
    }
}

/// Carries out what gathers, until JavaScript's thread ends.
async fn serve(shared: Arc<Shared>) {
    let mut calls = FuturesUnordered::new();
    let serving = poll_fn(|context| {
        shared.serving.register(context.waker());
        let gathered = std::mem::take(&mut shared.gathered().calls);
        calls.extend(gathered.into_iter().map(|(ticket, work)| work.map(move |it| (ticket, it))));
        while let Poll::Ready(Some((ticket, outcome))) = calls.poll_next_unpin(context) {
            shared.push(Message::Answered { ticket, outcome });
        }
        Poll::<()>::Pending
    });
    shared.ended.run_until_cancelled(serving).await;
}

type Work = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// A panic becomes an error: the process goes on.
fn guarded(work: impl Future<Output = Outcome> + Send + 'static) -> Work {
    let ended = AssertUnwindSafe(work).catch_unwind();
    Box::pin(ended.map(|ended| ended.unwrap_or_else(|panic| Err(panicked(&*panic)))))
}

fn panicked(panic: &(dyn Any + Send)) -> Failure {
    let what = panic.downcast_ref::<&str>().copied();
    let what = what.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let message = format!("a bug: {}", what.unwrap_or("something panicked"));
    Error::new(ErrorKind::Internal, message).into()
}

/// Asks what is known without waiting, such as a hit in memory: no future is made for it.
pub(crate) fn now<T: Into<Value>>(
    ask: impl FnOnce() -> Option<Result<T, Failure>>,
) -> Option<Result<Answer, Thrown>> {
    let answer = match catch_unwind(AssertUnwindSafe(ask)) {
        Ok(answer) => answer?,
        Err(panic) => Err(panicked(&*panic)),
    };
    Some(answer.map(|value| value.into().into()).map_err(Thrown::from))
}

/// The end of one JavaScript environment (the main thread, or a worker thread).
#[napi]
#[derive(Debug, Clone)]
pub struct Bridge {
    shared: Arc<Shared>,
}

#[napi]
impl Bridge {
    /// `wake` is called without arguments when there is something to `take()`.
    #[napi(constructor)]
    pub fn new(env: Env, wake: Function<'_, (), ()>) -> Result<Self, napi::Error> {
        let wake =
            wake.build_threadsafe_function().weak::<true>().callee_handled::<false>().build()?;
        let shared = Arc::new(Shared {
            gathered: Mutex::default(),
            serving: AtomicWaker::new(),
            inbox: Mutex::default(),
            wake,
            calls: Calls::default(),
            ended: CancellationToken::new(),
        });
        let ending = Arc::downgrade(&shared);
        env.add_env_cleanup_hook(ending, |ending| {
            if let Some(shared) = ending.upgrade() {
                shared.ended.cancel();
                shared.calls.end();
            }
        })?;
        Ok(Self { shared })
    }

    /// Lets the calls begin that were given a ticket: to be called at the end of the turn.
    #[napi]
    pub fn begin(&self) {
        self.shared.begin();
    }

    /// Everything that waits, three values each: 0 (done), ticket, answer; 1 (failed), ticket,
    /// error as JSON; 2 (call a function), call, [function, arguments as JSON]; 3 (forget a
    /// function), function, null; 4 (nobody waits for a call), call, null.
    #[napi(
        ts_return_type = "Array<null | boolean | string | Buffer | Array<null | boolean | string | Buffer> | number>"
    )]
    pub fn take(&self) -> Vec<Answer> {
        let messages = std::mem::take(&mut *self.shared.inbox());
        let mut taken = Vec::with_capacity(messages.len() * 3);
        for message in messages {
            taken.extend(message.crossing());
        }
        taken
    }

    /// A function that was called has answered: its value as text, or with `failed` its error as
    /// JSON.
    #[napi]
    pub fn reply(&self, call: u32, failed: bool, text: String) {
        let reply = if failed { Err(Caught::read(&text)) } else { Ok(text) };
        self.shared.calls.answer(call, reply);
    }
}

impl Bridge {
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The answer, where it is known at once, or the ticket of a call that begins when this turn ends.
    pub(crate) fn answer<F, T>(&self, place: Place, work: F) -> Result<Answer, Thrown>
    where
        F: Future<Output = Result<T, Failure>> + Send + 'static,
        T: Into<Value>,
    {
        let mut work = guarded(async move { work.await.map(Into::into) });
        if place == Place::Here {
            let mut context = Context::from_waker(Waker::noop());
            if let Poll::Ready(outcome) = work.as_mut().poll(&mut context) {
                return Ok(outcome?.into());
            }
        }
        Ok(Either6::F(self.shared.gather(work)))
    }
}

impl Message {
    fn crossing(self) -> [Answer; 3] {
        let number = Either6::F;
        match self {
            Self::Answered { ticket, outcome: Ok(value) } => {
                [number(0), number(ticket), value.into()]
            }
            Self::Answered { ticket, outcome: Err(failure) } => {
                [number(1), number(ticket), Either6::C(text(failure.to_json()))]
            }
            Self::Called { call, function, arguments } => {
                let what = vec![Value::Text(function.to_string()), Value::Text(arguments)];
                [number(2), number(call), Value::List(what).into()]
            }
            Self::Forgotten { function } => [number(3), number(function), Either6::A(Null)],
            Self::Dropped { call } => [number(4), number(call), Either6::A(Null)],
        }
    }
}
