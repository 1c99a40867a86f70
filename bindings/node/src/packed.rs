//! Sessions as one text, which crosses faster than an object.

use std::fmt::Write as _;

use jarvis_core::session::Session;
use jarvis_core::vocabulary::UserId;

use crate::convert::Value;

/// All of a session but its data: a JSON array of id, version, creation, last save, expiry, time to
/// live (all in milliseconds), user, address, browser and prefix.
pub(crate) fn head(session: &Session) -> String {
    let numbers = (
        session.id.expose(),
        session.version,
        session.created_at.millis(),
        session.updated_at.millis(),
        session.expires_at.millis(),
        session.ttl.as_millis(),
    );
    let mut head = String::with_capacity(256 + session.data.as_str().len());
    let (id, version, created, updated, expires, ttl) = numbers;
    head.push('[');
    quoted(&mut head, Some(id));
    // Writing to a String does not fail.
    let _ = write!(head, ",{version},{created},{updated},{expires},{ttl},");
    quoted(&mut head, session.user.as_ref().map(UserId::as_str));
    head.push(',');
    let ip = session.meta.ip.map(|ip| ip.to_string());
    quoted(&mut head, ip.as_deref());
    head.push(',');
    quoted(&mut head, session.meta.user_agent.as_deref());
    head.push(',');
    quoted(&mut head, session.meta.prefix.as_deref());
    head.push(']');
    head
}

fn quoted(to: &mut String, text: Option<&str>) {
    match text {
        None => to.push_str("null"),
        Some(text) if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') => {
            to.push('"');
            to.push_str(text);
            to.push('"');
        }
        // A text always has a JSON form.
        Some(text) => to.push_str(&serde_json::to_string(text).unwrap_or_default()),
    }
}

/// A session as one text: its [`head`], a line break, its data. JavaScript parses each part when it
/// is first read.
pub(crate) fn packed(session: &Session) -> String {
    let mut packed = head(session);
    packed.push('\n');
    packed.push_str(session.data.as_str());
    packed
}

impl From<Session> for Value {
    fn from(session: Session) -> Self {
        Self::Text(packed(&session))
    }
}
