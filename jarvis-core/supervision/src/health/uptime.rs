//! How much of the time was it well, how fast did it answer, how often did it fail?
//!
//! Each result of a probe owns the time until the next result, and at most two intervals (or two
//! timeouts where those are longer); what no result owns is unknown and never counts as up. So
//! down begins at the first failing result of a streak and ends at its first pass, whatever the
//! thresholds. Failures before anybody could judge it at all count for nothing: it may not have
//! been started yet. Memory holds the open minute; closed minutes go to a [`History`].

mod account;
mod histogram;
mod meter;
#[cfg(feature = "sqlite")]
mod pack;
mod report;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use account::Account;
pub use histogram::Histogram;
pub(in crate::health) use meter::Meter;
pub use report::{ClosedMinute, History, PassedCheck, ServiceUptime, Uptime, UptimeReport};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteHistory;
