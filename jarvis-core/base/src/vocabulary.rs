//! The words that every room uses: identifiers, verdicts, states, gates, paths. Plain serde types.

mod action;
mod health;
mod ids;
mod locality;
mod path;

pub use action::{ActionKind, ActionOutcome, Gate, Hold, Lifecycle, Mode, Trigger};
pub use health::{Cause, FailureKind, Platform, ServiceState, Severity, Verdict};
pub use ids::{
    CheckName, FencingToken, HolderId, IncidentId, InstanceId, IntentId, KeyPrefix, ServiceId,
    UserId, VersionId,
};
pub use locality::Locality;
pub use path::ConfigPath;
