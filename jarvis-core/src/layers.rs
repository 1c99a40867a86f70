//! Wrappers that are the trait that they wrap: what is to be known of every backend is written
//! once, here.

mod session;

pub use session::{CountedSessions, SessionCall, SessionCounts, SessionOutcome};
