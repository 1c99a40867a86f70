//! The shared client against real servers: what it does when one goes away, hangs, forgets its
//! scripts or swallows an answer.

#![expect(clippy::expect_used, clippy::panic, reason = "a test may")]

#[path = "redis_client/forked.rs"]
mod forked;
#[path = "redis_client/lost.rs"]
mod lost;
#[path = "redis_client/one.rs"]
mod one;
#[path = "redis_client/sets.rs"]
mod sets;
#[path = "redis_client/stage.rs"]
mod stage;
#[path = "redis_client/subscriptions.rs"]
mod subscriptions;
#[path = "redis_client/tls.rs"]
mod tls;
