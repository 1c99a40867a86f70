//! The configuration of the `PostgreSQL` probe.

use std::fmt::{self, Debug};

use serde::{Deserialize, Serialize};

use crate::health::tls::TlsOptions;
use base::Secret;
use base::secret::{redact_url, serialize_redacted};

/// `type = "postgres"`.
///
/// With a URL alone the probe shakes hands and no more: it sends a startup packet and is content
/// with any answer of a server that accepts connections, so it needs no password. The user and the
/// database in the packet are those of the URL, else `postgres`: a name that nearly every server
/// knows. With password authentication such a probe leaves nothing in the server's log (unless
/// `log_connections` is on); with `trust`, `peer` or `reject` rules name a user that exists and is
/// let in, or every probe logs a `FATAL` line.
///
/// With `query`, `role` or `expect` it logs in and asks.
///
/// ```toml
/// type = "postgres"
/// url = "${env:DATABASE_URL}"
/// query = "select 1"
/// role = "primary"
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PostgresConfig {
    /// `postgres://[user[:password]@]host[:port][/database][?sslmode=disable|prefer|require]`.
    /// As with libpq, `prefer` (the default) and `require` encrypt without looking at the
    /// certificate, unless `tls.ca_file` is set.
    #[serde(serialize_with = "serialize_redacted")]
    pub url: String,
    /// The password. Default: the one in the URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret<String>>,
    /// SQL to run. Default: none; `select 1` when `role` or `expect` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// What the first column of the first row must be, as text. Default: anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
    /// The role that it must have. Default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<PostgresRole>,
    /// Certificates. Without `ca_file` they are not looked at.
    #[serde(default)]
    pub tls: TlsOptions,
}

impl PostgresConfig {
    /// A handshake with this server.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            password: None,
            query: None,
            expect: None,
            role: None,
            tls: TlsOptions::default(),
        }
    }

    /// Runs this SQL.
    #[must_use]
    pub fn with_query(mut self, query: impl Into<String>) -> Self {
        self.query = Some(query.into());
        self
    }

    /// Wants this in the first column of the first row.
    #[must_use]
    pub fn with_expect(mut self, expect: impl Into<String>) -> Self {
        self.expect = Some(expect.into());
        self
    }

    /// Wants this role.
    #[must_use]
    pub const fn with_role(mut self, role: PostgresRole) -> Self {
        self.role = Some(role);
        self
    }

    /// Sets how certificates are looked at.
    #[must_use]
    pub fn with_tls(mut self, tls: TlsOptions) -> Self {
        self.tls = tls;
        self
    }
}

impl Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConfig")
            .field("url", &redact_url(&self.url))
            .field("query", &self.query)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// What a `PostgreSQL` server is to its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PostgresRole {
    /// It takes writes.
    Primary,
    /// It is a hot standby.
    Replica,
}

impl PostgresRole {
    /// The stable word, as it is serialised.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }
}
