//! [`Stream`]: items that come over time, for an async iterable.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::Fuse;
use futures_util::{FutureExt as _, StreamExt as _};
use jarvis_core::Result;
use napi_derive::napi;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::bridge::{Bridge, Place};
use crate::convert::Answer;
use crate::error::Thrown;

/// How many items cross at once, at most.
const BATCH: usize = 256;

/// Items as JSON.
pub(crate) type Items = Pin<Box<dyn futures_util::Stream<Item = Result<String>> + Send>>;

/// Opens a stream.
pub(crate) type Opening = BoxFuture<'static, Result<Items>>;

enum State {
    Unopened(Opening),
    Open(Fuse<Items>),
    Over,
}

/// Items that come over time.
#[napi]
pub struct Stream {
    state: Arc<Mutex<State>>,
    closed: CancellationToken,
    bridge: Bridge,
    place: Place,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

impl Stream {
    pub(crate) fn new(bridge: Bridge, place: Place, opening: Opening) -> Self {
        let state = Arc::new(Mutex::new(State::Unopened(opening)));
        Self { state, closed: CancellationToken::new(), bridge, place }
    }
}

#[napi]
impl Stream {
    /// Opens it. Called once, before the first `next()`.
    #[napi(ts_return_type = "null | number")]
    pub fn open(&self) -> std::result::Result<Answer, Thrown> {
        let (state, closed) = (Arc::clone(&self.state), self.closed.clone());
        self.bridge.answer(self.place, async move {
            let mut state = state.lock().await;
            if let State::Unopened(opening) = std::mem::replace(&mut *state, State::Over)
                && let Some(opened) = closed.run_until_cancelled(opening).await
            {
                *state = State::Open(opened?.fuse());
            }
            Ok(())
        })
    }

    /// Waits for items and gives all that are there, as a JSON array; null at the end.
    #[napi(ts_return_type = "string | null | number")]
    pub fn next(&self) -> std::result::Result<Answer, Thrown> {
        let (state, closed) = (Arc::clone(&self.state), self.closed.clone());
        self.bridge.answer(self.place, async move {
            let taking = async {
                let mut state = state.lock().await;
                let State::Open(items) = &mut *state else { return Ok(None) };
                batch(items).await
            };
            let taken = closed.run_until_cancelled(taking).await.unwrap_or(Ok(None));
            if !matches!(taken, Ok(Some(_))) {
                *state.lock().await = State::Over;
            }
            Ok(taken?)
        })
    }

    /// Ends it; a pending `next()` gives null.
    #[napi]
    pub fn close(&self) {
        self.closed.cancel();
        // A pending call releases the source itself.
        if let Ok(mut state) = self.state.try_lock() {
            *state = State::Over;
        }
    }
}

async fn batch(items: &mut Fuse<Items>) -> Result<Option<String>> {
    let Some(first) = items.next().await else { return Ok(None) };
    let mut batch = vec![first?];
    while batch.len() < BATCH {
        match items.next().now_or_never() {
            Some(Some(item)) => batch.push(item?),
            _ => break,
        }
    }
    Ok(Some(format!("[{}]", batch.join(","))))
}
