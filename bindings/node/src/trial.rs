//! What the tests and benches ask of the bridge itself. Not part of the package's interface.

use jarvis_core::{Error, ErrorKind};
use napi_derive::napi;

use crate::bridge::{Bridge, Place};
use crate::convert::{Answer, Value};
use crate::error::{Thrown, thrown};
use crate::runtime;

/// Takes a text and gives it back: what any bound function costs.
#[napi]
pub fn trial_echo(_text: String, back: String) -> String {
    back
}

/// The kinds of errors, by their words.
#[napi]
pub fn trial_kinds() -> Vec<String> {
    let word = |kind: &ErrorKind| serde_json::to_string(kind).unwrap_or_default();
    ErrorKind::ALL.iter().map(|kind| word(kind).trim_matches('"').to_owned()).collect()
}

/// Fails with an error of this kind: at once, or `late` from the runtime.
#[napi(ts_return_type = "number")]
pub fn trial_fail(bridge: &Bridge, kind: String, late: bool) -> Result<Answer, Thrown> {
    let kind: ErrorKind = serde_json::from_value(kind.into())
        .map_err(|error| thrown(Error::new(ErrorKind::InvalidInput, error.to_string())))?;
    bridge.answer(place(late), async move {
        give_way(late).await;
        let cause = std::io::Error::other("the cause");
        let error = Error::new(kind, "as the trial asked").with_operation("trial.fail");
        Err::<Value, _>(error.with_context("service", "coach").with_source(cause).into())
    })
}

/// Panics: at once, or `late` in the runtime.
#[napi(ts_return_type = "number")]
pub fn trial_panic(bridge: &Bridge, late: bool) -> Result<Answer, Thrown> {
    bridge.answer::<_, Value>(place(late), async move {
        give_way(late).await;
        Ok(panics())
    })
}

#[expect(clippy::panic, reason = "that is what is tried")]
fn panics() -> Value {
    panic!("as the trial asked")
}

/// Never ends by itself.
#[napi(ts_return_type = "number")]
pub fn trial_hang(bridge: &Bridge) -> Result<Answer, Thrown> {
    bridge.answer(Place::Runtime, async move { Ok(std::future::pending::<Value>().await) })
}

/// Gives a text back through the runtime.
#[napi(ts_return_type = "string | number")]
pub fn trial_late(bridge: &Bridge, text: String) -> Result<Answer, Thrown> {
    bridge.answer(Place::Runtime, async move {
        give_way(true).await;
        Ok(text)
    })
}

fn place(late: bool) -> Place {
    if late { Place::Runtime } else { Place::Here }
}

async fn give_way(late: bool) {
    if late && runtime::get().is_ok() {
        tokio::task::yield_now().await;
    }
}
