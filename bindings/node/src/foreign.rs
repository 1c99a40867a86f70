//! JavaScript functions that Rust calls.

use std::collections::HashMap;
use std::sync::Arc;

use jarvis_core::hosted::Running;
use jarvis_core::sync::{Mutex, MutexGuard};
use jarvis_core::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

use crate::bridge::{Message, Shared};

/// The calls that JavaScript has not answered.
#[derive(Debug, Default)]
pub(crate) struct Calls(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    last: u32,
    waiting: HashMap<u32, Waiting>,
}

/// Who waits for a call, and that it runs: the second also when nobody waits any more.
#[derive(Debug)]
struct Waiting {
    reply: oneshot::Sender<Result<String>>,
    running: Option<Running>,
}

impl Calls {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock()
    }

    fn begin(&self, running: Option<Running>) -> (u32, oneshot::Receiver<Result<String>>) {
        let (reply, receiver) = oneshot::channel();
        let mut open = self.open();
        open.last = open.last.wrapping_add(1);
        let call = open.last;
        open.waiting.insert(call, Waiting { reply, running });
        (call, receiver)
    }

    /// Gives an answer to who waits for it. Nobody may: then it came too late.
    pub(crate) fn answer(&self, call: u32, reply: Result<String>) {
        let waiting = self.open().waiting.remove(&call);
        if let Some(Waiting { reply: asker, running }) = waiting {
            // First: whoever has the answer may call again.
            drop(running);
            let _ = asker.send(reply);
        }
    }

    /// The thread that would answer is gone.
    pub(crate) fn end(&self) {
        let ended = std::mem::take(&mut self.open().waiting);
        drop(ended);
    }
}

/// A JavaScript function, held until this is dropped.
#[derive(Debug)]
pub(crate) struct Foreign {
    shared: Arc<Shared>,
    function: u32,
}

impl Foreign {
    pub(crate) fn new(shared: &Arc<Shared>, function: u32) -> Self {
        Self { shared: Arc::clone(shared), function }
    }

    /// Another function of the same thread.
    pub(crate) fn beside(&self, function: u32) -> Self {
        Self::new(&self.shared, function)
    }

    /// Calls it with arguments as a JSON array, and waits for its answer as text. When the caller
    /// goes away, the function's signal aborts; `running` is held until it has answered all the
    /// same.
    ///
    /// # Errors
    /// What it threw; `Cancelled` when its thread is gone.
    pub(crate) async fn call(&self, arguments: String, running: Option<Running>) -> Result<String> {
        if self.shared.is_over() {
            return Err(gone());
        }
        let (call, receiver) = self.shared.calls.begin(running);
        let patience = Patience { shared: &self.shared, call, is_over: false };
        let message = Message::Called { call, function: self.function, arguments };
        self.shared.push(message);
        let reply = receiver.await;
        patience.over();
        reply.unwrap_or_else(|_| Err(gone()))
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Cancelled, "the JavaScript thread that should answer is gone")
}

impl Drop for Foreign {
    fn drop(&mut self) {
        self.shared.push(Message::Forgotten { function: self.function });
    }
}

/// Somebody waits for a call; when nobody does any more, JavaScript is told.
struct Patience<'a> {
    shared: &'a Shared,
    call: u32,
    is_over: bool,
}

impl Patience<'_> {
    fn over(mut self) {
        self.is_over = true;
    }
}

impl Drop for Patience<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.shared.push(Message::Dropped { call: self.call });
        }
    }
}
