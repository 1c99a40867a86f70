//! Whoever supervises is killed, stopped or starved, with the real loop in processes of its own.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't set its stage has to stop"
)]

#[path = "faults_crash/killed.rs"]
mod killed;
#[path = "faults_crash/scene.rs"]
mod scene;
#[path = "faults_crash/starved.rs"]
mod starved;
