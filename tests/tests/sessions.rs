//! Sessions under load, from many processes, and with storage that fails: what was acknowledged is
//! there, nothing comes back, and nothing is told to whom it does not concern.

#![expect(clippy::expect_used, clippy::panic, reason = "a test may")]

#[path = "sessions/failover.rs"]
mod failover;
#[path = "sessions/killed.rs"]
mod killed;
#[path = "sessions/model.rs"]
mod model;
#[path = "sessions/processes.rs"]
mod processes;
#[path = "sessions/redis_keys.rs"]
mod redis_keys;
#[path = "sessions/secrecy.rs"]
mod secrecy;
#[path = "sessions/server.rs"]
mod server;
#[path = "sessions/stage.rs"]
mod stage;
