//! The rooms of [`jarvis-core`](https://docs.rs/jarvis-core) that watch services and heal them.
//!
//! Not a public API: use `jarvis-core`, which re-exports what is meant for its users.

pub mod health;
pub mod lease;
pub mod restart;

pub mod alert;
pub mod operator;
