//! How an interpolated value becomes a part of its text: percent-encoded into the component of the
//! URL that it stands in, quoted in a list of `key=value` pairs, else as it is.

use super::check::names_a_secret;
use base::percent::{self, PATH, QUERY, USER_INFO};
use base::secret::REDACTED;

/// A part of a string: what is written, and what `${env:…}` or `${file:…}` stand for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    /// As written, and what `${var:…}` and `${service}` stand for.
    Plain(String),
    /// The value of `${name}`.
    Value { name: String, value: String },
}

impl Piece {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Plain(text) | Self::Value { value: text, .. } => text,
        }
    }
}

/// Where in a text a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Component {
    /// In no URL.
    Text,
    /// The value begins the URL, with its scheme.
    Url,
    /// The user, where a password follows.
    User,
    /// The password; with `whole` the user too, as one value: `user:password`.
    Password { whole: bool },
    /// Host and port.
    Host,
    /// The path.
    Path,
    /// The query, or the fragment.
    Query,
    /// A value in `host=… password=…`.
    Pair,
}

/// The keys of a connection string of libpq.
const PAIR_KEYS: &[&str] =
    &["host", "hostaddr", "port", "user", "password", "dbname", "sslmode", "application_name"];

/// The component of each value among the pieces. `is_url` says that the key holds a URL, in which
/// libpq's form with pairs is allowed too.
pub(super) fn components(pieces: &[Piece], is_url: bool) -> Vec<Component> {
    if let Some(components) = of_url(pieces) {
        return components;
    }
    let first = match pieces.first() {
        Some(Piece::Plain(text)) => text.trim_start(),
        _ => "",
    };
    let begins_pairs =
        first.split_once('=').is_some_and(|(key, _)| PAIR_KEYS.contains(&key.trim_end()));
    let mut before = "";
    let mut components = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Plain(text) => before = text,
            // Quotes that were written are left to their writer.
            Piece::Value { .. } if is_url && begins_pairs && before.trim_end().ends_with('=') => {
                components.push(Component::Pair);
            }
            Piece::Value { .. } => components.push(Component::Text),
        }
    }
    components
}

/// The scheme of a text that begins as a URL does, and where its authority (or path) begins.
pub(super) fn scheme(text: &str) -> Option<(&str, usize)> {
    let (scheme, rest) = text.split_once(':')?;
    let begins = scheme.starts_with(|first: char| first.is_ascii_alphabetic());
    let is_scheme =
        begins && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let socket = is_socket(scheme) && rest.starts_with('/');
    let slashes = rest.starts_with("//");
    match (is_scheme, socket, slashes) {
        (true, true, _) => Some((scheme, scheme.len() + 1)),
        (true, false, true) => Some((scheme, scheme.len() + 3)),
        _ => None,
    }
}

/// Whether a path follows the scheme, with no host.
fn is_socket(scheme: &str) -> bool {
    matches!(scheme, "unix" | "redis+unix")
}

fn of_url(pieces: &[Piece]) -> Option<Vec<Component>> {
    let mut components = Vec::new();
    // The text with an empty place for each value, and where those places are. A value that
    // begins the URL shows its structure; the others are opaque.
    let (mut text, mut places) = (String::new(), Vec::new());
    for (index, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Plain(plain) => text.push_str(plain),
            Piece::Value { value, .. } if index == 0 => {
                text.push_str(value);
                components.push(Component::Url);
            }
            Piece::Value { .. } => {
                places.push(text.len());
                text.push('_');
            }
        }
    }
    let (scheme, start) = scheme(&text)?;
    let end_of = |from: usize, delimiters: &[char]| {
        text[from..].find(delimiters).map_or(text.len(), |at| from + at)
    };
    let authority_end = if is_socket(scheme) { start } else { end_of(start, &['/', '?', '#']) };
    let path_end = end_of(authority_end, &['?', '#']);
    let at = text[start..authority_end].rfind('@').map_or(start, |at| start + at);
    let colon = text[start..at].find(':').map(|colon| start + colon);
    let whole = colon.is_none() && at == start + 1;
    components.extend(places.into_iter().map(|place| match place {
        _ if place < start => Component::Text,
        _ if colon.is_some_and(|colon| place < colon) => Component::User,
        _ if place < at => Component::Password { whole },
        _ if place < authority_end => Component::Host,
        _ if place < path_end => Component::Path,
        _ => Component::Query,
    }));
    Some(components)
}

