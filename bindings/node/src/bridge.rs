//! [`Bridge`]: how calls leave JavaScript's thread and how their answers return, both in batches.
//!
//! A call of a store in memory is polled where it is made and answered at once. Every other call gets
//! a ticket and is queued; at the end of its turn JavaScript calls `begin`, which starts all queued
//! calls in their order in one task of the runtime. Answers go into the `Inbox`.

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
use jarvis_core::vocabulary::Locality;
use jarvis_core::{Error, ErrorKind};
use napi::Env;
use napi::bindgen_prelude::{Either6, Function};
use napi_derive::napi;

use crate::convert::{Answer, Value};
use crate::error::{Caught, Failure, Thrown, thrown};
use crate::inbox::{Inbox, Message, Outcome};
use crate::runtime;

/// Where a call is polled first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// On JavaScript's thread, without a runtime: as a rule it is complete at once.
    Here,
    /// On JavaScript's thread, with the runtime at hand: it is often complete at once, and else needs
    /// timers or connections.
    Entered,
    /// In the runtime: it needs timers or connections.
    Runtime,
}

impl Place {
    /// For a store that is this far away.
    pub(crate) fn of(locality: Locality) -> Self {
        match locality {
            Locality::InMemory => Self::Here,
            Locality::Near => Self::Entered,
            _ => Self::Runtime,
        }
    }

    /// For a call that may wait for others.
    pub(crate) fn waiting(self) -> Self {
        if self == Self::Here { Self::Entered } else { self }
    }
}

/// This many queued calls begin before the turn ends, so that both threads have something to do.
const AT_ONCE: usize = 16;

type Work = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Calls that have not begun, with their tickets.
#[derive(Default)]
struct Queue {
    calls: Vec<(u32, Work)>,
    last_ticket: u32,
    /// Is there a task that takes them?
    is_served: bool,
}

/// What a bridge and its task share.
struct Shared {
    queue: Mutex<Queue>,
    /// Wakes the task that takes calls from the queue.
    task: AtomicWaker,
    inbox: Arc<Inbox>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }

    fn enqueue(self: &Arc<Self>, work: Work) -> u32 {
        let mut queue = self.queue();
        queue.last_ticket = queue.last_ticket.wrapping_add(1);
        let ticket = queue.last_ticket;
        queue.calls.push((ticket, work));
        let are_enough = queue.calls.len() >= AT_ONCE;
        drop(queue);
        if are_enough {
            self.begin();
        }
        ticket
    }

    /// Starts all queued calls.
    fn begin(self: &Arc<Self>) {
        let is_served = std::mem::replace(&mut self.queue().is_served, true);
        if is_served {
            return self.task.wake();
        }
        match runtime::get() {
            Ok(runtime) => drop(runtime.spawn(serve(Arc::clone(self)))),
            Err(error) => self.refuse(&error),
        }
    }

    /// Fails all queued calls: there is no runtime.
    fn refuse(&self, error: &Error) {
        let calls = {
            let mut queue = self.queue();
            queue.is_served = false;
            std::mem::take(&mut queue.calls)
        };
        for (ticket, _) in calls {
            let failure = error.clone().into();
            self.inbox.push(Message::Answered { ticket, outcome: Err(failure) });
        }
    }
}

/// Carries out queued calls until JavaScript's thread ends.
async fn serve(shared: Arc<Shared>) {
    let mut calls = FuturesUnordered::new();
    let serving = poll_fn(|context| {
        shared.task.register(context.waker());
        let queued = std::mem::take(&mut shared.queue().calls);
        calls.extend(queued.into_iter().map(|(ticket, work)| work.map(move |it| (ticket, it))));
        while let Poll::Ready(Some((ticket, outcome))) = calls.poll_next_unpin(context) {
            shared.inbox.push(Message::Answered { ticket, outcome });
        }
        Poll::<()>::Pending
    });
    shared.inbox.until_end(serving).await;
}

/// Turns a panic into an error, so that the process goes on.
fn guarded(work: impl Future<Output = Outcome> + Send + 'static) -> Work {
    let ended = AssertUnwindSafe(work).catch_unwind();
    Box::pin(ended.map(|ended| ended.unwrap_or_else(|panic| Err(panicked(&*panic)))))
}

