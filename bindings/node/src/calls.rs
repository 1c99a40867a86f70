//! [`Calls`]: the calls of JavaScript functions that have not been answered.

use std::collections::HashMap;

use jarvis_core::Result;
use jarvis_core::hosted::Running;
use jarvis_core::sync::{Mutex, MutexGuard};
use tokio::sync::oneshot;

/// The calls of JavaScript functions that have not been answered.
#[derive(Debug, Default)]
pub(crate) struct Calls(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    last: u32,
    waiting: HashMap<u32, Waiting>,
}

/// The receiver of an answer, and the mark that the call runs. The mark stays until the function has
/// ended, also when nobody waits for the answer any more.
#[derive(Debug)]
struct Waiting {
    reply: oneshot::Sender<Result<String>>,
    running: Option<Running>,
}

impl Calls {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock()
    }

    /// Registers a call: its number, and where its answer arrives.
    pub(crate) fn begin(
        &self,
        running: Option<Running>,
    ) -> (u32, oneshot::Receiver<Result<String>>) {
        let (reply, receiver) = oneshot::channel();
        let mut open = self.open();
        open.last = open.last.wrapping_add(1);
        let call = open.last;
        open.waiting.insert(call, Waiting { reply, running });
        (call, receiver)
    }

    /// Passes an answer on. It is dropped when nobody waits any more: then it came too late.
    pub(crate) fn answer(&self, call: u32, reply: Result<String>) {
        let waiting = self.open().waiting.remove(&call);
        if let Some(Waiting { reply: receiver, running }) = waiting {
            // First the mark: whoever gets the answer may call again.
            drop(running);
            let _ = receiver.send(reply);
        }
    }

    /// Fails all calls: the thread that would answer has ended.
    pub(crate) fn end(&self) {
        let ended = std::mem::take(&mut self.open().waiting);
        drop(ended);
    }
}
