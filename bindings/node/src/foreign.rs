//! [`Foreign`]: a JavaScript function that Rust calls.

use std::sync::Arc;

use jarvis_core::hosted::Running;
use jarvis_core::{Error, ErrorKind, Result};

use crate::inbox::{Inbox, Message};

/// A JavaScript function. JavaScript forgets it when this is dropped.
#[derive(Debug)]
pub(crate) struct Foreign {
    inbox: Arc<Inbox>,
    function: u32,
}

impl Foreign {
    pub(crate) fn new(inbox: &Arc<Inbox>, function: u32) -> Self {
        Self { inbox: Arc::clone(inbox), function }
    }

    /// Another function of the same thread.
    pub(crate) fn sibling(&self, function: u32) -> Self {
        Self::new(&self.inbox, function)
    }

    /// Calls it with arguments as a JSON array, and waits for its answer as text. When this future is
    /// dropped, the function's signal aborts; `running` is held until the function has ended all the
    /// same.
    ///
    /// # Errors
    /// What it threw; `Cancelled` when its thread has ended.
    pub(crate) async fn call(&self, arguments: String, running: Option<Running>) -> Result<String> {
        if self.inbox.has_ended() {
            return Err(ended());
        }
        let (call, receiver) = self.inbox.calls.begin(running);
        let pending = Pending { inbox: &self.inbox, call, is_answered: false };
        self.inbox.push(Message::Called { call, function: self.function, arguments });
        let reply = receiver.await;
        pending.answered();
        reply.unwrap_or_else(|_| Err(ended()))
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Cancelled, "the JavaScript thread that should answer has ended")
}

impl Drop for Foreign {
    fn drop(&mut self) {
        self.inbox.push(Message::Forgotten { function: self.function });
    }
}

/// A call that somebody waits for. Dropped without an answer, it tells JavaScript.
struct Pending<'a> {
    inbox: &'a Inbox,
    call: u32,
    is_answered: bool,
}

impl Pending<'_> {
    fn answered(mut self) {
        self.is_answered = true;
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.inbox.push(Message::Dropped { call: self.call });
        }
    }
}
