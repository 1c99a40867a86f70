//! Percent-encoding, by the component of a URL that a text becomes a part of (RFC 3986).

/// What stays as it is in the user information, beside letters, digits and `-._~`.
pub const USER_INFO: &[u8] = b"";
/// What stays as it is in a path.
pub const PATH: &[u8] = b"/:!$&'()*+,;=";
/// What stays as it is in the value of a query.
pub const QUERY: &[u8] = b"/:,";

/// All components that [`encode`] is used for.
pub const COMPONENTS: [&[u8]; 3] = [USER_INFO, PATH, QUERY];

/// The text with every byte encoded but letters, digits, `-._~` and those to keep.
#[must_use]
pub fn encode(text: &str, keep: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep.contains(&byte);
        if plain {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Undoes percent-encoding. `None` where a `%` is not followed by two hexadecimal digits, or where
/// the result is not UTF-8.
#[must_use]
pub fn decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        decoded.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_component_keeps_what_it_may_hold() {
        assert_eq!(encode("a:b@c/d?e#f%ä", USER_INFO), "a%3Ab%40c%2Fd%3Fe%23f%25%C3%A4");
        assert_eq!(encode("T0/B0/x?y z", PATH), "T0/B0/x%3Fy%20z");
        assert_eq!(encode("a&b=c+d/e", QUERY), "a%26b%3Dc%2Bd/e");
    }

    #[test]
    fn percent_encoding_is_undone_once() {
        assert_eq!(decode("p%40ss%2525").as_deref(), Some("p@ss%25"));
        assert_eq!(decode("%C3%A4").as_deref(), Some("ä"));
        for wrong in ["%", "%4", "%zz", "%+f", "%ff"] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(text in ".{0,20}") {
            for keep in COMPONENTS {
                prop_assert_eq!(decode(&encode(&text, keep)), Some(text.clone()));
            }
        }
    }
}
