//! The last lines of a container's log.

use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt;

use super::container::Inner;
use base::{ErrorKind, Result};

const LOG_BYTES: usize = 4_096;
const LOG_LINES: usize = 200;

impl Inner {
    pub(super) async fn log(&self, lines: usize) -> Result<Vec<String>> {
        let Some(life) = self.locate().await? else { return Ok(Vec::new()) };
        let lines = lines.min(LOG_LINES);
        if lines == 0 {
            return Ok(Vec::new());
        }
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .tail(&lines.to_string())
            .build();
        let stream = self.engine.docker.logs(&life.id, Some(options));
        let read = async {
            let mut stream = stream;
            let mut text: Vec<u8> = Vec::new();
            while let Some(chunk) = stream.next().await {
                text.extend_from_slice(&chunk?.into_bytes());
                // A line may have no end; only the last bytes are shown anyway.
                if text.len() > 16 * LOG_BYTES {
                    text.drain(..text.len() - LOG_BYTES);
                }
            }
            Ok(text)
        };
        let text = match self.engine.read("docker.logs", read).await {
            // A log driver that can't be read (syslog, none) is no log.
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::NotFound) => {
                return Ok(Vec::new());
            }
            other => other?,
        };
        Ok(last_lines(&text, lines))
    }
}

/// The last lines, whole characters, at most [`LOG_BYTES`] with a byte for each line's end.
fn last_lines(text: &[u8], lines: usize) -> Vec<String> {
    let mut budget = LOG_BYTES;
    let mut kept = Vec::new();
    let text = String::from_utf8_lossy(text);
    for line in text.trim_end_matches(['\n', '\r']).rsplit('\n').take(lines) {
        let line = line.trim_end_matches('\r');
        if line.len() < budget {
            budget -= line.len() + 1;
            kept.push(line.to_owned());
            continue;
        }
        if kept.is_empty() {
            let from = line.ceil_char_boundary(line.len() - (budget - 1));
            kept.push(line[from..].to_owned());
        }
        break;
    }
    kept.reverse();
    if kept == [""] { Vec::new() } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_fit_and_are_whole_characters() {
        assert_eq!(last_lines(b"a\nb\r\nc\n", 2), ["b", "c"]);
        assert!(last_lines(b"", 5).is_empty());
        let long = "é".repeat(LOG_BYTES);
        let lines = last_lines(format!("first\n{long}\n").as_bytes(), 5);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].len() < LOG_BYTES && lines[0].len() >= LOG_BYTES - 3);
        let many = "0123456789\n".repeat(1_000);
        let lines = last_lines(many.as_bytes(), 1_000);
        assert_eq!(lines.len(), LOG_BYTES / 11);
    }
}
