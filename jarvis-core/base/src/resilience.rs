//! Sliding window, backoff, circuit breaker and single flight: written once, used by every room.
//!
//! All four are told the time and wait for nothing, except [`SingleFlight`], which waits for the
//! call that is under way.

mod backoff;
mod breaker;
mod single_flight;
mod window;

pub use backoff::{Backoff, BackoffPolicy, random_fraction};
pub use breaker::{Breaker, BreakerPolicy, BreakerState, Permit};
pub use single_flight::SingleFlight;
pub use window::SlidingWindow;
