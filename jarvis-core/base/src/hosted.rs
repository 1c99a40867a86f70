//! Objects of a program in another language: what a Python class or a JavaScript object is to the
//! traits.
//!
//! A binding implements [`HostedObject`], one small trait, and gets a probe, a restarter and a sink
//! that keep their contracts: `health::HostedProbe`, `restart::HostedRestarter`, `alert::HostedSink`.
//! Methods are called with JSON and answer JSON.
//!
//! Foreign code may hang. A call that nobody waits for any more is *left behind*: it is counted
//! ([`LeftBehind`]), and the same method of the same object is not called again before it returns.

#[cfg(any(test, feature = "testkit"))]
#[doc(hidden)]
pub mod scripted;

use std::collections::HashMap;
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::clock::{ClockExt, Monotonic, SharedClock};
use crate::sync::{Mutex, MutexGuard};
use crate::{Error, ErrorKind, Result};

/// What the traits' implementations may call.
pub const METHODS: [&str; 10] = [
    "probe",
    "observe",
    "restart",
    "start",
    "stop",
    "roll_back",
    "settle_roll_back",
    "last_log_lines",
    "release",
    "deliver",
];

/// A call under way.
pub type HostedCall = Pin<Box<dyn Future<Output = Result<Value>> + Send + 'static>>;

/// An object of the program that this crate is embedded in.
pub trait HostedObject: Debug + Send + Sync + 'static {
    /// Has it this method? An object that is yet to be made says yes, and a call of what it turns
    /// out not to have is `Unsupported`.
    fn has(&self, method: &str) -> bool;

    /// Begins to call a method. Does not block.
    ///
    /// # Behavior
    /// - `running` is dropped when the call has ended on the other side, also when nobody waits for
    ///   it any more, and not before.
    /// - Dropping the future asks the call to end, where that can be asked.
    /// - An exception is an error of the kind that fits it best.
    fn call(&self, method: &'static str, argument: Value, running: Running) -> HostedCall;
}

/// How many calls of a program's objects were left behind and have not returned. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct LeftBehind(Arc<AtomicUsize>);

impl LeftBehind {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
struct Counts {
    all: LeftBehind,
    /// By method, of one object.
    methods: Mutex<HashMap<&'static str, usize>>,
}

impl Counts {
    fn methods(&self) -> MutexGuard<'_, HashMap<&'static str, usize>> {
        self.methods.lock()
    }

    fn of(&self, method: &str) -> usize {
        self.methods().get(method).copied().unwrap_or(0)
    }

    fn add(&self, method: &'static str) {
        *self.methods().entry(method).or_default() += 1;
        self.all.0.fetch_add(1, Ordering::Relaxed);
    }

    fn remove(&self, method: &'static str) {
        if let Some(count) = self.methods().get_mut(method) {
            *count = count.saturating_sub(1);
        }
        self.all.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Call {
    method: &'static str,
    counts: Arc<Counts>,
    state: AtomicU8,
}

const WAITED_FOR: u8 = 0;
const LEFT: u8 = 1;
const ENDED: u8 = 2;

/// Proof that a call runs, held by whoever carries it out: dropped when it has ended.
#[derive(Debug)]
#[must_use = "a call has ended when this is dropped"]
pub struct Running(Arc<Call>);

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.state.swap(ENDED, Ordering::AcqRel) == LEFT {
            self.0.counts.remove(self.0.method);
        }
    }
}

/// Held by whoever waits for it.
struct Waiting(Arc<Call>);

impl Drop for Waiting {
    fn drop(&mut self) {
        let state = &self.0.state;
        if state.load(Ordering::Acquire) == ENDED {
            return;
        }
        // Counted first: it may end in between, and then counts back.
        self.0.counts.add(self.0.method);
        let left = state.compare_exchange(WAITED_FOR, LEFT, Ordering::AcqRel, Ordering::Acquire);
        if left.is_err() {
            self.0.counts.remove(self.0.method);
        }
    }
}

/// An object as the traits' implementations call it.
#[derive(Debug, Clone)]
#[doc(hidden)]
pub struct Hosted {
    object: Arc<dyn HostedObject>,
    counts: Arc<Counts>,
    /// The clock of the deadlines.
    pub clock: SharedClock,
}

impl Hosted {
    /// Wraps an object; `left_behind` counts the calls that outlive their deadline.
    pub fn new(object: Arc<dyn HostedObject>, clock: SharedClock, left_behind: LeftBehind) -> Self {
        let counts = Arc::new(Counts { all: left_behind, methods: Mutex::default() });
        Self { object, counts, clock }
    }

