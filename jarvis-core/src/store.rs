//! What backends share.

#[cfg(feature = "sqlite")]
pub mod sqlite;
