//! What the end-to-end tests share.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't set its stage has to stop"
)]

pub mod child;
pub mod cli;
pub mod docker;
pub mod engines;
pub mod operating;
pub mod proxy;
pub mod receiver;
pub mod redis_sets;
pub mod targets;