/// The value as it goes into its component, or why it can't.
pub(super) fn encode(component: Component, value: &str) -> Result<String, &'static str> {
    Ok(match component {
        Component::Text | Component::Url => value.to_owned(),
        Component::Password { whole: true } => percent::encode(value, b":"),
        Component::User | Component::Password { whole: false } => percent::encode(value, USER_INFO),
        Component::Host if value.contains(['@', '\\']) || value.contains(char::is_whitespace) => {
            return Err(
                "it stands where the host of the URL belongs, and holds characters that no host has; write the user and the password before an \"@\", each as a ${…} of its own",
            );
        }
        Component::Host => value.to_owned(),
        Component::Path => percent::encode(value, PATH),
        Component::Query => percent::encode(value, QUERY),
        Component::Pair => format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'")),
    })
}

/// The secrets within a URL: its password, and what its query calls one. As written and decoded.
pub(super) fn url_secrets(url: &str) -> Vec<String> {
    let Some((_, start)) = scheme(url) else { return Vec::new() };
    let rest = &url[start..];
    let mut found: Vec<&str> = Vec::new();
    // As the delimiters say, and up to the last @ where the password holds an unencoded one.
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let whole = if is_ambiguous(url) { rest } else { authority };
    for text in [authority, whole] {
        if let Some((user_info, _)) = text.rsplit_once('@') {
            found.push(user_info.split_once(':').map_or(user_info, |(_, password)| password));
        }
    }
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    let query = query.split('#').next().unwrap_or_default();
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    found.extend(pairs.filter(|(key, _)| names_a_secret(key)).map(|(_, value)| value));
    let decoded = found.iter().filter_map(|text| percent::decode(text)).collect::<Vec<_>>();
    let mut secrets: Vec<String> = found.into_iter().map(str::to_owned).chain(decoded).collect();
    secrets.retain(|secret| !secret.is_empty());
    secrets.sort();
    secrets.dedup();
    secrets
}

/// A connection string of libpq without its passwords; `None` for any other text.
pub(super) fn redact_pairs(text: &str) -> Option<String> {
    let (first, _) = text.split_once('=')?;
    if !PAIR_KEYS.contains(&first.trim()) {
        return None;
    }
    let mut shown = String::new();
    let mut rest = text;
    while let Some((key, after)) = rest.split_once('=') {
        shown.push_str(key);
        shown.push('=');
        let after_blanks = after.trim_start();
        let end = match after_blanks.strip_prefix('\'') {
            Some(quoted) => 1 + end_of_quoted(quoted),
            None => after_blanks.find(char::is_whitespace).unwrap_or(after_blanks.len()),
        };
        let key = key.trim().rsplit(char::is_whitespace).next().unwrap_or_default();
        shown.push_str(if names_a_secret(key) { REDACTED } else { &after_blanks[..end] });
        rest = &after_blanks[end..];
    }
    shown.push_str(rest);
    Some(shown)
}

