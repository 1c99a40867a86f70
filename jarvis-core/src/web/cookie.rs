//! [`SessionCookie`]: the cookie that carries a session's id.

use std::fmt::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::answer::ceil_seconds;
use base::{Error, ErrorKind, Result};

/// Which requests from other sites send the cookie.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SameSite {
    /// Top-level navigation does.
    #[default]
    Lax,
    /// None does.
    Strict,
    /// All do. Browsers demand `Secure` with it.
    None,
}

impl SameSite {
    const fn attribute(self) -> &'static str {
        match self {
            Self::Lax => "Lax",
            Self::Strict => "Strict",
            Self::None => "None",
        }
    }
}

/// How a session's cookie is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct CookieRules {
    /// Its name: `jarvis_sid`. Browsers check what `__Host-` and `__Secure-` promise.
    pub cookie_name: String,
    /// The browser sends it below this path: `/`.
    pub path: String,
    /// The browser sends it to this host and its subdomains; absent: only to the host that set it.
    pub domain: Option<String>,
    /// Which requests from other sites send it: `lax`.
    pub same_site: SameSite,
    /// Is it `Secure`, sent over TLS only? Absent: yes where the request came over TLS.
    pub https_only: Option<bool>,
    /// Is it hidden from scripts? Yes.
    pub http_only: bool,
    /// Does the browser keep it as long as the session lives? Yes; if not, until it is closed.
    pub persistent: bool,
}

impl Default for CookieRules {
    fn default() -> Self {
        Self {
            cookie_name: "jarvis_sid".to_owned(),
            path: "/".to_owned(),
            domain: None,
            same_site: SameSite::Lax,
            https_only: None,
            http_only: true,
            persistent: true,
        }
    }
}

impl CookieRules {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the cookie.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.cookie_name = name.into();
        self
    }

    /// Below which path the browser sends it.
    #[must_use]
    pub fn with_path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// To which host and subdomains the browser sends it.
    #[must_use]
    pub fn with_domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// Which requests from other sites send it.
    #[must_use]
    pub fn with_same_site(mut self, same_site: SameSite) -> Self {
        self.same_site = same_site;
        self
    }

    /// Whether it is sent over TLS only.
    #[must_use]
    pub fn with_https_only(mut self, https_only: bool) -> Self {
        self.https_only = Some(https_only);
        self
    }

    /// Whether it is hidden from scripts.
    #[must_use]
    pub fn with_http_only(mut self, http_only: bool) -> Self {
        self.http_only = http_only;
        self
    }

    /// Whether the browser keeps it as long as the session lives.
    #[must_use]
    pub fn with_persistent(mut self, persistent: bool) -> Self {
        self.persistent = persistent;
        self
    }

    /// Refuses what browsers would drop silently.
    fn check(&self) -> Result<()> {
        let Self { cookie_name: name, path, domain, same_site, .. } = self;
        let secure = self.https_only == Some(true);
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(refused(format!(
                "cookie_name {name:?} is invalid: use ASCII letters, digits, '-' and '_'"
            )));
        }
        if !path.starts_with('/') || !path.bytes().all(is_attribute) {
            return Err(refused(format!(
                "path {path:?} is invalid: it must begin with '/' and be printable ASCII without ';'"
            )));
        }
        if let Some(domain) = domain
            && (domain.is_empty() || !domain.bytes().all(is_attribute))
        {
            return Err(refused(format!(
                "domain {domain:?} is invalid: give a host name, such as \"example.com\", or leave it out"
            )));
        }
        if *same_site == SameSite::None && !secure {
            return Err(refused(
                "same_site \"none\" needs https_only = true: browsers refuse the cookie otherwise",
            ));
        }
        if name.starts_with("__Host-") || name.starts_with("__Secure-") {
            if !secure {
                return Err(refused(format!(
                    "cookie_name {name:?} needs https_only = true: browsers refuse the cookie otherwise"
                )));
            }
            if name.starts_with("__Host-") && (path != "/" || domain.is_some()) {
                return Err(refused(format!(
                    "cookie_name {name:?} needs path \"/\" and no domain: browsers refuse the cookie otherwise"
                )));
            }
        }
        Ok(())
    }
}

fn refused(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidInput, message).with_operation("web.cookie")
}

/// A character of a token, of which a cookie's name is made (RFC 6265, RFC 9110).
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// A character of an attribute's value (RFC 6265: no control character and no `;`).
const fn is_attribute(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b';'
}

/// Reads and writes the cookie that carries a session's id.
///
/// The id is the whole value and is not signed: it is 192 random bits, storage has only its hash,
/// and an id that nobody was given finds no session.
///
/// ```
/// use std::time::Duration;
/// use jarvis_core::web::{CookieRules, SessionCookie};
///
/// let cookie = SessionCookie::new(CookieRules::new().with_name("sid"))?;
/// assert_eq!(
///     cookie.write("abc", Duration::from_millis(89_500), true),
///     "sid=abc; Path=/; SameSite=Lax; HttpOnly; Max-Age=90; Secure"
/// );
/// assert_eq!(cookie.read(b"a=1; sid=abc"), Some("abc"));
/// # Ok::<(), jarvis_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct SessionCookie {
    name: String,
    /// What follows the value and is always the same.
    attributes: String,
    https_only: Option<bool>,
    persistent: bool,
}

