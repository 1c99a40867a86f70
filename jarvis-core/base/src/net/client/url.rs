//! [`WebUrl`]: where a call goes.

use std::fmt;

use url::Url;

use crate::net::address::Host;
use crate::{Error, ErrorKind, Result, Secret};

/// An `http` or `https` URL. Its path and query may be secret, so that `Display` and `Debug` show
/// scheme, host and port only.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct WebUrl(Url);

impl WebUrl {
    /// Reads a URL. The error doesn't repeat it.
    ///
    /// # Errors
    /// `ConfigInvalid` for anything but `http://` and `https://` with a host.
    pub fn parse(text: &Secret<String>) -> Result<Self> {
        let url = Url::parse(text.expose()).ok().filter(|url| {
            let has_host = url.host_str().is_some_and(|host| !host.is_empty());
            matches!(url.scheme(), "http" | "https") && has_host
        });
        url.map(Self).ok_or_else(|| {
            Error::new(ErrorKind::ConfigInvalid, "url must be an http:// or https:// address")
        })
    }

    /// Whether a call to it stays on this machine.
    #[must_use]
    pub fn is_this_machine(&self) -> bool {
        let host = self.0.host_str().and_then(Host::parse);
        host.is_some_and(|host| host.is_this_machine())
    }

    /// Takes the last segment off the path. `None` where there is none.
    pub fn pop_segment(&mut self) -> Option<String> {
        let path = self.0.path().trim_end_matches('/').to_owned();
        let (rest, segment) = path.rsplit_once('/')?;
        if segment.is_empty() {
            return None;
        }
        self.0.set_path(&format!("{rest}/"));
        Some(segment.to_owned())
    }

    /// The parts that may be secret: with many services, a path or a query is the credential.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        const LONG_ENOUGH: usize = 8;
        let path = self.0.path();
        let mut secrets = vec![self.0.to_string(), path.to_owned()];
        secrets.extend(self.0.password().map(str::to_owned));
        secrets.extend(self.0.query().map(str::to_owned));
        let segments = path.split('/').filter(|segment| segment.len() >= LONG_ENOUGH);
        secrets.extend(segments.map(str::to_owned));
        secrets.extend(self.0.query_pairs().map(|(_, value)| value.into_owned()));
        secrets
    }

    pub(super) fn as_url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.origin().ascii_serialization())
    }
}

impl fmt::Debug for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> WebUrl {
        WebUrl::parse(&Secret::new(text.to_owned())).unwrap()
    }

    #[test]
    fn only_the_host_of_a_url_is_shown() {
        let url = url("https://u:pw@hooks.example:8443/services/T0/B0/xyz?k=v");
        assert_eq!(url.to_string(), "https://hooks.example:8443");
        assert_eq!(format!("{url:?}"), "WebUrl(https://hooks.example:8443)");
        for wrong in ["ftp://h/x", "hooks.example/secret", "http://"] {
            let error = WebUrl::parse(&Secret::new(wrong.into())).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
            assert!(!format!("{error:?}").contains("secret"));
        }
    }

    #[test]
    fn the_last_segment_is_taken_off() {
        let mut topic = url("https://push.example/base/ops");
        assert_eq!(topic.pop_segment().as_deref(), Some("ops"));
        assert_eq!(topic.as_url().as_str(), "https://push.example/base/");
        assert_eq!(url("https://ntfy.sh").pop_segment(), None);
    }

    #[test]
    fn this_machine_is_recognised() {
        for text in
            ["http://localhost:1", "http://127.0.0.1", "https://[::1]:8/x", "http://a.localhost"]
        {
            assert!(url(text).is_this_machine(), "{text}");
        }
        for text in ["http://10.0.0.1", "https://example.com", "http://localhost.example"] {
            assert!(!url(text).is_this_machine(), "{text}");
        }
    }
}
