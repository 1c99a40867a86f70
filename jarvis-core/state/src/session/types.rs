//! Argument and result types of a session store.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{SessionData, SessionHandle, SessionId};
use base::clock::WallTime;
use base::units;
use base::vocabulary::UserId;

/// Where a session was made, as far as the application says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct SessionMeta {
    /// The visitor's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// The browser, as it calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// The prefix that a framework's store puts before its ids: it tells the sessions of several
    /// applications in one storage apart where ids are hashed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

impl SessionMeta {
    /// Nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From which address.
    #[must_use]
    pub fn with_ip(mut self, ip: IpAddr) -> Self {
        self.ip = Some(ip);
        self
    }

    /// With which browser.
    #[must_use]
    pub fn with_user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = Some(user_agent.into());
        self
    }

    /// Made by the store with this prefix.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }
}

/// A session as it was stored at one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Session {
    /// The visitor's secret.
    pub id: SessionId,
    /// Whose it is, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// What it holds.
    pub data: SessionData,
    /// Grows by one with every save; 0 for one that was never stored.
    pub version: u64,
    /// When it was made.
    pub created_at: WallTime,
    /// When it was last saved.
    pub updated_at: WallTime,
    /// From when on it is gone.
    pub expires_at: WallTime,
    /// How long it lives after a save or an extension.
    #[serde(rename = "ttl_ms", with = "units::millis")]
    pub ttl: Duration,
    /// Where it was made.
    #[serde(default)]
    pub meta: SessionMeta,
}

impl Session {
    /// One that was never stored, as a [`Save`] takes it: version 0, empty, of nobody. Its fields
    /// are for the caller to fill in, but for the times, which are the store's business.
    #[must_use]
    pub fn new(id: SessionId, ttl: Duration) -> Self {
        let never = WallTime::from_millis(0);
        Self {
            id,
            user: None,
            data: SessionData::empty(),
            version: 0,
            created_at: never,
            updated_at: never,
            expires_at: never,
            ttl,
            meta: SessionMeta::new(),
        }
    }
}

/// A session to be made.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct NewSession {
    /// An id that a framework made; a fresh one of ours when absent.
    pub id: Option<SessionId>,
    /// Whose it is.
    pub user: Option<UserId>,
    /// What it holds.
    pub data: SessionData,
    /// How long it lives; the policy's when absent.
    pub ttl: Option<Duration>,
    /// Where it is made.
    pub meta: SessionMeta,
}

impl NewSession {
    /// An empty session of nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With an id of the framework's.
    #[must_use]
    pub fn with_id(mut self, id: SessionId) -> Self {
        self.id = Some(id);
        self
    }

    /// Of this user.
    #[must_use]
    pub fn with_user(mut self, user: UserId) -> Self {
        self.user = Some(user);
        self
    }

    /// Holding this.
    #[must_use]
    pub fn with_data(mut self, data: SessionData) -> Self {
        self.data = data;
        self
    }

    /// Living this long.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Made there.
    #[must_use]
    pub fn with_meta(mut self, meta: SessionMeta) -> Self {
        self.meta = meta;
        self
    }
}

/// A session to be stored.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Save {
    /// As it is to be; `version` is the one that was loaded. Times are the store's business:
    /// those in here are not looked at.
    pub session: Session,
    /// Whatever the stored version is. It must still exist.
    pub force: bool,
}

impl Save {
    /// If nobody changed it since.
    #[must_use]
    pub fn new(session: Session) -> Self {
        Self { session, force: false }
    }

    /// Over whatever was stored.
    #[must_use]
    pub fn forced(session: Session) -> Self {
        Self { session, force: true }
    }
}

/// How a save ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SaveOutcome {
    /// It is stored, as it is here.
    Saved(Box<Session>),
    /// Somebody stored another version first: this one. Nothing was changed.
    Conflict(Box<Session>),
    /// It expired or was deleted. Nothing was changed.
    NotFound,
}

/// A session as others may see it: without its data, and without its id where ids are hashed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SessionSummary {
    /// Names it.
    pub handle: SessionHandle,
    /// The visitor's secret, only where the policy does not hash ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<SessionId>,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// How often it was saved.
    pub version: u64,
    /// When it was made.
    pub created_at: WallTime,
    /// When it was last saved.
    pub updated_at: WallTime,
    /// From when on it is gone.
    pub expires_at: WallTime,
    /// Where it was made.
    #[serde(default)]
    pub meta: SessionMeta,
}