impl SessionCookie {
    /// A cookie that is written by these rules.
    ///
    /// # Errors
    /// `InvalidInput` for rules under which browsers drop the cookie; the message names the rule.
    pub fn new(rules: CookieRules) -> Result<Self> {
        rules.check()?;
        let mut attributes = format!("; Path={}; SameSite=", rules.path);
        attributes.push_str(rules.same_site.attribute());
        if let Some(domain) = &rules.domain {
            attributes.push_str("; Domain=");
            attributes.push_str(domain);
        }
        if rules.http_only {
            attributes.push_str("; HttpOnly");
        }
        let CookieRules { cookie_name: name, https_only, persistent, .. } = rules;
        Ok(Self { name, attributes, https_only, persistent })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Does the browser keep it as long as the session lives? Then it is to be written again
    /// whenever the session is extended.
    #[must_use]
    pub const fn is_persistent(&self) -> bool {
        self.persistent
    }

    /// The value in a `Cookie` header. Of several with this name it is the first, which browsers
    /// make the most specific.
    #[must_use]
    pub fn read<'h>(&self, header: &'h [u8]) -> Option<&'h str> {
        header.split(|byte| *byte == b';').find_map(|pair| {
            let at = pair.iter().position(|byte| *byte == b'=')?;
            let (name, value) = pair.split_at(at);
            if name.trim_ascii() != self.name.as_bytes() {
                return None;
            }
            std::str::from_utf8(value.get(1..)?.trim_ascii()).ok()
        })
    }

    /// The `Set-Cookie` value that gives the browser an id whose session lives for `left`, over
    /// TLS or not.
    #[must_use]
    pub fn write(&self, id: &str, left: Duration, https: bool) -> String {
        self.header(id, self.persistent.then(|| ceil_seconds(left)), https)
    }

    /// The `Set-Cookie` value that takes the cookie away.
    #[must_use]
    pub fn clear(&self, https: bool) -> String {
        self.header("", Some(0), https)
    }

    fn header(&self, value: &str, max_age: Option<u64>, https: bool) -> String {
        let mut header = format!("{}={value}{}", self.name, self.attributes);
        if let Some(seconds) = max_age {
            // Writing to a String does not fail.
            let _ = write!(header, "; Max-Age={seconds}");
        }
        if self.https_only.unwrap_or(https) {
            header.push_str("; Secure");
        }
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie(rules: CookieRules) -> SessionCookie {
        SessionCookie::new(rules).unwrap()
    }

    #[test]
    fn secure_follows_the_request_unless_the_rules_say() {
        let rules = CookieRules::new().with_name("a");
        let minute = Duration::from_secs(60);
        let usual = cookie(rules.clone());
        assert!(!usual.write("x", minute, false).contains("Secure"));
        assert!(usual.write("x", minute, true).ends_with("; Max-Age=60; Secure"));
        let never = cookie(rules.clone().with_https_only(false));
        assert!(!never.write("x", minute, true).contains("Secure"));
        let always = cookie(rules.with_https_only(true));
        assert!(always.write("x", minute, false).contains("Secure"));
    }

    #[test]
    fn a_cookie_of_the_browser_session_has_no_age_and_is_cleared_with_one() {
        let rules = CookieRules::new().with_persistent(false).with_http_only(false);
        let cookie = cookie(rules.with_domain("example.com").with_same_site(SameSite::Strict));
        assert_eq!(
            cookie.write("x", Duration::from_secs(1), false),
            "jarvis_sid=x; Path=/; SameSite=Strict; Domain=example.com"
        );
        assert_eq!(
            cookie.clear(false),
            "jarvis_sid=; Path=/; SameSite=Strict; Domain=example.com; Max-Age=0"
        );
    }

    #[test]
    fn the_first_of_a_name_is_read() {
        let cookie = cookie(CookieRules::new().with_name("sid"));
        assert_eq!(cookie.read(b"sid=one; sid=two"), Some("one"));
        assert_eq!(cookie.read(b"xsid=no;  sid = a=b "), Some("a=b"));
        assert_eq!(cookie.read(b"sid"), None);
        assert_eq!(cookie.read(b"SID=x; other=y"), None);
        assert_eq!(cookie.read(b"sid="), Some(""));
        assert_eq!(cookie.read(b"sid=\xff"), None);
    }

    #[test]
    fn what_browsers_drop_is_refused_by_name() {
        let new = CookieRules::new;
        for (part, rules) in [
            ("name", new().with_name("a b")),
            ("name", new().with_name("")),
            ("path", new().with_path("here")),
            ("path", new().with_path("/;Secure")),
            ("domain", new().with_domain("")),
            ("domain", new().with_domain("a;b")),
            ("same_site", new().with_same_site(SameSite::None)),
            ("https_only", new().with_name("__Secure-a")),
            ("https_only", new().with_name("__Host-a").with_https_only(false)),
            ("path", new().with_name("__Host-a").with_https_only(true).with_path("/a")),
            ("domain", new().with_name("__Host-a").with_https_only(true).with_domain("a")),
        ] {
            let error = SessionCookie::new(rules.clone()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.message().contains(part), "{rules:?}: {error}");
        }
        let host = new().with_name("__Host-a").with_https_only(true);
        SessionCookie::new(host.with_same_site(SameSite::None)).unwrap();
    }
}
