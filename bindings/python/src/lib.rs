//! `jarvis._core`: what [`jarvis_core`] is to Python.
//!
//! Nothing is decided here: arguments are converted, the core is called, answers are converted
//! back. The files are named as the rooms of the core. Each native class of a room serves both
//! faces of the package: `jarvis` awaits it, `jarvis.sync` calls it.

mod bridge;
mod cache;
mod call;
mod convert;
mod error;
mod events;
mod health;
mod host;
mod hosted;
mod jarvis;
mod operator;
mod runtime;
mod session;

use std::time::Duration;

use jarvis_core::{Error, ErrorKind, Retry};
use pyo3::prelude::*;

use call::{Begin, Face};

/// The native half of the package `jarvis`.
#[pymodule]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::cache::Cache;
    #[pymodule_export]
    use crate::events::{Envelope, EventBus, Subscription};
    #[pymodule_export]
    use crate::health::Health;
    #[pymodule_export]
    use crate::jarvis::Jarvis;
    #[pymodule_export]
    use crate::operator::Operator;
    #[pymodule_export]
    use crate::session::{Session, SessionStore, SessionSummary};

    #[pymodule_export]
    use super::{echo, fail, panic};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("_error_kinds", crate::error::kinds())?;
        crate::runtime::watch_forks(module.py())
    }
}

/// A bare function that takes and returns text: what a call costs at least.
#[pyfunction(name = "_echo")]
fn echo<'a>(_key: &str, value: &'a str) -> &'a str {
    value
}

/// Fails with an error of this code: for the test that walks them all.
#[pyfunction(name = "_fail")]
fn fail(code: &str) -> PyResult<()> {
    let kinds = ErrorKind::ALL.iter().copied();
    let kind = kinds.into_iter().find(|kind| kind.code() == code).unwrap_or(ErrorKind::Internal);
    let mut error = Error::new(kind, "it was asked for")
        .with_operation("python.fail")
        .with_context("code", code)
        .with_source("the source");
    if kind == ErrorKind::RateLimited {
        error = error.with_retry(Retry::Safe { after: Some(Duration::from_millis(1_500)) });
    }
    Err(error::raise(error))
}

/// Panics where a call does: on the calling thread, or on the runtime.
#[pyfunction(name = "_panic")]
fn panic(py: Python<'_>, here: bool) -> PyResult<Py<PyAny>> {
    let (face, begin) = match here {
        true => (Face::Blocking, Begin::Here),
        false => (Face::Awaitable, Begin::Away),
    };
    let panics = async { std::panic::resume_unwind(Box::new("asked to")) };
    face.call(py, begin, panics, |py, ()| Ok(py.None()))
}
