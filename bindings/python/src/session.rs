//! Sessions.

mod object;
mod store;

pub(crate) use object::{Session, SessionSummary};
pub(crate) use store::SessionStore;
