//! Values that are given literally, as `-` (standard input) or as `@FILE`.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::str::FromStr;

use jarvis_core::{Error, ErrorKind, Result};

/// Where a value comes from. `Debug` does not show it: it may be a session's id.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Input {
    Text(String),
    Stdin,
    File(PathBuf),
}

impl FromStr for Input {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(match (text, text.strip_prefix('@')) {
            ("-", _) => Self::Stdin,
            (_, Some(path)) => Self::File(path.into()),
            _ => Self::Text(text.to_owned()),
        })
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text(_) => "Text",
            Self::Stdin => "Stdin",
            Self::File(_) => "File",
        })
    }
}

impl Input {
    /// The bytes, at most `limit` of them.
    ///
    /// # Errors
    /// `TooLarge` over the limit, `InvalidInput` for a file that can't be read.
    pub(crate) fn bytes(&self, limit: u64) -> Result<Vec<u8>> {
        let (name, bytes) = match self {
            Self::Text(text) => ("the value".to_owned(), Ok(text.clone().into_bytes())),
            Self::Stdin => ("standard input".to_owned(), read(std::io::stdin().lock(), limit)),
            Self::File(path) => {
                (path.display().to_string(), File::open(path).and_then(|file| read(file, limit)))
            }
        };
        let bytes = bytes.map_err(|error| {
            Error::new(ErrorKind::InvalidInput, format!("can't read {name}: {error}"))
        })?;
        if bytes.len() as u64 > limit {
            let message = format!("{name} is larger than the limit of {limit} bytes");
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        Ok(bytes)
    }

    /// As text.
    ///
    /// # Errors
    /// As [`Input::bytes`], and `InvalidInput` if they are not UTF-8.
    pub(crate) fn text(&self, limit: u64) -> Result<String> {
        String::from_utf8(self.bytes(limit)?)
            .map_err(|_| Error::new(ErrorKind::InvalidInput, "the value is not valid UTF-8"))
    }
}

/// Reads one byte more than the limit, to see whether there is more.
fn read(from: impl Read, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Refuses two values that would both be read from standard input.
pub(crate) fn at_most_one_from_stdin<'a>(
    inputs: impl IntoIterator<Item = &'a Input>,
) -> Result<()> {
    if inputs.into_iter().filter(|input| **input == Input::Stdin).count() > 1 {
        let message = "only one value can be read from standard input (-); use @FILE for the other";
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_text_stdin_or_a_file() {
        for (text, input) in [
            ("{}", Input::Text("{}".into())),
            ("-", Input::Stdin),
            ("-5", Input::Text("-5".into())),
            ("@a/b", Input::File("a/b".into())),
        ] {
            assert_eq!(text.parse(), Ok(input), "{text}");
        }
    }

    #[test]
    fn a_file_is_read_up_to_the_limit_and_no_further() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, b"12345").unwrap();
        let input = Input::File(file.path().to_owned());
        assert_eq!(input.bytes(5).unwrap(), b"12345");
        assert_eq!(input.bytes(4).unwrap_err().kind(), ErrorKind::TooLarge);
        assert_eq!(
            Input::File("/dev/zero".into()).bytes(9).unwrap_err().kind(),
            ErrorKind::TooLarge
        );
        assert_eq!(
            Input::File("/no/such".into()).bytes(9).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    }
}