    /// Whether the object has this method.
    pub fn has(&self, method: &str) -> bool {
        self.object.has(method)
    }

    /// Refuses a method while an earlier call of it hangs.
    ///
    /// # Errors
    /// `Unavailable`, with the name of the method.
    pub fn refused(&self, method: &str) -> Result<()> {
        if self.counts.of(method) == 0 {
            return Ok(());
        }
        let message = format!("an earlier call of {method}() still hangs; it is not called again");
        Err(Error::new(ErrorKind::Unavailable, message)
            .with_context("left_behind", self.counts.all.count()))
    }

    /// Calls a method and waits until the deadline; `None` when that passes first.
    ///
    /// # Errors
    /// The call's; `Unavailable` while an earlier call of the method hangs; `InvalidInput` for an
    /// answer that is something else.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        argument: Value,
        deadline: Monotonic,
    ) -> Result<Option<T>> {
        self.refused(method)?;
        let call = Arc::new(Call {
            method,
            counts: Arc::clone(&self.counts),
            state: AtomicU8::new(WAITED_FOR),
        });
        let _waiting = Waiting(Arc::clone(&call));
        let answer = self.object.call(method, argument, Running(call));
        let Some(answer) = self.clock.until(deadline, answer).await else { return Ok(None) };
        serde_json::from_value(answer?).map(Some).map_err(|error| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("{method}() returned an unexpected value: {error}"),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::scripted::ScriptedObject;
    use super::*;
    use crate::clock::{Clock, ManualClock};

    #[tokio::test]
    async fn a_call_that_is_left_behind_is_counted_and_not_begun_again() {
        let (clock, left) = (Arc::new(ManualClock::new()), LeftBehind::new());
        let (object, hung) = ScriptedObject::new(&[]);
        let hosted = Hosted::new(object.clone(), clock.clone(), left.clone());
        let deadline = clock.monotonic() + Duration::from_secs(1);
        let call = {
            let hosted = hosted.clone();
            tokio::spawn(async move { hosted.call::<Value>("probe", json!(1), deadline).await })
        };
        while clock.sleepers() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(left.count(), 0, "somebody waits");
        clock.advance(Duration::from_secs(1));
        assert!(call.await.unwrap().unwrap().is_none());
        assert_eq!(left.count(), 1);

        let later = clock.monotonic() + Duration::from_secs(1);
        let refused = hosted.call::<Value>("probe", json!(2), later).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable);
        assert!(refused.message().contains("still hangs"), "{refused}");
        object.answer(Ok(json!(7)));
        let other = hosted.call::<u8>("observe", json!(3), later).await.unwrap();
        assert_eq!(other, Some(7), "another method is not held up");
        assert_eq!(object.calls.lock().len(), 2);

        drop(hung.recv().unwrap());
        assert_eq!(left.count(), 0);
        object.answer(Ok(json!("text")));
        let wrong = hosted.call::<u8>("probe", json!(4), later).await.unwrap_err();
        assert_eq!(wrong.kind(), ErrorKind::InvalidInput);
    }

    #[tokio::test]
    async fn a_caller_that_is_dropped_leaves_its_call_behind() {
        let (clock, left) = (Arc::new(ManualClock::new()), LeftBehind::new());
        let (object, hung) = ScriptedObject::new(&[]);
        let hosted = Hosted::new(object, clock.clone(), left.clone());
        let deadline = clock.monotonic() + Duration::from_secs(1);
        let mut call = Box::pin(hosted.call::<Value>("deliver", json!(1), deadline));
        assert!(futures_util::poll!(call.as_mut()).is_pending());
        drop(call);
        assert_eq!(left.count(), 1);
        drop(hung.recv().unwrap());
        assert_eq!(left.count(), 0);
    }
}
