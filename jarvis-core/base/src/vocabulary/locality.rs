//! [`Locality`]: how far away a store is.

use serde::{Deserialize, Serialize};

/// How far away a store is, for callers that want to know how to wait for it: those in another
/// language, and those without a runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Locality {
    /// In the memory of this process. Calls are complete on their first poll, need no runtime and
    /// do no I/O. The exceptions wait for others of this process: a turn, a load, an event.
    InMemory,
    /// On a server, with copies in memory that are looked at first. Needs a tokio runtime.
    Near,
    /// In a file or on a server. Needs a tokio runtime.
    Remote,
}
