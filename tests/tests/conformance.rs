//! Every trait's cases on every backend: one trial for each, named `trait::backend::case`.
//!
//! A backend is one entry in `conformance/<trait>.rs`. One that needs a server takes its address
//! from [`harness::server`], and its cases fail with a message when that is not set.

#[path = "conformance/alert.rs"]
mod alert;
#[path = "conformance/bus.rs"]
mod bus;
#[path = "conformance/cache.rs"]
mod cache;
#[path = "conformance/harness.rs"]
mod harness;
#[path = "conformance/health.rs"]
mod health;
#[path = "conformance/health_local.rs"]
mod health_local;
#[path = "conformance/lease.rs"]
mod lease;
#[path = "conformance/lease_redis.rs"]
mod lease_redis;
#[path = "conformance/ledger.rs"]
mod ledger;
#[path = "conformance/restart.rs"]
mod restart;
#[path = "conformance/session.rs"]
mod session;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut suite = harness::Suite::new();
    alert::add(&mut suite);
    bus::add(&mut suite);
    cache::add(&mut suite);
    health::add(&mut suite);
    health_local::add(&mut suite);
    lease::add(&mut suite);
    lease_redis::add(&mut suite);
    ledger::add(&mut suite);
    restart::add(&mut suite);
    session::add(&mut suite);
    suite.complete(&jarvis_core::registry::Registry::with_defaults());
    suite.run()
}
