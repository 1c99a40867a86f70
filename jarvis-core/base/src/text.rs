//! Text from elsewhere, made fit for a message: bounded, on one line, without control characters.

use crate::secret::mask;

/// How far beyond its end an excerpt is read for the rest of a secret.
const LONGEST_SECRET: usize = 4 * 1024;

/// At most `most` bytes without known secrets, cut between characters. What was cut is marked with `…`.
pub fn bounded(text: &str, most: usize) -> String {
    let text = &*mask(text);
    if text.len() <= most {
        return text.to_owned();
    }
    let mut end = most.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

/// At most `most` bytes on one line: control characters become blanks.
pub fn one_line(text: &str, most: usize) -> String {
    let flat: String = mask(text).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    bounded(&flat, most)
}

/// The first `most` of these bytes as a person may read them.
pub fn excerpt(bytes: &[u8], most: usize) -> String {
    // Masked before it is cut, so that no part of a secret is left at the end.
    let beginning = String::from_utf8_lossy(&bytes[..bytes.len().min(most + LONGEST_SECRET)]);
    let mut text: String =
        mask(&beginning).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.len() > most {
        let mut end = most;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(bounded("abc", 3), "abc");
        assert_eq!(bounded("äöü", 5), "ä…");
        assert_eq!(bounded("abcdef", 5), "ab…");
    }

    #[test]
    fn control_characters_become_blanks() {
        assert_eq!(one_line("a\nb\u{1b}[31m", 80), "a b [31m");
        assert_eq!(excerpt(b"a\r\nb", 80), "a  b");
        assert_eq!(excerpt(b"abcdef", 3), "abc…");
    }
}
