//! [`Inbox`]: what the runtime has for JavaScript's thread.

use std::fmt;

use jarvis_core::sync::Mutex;
use napi::Status;
use napi::bindgen_prelude::{Either6, Null};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use tokio_util::sync::CancellationToken;

use crate::calls::Calls;
use crate::convert::{Answer, Value, text};
use crate::error::Failure;

/// Wakes JavaScript's thread. Weak: it keeps no process from ending.
pub(crate) type Wake = ThreadsafeFunction<(), (), (), Status, false, true, 0>;

/// What a call ends with.
pub(crate) type Outcome = std::result::Result<Value, Failure>;

/// One entry of the inbox.
#[derive(Debug)]
pub(crate) enum Message {
    /// A call is done.
    Answered { ticket: u32, outcome: Outcome },
    /// A JavaScript function is to be called.
    Called { call: u32, function: u32, arguments: String },
    /// A JavaScript function will not be called again.
    Forgotten { function: u32 },
    /// Nobody waits for this call of a JavaScript function any more.
    Dropped { call: u32 },
}

/// What the runtime has for one JavaScript environment. The first message in an empty inbox wakes
/// JavaScript's thread, which then takes all that are there.
pub(crate) struct Inbox {
    messages: Mutex<Vec<Message>>,
    wake: Wake,
    /// Calls of JavaScript functions that are under way.
    pub(crate) calls: Calls,
    ended: CancellationToken,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}

impl Inbox {
    pub(crate) fn new(wake: Wake) -> Self {
        let (messages, calls) = (Mutex::default(), Calls::default());
        Self { messages, wake, calls, ended: CancellationToken::new() }
    }

    pub(crate) fn push(&self, message: Message) {
        let is_first = {
            let mut messages = self.messages.lock();
            messages.push(message);
            messages.len() == 1
        };
        if is_first && !self.has_ended() {
            // It fails only when the environment is gone, and then nobody waits.
            let _ = self.wake.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }

    /// Takes all messages, in the form that JavaScript reads.
    pub(crate) fn take(&self) -> Vec<Answer> {
        let messages = std::mem::take(&mut *self.messages.lock());
        let mut taken = Vec::with_capacity(messages.len() * 3);
        for message in messages {
            taken.extend(message.into_answers());
        }
        taken
    }

    /// JavaScript's thread ends: fails what it would have answered.
    pub(crate) fn end(&self) {
        self.ended.cancel();
        self.calls.end();
    }

    /// Has JavaScript's thread ended?
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Runs a future until JavaScript's thread ends.
    pub(crate) async fn until_end(&self, work: impl Future<Output = ()> + Send) {
        self.ended.run_until_cancelled(work).await;
    }
}

impl Message {
    fn into_answers(self) -> [Answer; 3] {
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
