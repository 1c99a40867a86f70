//! The two lowest floors of [`jarvis-core`](https://docs.rs/jarvis-core): what every room is made
//! of, and networking, stores, programs and events.
//!
//! Not a public API: use `jarvis-core`, which re-exports what is meant for its users.

pub mod clock;
pub mod error;
pub mod money;
pub mod names;
pub mod percent;
pub mod resilience;
pub mod secret;
pub mod sync;
pub mod text;
pub mod units;
pub mod url_parts;
pub mod vocabulary;

pub mod events;
pub mod hosted;
pub mod net;
pub mod store;
pub mod subprocess;

pub use error::{Error, ErrorKind, Result, Retry};
pub use money::{PicoPrice, Usd};
pub use secret::Secret;
