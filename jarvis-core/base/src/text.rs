//! Text from elsewhere, made fit for a message: bounded, on one line, without control characters.

/// At most `most` bytes, cut between characters. What was cut is marked with `…`.
pub fn bounded(text: &str, most: usize) -> String {
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
    let flat: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    bounded(&flat, most)
}

/// The first `most` of these bytes as a person may read them.
pub fn excerpt(bytes: &[u8], most: usize) -> String {
    let shown = &bytes[..bytes.len().min(most)];
    let mut text: String = String::from_utf8_lossy(shown)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if bytes.len() > most {
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
