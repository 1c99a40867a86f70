//! `jarvis-core` for Node.js. This crate converts, and decides nothing; `lib/*.js` makes classes
//! and promises of what it gives, and `index.d.ts` is what people read.

pub mod bridge;
pub mod cache;
pub mod convert;
pub mod error;
pub mod events;
mod foreign;
pub mod health;
pub mod hosted;
pub mod jarvis;
pub mod log;
pub mod operator;
mod runtime;
pub mod session;
pub mod trial;

/// What JavaScript's thread allocates is freed by the runtime's, and the other way round. That is what
/// this allocator is good at, and what the system's takes locks for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
