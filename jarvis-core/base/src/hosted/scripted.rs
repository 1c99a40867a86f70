//! A hosted object for tests, which gives the answers that it was given.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use serde_json::Value;

use super::{HostedCall, HostedObject, Running};
use crate::Result;
use crate::sync::Mutex;

/// Gives its answers in order and records the calls. A call without an answer hangs.
#[derive(Debug)]
pub struct ScriptedObject {
    methods: &'static [&'static str],
    answers: Mutex<Vec<Result<Value>>>,
    /// The calls so far: the method and its argument.
    pub calls: Mutex<Vec<(&'static str, Value)>>,
    hanging: Mutex<Sender<Running>>,
}

impl ScriptedObject {
    /// An object with these methods, and the calls of it that hang.
    #[must_use]
    pub fn new(methods: &'static [&'static str]) -> (Arc<Self>, Receiver<Running>) {
        let (hanging, hung) = channel();
        let object = Self {
            methods,
            answers: Mutex::default(),
            calls: Mutex::default(),
            hanging: Mutex::new(hanging),
        };
        (Arc::new(object), hung)
    }

    /// Adds the answer of a later call.
    pub fn answer(&self, answer: Result<Value>) {
        self.answers.lock().insert(0, answer);
    }
}

impl HostedObject for ScriptedObject {
    fn has(&self, method: &str) -> bool {
        self.methods.contains(&method)
    }

    fn call(&self, method: &'static str, argument: Value, running: Running) -> HostedCall {
        self.calls.lock().push((method, argument));
        match self.answers.lock().pop() {
            Some(answer) => Box::pin(async move {
                drop(running);
                answer
            }),
            None => {
                // The receiver is gone when the test no longer cares about hanging calls.
                self.hanging.lock().send(running).ok();
                Box::pin(std::future::pending())
            }
        }
    }
}
