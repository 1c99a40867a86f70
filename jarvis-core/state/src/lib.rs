//! The rooms of [`jarvis-core`](https://docs.rs/jarvis-core) that keep state for applications.
//!
//! Not a public API: use `jarvis-core`, which re-exports what is meant for its users.

pub mod cache;
pub mod session;
