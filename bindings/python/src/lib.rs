//! `jarvis._core`: [`jarvis_core`] for Python.
//!
//! This crate decides nothing. It converts arguments, calls the core and converts the answers. Its
//! files are named after the rooms of the core. Each native class of a room serves both faces of
//! the package: `jarvis` awaits it, `jarvis.sync` calls it.

mod bridge;
mod cache;
mod call;
mod convert;
mod envelope;
mod error;
mod events;
mod handle;
mod health;
mod host;
mod hosted;
mod interpreter;
mod jarvis;
mod operator;
mod runtime;
mod session;
mod stream;
mod supervision;
mod web;

use pyo3::prelude::*;

/// The native half of the package `jarvis`.
#[pymodule]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::cache::Cache;
    #[pymodule_export]
    use crate::envelope::Envelope;
    #[pymodule_export]
    use crate::events::EventBus;
    #[pymodule_export]
    use crate::health::Health;
    #[pymodule_export]
    use crate::jarvis::Jarvis;
    #[pymodule_export]
    use crate::operator::Operator;
    #[pymodule_export]
    use crate::session::{Session, SessionStore, SessionSummary};
    #[pymodule_export]
    use crate::stream::Stream;
    #[pymodule_export]
    use crate::web::{RequestMeter, SessionCookie, error_answer, liveness, merged};

    #[cfg(feature = "bench")]
    #[pymodule_export]
    use super::echo;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("_OPEN_METRICS", jarvis_core::web::OPEN_METRICS)?;
        crate::interpreter::watch(module.py())
    }
}

/// A bare function that takes and returns text: the least that a call can cost.
#[cfg(feature = "bench")]
#[pyfunction(name = "_echo")]
fn echo<'a>(_key: &str, value: &'a str) -> &'a str {
    value
}
