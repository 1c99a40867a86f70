//! JavaScript functions and objects that Rust calls.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jarvis_core::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{OnceCell, oneshot};

use crate::bridge::{Message, Shared};

/// The calls that JavaScript has not answered.
#[derive(Debug, Default)]
pub(crate) struct Calls(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    last: u32,
    waiting: HashMap<u32, Waiting>,
}

/// Who waits for a call, and what is busy with it: the second also when nobody waits any more.
#[derive(Debug)]
struct Waiting {
    reply: oneshot::Sender<Result<String>>,
    _busy: Option<Busy>,
}

impl Calls {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, busy: Option<Busy>) -> (u32, oneshot::Receiver<Result<String>>) {
        let (reply, receiver) = oneshot::channel();
        let mut open = self.open();
        open.last = open.last.wrapping_add(1);
        let call = open.last;
        open.waiting.insert(call, Waiting { reply, _busy: busy });
        (call, receiver)
    }

    /// Gives an answer to who waits for it. Nobody may: then it came too late.
    pub(crate) fn answer(&self, call: u32, reply: Result<String>) {
        let waiting = self.open().waiting.remove(&call);
        if let Some(waiting) = waiting {
            let _ = waiting.reply.send(reply);
        }
    }

    /// The thread that would answer is gone.
    pub(crate) fn end(&self) {
        let ended = std::mem::take(&mut self.open().waiting);
        drop(ended);
    }
}

/// Held while something is busy.
#[derive(Debug)]
pub(crate) struct Busy(Arc<AtomicBool>);

impl Busy {
    /// `None` when it is busy already.
    fn begin(flag: &Arc<AtomicBool>) -> Option<Self> {
        (!flag.swap(true, Ordering::AcqRel)).then(|| Self(Arc::clone(flag)))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
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

    /// Calls it with arguments as a JSON array, and waits for its answer as text. When the caller
    /// goes away, the function's signal aborts; `busy` is held until it has answered all the same.
    ///
    /// # Errors
    /// What it threw; `Cancelled` when its thread is gone.
    pub(crate) async fn call(&self, arguments: String, busy: Option<Busy>) -> Result<String> {
        if self.shared.is_over() {
            return Err(gone());
        }
        let (call, receiver) = self.shared.calls.begin(busy);
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

/// A JavaScript object that stands for a backend: it is called by its methods' names, one call at
/// a time. One that hangs is left hanging, and not called a second time.
#[derive(Debug)]
pub(crate) struct Object {
    made: Made,
    busy: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Made {
    /// It is there.
    Given(Arc<Foreign>),
    /// A function makes it of its settings when it is first called.
    Later { factory: Arc<Foreign>, settings: Value, made: OnceCell<Foreign> },
}

impl Object {
    pub(crate) fn given(object: Arc<Foreign>) -> Self {
        Self { made: Made::Given(object), busy: Arc::default() }
    }

    pub(crate) fn later(factory: Arc<Foreign>, settings: Value) -> Self {
        let made = Made::Later { factory, settings, made: OnceCell::new() };
        Self { made, busy: Arc::default() }
    }

    async fn function(&self) -> Result<&Foreign> {
        match &self.made {
            Made::Given(object) => Ok(object),
            Made::Later { factory, settings, made } => {
                let make = || async {
                    let number = factory.call(json!([settings]).to_string(), None).await?;
                    let number = number.parse().map_err(|_| nonsense("make", "no object"))?;
                    Ok(Foreign::new(&factory.shared, number))
                };
                made.get_or_try_init(make).await
            }
        }
    }

    /// Calls a method, and reads what it answers.
    ///
    /// # Errors
    /// - What it threw; `Unsupported` when the object has no such method.
    /// - `Conflict` while an earlier call goes on.
    /// - `InvalidInput` for an answer that means nothing.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        argument: &Value,
    ) -> Result<T> {
        let busy = Busy::begin(&self.busy).ok_or_else(|| {
            let message = format!("an earlier call has not ended yet; {method} was not called");
            Error::new(ErrorKind::Conflict, message)
        })?;
        let function = self.function().await?;
        let answer = function.call(json!([method, argument]).to_string(), Some(busy)).await?;
        serde_json::from_str(&answer).map_err(|error| nonsense(method, &error.to_string()))
    }
}

/// What a JavaScript object answered means nothing.
fn nonsense(method: &str, why: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("what {method} answered can't be used: {why}"))
}
