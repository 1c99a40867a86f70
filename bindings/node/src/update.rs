//! [`SessionUpdate`]: an update of a session, whose change JavaScript makes between two calls.

use std::sync::Arc;
use std::time::Duration;

use jarvis_core::session::{self, SessionId, SessionStore, Updated};
use jarvis_core::sync::Mutex;
use jarvis_core::{Error, ErrorKind};
use napi_derive::napi;

use crate::bridge::{Bridge, Place};
use crate::convert::{Answer, Value};
use crate::error::Thrown;
use crate::lazy::Lazy;
use crate::packed::{head, packed};
use crate::session::SessionInput;

/// An update of a session in steps. It holds the session's turn from `begin()` until it is stored or
/// `end()` is called.
#[napi]
#[derive(Debug)]
pub struct SessionUpdate {
    store: Lazy<dyn SessionStore>,
    id: SessionId,
    deadline: Duration,
    step: Arc<Mutex<Option<session::SessionUpdate>>>,
    bridge: Bridge,
    place: Place,
}

impl SessionUpdate {
    pub(crate) fn new(
        store: Lazy<dyn SessionStore>,
        id: SessionId,
        deadline: Duration,
        bridge: Bridge,
        place: Place,
    ) -> Self {
        Self { store, id, deadline, step: Arc::default(), bridge, place }
    }
}

#[napi]
impl SessionUpdate {
    /// Waits for the turn; the packed session, or null when there is none.
    #[napi(ts_return_type = "string | null | number")]
    pub fn begin(&self) -> Result<Answer, Thrown> {
        let (store, step) = (self.store.clone(), Arc::clone(&self.step));
        let (id, deadline) = (self.id.clone(), self.deadline);
        self.bridge.answer(self.place, async move {
            let store = store.get().await?;
            let begun = session::SessionUpdate::begin(store, &id, deadline).await?;
            let text = begun.as_ref().map(|begun| packed(begun.session()));
            *step.lock() = begun;
            Ok(text)
        })
    }

    /// Saves the changed session. True and its head when it is stored; false and the packed session
    /// that another process has stored meanwhile, to be changed and saved again; null when there is
    /// no session any more.
    #[napi(ts_return_type = "Array<boolean | string> | null | number")]
    pub fn save(&self, changed: SessionInput) -> Result<Answer, Thrown> {
        let (store, step) = (self.store.clone(), Arc::clone(&self.step));
        self.bridge.answer(self.place, async move {
            let changed = changed.into_session()?;
            let current = step.lock().take().ok_or_else(ended)?;
            let (is_stored, text) = match current.save(store.get().await?, changed).await? {
                Updated::Done(stored) => (true, head(&stored)),
                Updated::Again(again) => {
                    let text = packed(again.session());
                    *step.lock() = Some(again);
                    (false, text)
                }
                _ => return Ok(Value::Nothing),
            };
            Ok(Value::List(vec![Value::Truth(is_stored), Value::Text(text)]))
        })
    }

    /// Passes the turn on.
    #[napi]
    pub fn end(&self) {
        *self.step.lock() = None;
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::InvalidInput, "this update has ended; begin another one")
}