/// Where a quoted value ends, its quote included.
fn end_of_quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\'' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Whether an `@` after the authority may end a password that holds an unencoded `/`, `?` or `#`.
/// Such a URL is read in two ways, and one of them takes a part of the password for a host.
pub(super) fn is_ambiguous(url: &str) -> bool {
    let Some((scheme, start)) = scheme(url).filter(|(scheme, _)| !is_socket(scheme)) else {
        return false;
    };
    let rest = &url[start..];
    let (authority, after) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let path = after.split('?').next().unwrap_or_default();
    let web = matches!(scheme, "http" | "https");
    let port = |host: &str| {
        host.rsplit_once(':').is_none_or(|(_, port)| {
            port.bytes().all(|byte| byte.is_ascii_digit()) || port.ends_with(']')
        })
    };
    after.contains('@')
        && (authority.contains('@')
            || authority.is_empty()
            || !authority.split(',').all(port)
            || (path.contains('@') && !web))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `<x>` is a value.
    fn pieces(text: &str) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('<') {
            let (value, after) = after.split_once('>').unwrap();
            if !before.is_empty() {
                pieces.push(Piece::Plain(before.to_owned()));
            }
            pieces.push(Piece::Value { name: "n".to_owned(), value: value.to_owned() });
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Plain(rest.to_owned()));
        }
        pieces
    }

    #[test]
    fn each_value_is_in_its_component() {
        use Component::{Host, Pair, Path, Query, Text, Url, User};
        let (part, whole) =
            (Component::Password { whole: false }, Component::Password { whole: true });
        for (text, expected) in [
            ("redis://:<s>@h:1", vec![part]),
            (
                "postgres://<u>:<p>@<h>:<port>/<db>?x=<y>#<z>",
                vec![User, part, Host, Host, Path, Query, Query],
            ),
            ("redis://<u:p>@h", vec![whole]),
            ("redis://<u><p>@h", vec![part, part]),
            ("redis+sentinel://:<p>@<a>,b/main/0?sentinel_password=<q>", vec![part, Host, Query]),
            ("https://hooks.example/services/<T/B/x>", vec![Path]),
            ("http://<h>/x/<y>", vec![Host, Path]),
            ("http://h?<x>=<y>", vec![Query, Query]),
            ("<http://h:1>/x/<y>?k=<z>", vec![Url, Path, Query]),
            ("<http://h:1>", vec![Url]),
            ("unix:/run/<x>.sock?password=<y>", vec![Path, Query]),
            ("unix:///run/<x>.sock", vec![Path]),
            ("<h>:6379", vec![Text]),
            ("Bearer <t>", vec![Text]),
            ("see http://h/<t>", vec![Text]),
            ("host=h user=<u> password=<p>", vec![Pair, Pair]),
            ("host=h password='<p>'", vec![Text]),
            ("say=<x>", vec![Text]),
        ] {
            assert_eq!(components(&pieces(text), true), expected, "{text}");
        }
        assert_eq!(components(&pieces("password=<p>"), false), [Text], "no key of a URL");
    }

    #[test]
    fn a_password_with_an_unencoded_delimiter_is_found_out() {
        for url in [
            "redis://:hun@ter/two#x@127.0.0.1:1",
            "postgres://u:a/b@h/db",
            "postgres://u:12/34@h/db",
            "redis://:a#b@h",
            "http://u:p@ss?x@h/",
        ] {
            assert!(is_ambiguous(url), "{url}");
        }
        for url in [
            "https://medium.com/@someone",
            "https://h:8000/x?mail=a@b",
            "http://u:p@h/x",
            "redis+sentinel://a:1,b:2/main/0",
            "http://[::1]:80/@x",
            "unix:/run/a@b.sock",
            "user@host",
        ] {
            assert!(!is_ambiguous(url), "{url}");
        }
    }

    #[test]
    fn the_secrets_of_a_url_are_found() {
        let found = url_secrets("postgres://u:p%40ss@h/db?sslmode=require&token=geheim");
        assert_eq!(found, ["geheim", "p%40ss", "p@ss"]);
        let found = url_secrets("redis://:hun@ter/two#x@127.0.0.1:1");
        assert!(found.contains(&"hun@ter/two#x".to_owned()), "{found:?}");
        assert!(url_secrets("https://h:1/path").is_empty());
    }

    #[test]
    fn the_password_of_a_connection_string_is_not_shown() {
        for (text, shown) in [
            ("host=h password=geheim user=u", "host=h password=[redacted] user=u"),
            ("password = 'ge heim\\'x' host=h", "password =[redacted] host=h"),
            ("host=h password=", "host=h password=[redacted]"),
        ] {
            assert_eq!(redact_pairs(text).as_deref(), Some(shown));
        }
        assert_eq!(redact_pairs("say=password"), None);
        assert_eq!(redact_pairs("http://h/?password=x"), None);
    }

    #[test]
    fn a_value_is_written_as_its_component_wants_it() {
        let encoded = |component, value| encode(component, value).unwrap();
        let secret = "hun@ter/two#x?%";
        assert_eq!(
            encoded(Component::Password { whole: false }, secret),
            "hun%40ter%2Ftwo%23x%3F%25"
        );
        assert_eq!(encoded(Component::Password { whole: true }, "u:p@w"), "u:p%40w");
        assert_eq!(encoded(Component::Path, "T0/B0/a?b"), "T0/B0/a%3Fb");
        assert_eq!(encoded(Component::Query, "a&b=c"), "a%26b%3Dc");
        assert_eq!(encoded(Component::Pair, "it's a \\"), "'it\\'s a \\\\'");
        assert_eq!(encoded(Component::Host, "db.internal:5432"), "db.internal:5432");
        assert!(encode(Component::Host, "u:p@h").is_err());
        assert_eq!(encoded(Component::Text, secret), secret);
    }
}