fn panicked(panic: &(dyn Any + Send)) -> Failure {
    let what = panic.downcast_ref::<&str>().copied();
    let what = what.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let what = what.unwrap_or("no message");
    Error::new(ErrorKind::Internal, format!("a bug in jarvis-core: it panicked: {what}")).into()
}

/// Answers without a future where nothing has to be waited for, such as a hit in memory.
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
    /// Calls `wake` without arguments when there is something to `take()`.
    #[napi(constructor)]
    pub fn new(env: Env, wake: Function<'_, (), ()>) -> Result<Self, napi::Error> {
        let wake =
            wake.build_threadsafe_function().weak::<true>().callee_handled::<false>().build()?;
        let inbox = Arc::new(Inbox::new(wake));
        env.add_env_cleanup_hook(Arc::downgrade(&inbox), |inbox| {
            if let Some(inbox) = inbox.upgrade() {
                inbox.end();
            }
        })?;
        let (queue, task) = (Mutex::default(), AtomicWaker::new());
        Ok(Self { shared: Arc::new(Shared { queue, task, inbox }) })
    }

    /// Starts the calls that were given a ticket; to be called at the end of the turn.
    #[napi]
    pub fn begin(&self) {
        self.shared.begin();
    }

    /// Takes everything from the inbox, three values each: 0 (done), ticket, answer; 1 (failed),
    /// ticket, error as JSON; 2 (call a function), call, [function, arguments as JSON]; 3 (forget a
    /// function), function, null; 4 (nobody waits for a call any more), call, null.
    #[napi(
        ts_return_type = "Array<null | boolean | string | Buffer | Array<null | boolean | string | Buffer> | number>"
    )]
    pub fn take(&self) -> Vec<Answer> {
        self.shared.inbox.take()
    }

    /// Answers a call of a JavaScript function: its value as text, or with `failed` its error as
    /// JSON.
    #[napi]
    pub fn reply(&self, call: u32, failed: bool, text: String) {
        let reply = if failed { Err(Caught::read(&text)) } else { Ok(text) };
        self.shared.inbox.calls.answer(call, reply);
    }
}

impl Bridge {
    pub(crate) fn inbox(&self) -> &Arc<Inbox> {
        &self.shared.inbox
    }

    /// The answer, where it is known at once, or the ticket of a call that begins when this turn ends.
    pub(crate) fn answer<F, T>(&self, place: Place, work: F) -> Result<Answer, Thrown>
    where
        F: Future<Output = Result<T, Failure>> + Send + 'static,
        T: Into<Value>,
    {
        let mut work = guarded(async move { work.await.map(Into::into) });
        let mut poll = || work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let first = match place {
            Place::Here => poll(),
            Place::Entered => {
                let _entered = runtime::get().map_err(thrown)?.enter();
                poll()
            }
            Place::Runtime => Poll::Pending,
        };
        if let Poll::Ready(outcome) = first {
            return Ok(outcome?.into());
        }
        Ok(Either6::F(self.shared.enqueue(work)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panics() -> Outcome {
        panic!("as the test asked")
    }

    fn message(failure: &Failure) -> String {
        let error: serde_json::Value = serde_json::from_str(&failure.to_json()).unwrap();
        assert_eq!(error["kind"], "internal");
        error["message"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_panic_is_an_error_at_once_and_later() {
        let expected = "a bug in jarvis-core: it panicked: as the test asked";
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(Err(failure)) = guarded(async { panics() }).as_mut().poll(&mut context)
        else {
            unreachable!("it is complete on the first poll")
        };
        assert_eq!(message(&failure), expected);

        let mut polls = 0;
        let late = poll_fn(move |_| {
            polls += 1;
            if polls < 2 { Poll::Pending } else { Poll::Ready(panics()) }
        });
        let mut late = guarded(late);
        assert!(late.as_mut().poll(&mut context).is_pending());
        let Poll::Ready(Err(failure)) = late.as_mut().poll(&mut context) else {
            unreachable!("it is complete on the second poll")
        };
        assert_eq!(message(&failure), expected);

        let thrown = now(|| Some(panics())).unwrap().err().unwrap();
        assert!(thrown.reason.contains(expected), "{thrown}");
    }
}
