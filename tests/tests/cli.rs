//! The `jarvis` command end to end: the real binary on real processes.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't set its stage has to stop"
)]

#[path = "cli/alone.rs"]
mod alone;
#[path = "cli/beside.rs"]
mod beside;
#[path = "cli/caches.rs"]
mod caches;
#[path = "cli/containers.rs"]
mod containers;
#[path = "cli/demo.rs"]
mod demo;
#[path = "cli/leaving.rs"]
mod leaving;
#[path = "cli/messages.rs"]
mod messages;
#[path = "cli/names.rs"]
mod names;
#[path = "cli/planned.rs"]
mod planned;
#[path = "cli/reload.rs"]
mod reload;
#[path = "cli/served.rs"]
mod served;
#[path = "cli/sessions.rs"]
mod sessions;
#[path = "cli/snapshots.rs"]
mod snapshots;
#[path = "cli/stage.rs"]
mod stage;

/// The Redis that `tests/run` started.
fn redis_url() -> String {
    std::env::var("JARVIS_TEST_REDIS_URL").unwrap_or_else(|_| {
        panic!("JARVIS_TEST_REDIS_URL is not set: run tests/run, or tests/servers")
    })
}
