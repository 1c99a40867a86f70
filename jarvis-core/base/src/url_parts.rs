//! URLs as text, split at their delimiters. What the parts mean is said in
//! [`net::address`](crate::net::address).

/// A URL split at its delimiters. Nothing is decoded or validated, and the parts may be secret.
///
/// A text without `scheme://` is read as an authority, such as `host:port`.
#[derive(Clone, Copy, PartialEq, Eq)]
#[expect(missing_debug_implementations, reason = "it may hold a password")]
pub struct UrlParts<'a> {
    /// What stands before `://`; empty where there is none.
    pub scheme: &'a str,
    /// `user:password`, before the last `@` of the authority.
    pub user_info: Option<&'a str>,
    /// One `host[:port]`, or several with commas between them.
    pub hosts: &'a str,
    /// From the first `/` on, up to the query.
    pub path: &'a str,
    /// What follows the first `?` after the authority.
    pub query: Option<&'a str>,
}

impl<'a> UrlParts<'a> {
    /// Splits a URL, or a `host:port`.
    ///
    /// The authority ends at the first `/` or `?`. A `#` ends it only after the user information,
    /// because people write passwords with an unencoded `#`.
    #[must_use]
    pub fn split(text: &'a str) -> Self {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) if is_scheme(scheme) => (scheme, rest),
            _ => ("", text),
        };
        let (authority, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (user_info, hosts) = match authority.rsplit_once('@') {
            Some((user_info, hosts)) => (Some(user_info), hosts),
            None => (None, authority),
        };
        let hosts = hosts.split('#').next().unwrap_or_default();
        let (path, query) = match tail.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (tail, None),
        };
        Self { scheme, user_info, hosts, path, query }
    }

    /// The hosts of a comma-separated list, as written.
    pub fn each_host(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.hosts.split(',')
    }

    /// The password as written. `None` where there is none.
    #[must_use]
    pub fn password(&self) -> Option<&'a str> {
        let (_, password) = self.user_info?.split_once(':')?;
        Some(password).filter(|password| !password.is_empty())
    }

    /// Whether every host is a `host`, `host:port` or `[ipv6]:port` by its delimiters.
    #[must_use]
    pub fn hosts_are_plausible(&self) -> bool {
        self.each_host().all(|host| match split_port(host) {
            Some((name, port)) => {
                let bracketed = name.starts_with('[') && name.ends_with(']');
                (bracketed || !name.contains(':'))
                    && port.is_none_or(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
            }
            None => false,
        })
    }

    /// Whether an `@` after the authority may end a password that holds an unencoded `/` or `?`.
    /// Such a URL is read in two ways, and one of them takes a part of the password for a host.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        let in_path = self.path.contains('@');
        let in_query = self.query.is_some_and(|query| query.contains('@'));
        // Paths and queries of the web may hold an @.
        let web = matches!(self.scheme, "http" | "https");
        !self.scheme.is_empty()
            && (in_path || in_query)
            && (self.user_info.is_some() || !self.hosts_are_plausible() || (in_path && !web))
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// Splits `host`, `host:port`, `[ipv6]` or `[ipv6]:port`. The brackets stay. `None` where
/// something else than a port follows the brackets.
#[must_use]
pub fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    if text.starts_with('[') {
        let (host, after) = text.split_at(text.find(']')? + 1);
        return match after.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None => after.is_empty().then_some((host, None)),
        };
    }
    match text.rsplit_once(':') {
        Some((host, port)) => Some((host, Some(port))),
        None => Some((text, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_url_is_split_at_its_delimiters() {
        let parts = UrlParts::split("redis+sentinel://u:p%40s#s@a:1,[::1]:2/main/0?x=1#y");
        assert_eq!((parts.scheme, parts.user_info), ("redis+sentinel", Some("u:p%40s#s")));
        assert_eq!(parts.each_host().collect::<Vec<_>>(), ["a:1", "[::1]:2"]);
        assert_eq!((parts.path, parts.query), ("/main/0", Some("x=1#y")));
        assert_eq!(parts.password(), Some("p%40s#s"));
        let bare = UrlParts::split("host:80");
        assert_eq!((bare.scheme, bare.hosts, bare.path, bare.query), ("", "host:80", "", None));
        assert_eq!(UrlParts::split("http://h#part").hosts, "h");
        assert_eq!(UrlParts::split("h/x?next=http://other").hosts, "h");
        assert_eq!(UrlParts::split("redis://u:@h").password(), None);
    }

    #[test]
    fn a_password_with_an_unencoded_delimiter_is_noticed() {
        for url in [
            "redis://:hun@ter/two#x@127.0.0.1:1",
            "postgres://u:a/b@h/db",
            "postgres://u:12/34@h/db",
            "http://u:p@ss?x@h/",
            "redis://u:a?b@h",
        ] {
            assert!(UrlParts::split(url).is_ambiguous(), "{url}");
        }
        for url in [
            "https://medium.com/@someone",
            "https://h:8000/x?mail=a@b",
            "http://u:p@h/x",
            "redis://u:p@ss#w@h/0",
            "redis+sentinel://a:1,b:2/main/0",
            "http://[::1]:80/@x",
            "unix:/run/a@b.sock",
            "user@host",
        ] {
            assert!(!UrlParts::split(url).is_ambiguous(), "{url}");
        }
    }

    #[test]
    fn hosts_are_judged_by_their_delimiters() {
        for text in ["", "h", "h:1", "[::1]", "[::1]:2", "a:1,b,c:3"] {
            assert!(UrlParts::split(text).hosts_are_plausible(), "{text}");
        }
        for text in ["u:pass", "::1", "[::1]x", "[::1", "a:1,b:x"] {
            assert!(!UrlParts::split(text).hosts_are_plausible(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_splitting(text in "[a-z:/@?#,\\[\\]%.]{0,30}") {
            let parts = UrlParts::split(&text);
            prop_assert!(parts.hosts.len() <= text.len());
            let _ = parts.hosts_are_plausible();
        }
    }
}
