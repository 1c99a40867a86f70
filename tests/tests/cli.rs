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
#[path = "cli/habits.rs"]
mod habits;
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
#[path = "cli/secrets.rs"]
mod secrets;
#[path = "cli/served.rs"]
mod served;
#[path = "cli/sessions.rs"]
mod sessions;
#[path = "cli/snapshots.rs"]
mod snapshots;
#[path = "cli/stage.rs"]
mod stage;

/// A server that `tests/run` started.
fn server(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run tests/run, or tests/servers"))
}

/// The Redis that `tests/run` started.
fn redis_url() -> String {
    server("JARVIS_TEST_REDIS_URL")
}

/// The same, a Cluster, and what Sentinels watch.
fn redis_urls() -> [String; 3] {
    let sets = ["JARVIS_TEST_REDIS_CLUSTER_URL", "JARVIS_TEST_REDIS_SENTINEL_URL"];
    let [cluster, sentinel] = sets.map(server);
    [redis_url(), cluster, sentinel]
}
