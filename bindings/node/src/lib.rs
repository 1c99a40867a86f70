//! `jarvis-core` for Node.js. This crate only converts; `lib/*.js` wraps it in classes and promises,
//! and `index.d.ts` documents the package.

pub mod bridge;
pub mod cache;
mod calls;
pub mod convert;
mod delivery;
#[cfg(feature = "echo")]
pub mod echo;
pub mod error;
pub mod events;
mod foreign;
pub mod health;
pub mod hosted;
mod inbox;
pub mod jarvis;
mod lazy;
pub mod operator;
mod packed;
mod runtime;
pub mod session;
pub mod stream;
pub mod update;
pub mod web;

/// JavaScript's thread frees what the runtime allocates, and the reverse. This allocator is built for
/// that; the system's takes locks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
