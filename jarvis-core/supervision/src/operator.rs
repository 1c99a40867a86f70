//! The loop that heals: down → gates → intent on disk → act → verify → stabilise → resolved.
//!
//! What to do is decided by a pure machine (`step(input, now)`, no clock, no I/O); the loop in
//! [`Operator::run`] carries its effects out, each after the state that leads to it is on disk.
//! So the same machine serves the property tests, a dry run, and the reconciliation after a
//! `kill -9`.

mod canary;
mod command;
mod failpoint;
mod machine;
mod maintenance;
mod policy;
mod run;
mod settings;
mod state;
mod status;

pub use command::{Action, Command, Outlet, Reply};
pub use maintenance::{Calendar, MaintenanceWindow};
pub use policy::{ManagedService, RestartPolicy, RollbackPolicy};
pub use run::{Operator, OperatorParts};
pub use settings::{Allow, AllowedAction, Limits, OperatorSettings, SelfSuspicion};
pub use state::StateStore;
pub use status::{IncidentStatus, LeaseStatus, MaintenanceStatus, OperatorStatus, ServiceStatus};

use failpoint::failpoint;
