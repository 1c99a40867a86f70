//! Sessions for people.

use std::fmt::Write as _;

use jarvis_core::clock::WallTime;
use jarvis_core::session::{Session, SessionHandle, SessionId, SessionSummary};
use jarvis_core::vocabulary::UserId;
use serde::Serialize;
use serde_json::value::RawValue;

use super::counted;
use super::table::{Cell, Table};
use super::time::human_duration;
use crate::printer::{Style, paint};

/// A session, without its id unless it was just created.
#[derive(Debug, Serialize)]
pub(crate) struct Shown<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a SessionId>,
    handle: SessionHandle,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    version: u64,
    created_at: WallTime,
    updated_at: WallTime,
    expires_at: WallTime,
    ttl_ms: u128,
    /// As it is stored, so that no number loses a digit.
    data: &'a RawValue,
}

impl<'a> Shown<'a> {
    pub(crate) fn new(
        session: &'a Session,
        handle: SessionHandle,
        with_id: bool,
    ) -> serde_json::Result<Self> {
        Ok(Self {
            id: with_id.then_some(&session.id),
            handle,
            user: session.user.as_ref().map(UserId::as_str),
            version: session.version,
            created_at: session.created_at,
            updated_at: session.updated_at,
            expires_at: session.expires_at,
            ttl_ms: session.ttl.as_millis(),
            data: serde_json::from_str(session.data.as_str())?,
        })
    }

    pub(crate) fn text(&self, now: WallTime, colored: bool) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            let _ =
                writeln!(text, "{} {value}", paint(&format!("{name:<8}"), Style::Faint, colored));
        };
        if let Some(id) = self.id {
            line("id", id.expose());
        }
        line("handle", self.handle.as_str());
        if let Some(user) = self.user {
            line("user", user);
        }
        line("version", &self.version.to_string());
        line("created", &self.created_at.to_string());
        line("updated", &self.updated_at.to_string());
        line("expires", &expiry(self.expires_at, now));
        line("data", self.data.get());
        text
    }
}

fn expiry(at: WallTime, now: WallTime) -> String {
    format!("{at}, in {}", human_duration(at.saturating_since(now)))
}

/// The answer to `session extend`.
#[derive(Debug, Serialize)]
pub(crate) struct Extended {
    pub(crate) expires_at: WallTime,
}

impl Extended {
    pub(crate) fn text(&self, now: WallTime) -> String {
        format!("expires {}\n", expiry(self.expires_at, now))
    }
}

/// How many sessions were deleted.
#[derive(Debug, Serialize)]
pub(crate) struct Deleted {
    pub(crate) deleted: u64,
    pub(crate) missing: u64,
}

impl Deleted {
    pub(crate) fn text(&self) -> String {
        let deleted = format!("{} deleted", counted(self.deleted, "session"));
        match self.missing {
            0 => format!("{deleted}\n"),
            missing => format!("{deleted}, {missing} not found\n"),
        }
    }
}

/// A row for each session.
pub(crate) fn listing(
    sessions: &[SessionSummary],
    more: bool,
    colored: bool,
    width: Option<usize>,
) -> String {
    let mut table = Table::new(&["HANDLE", "USER", "VERSION", "CREATED", "EXPIRES"]);
    for session in sessions {
        table.row(vec![
            Cell::new(session.handle.as_str()),
            Cell::new(session.user.as_ref().map_or("–", UserId::as_str)),
            Cell::new(session.version.to_string()).right(),
            Cell::new(session.created_at.to_string()),
            Cell::new(session.expires_at.to_string()),
        ]);
    }
    let mut text = String::new();
    if !sessions.is_empty() {
        text = table.render(colored, width) + "\n";
    }
    let count = counted(sessions.len() as u64, "session");
    let tail = if more { "; there are more, use a higher --limit" } else { "" };
    text + &paint(&format!("{count}{tail}\n"), Style::Faint, colored)
}
